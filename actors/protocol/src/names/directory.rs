//! Search: servers of ours have it, as the managers of organisations have for their accounts
//! (`spec: name-server 6`). Other name servers have none.

use std::collections::BTreeMap;

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

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    profiles: Vec<BTreeMap<String, Value>>,
}

/// Asks for everybody that `text` fits.
pub(super) fn search(server: &ServerUrl, text: &str) -> Request {
    Request::get(server, format_args!("{SEARCH_PATH}?{SEARCH_PARAMETER}={}", encode(text)))
}

/// Who was found. Fields that are no texts are left out.
pub(super) fn found(response: Response<'_>) -> Result<Vec<Profile>, AskError> {
    match response.status {
        200 => {
            let profiles = json::<Body>(response.body)?.profiles.into_iter().take(MAX_PROFILES);
            let text = |(key, value)| if let Value::String(text) = value { Some((key, text)) } else { None };
            Ok(profiles.map(|fields| fields.into_iter().filter_map(text).collect()).collect())
        }
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
    fn a_search_asks_below_the_path_of_the_server() {
        let request = search(&"https://names.example.org/jams".parse().unwrap(), "ali ce&");
        assert_eq!(request.target, "/jams/api/auth/directory/search?queryString=ali%20ce%26");
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
    fn a_server_without_a_directory_finds_nobody_and_one_that_wants_a_log_in_is_an_error() {
        assert_eq!(read(404, ""), Ok(Vec::new()));
        for status in [401, 500] {
            assert_eq!(read(status, ""), Err(AskError::Status(status)));
        }
    }
}
