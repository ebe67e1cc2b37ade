//! Fuzz bodies of what all rooms share: MessagePack and public keys.

use crate::dht::golden;
use crate::keys::PublicKey;
use crate::msgpack;
use crate::testing::with_mutations;

/// Far more than the recordings have, far less than would be felt.
const LIMIT: usize = 4096;

fn fuzz_msgpack(data: &[u8]) {
    if let Ok((value, length)) = msgpack::decode(data, LIMIT) {
        assert!(length <= data.len());
        // As text, because a number that is none does not equal itself.
        let again = msgpack::decode_all(&value.encode()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{value:?}"));
    }
}

fn fuzz_public_key(data: &[u8]) {
    if let Ok(key) = PublicKey::from_der(data) {
        assert_eq!(key.der(), data);
        let _ = (key.verify(b"data", &[0; 512]), key.encrypt_block(b"plain"));
    }
}

#[test]
fn damaged_msgpack_is_read_or_refused() {
    for (_, packed) in golden::packed_values() {
        with_mutations(&packed, 30, fuzz_msgpack);
    }
}

#[test]
fn damaged_public_keys_are_read_or_refused() {
    with_mutations(golden::device_b().public().der(), 1000, fuzz_public_key);
}
