//! How far the members of a conversation have fetched and read it (`spec: swarm 13, sync 4.7`): the
//! file of one conversation, and the same map between own devices.
//!
//! A marker names a commit and stands for it and all that is older in the order shown. It moves on and
//! never back. Which of two commits is newer is told by the history, which is asked for it; a marker
//! for a commit that has not arrived yet is kept, and counts when it has.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::ids::{AccountId, CommitId};
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::UnixMillis;

/// Most members of a conversation whose markers are kept.
pub const MAX_STATUS_MEMBERS: usize = 4096;

/// Largest file of one conversation, in bytes: a member's entry takes at most 190.
pub const MAX_STATUS_FILE: usize = MAX_STATUS_MEMBERS * 256;

/// Why a file of markers cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// Not MessagePack.
    #[error("the file of read markers cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No map.
    #[error("the file of read markers holds no map")]
    NotAMap,
}

/// The newest commit that somebody has, or has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The commit.
    pub commit: CommitId,
    /// When, in Unix seconds; often not known.
    pub seconds: Option<i64>,
}

impl Marker {
    /// Whether this one is older than the other, as far as `order` knows.
    fn compare(self, other: Self, order: impl Fn(CommitId, CommitId) -> Option<Ordering>) -> Ordering {
        let by_history = || order(self.commit, other.commit).filter(|order| order.is_ne());
        let by_time = || (self.seconds, self.commit).cmp(&(other.seconds, other.commit));
        if self.commit == other.commit { by_time() } else { by_history().unwrap_or_else(by_time) }
    }
}

/// Which of a member's two markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkerKind {
    /// The member's device has it.
    Fetched,
    /// The member has seen it.
    Read,
}

impl MarkerKind {
    const ALL: [Self; 2] = [Self::Fetched, Self::Read];

    const fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Fetched => ("fetched", "fetched_ts"),
            Self::Read => ("read", "read_ts"),
        }
    }
}

/// The markers of one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberStatus {
    /// What the member's devices have.
    pub fetched: Option<Marker>,
    /// What the member has seen.
    pub read: Option<Marker>,
}

impl MemberStatus {
    /// One of the two.
    #[must_use]
    pub const fn marker(&self, kind: MarkerKind) -> Option<Marker> {
        match kind {
            MarkerKind::Fetched => self.fetched,
            MarkerKind::Read => self.read,
        }
    }

    const fn marker_mut(&mut self, kind: MarkerKind) -> &mut Option<Marker> {
        match kind {
            MarkerKind::Fetched => &mut self.fetched,
            MarkerKind::Read => &mut self.read,
        }
    }

    /// From a map of texts. A pair that makes no sense is left out, the other one stays.
    fn from_object(object: &Object) -> Self {
        Self::read(|key| object.get(key).and_then(Object::as_text))
    }

    /// From a map of texts, as own devices tell them. A pair that makes no sense is left out.
    #[must_use]
    pub fn from_texts(texts: &BTreeMap<String, String>) -> Self {
        Self::read(|key| texts.get(key).map(String::as_str))
    }

    fn read<'t>(text: impl Fn(&str) -> Option<&'t str>) -> Self {
        let mut status = Self::default();
        for kind in MarkerKind::ALL {
            let (key, time) = kind.keys();
            let seconds = match text(time) {
                None | Some("") => None,
                Some(digits) => match digits.parse().ok().filter(|seconds| *seconds >= 0) {
                    None => continue,
                    known => known,
                },
            };
            let commit = text(key).and_then(|commit| commit.parse().ok());
            *status.marker_mut(kind) = commit.map(|commit| Marker { commit, seconds });
        }
        status
    }

    fn to_object(self) -> Object {
        let texts = self.to_texts();
        Object::map(texts.iter().map(|(key, text)| (key.as_str(), Object::text(text))))
    }

    /// As a map of texts, as own devices tell them.
    #[must_use]
    pub fn to_texts(self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for kind in MarkerKind::ALL {
            let (key, time) = kind.keys();
            if let Some(Marker { commit, seconds }) = self.marker(kind) {
                texts.insert(key.to_owned(), commit.to_hex());
                if let Some(seconds) = seconds {
                    texts.insert(time.to_owned(), seconds.to_string());
                }
            }
        }
        texts
    }
}

/// The markers of all members of one conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageStatus {
    members: BTreeMap<AccountId, MemberStatus>,
}

impl MessageStatus {
    /// Markers of one member.
    #[must_use]
    pub fn of(&self, member: AccountId) -> MemberStatus {
        self.members.get(&member).copied().unwrap_or_default()
    }

    /// All members that have markers.
    pub fn members(&self) -> impl Iterator<Item = (AccountId, MemberStatus)> {
        self.members.iter().map(|(member, status)| (*member, *status))
    }

    /// Moves a marker because its member's device said so; whether it moved. `is_covered` tells
    /// whether its first commit is the second or older; a marker does not go back, and its place in
    /// the file is taken by [`MAX_STATUS_MEMBERS`] members at most.
    pub fn advance(
        &mut self,
        member: AccountId,
        kind: MarkerKind,
        commit: CommitId,
        now: UnixMillis,
        is_covered: impl Fn(CommitId, CommitId) -> bool,
    ) -> bool {
        if self
            .of(member)
            .marker(kind)
            .is_some_and(|old| old.commit == commit || is_covered(commit, old.commit))
        {
            return false;
        }
        self.set(member, kind, Marker { commit, seconds: Some(now.seconds()) })
    }

    /// Takes what another device of ours knows of a member, each marker on its own (`spec: sync 5.7`);
    /// whether anything changed. `order` tells which of two commits is the older one in the history
    /// shown here, if it knows: it says that one which has not arrived yet is newer than one that has.
    /// Where it does not know, the later time counts, then the greater id, so that devices agree.
    pub fn merge(
        &mut self,
        member: AccountId,
        incoming: MemberStatus,
        order: impl Fn(CommitId, CommitId) -> Option<Ordering>,
    ) -> bool {
        let mut changed = false;
        for kind in MarkerKind::ALL {
            let Some(new) = incoming.marker(kind) else { continue };
            let newer = self.of(member).marker(kind).is_none_or(|old| old.compare(new, &order).is_lt());
            changed |= newer && self.set(member, kind, new);
        }
        changed
    }

    fn set(&mut self, member: AccountId, kind: MarkerKind, marker: Marker) -> bool {
        if !self.members.contains_key(&member) && self.members.len() >= MAX_STATUS_MEMBERS {
            return false;
        }
        *self.members.entry(member).or_default().marker_mut(kind) = Some(marker);
        true
    }

    /// As the file holds it, and as own devices send it.
    #[must_use]
    pub fn to_object(&self) -> Object {
        let members =
            self.members.iter().map(|(member, status)| (Object::text(&member.to_hex()), status.to_object()));
        Object::Map(members.collect())
    }

    /// From such a map; entries that make no sense are skipped.
    ///
    /// # Errors
    /// When it is no map.
    pub fn from_object(object: &Object) -> Result<Self, StatusError> {
        let entries = object.as_map().ok_or(StatusError::NotAMap)?;
        let members = entries.iter().take(MAX_STATUS_MEMBERS).filter_map(|(member, status)| {
            Some((member.as_text()?.parse().ok()?, MemberStatus::from_object(status)))
        });
        Ok(Self { members: members.collect() })
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_object().encode()
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// When they are no map.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatusError> {
        Self::from_object(&msgpack::decode_all(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{recording, with_mutations};

    /// Whose files of which conversations.
    const RECORDED: [&str; 13] = [
        "alice/0237426a15a050a06868d6636d6edc6e6f185951",
        "alice/2ce39c209b93cc91155160136e010d9a3cc2077e",
        "alice/7bb8a71dbf3c0f9346d124c41034dc3959f62f10",
        "alice/c2a2fce0604a9553e14f69dc7367774abaecd29c",
        "alice2/0237426a15a050a06868d6636d6edc6e6f185951",
        "alice2/2ce39c209b93cc91155160136e010d9a3cc2077e",
        "alice2/7bb8a71dbf3c0f9346d124c41034dc3959f62f10",
        "bob/0237426a15a050a06868d6636d6edc6e6f185951",
        "bob/6d65009539d7a1370827d79566a2641a7d902b7e",
        "bob/c2a2fce0604a9553e14f69dc7367774abaecd29c",
        "carla/2ce39c209b93cc91155160136e010d9a3cc2077e",
        "carla/6d65009539d7a1370827d79566a2641a7d902b7e",
        "carla/7bb8a71dbf3c0f9346d124c41034dc3959f62f10",
    ];

    fn path(file: &str) -> String {
        format!("newest/conversation_data/{file}/status")
    }

    fn who(number: u8) -> AccountId {
        AccountId([number; 20])
    }

    fn commit(number: u8) -> CommitId {
        CommitId([number; 20])
    }

    /// In these tests, commits are as old as their numbers.
    fn is_covered(commit: CommitId, marker: CommitId) -> bool {
        commit.0 <= marker.0
    }

    fn fuzz_status(data: &[u8]) {
        if let Ok(status) = MessageStatus::decode(data) {
            assert_eq!(MessageStatus::decode(&status.encode()), Ok(status));
        }
    }

    #[test]
    fn recorded_files_are_read_and_damaged_ones_do_no_harm() {
        let mut markers = 0;
        for file in RECORDED {
            let bytes = recording(&path(file));
            let status = MessageStatus::decode(&bytes).unwrap();
            markers += status.members().filter(|(_, it)| it.read.is_some() || it.fetched.is_some()).count();
            with_mutations(&bytes, 50, fuzz_status);
        }
        assert!(markers >= RECORDED.len(), "{markers}");
    }

    #[test]
    fn a_recorded_file_tells_who_has_read_what() {
        let bytes = recording(&path("bob/0237426a15a050a06868d6636d6edc6e6f185951"));
        let status = MessageStatus::decode(&bytes).unwrap();
        let carla = status.of("11eac7c8522415e5294f255daa4284711bd28268".parse().unwrap());
        let read = "cfb1baf6bc493a27b3a52762ba374838a6d9c841".parse().unwrap();
        assert_eq!(carla.read, Some(Marker { commit: read, seconds: Some(1_795_343_781) }));
        assert_eq!(carla.fetched, None, "the text is empty");
    }

    #[test]
    fn a_marker_moves_on_and_never_back() {
        let mut status = MessageStatus::default();
        let mut advance = |number, seconds| {
            let now = UnixMillis::from_seconds(seconds);
            status.advance(who(1), MarkerKind::Read, commit(number), now, is_covered)
        };
        assert!(advance(5, 10));
        assert!(!advance(5, 11), "the same again");
        assert!(!advance(4, 12), "an older one");
        assert!(advance(6, 1), "whatever the clock says");
        assert_eq!(status.of(who(1)).read, Some(Marker { commit: commit(6), seconds: Some(1) }));
        assert_eq!(status.of(who(1)).fetched, None);
    }

    fn unknown(_: CommitId, _: CommitId) -> Option<Ordering> {
        None
    }

    #[test]
    fn an_own_device_tells_newer_markers_one_by_one() {
        let marker = |number, seconds| Some(Marker { commit: commit(number), seconds });
        let mut status = MessageStatus::default();
        let mut merge = |fetched, read| status.merge(who(1), MemberStatus { fetched, read }, unknown);
        assert!(merge(marker(1, Some(5)), marker(1, None)));
        assert!(!merge(marker(1, Some(5)), marker(1, None)), "the same again");
        assert!(!merge(marker(2, Some(4)), None), "an older one");
        assert!(!merge(marker(2, None), None), "one of unknown time");
        assert!(merge(marker(2, Some(5)), marker(3, None)));
        assert_eq!(status.of(who(1)), MemberStatus { fetched: marker(2, Some(5)), read: marker(3, None) });
    }

    #[test]
    fn the_history_decides_before_clocks_so_that_nothing_becomes_unread_again() {
        let marker = |number, seconds| MemberStatus {
            read: Some(Marker { commit: commit(number), seconds }),
            ..MemberStatus::default()
        };
        let order = |one: CommitId, other: CommitId| Some(one.0.cmp(&other.0));
        let mut status = MessageStatus::default();
        assert!(status.merge(who(1), marker(5, None), order));
        assert!(!status.merge(who(1), marker(4, Some(99)), order));
        assert!(status.merge(who(1), marker(6, None), order));
    }

    #[test]
    fn a_time_that_is_no_number_spoils_only_its_pair() {
        let member = |read_ts: &str| {
            Object::map([
                ("fetched", Object::text(&commit(1).to_hex())),
                ("read", Object::text(&commit(2).to_hex())),
                ("read_ts", Object::text(read_ts)),
            ])
        };
        for bad in ["soon", "-1", "99999999999999999999"] {
            let status = MemberStatus::from_object(&member(bad));
            assert_eq!((status.fetched.map(|it| it.commit), status.read), (Some(commit(1)), None), "{bad}");
        }
        assert_eq!(MemberStatus::from_object(&member("7")).read.unwrap().seconds, Some(7));
    }

    #[test]
    fn members_beyond_the_limit_get_no_markers() {
        let mut status = MessageStatus::default();
        for number in 0..=MAX_STATUS_MEMBERS {
            let mut id = [0; 20];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let now = UnixMillis(0);
            let moved = status.advance(AccountId(id), MarkerKind::Fetched, commit(1), now, is_covered);
            assert_eq!(moved, number < MAX_STATUS_MEMBERS);
        }
        assert!(status.encode().len() <= MAX_STATUS_FILE);
    }

    proptest! {
        #[test]
        fn markers_survive_their_bytes(all in prop::collection::btree_map(
            any::<u8>(), (any::<Option<(u8, Option<u32>)>>(), any::<Option<(u8, Option<u32>)>>()), 0..8)
        ) {
            let marker = |it: (u8, Option<u32>)| Marker { commit: commit(it.0), seconds: it.1.map(i64::from) };
            let members = all.into_iter().map(|(member, (fetched, read))| {
                (who(member), MemberStatus { fetched: fetched.map(marker), read: read.map(marker) })
            });
            let status = MessageStatus { members: members.collect() };
            prop_assert_eq!(MessageStatus::decode(&status.encode()), Ok(status));
        }

        #[test]
        fn markers_merge_in_any_order_and_repeated(
            pairs in prop::collection::vec((0..3_u8, any::<bool>(), any::<u8>(), prop::option::of(0..4_i64)), 0..12),
            known: bool,
        ) {
            let order = |one: CommitId, other: CommitId| known.then(|| one.0.cmp(&other.0));
            let merged = |pairs: &mut dyn Iterator<Item = &(u8, bool, u8, Option<i64>)>| {
                let mut status = MessageStatus::default();
                for (member, is_read, number, seconds) in pairs {
                    let marker = Some(Marker { commit: commit(*number), seconds: *seconds });
                    let (fetched, read) = if *is_read { (None, marker) } else { (marker, None) };
                    let incoming = MemberStatus { fetched, read };
                    status.merge(who(*member), incoming, order);
                    assert!(!status.merge(who(*member), incoming, order));
                }
                status
            };
            let all = merged(&mut pairs.iter());
            prop_assert_eq!(merged(&mut pairs.iter().rev()), all.clone());
            prop_assert_eq!(merged(&mut pairs.iter().rev().chain(&pairs)), all);
        }
    }
}
