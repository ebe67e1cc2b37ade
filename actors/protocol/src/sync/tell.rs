//! What is told to another own device: everything, or what has changed (`spec: sync 3 and 6`).
//!
//! Devices of 2023 read each frame by itself as one message, so what is told is cut into messages of at
//! most a frame, by entries. Only an entry that is longer by itself makes a longer message, which they
//! lose and others read.

use super::conversation::{ConversationRecord, ConversationRecords};
use super::devices::KnownDevices;
use super::message::{SyncMessage, Texts, ToldDevice};
use super::preferences::Preferences;
use super::request::ConversationRequests;
use super::status::MemberStatus;
use crate::contact::{ContactList, PendingRequest, PendingRequests};
use crate::ids::{AccountId, ConversationId, DeviceId, DeviceShortId};
use crate::msgpack::Value as Object;
use crate::swarm::message::Mode;

/// Longest message told, in bytes: one frame of a channel.
pub const MAX_TOLD_MESSAGE: usize = 65_535;

/// Most trust requests told at a time (`spec: sync 4.1`).
pub const MAX_TOLD_REQUESTS: usize = 20;

/// Most members of a conversation told, and most of those invited: they serve to find a device to fetch
/// from, and the whole entry is to fit into a frame.
const MAX_TOLD_MEMBERS: usize = 512;

/// Bytes of a message besides its entries, with room for the numbers of entries.
const ENVELOPE: usize = 160;

/// What an account tells its other devices.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// The account's devices, this one included.
    pub devices: &'a KnownDevices,
    /// The account's contacts.
    pub contacts: &'a ContactList,
    /// Requests of people who want to be contacts.
    pub pending: &'a PendingRequests,
    /// The account's conversations.
    pub conversations: &'a ConversationRecords,
    /// Invitations into others.
    pub requests: &'a ConversationRequests,
}

impl Telling<'_> {
    /// Devices, contacts and some trust requests. `short_id` tells the short id of a device whose
    /// certificate is known; others are left out. `start` is drawn at random: which requests are told
    /// if there are too many.
    #[must_use]
    pub fn device_data(
        &self,
        short_id: impl Fn(DeviceId) -> Option<DeviceShortId>,
        start: usize,
    ) -> Vec<SyncMessage> {
        let mut messages = Messages::default();
        for (id, device) in self.devices.iter() {
            let Some(short_id) = short_id(id) else { continue };
            let told = ToldDevice { name: device.name().to_owned(), short_id: Some(short_id) };
            // The id, the short id, and what is around them.
            let size = told.name.len() + 96;
            messages.add(size, |message| drop(message.devices.insert(id, told)));
        }
        for (account, contact) in self.contacts.iter() {
            let size = contact.to_object().encode().len() + 22;
            messages.add(size, |message| {
                message.contacts.insert(account, *contact);
            });
        }
        for (account, request) in self.window(start) {
            let told = PendingRequest { payload: Vec::new(), ..request.clone() };
            let size = told.to_object().encode().len() + 22;
            messages.add(size, |message| drop(message.trust_requests.insert(account, told)));
        }
        // Also when there is nothing to say, this says that.
        if messages.done.is_empty() {
            messages.done.push(SyncMessage::default());
        }
        messages.done
    }

    /// At most [`MAX_TOLD_REQUESTS`] requests that follow each other, in a circle.
    fn window(&self, start: usize) -> impl Iterator<Item = (AccountId, &PendingRequest)> {
        let count = self.pending.iter().count();
        let start = start.checked_rem(count).unwrap_or(0);
        self.pending.iter().skip(start).chain(self.pending.iter().take(start)).take(MAX_TOLD_REQUESTS)
    }

    /// Everything about conversations but what [`preferences_told`] and [`status_told`] tell.
    #[must_use]
    pub fn conversation_data(&self) -> Vec<SyncMessage> {
        let mut messages = Messages::default();
        let document = Some(Mode::Document.number());
        for (id, record) in self.conversations.iter().filter(|(_, record)| record.mode != document) {
            let told = told_record(record);
            let size = sized(&told.to_object(id));
            messages.add(size, |message| drop(message.conversations.insert(id, told)));
        }
        messages.begin();
        for (id, request) in self.requests.iter() {
            let size = sized(&request.to_object(id));
            messages.add(size, |message| drop(message.requests.insert(id, request.clone())));
        }
        messages.done
    }
}

fn told_record(record: &ConversationRecord) -> ConversationRecord {
    let mut told = record.as_told();
    told.members = told.members.into_iter().take(MAX_TOLD_MEMBERS).collect();
    let mut latest: Vec<_> = told.invited.into_iter().collect();
    latest.sort_by_key(|(_, when)| std::cmp::Reverse(*when));
    told.invited = latest.into_iter().take(MAX_TOLD_MEMBERS).collect();
    told
}

/// The preferences of some conversations; those never set are left out.
pub fn preferences_told<'a>(
    all: impl IntoIterator<Item = (ConversationId, &'a Preferences)>,
) -> Vec<SyncMessage> {
    let mut messages = Messages::default();
    for (id, preferences) in all.into_iter().filter(|(_, it)| **it != Preferences::default()) {
        let told = preferences.to_texts();
        let size = text_size(&told);
        messages.add(size, |message| drop(message.preferences.insert(id, told)));
    }
    messages.done
}

/// How far members of some conversations have fetched and read them.
pub fn status_told(
    all: impl IntoIterator<Item = (ConversationId, AccountId, MemberStatus)>,
) -> Vec<SyncMessage> {
    let mut messages = Messages::default();
    for (id, member, status) in all {
        let told = status.to_texts();
        let size = text_size(&told) + sized(&Object::Nil);
        messages.add(size, |message| drop(message.status.entry(id).or_default().insert(member, told)));
    }
    messages.done
}

/// Bytes of an entry whose key is an id as text.
fn sized(entry: &Object) -> usize {
    entry.encode().len().saturating_add(42)
}

fn text_size(texts: &Texts) -> usize {
    sized(&Object::map(texts.iter().map(|(name, text)| (name.as_str(), Object::text(text)))))
}

/// Messages that are being filled.
#[derive(Default)]
struct Messages {
    done: Vec<SyncMessage>,
    /// Bytes of the last one; 0 when a new one is to begin.
    size: usize,
}

impl Messages {
    /// Begins a new message with the next entry.
    fn begin(&mut self) {
        self.size = 0;
    }

    fn add(&mut self, size: usize, insert: impl FnOnce(&mut SyncMessage)) {
        let fits = self.size != 0 && self.size.saturating_add(size) <= MAX_TOLD_MESSAGE;
        if !fits {
            self.done.push(SyncMessage::default());
            self.size = ENVELOPE;
        }
        self.size = self.size.saturating_add(size);
        if let Some(message) = self.done.last_mut() {
            insert(message);
        }
    }
}

#[cfg(test)]
#[path = "tell_tests.rs"]
mod tests;
