//! The challenges of servers, and the answers to them.

use ezk_sip_types::Name;

use super::super::digest::{Challenge, Login};
use super::super::fields::list;
use super::super::stream::SipMessage;
use super::SipProblem;
use super::token::Tokens;

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
        is_allowed: impl Fn(&str) -> bool,
    ) -> Result<(), SipProblem> {
        let name = if proxy { Name::PROXY_AUTHENTICATE } else { Name::WWW_AUTHENTICATE };
        let offered = response.headers.get_raw(&name).flat_map(|value| challenges(value.as_str()));
        let usable = offered.filter_map(|value| Challenge::read(&value)).filter(|it| is_allowed(&it.realm));
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
        self.forget(&key);
        if self.known.len() >= MAX_REALMS {
            self.known.remove(0);
        }
        answered.push(key);
        self.known.push(Known { proxy, challenge, count: 0 });
        Ok(())
    }

    fn forget(&mut self, (proxy, realm): &(bool, String)) {
        self.known.retain(|it| it.proxy != *proxy || it.challenge.realm != *realm);
    }

    /// Whether this realm has asked.
    pub(super) fn knows(&self, realm: &str) -> bool {
        self.known.iter().any(|it| it.challenge.realm == realm)
    }

    /// The header lines that answer all challenges for one request.
    pub(super) fn lines(&mut self, login: Login<'_>, method: &str, uri: &str, tokens: &mut Tokens) -> String {
        let mut lines = String::new();
        for known in &mut self.known {
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
