//! Requests that wait for the user's decision, and their file (`spec: contacts 2.3 step 8, 4.1`).

use std::collections::BTreeMap;

use crate::contact::record::read_time;
use crate::ids::{AccountId, ConversationId};
use crate::keys::PublicKey;
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::UnixMillis;

/// Requests waiting at one time, one per account. Making accounts is free, so strangers could fill
/// any room; a request refused for this comes again when its sender sees us online.
pub const MAX_PENDING: usize = 1000;

/// Bytes of all vCards of waiting requests together.
pub const MAX_PENDING_BYTES: usize = 16 << 20;

/// Largest file read in bytes.
pub const MAX_PENDING_FILE: usize = MAX_PENDING_BYTES + MAX_PENDING * 2048;

/// Why the file cannot be read. The requests start empty then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PendingError {
    /// Not MessagePack.
    #[error("the file of pending requests cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No map.
    #[error("the file of pending requests holds no map")]
    NotAMap,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRequest {
    /// The device that sent it; unknown when another own device told of the request.
    pub device: Option<PublicKey>,
    /// The conversation of the two; none in requests of very old clients.
    pub conversation: Option<ConversationId>,
    /// When it was received.
    pub received: UnixMillis,
    /// vCard of the sender; empty when another own device told of the request.
    pub payload: Vec<u8>,
    /// When the sender first issued the invitation, if it is known.
    pub invited: Option<UnixMillis>,
}

impl PendingRequest {
    /// The time that decides which of two requests of an account is the later one.
    #[must_use]
    pub fn order_time(&self) -> UnixMillis {
        self.invited.unwrap_or(self.received)
    }

    /// The request as in the file and in sync messages; the latter leave the payload out.
    #[must_use]
    pub fn to_object(&self) -> Object {
        let conversation = self.conversation.map(|id| id.to_hex()).unwrap_or_default();
        Object::map([
            ("device", self.device.as_ref().map_or(Object::Nil, |key| Object::binary(key.der()))),
            ("conversationId", Object::text(&conversation)),
            ("received", Object::from(self.received.seconds())),
            ("payload", Object::binary(&self.payload)),
            ("receivedMs", Object::from(self.received.0)),
            ("invitedMs", Object::from(self.invited.unwrap_or_default().0)),
        ])
    }

    /// From the file or a sync message. Missing entries are empty or 0; none if an entry is of
    /// another type. A device key that is none is as good as a missing one.
    #[must_use]
    pub fn from_object(object: &Object) -> Option<Self> {
        object.as_map()?;
        let device = object.get("device").and_then(Object::as_binary);
        let invited = object.get("invitedMs").map_or(Some(0), Object::as_signed)?;
        Some(Self {
            device: device.and_then(|der| PublicKey::from_der(der).ok()),
            conversation: object.get("conversationId").map_or(Some(""), Object::as_text)?.parse().ok(),
            received: read_time(object, "received", "receivedMs")?,
            payload: object.get("payload").map_or(Some(&[][..]), Object::as_binary)?.to_vec(),
            invited: (invited > 0).then_some(UnixMillis(invited)),
        })
    }
}

/// What became of a request that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is the first of its account.
    New,
    /// It took the place of an earlier one.
    Replaced,
    /// It took the place of an earlier one that said the same, which nobody need hear of.
    Repeated,
    /// There is one that is no earlier.
    Duplicate,
    /// [`MAX_PENDING`] or [`MAX_PENDING_BYTES`] is reached.
    Full,
}

/// The requests that wait, one per account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingRequests {
    requests: BTreeMap<AccountId, PendingRequest>,
    bytes: usize,
}

impl PendingRequests {
    /// The request of an account.
    #[must_use]
    pub fn get(&self, account: AccountId) -> Option<&PendingRequest> {
        self.requests.get(&account)
    }

    /// All requests by rising account id.
    pub fn iter(&self) -> impl Iterator<Item = (AccountId, &PendingRequest)> {
        self.requests.iter().map(|(account, request)| (*account, request))
    }

    /// Records a request; of two of one account the later stays, by the rule of 2026, and of two of the
    /// same time that with the greater conversation id, so that own devices agree. The vCard of the
    /// earlier one is kept where the later one has none: own devices send none to each other.
    pub fn record(&mut self, account: AccountId, mut request: PendingRequest) -> Recorded {
        let old = self.get(account);
        let order = |it: &PendingRequest| (it.order_time(), it.conversation);
        if old.is_some_and(|old| order(old) >= order(&request)) {
            return Recorded::Duplicate;
        }
        if let Some(old) = old.filter(|_| request.payload.is_empty()) {
            request.payload.clone_from(&old.payload);
        }
        let freed = old.map_or(0, |old| old.payload.len());
        let bytes = self.bytes.saturating_sub(freed).saturating_add(request.payload.len());
        let replaces = old.is_some();
        let repeats = old.is_some_and(|old| {
            (&old.conversation, &old.payload) == (&request.conversation, &request.payload)
        });
        if bytes > MAX_PENDING_BYTES || (!replaces && self.requests.len() >= MAX_PENDING) {
            return Recorded::Full;
        }
        self.bytes = bytes;
        self.requests.insert(account, request);
        match (replaces, repeats) {
            (false, _) => Recorded::New,
            (true, false) => Recorded::Replaced,
            (true, true) => Recorded::Repeated,
        }
    }

    /// Takes a request out: it was accepted, declined, or is no longer one.
    pub fn remove(&mut self, account: AccountId) -> Option<PendingRequest> {
        let request = self.requests.remove(&account)?;
        self.bytes = self.bytes.saturating_sub(request.payload.len());
        Some(request)
    }

    /// The file of pending requests.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.iter().map(|(id, request)| (Object::binary(&id.0), request.to_object()));
        Object::Map(entries.collect()).encode()
    }

    /// Reads a file of pending requests. Wrong entries are skipped; how many is told.
    ///
    /// # Errors
    /// When it is no map at all.
    pub fn decode(file: &[u8]) -> Result<(Self, usize), PendingError> {
        let (object, _) = msgpack::decode(file, MAX_PENDING_FILE)?;
        let entries = object.as_map().ok_or(PendingError::NotAMap)?;
        let mut requests = Self::default();
        let mut skipped = 0;
        for (id, request) in entries {
            let id = id.as_binary().and_then(AccountId::from_bytes);
            let read = id.zip(PendingRequest::from_object(request));
            match read.map(|(id, request)| requests.record(id, request)) {
                Some(Recorded::New | Recorded::Replaced | Recorded::Repeated) => {}
                _ => skipped += 1,
            }
        }
        Ok((requests, skipped))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contact::tests::numbered;
    use crate::dht::golden;
    use crate::testing::data;

    const PEER: AccountId = AccountId([1; 20]);

    pub(crate) fn request(received: i64, invited: Option<i64>) -> PendingRequest {
        PendingRequest {
            device: Some(golden::device_b().public().clone()),
            conversation: Some(ConversationId([7; 20])),
            received: UnixMillis(received),
            payload: b"BEGIN:VCARD".to_vec(),
            invited: invited.map(UnixMillis),
        }
    }

    #[test]
    fn the_files_of_real_daemons_are_written_as_they_were_read() {
        let file = data!("vectors/newest/accounts/bob/incomingTrustRequests");
        let (requests, skipped) = PendingRequests::decode(file).unwrap();
        assert_eq!((requests.iter().count(), skipped), (0, 0));
        assert_eq!(requests.encode(), file);
    }

    #[test]
    fn the_later_invitation_stays() {
        let mut requests = PendingRequests::default();
        assert_eq!(requests.record(PEER, request(2000, Some(1000))), Recorded::New);
        assert_eq!(requests.record(PEER, request(9000, Some(1000))), Recorded::Duplicate);
        assert_eq!(requests.record(PEER, request(9000, Some(500))), Recorded::Duplicate);
        assert_eq!(requests.record(PEER, request(9000, Some(1001))), Recorded::Repeated);
        assert_eq!(requests.record(PEER, request(1500, None)), Recorded::Repeated);
        assert_eq!(requests.get(PEER), Some(&request(1500, None)));
    }

    #[test]
    fn a_request_without_vcard_keeps_the_one_that_is_known() {
        let mut requests = PendingRequests::default();
        requests.record(PEER, request(1, None));
        requests.record(PEER, PendingRequest { payload: Vec::new(), device: None, ..request(2, None) });
        assert_eq!(requests.get(PEER).unwrap().payload, b"BEGIN:VCARD");
    }

    #[test]
    fn the_number_and_the_bytes_of_requests_are_bounded() {
        let mut requests = PendingRequests::default();
        for number in 0..MAX_PENDING {
            assert_eq!(requests.record(numbered(number), request(1, None)), Recorded::New);
        }
        assert_eq!(requests.record(PEER, request(1, None)), Recorded::Full);
        assert_eq!(requests.record(numbered(5), request(2, None)), Recorded::Repeated);
        assert!(requests.encode().len() < MAX_PENDING_FILE);

        let mut requests = PendingRequests::default();
        let large = |received| PendingRequest { payload: vec![0; 60_000], ..request(received, None) };
        let stored =
            (0..MAX_PENDING).take_while(|n| requests.record(numbered(*n), large(1)) == Recorded::New);
        let stored = stored.count();
        assert_eq!(stored, MAX_PENDING_BYTES / 60_000);
        assert_eq!(requests.record(numbered(0), large(2)), Recorded::Repeated);
        assert!(requests.remove(numbered(0)).is_some());
        assert_eq!(requests.record(PEER, large(1)), Recorded::New);
    }

    #[test]
    fn a_file_of_2023_and_wrong_entries_are_read_leniently() {
        let old = Object::map([
            ("device", Object::Nil),
            ("conversationId", Object::text("")),
            ("received", Object::from(5_u64)),
            ("payload", Object::binary(b"x")),
        ]);
        let file = Object::Map(vec![
            (Object::binary(&PEER.0), old),
            (Object::binary(&[2; 20]), Object::map([("received", "now".into())])),
            (Object::binary(&[3; 5]), Object::map([])),
        ]);
        let (requests, skipped) = PendingRequests::decode(&file.encode()).unwrap();
        assert_eq!(skipped, 2);
        let expected = PendingRequest {
            device: None,
            conversation: None,
            received: UnixMillis(5000),
            payload: b"x".to_vec(),
            invited: None,
        };
        assert_eq!(requests.get(PEER), Some(&expected));
        assert_eq!(PendingRequests::decode(b"\x90"), Err(PendingError::NotAMap));
    }

    proptest! {
        #[test]
        fn every_set_of_requests_survives_its_file(
            times in prop::collection::btree_map(any::<u8>(), (1_i64..9999, prop::option::of(1_i64..9999)), 0..20),
        ) {
            let mut requests = PendingRequests::default();
            for (id, (received, invited)) in times {
                requests.record(AccountId([id; 20]), request(received, invited));
            }
            prop_assert_eq!(PendingRequests::decode(&requests.encode()), Ok((requests, 0)));
        }

        #[test]
        fn any_file_is_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = PendingRequests::decode(&bytes);
        }
    }
}
