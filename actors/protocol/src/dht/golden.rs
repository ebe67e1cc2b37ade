//! Recorded values and keys for the tests.

use std::sync::OnceLock;

use base64::Engine as _;

use crate::dht::value::{Body, Value};
use crate::ids::DhtKey;
use crate::keys::PrivateKey;
use crate::testing::text;

/// Key of the signed values of `spec: dht V19, V20`.
pub(crate) fn throw_away_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::from_pem(text!("spec/dht/throw-away.key")).unwrap())
}

/// Device key of account B in `spec: identity V3, contacts V3`.
pub(crate) fn device_b() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::from_pem(text!("spec/identity/device.key")).unwrap())
}

/// What is signed, and the signature, of `spec: dht V19`.
pub(crate) fn signed_value() -> (Vec<u8>, Vec<u8>) {
    let mut lines = text!("spec/dht/signed-value.txt").lines().map(|line| hex::decode(line).unwrap());
    (lines.next().unwrap(), lines.next().unwrap())
}

/// The trust request of `spec: contacts V3`, encrypted to [`device_b`].
pub(crate) fn trust_request() -> Vec<u8> {
    let text: String = text!("spec/contacts/trust-request.base64").split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// A value put by a daemon of 2023.
#[derive(serde::Deserialize)]
pub(crate) struct Recorded {
    pub(crate) key: DhtKey,
    pub(crate) key_is: String,
    pub(crate) packed_value: String,
    /// The opened body, in hexadecimal.
    #[serde(default)]
    pub(crate) decrypted: Option<String>,
    /// Such as `bob device key`.
    #[serde(default)]
    pub(crate) decrypted_with: Option<String>,
}

/// A line of the recordings of 2026.
#[derive(serde::Deserialize)]
pub(crate) struct RecordedLine {
    /// `put`, or `plain` for what the next line holds encrypted.
    pub(crate) kind: String,
    pub(crate) key: DhtKey,
    pub(crate) packed: String,
}

pub(crate) fn jami_13_7() -> Vec<Recorded> {
    serde_json::from_str(text!("vectors/jami-13.7.0/dht/values-put.json")).unwrap()
}

pub(crate) fn jami_13_11() -> Vec<Recorded> {
    serde_json::from_str(text!("vectors/jami-13.11.0/dht/values-put.json")).unwrap()
}

pub(crate) fn newest() -> Vec<RecordedLine> {
    [text!("vectors/newest/dht/alice.jsonl"), text!("vectors/newest/dht/bob.jsonl")]
        .iter()
        .flat_map(|file| file.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Every recorded value with a name for failures.
pub(crate) fn packed_values() -> Vec<(String, Vec<u8>)> {
    let old = jami_13_7().into_iter().chain(jami_13_11());
    let old = old.map(|value| (value.key_is, value.packed_value));
    let new = newest().into_iter().map(|line| (format!("{} at {}", line.kind, line.key), line.packed));
    old.chain(new).map(|(name, text)| (name, hex::decode(text).unwrap())).collect()
}

fn key(pem: &str) -> PrivateKey {
    PrivateKey::from_pem(pem).unwrap()
}

/// The device keys that open the encrypted values of 13.7.0.
pub(crate) fn jami_13_7_key(owner: &str) -> PrivateKey {
    match owner {
        "alice" => key(text!("vectors/jami-13.7.0/accounts/alice/ring_device.key")),
        "bob" => key(text!("vectors/jami-13.7.0/accounts/bob/ring_device.key")),
        _ => panic!("no key of {owner}"),
    }
}

/// The device keys of alice and bob in the recordings of 2026.
pub(crate) fn newest_keys() -> [PrivateKey; 2] {
    [
        key(text!("vectors/newest/accounts/alice/ring_device.key")),
        key(text!("vectors/newest/accounts/bob/ring_device.key")),
    ]
}

/// Recorded certificates with the keys they are stored at.
pub(crate) fn certificates() -> Vec<(DhtKey, Value)> {
    let old = jami_13_7().into_iter().map(|value| (value.key, value.packed_value));
    let new = newest().into_iter().map(|line| (line.key, line.packed));
    old.chain(new)
        .map(|(key, packed)| (key, Value::decode(&hex::decode(packed).unwrap()).unwrap()))
        .filter(|(_, value)| matches!(&value.body, Body::Plain(content) if content.type_number == 8))
        .collect()
}
