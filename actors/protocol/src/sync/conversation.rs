//! The record of a conversation (`spec: sync 4.4`) and the file of all records, `convInfo`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::contact::json_time;
use crate::ids::{AccountId, CommitId, ConversationId};
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::swarm::message::Mode;
use crate::time::UnixMillis;

/// Most conversations of an account: each costs an actor and a repository.
pub const MAX_CONVERSATIONS: usize = 4096;

/// Largest file of records, in bytes: 4 KiB for each conversation, which holds 90 members.
pub const MAX_CONVERSATIONS_FILE: usize = MAX_CONVERSATIONS * 4096;

/// Most members remembered in a record that devices have merged: they only serve to find a device to
/// fetch from.
pub const MAX_RECORD_MEMBERS: usize = 1024;

/// Why the file of records cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// Not MessagePack.
    #[error("the file of conversations cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No map.
    #[error("the file of conversations holds no map")]
    NotAMap,
    /// [`MAX_CONVERSATIONS`] is reached.
    #[error("the account has {MAX_CONVERSATIONS} conversations already; remove some")]
    Full,
}

/// How a conversation stands to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversationStanding {
    /// The account is in it.
    Present,
    /// It was removed; who has a copy keeps it until somebody else has fetched that we left.
    Leaving,
    /// It was removed, and copies of it are to be erased.
    Erased,
}

/// What an account remembers of one conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationRecord {
    /// When the account created, accepted or cloned it.
    pub created: UnixMillis,
    /// When it was removed; zero if it was not.
    pub removed: UnixMillis,
    /// When its repository was erased; zero if it was not.
    pub erased: UnixMillis,
    /// Members known, to find devices to clone from.
    pub members: BTreeSet<AccountId>,
    /// Read marker of old daemons, as written.
    pub last_displayed: String,
    /// Number of the mode, if known (`spec: swarm 2`).
    pub mode: Option<i64>,
    /// When we invited whom last.
    pub invited: BTreeMap<AccountId, UnixMillis>,
}

impl ConversationRecord {
    /// A record of a conversation that begins now.
    #[must_use]
    pub fn new(created: UnixMillis, members: impl IntoIterator<Item = AccountId>, mode: i64) -> Self {
        Self { created, members: members.into_iter().collect(), mode: Some(mode), ..Self::default() }
    }

    /// Whether the conversation was removed, and not added again since.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed != UnixMillis(0) && self.removed >= self.created
    }

    /// Whether it was removed and its repository is kept until others know (`spec: swarm 12`). A copy
    /// that was erased since it was created is gone, though another device may have noted a later
    /// removal of the same copy.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        let was_erased = self.erased != UnixMillis(0) && self.erased_removal() >= self.created;
        self.is_removed() && !was_erased
    }

    /// The latest removal that is known to have been followed by erasing the copy.
    fn erased_removal(&self) -> UnixMillis {
        self.erased.min(self.removed)
    }

    /// How the conversation stands.
    #[must_use]
    pub fn standing(&self) -> ConversationStanding {
        match (self.is_removed(), self.is_leaving()) {
            (false, _) => ConversationStanding::Present,
            (true, true) => ConversationStanding::Leaving,
            (true, false) => ConversationStanding::Erased,
        }
    }

    /// This record after another own device told of `other`: the latest creation, removal and erasure
    /// of both count. Where the reference notes its own time for a removal that it learns of, the time
    /// told is taken here, so that any order of records leads to the same one.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let (one, other) = (self.as_told(), other.as_told());
        let latest = one.created.cmp(&other.created);
        let (newer, older) = if latest.is_lt() { (&other, &one) } else { (&one, &other) };
        let mut merged = newer.clone();
        if latest.is_eq() {
            merged.members.extend(&older.members);
            merged.last_displayed = newer.last_displayed.clone().max(older.last_displayed.clone());
            merged.mode = newer.mode.max(older.mode);
        }
        merged.removed = newer.removed.max(older.removed);
        merged.erased = newer.erased_removal().max(older.erased_removal());
        for (who, when) in &older.invited {
            let known = merged.invited.entry(*who).or_insert(*when);
            *known = (*known).max(*when);
        }
        while merged.members.len() > MAX_RECORD_MEMBERS {
            merged.members.pop_last();
        }
        while merged.invited.len() > MAX_RECORD_MEMBERS {
            merged.invited.pop_last();
        }
        merged = merged.as_told();
        if self.standing() != ConversationStanding::Erased && self.has_copy_of_the_past(&merged) {
            // The copy here is still that of before; it has to go first.
            (merged.removed, merged.erased) = (self.removed, self.erased);
        }
        merged
    }

    /// Whether a conversation that is present again by `merged` has a copy here that was removed.
    fn has_copy_of_the_past(&self, merged: &Self) -> bool {
        !merged.is_removed() && (self.is_leaving() || self.has_old_copy())
    }

    /// The record as other own devices are told it: one that is present was never removed, and one that
    /// is being left never erased. What happened before it was added again is over, and the reference
    /// would never remove or erase it again.
    #[must_use]
    pub fn as_told(&self) -> Self {
        let mut told = self.clone();
        match self.standing() {
            ConversationStanding::Present => (told.removed, told.erased) = Default::default(),
            ConversationStanding::Leaving => told.erased = UnixMillis(0),
            ConversationStanding::Erased => told.erased = self.erased_removal(),
        }
        told
    }

    /// Whether it was added again before the copy that was removed has been erased.
    #[must_use]
    pub fn has_old_copy(&self) -> bool {
        !self.is_removed() && self.erased < self.removed
    }

    /// Whether it is the one-to-one conversation of these two and nobody else.
    #[must_use]
    pub fn is_between(&self, one: AccountId, other: AccountId) -> bool {
        self.mode == Some(Mode::OneToOne.number()) && self.members == [one, other].into()
    }

    /// The record as MessagePack, with both units of time.
    #[must_use]
    pub fn to_object(&self, id: ConversationId) -> Object {
        let members = self.members.iter().map(|member| Object::text(&member.to_hex()));
        let invited =
            self.invited.iter().map(|(who, when)| (Object::text(&who.to_hex()), Object::from(when.0)));
        Object::map([
            ("id", Object::text(&id.to_hex())),
            ("created", Object::from(self.created.seconds())),
            ("removed", Object::from(self.removed.seconds())),
            ("erased", Object::from(self.erased.seconds())),
            ("members", Object::Array(members.collect())),
            ("lastDisplayed", Object::text(&self.last_displayed)),
            ("mode", Object::from(self.mode.unwrap_or(0))),
            ("createdMs", Object::from(self.created.0)),
            ("removedMs", Object::from(self.removed.0)),
            ("erasedMs", Object::from(self.erased.0)),
            ("invited", Object::Map(invited.collect())),
        ])
    }

    /// From MessagePack; milliseconds win over seconds, wrong members are skipped. None without an id.
    #[must_use]
    pub fn from_object(object: &Object) -> Option<(ConversationId, Self)> {
        let id = object.get("id")?.as_text()?.parse().ok()?;
        let time = |seconds: &str, millis: &str| {
            let number = |key| object.get(key).and_then(Object::as_signed);
            UnixMillis::from_either(number(millis), number(seconds)).unwrap_or_default().max(UnixMillis(0))
        };
        let account = |text: &Object| text.as_text()?.parse().ok();
        let members = object.get("members").and_then(Object::as_array).unwrap_or_default();
        let invited = object.get("invited").and_then(Object::as_map).unwrap_or_default();
        let invited =
            invited.iter().filter_map(|(who, when)| Some((account(who)?, UnixMillis(when.as_signed()?))));
        let record = Self {
            created: time("created", "createdMs"),
            removed: time("removed", "removedMs"),
            erased: time("erased", "erasedMs"),
            members: members.iter().filter_map(account).collect(),
            last_displayed: object
                .get("lastDisplayed")
                .and_then(Object::as_text)
                .filter(|commit| commit.len() <= CommitId::LENGTH * 2)
                .unwrap_or_default()
                .to_owned(),
            mode: object.get("mode").and_then(Object::as_signed),
            invited: invited.collect(),
        };
        Some((id, record))
    }

    /// The record as it stands in the account archive: entries of no meaning are left out.
    #[must_use]
    pub fn to_json(&self, id: ConversationId) -> Map<String, Json> {
        let mut json = Map::new();
        let members = self.members.iter().map(|member| json!({ "uri": member })).collect();
        json.insert("id".to_owned(), json!(id));
        json.insert("members".to_owned(), Json::Array(members));
        json.insert("lastDisplayed".to_owned(), self.last_displayed.clone().into());
        for (seconds, millis, time) in [
            ("created", "createdMs", self.created),
            ("removed", "removedMs", self.removed),
            ("erased", "erasedMs", self.erased),
        ] {
            if time != UnixMillis(0) {
                json.insert(seconds.to_owned(), time.seconds().into());
                json.insert(millis.to_owned(), time.0.into());
            }
        }
        if let Some(mode) = self.mode {
            json.insert("mode".to_owned(), mode.into());
        }
        if !self.invited.is_empty() {
            let invited = self.invited.iter().map(|(who, when)| (who.to_hex(), when.0.into()));
            json.insert("invited".to_owned(), Json::Object(invited.collect()));
        }
        json
    }

    /// From the account archive; what is missing or wrong takes zero or nothing.
    #[must_use]
    pub fn from_json(json: &Map<String, Json>) -> Self {
        let members = json.get("members").and_then(Json::as_array).into_iter().flatten();
        let invited = json.get("invited").and_then(Json::as_object).into_iter().flatten();
        Self {
            created: json_time(json, "created", "createdMs"),
            removed: json_time(json, "removed", "removedMs"),
            erased: json_time(json, "erased", "erasedMs"),
            members: members.filter_map(|member| member.get("uri")?.as_str()?.parse().ok()).collect(),
            last_displayed: json.get("lastDisplayed").and_then(Json::as_str).unwrap_or_default().to_owned(),
            mode: json.get("mode").and_then(Json::as_i64),
            invited: invited
                .filter_map(|(who, when)| Some((who.parse().ok()?, UnixMillis(when.as_i64()?))))
                .collect(),
        }
    }
}

/// What became of a record that another own device told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// How the conversation stood; `None` if nothing was known of it.
    pub before: Option<ConversationStanding>,
    /// How it stands now.
    pub after: ConversationStanding,
    /// Whether the record is to be written again.
    pub is_changed: bool,
}

/// The conversations of an account, those removed included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationRecords(BTreeMap<ConversationId, ConversationRecord>);

impl ConversationRecords {
    /// The record of a conversation.
    #[must_use]
    pub fn get(&self, id: ConversationId) -> Option<&ConversationRecord> {
        self.0.get(&id)
    }

    /// The record of a conversation, to change it.
    pub fn get_mut(&mut self, id: ConversationId) -> Option<&mut ConversationRecord> {
        self.0.get_mut(&id)
    }

    /// All records by rising id.
    pub fn iter(&self) -> impl Iterator<Item = (ConversationId, &ConversationRecord)> {
        self.0.iter().map(|(id, record)| (*id, record))
    }

    /// Those that were not removed.
    pub fn present(&self) -> impl Iterator<Item = (ConversationId, &ConversationRecord)> {
        self.iter().filter(|(_, record)| !record.is_removed())
    }

    /// The latest conversation of these two alone that was not removed.
    #[must_use]
    pub fn one_to_one(&self, members: &BTreeSet<AccountId>) -> Option<ConversationId> {
        let one_to_one = Some(Mode::OneToOne.number());
        let theirs = self.present().filter(|(_, it)| it.mode == one_to_one && it.members == *members);
        theirs.max_by_key(|(_, record)| record.created).map(|(id, _)| id)
    }

    /// Takes a record in, in place of an older one. If there are too many, that of the conversation
    /// that was erased first is forgotten.
    ///
    /// # Errors
    /// [`RecordsError::Full`].
    pub fn insert(&mut self, id: ConversationId, record: ConversationRecord) -> Result<(), RecordsError> {
        if self.0.len() >= MAX_CONVERSATIONS && !self.0.contains_key(&id) {
            let gone = self.0.iter().filter(|(_, record)| record.is_removed() && !record.is_leaving());
            let oldest = gone.min_by_key(|(_, record)| record.erased).map(|(id, _)| *id);
            self.0.remove(&oldest.ok_or(RecordsError::Full)?);
        }
        self.0.insert(id, record);
        Ok(())
    }

    /// Takes in the record that another own device tells of a conversation.
    ///
    /// # Errors
    /// [`RecordsError::Full`].
    pub fn merge(&mut self, id: ConversationId, other: &ConversationRecord) -> Result<Merged, RecordsError> {
        let Some(own) = self.0.get_mut(&id) else {
            let record = other.as_told();
            let after = record.standing();
            self.insert(id, record)?;
            return Ok(Merged { before: None, after, is_changed: true });
        };
        let before = Some(own.standing());
        let merged = own.merged(other);
        let is_changed = merged != own.merged(own);
        if is_changed {
            *own = merged;
        }
        Ok(Merged { before, after: own.standing(), is_changed })
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.iter().map(|(id, record)| (Object::text(&id.to_hex()), record.to_object(id)));
        Object::Map(entries.collect()).encode()
    }

    /// Reads the file. Wrong entries are skipped; how many is told.
    ///
    /// # Errors
    /// When it is no map at all.
    pub fn decode(file: &[u8]) -> Result<(Self, usize), RecordsError> {
        let (object, _) = msgpack::decode(file, MAX_CONVERSATIONS_FILE)?;
        let entries = object.as_map().ok_or(RecordsError::NotAMap)?;
        let mut records = Self::default();
        let mut skipped = 0;
        for (_, record) in entries {
            let read = ConversationRecord::from_object(record);
            let taken = read.is_some_and(|(id, record)| records.insert(id, record).is_ok());
            skipped += usize::from(!taken);
        }
        Ok((records, skipped))
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
