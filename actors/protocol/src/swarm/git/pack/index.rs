//! The index of a stored pack, version 2: where each object is.
//!
//! ```text
//!   ff 't' 'O' 'c'  00000002
//!   256 × u32   how many ids begin with a byte up to this one
//!   n × 20      ids, ascending
//!   n × u32     CRC-32 of each entry
//!   n × u32     offset, or with the top bit set a position in the next table
//!   m × u64     offsets of 2 GiB and more
//!   20          checksum of the pack
//!   20          checksum of the index
//! ```

use super::write::WrittenEntry;
use crate::ids::{ObjectId, sha1};

/// First offset that needs the table of long ones.
const LONG_OFFSET: u32 = 0x8000_0000;

/// The bytes of an index over these entries of the pack with this checksum.
#[must_use]
pub fn index_bytes(mut entries: Vec<(ObjectId, WrittenEntry)>, pack_checksum: [u8; 20]) -> Vec<u8> {
    entries.sort_unstable_by_key(|(id, _)| *id);
    let mut out = Vec::with_capacity(1072 + entries.len() * 28);
    out.extend_from_slice(&[0xff, b't', b'O', b'c', 0, 0, 0, 2]);
    let mut counted = 0;
    for first in 0..=u8::MAX {
        counted += entries.get(counted..).unwrap_or_default().partition_point(|(id, _)| id.0[0] <= first);
        out.extend_from_slice(&u32::try_from(counted).unwrap_or(u32::MAX).to_be_bytes());
    }
    for (id, _) in &entries {
        out.extend_from_slice(id.as_bytes());
    }
    for (_, entry) in &entries {
        out.extend_from_slice(&entry.crc32.to_be_bytes());
    }
    let mut long = Vec::new();
    for (_, entry) in &entries {
        let short = u32::try_from(entry.offset).ok().filter(|offset| *offset < LONG_OFFSET);
        let value = short.unwrap_or_else(|| {
            long.push(entry.offset);
            LONG_OFFSET | u32::try_from(long.len() - 1).unwrap_or_default()
        });
        out.extend_from_slice(&value.to_be_bytes());
    }
    for offset in long {
        out.extend_from_slice(&offset.to_be_bytes());
    }
    out.extend_from_slice(&pack_checksum);
    let checksum = sha1(&out);
    out.extend_from_slice(&checksum);
    out
}
