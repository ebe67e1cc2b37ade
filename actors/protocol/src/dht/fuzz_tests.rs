//! Fuzz bodies of this room, over the values that real daemons put.

use super::content::read_body;
use super::value::Value;
use super::{cipher, golden, kind};
use crate::ids::DhtKey;
use crate::msgpack;
use crate::testing::with_mutations;

fn fuzz_value(data: &[u8]) {
    let Ok(value) = Value::decode(data) else { return };
    assert_eq!(Value::decode(&value.encode()).as_ref(), Ok(&value));
    let _ = (value.fingerprint(), kind::may_replace(&value, &value));
    let _ = kind::admit(DhtKey([1; 20]), value, None);
}

fn fuzz_cipher(data: &[u8]) {
    let _ = cipher::open(data, golden::device_b());
}

/// What is inside of an encrypted value, which anybody may encrypt for us.
fn fuzz_body(data: &[u8]) {
    let _ = msgpack::decode_all(data).map(|body| read_body(&body).map(drop));
}

#[test]
fn damaged_values_are_read_or_refused() {
    for (_, packed) in golden::packed_values() {
        with_mutations(&packed, 30, fuzz_value);
    }
}

#[test]
fn damaged_cipher_texts_are_opened_or_refused() {
    with_mutations(&golden::trust_request(), 100, fuzz_cipher);
}

#[test]
fn damaged_bodies_are_read_or_refused() {
    for recorded in golden::jami_13_7().into_iter().chain(golden::jami_13_11()) {
        let body = recorded.decrypted.map(|text| hex::decode(text).unwrap());
        with_mutations(&body.unwrap_or_default(), 100, fuzz_body);
    }
}
