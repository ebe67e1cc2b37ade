//! Requests and answers as values, for whoever has the sockets (`spec: name-server 2`).

use std::fmt;

use serde::Deserialize;

use super::server_url::ServerUrl;
use crate::ids::AccountId;

/// Longest answer read, in bytes (`spec: name-server 2`).
pub const MAX_ANSWER: usize = 1024 * 1024;

/// The `User-Agent` of requests.
pub const USER_AGENT: &str = "Jami (Skep)";

/// The `Accept` of requests.
pub const ACCEPT: &str = "*/*";

/// The `Content-Type` of requests and answers.
pub const CONTENT_TYPE: &str = "application/json";

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Registers.
    Post,
}

impl Method {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A request to send. Its headers are `User-Agent`, `Accept`, `Content-Type` and `Connection: close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it does.
    pub method: Method,
    /// Where to connect to.
    pub server: ServerUrl,
    /// The whole path with the query, encoded.
    pub target: String,
    /// The body; empty when it reads.
    pub body: Vec<u8>,
}

impl Request {
    pub(super) fn get(server: &ServerUrl, path: fmt::Arguments<'_>) -> Self {
        let target = format!("{}{path}", server.prefix());
        Self { method: Method::Get, server: server.clone(), target, body: Vec::new() }
    }

    pub(super) fn name(server: &ServerUrl, name: &super::Name) -> Self {
        Self::get(server, format_args!("/name/{}", encode(name.as_str())))
    }

    pub(super) fn address(server: &ServerUrl, account: AccountId) -> Self {
        Self::get(server, format_args!("/addr/{account}"))
    }
}

/// What came back for a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The `Location` header, if there is one.
    pub location: Option<&'a str>,
    /// The body: at most [`MAX_ANSWER`] bytes and one more, which says that there were more.
    pub body: &'a [u8],
}

/// A JSON object; structs would be read from arrays, too.
pub(super) fn json_object<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Option<T> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(body).ok()).flatten()
}

/// Percent-encodes every byte outside of `A-Za-z0-9-_.~` (`spec: name-server 1`).
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
        }
    }
    encoded
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// Undoes percent-encoding. `None` if an escape is none, or if the bytes are not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        decoded.push(digit()? << 4 | digit()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_outside_of_the_plain_set_are_encoded_in_upper_case() {
        assert_eq!(encode("Alic_e-1.~"), "Alic_e-1.~");
        assert_eq!(encode("café !"), "caf%C3%A9%20%21");
    }

    #[test]
    fn wrong_escapes_and_other_bytes_than_utf8_are_refused() {
        for text in ["%", "%4", "%4g", "%g4", "%+1", "%ff", "%C3", "a%"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("a%c3%a9+b").as_deref(), Some("aé+b"));
    }

    proptest! {
        #[test]
        fn any_text_survives_percent_encoding(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(decode(&encoded), Some(text.clone()));
            let _ = decode(&text);
        }
    }
}
