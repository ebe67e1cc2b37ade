//! What is said in MESSAGE: one body, or several (`spec: calls 4.4`).
//!
//! ```text
//!   Content-Type: text/plain                      hello
//!   Content-Type: multipart/mixed;boundary=x      --x CRLF headers CRLF CRLF body CRLF --x … --x--
//! ```

use crate::sip::fields::{parameter, unquote};

/// Most parts of a message.
pub const MAX_PARTS: usize = 16;

/// Longest boundary (RFC 2046, 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// Longest content type that is kept, in bytes.
const MAX_TYPE: usize = 512;

/// One body with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// MIME type with its parameters, as it came.
    pub content_type: String,
    /// What is said.
    pub body: Vec<u8>,
}

impl Part {
    /// The MIME type without parameters, in lower case.
    #[must_use]
    pub fn mime_type(&self) -> String {
        mime_type(&self.content_type)
    }
}

fn mime_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The parts of a body. What cannot be read as several is none.
#[must_use]
pub fn parts_of(content_type: &str, body: &[u8]) -> Vec<Part> {
    if content_type.is_empty() || content_type.len() > MAX_TYPE {
        return Vec::new();
    }
    if !mime_type(content_type).starts_with("multipart/") {
        return vec![Part { content_type: content_type.to_owned(), body: body.to_vec() }];
    }
    let boundary = parameter(content_type, "boundary").map(unquote);
    let Some(boundary) = boundary.filter(|it| (1..=MAX_BOUNDARY).contains(&it.len())) else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    let marker = format!("--{boundary}");
    let mut rest = match find(body, marker.as_bytes()) {
        Some(at) => body.get(at + marker.len()..).unwrap_or_default(),
        None => return parts,
    };
    let between = format!("\r\n{marker}");
    while parts.len() < MAX_PARTS && !rest.starts_with(b"--") {
        let Some(end) = find(rest, between.as_bytes()) else { break };
        let (one, behind) = rest.split_at(end);
        parts.extend(part(one));
        rest = behind.get(between.len()..).unwrap_or_default();
    }
    parts
}

/// Headers, an empty line, a body.
fn part(text: &[u8]) -> Option<Part> {
    let end = find(text, b"\r\n\r\n")?;
    let head = std::str::from_utf8(text.get(..end)?).ok()?;
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, kind) = headers.find(|(name, _)| name.trim().eq_ignore_ascii_case("Content-Type"))?;
    let kind = Some(kind.trim()).filter(|kind| kind.len() <= MAX_TYPE)?;
    Some(Part { content_type: kind.to_owned(), body: text.get(end + 4..)?.to_vec() })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Type and body of a MESSAGE that has these parts. `boundary` is a random text.
#[must_use]
pub fn write_parts(parts: &[Part], boundary: &str) -> (String, Vec<u8>) {
    if let [one] = parts {
        return (one.content_type.clone(), one.body.clone());
    }
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Type: {}\r\n\r\n", part.content_type).as_bytes(),
        );
        body.extend_from_slice(&part.body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/mixed;boundary={boundary}"), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_or_several_come_back_as_they_were() {
        let part = |kind: &str, body: &str| Part { content_type: kind.into(), body: body.into() };
        for parts in [
            vec![part("text/plain", "hello")],
            vec![part("text/plain", "a\r\n\r\nb"), part("application/confInfo+json;x=1", "{}")],
            vec![part("text/plain", ""), part("text/html", "--"), part("x/y", "\r\n")],
        ] {
            let (kind, body) = write_parts(&parts, "b0undary");
            assert_eq!(parts_of(&kind, &body), parts);
        }
    }

    #[test]
    fn what_is_cut_off_or_without_boundary_has_no_parts_and_many_are_bounded() {
        assert!(parts_of("multipart/mixed", b"--x\r\n\r\n").is_empty());
        assert!(parts_of("multipart/mixed;boundary=x", b"--x\r\nContent-Type: a/b\r\n\r\nhello").is_empty());
        assert!(parts_of("", b"x").is_empty());
        let long = format!("multipart/mixed;boundary={}", "x".repeat(MAX_BOUNDARY + 1));
        assert!(parts_of(&long, b"").is_empty());
        let many = vec![Part { content_type: "a/b".into(), body: Vec::new() }; 100];
        let (kind, body) = write_parts(&many, "x");
        assert_eq!(parts_of(&kind, &body).len(), MAX_PARTS);
    }

    #[test]
    fn the_type_is_compared_without_parameters_and_case() {
        let part = Part { content_type: "Text/Plain; charset=utf-8".into(), body: Vec::new() };
        assert_eq!(part.mime_type(), "text/plain");
    }
}
