//! Which devices of whom are there: announcements on the DHT and live channels
//! (`spec: contacts 6, identity 3`).
//!
//! A device is present while at least one of its announcements lives. A restarted device leaves an
//! old announcement behind for some minutes, so announcements are counted, not devices. They are read
//! by [`crate::identity::Announcement`]. An announcement counts from when the certificate chain of its
//! device was found good, until it expires or the device is revoked.

use std::collections::BTreeMap;

use crate::dht::value::Fingerprint;
use crate::identity::VerifiedChain;
use crate::ids::{AccountId, DeviceId};

/// Accounts tracked: as many as there can be contacts, and own ones.
pub const MAX_TRACKED: usize = 10_240;

/// Announcements remembered per account: a few per device; more are not counted.
pub const MAX_ANNOUNCEMENTS_PER_ACCOUNT: usize = 256;

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PresenceState {
    /// No device is announced that has a good chain.
    #[default]
    Offline,
    /// Some device is announced and has a good chain.
    Available,
    /// A channel to a device is open.
    Connected,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceEvent {
    /// A device is announced that was not, and its chain is good.
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
    /// The announced devices whose chain was found good, with the serial number of their
    /// certificate.
    verified: BTreeMap<DeviceId, Vec<u8>>,
    channels: BTreeMap<DeviceId, u32>,
}

impl Tracked {
    fn state(&self) -> PresenceState {
        if !self.channels.is_empty() {
            PresenceState::Connected
        } else if !self.verified.is_empty() {
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

    /// The devices of an account that are there, each once.
    #[must_use]
    pub fn devices(&self, account: AccountId) -> Vec<DeviceId> {
        let tracked = self.accounts.get(&account);
        tracked.map(|tracked| tracked.verified.keys().copied().collect()).unwrap_or_default()
    }

    /// Whether a device is announced and its chain still to be looked at.
    #[must_use]
    pub fn awaits_verification(&self, account: AccountId, device: DeviceId) -> bool {
        self.accounts
            .get(&account)
            .is_some_and(|tracked| tracked.is_announced(device) && !tracked.verified.contains_key(&device))
    }

    /// Notes an announcement, read from the value with this fingerprint. The device counts once its
    /// chain is [verified](Self::verified).
    pub fn announced(&mut self, account: AccountId, value: Fingerprint, device: DeviceId) {
        if let Some(tracked) = self.accounts.get_mut(&account)
            && tracked.announcements.len() < MAX_ANNOUNCEMENTS_PER_ACCOUNT
        {
            tracked.announcements.insert(value, device);
        }
    }

    /// Notes that the chain of a device is good, unless the device is not announced any more.
    pub fn verified(&mut self, chain: &VerifiedChain) -> Vec<PresenceEvent> {
        let device = chain.device_id();
        self.change(chain.account_id(), device, |tracked| {
            if tracked.is_announced(device) {
                tracked.verified.insert(device, chain.device().serial().to_vec());
            }
        })
    }

    /// Drops the devices of an account whose certificate, named by the content bytes of its serial
    /// number, is revoked.
    pub fn revoked(&mut self, account: AccountId, is_revoked: impl Fn(&[u8]) -> bool) -> Vec<PresenceEvent> {
        let verified = self.accounts.get(&account).into_iter().flat_map(|tracked| &tracked.verified);
        let revoked: Vec<_> =
            verified.filter(|(_, serial)| is_revoked(serial)).map(|(device, _)| *device).collect();
        let drop = |device| {
            self.change(account, device, |tracked| {
                tracked.verified.remove(&device);
                tracked.announcements.retain(|_, announced| *announced != device);
            })
        };
        revoked.into_iter().flat_map(drop).collect()
    }

    /// Notes that a value at the key of an account is gone.
    pub fn expired(&mut self, account: AccountId, value: Fingerprint) -> Vec<PresenceEvent> {
        let tracked = self.accounts.get(&account);
        let Some(device) = tracked.and_then(|tracked| tracked.announcements.get(&value)).copied() else {
            return Vec::new();
        };
        self.change(account, device, |tracked| {
            tracked.announcements.remove(&value);
            if !tracked.is_announced(device) {
                tracked.verified.remove(&device);
            }
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
        let (before, was_there) = (tracked.state(), tracked.verified.contains_key(&device));
        change(tracked);
        let (after, is_there) = (tracked.state(), tracked.verified.contains_key(&device));
        let mut events = Vec::new();
        match (was_there, is_there) {
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
    use crate::identity::Chain;
    use crate::testing::data;
    use crate::time::UnixMillis;

    use PresenceState::{Available, Connected, Offline};

    fn chain(pem: &[u8]) -> VerifiedChain {
        Chain::parse(pem).unwrap().verify(UnixMillis(1_795_350_000_000)).unwrap()
    }

    fn phone() -> VerifiedChain {
        chain(data!("vectors/newest/accounts/alice/ring_device.crt"))
    }

    /// Another device of the same account.
    fn laptop() -> VerifiedChain {
        chain(data!("vectors/newest/accounts/alice2/ring_device.crt"))
    }

    fn value(id: u64) -> Fingerprint {
        Fingerprint { id: ValueId(id), digest: [0; 20] }
    }

    fn changed(before: PresenceState, after: PresenceState) -> PresenceEvent {
        PresenceEvent::Changed { account: phone().account_id(), before, after }
    }

    fn appeared(chain: &VerifiedChain) -> PresenceEvent {
        PresenceEvent::DeviceAppeared { account: chain.account_id(), device: chain.device_id() }
    }

    fn vanished(chain: &VerifiedChain) -> PresenceEvent {
        PresenceEvent::DeviceVanished { account: chain.account_id(), device: chain.device_id() }
    }

    fn tracking() -> (Presence, AccountId) {
        let (mut presence, account) = (Presence::default(), phone().account_id());
        assert!(presence.track(account));
        (presence, account)
    }

    #[test]
    fn an_announced_device_counts_from_when_its_chain_is_good() {
        let (mut presence, peer) = tracking();
        let device = phone().device_id();
        assert!(!presence.awaits_verification(peer, device));
        presence.announced(peer, value(1), device);
        assert!(presence.awaits_verification(peer, device));
        assert_eq!((presence.state(peer), presence.devices(peer)), (Offline, vec![]));
        assert_eq!(presence.verified(&phone()), [appeared(&phone()), changed(Offline, Available)]);
        assert!(!presence.awaits_verification(peer, device));
        assert_eq!(presence.devices(peer), [device]);
        // One that is gone by the time its chain is found does not count.
        presence.announced(peer, value(2), laptop().device_id());
        assert_eq!(presence.expired(peer, value(2)), []);
        assert_eq!(presence.verified(&laptop()), []);
        assert_eq!(presence.devices(peer), [device]);
    }

    #[test]
    fn a_revoked_device_is_not_there_though_it_is_announced() {
        let (mut presence, peer) = tracking();
        presence.announced(peer, value(1), phone().device_id());
        presence.announced(peer, value(2), laptop().device_id());
        presence.verified(&phone());
        presence.verified(&laptop());
        let revoked = laptop();
        let is_revoked = |serial: &[u8]| serial == revoked.device().serial();
        assert_eq!(presence.revoked(peer, is_revoked), [vanished(&laptop())]);
        assert_eq!(presence.revoked(peer, is_revoked), []);
        assert_eq!(presence.devices(peer), [phone().device_id()]);
        assert_eq!(presence.revoked(peer, |_| true), [vanished(&phone()), changed(Available, Offline)]);
    }

    #[test]
    fn a_restarted_device_stays_while_one_announcement_lives() {
        let (mut presence, peer) = tracking();
        let device = phone().device_id();
        presence.announced(peer, value(1), device);
        presence.announced(peer, value(1), device);
        assert_eq!(presence.verified(&phone()).len(), 2);
        assert_eq!(presence.verified(&phone()), []);
        presence.announced(peer, value(2), device);
        assert_eq!(presence.expired(peer, value(1)), []);
        assert_eq!(presence.expired(peer, value(9)), []);
        assert_eq!(presence.expired(peer, value(2)), [vanished(&phone()), changed(Available, Offline)]);
        // It has to show its chain again.
        presence.announced(peer, value(3), device);
        assert_eq!(presence.state(peer), Offline);
    }

    #[test]
    fn an_account_is_there_while_one_of_its_devices_is() {
        let (mut presence, peer) = tracking();
        for (number, chain) in [(1, phone()), (2, laptop())] {
            presence.announced(peer, value(number), chain.device_id());
            presence.verified(&chain);
        }
        assert_eq!(presence.devices(peer).len(), 2);
        assert_eq!(presence.expired(peer, value(1)), [vanished(&phone())]);
        assert_eq!(presence.state(peer), Available);
    }

    #[test]
    fn a_connected_contact_is_not_offline_when_its_announcement_ends() {
        let (mut presence, peer) = tracking();
        let device = phone().device_id();
        presence.announced(peer, value(1), device);
        presence.verified(&phone());
        assert_eq!(presence.channel_opened(peer, device), [changed(Available, Connected)]);
        assert_eq!(presence.channel_opened(peer, device), []);
        presence.expired(peer, value(1));
        assert_eq!(presence.state(peer), Connected);
        assert_eq!(presence.channel_closed(peer, device), []);
        assert_eq!(presence.channel_closed(peer, device), [changed(Connected, Offline)]);
        assert_eq!(presence.channel_closed(peer, device), []);
    }

    #[test]
    fn accounts_that_are_not_tracked_have_no_presence() {
        let (mut presence, peer) = (Presence::default(), phone().account_id());
        presence.announced(peer, value(1), phone().device_id());
        assert_eq!(presence.verified(&phone()), []);
        presence.track(peer);
        presence.announced(peer, value(1), phone().device_id());
        presence.verified(&phone());
        presence.untrack(peer);
        assert_eq!(presence.state(peer), Offline);
    }

    #[test]
    fn a_flood_of_announcements_is_not_remembered() {
        let (mut presence, peer) = tracking();
        let device = |number: u64| {
            let mut device = [0; 32];
            device[..8].copy_from_slice(&number.to_be_bytes());
            DeviceId(device)
        };
        for number in 0..1000 {
            presence.announced(peer, value(number), device(number));
        }
        let remembered = (0..1000).filter(|number| presence.awaits_verification(peer, device(*number)));
        assert_eq!(remembered.count(), MAX_ANNOUNCEMENTS_PER_ACCOUNT);
    }
}
