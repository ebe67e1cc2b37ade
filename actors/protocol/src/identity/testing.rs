//! Recorded keys, certificates and archives for the tests of this room.

use serde_json::Value;

use crate::keys::PrivateKey;
pub(super) use crate::testing::{Sequence, data};
use crate::time::UnixMillis;

/// A time at which all recorded certificates are valid.
pub(super) const RECORDED: UnixMillis = UnixMillis(1_795_350_000_000);

/// A device as a real daemon left it on disk, and what that daemon said of it.
pub(super) struct Device {
    pub(super) name: &'static str,
    pub(super) chain: &'static [u8],
    pub(super) key: &'static [u8],
    pub(super) account_id: String,
    pub(super) device_id: String,
}

/// The recorded devices of all releases.
pub(super) fn devices() -> Vec<Device> {
    macro_rules! device {
        ($folder:literal, $said:expr) => {{
            let (account_id, device_id) = $said;
            Device {
                name: $folder,
                chain: data!("vectors/", $folder, "/ring_device.crt"),
                key: data!("vectors/", $folder, "/ring_device.key"),
                account_id,
                device_id,
            }
        }};
    }
    macro_rules! old {
        ($folder:literal) => {
            device!($folder, said(data!("vectors/", $folder, "/identity.json"), None, "jami_id", "device_id"))
        };
    }
    let ids = data!("vectors/newest/accounts/ids.json");
    let newest = |name| said(ids, Some(name), "uri_reported", "device_reported");
    vec![
        old!("jami-13.7.0/accounts/alice"),
        old!("jami-13.7.0/accounts/alice2"),
        old!("jami-13.7.0/accounts/bob"),
        old!("jami-13.7.0/accounts/carol"),
        old!("jami-13.11.0/accounts/alice"),
        old!("jami-13.11.0/accounts/alice2"),
        old!("jami-13.11.0/accounts/bob"),
        old!("jami-13.11.0/accounts/carol"),
        device!("newest/accounts/alice", newest("alice")),
        device!("newest/accounts/alice2", newest("alice2")),
        device!("newest/accounts/bob", newest("bob")),
        device!("newest/accounts/carla", newest("carla")),
    ]
}

fn said(json: &[u8], name: Option<&str>, account: &str, device: &str) -> (String, String) {
    let json: Value = serde_json::from_slice(json).unwrap();
    let json = name.map_or(&json, |name| &json[name]);
    (json[account].as_str().unwrap().to_owned(), json[device].as_str().unwrap().to_owned())
}

/// The chain of the specification's account B: device, account, CA.
pub(super) const CHAIN_B: &[u8] = data!("spec/identity/chain.pem");

pub(super) fn account_key_b() -> PrivateKey {
    key(data!("spec/identity/account.key"))
}

pub(super) fn device_key_b() -> PrivateKey {
    key(data!("spec/identity/device.key"))
}

pub(super) fn key(pem: &[u8]) -> PrivateKey {
    PrivateKey::from_pem(std::str::from_utf8(pem).unwrap()).unwrap()
}
