//! Invitations that wait for the owner's decision or were declined, and their file, `convRequests`
//! (`spec: sync 4.5 and 5.5, swarm 11`).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::contact::json_time;
use crate::ids::{AccountId, ConversationId};
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::swarm::message::Mode;
use crate::swarm::notice::MAX_METADATA_VALUE;
use crate::time::UnixMillis;

/// Most invitations remembered, waiting and declined: those of a few thousand groups.
pub const MAX_REQUESTS: usize = 4096;

/// Most invitations remembered of one person, so that nobody takes the room of others.
pub const MAX_REQUESTS_EACH: usize = 1024;

/// Most bytes of metadata of all invitations together.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Most bytes of metadata of one person's invitations.
pub const MAX_REQUEST_BYTES_EACH: usize = 4 << 20;

/// Largest file read, in bytes.
pub const MAX_REQUESTS_FILE: usize = MAX_REQUEST_BYTES + MAX_REQUESTS * 1024;

/// The metadata that are kept (`spec: swarm 11`).
const KEPT: [&str; 6] = ["mode", "title", "description", "avatar", "rdvAccount", "rdvDevice"];

/// Why the file cannot be read. The invitations start empty then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestsError {
    /// Not MessagePack.
    #[error("the file of invitations cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No map.
    #[error("the file of invitations holds no map")]
    NotAMap,
}

/// An invitation into a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationRequest {
    /// Who invites.
    pub from: AccountId,
    /// `mode`, `title`, `description`, `avatar`, `rdvAccount`, `rdvDevice`.
    pub metadata: BTreeMap<String, String>,
    /// When it was made, as claimed and believed.
    pub received: UnixMillis,
    /// When it was declined; zero while it waits.
    pub declined: UnixMillis,
}

impl ConversationRequest {
    /// One that waits; metadata that nobody knows are left out.
    #[must_use]
    pub fn new(from: AccountId, metadata: &BTreeMap<String, String>, received: UnixMillis) -> Self {
        let known = metadata
            .iter()
            .filter(|(key, value)| KEPT.contains(&key.as_str()) && value.len() < MAX_METADATA_VALUE);
        let metadata = known.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { from, metadata, received, declined: UnixMillis(0) }
    }

    /// Whether it waits for an answer: it was not declined, or made again since.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.declined == UnixMillis(0) || self.declined < self.received
    }

    /// This invitation after another own device told of `other`, into the same conversation: the later
    /// invitation and the later refusal count, whatever comes first (`spec: sync 5.5`).
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let order = |it: &Self| (it.received, it.from);
        let latest = order(&self).cmp(&order(&other));
        let declined = self.declined.max(other.declined);
        let (newer, older) = if latest.is_lt() { (other, self) } else { (self, other) };
        let mut merged = Self { declined, ..newer };
        if latest.is_eq() {
            merged.metadata = merged.metadata.max(older.metadata);
        }
        merged.settle();
        merged
    }

    /// Forgets what is of no interest: a refusal of an earlier invitation; of an invitation that was
    /// declined, all but how the conversation works.
    fn settle(&mut self) {
        if self.is_waiting() {
            self.declined = UnixMillis(0);
        } else {
            self.metadata.retain(|key, _| key == "mode");
        }
    }

    /// How the conversation works; one to one if that is missing or unreadable.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let number = self.metadata.get("mode").and_then(|mode| mode.parse().ok());
        number.and_then(Mode::from_number).unwrap_or(Mode::OneToOne)
    }

    /// Bytes of its metadata.
    fn size(&self) -> usize {
        self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    fn decline(&mut self, now: UnixMillis) {
        self.declined = self.declined.max(now).max(self.received).max(UnixMillis(1));
        self.settle();
    }

    /// The invitation as in the file and in sync messages, with both units of time.
    #[must_use]
    pub fn to_object(&self, id: ConversationId) -> Object {
        let metadata = self.metadata.iter().map(|(key, value)| (Object::text(key), Object::text(value)));
        Object::map([
            ("from", Object::text(&self.from.to_hex())),
            ("conversationId", Object::text(&id.to_hex())),
            ("metadatas", Object::Map(metadata.collect())),
            ("received", Object::from(self.received.seconds())),
            ("declined", Object::from(self.declined.seconds())),
            ("receivedMs", Object::from(self.received.0)),
            ("declinedMs", Object::from(self.declined.0)),
        ])
    }

    /// From the file or a sync message; milliseconds win over seconds. None without an id or a person.
    #[must_use]
    pub fn from_object(object: &Object) -> Option<(ConversationId, Self)> {
        let id = object.get("conversationId")?.as_text()?.parse().ok()?;
        let from = AccountId::from_uri(object.get("from")?.as_text()?).ok()?;
        let time = |seconds: &str, millis: &str| {
            let number = |key| object.get(key).and_then(Object::as_signed);
            UnixMillis::from_either(number(millis), number(seconds)).unwrap_or_default().max(UnixMillis(0))
        };
        let metadata = object.get("metadatas").and_then(Object::as_map).unwrap_or_default();
        let text = |value: &Object| value.as_text().map(str::to_owned);
        let metadata = metadata.iter().filter_map(|(key, value)| Some((text(key)?, text(value)?))).collect();
        let request = Self::new(from, &metadata, time("received", "receivedMs"));
        Some((id, Self { declined: time("declined", "declinedMs"), ..request }))
    }
}

impl ConversationRequest {
    /// The invitation as it stands in the account archive: entries of no meaning are left out.
    #[must_use]
    pub fn to_json(&self, id: ConversationId) -> Map<String, Json> {
        let mut json = Map::new();
        json.insert("conversationId".to_owned(), json!(id));
        json.insert("from".to_owned(), json!(self.from));
        json.insert("metadatas".to_owned(), json!(self.metadata));
        for (seconds, millis, time) in
            [("received", "receivedMs", self.received), ("declined", "declinedMs", self.declined)]
        {
            if time != UnixMillis(0) {
                json.insert(seconds.to_owned(), time.seconds().into());
                json.insert(millis.to_owned(), time.0.into());
            }
        }
        json
    }

    /// From the account archive. `None` without a person; what else is missing or wrong takes zero or
    /// nothing.
    #[must_use]
    pub fn from_json(json: &Map<String, Json>) -> Option<Self> {
        let from = AccountId::from_uri(json.get("from")?.as_str()?).ok()?;
        let metadata = json.get("metadatas").and_then(Json::as_object).into_iter().flatten();
        let metadata = metadata.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let request = Self::new(from, &metadata.collect(), json_time(json, "received", "receivedMs"));
        Some(Self { declined: json_time(json, "declined", "declinedMs"), ..request })
    }
}

/// What became of an invitation that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedRequest {
    /// It waits now.
    New,
    /// One for the same conversation waits already.
    Duplicate,
    /// It is no later than it was declined.
    Declined,
    /// There is no room for more, in all or of this person.
    Full,
}

/// What became of an invitation that another own device told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedRequest {
    /// It waits now, and did not before.
    Raised,
    /// It was declined elsewhere, and waited here.
    Declined,
    /// Something else about it is new and to be kept.
    Updated,
    /// Nothing is new.
    Unchanged,
    /// There is no room for more, in all or of this person.
    Full,
}

/// The invitations of an account, those declined included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationRequests {
    requests: BTreeMap<ConversationId, ConversationRequest>,
    bytes: usize,
}

impl ConversationRequests {
    /// The invitation into a conversation.
    #[must_use]
    pub fn get(&self, id: ConversationId) -> Option<&ConversationRequest> {
        self.requests.get(&id)
    }

    /// All of them by rising conversation id.
    pub fn iter(&self) -> impl Iterator<Item = (ConversationId, &ConversationRequest)> {
        self.requests.iter().map(|(id, request)| (*id, request))
    }

    /// Those that wait for an answer, as [`Self::is_waiting`] has it, found in one pass: strangers may have
    /// sent thousands.
    pub fn waiting(&self) -> impl Iterator<Item = (ConversationId, &ConversationRequest)> {
        let mut last = BTreeMap::new();
        for (id, request) in self.iter().filter(|(_, request)| request.mode() == Mode::OneToOne) {
            let order = (request.received, id);
            last.entry(request.from).and_modify(|it: &mut _| *it = order.max(*it)).or_insert(order);
        }
        self.iter().filter(move |(id, request)| {
            let is_last = || last.get(&request.from) == Some(&(request.received, *id));
            request.is_waiting() && (request.mode() != Mode::OneToOne || is_last())
        })
    }

    /// Whether an invitation waits for an answer. Of a person's invitations one to one, only the last does.
    #[must_use]
    pub fn is_waiting(&self, id: ConversationId) -> bool {
        let Some(request) = self.get(id).filter(|request| request.is_waiting()) else { return false };
        let is_later = |(other, it): (ConversationId, &ConversationRequest)| {
            it.from == request.from
                && it.mode() == Mode::OneToOne
                && (it.received, other) > (request.received, id)
        };
        request.mode() != Mode::OneToOne || !self.iter().any(is_later)
    }

    /// Takes an invitation in that came now (`spec: swarm 11`). One to one, it declines earlier ones
    /// of the same person.
    pub fn record(
        &mut self,
        id: ConversationId,
        mut request: ConversationRequest,
        now: UnixMillis,
    ) -> RecordedRequest {
        match self.get(id) {
            Some(old) if old.is_waiting() => return RecordedRequest::Duplicate,
            Some(old) if request.received <= old.declined => return RecordedRequest::Declined,
            _ => {}
        }
        if request.mode() == Mode::OneToOne {
            let others = self.iter().filter(|(other, it)| *other != id && it.from == request.from);
            let others = others.filter(|(_, it)| it.mode() == Mode::OneToOne);
            let others: Vec<_> = others.map(|(id, it)| (id, it.received)).collect();
            for (other, received) in others {
                // Its time is the other side's to choose; what came last counts as the last one.
                request.received = request.received.max(UnixMillis(received.0.saturating_add(1)));
                self.decline(other, now);
            }
        }
        if !self.make_room(id, &request) {
            return RecordedRequest::Full;
        }
        self.insert(id, request);
        RecordedRequest::New
    }

    /// Takes in an invitation that another own device tells of, waiting or declined.
    ///
    /// What another invitation made pointless is not noted here but seen in [`Self::waiting`]: whoever
    /// hears of the two in another order, or of the later one only when it is answered, has to keep the
    /// same.
    pub fn merge(&mut self, id: ConversationId, told: ConversationRequest) -> MergedRequest {
        let before = self.get(id).cloned();
        let merged = match &before {
            Some(own) => own.clone().merged(told),
            None => told.clone().merged(told),
        };
        if before.as_ref() == Some(&merged) {
            return MergedRequest::Unchanged;
        }
        if !self.make_room(id, &merged) {
            return MergedRequest::Full;
        }
        let was_waiting = self.is_waiting(id);
        self.insert(id, merged);
        match (was_waiting, self.is_waiting(id)) {
            (false, true) => MergedRequest::Raised,
            (true, false) => MergedRequest::Declined,
            _ => MergedRequest::Updated,
        }
    }

    /// Whether there is room for an invitation, after forgetting what was declined longest ago.
    fn make_room(&mut self, id: ConversationId, request: &ConversationRequest) -> bool {
        let of_person = |it: &&ConversationRequest| it.from == request.from;
        loop {
            let others = || self.iter().filter(|(other, _)| *other != id).map(|(_, it)| it);
            let (all, each) = (others().count(), others().filter(of_person).count());
            let bytes = self.bytes.saturating_add(request.size());
            let bytes_each = others().filter(of_person).map(ConversationRequest::size).sum::<usize>();
            if bytes_each.saturating_add(request.size()) > MAX_REQUEST_BYTES_EACH || bytes > MAX_REQUEST_BYTES
            {
                return false;
            }
            if all < MAX_REQUESTS && each < MAX_REQUESTS_EACH {
                return true;
            }
            let declined = self.iter().filter(|(other, it)| *other != id && !it.is_waiting());
            let declined = declined.filter(|(_, it)| all >= MAX_REQUESTS || it.from == request.from);
            let oldest = declined.min_by_key(|(_, it)| it.declined).map(|(other, _)| other);
            let Some(oldest) = oldest else { return false };
            self.remove(oldest);
        }
    }

    fn insert(&mut self, id: ConversationId, request: ConversationRequest) {
        self.bytes = self.bytes.saturating_add(request.size());
        if let Some(old) = self.requests.insert(id, request) {
            self.bytes = self.bytes.saturating_sub(old.size());
        }
    }

    /// Notes that an invitation was declined; false if there is none that waits.
    pub fn decline(&mut self, id: ConversationId, now: UnixMillis) -> bool {
        let Some(request) = self.requests.get_mut(&id).filter(|request| request.is_waiting()) else {
            return false;
        };
        let before = request.size();
        request.decline(now);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(request.size());
        true
    }

    /// Takes an invitation out: it was accepted, or the conversation is here.
    pub fn remove(&mut self, id: ConversationId) -> Option<ConversationRequest> {
        let request = self.requests.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(request.size());
        Some(request)
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.iter().map(|(id, request)| (Object::text(&id.to_hex()), request.to_object(id)));
        Object::Map(entries.collect()).encode()
    }

    /// Reads the file. Wrong entries, and those beyond the limits, are skipped; how many is told.
    ///
    /// # Errors
    /// When it is no map at all.
    pub fn decode(file: &[u8]) -> Result<(Self, usize), RequestsError> {
        let (object, _) = msgpack::decode(file, MAX_REQUESTS_FILE)?;
        let entries = object.as_map().ok_or(RequestsError::NotAMap)?;
        let mut requests = Self::default();
        let mut skipped = 0;
        for (_, entry) in entries {
            let read = ConversationRequest::from_object(entry).filter(|(id, request)| {
                requests.requests.len() < MAX_REQUESTS
                    && requests.bytes.saturating_add(request.size()) <= MAX_REQUEST_BYTES
                    && requests.get(*id).is_none()
            });
            match read {
                Some((id, request)) => requests.insert(id, request),
                None => skipped += 1,
            }
        }
        Ok((requests, skipped))
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
