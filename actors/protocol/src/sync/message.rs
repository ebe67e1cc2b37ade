//! What own devices tell each other over a `sync://` channel (`spec: sync 3 and 4`).
//!
//! ```text
//!   [ ds, c, cr, p, ld, ms ]      one MessagePack array after the other, nothing between them
//!     │   │  │   │  │   └ status: how far members have fetched and read
//!     │   │  │   │  └ last displayed: what came before status; ignored
//!     │   │  │   └ preferences
//!     │   │  └ conversation requests
//!     │   └ conversations
//!     └ devices, contacts, trust requests
//! ```
//!
//! Devices of 2023 send four parts, later ones five. An entry that makes no sense is left out and
//! counted; the others count all the same.

use std::collections::BTreeMap;

use super::conversation::ConversationRecord;
use super::request::ConversationRequest;
use crate::contact::{Contact, PendingRequest};
use crate::ids::{AccountId, ConversationId, DeviceId, DeviceShortId};
use crate::link::objects::ObjectReader;
use crate::msgpack::{self, DecodeError, Value as Object};

/// Longest message read, in bytes. The reference sends whole lists: ten thousand contacts take two
/// million bytes, four thousand conversations about as much. Decoding takes thirty times as much memory
/// at worst, and who sends is a device of our own account.
pub const MAX_SYNC_MESSAGE: usize = 8 << 20;

/// Longest value of devices and contacts read from the DHT, in bytes: no value is larger.
const MAX_DEVICE_DATA: usize = 65_536;

/// Texts by their names, as preferences and status are told.
pub type Texts = BTreeMap<String, String>;

/// Why a channel of own devices must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The stream is no MessagePack, or a message is too long.
    #[error("the other device's sync stream cannot be read on: {0}")]
    Stream(#[from] DecodeError),
    /// A message is no array, or one of its parts no map.
    #[error("the other device's sync message has another shape than expected")]
    Shape,
}

/// A device that another one tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldDevice {
    /// Its name; often empty.
    pub name: String,
    /// Its short id: devices of 2023 need it and ignore devices without.
    pub short_id: Option<DeviceShortId>,
}

/// One message. What is empty in it says nothing: nothing is ever deleted by being left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncMessage {
    /// The sender's clock, in ticks that mean different things on different platforms. Over a channel it
    /// says nothing; of what one device puts on the DHT the latest counts.
    pub date: u64,
    /// Devices of the account.
    pub devices: BTreeMap<DeviceId, ToldDevice>,
    /// Contacts, removed and banned ones included.
    pub contacts: BTreeMap<AccountId, Contact>,
    /// Some of the requests that wait for the owner; without vCards.
    pub trust_requests: BTreeMap<AccountId, PendingRequest>,
    /// Conversations, removed ones included.
    pub conversations: BTreeMap<ConversationId, ConversationRecord>,
    /// Invitations into conversations, declined ones included.
    pub requests: BTreeMap<ConversationId, ConversationRequest>,
    /// Preferences of conversations.
    pub preferences: BTreeMap<ConversationId, Texts>,
    /// Read positions as daemons of late 2023 tell them.
    pub last_displayed: BTreeMap<ConversationId, Texts>,
    /// How far members have fetched and read conversations.
    pub status: BTreeMap<ConversationId, BTreeMap<AccountId, Texts>>,
}

impl SyncMessage {
    /// The bytes, in the form of 2026, which older devices read too.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_object().encode()
    }

    fn to_object(&self) -> Object {
        let ids = |members: &BTreeMap<AccountId, Texts>| {
            map(members, |member| Object::text(&member.to_hex()), texts_object)
        };
        Object::Array(vec![
            self.device_data(),
            map_with_id(&self.conversations, ConversationRecord::to_object),
            map_with_id(&self.requests, ConversationRequest::to_object),
            map(&self.preferences, conversation_key, texts_object),
            map(&self.last_displayed, conversation_key, texts_object),
            map(&self.status, conversation_key, ids),
        ])
    }

    fn device_data(&self) -> Object {
        let account = |id: &AccountId| Object::binary(&id.0);
        Object::map([
            ("date", self.date.into()),
            ("device_name", "".into()),
            ("devices", map(&self.devices, |id| Object::binary(&id.0), ToldDevice::to_object)),
            ("peers", map(&self.contacts, account, Contact::to_object)),
            ("trust_requests", map(&self.trust_requests, account, PendingRequest::to_object)),
        ])
    }

    /// Reads the first part alone, as devices of 2023 put it on the DHT for each other (`spec: sync 9.1`).
    /// Says also how many entries were left out.
    ///
    /// # Errors
    /// [`SyncError`] when it is no such map.
    pub fn decode_device_data(data: &[u8]) -> Result<(Self, usize), SyncError> {
        let (part, length) = msgpack::decode(data, MAX_DEVICE_DATA)?;
        if length != data.len() {
            return Err(DecodeError::Trailing.into());
        }
        Self::from_object(&Object::Array(vec![part]))
    }

    /// Reads a message of any release. Says also how many entries were left out.
    ///
    /// # Errors
    /// [`SyncError::Shape`] when it is no array, or a part is no map.
    pub fn from_object(object: &Object) -> Result<(Self, usize), SyncError> {
        let parts = object.as_array().ok_or(SyncError::Shape)?;
        let part = |index: usize| match parts.get(index) {
            None => Ok(&[][..]),
            Some(part) => part.as_map().ok_or(SyncError::Shape),
        };
        let mut reader = EntryReader { skipped: 0 };
        let data = parts.first();
        part(0)?;
        let within = |key: &str| match data.and_then(|data| data.get(key)) {
            None => Ok(&[][..]),
            Some(entries) => entries.as_map().ok_or(SyncError::Shape),
        };
        let account = |key: &Object| AccountId::from_bytes(key.as_binary()?);
        let device = |key: &Object| DeviceId::from_bytes(key.as_binary()?);
        let message = Self {
            date: data.and_then(|data| data.get("date")?.as_unsigned()).unwrap_or(0),
            devices: reader.read(within("devices")?, device, ToldDevice::from_object),
            contacts: reader.read(within("peers")?, account, Contact::from_object),
            trust_requests: reader.read(within("trust_requests")?, account, PendingRequest::from_object),
            conversations: reader.read_with_id(part(1)?, ConversationRecord::from_object),
            requests: reader.read_with_id(part(2)?, ConversationRequest::from_object),
            preferences: reader.read(part(3)?, id_text, texts),
            last_displayed: reader.read(part(4)?, id_text, texts),
            status: reader.read_status(part(5)?),
        };
        Ok((message, reader.skipped))
    }
}

impl ToldDevice {
    fn to_object(&self) -> Object {
        let name = ("name", Object::text(&self.name));
        let short_id = self.short_id.map(|id| ("sha1", Object::binary(&id.0)));
        Object::map([name].into_iter().chain(short_id))
    }

    fn from_object(object: &Object) -> Option<Self> {
        object.as_map()?;
        let name = object.get("name").map_or(Some(""), Object::as_text)?.to_owned();
        let short_id = object.get("sha1").and_then(Object::as_binary).and_then(DeviceShortId::from_bytes);
        Some(Self { name, short_id })
    }
}

/// Reads entries and counts those left out.
struct EntryReader {
    skipped: usize,
}

impl EntryReader {
    fn read<K: Ord, V>(
        &mut self,
        entries: &[(Object, Object)],
        key: impl Fn(&Object) -> Option<K>,
        value: impl Fn(&Object) -> Option<V>,
    ) -> BTreeMap<K, V> {
        self.collect(entries, |id, entry| Some((key(id)?, value(entry)?)))
    }

    /// Entries that name their id themselves, which counts more than their key.
    fn read_with_id<V>(
        &mut self,
        entries: &[(Object, Object)],
        value: impl Fn(&Object) -> Option<(ConversationId, V)>,
    ) -> BTreeMap<ConversationId, V> {
        self.collect(entries, |_, entry| value(entry))
    }

    fn read_status(
        &mut self,
        entries: &[(Object, Object)],
    ) -> BTreeMap<ConversationId, BTreeMap<AccountId, Texts>> {
        let mut skipped = 0;
        let status = self.collect(entries, |id, members| {
            let mut reader = Self { skipped: 0 };
            let members = reader.read(members.as_map()?, id_text, texts);
            skipped += reader.skipped;
            Some((id_text(id)?, members))
        });
        self.skipped += skipped;
        status
    }

    fn collect<K: Ord, V>(
        &mut self,
        entries: &[(Object, Object)],
        mut read: impl FnMut(&Object, &Object) -> Option<(K, V)>,
    ) -> BTreeMap<K, V> {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            match read(key, value) {
                Some((key, value)) => drop(map.insert(key, value)),
                None => self.skipped += 1,
            }
        }
        map
    }
}

fn id_text<Id: std::str::FromStr>(key: &Object) -> Option<Id> {
    key.as_text()?.parse().ok()
}

/// Texts by their names; those that are none are left out.
fn texts(object: &Object) -> Option<Texts> {
    let text = |value: &Object| value.as_text().map(str::to_owned);
    let entries = object.as_map()?.iter();
    Some(entries.filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect())
}

fn texts_object(texts: &Texts) -> Object {
    Object::map(texts.iter().map(|(name, text)| (name.as_str(), Object::text(text))))
}

fn conversation_key(id: &ConversationId) -> Object {
    Object::text(&id.to_hex())
}

fn map<K, V>(entries: &BTreeMap<K, V>, key: impl Fn(&K) -> Object, value: impl Fn(&V) -> Object) -> Object {
    Object::Map(entries.iter().map(|(id, entry)| (key(id), value(entry))).collect())
}

fn map_with_id<V>(
    entries: &BTreeMap<ConversationId, V>,
    value: impl Fn(&V, ConversationId) -> Object,
) -> Object {
    Object::Map(entries.iter().map(|(id, entry)| (conversation_key(id), value(entry, *id))).collect())
}

/// Takes messages out of the bytes of a channel, cut anywhere.
#[derive(Debug)]
pub struct SyncReader {
    objects: ObjectReader,
}

impl Default for SyncReader {
    fn default() -> Self {
        Self { objects: ObjectReader::new(MAX_SYNC_MESSAGE) }
    }
}

impl SyncReader {
    /// The next message, taken from the front of `input`, with the number of entries left out. `None`
    /// means that all of `input` is used up and more is needed.
    ///
    /// # Errors
    /// [`SyncError`]: close the channel. Nothing of that message counts.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<(SyncMessage, usize)>, SyncError> {
        match self.objects.next(input)? {
            None => Ok(None),
            Some(object) => SyncMessage::from_object(&object).map(Some),
        }
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
