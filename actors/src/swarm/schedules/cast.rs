//! People and their devices, with keys that were made beforehand, and certificates made once.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, OnceLock};

use skep_protocol::identity::{AccountKeys, Archive, DeviceIdentity, EthereumKey, IssuedAt, SerialNumber};
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

use crate::recorded::NOW;

/// People there can be: enough for a group whose overlay gives channels to some only.
pub(super) const MAX_PEOPLE: usize = 20;

/// People that have a key which is no device's. The others have that of a device of somebody else.
const OWN_KEYS: usize = 15;

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
        assert_eq!(keys.len(), 1 + OWN_KEYS + MAX_DEVICES);
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
pub(in crate::swarm) fn identity(device: usize, people: usize) -> Arc<DeviceIdentity> {
    static ENROLLED: Mutex<BTreeMap<(usize, usize), Arc<DeviceIdentity>>> = Mutex::new(BTreeMap::new());
    let person = device % people;
    let mut enrolled = ENROLLED.lock().unwrap();
    let enrol = || {
        let key = keys()[1 + OWN_KEYS + device].clone();
        let at = IssuedAt { now: ISSUED, serial: serial(1_000 + device) };
        Arc::new(archive(person).enrol(key, at).unwrap())
    };
    Arc::clone(enrolled.entry((device, person)).or_insert_with(enrol))
}
