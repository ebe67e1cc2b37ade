//! The header of a pack entry: kind, inflated size, and the base of a delta.
//!
//! ```text
//!   MTTTSSSS MSSSSSSS …   M more, T type, S size, least significant bits first
//!   then, type 6: MOOOOOOO … distance back to the base;  type 7: 20 bytes id of the base
//! ```

use super::super::super::object::ObjectKind;
use crate::ids::ObjectId;

/// Where a delta's base is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Whole(ObjectKind),
    /// So many bytes before the entry.
    OffsetDelta(u64),
    ReferenceDelta(ObjectId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryHeader {
    pub(super) stored: Stored,
    pub(super) size: u64,
}

const OFFSET_DELTA: u8 = 6;
const REFERENCE_DELTA: u8 = 7;

/// Reads a header at the beginning of `bytes`: `None` if more bytes are needed.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<EntryHeader>, &'static str> {
    let Some((&first, mut rest)) = bytes.split_first() else { return Ok(None) };
    let mut size = u64::from(first & 0x0f);
    let mut shift = 4;
    let mut more = first & 0x80 != 0;
    while more {
        let Some((&byte, tail)) = rest.split_first() else { return Ok(None) };
        rest = tail;
        if shift > 53 {
            return Err("its size is no number a pack can hold");
        }
        size |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        more = byte & 0x80 != 0;
    }
    let stored = match (first >> 4) & 7 {
        1 => Stored::Whole(ObjectKind::Commit),
        2 => Stored::Whole(ObjectKind::Tree),
        3 => Stored::Whole(ObjectKind::Blob),
        4 => return Err("it is a tag, which conversations do not have"),
        OFFSET_DELTA => match parse_distance(rest)? {
            Some(distance) => Stored::OffsetDelta(distance),
            None => return Ok(None),
        },
        REFERENCE_DELTA => match rest.get(..ObjectId::LENGTH).and_then(ObjectId::from_bytes) {
            Some(id) => Stored::ReferenceDelta(id),
            None => return Ok(None),
        },
        _ => return Err("its type is unknown"),
    };
    Ok(Some(EntryHeader { stored, size }))
}

fn parse_distance(bytes: &[u8]) -> Result<Option<u64>, &'static str> {
    let mut distance: u64 = 0;
    for (position, byte) in bytes.iter().enumerate() {
        if position >= 8 {
            return Err("its base is too far away");
        }
        if position > 0 {
            distance += 1;
        }
        distance = distance << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(Some(distance));
        }
    }
    Ok(None)
}

/// Appends the header of a whole object.
pub(super) fn encode(kind: ObjectKind, size: u64, out: &mut Vec<u8>) {
    let code: u8 = match kind {
        ObjectKind::Commit => 1,
        ObjectKind::Tree => 2,
        ObjectKind::Blob => 3,
    };
    encode_size(code, size, out);
}

/// Appends the header of a delta upon the entry that begins so many bytes before.
pub(super) fn encode_delta(mut distance: u64, size: u64, out: &mut Vec<u8>) {
    encode_size(OFFSET_DELTA, size, out);
    let start = out.len();
    out.push(low_bits(distance, 0x7f));
    distance >>= 7;
    while distance > 0 {
        distance -= 1;
        out.push(low_bits(distance, 0x7f) | 0x80);
        distance >>= 7;
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}

fn encode_size(code: u8, mut size: u64, out: &mut Vec<u8>) {
    let mut byte = code << 4 | low_bits(size, 0x0f);
    size >>= 4;
    while size > 0 {
        out.push(byte | 0x80);
        byte = low_bits(size, 0x7f);
        size >>= 7;
    }
    out.push(byte);
}

fn low_bits(number: u64, mask: u8) -> u8 {
    number.to_le_bytes()[0] & mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn endless_numbers_are_refused() {
        assert!(parse(&[0xff; 40]).is_err());
        let mut offset = vec![0x60];
        offset.extend([0xff; 20]);
        assert!(parse(&offset).is_err());
        assert!(parse(&[0x00]).is_err());
        assert!(parse(&[0x50]).is_err());
    }

    #[test]
    fn distances_follow_gits_counting() {
        assert_eq!(parse(&[0x60, 0x7f]).unwrap().unwrap().stored, Stored::OffsetDelta(127));
        assert_eq!(parse(&[0x60, 0x80, 0x00]).unwrap().unwrap().stored, Stored::OffsetDelta(128));
        assert_eq!(parse(&[0x60, 0x80]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn headers_of_deltas_survive(distance in 0_u64..(1 << 50), size in 0_u64..(1 << 50)) {
            let mut bytes = Vec::new();
            encode_delta(distance, size, &mut bytes);
            let header = EntryHeader { stored: Stored::OffsetDelta(distance), size };
            prop_assert_eq!(parse(&bytes).unwrap(), Some(header));
        }

        #[test]
        fn headers_of_whole_objects_survive(size in 0_u64..(1 << 56)) {
            let mut bytes = Vec::new();
            encode(ObjectKind::Tree, size, &mut bytes);
            let header = EntryHeader { stored: Stored::Whole(ObjectKind::Tree), size };
            prop_assert_eq!(parse(&bytes).unwrap(), Some(header));
            prop_assert_eq!(parse(&bytes[..bytes.len() - 1]).unwrap(), None);
        }
    }
}
