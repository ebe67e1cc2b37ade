//! The devices of an account as each of them knows them, and their file, `knownDevices`
//! (`spec: sync 5.1, contacts 4.1`).
//!
//! A device is added when its certificate was found and is the account's, and goes when the account
//! revokes it; what other devices say adds names only. A device's own word about its name counts more
//! than that of others, who may have an older one.

use std::collections::BTreeMap;

use crate::ids::DeviceId;
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::profile::shown_name;
use crate::time::UnixMillis;

/// Most devices of one account: each costs a link, and sync messages name all of them.
pub const MAX_DEVICES: usize = 128;

/// Longest name of a device, in bytes. A longer one is cut.
pub const MAX_DEVICE_NAME: usize = 128;

/// Largest file read, in bytes.
pub const MAX_DEVICES_FILE: usize = MAX_DEVICES * (MAX_DEVICE_NAME + 128);

/// How the newest daemons write a time that never was, in milliseconds.
const NEVER: UnixMillis = UnixMillis(-9_223_372_036_854);

/// Why a device is not added, or the file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevicesError {
    /// [`MAX_DEVICES`] is reached.
    #[error("the account has {MAX_DEVICES} devices already; revoke some")]
    Full,
    /// Not MessagePack. The list starts empty then, and sync fills it.
    #[error("the file of devices cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No map.
    #[error("the file of devices holds no map")]
    NotAMap,
}

/// What is known of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDevice {
    /// Its name; empty until somebody tells it.
    name: String,
    /// Whether the device has told its name itself.
    told_itself: bool,
    /// When it synchronised last; `None` for never.
    pub synced: Option<UnixMillis>,
    /// Its clock when it put on the DHT what it knows, the last time; 0 for never (`spec: sync 9.1`).
    told_over_dht: u64,
}

impl KnownDevice {
    /// Its name; empty until somebody tells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The devices of an account, this one included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDevices(BTreeMap<DeviceId, KnownDevice>);

impl KnownDevices {
    /// What is known of a device.
    #[must_use]
    pub fn get(&self, device: DeviceId) -> Option<&KnownDevice> {
        self.0.get(&device)
    }

    /// All of them by rising id.
    pub fn iter(&self) -> impl Iterator<Item = (DeviceId, &KnownDevice)> {
        self.0.iter().map(|(device, known)| (*device, known))
    }

    /// Whether there is room for another one.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.0.len() < MAX_DEVICES
    }

    /// Adds a device whose certificate is the account's and not revoked; says whether it was not known.
    ///
    /// # Errors
    /// [`DevicesError::Full`].
    pub fn add(&mut self, device: DeviceId) -> Result<bool, DevicesError> {
        if self.0.contains_key(&device) {
            return Ok(false);
        }
        if !self.has_room() {
            return Err(DevicesError::Full);
        }
        self.0.insert(device, KnownDevice::default());
        Ok(true)
    }

    /// Takes a device out because the account has revoked it; says whether it was there.
    pub fn revoke(&mut self, device: DeviceId) -> bool {
        self.0.remove(&device).is_some()
    }

    /// Notes the name of a known device, as `from` tells it; says whether it changed. An empty name says
    /// nothing. Of two names that others tell, the greater one counts until the device tells its own.
    pub fn name(&mut self, device: DeviceId, name: &str, from: DeviceId) -> bool {
        let name = device_name(name);
        let itself = device == from;
        let Some(known) = self.0.get_mut(&device).filter(|_| !name.is_empty()) else { return false };
        if !itself && (known.told_itself || name <= known.name) {
            return false;
        }
        let changed = known.name != name || known.told_itself != itself;
        (known.name, known.told_itself) = (name, itself);
        changed
    }

    /// Notes the clock of a known device when it put on the DHT what it knows; says whether that is later than
    /// all before. What was put earlier may come late, or be put once more by anybody.
    pub fn told_over_dht(&mut self, device: DeviceId, date: u64) -> bool {
        let Some(known) = self.0.get_mut(&device).filter(|known| known.told_over_dht < date) else {
            return false;
        };
        known.told_over_dht = date;
        true
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entry = |(device, known): (DeviceId, &KnownDevice)| {
            let synced = known.synced.unwrap_or(NEVER).0;
            let mut entry = vec![("name", Object::text(&known.name)), ("syncMs", Object::from(synced))];
            if known.told_itself {
                entry.push(("told", true.into()));
            }
            if known.told_over_dht > 0 {
                entry.push(("toldOverDht", Object::from(known.told_over_dht)));
            }
            (Object::binary(&device.0), Object::map(entry))
        };
        Object::Map(self.iter().map(entry).collect()).encode()
    }

    /// Reads the file, also as daemons of 2023 write it. Wrong entries, and those beyond the limit, are
    /// skipped; how many is told.
    ///
    /// # Errors
    /// When it is no map at all.
    pub fn decode(file: &[u8]) -> Result<(Self, usize), DevicesError> {
        let (object, _) = msgpack::decode(file, MAX_DEVICES_FILE)?;
        let entries = object.as_map().ok_or(DevicesError::NotAMap)?;
        let mut devices = Self::default();
        let mut skipped = 0;
        for (device, entry) in entries {
            let device = device.as_binary().and_then(DeviceId::from_bytes);
            match device.zip(KnownDevice::from_object(entry)).filter(|_| devices.has_room()) {
                Some((device, known)) => drop(devices.0.insert(device, known)),
                None => skipped += 1,
            }
        }
        Ok((devices, skipped))
    }
}

impl KnownDevice {
    fn from_object(object: &Object) -> Option<Self> {
        let (name, synced) = match object.as_array() {
            Some([name, seconds]) => (name, UnixMillis::from_seconds(seconds.as_signed().unwrap_or(0))),
            Some(_) => return None,
            None => {
                let millis = object.get("syncMs").and_then(Object::as_signed).unwrap_or(0);
                (object.get("name")?, UnixMillis(millis))
            }
        };
        let told_itself = object.get("told").and_then(Object::as_bool).unwrap_or(false);
        let synced = Some(synced).filter(|time| time.0 > 0);
        let told_over_dht = object.get("toldOverDht").and_then(Object::as_unsigned).unwrap_or(0);
        Some(Self { name: device_name(name.as_text()?), told_itself, synced, told_over_dht })
    }
}

/// A device's name as it is shown and told: one line that cannot disturb what stands around it, cut
/// where a letter ends.
#[must_use]
pub fn device_name(name: &str) -> String {
    let mut name = shown_name(name);
    name.truncate(name.floor_char_boundary(MAX_DEVICE_NAME));
    name.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{data, with_mutations};

    const A: DeviceId = DeviceId([1; 32]);
    const B: DeviceId = DeviceId([2; 32]);
    const C: DeviceId = DeviceId([3; 32]);

    fn fuzz_devices(data: &[u8]) {
        if let Ok((devices, _)) = KnownDevices::decode(data) {
            assert_eq!(KnownDevices::decode(&devices.encode()), Ok((devices, 0)));
        }
    }

    fn with(devices: impl IntoIterator<Item = DeviceId>) -> KnownDevices {
        let mut known = KnownDevices::default();
        devices.into_iter().for_each(|device| drop(known.add(device)));
        known
    }

    #[test]
    fn the_files_of_real_daemons_are_read_and_damaged_ones_do_no_harm() {
        let (devices, skipped) =
            KnownDevices::decode(data!("vectors/newest/accounts/alice2/knownDevices")).unwrap();
        let all: Vec<_> = devices.iter().map(|(_, it)| (it.name(), it.synced)).collect();
        assert_eq!((&*all, skipped), (&[("vm", None), ("vm", Some(UnixMillis(1_795_343_887_092)))][..], 0));
        for file in [
            data!("vectors/newest/accounts/alice/knownDevices"),
            data!("vectors/newest/accounts/alice2/knownDevices"),
        ] {
            assert_eq!(KnownDevices::decode(file).unwrap().0.encode(), file);
            with_mutations(file, 300, fuzz_devices);
        }
    }

    #[test]
    fn the_file_of_a_daemon_of_2023_is_read() {
        // (spec: contacts V5)
        let file = "81c4204724b151bd480f1fda0996d922e15086260f9046631ff1656352832ef89b7c4392a2766dce6b02b37f";
        let (devices, skipped) = KnownDevices::decode(&hex::decode(file).unwrap()).unwrap();
        let device = devices.iter().next().unwrap().1;
        let synced = Some(UnixMillis::from_seconds(1_795_339_135));
        assert_eq!((device.name(), device.synced, skipped), ("vm", synced, 0));
    }

    #[test]
    fn a_device_is_called_what_it_says_itself() {
        let mut known = with([A, B]);
        assert!(known.name(A, "desk", B), "by hearsay");
        assert!(!known.name(A, "", B) && !known.name(A, "couch", B));
        assert!(known.name(A, "attic", A), "by its own word");
        assert!(!known.name(A, "desk", B), "others may not know yet");
        assert!(known.name(A, "cellar", A));
        assert_eq!(known.get(A).unwrap().name(), "cellar");
        assert!(!known.name(C, "x", C), "nobody has seen its certificate");
    }

    #[test]
    fn what_a_device_put_on_the_dht_counts_once_and_in_order_also_when_it_was_written_and_read() {
        let mut known = with([A, B]);
        assert!(known.told_over_dht(A, 5) && !known.told_over_dht(A, 5) && !known.told_over_dht(A, 4));
        assert!(known.told_over_dht(B, u64::MAX), "each has a clock of its own");
        let (mut again, skipped) = KnownDevices::decode(&known.encode()).unwrap();
        assert_eq!((&again, skipped), (&known, 0));
        assert!(!again.told_over_dht(A, 5) && !again.told_over_dht(B, u64::MAX) && again.told_over_dht(A, 6));
        assert!(!again.told_over_dht(C, 9), "nobody has seen its certificate");
        again.revoke(A);
        assert!(again.add(A) == Ok(true) && again.told_over_dht(A, 1), "nothing is left of a revoked one");
    }

    #[test]
    fn names_are_one_short_line() {
        let mut known = with([A]);
        known.name(A, &format!("a\u{202e}b\n{}", "é".repeat(200)), A);
        let name = known.get(A).unwrap().name();
        assert!(
            name.starts_with("ab") && name.len() <= MAX_DEVICE_NAME && !name.contains('\u{202e}'),
            "{name:?}"
        );
        let (again, _) = KnownDevices::decode(&known.encode()).unwrap();
        assert_eq!(again, known);
    }

    #[test]
    fn the_number_of_devices_is_bounded_and_a_revoked_one_makes_room() {
        let id = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            DeviceId(id)
        };
        let mut known = with((0..MAX_DEVICES).map(id));
        assert_eq!(known.add(A), Err(DevicesError::Full));
        assert_eq!(known.add(id(3)), Ok(false));
        assert!(known.revoke(id(3)) && !known.revoke(id(3)));
        assert_eq!(known.add(A), Ok(true));
        assert!(known.encode().len() < MAX_DEVICES_FILE);
    }

    #[test]
    fn one_wrong_entry_does_not_discard_the_others() {
        let good = Object::map([("name", "x".into()), ("syncMs", u64::MAX.into())]);
        let file = Object::Map(vec![
            (Object::binary(&[1; 31]), good.clone()),
            (Object::binary(&A.0), good),
            (Object::binary(&B.0), Object::Array(vec!["x".into()])),
            (Object::binary(&C.0), Object::map([("name", Object::Nil)])),
        ]);
        let (known, skipped) = KnownDevices::decode(&file.encode()).unwrap();
        assert_eq!((known.get(A).map(KnownDevice::name), known.iter().count(), skipped), (Some("x"), 1, 3));
    }

    proptest! {
        #[test]
        fn names_merge_in_any_order_when_devices_tell_their_own(
            told in prop::collection::vec((0..3_u8, 0..3_u8, "[a-d]?"), 0..12),
        ) {
            // What each device says of itself is one name; hearsay may be anything.
            let device = |number: u8| DeviceId([number; 32]);
            let merged = |told: &mut dyn Iterator<Item = &(u8, u8, String)>| {
                let mut known = with((0..3).map(device));
                for (about, from, name) in told {
                    let own = format!("own {about}");
                    let name = if about == from { &own } else { name };
                    known.name(device(*about), name, device(*from));
                }
                known
            };
            let all = merged(&mut told.iter());
            prop_assert_eq!(merged(&mut told.iter().rev()), all.clone());
            prop_assert_eq!(merged(&mut told.iter().rev().chain(&told)), all);
        }
    }
}
