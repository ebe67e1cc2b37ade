//! Digest authentication (RFC 2617, 7616, 8760): what a challenge asks for, and the answer to it.
//!
//! The grammar is read here, not by the SIP crate, because servers choose every byte of it.

use aws_lc_rs::digest::{SHA256, digest};
use md5::{Digest as _, Md5};

use super::fields::{credentials, quote};

/// Longest realm, nonce or opaque value that is answered, in bytes: each is repeated in every request, and
/// real ones have less than two hundred.
pub const MAX_CHALLENGE_FIELD: usize = 1024;

/// The hash that a challenge asks for. Stronger ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// What every server can.
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    fn of(name: &str) -> Option<(Self, bool)> {
        let name = name.to_ascii_lowercase();
        let (plain, session) = name.strip_suffix("-sess").map_or((&*name, false), |plain| (plain, true));
        match plain {
            "md5" => Some((Self::Md5, session)),
            "sha-256" => Some((Self::Sha256, session)),
            _ => None,
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex::encode(Md5::digest(text)),
            Self::Sha256 => hex::encode(digest(&SHA256, text.as_bytes())),
        }
    }
}

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is wanted.
    pub realm: String,
    /// What the server wants hashed with it.
    pub nonce: String,
    /// Whether only the nonce of the answer before was too old.
    pub stale: bool,
    /// How to hash.
    pub algorithm: Algorithm,
    opaque: Option<String>,
    /// As the server writes the algorithm; `None` if it does not.
    named: Option<String>,
    session: bool,
    /// Whether the server takes `qop=auth`; otherwise it wants the form without.
    qop: bool,
}

/// Who answers.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// User name.
    pub name: &'a str,
    /// Password.
    pub password: &'a str,
}

/// The password does not show itself.
impl std::fmt::Debug for Login<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Login({})", self.name)
    }
}

impl Challenge {
    /// Whether the answer holds for one request only, with a random text of ours in it (`qop=auth`).
    #[must_use]
    pub const fn has_qop(&self) -> bool {
        self.qop
    }

    /// How many bytes of it are repeated in each answer.
    #[must_use]
    pub fn repeated_length(&self) -> usize {
        self.realm.len() + self.nonce.len() + self.opaque.as_ref().map_or(0, String::len)
    }

    /// Reads the value of a `WWW-Authenticate` or `Proxy-Authenticate` header. `None` if it is no digest
    /// challenge, or one that cannot be answered: another hash, or protection of the body only.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        let (scheme, pairs) = credentials(value)?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let field = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        let named = field("algorithm");
        let (algorithm, session) = Algorithm::of(named.as_deref().unwrap_or("md5"))?;
        let qop = field("qop").is_some_and(|offered| !offered.trim().is_empty());
        let auth = |offered: String| offered.split(',').any(|it| it.trim().eq_ignore_ascii_case("auth"));
        if qop && !field("qop").is_some_and(auth) {
            return None;
        }
        let stale = field("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
        let (realm, nonce, opaque) = (field("realm")?, field("nonce")?, field("opaque"));
        let fits = |text: &String| text.len() <= MAX_CHALLENGE_FIELD && !text.chars().any(char::is_control);
        if ![Some(&realm), Some(&nonce), opaque.as_ref()].into_iter().flatten().all(fits) {
            return None;
        }
        Some(Self { realm, nonce, stale, algorithm, opaque, named, session, qop })
    }

    /// The value of the `Authorization` or `Proxy-Authorization` header of a request that uses this
    /// nonce for the `count`th time. `cnonce` is a new random text.
    #[must_use]
    pub fn answer(&self, login: Login<'_>, method: &str, uri: &str, count: u32, cnonce: &str) -> String {
        let Self { realm, nonce, algorithm, .. } = self;
        let Login { name, password } = login;
        let mut user = algorithm.hash(&format!("{name}:{realm}:{password}"));
        if self.session {
            user = algorithm.hash(&format!("{user}:{nonce}:{cnonce}"));
        }
        let request = algorithm.hash(&format!("{method}:{uri}"));
        let response = if self.qop {
            algorithm.hash(&format!("{user}:{nonce}:{count:08x}:{cnonce}:auth:{request}"))
        } else {
            algorithm.hash(&format!("{user}:{nonce}:{request}"))
        };
        let (quoted_name, realm, nonce) = (quote(name), quote(realm), quote(nonce));
        let mut value = format!(
            "Digest username={quoted_name}, realm={realm}, nonce={nonce}, uri={uri}, response=\"{response}\"",
            uri = quote(uri)
        );
        if let Some(named) = &self.named {
            let proper: String =
                named.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
            value.push_str(&format!(", algorithm={proper}"));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque={}", quote(opaque)));
        }
        if self.qop {
            value.push_str(&format!(", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\""));
        } else if self.session {
            value.push_str(&format!(", cnonce=\"{cnonce}\""));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUFASA: Login<'_> = Login { name: "Mufasa", password: "Circle Of Life" };

    fn response(answer: &str) -> String {
        let (_, pairs) = credentials(answer).unwrap();
        pairs.into_iter().find(|(name, _)| *name == "response").unwrap().1
    }

    #[test]
    fn answers_are_those_of_the_standards() {
        // RFC 2617, 3.5.
        let old = r#"Digest realm="testrealm@host.com", qop="auth,auth-int",
            nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let answer = Challenge::read(old).unwrap().answer(MUFASA, "GET", "/dir/index.html", 1, "0a4f113b");
        assert_eq!(response(&answer), "6629fae49393a05397450978507c4ef1");
        assert!(answer.contains(r#"opaque="5ccc069c403ebaf9f0171e9517f40e41", qop=auth, nc=00000001"#));
        assert!(!answer.contains("algorithm"));
        // RFC 7616, 3.9.1.
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, expected) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = format!(
                r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm},
                nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#
            );
            let answer = Challenge::read(&challenge).unwrap();
            let answer = answer.answer(
                Login { name: "Mufasa", password: "Circle of Life" },
                "GET",
                "/dir/index.html",
                1,
                cnonce,
            );
            assert_eq!(response(&answer), expected);
            assert!(answer.contains(&format!("algorithm={algorithm},")));
        }
    }

    #[test]
    fn a_login_does_not_show_its_password() {
        assert_eq!(format!("{MUFASA:?}"), "Login(Mufasa)");
    }

    #[test]
    fn servers_of_the_first_standard_get_the_form_without_qop() {
        let challenge = Challenge::read(r#"digest realm="r", nonce="n", stale=True"#).unwrap();
        assert!(challenge.stale);
        let answer = challenge.answer(Login { name: "u", password: "p" }, "REGISTER", "sip:r", 1, "c");
        // MD5(MD5("u:r:p") ":n:" MD5("REGISTER:sip:r")), reckoned apart.
        let (user, request) = (Algorithm::Md5.hash("u:r:p"), Algorithm::Md5.hash("REGISTER:sip:r"));
        assert_eq!(response(&answer), Algorithm::Md5.hash(&format!("{user}:n:{request}")));
        assert!(!answer.contains("qop") && !answer.contains("cnonce"));
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for value in [
            r#"Basic realm="r""#,
            r#"Digest realm="r""#,
            r#"Digest nonce="n""#,
            r#"Digest realm="r", nonce="n", algorithm=SHA-512-256"#,
            r#"Digest realm="r", nonce="n", algorithm="abcé-x""#,
            r#"Digest realm="r", nonce="n", qop="auth-int""#,
            "Digest",
            "",
        ] {
            assert_eq!(Challenge::read(value), None, "{value}");
        }
        let long = format!(r#"Digest realm="r", nonce="{}""#, "n".repeat(MAX_CHALLENGE_FIELD + 1));
        assert_eq!(Challenge::read(&long), None);
    }
}
