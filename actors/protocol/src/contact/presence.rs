//! Which devices of whom are there: announcements on the DHT and live channels
//! (`spec: contacts 6, identity 3`).
//!
//! A device is present while at least one of its announcements lives. A restarted device leaves an
//! old announcement behind for some minutes, so announcements are counted, not devices. They are read
//! by [`crate::identity::Announcement`].

use std::collections::BTreeMap;

use crate::dht::value::Fingerprint;
use crate::ids::{AccountId, DeviceId};

/// Accounts tracked: as many as there can be contacts, and own ones.
pub const MAX_TRACKED: usize = 10_240;

/// Announcements remembered per account: a few per device; more are not counted.
pub const MAX_ANNOUNCEMENTS_PER_ACCOUNT: usize = 256;

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

    /// Notes an announcement, read from the value with this fingerprint.
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
    use crate::dht::value::ValueId;

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
