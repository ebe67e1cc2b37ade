//! Snapshots of local state: what can be rebuilt, kept so that it need not be.
//!
//! A version byte, then bincode in its legacy layout (fixed integers, as bincode 1 and its
//! successors write it). Never used for bytes from a peer. A snapshot that does not decode is
//! thrown away and rebuilt, so decoding yields an option, not an error.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian, legacy};
use bincode::{Decode, Encode};

/// Largest snapshot, in bytes. Without a limit a damaged length makes the decoder ask for memory
/// without end.
pub const MAX_SNAPSHOT: usize = 64 * 1024 * 1024;

const fn configuration() -> Configuration<LittleEndian, Fixint, Limit<MAX_SNAPSHOT>> {
    legacy().with_limit::<MAX_SNAPSHOT>()
}

/// The bytes of a snapshot, or none if it is larger than [`MAX_SNAPSHOT`].
#[must_use]
pub fn encode<T: Encode>(version: u8, state: &T) -> Option<Vec<u8>> {
    let mut bytes = vec![version];
    bincode::encode_into_std_write(state, &mut bytes, configuration()).ok()?;
    (bytes.len() <= MAX_SNAPSHOT).then_some(bytes)
}

/// The state in a snapshot of this version, if it is one and is whole.
#[must_use]
pub fn decode<T: Decode<()>>(version: u8, bytes: &[u8]) -> Option<T> {
    let (found, body) = bytes.split_first()?;
    if *found != version {
        return None;
    }
    let (state, used) = bincode::decode_from_slice(body, configuration()).ok()?;
    (used == body.len()).then_some(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_snapshot_survives_its_bytes(state in any::<(Vec<(u64, String)>, Option<[u8; 20]>)>()) {
            let bytes = encode(3, &state).unwrap();
            prop_assert_eq!(decode(3, &bytes), Some(state));
            prop_assert_eq!(decode::<(Vec<(u64, String)>, Option<[u8; 20]>)>(4, &bytes), None);
            prop_assert_eq!(decode::<(Vec<(u64, String)>, Option<[u8; 20]>)>(3, &bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn damaged_snapshots_are_none_and_ask_for_no_memory(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Vec<(Vec<u8>, String)>>(0, &bytes);
        }
    }

    #[test]
    fn a_hostile_length_is_refused() {
        assert_eq!(decode::<Vec<u8>>(1, &[1, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }
}
