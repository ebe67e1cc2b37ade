//! The packets of one participant: put in order, held against the unsteadiness of the way, and given out one
//! after the other while it is decoded. Of one that is not, the last few are kept, to begin with.

use std::collections::VecDeque;

/// Most packets that wait while they are decoded: a third of a second. The oldest goes for the next.
pub(super) const WAITING: usize = 16;

/// How many are kept of who is not decoded, so that a decoder finds its feet in what was before.
pub(super) const KEPT: usize = 3;

/// How many wait before the first is given out, at least and at most: 40 to 100 ms.
const LEAST: usize = 2;
const MOST: usize = 5;

/// After so many packets in time fewer wait: ten seconds.
const CALM: u32 = 500;

/// In so many packets the fewest that waited are counted: one second. If even those are too many, the other
/// side's clock is faster, and one is left out.
const WINDOW: u32 = 50;

/// A number this far from the last is of a new count.
const JUMP: u64 = 1000;

/// More missing than this is a pause, and not waited for packet by packet.
const GAP: u64 = 5;

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This.
    Packet(Vec<u8>),
    /// One that did not come.
    Lost,
    /// Nothing, yet.
    Nothing,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// All that came.
    pub packets: u64,
    /// Those that came after their time, or twice.
    pub late: u64,
    /// Those that were not there in time.
    pub lost: u64,
    /// Those that were left out because too many waited.
    pub left_out: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<(u64, Vec<u8>)>,
    newest: Option<u64>,
    /// The number that is given out next, while it is decoded.
    next: Option<u64>,
    playing: bool,
    target: usize,
    calm: u32,
    /// The fewest that waited in this window, and how far it is.
    fewest: (usize, u32),
    came: Came,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            newest: None,
            next: None,
            playing: false,
            target: LEAST,
            calm: 0,
            fewest: (usize::MAX, 0),
            came: Came::default(),
        }
    }
}

/// The number that is meant, near the newest.
fn near(newest: u64, sequence: u16) -> u64 {
    let base = newest & !0xffff;
    let number = base | u64::from(sequence);
    if number > newest + 0x8000 {
        number.checked_sub(0x1_0000).unwrap_or(number)
    } else if number + 0x8000 < newest {
        number + 0x1_0000
    } else {
        number
    }
}

impl Queue {
    pub(super) const fn came(&self) -> Came {
        self.came
    }

    /// A packet came. Nothing waits for it.
    pub(super) fn push(&mut self, sequence: u16, payload: &[u8]) {
        self.came.packets += 1;
        // Above zero, so that one can be before the first.
        let mut number = self.newest.map_or(0x1_0000 | u64::from(sequence), |newest| near(newest, sequence));
        if self.newest.is_some_and(|newest| number.abs_diff(newest) > JUMP) {
            self.waiting.clear();
            self.next = None;
            number = 0x1_0000 | u64::from(sequence);
            self.newest = None;
        }
        let too_late = self.next.is_some_and(|next| number < next);
        let place = self.waiting.partition_point(|(other, _)| *other < number);
        let twice = self.waiting.get(place).is_some_and(|(other, _)| *other == number);
        if too_late || twice {
            self.came.late += 1;
            if too_late && self.playing {
                self.target = (self.target + 1).min(MOST);
                self.calm = 0;
            }
            return;
        }
        self.newest = Some(self.newest.map_or(number, |newest| newest.max(number)));
        self.waiting.insert(place, (number, payload.to_vec()));
        let room = if self.playing { WAITING } else { KEPT };
        while self.waiting.len() > room {
            self.waiting.pop_front();
            self.came.left_out += u64::from(self.playing);
            if self.next.is_some() {
                self.next = self.waiting.front().map(|(number, _)| *number);
            }
        }
    }

    /// From now on it is decoded, beginning with what is kept.
    pub(super) fn play(&mut self) {
        self.playing = true;
        self.next = None;
    }

    /// It is not decoded any more.
    pub(super) fn rest(&mut self) {
        self.playing = false;
        self.next = None;
        while self.waiting.len() > KEPT {
            self.waiting.pop_front();
        }
    }

    /// Gives out the next.
    pub(super) fn take(&mut self) -> Next {
        let Some(next) = self.next else {
            if self.waiting.len() < self.target {
                return Next::Nothing;
            }
            self.fewest = (usize::MAX, 0);
            return self.pop();
        };
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.target = (self.target - 1).max(LEAST);
        }
        self.slow_down();
        let next = self.next.unwrap_or(next);
        match self.waiting.front() {
            None => {
                // Late, or a pause: it waits until there is enough again.
                self.next = None;
                Next::Nothing
            }
            Some((first, _)) if *first > next && first - next <= GAP => {
                self.next = Some(next + 1);
                self.came.lost += 1;
                Next::Lost
            }
            Some(_) => self.pop(),
        }
    }

    fn pop(&mut self) -> Next {
        match self.waiting.pop_front() {
            Some((number, payload)) => {
                self.next = Some(number + 1);
                Next::Packet(payload)
            }
            None => Next::Nothing,
        }
    }

    /// Leaves one out where too many have waited for a whole window.
    fn slow_down(&mut self) {
        let (fewest, passed) = self.fewest;
        self.fewest = (fewest.min(self.waiting.len()), passed + 1);
        if self.fewest.1 >= WINDOW {
            if self.fewest.0 > self.target {
                self.pop();
                self.came.left_out += 1;
            }
            self.fewest = (usize::MAX, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16) -> Next {
        Next::Packet(number.to_be_bytes().to_vec())
    }

    fn playing(numbers: impl IntoIterator<Item = u16>) -> Queue {
        let mut queue = Queue::default();
        queue.play();
        push(&mut queue, numbers);
        queue
    }

    fn push(queue: &mut Queue, numbers: impl IntoIterator<Item = u16>) {
        numbers.into_iter().for_each(|number| queue.push(number, &number.to_be_bytes()));
    }

    #[test]
    fn packets_are_given_out_in_order_over_the_end_of_the_count_and_once() {
        let mut queue = playing([65_534, 0, 65_535, 65_535, 1]);
        for number in [65_534, 65_535, 0, 1] {
            assert_eq!(queue.take(), packet(number));
        }
        assert_eq!(queue.take(), Next::Nothing);
        assert_eq!(queue.came(), Came { packets: 5, late: 1, ..Came::default() });
    }

    #[test]
    fn what_is_missing_is_told_and_what_comes_too_late_is_not_played() {
        let mut queue = playing([5, 6]);
        assert_eq!(queue.take(), packet(5));
        push(&mut queue, [8, 9]);
        assert_eq!((queue.take(), queue.take()), (packet(6), Next::Lost));
        push(&mut queue, [7]);
        assert_eq!((queue.take(), queue.take()), (packet(8), packet(9)));
        assert_eq!((queue.came().late, queue.came().lost), (1, 1));
        // The next beginning waits for more.
        assert_eq!(queue.take(), Next::Nothing);
        push(&mut queue, [10, 11]);
        assert_eq!(queue.take(), Next::Nothing);
        push(&mut queue, [12]);
        assert_eq!(queue.take(), packet(10));
    }

    #[test]
    fn ten_times_as_many_packets_fill_no_more_than_there_is_room() {
        let mut queue = playing([0]);
        for number in 1..10_000 {
            push(&mut queue, [number]);
            if number % 10 == 0 {
                assert!(matches!(queue.take(), Next::Packet(_)));
            }
            assert!(queue.waiting.len() <= WAITING);
        }
        queue.rest();
        assert_eq!(queue.waiting.len(), KEPT);
        push(&mut queue, 10_000..11_000);
        assert_eq!(queue.waiting.len(), KEPT);
    }

    #[test]
    fn clocks_one_percent_apart_neither_pile_up_nor_run_dry_for_long() {
        for per_thousand in [990_u32, 1010] {
            let mut queue = playing([]);
            let (mut sent, mut due, mut gaps) = (0_u16, 0_u32, 0);
            for _ in 0..10_000 {
                due += per_thousand;
                while due >= 1000 {
                    due -= 1000;
                    push(&mut queue, [sent]);
                    sent = sent.wrapping_add(1);
                }
                gaps += u32::from(queue.take() == Next::Nothing);
                assert!(queue.waiting.len() <= 6, "{} wait", queue.waiting.len());
            }
            assert!(gaps <= 220, "{per_thousand}: {gaps} gaps in 200 s");
        }
    }

    #[test]
    fn a_count_that_begins_anew_or_a_long_pause_is_followed_at_once() {
        let mut queue = playing([100, 101]);
        assert_eq!(queue.take(), packet(100));
        push(&mut queue, [30_000, 30_001]);
        assert_eq!(queue.take(), packet(30_000));
        push(&mut queue, [30_300]);
        assert_eq!((queue.take(), queue.take()), (packet(30_001), packet(30_300)));
    }
}
