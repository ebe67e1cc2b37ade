//! Which devices of whom are there: announcements on the DHT and live channels
//! (`spec: contacts 6, identity 3`).
//!
//! A device is present while at least one of its announcements lives. A restarted device leaves an
//! old announcement behind for some minutes, so announcements are counted, not devices.

use std::collections::BTreeMap;

use crate::dht::content::{Content, VerifiedContent};
use crate::dht::kind::ValueKind;
use crate::dht::value::Fingerprint;
use crate::ids::{AccountId, DeviceId, DeviceShortId};
use crate::keys::PublicKey;
use crate::msgpack::{self, DecodeError, Value as Object};

/// Accounts tracked: as many as there can be contacts, and own ones.
pub const MAX_TRACKED: usize = 10_240;

/// Announcements remembered per account: a few per device; more are not counted.
pub const MAX_ANNOUNCEMENTS_PER_ACCOUNT: usize = 256;

/// Why a value at the key of an account is no announcement of one of its devices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Not user data.
    #[error("the value is not of the type of announcements")]
    OtherType,
    /// Signed by somebody else.
    #[error("the announcement is signed by {signer}, not by the account {account}")]
    OtherAccount {
        /// The account at whose key it was found.
        account: AccountId,
        /// The short id of the key that signed.
        signer: AccountId,
    },
    /// Not MessagePack.
    #[error("the announcement cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// It holds no device key; so old ones did.
    #[error("the announcement holds no device key")]
    NoDeviceKey,
    /// The device id in it is not that of the key in it.
    #[error("the announcement names another device than its key")]
    OtherDevice,
}

/// A device of an account, as the account announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    device: PublicKey,
}

impl Announcement {
    /// The announcement of a device.
    #[must_use]
    pub fn of(device: PublicKey) -> Self {
        Self { device }
    }

    /// Reads what was found at the key of `account`.
    ///
    /// # Errors
    /// When it does not announce a device of that account.
    pub fn read(account: AccountId, content: &VerifiedContent) -> Result<Self, AnnouncementError> {
        if content.content().type_number != ValueKind::UserData.type_number() {
            return Err(AnnouncementError::OtherType);
        }
        let signer = content.owner().account_id();
        if signer != account {
            return Err(AnnouncementError::OtherAccount { account, signer });
        }
        let map = msgpack::decode_all(&content.content().data)?;
        let device = map.get("pk").and_then(Object::as_binary).ok_or(AnnouncementError::NoDeviceKey)?;
        let device = PublicKey::from_der(device).map_err(|_| AnnouncementError::NoDeviceKey)?;
        let named = map.get("dev").and_then(Object::as_binary).and_then(DeviceShortId::from_bytes);
        if named != Some(device.device_short_id()) {
            return Err(AnnouncementError::OtherDevice);
        }
        Ok(Self { device })
    }

    /// What the account signs.
    #[must_use]
    pub fn content(&self) -> Content {
        let map = Object::map([
            ("dev", Object::binary(&self.device.device_short_id().0)),
            ("pk", Object::binary(self.device.der())),
        ]);
        Content::new(ValueKind::UserData.type_number(), map.encode())
    }

    /// Key of the device.
    #[must_use]
    pub fn device_key(&self) -> &PublicKey {
        &self.device
    }

    /// Id of the device.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.device.device_id()
    }
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PresenceState {
    /// No device is announced.
    #[default]
    Offline,
    /// Some device is announced.
    Available,
    /// A channel to a device is open.
    Connected,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceEvent {
    /// A device is announced that was not.
    DeviceAppeared {
        /// Its account.
        account: AccountId,
        /// The device.
        device: DeviceId,
    },
    /// The last announcement of a device is gone.
    DeviceVanished {
        /// Its account.
        account: AccountId,
        /// The device.
        device: DeviceId,
    },
    /// An account as a whole changed. From [`PresenceState::Offline`] upwards, requests are sent
    /// again and messages synchronised.
    Changed {
        /// The account.
        account: AccountId,
        /// How it was.
        before: PresenceState,
        /// How it is.
        after: PresenceState,
    },
}

#[derive(Debug, Default)]
struct Tracked {
    announcements: BTreeMap<Fingerprint, DeviceId>,
    channels: BTreeMap<DeviceId, u32>,
}

impl Tracked {
    fn state(&self) -> PresenceState {
        if !self.channels.is_empty() {
            PresenceState::Connected
        } else if !self.announcements.is_empty() {
            PresenceState::Available
        } else {
            PresenceState::Offline
        }
    }

    fn is_announced(&self, device: DeviceId) -> bool {
        self.announcements.values().any(|announced| *announced == device)
    }
}

/// The presence of accounts.
#[derive(Debug, Default)]
pub struct Presence {
    accounts: BTreeMap<AccountId, Tracked>,
}

impl Presence {
    /// Starts to track an account; false if too many are tracked.
    pub fn track(&mut self, account: AccountId) -> bool {
        let room = self.accounts.len() < MAX_TRACKED;
        if room {
            self.accounts.entry(account).or_default();
        }
        room || self.accounts.contains_key(&account)
    }

    /// Stops to track an account, without events.
    pub fn untrack(&mut self, account: AccountId) {
        self.accounts.remove(&account);
    }

    /// Whether an account is there; offline if it is not tracked.
    #[must_use]
    pub fn state(&self, account: AccountId) -> PresenceState {
        self.accounts.get(&account).map(Tracked::state).unwrap_or_default()
    }

    /// The announced devices of an account, each once.
    #[must_use]
    pub fn devices(&self, account: AccountId) -> Vec<DeviceId> {
        let announced = self.accounts.get(&account).into_iter().flat_map(|t| t.announcements.values());
        let mut devices: Vec<_> = announced.copied().collect();
        devices.sort_unstable();
        devices.dedup();
        devices
    }

    /// Notes an announcement that was read from the value behind `value`.
    pub fn announced(
        &mut self,
        account: AccountId,
        value: Fingerprint,
        device: DeviceId,
    ) -> Vec<PresenceEvent> {
        self.change(account, device, |tracked| {
            if tracked.announcements.len() < MAX_ANNOUNCEMENTS_PER_ACCOUNT {
                tracked.announcements.insert(value, device);
            }
        })
    }

    /// Notes that a value at the key of an account is gone.
    pub fn expired(&mut self, account: AccountId, value: Fingerprint) -> Vec<PresenceEvent> {
        let tracked = self.accounts.get(&account);
        let Some(device) = tracked.and_then(|tracked| tracked.announcements.get(&value)).copied() else {
            return Vec::new();
        };
        self.change(account, device, |tracked| {
            tracked.announcements.remove(&value);
        })
    }

    /// Notes that a channel to a device is open.
    pub fn channel_opened(&mut self, account: AccountId, device: DeviceId) -> Vec<PresenceEvent> {
        self.change(account, device, |tracked| {
            let channels = tracked.channels.entry(device).or_default();
            *channels = channels.saturating_add(1);
        })
    }

    /// Notes that a channel to a device was closed.
    pub fn channel_closed(&mut self, account: AccountId, device: DeviceId) -> Vec<PresenceEvent> {
        self.change(account, device, |tracked| match tracked.channels.get_mut(&device) {
            Some(channels) if *channels > 1 => *channels -= 1,
            _ => {
                tracked.channels.remove(&device);
            }
        })
    }

    fn change(
        &mut self,
        account: AccountId,
        device: DeviceId,
        change: impl FnOnce(&mut Tracked),
    ) -> Vec<PresenceEvent> {
        let Some(tracked) = self.accounts.get_mut(&account) else { return Vec::new() };
        let (before, was_announced) = (tracked.state(), tracked.is_announced(device));
        change(tracked);
        let (after, is_announced) = (tracked.state(), tracked.is_announced(device));
        let mut events = Vec::new();
        match (was_announced, is_announced) {
            (false, true) => events.push(PresenceEvent::DeviceAppeared { account, device }),
            (true, false) => events.push(PresenceEvent::DeviceVanished { account, device }),
            _ => {}
        }
        if before != after {
            events.push(PresenceEvent::Changed { account, before, after });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::golden;
    use crate::dht::value::{Value, ValueId};

    use PresenceState::{Available, Connected, Offline};

    const PEER: AccountId = AccountId([1; 20]);
    const PHONE: DeviceId = DeviceId([2; 32]);
    const LAPTOP: DeviceId = DeviceId([3; 32]);

    fn value(id: u64) -> Fingerprint {
        Fingerprint { id: ValueId(id), digest: [0; 20] }
    }

    fn changed(before: PresenceState, after: PresenceState) -> PresenceEvent {
        PresenceEvent::Changed { account: PEER, before, after }
    }

    fn tracking() -> Presence {
        let mut presence = Presence::default();
        assert!(presence.track(PEER));
        presence
    }

    #[test]
    fn recorded_announcements_are_read_and_written() {
        let mut read = 0;
        for (_, packed) in golden::packed_values() {
            let value = Value::decode(&packed).unwrap();
            let Some(signed) = value.as_signed().filter(|s| s.to().is_none()) else { continue };
            let account = signed.owner().account_id();
            let content = signed.clone().verify().unwrap();
            let announcement = Announcement::read(account, &content).unwrap();
            assert_eq!(&announcement.content(), content.content());
            let other = Announcement::read(PEER, &content);
            assert_eq!(other, Err(AnnouncementError::OtherAccount { account: PEER, signer: account }));
            read += 1;
        }
        assert!(read >= 3);
    }

    #[test]
    fn false_announcements_are_refused() {
        let key = golden::throw_away_key();
        let account = key.public().account_id();
        let device = golden::device_b().public();
        let read = |type_number, map: Object| {
            let content = Content::new(type_number, map.encode()).sign(key, 0).unwrap();
            Announcement::read(account, &content)
        };
        let dev = || ("dev", Object::binary(&device.device_short_id().0));
        let pk = || ("pk", Object::binary(device.der()));
        assert!(read(0, Object::map([dev(), pk()])).is_ok());
        assert_eq!(read(3, Object::map([dev(), pk()])), Err(AnnouncementError::OtherType));
        assert_eq!(read(0, Object::map([dev()])), Err(AnnouncementError::NoDeviceKey));
        assert_eq!(read(0, Object::Nil), Err(AnnouncementError::NoDeviceKey));
        let other = Object::map([("dev", Object::binary(&[9; 20])), pk()]);
        assert_eq!(read(0, other), Err(AnnouncementError::OtherDevice));
    }

    #[test]
    fn a_restarted_device_stays_while_one_announcement_lives() {
        let mut presence = tracking();
        let appeared = PresenceEvent::DeviceAppeared { account: PEER, device: PHONE };
        assert_eq!(presence.announced(PEER, value(1), PHONE), [appeared, changed(Offline, Available)]);
        assert_eq!(presence.announced(PEER, value(1), PHONE), []);
        assert_eq!(presence.announced(PEER, value(2), PHONE), []);
        assert_eq!(presence.expired(PEER, value(1)), []);
        assert_eq!(presence.expired(PEER, value(9)), []);
        let vanished = PresenceEvent::DeviceVanished { account: PEER, device: PHONE };
        assert_eq!(presence.expired(PEER, value(2)), [vanished, changed(Available, Offline)]);
    }

    #[test]
    fn an_account_is_there_while_one_of_its_devices_is() {
        let mut presence = tracking();
        presence.announced(PEER, value(1), PHONE);
        presence.announced(PEER, value(2), LAPTOP);
        assert_eq!(presence.devices(PEER), [PHONE, LAPTOP]);
        let vanished = PresenceEvent::DeviceVanished { account: PEER, device: PHONE };
        assert_eq!(presence.expired(PEER, value(1)), [vanished]);
        assert_eq!(presence.state(PEER), Available);
    }

    #[test]
    fn a_connected_contact_is_not_offline_when_its_announcement_ends() {
        let mut presence = tracking();
        presence.announced(PEER, value(1), PHONE);
        assert_eq!(presence.channel_opened(PEER, PHONE), [changed(Available, Connected)]);
        assert_eq!(presence.channel_opened(PEER, PHONE), []);
        presence.expired(PEER, value(1));
        assert_eq!(presence.state(PEER), Connected);
        assert_eq!(presence.channel_closed(PEER, PHONE), []);
        assert_eq!(presence.channel_closed(PEER, PHONE), [changed(Connected, Offline)]);
        assert_eq!(presence.channel_closed(PEER, PHONE), []);
    }

    #[test]
    fn accounts_that_are_not_tracked_have_no_presence() {
        let mut presence = Presence::default();
        assert_eq!(presence.announced(PEER, value(1), PHONE), []);
        presence.track(PEER);
        presence.announced(PEER, value(1), PHONE);
        presence.untrack(PEER);
        assert_eq!(presence.state(PEER), Offline);
    }

    #[test]
    fn a_flood_of_announcements_is_not_remembered() {
        let mut presence = tracking();
        for number in 0..1000 {
            let mut device = [0; 32];
            device[..8].copy_from_slice(&u64::to_be_bytes(number));
            presence.announced(PEER, value(number), DeviceId(device));
        }
        assert_eq!(presence.devices(PEER).len(), MAX_ANNOUNCEMENTS_PER_ACCOUNT);
    }
}
