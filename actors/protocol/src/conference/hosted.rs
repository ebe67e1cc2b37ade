//! The calls that this device hosts, over restarts too (`spec: calls-in-swarm 5, 8`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::MAX_CONFERENCE_ID;
use crate::ids::{AccountId, DeviceId};
use crate::msgpack::{self, Value};
use crate::swarm::message::{CallRecord, Content};
use crate::time::UnixMillis;

/// Most calls that one device hosts in one conversation; one is usual.
pub const MAX_HOSTED: usize = 64;

/// Longest file that is read, in bytes.
const MAX_FILE: usize = 64 * 1024;

/// Which they are, and when they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostedCalls {
    began: BTreeMap<String, UnixMillis>,
}

impl HostedCalls {
    /// Whether this one is hosted here.
    #[must_use]
    pub fn has(&self, conference: &str) -> bool {
        self.began.contains_key(conference)
    }

    /// One begins: what is to be committed. `None` if it is there, or there are too many.
    pub fn begin(
        &mut self,
        conference: &str,
        host: AccountId,
        device: DeviceId,
        now: UnixMillis,
    ) -> Option<Content> {
        if self.has(conference) || self.began.len() >= MAX_HOSTED || conference.len() > MAX_CONFERENCE_ID {
            return None;
        }
        self.began.insert(conference.to_owned(), now);
        Some(commit(conference, host, device, None))
    }

    /// One ended: what is to be committed. `lasted` is how long it was.
    pub fn end(
        &mut self,
        conference: &str,
        host: AccountId,
        device: DeviceId,
        lasted: Duration,
    ) -> Option<Content> {
        self.began.remove(conference)?;
        Some(commit(conference, host, device, Some(lasted)))
    }

    /// After a restart none of them lives: the ends that are to be committed, with the ids. A clock that went
    /// back makes none last less than nothing.
    pub fn recover(&mut self, host: AccountId, device: DeviceId, now: UnixMillis) -> Vec<(String, Content)> {
        let began = std::mem::take(&mut self.began);
        let end = |(id, began): (String, UnixMillis)| {
            let content = commit(&id, host, device, Some(now.since(began)));
            (id, content)
        };
        began.into_iter().map(end).collect()
    }

    /// Reads the file of a conversation; of a damaged one nothing is known.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_FILE {
            return None;
        }
        let Value::Map(pairs) = msgpack::decode_all(bytes).ok()? else { return None };
        let pair = |(key, value): &(Value, Value)| {
            let id = key.as_text().filter(|id| (1..=MAX_CONFERENCE_ID).contains(&id.len()))?;
            Some((id.to_owned(), UnixMillis::from_seconds(value.as_signed()?)))
        };
        Some(Self { began: pairs.iter().filter_map(pair).take(MAX_HOSTED).collect() })
    }

    /// The file, as the reference writes it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let pair =
            |(id, began): (&String, &UnixMillis)| (Value::from(id.as_str()), Value::from(began.seconds()));
        Value::Map(self.began.iter().map(pair).collect()).encode()
    }
}

fn commit(conference: &str, host: AccountId, device: DeviceId, lasted: Option<Duration>) -> Content {
    let millis = |lasted: Duration| u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
    let conference = conference.to_owned();
    Content::Call(CallRecord::Group { conference, device, host, duration_ms: lasted.map(millis) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: AccountId = AccountId([1; 20]);
    const DEVICE: DeviceId = DeviceId([2; 32]);

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis::from_seconds(seconds)
    }

    #[test]
    fn a_call_is_announced_once_and_ends_once() {
        let mut hosted = HostedCalls::default();
        let start = hosted.begin("7", HOST, DEVICE, at(100)).unwrap();
        assert!(hosted.begin("7", HOST, DEVICE, at(101)).is_none());
        let message = crate::swarm::message::CommitMessage::from_content(&start).unwrap();
        let text = String::from_utf8(message.to_bytes()).unwrap();
        let expected = format!(
            "{{\"confId\":\"7\",\"device\":\"{DEVICE}\",\"type\":\"application/call-history+json\",\"uri\":\"{HOST}\"}}"
        );
        assert_eq!(text, expected);
        let end = hosted.end("7", HOST, DEVICE, Duration::from_millis(1500));
        assert!(matches!(end, Some(Content::Call(CallRecord::Group { duration_ms: Some(1500), .. }))));
        assert!(hosted.end("7", HOST, DEVICE, Duration::ZERO).is_none());
    }

    #[test]
    fn after_a_crash_every_call_ends_exactly_once_and_never_lasts_less_than_nothing() {
        let mut hosted = HostedCalls::default();
        hosted.begin("7", HOST, DEVICE, at(100));
        hosted.begin("8", HOST, DEVICE, at(500));
        let mut after = HostedCalls::read(&hosted.write()).unwrap();
        assert_eq!(after, hosted);
        let ends = after.recover(HOST, DEVICE, at(160));
        let lasted = ends.iter().map(|(id, content)| match content {
            Content::Call(CallRecord::Group { duration_ms, .. }) => (&**id, *duration_ms),
            _ => panic!("{content:?}"),
        });
        assert_eq!(lasted.collect::<Vec<_>>(), [("7", Some(60_000)), ("8", Some(0))]);
        assert!(after.recover(HOST, DEVICE, at(160)).is_empty());
        assert!(HostedCalls::read(b"\xc1").is_none());
    }

    #[test]
    fn calls_without_number_are_not_hosted() {
        let mut hosted = HostedCalls::default();
        for number in 0..1000 {
            hosted.begin(&number.to_string(), HOST, DEVICE, at(0));
        }
        assert_eq!(hosted.began.len(), MAX_HOSTED);
    }
}
