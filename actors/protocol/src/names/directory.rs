//! Search. Name servers have none; the managers of organisations have, for their accounts
//! (`spec: name-server 6`), and so have servers of ours.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{AskError, json};
use super::http::{Request, Response, encode};
use super::server_url::ServerUrl;

/// Most profiles read from one answer.
pub const MAX_PROFILES: usize = 1000;

/// The path at which directories are searched.
pub(super) const SEARCH_PATH: &str = "/api/auth/directory/search";

/// The parameter that says for what.
pub(super) const SEARCH_PARAMETER: &str = "queryString";

/// What a directory tells of somebody: texts by the names the directory has for them.
pub type Profile = BTreeMap<String, String>;

/// What a device shows to be allowed to search. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(String);

impl Token {
    /// From what the manager gave. `None` if it cannot stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_token.then(|| Self(text.to_owned()))
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    profiles: Vec<BTreeMap<String, Value>>,
}

/// Asks for everybody that `text` fits.
pub(super) fn search(server: &ServerUrl, text: &str, token: Option<Token>) -> Request {
    let query = format_args!("{SEARCH_PATH}?{SEARCH_PARAMETER}={}", encode(text));
    Request { token, ..Request::get(server, query) }
}

/// Who was found. Fields that are no texts are left out.
pub(super) fn found(response: Response<'_>) -> Result<Vec<Profile>, AskError> {
    match response.status {
        200 => {
            let profiles = json::<Body>(response.body)?.profiles.into_iter().take(MAX_PROFILES);
            let text = |(key, value)| if let Value::String(text) = value { Some((key, text)) } else { None };
            Ok(profiles.map(|fields| fields.into_iter().filter_map(text).collect()).collect())
        }
        401 => Err(AskError::TokenRefused),
        400 => Err(AskError::NotAccepted),
        404 => Ok(Vec::new()),
        status => Err(AskError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Vec<Profile>, AskError> {
        found(Response { status, location: None, body: body.as_bytes() })
    }

    #[test]
    fn a_search_asks_the_manager_with_the_token() {
        let server = "https://manager.example.org/jams".parse().unwrap();
        let request = search(&server, "ali ce&", Token::new("secret"));
        assert_eq!(request.target, "/jams/api/auth/directory/search?queryString=ali%20ce%26");
        assert_eq!(request.token.as_ref().unwrap().header(), "Bearer secret");
        assert!(!format!("{request:?}").contains("secret"));
        assert_eq!(Token::new("a\r\nX: y"), None);
    }

    #[test]
    fn profiles_are_read_and_other_fields_left_out() {
        let found = read(200, r#"{"profiles":[{"username":"alice","age":7,"more":{}},{}]}"#).unwrap();
        assert_eq!(found, [Profile::from([("username".into(), "alice".into())]), Profile::new()]);
        assert_eq!(read(200, "{}"), Ok(Vec::new()));
        for garbage in ["", "[]", r#"{"profiles":7}"#, r#"{"profiles":["x"]}"#] {
            assert_eq!(read(200, garbage), Err(AskError::Garbage), "{garbage}");
        }
        let many = format!(r#"{{"profiles":[{}{{}}]}}"#, "{},".repeat(2 * MAX_PROFILES));
        assert_eq!(read(200, &many).unwrap().len(), MAX_PROFILES);
    }

    #[test]
    fn a_refused_token_is_told_from_a_failing_server() {
        assert_eq!(read(401, ""), Err(AskError::TokenRefused));
        assert_eq!(read(404, ""), Ok(Vec::new()));
        assert_eq!(read(500, ""), Err(AskError::Status(500)));
    }
}
