//! The calls of a conversation that are going on, out of its commits (`spec: calls-in-swarm 3`).

use crate::ids::{AccountId, DeviceId};
use crate::msgpack::{self, Value};
use crate::swarm::message::{CallRecord, Content, MemberAction, Target};

use super::address::MAX_CONFERENCE_ID;

/// Most calls that are remembered of a conversation; the oldest give way.
pub const MAX_ACTIVE: usize = 32;

/// Longest file that is read, in bytes; [`MAX_ACTIVE`] calls have less.
const MAX_FILE: usize = 64 * 1024;

/// A call that was announced and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveCall {
    /// Id of the conference.
    pub id: String,
    /// Who hosts it.
    pub host: AccountId,
    /// On which device.
    pub device: DeviceId,
}

/// Those of a conversation, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveCalls {
    calls: Vec<ActiveCall>,
}

impl ActiveCalls {
    /// All of them, the latest last.
    #[must_use]
    pub fn all(&self) -> &[ActiveCall] {
        &self.calls
    }

    /// Takes a new commit that `author` wrote on `device`; whether the list is another now. `is_member` says
    /// who may host. Only a host says of its own calls that they begin and end.
    pub fn commit(
        &mut self,
        author: AccountId,
        device: DeviceId,
        content: &Content,
        is_member: impl Fn(AccountId) -> bool,
    ) -> bool {
        let before = self.calls.len();
        match content {
            Content::Call(CallRecord::Group { conference, device: on, host, duration_ms }) => {
                let own = *host == author && *on == device;
                if !own || conference.is_empty() || conference.len() > MAX_CONFERENCE_ID {
                    return false;
                }
                let call = ActiveCall { id: conference.clone(), host: *host, device: *on };
                if duration_ms.is_some() {
                    self.calls.retain(|known| *known != call);
                } else if is_member(author) && !self.calls.contains(&call) {
                    if before >= MAX_ACTIVE {
                        self.calls.remove(0);
                    }
                    self.calls.push(call);
                    return true;
                }
            }
            Content::Member { action: MemberAction::Remove | MemberAction::Ban, target } => {
                self.calls.retain(|call| !is_of(call, *target));
            }
            _ => {}
        }
        self.calls.len() != before
    }

    /// Finds them anew in a whole history, the newest commit first: so that an end counts even where it
    /// stands before its start.
    pub fn from_newest<'c>(
        commits: impl IntoIterator<Item = (AccountId, DeviceId, &'c Content)>,
        is_member: impl Fn(AccountId) -> bool,
    ) -> Self {
        let (mut ended, mut gone, mut found) = (Vec::<String>::new(), Vec::new(), Self::default());
        for (author, device, content) in commits {
            match content {
                Content::Call(CallRecord::Group { conference, duration_ms: Some(_), host, device: on })
                    if *host == author && *on == device =>
                {
                    ended.push(conference.clone());
                }
                Content::Member { action: MemberAction::Remove | MemberAction::Ban, target } => {
                    gone.push(*target)
                }
                Content::Call(CallRecord::Group { conference, .. }) if !ended.contains(conference) => {
                    let mut one = Self::default();
                    if found.calls.len() < MAX_ACTIVE && one.commit(author, device, content, &is_member) {
                        let new = |call: &ActiveCall| {
                            !gone.iter().any(|target| is_of(call, *target)) && !found.calls.contains(call)
                        };
                        let call = one.calls.pop().filter(new);
                        found.calls.extend(call);
                    }
                }
                _ => {}
            }
        }
        found.calls.reverse();
        found
    }

    /// Forgets a call that cannot be alive any more.
    pub fn forget(&mut self, id: &str, host: AccountId, device: DeviceId) -> bool {
        let before = self.calls.len();
        self.calls.retain(|call| call.id != id || call.host != host || call.device != device);
        self.calls.len() != before
    }

    /// Reads the file of a conversation; one that is damaged has none, and the commits tell.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_FILE {
            return None;
        }
        let Value::Array(list) = msgpack::decode_all(bytes).ok()? else { return None };
        let text = |entry: &Value, key| Some(entry.get(key)?.as_text()?.to_owned());
        let call = |entry: &Value| {
            let id = text(entry, "id").filter(|id| (1..=MAX_CONFERENCE_ID).contains(&id.len()))?;
            let (host, device) = (text(entry, "uri")?.parse().ok()?, text(entry, "device")?.parse().ok()?);
            Some(ActiveCall { id, host, device })
        };
        let calls: Vec<ActiveCall> = list.iter().filter_map(call).collect();
        let first = calls.len().saturating_sub(MAX_ACTIVE);
        Some(Self { calls: calls.get(first..).unwrap_or_default().to_vec() })
    }

    /// The file, as the reference writes it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let entry = |call: &ActiveCall| {
            let pair = |key: &str, value: String| (Value::from(key), Value::text(&value));
            Value::Map(vec![
                pair("id", call.id.clone()),
                pair("uri", call.host.to_hex()),
                pair("device", call.device.to_hex()),
            ])
        };
        Value::Array(self.calls.iter().map(entry).collect()).encode()
    }
}

fn is_of(call: &ActiveCall, target: Target) -> bool {
    match target {
        Target::Account(account) => call.host == account,
        Target::Device(device) => call.device == device,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: AccountId = AccountId([1; 20]);
    const BOB: AccountId = AccountId([2; 20]);
    const DEVICE: DeviceId = DeviceId([3; 32]);

    fn said(id: &str, host: AccountId, duration_ms: Option<u64>) -> Content {
        Content::Call(CallRecord::Group { conference: id.into(), device: DEVICE, host, duration_ms })
    }

    fn ids(calls: &ActiveCalls) -> Vec<&str> {
        calls.all().iter().map(|call| &*call.id).collect()
    }

    fn anybody(_: AccountId) -> bool {
        true
    }

    #[test]
    fn a_call_is_active_from_its_start_to_its_end() {
        let mut calls = ActiveCalls::default();
        assert!(calls.commit(ALICE, DEVICE, &said("7", ALICE, None), anybody));
        assert!(!calls.commit(ALICE, DEVICE, &said("7", ALICE, None), anybody));
        assert!(calls.commit(BOB, DEVICE, &said("8", BOB, None), anybody), "two at once are two");
        assert_eq!(ids(&calls), ["7", "8"]);
        assert!(!calls.commit(ALICE, DEVICE, &said("9", ALICE, Some(1)), anybody));
        assert!(calls.commit(ALICE, DEVICE, &said("7", ALICE, Some(1)), anybody));
        assert_eq!(ids(&calls), ["8"]);
    }

    #[test]
    fn nobody_starts_or_ends_the_calls_of_others_and_only_members_host() {
        let mut calls = ActiveCalls::default();
        assert!(!calls.commit(BOB, DEVICE, &said("7", ALICE, None), anybody));
        assert!(!calls.commit(ALICE, DeviceId([9; 32]), &said("7", ALICE, None), anybody));
        assert!(!calls.commit(ALICE, DEVICE, &said("7", ALICE, None), |_| false));
        assert!(calls.commit(ALICE, DEVICE, &said("7", ALICE, None), anybody));
        assert!(!calls.commit(BOB, DEVICE, &said("7", ALICE, Some(1)), anybody));
        assert_eq!(ids(&calls), ["7"]);
    }

    #[test]
    fn a_host_that_leaves_or_is_banned_takes_its_calls_along() {
        for (action, target, left) in [
            (MemberAction::Ban, Target::Account(ALICE), 0),
            (MemberAction::Remove, Target::Device(DEVICE), 0),
            (MemberAction::Ban, Target::Account(BOB), 1),
            (MemberAction::Join, Target::Account(ALICE), 1),
        ] {
            let mut calls = ActiveCalls::default();
            calls.commit(ALICE, DEVICE, &said("7", ALICE, None), anybody);
            calls.commit(BOB, DEVICE, &Content::Member { action, target }, anybody);
            assert_eq!(calls.all().len(), left);
        }
    }

    #[test]
    fn a_history_tells_the_same_whatever_stands_where() {
        let (start, end, other) = (said("7", ALICE, None), said("7", ALICE, Some(5)), said("8", BOB, None));
        let of = |list: &[(AccountId, &Content)]| {
            let commits = list.iter().map(|(author, content)| (*author, DEVICE, *content));
            ids(&ActiveCalls::from_newest(commits, anybody)).join(" ")
        };
        assert_eq!(of(&[(ALICE, &end), (BOB, &other), (ALICE, &start)]), "8");
        assert_eq!(of(&[(BOB, &other), (ALICE, &start)]), "7 8");
        assert_eq!(of(&[(BOB, &end), (ALICE, &start)]), "7", "the end is of somebody else");
        let ban = Content::Member { action: MemberAction::Ban, target: Target::Account(ALICE) };
        assert_eq!(of(&[(BOB, &ban), (ALICE, &start)]), "");
        assert_eq!(of(&[(ALICE, &start), (BOB, &ban)]), "7");
    }

    #[test]
    fn thousands_of_starts_are_bounded_and_the_newest_stay() {
        let mut calls = ActiveCalls::default();
        for number in 0..5000 {
            calls.commit(ALICE, DEVICE, &said(&number.to_string(), ALICE, None), anybody);
        }
        assert_eq!(calls.all().len(), MAX_ACTIVE);
        assert_eq!(calls.all().last().unwrap().id, "4999");
        assert!(!calls.commit(ALICE, DEVICE, &said(&"7".repeat(65), ALICE, None), anybody));
    }

    #[test]
    fn the_file_comes_back_and_a_damaged_one_does_not() {
        let mut calls = ActiveCalls::default();
        calls.commit(ALICE, DEVICE, &said("7", ALICE, None), anybody);
        calls.commit(BOB, DEVICE, &said("8", BOB, None), anybody);
        assert_eq!(ActiveCalls::read(&calls.write()), Some(calls));
        assert_eq!(ActiveCalls::read(b"\xc1"), None);
        assert_eq!(ActiveCalls::read(b""), None);
    }
}
