//! Single devices of other people that the owner has banned, and their file (`spec: contacts 5`).
//!
//! The reference keeps such bans in memory only. Here they outlive a restart; own devices are not told of
//! them.

use std::collections::BTreeMap;

use crate::contact::trust::{MAX_MANUAL_STATUSES, TrustError};
use crate::ids::{AccountId, DeviceId, DeviceShortId};
use crate::msgpack::{self, Value as Object};

/// Largest file of banned devices read in bytes: room for [`MAX_MANUAL_STATUSES`] of some 100 bytes each.
pub const MAX_BANNED_DEVICES_FILE: usize = 256 * 1024;

/// What is known of a banned device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BannedDevice {
    /// Whose it is.
    pub account: AccountId,
    /// How its certificate is named in the trust table.
    pub short: DeviceShortId,
}

/// The banned devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BannedDevices {
    devices: BTreeMap<DeviceId, BannedDevice>,
}

impl BannedDevices {
    /// Bans a device.
    ///
    /// # Errors
    /// [`TrustError::Full`].
    pub fn ban(&mut self, device: DeviceId, banned: BannedDevice) -> Result<(), TrustError> {
        if self.devices.len() >= MAX_MANUAL_STATUSES && !self.contains(device) {
            return Err(TrustError::Full);
        }
        self.devices.insert(device, banned);
        Ok(())
    }

    /// Lifts a ban; says whose device it is.
    pub fn allow(&mut self, device: DeviceId) -> Option<BannedDevice> {
        self.devices.remove(&device)
    }

    /// Whether a device is banned.
    #[must_use]
    pub fn contains(&self, device: DeviceId) -> bool {
        self.devices.contains_key(&device)
    }

    /// The banned devices of somebody.
    pub fn of(&self, account: AccountId) -> impl Iterator<Item = DeviceId> {
        self.devices.iter().filter(move |(_, banned)| banned.account == account).map(|(device, _)| *device)
    }

    /// Their certificates, named as those of accounts are.
    pub fn certificates(&self) -> impl Iterator<Item = AccountId> {
        self.devices.values().map(|banned| AccountId(banned.short.0))
    }

    /// The file; one of our own.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.devices.iter().map(|(device, banned)| {
            let known = Object::map([
                ("account", Object::binary(&banned.account.0)),
                ("sha1", Object::binary(&banned.short.0)),
            ]);
            (Object::binary(&device.0), known)
        });
        Object::Map(entries.collect()).encode()
    }

    /// Reads the file. Wrong entries are skipped; how many is told.
    ///
    /// # Errors
    /// What is wrong when it is no map at all.
    pub fn decode(file: &[u8]) -> Result<(Self, usize), String> {
        let (object, _) =
            msgpack::decode(file, MAX_BANNED_DEVICES_FILE).map_err(|error| error.to_string())?;
        let entries = object.as_map().ok_or("the file of banned devices holds no map")?;
        let read = |(device, known): &(Object, Object)| {
            let account = AccountId::from_bytes(known.get("account")?.as_binary()?)?;
            let short = DeviceShortId::from_bytes(known.get("sha1")?.as_binary()?)?;
            Some((DeviceId::from_bytes(device.as_binary()?)?, BannedDevice { account, short }))
        };
        let devices: BTreeMap<_, _> = entries.iter().filter_map(read).take(MAX_MANUAL_STATUSES).collect();
        let skipped = entries.len() - devices.len();
        Ok((Self { devices }, skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u16) -> (DeviceId, BannedDevice) {
        let mut id = [3; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let short = DeviceShortId([number.to_be_bytes()[1]; 20]);
        (DeviceId(id), BannedDevice { account: AccountId([1; 20]), short })
    }

    #[test]
    fn banned_devices_survive_their_file_and_wrong_entries_are_skipped() {
        let mut banned = BannedDevices::default();
        for number in 0..3 {
            let (id, known) = device(number);
            banned.ban(id, known).unwrap();
        }
        assert_eq!(BannedDevices::decode(&banned.encode()).unwrap(), (banned.clone(), 0));
        let wrong = Object::Map(vec![
            (Object::binary(&[1]), Object::map([("account", Object::text("nobody"))])),
            (Object::binary(&device(1).0.0), Object::Nil),
        ]);
        assert_eq!(BannedDevices::decode(&wrong.encode()).unwrap(), (BannedDevices::default(), 2));
        assert!(BannedDevices::decode(b"\xc1").is_err());
        assert!(BannedDevices::decode(&Object::Nil.encode()).is_err());
        assert_eq!(banned.allow(device(1).0), Some(device(1).1));
        assert_eq!(banned.allow(device(1).0), None);
        assert_eq!(banned.of(AccountId([1; 20])).count(), 2);
    }

    #[test]
    fn no_more_than_a_bounded_number_is_banned() {
        let mut banned = BannedDevices::default();
        let taken = (0..2000).filter(|number| banned.ban(device(*number).0, device(*number).1).is_ok());
        assert_eq!(taken.count(), MAX_MANUAL_STATUSES);
        assert_eq!(banned.ban(device(0).0, device(0).1), Ok(()));
    }
}
