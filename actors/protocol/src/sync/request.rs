//! Invitations that wait for the owner's decision or were declined, and their file, `convRequests`
//! (`spec: sync 4.5 and 5.5, swarm 11`).

use std::collections::BTreeMap;

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

    /// Whether it waits for an answer.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.declined == UnixMillis(0)
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
        self.declined = now.max(UnixMillis(1));
        // Of what was declined only this is of interest.
        self.metadata.retain(|key, _| key == "mode");
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
            UnixMillis::from_either(number(millis), number(seconds)).unwrap_or_default()
        };
        let metadata = object.get("metadatas").and_then(Object::as_map).unwrap_or_default();
        let text = |value: &Object| value.as_text().map(str::to_owned);
        let metadata = metadata.iter().filter_map(|(key, value)| Some((text(key)?, text(value)?))).collect();
        let request = Self::new(from, &metadata, time("received", "receivedMs"));
        Some((id, Self { declined: time("declined", "declinedMs"), ..request }))
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

    /// Those that wait for an answer.
    pub fn waiting(&self) -> impl Iterator<Item = (ConversationId, &ConversationRequest)> {
        self.iter().filter(|(_, request)| request.is_waiting())
    }

    /// Takes an invitation in that came now (`spec: swarm 11`). One to one, it declines earlier ones
    /// of the same person.
    pub fn record(
        &mut self,
        id: ConversationId,
        request: ConversationRequest,
        now: UnixMillis,
    ) -> RecordedRequest {
        match self.get(id) {
            Some(old) if old.is_waiting() => return RecordedRequest::Duplicate,
            Some(old) if request.received <= old.declined => return RecordedRequest::Declined,
            _ => {}
        }
        if request.mode() == Mode::OneToOne {
            let others = self.waiting().filter(|(_, it)| it.from == request.from);
            let others = others.filter(|(_, it)| it.mode() == Mode::OneToOne).map(|(id, _)| id);
            for other in others.collect::<Vec<_>>() {
                self.decline(other, now);
            }
        }
        if !self.make_room(id, &request) {
            return RecordedRequest::Full;
        }
        self.insert(id, request);
        RecordedRequest::New
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::with_mutations;

    const ADA: AccountId = AccountId([1; 20]);
    const BOB: AccountId = AccountId([2; 20]);
    const NOW: UnixMillis = UnixMillis(10_000);

    fn id(number: usize) -> ConversationId {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&number.to_be_bytes());
        ConversationId(id)
    }

    fn request(from: AccountId, mode: Mode, received: i64) -> ConversationRequest {
        let metadata = [
            ("mode", mode.number().to_string()),
            ("title", "t".to_owned()),
            ("unknown", "left out".to_owned()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        ConversationRequest::new(from, &metadata, UnixMillis(received))
    }

    fn group(from: AccountId, received: i64) -> ConversationRequest {
        request(from, Mode::InvitesOnly, received)
    }

    #[test]
    fn one_invitation_waits_for_each_conversation() {
        let mut requests = ConversationRequests::default();
        assert_eq!(requests.record(id(1), group(ADA, 1), NOW), RecordedRequest::New);
        assert_eq!(requests.record(id(1), group(ADA, 2), NOW), RecordedRequest::Duplicate);
        assert_eq!(requests.record(id(1), group(BOB, 3), NOW), RecordedRequest::Duplicate);
        assert_eq!(requests.get(id(1)), Some(&group(ADA, 1)));
        assert_eq!(requests.get(id(1)).unwrap().metadata.len(), 2, "what nobody knows is left out");
    }

    #[test]
    fn what_was_declined_comes_back_only_with_a_later_invitation() {
        let mut requests = ConversationRequests::default();
        requests.record(id(1), group(ADA, 1), NOW);
        assert!(requests.decline(id(1), NOW) && !requests.decline(id(1), NOW));
        assert_eq!(requests.waiting().count(), 0);
        for stale in [1, 9_999, 10_000] {
            assert_eq!(requests.record(id(1), group(ADA, stale), NOW), RecordedRequest::Declined);
        }
        assert_eq!(requests.record(id(1), group(ADA, 10_001), NOW), RecordedRequest::New);
        assert_eq!(requests.waiting().count(), 1);
    }

    #[test]
    fn a_new_conversation_of_two_declines_the_earlier_ones_of_the_same_person() {
        let mut requests = ConversationRequests::default();
        requests.record(id(1), request(ADA, Mode::OneToOne, 1), NOW);
        requests.record(id(2), group(ADA, 1), NOW);
        requests.record(id(3), request(BOB, Mode::OneToOne, 1), NOW);
        requests.record(id(4), request(ADA, Mode::OneToOne, 2), NOW);
        let waiting: Vec<_> = requests.waiting().map(|(id, _)| id).collect();
        assert_eq!(waiting, [id(2), id(3), id(4)]);
    }

    #[test]
    fn a_thousand_invitations_at_once_are_kept_and_nobody_takes_the_room_of_others() {
        let mut requests = ConversationRequests::default();
        for number in 0..MAX_REQUESTS_EACH {
            assert_eq!(requests.record(id(number), group(ADA, 1), NOW), RecordedRequest::New);
        }
        assert_eq!(requests.record(id(5000), group(ADA, 1), NOW), RecordedRequest::Full);
        assert_eq!(requests.record(id(5001), group(BOB, 1), NOW), RecordedRequest::New);
        // What was declined makes way.
        assert!(requests.decline(id(7), NOW));
        assert_eq!(requests.record(id(5000), group(ADA, 1), NOW), RecordedRequest::New);
        assert_eq!(requests.get(id(7)), None);
        assert!(requests.encode().len() < MAX_REQUESTS_FILE);
    }

    #[test]
    fn the_bytes_of_one_persons_invitations_are_bounded() {
        let mut requests = ConversationRequests::default();
        let large = || {
            let mut large = group(ADA, 1);
            large.metadata.insert("avatar".to_owned(), "x".repeat(60_000));
            large
        };
        let taken = (0..200).filter(|n| requests.record(id(*n), large(), NOW) == RecordedRequest::New);
        assert_eq!(taken.count(), MAX_REQUEST_BYTES_EACH / 60_016);
        assert_eq!(requests.record(id(300), group(BOB, 1), NOW), RecordedRequest::New);
        assert!(requests.decline(id(0), NOW));
        assert_eq!(requests.record(id(301), large(), NOW), RecordedRequest::New, "declining frees the room");
    }

    #[test]
    fn an_empty_file_of_a_real_daemon_is_read_and_written() {
        let (requests, skipped) = ConversationRequests::decode(b"\x80").unwrap();
        assert_eq!((requests.encode(), skipped), (b"\x80".to_vec(), 0));
        assert_eq!(ConversationRequests::decode(b"\x90"), Err(RequestsError::NotAMap));
    }

    #[test]
    fn a_file_of_2023_is_read_and_wrong_entries_are_skipped() {
        let old = Object::map([
            ("from", Object::text(&ADA.to_hex())),
            ("conversationId", Object::text(&id(1).to_hex())),
            ("metadatas", Object::Map(vec![(Object::text("mode"), Object::text("2"))])),
            ("received", Object::from(5_i64)),
            ("declined", Object::from(0_i64)),
        ]);
        let wrong = Object::map([("from", Object::text("nobody"))]);
        let file = Object::Map(vec![
            (Object::text("x"), old.clone()),
            (Object::text("y"), wrong),
            (Object::text("z"), old),
        ]);
        let (requests, skipped) = ConversationRequests::decode(&file.encode()).unwrap();
        assert_eq!(skipped, 2, "one is wrong and one is there twice");
        let read = requests.get(id(1)).unwrap();
        assert_eq!((read.from, read.received, read.mode()), (ADA, UnixMillis(5000), Mode::InvitesOnly));
    }

    fn fuzz_requests(data: &[u8]) {
        if let Ok((requests, _)) = ConversationRequests::decode(data) {
            let file = requests.encode();
            assert_eq!(ConversationRequests::decode(&file), Ok((requests, 0)));
        }
    }

    #[test]
    fn damaged_files_are_read_or_refused() {
        let mut requests = ConversationRequests::default();
        for number in 0..5 {
            requests.record(id(number), group(ADA, 1), NOW);
        }
        requests.decline(id(3), NOW);
        with_mutations(&requests.encode(), 300, fuzz_requests);
    }

    proptest! {
        #[test]
        fn every_set_of_invitations_survives_its_file(
            entries in prop::collection::btree_map(0..99_usize, (1_i64..9999, prop::bool::ANY), 0..20),
        ) {
            let mut requests = ConversationRequests::default();
            for (number, (received, declined)) in entries {
                requests.record(id(number), group(ADA, received), NOW);
                if declined {
                    requests.decline(id(number), NOW);
                }
            }
            prop_assert_eq!(ConversationRequests::decode(&requests.encode()), Ok((requests, 0)));
        }

        #[test]
        fn any_file_is_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_requests(&bytes);
        }
    }
}
