//! Which devices of whom are there: announcements on the DHT and live channels
//! (`spec: contacts 6, identity 3`).
//!
//! ```text
//!   announcement on the DHT ──► chain found good ──► announced ─┐
//!   until it expires, the device is revoked or banned           ├──► there ──► told, at a bounded pace
//!   channel to the device ─────────────────────────► connected ─┘
//! ```
//!
//! A restarted device leaves an old announcement behind for some minutes, so announcements are counted,
//! not devices. They are read by [`crate::identity::Announcement`]; they carry no time, and count as long
//! as the DHT has them. Somebody whose devices come and go all the time is told of with pauses, as it is
//! then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::dht::value::Fingerprint;
use crate::identity::VerifiedChain;
use crate::ids::{AccountId, DeviceId};
use crate::time::Moment;

/// Accounts tracked: as many as there can be contacts, and own ones.
pub const MAX_TRACKED: usize = 10_240;

/// Announced devices remembered per account: a person has a handful. Further ones are not counted, unless
/// they announce themselves anew once one of these is gone.
pub const MAX_ANNOUNCED_DEVICES: usize = 32;

/// Announcements remembered per device: one for each time it was started in the last ten minutes.
/// Anybody can put one again, so further ones are not counted.
pub const MAX_ANNOUNCEMENTS_PER_DEVICE: usize = 32;

/// Changes of one account that are told at once, after a time without any.
pub const MAX_CHANGES_AT_ONCE: u32 = 16;

/// After how long one more change of an account may be told.
pub const CHANGE_SPACING: Duration = Duration::from_secs(10);

/// Whether somebody, or a device, is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PresenceState {
    /// Not announced with a good chain, and no channel.
    #[default]
    Offline,
    /// Announced, with a good chain.
    Available,
    /// A channel is open.
    Connected,
}

/// Other devices of an account are there than were told before. When it comes online, requests are sent
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The account.
    pub account: AccountId,
    /// Whether a device of it was there, as it was told before.
    pub was_online: bool,
    /// The devices that are there, by rising id.
    pub devices: Vec<DeviceId>,
}

impl PresenceChange {
    /// Whether a device is there.
    #[must_use]
    pub fn is_online(&self) -> bool {
        !self.devices.is_empty()
    }
}

#[derive(Debug, Default)]
struct Announced {
    values: BTreeSet<Fingerprint>,
    /// The serial number of its certificate, if its chain was found good.
    verified: Option<Vec<u8>>,
}

/// How many changes of an account may be told.
#[derive(Debug, Default)]
struct Pace {
    told: u32,
    since: Moment,
}

impl Pace {
    /// Whether one more may be told now; if so, it counts as told.
    fn allows(&mut self, now: Moment) -> bool {
        let regained = now.since(self.since).as_secs() / CHANGE_SPACING.as_secs();
        let regained = u32::try_from(regained).unwrap_or(u32::MAX);
        self.told = self.told.saturating_sub(regained);
        self.since =
            if self.told == 0 { now } else { self.since.plus(CHANGE_SPACING.saturating_mul(regained)) };
        let allowed = self.told < MAX_CHANGES_AT_ONCE;
        self.told += u32::from(allowed);
        allowed
    }

    /// When one more may be told, if none may now.
    fn next(&self) -> Moment {
        self.since.plus(CHANGE_SPACING)
    }
}

#[derive(Debug, Default)]
struct Tracked {
    announced: BTreeMap<DeviceId, Announced>,
    channels: BTreeMap<DeviceId, u32>,
    /// The devices that were there when it was told last.
    told: BTreeSet<DeviceId>,
    pace: Pace,
}

impl Tracked {
    fn state_of(&self, device: DeviceId) -> PresenceState {
        if self.channels.contains_key(&device) {
            PresenceState::Connected
        } else if self.announced.get(&device).is_some_and(|it| it.verified.is_some()) {
            PresenceState::Available
        } else {
            PresenceState::Offline
        }
    }

    fn there(&self) -> BTreeSet<DeviceId> {
        let verified = self.announced.iter().filter(|(_, announced)| announced.verified.is_some());
        verified.map(|(device, _)| *device).chain(self.channels.keys().copied()).collect()
    }
}

/// The presence of accounts.
#[derive(Debug, Default)]
pub struct Presence {
    accounts: BTreeMap<AccountId, Tracked>,
    /// Those that may have changed since it was told.
    touched: BTreeSet<AccountId>,
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

    /// Stops to track an account; nothing is told of it any more.
    pub fn untrack(&mut self, account: AccountId) {
        self.accounts.remove(&account);
        self.touched.remove(&account);
    }

    /// Whether an account is there; offline if it is not tracked.
    #[must_use]
    pub fn state(&self, account: AccountId) -> PresenceState {
        self.devices(account).into_iter().map(|(_, state)| state).max().unwrap_or_default()
    }

    /// The devices of an account that are there, by rising id.
    #[must_use]
    pub fn devices(&self, account: AccountId) -> Vec<(DeviceId, PresenceState)> {
        let Some(tracked) = self.accounts.get(&account) else { return Vec::new() };
        tracked.there().into_iter().map(|device| (device, tracked.state_of(device))).collect()
    }

    /// Whether a device is announced and its chain still to be looked at.
    #[must_use]
    pub fn awaits_verification(&self, account: AccountId, device: DeviceId) -> bool {
        let announced = self.accounts.get(&account).and_then(|tracked| tracked.announced.get(&device));
        announced.is_some_and(|announced| announced.verified.is_none())
    }

    /// Notes an announcement, read from the value with this fingerprint; false if the account is not
    /// tracked or there is no room. The device counts once its chain is [verified](Self::verified).
    pub fn announced(&mut self, account: AccountId, value: Fingerprint, device: DeviceId) -> bool {
        let Some(tracked) = self.accounts.get_mut(&account) else { return false };
        let room = tracked.announced.len() < MAX_ANNOUNCED_DEVICES;
        if !room && !tracked.announced.contains_key(&device) {
            return false;
        }
        let announced = tracked.announced.entry(device).or_default();
        if announced.values.len() < MAX_ANNOUNCEMENTS_PER_DEVICE {
            announced.values.insert(value);
        }
        announced.values.contains(&value)
    }

    /// Notes that the chain of a device is good, unless the device is not announced any more.
    pub fn verified(&mut self, chain: &VerifiedChain) {
        self.change(chain.account_id(), |tracked| {
            if let Some(announced) = tracked.announced.get_mut(&chain.device_id()) {
                announced.verified = Some(chain.device().serial().to_vec());
            }
        });
    }

    /// Drops the devices of an account whose certificate, named by the content bytes of its serial
    /// number, is revoked.
    pub fn revoked(&mut self, account: AccountId, is_revoked: impl Fn(&[u8]) -> bool) {
        self.change(account, |tracked| {
            tracked.announced.retain(|_, announced| !announced.verified.as_deref().is_some_and(&is_revoked));
        });
    }

    /// Notes that a device was banned: it counts again once its chain is [verified](Self::verified)
    /// anew.
    pub fn banned(&mut self, account: AccountId, device: DeviceId) {
        self.change(account, |tracked| {
            if let Some(announced) = tracked.announced.get_mut(&device) {
                announced.verified = None;
            }
        });
    }

    /// Notes that a value at the key of an account is gone.
    pub fn expired(&mut self, account: AccountId, value: Fingerprint) {
        self.change(account, |tracked| {
            tracked.announced.retain(|_, announced| {
                announced.values.remove(&value);
                !announced.values.is_empty()
            });
        });
    }

    /// Notes that a channel to a device is open.
    pub fn channel_opened(&mut self, account: AccountId, device: DeviceId) {
        self.change(account, |tracked| {
            let channels = tracked.channels.entry(device).or_default();
            *channels = channels.saturating_add(1);
        });
    }

    /// Notes that a channel to a device was closed.
    pub fn channel_closed(&mut self, account: AccountId, device: DeviceId) {
        self.change(account, |tracked| match tracked.channels.get_mut(&device) {
            Some(channels) if *channels > 1 => *channels -= 1,
            _ => {
                tracked.channels.remove(&device);
            }
        });
    }

    fn change(&mut self, account: AccountId, change: impl FnOnce(&mut Tracked)) {
        if let Some(tracked) = self.accounts.get_mut(&account) {
            change(tracked);
            self.touched.insert(account);
        }
    }

    /// What is to be told now. An account that changes faster than its pace is told of when
    /// [`Self::next_deadline`] comes, as it is then.
    pub fn changes(&mut self, now: Moment) -> Vec<PresenceChange> {
        let mut changes = Vec::new();
        let accounts = &mut self.accounts;
        self.touched.retain(|account| {
            let Some(tracked) = accounts.get_mut(account) else { return false };
            let there = tracked.there();
            if there == tracked.told {
                return false;
            }
            if !tracked.pace.allows(now) {
                return true;
            }
            let (was_online, devices) = (!tracked.told.is_empty(), there.iter().copied().collect());
            tracked.told = there;
            changes.push(PresenceChange { account: *account, was_online, devices });
            false
        });
        changes
    }

    /// When there may be something to be told, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let waiting = self.touched.iter().filter_map(|account| self.accounts.get(account));
        waiting.map(|tracked| tracked.pace.next()).min()
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
