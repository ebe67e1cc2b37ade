//! What is still to happen, in the order in which it will.
//!
//! ```text
//!   now ──► heap of this millisecond ◄── wheel: the next 4 seconds ◄── map: all that is later
//! ```
//!
//! Most of what is put in happens within a second, so it costs an append and its share of a small heap.
//! What happens at the same time happens in the order in which it was put in, so runs repeat exactly.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use crate::time::Time;

/// Microseconds of a slot of the wheel.
const SLOT: u64 = 1000;

/// Slots of the wheel.
const SLOTS: u64 = 4096;

#[derive(Debug)]
struct Entry<E> {
    at: Time,
    order: u64,
    event: E,
}

impl<E> Entry<E> {
    const fn key(&self) -> (Time, u64) {
        (self.at, self.order)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first is the greatest, as heaps have it.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Queue<E> {
    current: BinaryHeap<Entry<E>>,
    /// The slot of time that `current` holds.
    slot: u64,
    wheel: Vec<Vec<Entry<E>>>,
    on_wheel: usize,
    later: BTreeMap<u64, Vec<Entry<E>>>,
    order: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            current: BinaryHeap::new(),
            slot: 0,
            wheel: (0..SLOTS).map(|_| Vec::new()).collect(),
            on_wheel: 0,
            later: BTreeMap::new(),
            order: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Lets something happen at a time; at once if that is over.
    pub fn push(&mut self, at: Time, event: E) {
        self.order += 1;
        let entry = Entry { at, order: self.order, event };
        let slot = at.0 / SLOT;
        if slot <= self.slot {
            self.current.push(entry);
        } else if slot - self.slot < SLOTS {
            self.on_wheel += 1;
            self.wheel[place(slot)].push(entry);
        } else {
            self.later.entry(slot).or_default().push(entry);
        }
    }

    /// What happens next, and when, if that is not after `end`.
    pub fn pop(&mut self, end: Time) -> Option<(Time, E)> {
        while self.current.is_empty() {
            if !self.turn(end) {
                return None;
            }
        }
        self.current.peek().filter(|entry| entry.at <= end)?;
        self.current.pop().map(|entry| (entry.at, entry.event))
    }

    /// How much is still to happen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.len() + self.on_wheel + self.later.values().map(Vec::len).sum::<usize>()
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Goes on to the next slot in which something happens; false if there is none until `end`.
    fn turn(&mut self, end: Time) -> bool {
        let first_later = self.later.first_key_value().map(|(slot, _)| *slot);
        let next = if self.on_wheel > 0 {
            let slots = self.slot + 1..self.slot + SLOTS;
            slots.into_iter().find(|slot| !self.wheel[place(*slot)].is_empty())
        } else {
            None
        };
        let next = next.into_iter().chain(first_later).min();
        let Some(next) = next.filter(|next| *next <= end.0 / SLOT) else { return false };
        self.slot = next;
        let mut entries = std::mem::take(&mut self.wheel[place(next)]);
        self.on_wheel -= entries.len();
        if first_later == Some(next) {
            entries.extend(self.later.pop_first().into_iter().flat_map(|(_, later)| later));
        }
        self.current = BinaryHeap::from(entries);
        true
    }
}

/// Where a slot is on the wheel.
const fn place(slot: u64) -> usize {
    // Less than SLOTS.
    (slot % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use skep_protocol::drt::random::Random;

    use super::*;

    #[test]
    fn events_come_by_their_time_and_then_as_they_were_put_in() {
        let mut random = Random::from_seed(3);
        let (mut queue, mut expected) = (Queue::default(), BTreeMap::new());
        let mut now = Time(0);
        for number in 0..20_000_u64 {
            let spans = [1, 900, 1000, 50_000, 5_000_000, 90_000_000];
            let at = now.plus(Time(random.number() % spans[random.below(spans.len())]));
            queue.push(at, number);
            expected.insert((at, number), ());
            if random.below(3) == 0 {
                let (at, event) = queue.pop(Time::NEVER).unwrap();
                assert_eq!(expected.pop_first().unwrap().0, (at, event));
                now = at;
            }
        }
        assert_eq!(queue.len(), expected.len());
        while let Some(next) = queue.pop(Time::NEVER) {
            assert_eq!(expected.pop_first().unwrap().0, next);
        }
        assert!(expected.is_empty() && queue.is_empty());
    }

    #[test]
    fn what_is_after_the_end_stays() {
        let mut queue = Queue::default();
        queue.push(Time(10), 'a');
        queue.push(Time(20_000_000), 'b');
        assert_eq!(queue.pop(Time(9)), None);
        assert_eq!(queue.pop(Time(10)), Some((Time(10), 'a')));
        assert_eq!(queue.pop(Time(19_999_999)), None);
        queue.push(Time(11), 'c');
        assert_eq!(queue.pop(Time::NEVER), Some((Time(11), 'c')));
        assert_eq!(queue.pop(Time::NEVER), Some((Time(20_000_000), 'b')));
    }
}
