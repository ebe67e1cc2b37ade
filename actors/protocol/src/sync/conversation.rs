//! The record of a conversation (`spec: sync 4.4`) and the file of all records, `convInfo`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::contact::json_time;
use crate::ids::{AccountId, ConversationId};
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::swarm::message::Mode;
use crate::time::UnixMillis;

/// Most conversations of an account: each costs an actor and a repository.
pub const MAX_CONVERSATIONS: usize = 4096;

/// Largest file of records, in bytes: 4 KiB for each conversation, which holds 90 members.
pub const MAX_CONVERSATIONS_FILE: usize = MAX_CONVERSATIONS * 4096;

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

    /// Whether it was removed and its repository is kept until others know (`spec: swarm 12`).
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_removed() && self.erased < self.removed
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
            UnixMillis::from_either(number(millis), number(seconds)).unwrap_or_default()
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
mod tests {
    use super::*;
    use crate::testing::{recording, with_mutations};

    fn file(name: &str) -> Vec<u8> {
        recording(&format!("newest/accounts/{name}/convInfo"))
    }

    #[test]
    fn the_files_of_real_daemons_are_written_as_they_were_read() {
        for name in ["alice", "bob", "carla", "alice2"] {
            let bytes = file(name);
            let (records, skipped) = ConversationRecords::decode(&bytes).unwrap();
            assert_eq!(skipped, 0);
            assert_eq!(hex::encode(records.encode()), hex::encode(bytes), "{name}");
        }
    }

    #[test]
    fn a_record_survives_the_archive() {
        let (records, _) = ConversationRecords::decode(&file("alice")).unwrap();
        for (id, record) in records.iter() {
            assert_eq!(ConversationRecord::from_json(&record.to_json(id)), *record);
        }
    }

    #[test]
    fn a_removed_conversation_is_not_present() {
        let (records, _) = ConversationRecords::decode(&file("bob")).unwrap();
        let removed: ConversationId = "2ce39c209b93cc91155160136e010d9a3cc2077e".parse().unwrap();
        assert!(records.get(removed).unwrap().is_removed());
        assert_eq!((records.iter().count(), records.present().count()), (4, 3));
    }

    #[test]
    fn when_there_are_too_many_records_that_of_what_was_erased_first_goes() {
        let id = |number: usize| {
            let mut id = ConversationId([0; 20]);
            id.0[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        let record = ConversationRecord { created: UnixMillis(1), ..ConversationRecord::default() };
        let mut records = ConversationRecords::default();
        for number in 0..MAX_CONVERSATIONS {
            records.insert(id(number), record.clone()).unwrap();
        }
        assert_eq!(records.insert(id(MAX_CONVERSATIONS), record.clone()), Err(RecordsError::Full));
        for (number, removed, erased) in [(5, 9, 9), (6, 8, 8), (7, 7, 0)] {
            let record = records.get_mut(id(number)).unwrap();
            (record.removed, record.erased) = (UnixMillis(removed), UnixMillis(erased));
        }
        records.insert(id(MAX_CONVERSATIONS), record.clone()).unwrap();
        assert!(records.get(id(6)).is_none() && records.get(id(7)).is_some());
        records.insert(id(MAX_CONVERSATIONS + 1), record.clone()).unwrap();
        assert!(records.get(id(5)).is_none());
        assert_eq!(records.insert(id(MAX_CONVERSATIONS + 2), record), Err(RecordsError::Full));
    }

    #[test]
    fn the_conversation_of_two_is_the_latest_that_is_theirs_alone_and_present() {
        let [ada, bob, eve] = [1, 2, 3].map(|number| AccountId([number; 20]));
        let mut records = ConversationRecords::default();
        let mut record = |number: u8, members: &[AccountId], mode, removed| {
            let created = UnixMillis(i64::from(number));
            let record = ConversationRecord::new(created, members.iter().copied(), mode);
            let id = ConversationId([number; 20]);
            records.insert(id, ConversationRecord { removed: UnixMillis(removed), ..record }).unwrap();
            id
        };
        record(1, &[ada, bob], 0, 0);
        let latest = record(2, &[ada, bob], 0, 0);
        record(3, &[ada, bob], 0, 9);
        record(4, &[ada, bob], 2, 0);
        record(5, &[ada, bob, eve], 0, 0);
        assert_eq!(records.one_to_one(&[ada, bob].into()), Some(latest));
        assert_eq!(records.one_to_one(&[ada, eve].into()), None);
    }

    #[test]
    fn one_wrong_entry_does_not_discard_the_others() {
        let (records, _) = ConversationRecords::decode(&file("alice")).unwrap();
        let Object::Map(mut entries) = msgpack::decode_all(&records.encode()).unwrap() else { panic!() };
        entries.insert(1, (Object::text("x"), Object::Nil));
        let (again, skipped) = ConversationRecords::decode(&Object::Map(entries).encode()).unwrap();
        assert_eq!((again, skipped), (records, 1));
    }

    fn fuzz_records(data: &[u8]) {
        if let Ok((records, _)) = ConversationRecords::decode(data) {
            let file = records.encode();
            let (again, skipped) = ConversationRecords::decode(&file).unwrap();
            assert_eq!((again.encode(), skipped), (file, 0));
        }
    }

    #[test]
    fn damaged_files_are_read_or_refused() {
        for name in ["alice", "bob", "carla", "alice2"] {
            with_mutations(&file(name), 300, fuzz_records);
        }
    }
}
