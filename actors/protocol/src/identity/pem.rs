//! PEM blocks of certificates: text around a block is skipped, as every reader of Jami's files does
//! (`spec: identity 2`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const HEADER: &[u8] = b"-----BEGIN CERTIFICATE-----";
const FOOTER: &[u8] = b"-----END CERTIFICATE-----";

/// Width of the base64 lines written.
const LINE: usize = 64;

/// The DER of each certificate block, in order. A block without an end, or with anything but
/// base64 in it, is reported as `None` and ends the list.
pub(super) fn blocks(text: &[u8]) -> impl Iterator<Item = Option<Vec<u8>>> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = find(rest, HEADER)?.checked_add(HEADER.len())?;
        let body = std::mem::take(&mut rest).get(start..)?;
        let Some(end) = find(body, FOOTER) else { return Some(None) };
        let (body, tail) = body.split_at_checked(end)?;
        let digits: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let block = STANDARD.decode(digits).ok();
        if block.is_some() {
            rest = tail;
        }
        Some(block)
    })
}

/// One certificate block, with a final newline.
pub(super) fn encode(der: &[u8]) -> String {
    let digits = STANDARD.encode(der);
    let mut text =
        String::with_capacity(digits.len() + digits.len() / LINE + HEADER.len() + FOOTER.len() + 4);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_between_any_bytes_are_found(contents: Vec<Vec<u8>>, between in "[^-]*") {
            let text: String = contents.iter().map(|der| between.clone() + &encode(der)).collect();
            let found: Option<Vec<Vec<u8>>> = blocks((text + &between).as_bytes()).collect();
            prop_assert_eq!(found, Some(contents));
        }

        #[test]
        fn any_bytes_are_searched(text: Vec<u8>) {
            prop_assert!(blocks(&text).count() <= 1);
            prop_assert_eq!(blocks(&[HEADER, &text].concat()).last(), Some(None));
        }
    }
}
