//! Profiles that clients of 2023 send in a call, in parts (`spec: profiles 5`). They are only read: devices
//! that are reached over channels get profiles over channels.
//!
//! ```text
//!   Content-Type: x-ring/ring.profile.vcard;id=123%2Cpart%3D1%2Cof%3D3      the value has commas in it
//! ```

use std::collections::BTreeMap;

use super::MAX_PROFILE;

/// The MIME type of a part, without its parameter.
pub const CHUNK_TYPE: &str = "x-ring/ring.profile.vcard";

/// Most parts of a profile (`spec: profiles 9`).
pub const MAX_PARTS: u32 = 10_000;

/// Longest id, in characters. Clients take a random number.
const MAX_ID: usize = 64;

/// Longest content type read, in bytes.
const MAX_TYPE: usize = 512;

/// Which part of which profile.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    id: String,
    part: u32,
    of: u32,
}

/// The parts of a profile that one peer is sending: one for each call.
#[derive(Debug, Default)]
pub struct Chunks {
    id: String,
    of: u32,
    parts: BTreeMap<u32, Vec<u8>>,
    bytes: usize,
}

impl Chunks {
    /// Takes a message; gives the profile when this was its last missing part. What is no part, or makes
    /// no sense, is ignored. A new id begins anew.
    pub fn take(&mut self, content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
        let Label { id, part, of } = Label::parse(content_type)?;
        if self.id != id || self.of != of {
            *self = Self { id, of, ..Self::default() };
        }
        let length = self.bytes.checked_add(body.len()).filter(|length| *length <= MAX_PROFILE);
        let Some(length) = length else {
            // Too much: all of it is given up, and later parts of it begin nothing that could be complete.
            self.parts.clear();
            self.bytes = 0;
            return None;
        };
        if let std::collections::btree_map::Entry::Vacant(place) = self.parts.entry(part) {
            place.insert(body.to_vec());
            self.bytes = length;
        }
        let is_whole = u32::try_from(self.parts.len()).is_ok_and(|count| count == self.of);
        is_whole.then(|| std::mem::take(self).parts.into_values().flatten().collect())
    }
}

impl Label {
    /// Decoded first, then read.
    fn parse(content_type: &str) -> Option<Self> {
        let (mime_type, parameter) =
            content_type.split_once(';').filter(|_| content_type.len() <= MAX_TYPE)?;
        if !mime_type.trim().eq_ignore_ascii_case(CHUNK_TYPE) {
            return None;
        }
        let parameter = percent_decoded(parameter.trim())?;
        let value = |wanted: &str| {
            let mut pairs = parameter.split(',').filter_map(|pair| pair.trim().split_once('='));
            pairs.find_map(|(name, value)| (name == wanted).then_some(value))
        };
        let number = |wanted| {
            let digits = value(wanted).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse::<u32>().ok()
        };
        let id = value("id").filter(|id| !id.is_empty() && id.len() <= MAX_ID)?.to_owned();
        let (part, of) = (number("part")?, number("of")?);
        let makes_sense = (1..=MAX_PARTS).contains(&of) && (1..=of).contains(&part);
        makes_sense.then_some(Self { id, part, of })
    }
}

/// Text with escapes of visible ASCII characters undone. `None` if an escape is none of these.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).ok().filter(|()| byte[0].is_ascii_graphic())?;
        decoded.push(char::from(byte[0]));
        decoded.push_str(rest);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(id: &str, part: usize, of: usize) -> String {
        format!("{CHUNK_TYPE};id={id}%2Cpart%3D{part}%2Cof%3D{of}")
    }

    fn plain(id: &str, part: usize, of: usize) -> String {
        format!("{CHUNK_TYPE}; id={id},part={part},of={of}")
    }

    fn vcard(length: usize) -> Vec<u8> {
        let start = b"BEGIN:VCARD\nVERSION:2.1\nFN:Alice\nPHOTO;ENCODING=BASE64;TYPE=PNG:";
        let mut vcard = start.to_vec();
        vcard.resize(length - 10, b'A');
        vcard.extend(b"\nEND:VCARD");
        vcard
    }

    #[test]
    fn a_profile_of_5000_characters_is_put_together_whatever_the_order() {
        let vcard = vcard(5000);
        let parts: Vec<&[u8]> = vcard.chunks(1000).collect();
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
            for label in [escaped, plain] {
                let mut chunks = Chunks::default();
                let taken = order.iter().filter_map(|at| chunks.take(&label("42", at + 1, 5), parts[*at]));
                assert_eq!(taken.collect::<Vec<_>>(), std::slice::from_ref(&vcard));
            }
        }
    }

    #[test]
    fn a_missing_part_gives_nothing_and_another_profile_begins_anew() {
        let mut chunks = Chunks::default();
        for part in [1, 3] {
            assert_eq!(chunks.take(&escaped("a", part, 3), b"x"), None);
        }
        // A part that comes twice counts once, the first.
        assert_eq!(chunks.take(&escaped("a", 3, 3), b"other"), None);
        assert_eq!(chunks.take(&escaped("b", 2, 3), b"x"), None);
        assert_eq!(chunks.take(&escaped("a", 2, 3), b"x"), None, "the first one was given up");
        assert_eq!(chunks.take(&escaped("a", 1, 1), b"whole"), Some(b"whole".to_vec()));
    }

    #[test]
    fn parts_that_make_no_sense_are_ignored() {
        let mut chunks = Chunks::default();
        chunks.take(&escaped("a", 1, 2), b"1");
        for content_type in [
            CHUNK_TYPE.to_owned(),
            format!("{CHUNK_TYPE};"),
            format!("{CHUNK_TYPE};id=a"),
            format!("{CHUNK_TYPE};id=a,part=2"),
            format!("{CHUNK_TYPE};part=2,of=2"),
            format!("{CHUNK_TYPE};id=,part=2,of=2"),
            format!("{CHUNK_TYPE};id=a,part=+2,of=2"),
            format!("{CHUNK_TYPE};id=a%2,part=2,of=2"),
            format!("{CHUNK_TYPE};id=a%0A,part=2,of=2"),
            format!("{CHUNK_TYPE};id={},part=2,of=2", "a".repeat(1000)),
            "text/plain;id=a,part=2,of=2".to_owned(),
            escaped("a", 0, 2),
            escaped("a", 3, 2),
            escaped("a", 1, 0),
            escaped("a", 1, 10_001),
            escaped("a", 4_294_967_297, 4_294_967_298),
        ] {
            assert_eq!(chunks.take(&content_type, b"?"), None, "{content_type}");
        }
        assert_eq!(chunks.take(&escaped("a", 2, 2), b"2"), Some(b"12".to_vec()));
    }

    #[test]
    fn a_flood_of_parts_is_bounded_by_the_size_of_a_profile() {
        let mut chunks = Chunks::default();
        let body = vec![b'x'; 100_000];
        for part in 1..=1000 {
            assert_eq!(chunks.take(&escaped("a", part, 1000), &body), None);
            assert!(chunks.parts.values().map(Vec::len).sum::<usize>() <= MAX_PROFILE);
        }
    }

    proptest! {
        #[test]
        fn any_content_type_is_read_or_ignored(parameter in "(id=[a-z0-9]{0,3}[,%]?(2C)?part=[0-9]{0,3},of=[0-9]{0,3})?\\PC{0,20}") {
            let _ = Chunks::default().take(&format!("{CHUNK_TYPE};{parameter}"), b"x");
        }
    }
}
