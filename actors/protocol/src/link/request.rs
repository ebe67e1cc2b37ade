//! The request for a connection, and its answer, as they travel through the DHT (`spec: connection
//! 2`): where they are put, what they hold, and which were already dealt with.
//!
//! The value's envelope (signature, encryption) is the DHT's affair; this module sees the plain
//! `data` of a value of user type [`USER_TYPE`].

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use crate::ids::{DeviceId, DeviceShortId, DhtKey, sha1};
use crate::msgpack::{self, DecodeError, Value};

/// User type of the DHT values that carry requests and answers.
pub const USER_TYPE: &str = "peer_request";

/// Longest request read, in bytes: the DHT stores no larger value.
pub const MAX_REQUEST: usize = 64 * 1024;

/// How many request ids [`TreatedRequests`] remembers. Values live for ten minutes, so this allows
/// some twenty-seven requests a second before an old one could be taken for new.
pub const MAX_TREATED: usize = 16 * 1024;

/// Largest id we give a request: 2^53, so that every language can hold it in a double.
const LARGEST_ID: u64 = 1 << 53;

/// The number that ties an answer to its request (`vid` in the specification). Of several sockets to
/// one device, the one whose request has the smallest id is used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    /// An id from 64 random bits: uniform in 1 … 2^53.
    #[must_use]
    pub const fn from_random(bits: u64) -> Self {
        Self(bits % LARGEST_ID + 1)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A request for a connection, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRequest {
    /// The same in request and answer.
    pub id: RequestId,
    /// What [`IceText`](super::ice_text::IceText) reads. Bytes that are not UTF-8 are replaced, which
    /// spoils their line and no other.
    pub ice_text: String,
    /// Whether this answers a request.
    pub is_answer: bool,
    /// Why the connection is wanted; only push notifications look at it, and answers leave it empty.
    pub connection_type: String,
}

/// Why a value is not a connection request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The bytes are not one MessagePack object of bearable size.
    #[error("the connection request cannot be decoded: {0}; ignore it")]
    Decode(#[from] DecodeError),
    /// The object is something else than a map.
    #[error("the connection request is not a map; ignore it")]
    NotAMap,
    /// An entry has the wrong type.
    #[error("the entry {key:?} of the connection request has the wrong type; ignore the request")]
    WrongType {
        /// Key of the entry.
        key: &'static str,
    },
}

impl PeerRequest {
    /// The bytes to sign and encrypt: four entries in the order of the reference.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Value::map([
            ("id", self.id.0.into()),
            ("ice_msg", self.ice_text.as_str().into()),
            ("isAnswer", self.is_answer.into()),
            ("connType", self.connection_type.as_str().into()),
        ])
        .encode()
    }

    /// Reads what [`encode`](Self::encode) writes; unknown entries are ignored, missing ones are 0,
    /// empty or false.
    ///
    /// # Errors
    /// When the bytes are no such map, or an entry has the wrong type.
    pub fn decode(data: &[u8]) -> Result<Self, RequestError> {
        if data.len() > MAX_REQUEST {
            return Err(DecodeError::TooLarge { limit: MAX_REQUEST }.into());
        }
        let map = msgpack::decode_all(data)?;
        if map.as_map().is_none() {
            return Err(RequestError::NotAMap);
        }
        Ok(Self {
            id: RequestId(entry(&map, "id", Value::as_unsigned)?),
            ice_text: entry(&map, "ice_msg", text)?,
            is_answer: entry(&map, "isAnswer", Value::as_bool)?,
            connection_type: entry(&map, "connType", text)?,
        })
    }
}

fn entry<T: Default>(
    map: &Value,
    key: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<T, RequestError> {
    map.get(key).map_or(Ok(T::default()), |value| read(value).ok_or(RequestError::WrongType { key }))
}

fn text(value: &Value) -> Option<String> {
    if let Value::Text(bytes) = value { Some(String::from_utf8_lossy(bytes).into_owned()) } else { None }
}

/// Which of a device's two keys a request is put at (`spec: connection 2.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Derived from the long device id; the only one today's daemons know.
    Current,
    /// Derived from the short id of the device key; the only one known before late 2025.
    Legacy,
}

impl KeyKind {
    /// Where to put a request to a device that was last heard on `last_seen`. While that is unknown
    /// the same request goes to both keys: whoever listens on both drops the second copy by its id.
    /// An answer goes to the kind its request came in on, which is `Some` of it.
    #[must_use]
    pub const fn choose(last_seen: Option<Self>) -> &'static [Self] {
        match last_seen {
            None => &[Self::Current, Self::Legacy],
            Some(Self::Current) => &[Self::Current],
            Some(Self::Legacy) => &[Self::Legacy],
        }
    }
}

/// The two keys at which one device receives requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKeys {
    /// Key of [`KeyKind::Current`].
    pub current: DhtKey,
    /// Key of [`KeyKind::Legacy`].
    pub legacy: DhtKey,
}

impl RequestKeys {
    /// The keys of the device with these ids.
    #[must_use]
    pub fn of(device: DeviceId, short: DeviceShortId) -> Self {
        Self { current: key(&device.to_hex()), legacy: key(&short.to_hex()) }
    }

    /// The key of one kind.
    #[must_use]
    pub const fn get(&self, kind: KeyKind) -> DhtKey {
        match kind {
            KeyKind::Current => self.current,
            KeyKind::Legacy => self.legacy,
        }
    }

    /// Which kind `key` is of, if it is one of the two.
    #[must_use]
    pub fn kind_of(&self, key: DhtKey) -> Option<KeyKind> {
        [KeyKind::Current, KeyKind::Legacy].into_iter().find(|kind| self.get(*kind) == key)
    }
}

fn key(hex_id: &str) -> DhtKey {
    DhtKey(sha1(format!("peer:{hex_id}").as_bytes()))
}

/// The ids of requests and answers already dealt with, oldest forgotten first beyond
/// [`MAX_TREATED`]. Kept across restarts, because the DHT delivers stored values again.
#[derive(Clone, Debug, Default)]
pub struct TreatedRequests {
    known: BTreeSet<RequestId>,
    oldest_first: VecDeque<RequestId>,
}

impl TreatedRequests {
    /// Notes `id`; says whether it is new and is to be treated now.
    pub fn insert(&mut self, id: RequestId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.oldest_first.push_back(id);
        if self.oldest_first.len() > MAX_TREATED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Takes `id` back: it was not dealt with after all, and counts as new when it comes again.
    pub fn forget(&mut self, id: RequestId) {
        if self.known.remove(&id) {
            self.oldest_first.retain(|treated| *treated != id);
        }
    }

    /// All ids, oldest first; collecting them again restores the list.
    pub fn iter(&self) -> impl Iterator<Item = RequestId> {
        self.oldest_first.iter().copied()
    }
}

impl FromIterator<RequestId> for TreatedRequests {
    fn from_iter<I: IntoIterator<Item = RequestId>>(ids: I) -> Self {
        let mut treated = Self::default();
        for id in ids {
            treated.insert(id);
        }
        treated
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::golden;

    #[test]
    fn recorded_requests_survive_decoding_and_encoding() {
        let requests = golden::peer_requests();
        assert!(requests.len() > 30);
        for recorded in requests {
            let request = PeerRequest::decode(&recorded.data).unwrap();
            assert!((1..=LARGEST_ID).contains(&request.id.0));
            assert_eq!(request.encode(), recorded.data);
        }
    }

    #[test]
    fn recorded_requests_were_put_at_the_keys_we_derive() {
        for recorded in golden::peer_requests() {
            let keys = RequestKeys::of(recorded.to, recorded.to_short);
            let kind = if recorded.set == "newest" { KeyKind::Current } else { KeyKind::Legacy };
            assert_eq!(keys.kind_of(recorded.key), Some(kind), "{}", recorded.set);
        }
    }

    #[test]
    fn answers_go_to_the_kind_of_key_the_request_came_in_on() {
        assert_eq!(KeyKind::choose(None), [KeyKind::Current, KeyKind::Legacy]);
        assert_eq!(KeyKind::choose(Some(KeyKind::Legacy)), [KeyKind::Legacy]);
        assert_eq!(KeyKind::choose(Some(KeyKind::Current)), [KeyKind::Current]);
    }

    #[test]
    fn missing_and_unknown_entries_are_borne_wrong_types_are_not() {
        let empty = PeerRequest::decode(&[0x80]).unwrap();
        assert_eq!((empty.id.0, empty.ice_text.as_str(), empty.is_answer), (0, "", false));
        let extra = Value::map([("new", Value::Nil), ("id", 7_u64.into())]).encode();
        assert_eq!(PeerRequest::decode(&extra).unwrap().id, RequestId(7));
        let wrong = Value::map([("id", "7".into())]).encode();
        assert_eq!(PeerRequest::decode(&wrong), Err(RequestError::WrongType { key: "id" }));
        assert_eq!(PeerRequest::decode(&[0x90]), Err(RequestError::NotAMap));
        assert!(PeerRequest::decode(&vec![0; MAX_REQUEST + 1]).is_err());
    }

    #[test]
    fn an_id_is_treated_once_even_after_a_restart_and_old_ids_are_forgotten() {
        let mut treated = TreatedRequests::default();
        assert!(treated.insert(RequestId(0)));
        assert!(!treated.insert(RequestId(0)));
        let mut restored: TreatedRequests = treated.iter().collect();
        assert!(!restored.insert(RequestId(0)));
        for id in 1..=u64::try_from(MAX_TREATED).unwrap() {
            assert!(restored.insert(RequestId(id)));
        }
        assert_eq!(restored.iter().count(), MAX_TREATED);
        assert_eq!(restored.known.len(), MAX_TREATED);
        assert!(restored.insert(RequestId(0)), "the oldest was forgotten");
    }

    #[test]
    fn an_id_that_was_taken_back_is_new_again() {
        let mut treated: TreatedRequests = [RequestId(1), RequestId(2)].into_iter().collect();
        treated.forget(RequestId(1));
        treated.forget(RequestId(7));
        assert_eq!(treated.iter().collect::<Vec<_>>(), [RequestId(2)]);
        assert!(treated.insert(RequestId(1)) && !treated.insert(RequestId(2)));
    }

    #[test]
    fn random_ids_stay_in_range() {
        for bits in [0, LARGEST_ID - 1, LARGEST_ID, u64::MAX] {
            assert!((1..=LARGEST_ID).contains(&RequestId::from_random(bits).0));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = PeerRequest::decode(&bytes) {
                prop_assert_eq!(PeerRequest::decode(&request.encode()), Ok(request));
            }
        }
    }
}
