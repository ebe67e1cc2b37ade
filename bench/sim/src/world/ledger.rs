//! What is counted: who has what, how it came there, and what that took.

use crate::histogram::Histogram;
use crate::overlay::{Item, Place};
use crate::time::Time;

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Traffic {
    pub(super) fn count(&mut self, bytes: u32) {
        self.messages += 1;
        self.bytes += u64::from(bytes);
    }

    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self { messages: self.messages - earlier.messages, bytes: self.bytes - earlier.bytes }
    }
}

/// A look-up that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    pub(crate) hops: u32,
    pub(crate) messages: u32,
    pub(crate) found: bool,
}

/// What somebody wrote.
#[derive(Debug)]
struct Written {
    author: Place,
    size: u32,
    at: Time,
    /// Who has it, a bit each.
    has: Vec<u64>,
    /// How long it took to each and over how many hops, until it is judged.
    came: Vec<Came>,
    received: u64,
    judged: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Came {
    place: Place,
    micros: u32,
    hops: u32,
}

/// How one message spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) written_s: f64,
    /// Who was online all the time, the author apart.
    pub(crate) expected: u64,
    /// How many of those have it.
    pub(crate) delivered: u64,
    /// Mobile devices that slept when it was written, or went to sleep since.
    pub(crate) asleep: u64,
    /// How many of those have it.
    pub(crate) asleep_delivered: u64,
    pub(crate) last_ms: f64,
    /// How often all together were told of it, or sent it.
    pub(crate) received: u64,
    /// Who has it, whether that was expected or not, the author apart.
    pub(crate) reached: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    nodes: usize,
    written: Vec<Written>,
    pub(crate) verdicts: Vec<Verdict>,
    /// Of those expected to have a message, until they had it, in milliseconds.
    pub(crate) latency: Histogram,
    pub(crate) hops: Histogram,
    /// All there was on the lines.
    pub(crate) traffic: Traffic,
    /// What keeps the overlay up.
    pub(crate) upkeep: Traffic,
    /// What tells of messages and carries them.
    pub(crate) items: Traffic,
    /// Bytes of messages that were fetched.
    pub(crate) fetched_bytes: u64,
    pub(crate) fetches: u64,
    pub(crate) dials: u64,
    pub(crate) joins: u64,
    pub(crate) departures: u64,
    pub(crate) pushes: u64,
    pub(crate) wake_ups: u64,
    pub(crate) lookups: Vec<Lookup>,
    /// Events handled.
    pub(crate) events: u64,
}

impl Ledger {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            written: Vec::new(),
            verdicts: Vec::new(),
            latency: Histogram::default(),
            hops: Histogram::default(),
            traffic: Traffic::default(),
            upkeep: Traffic::default(),
            items: Traffic::default(),
            fetched_bytes: 0,
            fetches: 0,
            dials: 0,
            joins: 0,
            departures: 0,
            pushes: 0,
            wake_ups: 0,
            lookups: Vec::new(),
            events: 0,
        }
    }

    pub(super) fn write(&mut self, author: Place, size: u32, at: Time) -> Item {
        let mut has = vec![0; self.nodes.div_ceil(64)];
        set(&mut has, author);
        let came = Vec::new();
        self.written.push(Written { author, size, at, has, came, received: 0, judged: false });
        Item::try_from(self.written.len() - 1).unwrap_or(Item::MAX)
    }

    /// How much was written so far.
    pub(crate) fn written(&self) -> usize {
        self.written.len()
    }

    pub(super) fn size(&self, item: Item) -> u32 {
        self.written.get(item as usize).map_or(0, |written| written.size)
    }

    pub(super) fn has(&self, item: Item, place: Place) -> bool {
        self.written.get(item as usize).is_some_and(|written| is_set(&written.has, place))
    }

    pub(super) fn sent(&mut self, _now: Time, item: Option<Item>, bytes: u32) {
        if item.is_some() { self.items.count(bytes) } else { self.upkeep.count(bytes) }
    }

    pub(super) fn bytes_of_fetch(&mut self, bytes: u32) {
        self.fetched_bytes += u64::from(bytes);
        self.items.bytes += u64::from(bytes);
    }

    pub(super) fn received(&mut self, item: Item) {
        if let Some(written) = self.written.get_mut(item as usize).filter(|written| !written.judged) {
            written.received += 1;
        }
    }

    pub(super) fn deliver(&mut self, item: Item, place: Place, now: Time, hops: u32) -> bool {
        let Some(written) = self.written.get_mut(item as usize) else { return false };
        if is_set(&written.has, place) {
            return false;
        }
        set(&mut written.has, place);
        if !written.judged {
            let micros = u32::try_from(now.since(written.at).0).unwrap_or(u32::MAX);
            written.came.push(Came { place, micros, hops });
        }
        true
    }

    /// Judges what somebody wrote; `was_up` tells who was online since a time, `sleeps` who is mobile.
    pub(super) fn judge(
        &mut self,
        item: Item,
        was_up: impl Fn(Place, Time) -> bool,
        is_mobile: impl Fn(Place) -> bool,
    ) {
        let Some(written) = self.written.get_mut(item as usize) else { return };
        written.judged = true;
        let came = std::mem::take(&mut written.came);
        let (mut delivered, mut last) = (0, 0);
        for it in came {
            if was_up(it.place, written.at) {
                delivered += 1;
                last = last.max(it.micros);
                self.latency.add(f64::from(it.micros) / 1000.0);
                self.hops.add(f64::from(it.hops));
            }
        }
        let has: u64 = written.has.iter().map(|word| u64::from(word.count_ones())).sum();
        let (mut expected, mut asleep, mut asleep_delivered) = (0, 0, 0);
        for place in (0..self.nodes as Place).filter(|place| *place != written.author) {
            if was_up(place, written.at) {
                expected += 1;
            } else if is_mobile(place) {
                asleep += 1;
                asleep_delivered += u64::from(is_set(&written.has, place));
            }
        }
        self.verdicts.push(Verdict {
            written_s: written.at.seconds(),
            expected,
            delivered,
            asleep,
            asleep_delivered,
            last_ms: f64::from(last) / 1000.0,
            received: written.received,
            reached: has.saturating_sub(1),
        });
    }
}

fn set(bits: &mut [u64], place: Place) {
    if let Some(word) = bits.get_mut(place as usize / 64) {
        *word |= 1 << (place % 64);
    }
}

fn is_set(bits: &[u64], place: Place) -> bool {
    bits.get(place as usize / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
}
