//! The values this node keeps alive on other nodes (`spec: dht 6.1`).
//!
//! A permanent value is announced, and announced again ten seconds before storing nodes would
//! forget it. A value put once is announced once and forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::dht::value::{Value, ValueId};
use crate::ids::DhtKey;
use crate::time::Moment;

/// How long before its end a permanent value is announced again.
pub const RENEWAL_MARGIN: Duration = Duration::from_secs(10);

/// First wait after an announcement that reached no node; doubles up to [`MAX_RETRY`].
pub const FIRST_RETRY: Duration = Duration::from_secs(10);

/// Longest wait between announcements that reach no node.
pub const MAX_RETRY: Duration = Duration::from_secs(300);

/// Values in the making or kept alive at one time; each is at most 64 KiB.
pub const MAX_ANNOUNCEMENTS: usize = 4096;

/// How long a value is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permanence {
    /// One life of its kind.
    Once,
    /// Until cancelled.
    Permanent,
}

/// A value to send to the nodes closest to its key now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Where it goes.
    pub key: DhtKey,
    /// The value.
    pub value: Arc<Value>,
    /// Whether it has reached nodes before: those that still have it need a refresh only.
    pub again: bool,
}

/// Too many values are being kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node keeps {MAX_ANNOUNCEMENTS} values alive already: cancel some first")]
pub struct TooManyAnnouncements;

#[derive(Debug)]
struct Entry {
    value: Arc<Value>,
    permanence: Permanence,
    again: bool,
    due: Moment,
    retry: Duration,
}

/// What to announce and when.
#[derive(Debug, Default)]
pub struct Announcements {
    entries: BTreeMap<(DhtKey, ValueId), Entry>,
    due: BTreeSet<(Moment, DhtKey, ValueId)>,
}

impl Announcements {
    /// Announces `value` at `key` at once. A value with the same key and id takes its place.
    ///
    /// # Errors
    /// [`TooManyAnnouncements`].
    pub fn publish(
        &mut self,
        now: Moment,
        key: DhtKey,
        value: Arc<Value>,
        permanence: Permanence,
    ) -> Result<(), TooManyAnnouncements> {
        let id = value.id;
        self.cancel(key, id);
        if self.entries.len() >= MAX_ANNOUNCEMENTS {
            return Err(TooManyAnnouncements);
        }
        let entry = Entry { value, permanence, again: false, due: now, retry: FIRST_RETRY };
        self.due.insert((now, key, id));
        self.entries.insert((key, id), entry);
        Ok(())
    }

    /// Stops to announce a value; storing nodes forget it in time. Tells whether it was there.
    pub fn cancel(&mut self, key: DhtKey, id: ValueId) -> bool {
        let Some(entry) = self.entries.remove(&(key, id)) else { return false };
        self.due.remove(&(entry.due, key, id));
        true
    }

    /// The values to announce now. Values put once are forgotten with this.
    pub fn due(&mut self, now: Moment) -> Vec<Announcement> {
        let mut announcements = Vec::new();
        while let Some(&(due, key, id)) = self.due.first() {
            if due > now {
                break;
            }
            self.due.pop_first();
            let Some(mut entry) = self.entries.remove(&(key, id)) else { continue };
            announcements.push(Announcement { key, value: Arc::clone(&entry.value), again: entry.again });
            if entry.permanence == Permanence::Permanent {
                entry.due = now.plus(entry.value.kind().lifetime().saturating_sub(RENEWAL_MARGIN));
                self.due.insert((entry.due, key, id));
                self.entries.insert((key, id), entry);
            }
        }
        announcements
    }

    /// Notes that a permanent value reached nodes.
    pub fn succeeded(&mut self, key: DhtKey, id: ValueId) {
        if let Some(entry) = self.entries.get_mut(&(key, id)) {
            entry.retry = FIRST_RETRY;
            entry.again = true;
        }
    }

    /// Notes that a permanent value reached no node: it is announced again soon.
    pub fn failed(&mut self, now: Moment, key: DhtKey, id: ValueId) {
        let Some(entry) = self.entries.get_mut(&(key, id)) else { return };
        self.due.remove(&(entry.due, key, id));
        entry.due = entry.due.min(now.plus(entry.retry));
        entry.retry = entry.retry.saturating_mul(2).min(MAX_RETRY);
        self.due.insert((entry.due, key, id));
    }

    /// Announces everything permanent at once, as after the network came back.
    pub fn announce_all(&mut self, now: Moment) {
        self.due.clear();
        for ((key, id), entry) in &mut self.entries {
            entry.due = now;
            self.due.insert((now, *key, *id));
        }
    }

    /// When the next value is to be announced.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.due.first().map(|(due, ..)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::content::Content;

    fn key() -> DhtKey {
        DhtKey::of_text("test key")
    }

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn value(id: u64, type_number: u16) -> Arc<Value> {
        Arc::new(Value::plain(ValueId(id), Content::new(type_number, Vec::new())))
    }

    fn announced(announcements: &mut Announcements, now: Moment) -> Vec<(u64, bool)> {
        announcements.due(now).iter().map(|due| (due.value.id.0, due.again)).collect()
    }

    #[test]
    fn a_permanent_value_is_announced_again_ten_seconds_before_its_end() {
        let mut announcements = Announcements::default();
        announcements.publish(at(0), key(), value(1, 0), Permanence::Permanent).unwrap();
        announcements.publish(at(0), key(), value(2, 8), Permanence::Permanent).unwrap();
        assert_eq!(announced(&mut announcements, at(0)), [(1, false), (2, false)]);
        assert_eq!(announcements.next_deadline(), Some(at(590)));
        announcements.succeeded(key(), ValueId(1));
        assert_eq!(announced(&mut announcements, at(589)), []);
        assert_eq!(announced(&mut announcements, at(590)), [(1, true)]);
        assert!(announcements.cancel(key(), ValueId(1)));
        assert_eq!(announcements.next_deadline(), Some(at(604_790)));
    }

    #[test]
    fn a_value_put_once_is_announced_once() {
        let mut announcements = Announcements::default();
        announcements.publish(at(3), key(), value(1, 0), Permanence::Once).unwrap();
        assert_eq!(announced(&mut announcements, at(3)), [(1, false)]);
        assert_eq!(announcements.next_deadline(), None);
        announcements.failed(at(4), key(), ValueId(1));
        assert_eq!(announcements.next_deadline(), None);
    }

    #[test]
    fn an_announcement_that_reached_nobody_is_repeated_with_growing_waits() {
        let mut announcements = Announcements::default();
        announcements.publish(at(0), key(), value(1, 0), Permanence::Permanent).unwrap();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(announced(&mut announcements, now).len(), 1);
            announcements.failed(now, key(), ValueId(1));
            let next = announcements.next_deadline().unwrap();
            waits.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        announcements.due(now);
        announcements.succeeded(key(), ValueId(1));
        assert_eq!(announcements.next_deadline().unwrap().since(now).as_secs(), 590);
    }

    #[test]
    fn everything_is_announced_when_the_network_comes_back() {
        let mut announcements = Announcements::default();
        announcements.publish(at(0), key(), value(1, 0), Permanence::Permanent).unwrap();
        announcements.due(at(0));
        announcements.succeeded(key(), ValueId(1));
        announcements.announce_all(at(100));
        assert_eq!(announced(&mut announcements, at(100)), [(1, true)]);
    }

    #[test]
    fn a_value_takes_the_place_of_one_with_its_id_and_the_number_is_bounded() {
        let mut announcements = Announcements::default();
        for id in 0..MAX_ANNOUNCEMENTS as u64 {
            announcements.publish(at(0), key(), value(id, 0), Permanence::Permanent).unwrap();
        }
        let refused = announcements.publish(at(0), key(), value(9999, 0), Permanence::Once);
        assert_eq!(refused, Err(TooManyAnnouncements));
        announcements.publish(at(0), key(), value(1, 3), Permanence::Once).unwrap();
        assert_eq!(announcements.due(at(0)).len(), MAX_ANNOUNCEMENTS);
        assert_eq!(announcements.due.len(), MAX_ANNOUNCEMENTS - 1);
    }
}
