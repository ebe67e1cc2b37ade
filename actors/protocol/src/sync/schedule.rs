//! Which of an account's devices is told what, and when (`spec: sync 1, 2 and 6`).
//!
//! ```text
//!   list changed ──▶ contacts: told at once on open channels, once a second at most
//!                └─▶ one second later: everything, on open channels; devices that have not heard of
//!                    this version are called
//!   channel open ──▶ everything; when it is written, the device has heard of the version it was begun at
//!   preferences, status changed ──▶ a moment later: just that, on open channels
//! ```
//!
//! The version counts changes of the lists and is never told. It is counted with the first change after
//! anything was told and kept on disk, so a crash before the rest is told costs nothing: devices that
//! have not heard of it are called when they are seen next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::devices::MAX_DEVICES;
use crate::ids::{AccountId, ConversationId, DeviceId};
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::Moment;

/// How long after the last change everything is told.
pub const CHANGES_WAIT: Duration = Duration::from_secs(1);

/// How long after the first change everything is told though changes go on.
pub const CHANGES_WAIT_AT_MOST: Duration = Duration::from_secs(10);

/// How long at least between two tellings of contacts alone.
pub const CONTACTS_SPACING: Duration = Duration::from_secs(1);

/// How long preferences and status wait for others of their kind.
pub const DETAILS_WAIT: Duration = Duration::from_millis(200);

/// Most changes of preferences and status that wait. With more, the full state is told instead.
pub const MAX_DETAILS: usize = 1024;

/// Most channels with one device: one from each side, and the same again while a link is replaced.
pub const MAX_CHANNELS_EACH: usize = 4;

/// Largest file read, in bytes.
pub const MAX_VERSIONS_FILE: usize = 256 + MAX_DEVICES * 64;

/// Why the file cannot be read. The versions start anew then, and every device is told everything once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionsError {
    /// Not MessagePack.
    #[error("the file of sync versions cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No version in it.
    #[error("the file of sync versions holds no version")]
    NoVersion,
}

/// Digests of the lists as they are: when one is another than before, something has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListDigests {
    /// Of contacts and of those who want to be contacts.
    pub contacts: [u8; 20],
    /// Of conversations.
    pub conversations: [u8; 20],
    /// Of invitations.
    pub requests: [u8; 20],
}

/// How many changes there were, and of how many each device has heard. Kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncVersions {
    version: u64,
    synced: BTreeMap<DeviceId, u64>,
    /// The lists as they were at the last change that was counted.
    digests: ListDigests,
}

impl SyncVersions {
    /// The devices that have heard of anything.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.synced.keys().copied()
    }

    fn needs(&self, device: DeviceId) -> bool {
        self.synced.get(&device).is_none_or(|synced| *synced < self.version)
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let synced =
            self.synced.iter().map(|(device, version)| (Object::binary(&device.0), (*version).into()));
        let ListDigests { contacts, conversations, requests } = self.digests;
        Object::map([
            ("version", self.version.into()),
            ("synced", Object::Map(synced.collect())),
            ("contacts", Object::binary(&contacts)),
            ("conversations", Object::binary(&conversations)),
            ("requests", Object::binary(&requests)),
        ])
        .encode()
    }

    /// Reads the file; wrong entries, and those beyond [`MAX_DEVICES`], are left out.
    ///
    /// # Errors
    /// [`VersionsError`].
    pub fn decode(file: &[u8]) -> Result<Self, VersionsError> {
        let (object, _) = msgpack::decode(file, MAX_VERSIONS_FILE)?;
        let version = object.get("version").and_then(Object::as_unsigned).ok_or(VersionsError::NoVersion)?;
        let synced = object.get("synced").and_then(Object::as_map).unwrap_or_default();
        let synced = synced.iter().filter_map(|(device, heard)| {
            Some((DeviceId::from_bytes(device.as_binary()?)?, heard.as_unsigned()?.min(version)))
        });
        let digest = |key| object.get(key)?.as_binary()?.try_into().ok();
        let digest = |key| digest(key).unwrap_or_default();
        let digests = ListDigests {
            contacts: digest("contacts"),
            conversations: digest("conversations"),
            requests: digest("requests"),
        };
        Ok(Self { version, synced: synced.take(MAX_DEVICES).collect(), digests })
    }
}

/// A channel to a device; the caller numbers them.
pub type SyncChannel = u64;

/// Something that has changed of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The owner's preferences.
    Preferences(ConversationId),
    /// How far a member has fetched or read.
    Status(ConversationId, AccountId),
}

/// What has changed of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListChange {
    /// A contact, an accepted trust request, or a device that was revoked here: other devices hear of it
    /// at once.
    Contacts,
    /// Conversations, requests, or what another device told.
    Other,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncAction {
    /// Connect to the device.
    Connect(DeviceId),
    /// Open a sync channel on the link with the device.
    OpenChannel(DeviceId),
    /// Write everything into the channel, then say so with this version.
    TellAll {
        /// The channel.
        channel: SyncChannel,
        /// What to say when it is written; `None` where nothing is to be said.
        version: Option<u64>,
    },
    /// Write devices, contacts and trust requests into these channels.
    TellContacts(Vec<SyncChannel>),
    /// Write these details into these channels.
    TellDetails(Vec<SyncChannel>, Vec<Detail>),
    /// Write the versions to disk.
    Keep,
}

/// The links and channels with one device.
#[derive(Debug, Default)]
struct Peer {
    /// Oldest first; the newest is written to.
    channels: Vec<SyncChannel>,
    is_asked: bool,
}

/// Changes of the lists that wait to be told.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    first: Moment,
    last: Moment,
}

/// Who is told what and when.
#[derive(Debug)]
pub struct SyncSchedule {
    versions: SyncVersions,
    /// The account's other devices.
    others: BTreeSet<DeviceId>,
    peers: BTreeMap<DeviceId, Peer>,
    waiting: Option<Waiting>,
    /// Whether the version was counted since anything was told.
    is_counted: bool,
    contacts_told: Option<Moment>,
    details: BTreeSet<Detail>,
    details_since: Option<Moment>,
}

impl SyncSchedule {
    /// The schedule of an account with these other devices, of which the versions are known from disk.
    #[must_use]
    pub fn new(versions: SyncVersions, others: impl IntoIterator<Item = DeviceId>) -> Self {
        let mut schedule = Self {
            versions,
            others: others.into_iter().take(MAX_DEVICES).collect(),
            peers: BTreeMap::new(),
            waiting: None,
            is_counted: false,
            contacts_told: None,
            details: BTreeSet::new(),
            details_since: None,
        };
        schedule.versions.synced.retain(|device, _| schedule.others.contains(device));
        schedule
    }

    /// The account's other devices.
    #[must_use]
    pub const fn others(&self) -> &BTreeSet<DeviceId> {
        &self.others
    }

    /// The versions, to be kept on disk.
    #[must_use]
    pub const fn versions(&self) -> &SyncVersions {
        &self.versions
    }

    /// Another device of the account is known now; its certificate was checked.
    pub fn device_added(&mut self, device: DeviceId) {
        if self.others.len() < MAX_DEVICES {
            self.others.insert(device);
        }
    }

    /// The account has revoked a device: nothing more is told to it.
    pub fn device_revoked(&mut self, device: DeviceId) {
        self.others.remove(&device);
        self.peers.remove(&device);
        self.versions.synced.remove(&device);
    }

    /// Another device announced itself.
    pub fn announced(&self, device: DeviceId) -> Option<SyncAction> {
        let is_due = self.others.contains(&device) && self.versions.needs(device);
        (is_due && !self.peers.contains_key(&device)).then_some(SyncAction::Connect(device))
    }

    /// There is a link with another device.
    pub fn linked(&mut self, device: DeviceId) -> Option<SyncAction> {
        if !self.others.contains(&device) {
            return None;
        }
        let peer = self.peers.entry(device).or_default();
        let is_due = peer.channels.is_empty() && !peer.is_asked;
        peer.is_asked |= is_due;
        is_due.then_some(SyncAction::OpenChannel(device))
    }

    /// There is no link with a device any more, and so no channel.
    pub fn unlinked(&mut self, device: DeviceId) {
        self.peers.remove(&device);
    }

    /// Whether a channel that a device opens is to be accepted: it is one of the account's, and does
    /// not open them without end.
    #[must_use]
    pub fn accepts(&self, device: DeviceId) -> bool {
        let count = self.peers.get(&device).map_or(0, |peer| peer.channels.len());
        self.others.contains(&device) && count < MAX_CHANNELS_EACH
    }

    /// A channel is open, whoever opened it.
    pub fn opened(&mut self, device: DeviceId, channel: SyncChannel) -> Vec<SyncAction> {
        if !self.accepts(device) {
            return Vec::new();
        }
        let peer = self.peers.entry(device).or_default();
        peer.is_asked = false;
        peer.channels.push(channel);
        self.is_counted = false;
        let version = Some(self.versions.version);
        vec![SyncAction::TellAll { channel, version }]
    }

    /// The device declined the channel that it was asked for.
    pub fn declined(&mut self, device: DeviceId) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.is_asked = false;
        }
    }

    /// A channel is closed.
    pub fn closed(&mut self, device: DeviceId, channel: SyncChannel) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.channels.retain(|open| *open != channel);
        }
    }

    /// Everything was written into a new channel, without error.
    pub fn told_all(&mut self, device: DeviceId, version: u64) -> Option<SyncAction> {
        if !self.others.contains(&device) {
            return None;
        }
        let version = version.min(self.versions.version);
        let heard = self.versions.synced.entry(device).or_insert(version);
        *heard = (*heard).max(version);
        Some(SyncAction::Keep)
    }

    /// The lists are like this now; whoever asks after a stop or crash learns of what was changed just
    /// before it.
    pub fn lists(&mut self, now: Moment, digests: ListDigests) -> Vec<SyncAction> {
        let before = std::mem::replace(&mut self.versions.digests, digests);
        if before == digests {
            return Vec::new();
        }
        let is_contacts = before.contacts != digests.contacts;
        let change = if is_contacts { ListChange::Contacts } else { ListChange::Other };
        let mut actions = self.list_changed(now, change);
        if !actions.contains(&SyncAction::Keep) {
            actions.push(SyncAction::Keep);
        }
        actions
    }

    /// The lists have changed.
    pub fn list_changed(&mut self, now: Moment, change: ListChange) -> Vec<SyncAction> {
        let mut actions = Vec::new();
        if !self.is_counted {
            self.versions.version = self.versions.version.saturating_add(1);
            self.is_counted = true;
            actions.push(SyncAction::Keep);
        }
        let first = self.waiting.map_or(now, |waiting| waiting.first);
        self.waiting = Some(Waiting { first, last: now });
        let is_due = self.contacts_told.is_none_or(|told| now.since(told) >= CONTACTS_SPACING);
        if change == ListChange::Contacts && is_due {
            self.contacts_told = Some(now);
            let channels = self.channels();
            if !channels.is_empty() {
                actions.push(SyncAction::TellContacts(channels));
            }
        }
        actions
    }

    /// Preferences or status of a conversation have changed.
    pub fn detail_changed(&mut self, now: Moment, detail: Detail) {
        // Devices that are not here get it with the next full state.
        if self.channels().is_empty() {
            return;
        }
        self.details_since = self.details_since.or(Some(now));
        if self.details.len() < MAX_DETAILS {
            self.details.insert(detail);
        } else if !self.details.contains(&detail) {
            let first = self.waiting.map_or(now, |waiting| waiting.first);
            self.waiting = Some(Waiting { first, last: now });
        }
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let changes = self
            .waiting
            .map(|Waiting { first, last }| last.plus(CHANGES_WAIT).min(first.plus(CHANGES_WAIT_AT_MOST)));
        let details = self.details_since.map(|since| since.plus(DETAILS_WAIT));
        changes.into_iter().chain(details).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment) -> Vec<SyncAction> {
        let mut actions = Vec::new();
        if self.details_since.is_some_and(|since| now >= since.plus(DETAILS_WAIT)) {
            self.details_since = None;
            let details: Vec<_> = std::mem::take(&mut self.details).into_iter().collect();
            let channels = self.channels();
            if !channels.is_empty() {
                actions.push(SyncAction::TellDetails(channels, details));
            }
        }
        let is_due = self.waiting.is_some_and(|Waiting { first, last }| {
            now >= last.plus(CHANGES_WAIT) || now >= first.plus(CHANGES_WAIT_AT_MOST)
        });
        if is_due {
            self.waiting = None;
            self.is_counted = false;
            let all = self.channels().into_iter();
            actions.extend(all.map(|channel| SyncAction::TellAll { channel, version: None }));
            let away = self.others.iter().filter(|device| !self.peers.contains_key(device));
            let away = away.filter(|device| self.versions.needs(**device));
            actions.extend(away.map(|device| SyncAction::Connect(*device)));
        }
        actions
    }

    /// The newest channel with each device.
    fn channels(&self) -> Vec<SyncChannel> {
        self.peers.values().filter_map(|peer| peer.channels.last().copied()).collect()
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
