//! The challenges of servers, and the answers to them.

use ezk_sip_types::Name;

use super::super::digest::{Challenge, Login};
use super::super::fields::list;
use super::super::stream::SipMessage;
use super::super::token::Tokens;
use super::SipProblem;

/// Realms whose challenges are kept: a registrar and a proxy, and as many again.
const MAX_REALMS: usize = 4;

/// Challenges answered for one thing. A server may ask twice for itself (the second time because its nonce
/// is stale), and a proxy before it as often.
pub const MAX_CHALLENGES: usize = 4;

/// One challenge, and how often its nonce was used.
#[derive(Debug)]
struct Known {
    proxy: bool,
    challenge: Challenge,
    count: u32,
}

/// The challenges that requests of one kind get, newest last. They are answered before they are put
/// again, which saves a round trip.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    known: Vec<Known>,
}

impl Credentials {
    /// Takes the challenge of a response. `answered` are those that were answered since the thing that the
    /// request is for was begun; whoever puts the same one again does not know the password.
    pub(super) fn challenged(
        &mut self,
        response: &SipMessage,
        proxy: bool,
        answered: &mut Vec<(bool, String)>,
        is_allowed: impl Fn(&Challenge) -> bool,
    ) -> Result<(), SipProblem> {
        let name = if proxy { Name::PROXY_AUTHENTICATE } else { Name::WWW_AUTHENTICATE };
        let offered = response.headers.get_raw(&name).flat_map(|value| challenges(value.as_str()));
        let usable = offered.filter_map(|value| Challenge::read(&value)).filter(|it| is_allowed(it));
        // The strongest; of equal ones the first.
        let best = usable.reduce(|best, next| if next.algorithm > best.algorithm { next } else { best });
        let challenge = best.ok_or(SipProblem::NoUsableChallenge)?;
        let key = (proxy, challenge.realm.clone());
        if answered.contains(&key) && !challenge.stale {
            self.forget(&key);
            return Err(SipProblem::WrongPassword);
        }
        if answered.len() >= MAX_CHALLENGES {
            return Err(SipProblem::EndlessChallenges);
        }
        answered.push(key);
        self.keep(Known { proxy, challenge, count: 0 });
        Ok(())
    }

    fn keep(&mut self, known: Known) {
        self.forget(&(known.proxy, known.challenge.realm.clone()));
        if self.known.len() >= MAX_REALMS {
            self.known.remove(0);
        }
        self.known.push(known);
    }

    /// Takes over those challenges of `others` whose realm `own` has.
    pub(super) fn adopt(&mut self, others: Self, own: &Self) {
        for known in others.known {
            if own.knows(&known.challenge.realm) {
                self.keep(known);
            }
        }
    }

    /// Whether an answer to this challenge of the same realm would give away more than the answers to those
    /// that are known: a weaker hash, or one that whoever asks can prepare for.
    pub(super) fn forbids(&self, asked: &Challenge) -> bool {
        let mut known = self.known.iter().map(|it| &it.challenge).filter(|it| it.realm == asked.realm);
        known.any(|it| asked.algorithm < it.algorithm || (it.has_qop() && !asked.has_qop()))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget(&mut self, (proxy, realm): &(bool, String)) {
        self.known.retain(|it| it.proxy != *proxy || it.challenge.realm != *realm);
    }

    /// Whether this realm has asked.
    pub(super) fn knows(&self, realm: &str) -> bool {
        self.known.iter().any(|it| it.challenge.realm == realm)
    }

    /// The header lines that answer all challenges for one request: these, and `more` of its own, which
    /// go before these where both have one of a realm.
    pub(super) fn lines(
        &mut self,
        more: Option<&mut Self>,
        login: Login<'_>,
        method: &str,
        uri: &str,
        tokens: &mut Tokens,
    ) -> String {
        let mut lines = String::new();
        let more = more.map_or(&mut [][..], |more| &mut more.known[..]);
        let is_other = |known: &Known, own: &[Known]| {
            !own.iter().any(|it| it.proxy == known.proxy && it.challenge.realm == known.challenge.realm)
        };
        let mut all: Vec<&mut Known> = self.known.iter_mut().filter(|it| is_other(it, more)).collect();
        all.extend(more);
        for known in all {
            // A nonce is used up long before the count is.
            known.count = known.count.saturating_add(1);
            let name = if known.proxy { "Proxy-Authorization" } else { "Authorization" };
            let answer = known.challenge.answer(login, method, uri, known.count, &tokens.text());
            lines.push_str(&format!("{name}: {answer}\r\n"));
        }
        lines
    }
}

/// The challenges of one header line: each begins with a scheme, and commas separate both them and their
/// parameters.
fn challenges(value: &str) -> Vec<String> {
    let mut challenges: Vec<String> = Vec::new();
    for member in list(value) {
        let first = member.split('=').next().unwrap_or_default().trim_end();
        let begins = first.contains(char::is_whitespace) || challenges.is_empty();
        match challenges.last_mut().filter(|_| !begins) {
            Some(challenge) => {
                challenge.push_str(", ");
                challenge.push_str(member);
            }
            None => challenges.push(member.to_owned()),
        }
    }
    challenges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_challenges_in_a_line_are_told_apart() {
        let line =
            r#"Basic realm="a", Digest realm="b, c", nonce="1", qop="auth",Digest nonce="2",realm="d""#;
        let expected = [
            r#"Basic realm="a""#,
            r#"Digest realm="b, c", nonce="1", qop="auth""#,
            r#"Digest nonce="2", realm="d""#,
        ];
        assert_eq!(challenges(line), expected);
        assert!(challenges("").is_empty());
    }
}
