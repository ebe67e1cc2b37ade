//! What people type when they look for somebody (`spec: name-server 1`):
//!
//! ```text
//!   [scheme:[//]][name@]rest       alice     jami:alice     alice@names.example.org     30e629…
//! ```

use super::name::{Name, NameError};
use super::server_url::{ServerUrl, ServerUrlError};
use crate::ids::AccountId;

/// Longest text read, in bytes: a scheme, a name and a URL of full length.
const MAX_TYPED: usize = 2048;

/// Whom somebody looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// An account, by its id: no server is asked.
    Account(AccountId),
    /// A name.
    Name {
        /// The name.
        name: Name,
        /// The server to ask, if it is said.
        server: Option<ServerUrl>,
    },
}

/// Why a text says nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// Spaces, more than one `@`, nothing at all, or too much.
    #[error("this is no name and no id; write `name`, `name@server` or 40 hexadecimal digits")]
    Malformed,
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The server is none.
    #[error(transparent)]
    Server(#[from] ServerUrlError),
}

impl Typed {
    /// Reads what somebody typed. Spaces around it do not count.
    ///
    /// # Errors
    /// When no server would be asked about it.
    pub fn parse(text: &str) -> Result<Self, TypedError> {
        let text = text.trim();
        if text.len() > MAX_TYPED || text.chars().any(char::is_whitespace) {
            return Err(TypedError::Malformed);
        }
        let text = without_scheme(text);
        let (name, server) = match text.split_once('@') {
            None => (text, None),
            Some((name, server)) => (name, Some(server)),
        };
        if name.is_empty() || server.is_some_and(|server| server.is_empty() || server.contains('@')) {
            return Err(TypedError::Malformed);
        }
        if let Ok(account) = name.parse() {
            return Ok(Self::Account(account));
        }
        Ok(Self::Name { name: name.parse()?, server: server.map(str::parse).transpose()? })
    }
}

/// What follows letters, a colon and perhaps two slashes. If nothing follows, that was no scheme.
fn without_scheme(text: &str) -> &str {
    let Some((scheme, rest)) = text.split_once(':') else { return text };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_scheme && !rest.is_empty() { rest } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "30e629015fcb780a18681348f8b8c4853f01c13f";

    #[test]
    fn names_servers_and_ids_are_told_apart() {
        let name = |name: &str, server: Option<&str>| Typed::Name {
            name: name.parse().unwrap(),
            server: server.map(|server| server.parse().unwrap()),
        };
        let account = Typed::Account(ID.parse().unwrap());
        for (text, expected) in [
            ("alicetest", name("alicetest", None)),
            (" AliceTest\n", name("alicetest", None)),
            ("jami:alicetest", name("alicetest", None)),
            ("jami://alicetest", name("alicetest", None)),
            ("alicetest@127.0.0.1:8090", name("alicetest", Some("https://127.0.0.1:8090"))),
            ("ring:alice@http://host/names", name("alice", Some("http://host/names"))),
            ("café", name("café", None)),
            (ID, account.clone()),
            (&*format!("jami:{}", ID.to_uppercase()), account.clone()),
            (&*format!("ring:{ID}@ring.dht"), account),
        ] {
            assert_eq!(Typed::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_matches_no_pattern_asks_no_server() {
        for text in
            ["", " ", "bad name", "bad name!", "@host", "alice@", "a@b@c", "jami:@", &"x".repeat(3000)]
        {
            assert_eq!(Typed::parse(text), Err(TypedError::Malformed), "{text}");
        }
        assert_eq!(Typed::parse("ali\u{202e}ce"), Err(TypedError::Name(NameError::Character('\u{202e}'))));
        assert_eq!(Typed::parse(&"x".repeat(65)), Err(TypedError::Name(NameError::Length)));
        assert_eq!(Typed::parse("alice@ftp://host"), Err(TypedError::Server(ServerUrlError::Scheme)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-z]{0,5}:(//)?)?\\PC{0,20}(@\\PC{0,20})?") {
            let _ = Typed::parse(&text);
        }
    }
}
