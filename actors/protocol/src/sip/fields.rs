//! The inside of header values, as far as it is needed: lists, addresses, parameters
//! (RFC 3261, 7.3.1 and 25.1).
//!
//! Values come from strangers, through servers that pass them on unread. Nothing here fails: what cannot
//! be read is not there.

/// The members of a list: what stands between commas that are in neither quotes nor angle brackets.
pub(crate) fn list(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let (first, behind) = cut(text, ',');
        rest = behind;
        Some(first.trim())
    })
    .filter(|member| !member.is_empty())
}

/// Text before the first `separator` that is in neither quotes nor angle brackets, and what is behind it.
fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '<' => bracketed = true,
            '>' => bracketed = false,
            _ if letter == separator && !bracketed => {
                return (&text[..at], text.get(at + letter.len_utf8()..));
            }
            _ => {}
        }
    }
    (text, None)
}

/// The value of a parameter behind the first `;`: empty if it stands there without one.
pub(crate) fn parameter<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    let mut rest = cut(value, ';').1;
    while let Some(text) = rest {
        let (first, behind) = cut(text, ';');
        rest = behind;
        let (key, value) = first.split_once('=').unwrap_or((first, ""));
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim());
        }
    }
    None
}

/// The URI of `"Alice" <sip:alice@example.org;x=y>;tag=1`, or of the form without brackets, where all
/// parameters are the header's.
pub(crate) fn uri(value: &str) -> &str {
    let (front, _) = cut(value, ';');
    match front.rsplit_once('<') {
        Some((_, uri)) => uri.trim_end().trim_end_matches('>').trim(),
        None => front.trim(),
    }
}

/// The name before the address; empty if none.
pub(crate) fn display_name(value: &str) -> String {
    let (front, _) = cut(value, ';');
    let Some((name, _)) = front.rsplit_once('<') else { return String::new() };
    unquote(name.trim())
}

/// `"a \"b\""` without quotes and escapes; another text as it is.
pub(crate) fn unquote(text: &str) -> String {
    let Some(inside) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let (mut plain, mut letters) = (String::with_capacity(inside.len()), inside.chars());
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
        } else if let Some(escaped) = letters.next() {
            plain.push(escaped);
        }
    }
    plain
}

/// `text` in quotes.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// The scheme and the pairs of `Digest realm="x", nonce="y"`, quotes taken off.
pub(crate) fn credentials(value: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let (scheme, pairs) = value.trim().split_once(char::is_whitespace)?;
    let pair = |member| -> Option<(&str, String)> {
        let (name, value) = str::split_once(member, '=')?;
        Some((name.trim(), unquote(value.trim())))
    };
    Some((scheme, list(pairs).filter_map(pair).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_separate_nothing() {
        let value = r#""A, \"B" <sip:a@b?x=1,2>;q=1, <sip:c@d> ,, sip:e@f"#;
        let members: Vec<_> = list(value).collect();
        assert_eq!(members, [r#""A, \"B" <sip:a@b?x=1,2>;q=1"#, "<sip:c@d>", "sip:e@f"]);
    }

    #[test]
    fn parameters_are_those_of_the_header_whatever_their_case() {
        let value = r#""a;tag=no" <sip:a@b;tag=no;x>;Tag = 7 ;expires=60;rport"#;
        assert_eq!(parameter(value, "tag"), Some("7"));
        assert_eq!(parameter(value, "Expires"), Some("60"));
        assert_eq!(parameter(value, "rport"), Some(""));
        assert_eq!(parameter(value, "x"), None);
    }

    #[test]
    fn addresses_are_read_in_both_forms() {
        assert_eq!(uri(r#""a <b>" <sip:a@b;x=y>;tag=1"#), "sip:a@b;x=y");
        assert_eq!(uri("sip:a@b;tag=1"), "sip:a@b");
        assert_eq!(display_name(r#""Al \"x\" ice" <sip:a@b>"#), r#"Al "x" ice"#);
        assert_eq!(display_name("Alice <sip:a@b>"), "Alice");
        assert_eq!(display_name("sip:a@b"), "");
    }

    #[test]
    fn credentials_are_pairs_behind_a_scheme() {
        let (scheme, pairs) =
            credentials(r#"Digest realm="a, \"b\"", qop="auth,auth-int",stale=TRUE, x"#).unwrap();
        assert_eq!(scheme, "Digest");
        let expected = [("realm", r#"a, "b""#), ("qop", "auth,auth-int"), ("stale", "TRUE")];
        assert_eq!(pairs, expected.map(|(name, value)| (name, value.to_owned())));
        assert!(credentials("Digest").is_none());
        assert_eq!(unquote(&quote(r#"a"\b"#)), r#"a"\b"#);
    }
}
