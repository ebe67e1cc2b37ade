//! People and their devices, with keys that were made beforehand.

use std::io::Read as _;
use std::sync::{Arc, OnceLock};

use skep_protocol::identity::{AccountKeys, Archive, DeviceIdentity, EthereumKey, IssuedAt, SerialNumber};
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

use crate::recorded::NOW;

/// People there can be.
pub(super) const MAX_PEOPLE: usize = 15;

/// Devices there can be in all.
pub(super) const MAX_DEVICES: usize = 50;

const KEYS: &[u8] = include_bytes!("../../../../tests/data/keys/rsa-2048.pem.gz");

/// Before any schedule, as far as clocks go wrong.
const ISSUED: UnixMillis = UnixMillis(NOW.0 - 30 * 24 * 60 * 60 * 1000);

fn keys() -> &'static [PrivateKey] {
    static PARSED: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    PARSED.get_or_init(|| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(KEYS).read_to_string(&mut text).unwrap();
        let keys: Vec<_> = text
            .split_inclusive("-----END PRIVATE KEY-----\n")
            .map(|pem| PrivateKey::from_pem(pem).unwrap())
            .collect();
        assert_eq!(keys.len(), 1 + MAX_PEOPLE + MAX_DEVICES);
        keys
    })
}

fn serial(number: usize) -> SerialNumber {
    SerialNumber::from_random(number as u64 + 1)
}

/// The account of a person.
fn archive(person: usize) -> &'static Archive {
    static ARCHIVES: [OnceLock<Archive>; MAX_PEOPLE] = [const { OnceLock::new() }; MAX_PEOPLE];
    ARCHIVES[person].get_or_init(|| {
        let ethereum = EthereumKey::from_bytes(&[7; 32]).unwrap();
        let keys = AccountKeys { ca: keys()[0].clone(), account: keys()[1 + person].clone(), ethereum };
        Archive::create(keys, ISSUED, [serial(0), serial(person)]).unwrap()
    })
}

/// Device `device` of all, which belongs to the person who is its number modulo `people`.
pub(super) fn identity(device: usize, people: usize) -> Arc<DeviceIdentity> {
    let key = keys()[1 + MAX_PEOPLE + device].clone();
    let at = IssuedAt { now: ISSUED, serial: serial(1_000 + device) };
    Arc::new(archive(device % people).enrol(key, at).unwrap())
}
