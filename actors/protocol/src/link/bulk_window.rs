//! How much of a file may be under way on a link, so that messages of the same link do not wait behind it.
//!
//! A link is one TCP stream, and systems let many megabytes of it wait at the receiver: whatever is sent
//! after them arrives after them. So the sender has marks answered, which are beacons (`spec: connection 7.3`)
//! between the blocks of files: how long an answer takes is how long a message would. Like LEDBAT (RFC 6817) it
//! lets as much be under way as keeps that near the time of an empty link.
//!
//! ```text
//!   sent() ──► a mark is wanted ──► marked()          position and time are kept
//!                                      │
//!   may_send() ◄── window ◄── answered()              once a round: longer than wanted? less : more
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Moment;

/// Least that may be under way, in bytes: it keeps a link of 100 Mbit/s busy over 10 ms.
const LEAST: u64 = 128 * 1024;

/// Most that may be, in bytes: 10 Gbit/s over 50 ms.
const MOST: u64 = 64 * 1024 * 1024;

/// What may be under way at first, in bytes.
const FIRST: u64 = 256 * 1024;

/// How long bytes of a file may hold up a message, beside a quarter of the time of an empty link: more than
/// two machines need to take turns.
const DELAY: Duration = Duration::from_millis(1);

/// Marks in one window, so that room is made bit by bit.
const MARKS: u64 = 4;

/// Marks under way at once; with the window their distance grows and shrinks.
const MAX_MARKS: usize = 8;

/// How often nothing is sent until all has arrived, to see how long an empty link takes.
const PERIOD: Duration = Duration::from_secs(10);

/// Who has not answered a mark after this time never will, or is so slow that its link takes what it can.
const ANSWER: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Bytes sent before it.
    position: u64,
    asked: Moment,
}

/// What one link may have under way of files.
#[derive(Debug)]
pub struct BulkWindow {
    window: u64,
    /// Bytes sent so far, and how many of them are known to have arrived.
    sent: u64,
    arrived: u64,
    marks: VecDeque<Mark>,
    /// Shortest time of a mark in this period and in the one before: that of an empty link.
    shortest: Option<Duration>,
    shortest_before: Option<Duration>,
    period_ends: Moment,
    /// Nothing is sent until all marks are answered.
    emptying: bool,
    /// Shortest time in this round, which ends when what was sent at its beginning has arrived.
    round: Option<Duration>,
    round_ends: u64,
    /// The window was full in this round.
    was_full: bool,
    /// Up to where the window doubles in each round; beyond, it grows by an eighth.
    double_up_to: u64,
    /// Marks are not answered.
    given_up: bool,
}

impl BulkWindow {
    /// That of a new link.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self {
            window: FIRST,
            sent: 0,
            arrived: 0,
            marks: VecDeque::new(),
            shortest: None,
            shortest_before: None,
            period_ends: now,
            emptying: false,
            round: None,
            round_ends: 0,
            was_full: false,
            double_up_to: MOST,
            given_up: false,
        }
    }

    /// Whether more of files may be sent now.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.given_up || self.marks.is_empty() || (!self.emptying && self.under_way() < self.window)
    }

    /// Bytes of a file were sent. Says whether a mark is to follow them.
    #[must_use]
    pub fn sent(&mut self, bytes: usize) -> bool {
        self.sent = self.sent.saturating_add(bytes as u64);
        self.was_full |= self.under_way() >= self.window;
        let since = self.sent.saturating_sub(self.marks.back().map_or(0, |mark| mark.position));
        !self.given_up
            && self.marks.len() < MAX_MARKS
            && (self.marks.is_empty() || since >= self.window / MARKS)
    }

    /// A mark was sent after all that was sent.
    pub fn marked(&mut self, now: Moment) {
        if self.marks.is_empty() {
            // Nobody knew what was under way: this begins anew.
            self.arrived = self.sent;
        }
        self.marks.push_back(Mark { position: self.sent, asked: now });
    }

    /// The oldest mark was answered.
    pub fn answered(&mut self, now: Moment) {
        let Some(mark) = self.marks.pop_front() else { return };
        self.arrived = self.arrived.max(mark.position);
        let took = now.since(mark.asked);
        let shorter = |known: Option<Duration>| Some(known.map_or(took, |known| known.min(took)));
        self.shortest = shorter(self.shortest);
        self.round = shorter(self.round);
        if mark.position >= self.round_ends {
            self.end_round();
        }
        if self.marks.is_empty() && self.emptying {
            self.emptying = false;
            // As much at once as before would be a queue again.
            self.double_up_to = self.window;
            self.window = (self.window / 4).max(LEAST);
        } else if now >= self.period_ends {
            self.period_ends = now.plus(PERIOD);
            self.shortest_before = self.shortest.take();
            self.emptying = !self.marks.is_empty();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.marks.front().map(|mark| mark.asked.plus(ANSWER))
    }

    /// Gives up marks that nobody answers.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.given_up = true;
            self.marks.clear();
        }
    }

    const fn under_way(&self) -> u64 {
        self.sent.saturating_sub(self.arrived)
    }

    fn end_round(&mut self) {
        let empty = self.shortest.into_iter().chain(self.shortest_before).min().unwrap_or_default();
        let waits = self.round.take().unwrap_or_default().saturating_sub(empty);
        if waits > DELAY + empty / 4 {
            self.window = (self.window - self.window / 4).max(LEAST);
            self.double_up_to = self.window;
        } else if self.was_full {
            let doubling = self.double_up_to.saturating_sub(self.window).min(self.window);
            let more = if doubling > 0 { doubling } else { self.window / 8 };
            self.window = self.window.saturating_add(more).min(MOST);
        }
        self.was_full = self.under_way() >= self.window;
        self.round_ends = self.sent;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: usize = 64 * 1024;

    /// A link that takes so many bytes a millisecond, and whose answers are under way for a while; how long
    /// a message waited at most, and how many bytes arrived in the time.
    struct Link {
        now: Duration,
        window: BulkWindow,
        /// Bytes, or a mark, that have not arrived yet.
        waiting: VecDeque<Option<usize>>,
        answers: VecDeque<Duration>,
        arrived: u64,
    }

    impl Link {
        fn new() -> Self {
            let window = BulkWindow::new(Moment(Duration::ZERO));
            Self {
                now: Duration::ZERO,
                window,
                waiting: VecDeque::new(),
                answers: VecDeque::new(),
                arrived: 0,
            }
        }

        fn queued(&self) -> usize {
            self.waiting.iter().flatten().sum()
        }

        /// Runs a millisecond at a time; returns the most bytes that waited in the second half.
        fn run(&mut self, millis: u64, rate: usize, trip: Duration) -> usize {
            let mut most = 0;
            for step in 0..millis {
                self.now += Duration::from_millis(1);
                while self.answers.pop_front_if(|at| *at <= self.now).is_some() {
                    self.window.answered(Moment(self.now));
                }
                while self.window.may_send() && self.queued() < 1 << 30 {
                    self.waiting.push_back(Some(BLOCK));
                    if self.window.sent(BLOCK) {
                        self.window.marked(Moment(self.now));
                        self.waiting.push_back(None);
                    }
                }
                if step >= millis / 2 {
                    most = most.max(self.queued());
                }
                let mut room = rate;
                while let Some(next) = self.waiting.front_mut() {
                    match next {
                        Some(bytes) if *bytes > room => {
                            *bytes -= room;
                            self.arrived += room as u64;
                            break;
                        }
                        Some(bytes) => {
                            room -= *bytes;
                            self.arrived += *bytes as u64;
                        }
                        None => self.answers.push_back(self.now + trip),
                    }
                    self.waiting.pop_front();
                }
            }
            most
        }
    }

    #[test]
    fn a_fast_link_is_kept_busy_and_little_waits_in_it() {
        // 250 MB/s and nearly no way.
        let mut link = Link::new();
        let most = link.run(4000, 250_000, Duration::ZERO);
        assert!(most < 1 << 20, "{most}");
        assert!(link.arrived > 4000 * 250_000 * 8 / 10, "{}", link.arrived);
    }

    #[test]
    fn a_long_link_is_filled() {
        // 100 MB/s over 80 ms: 8 MB are under way.
        let mut link = Link::new();
        link.run(2000, 100_000, Duration::from_millis(80));
        let before = link.arrived;
        let most = link.run(8000, 100_000, Duration::from_millis(80));
        assert!(link.arrived - before > 8000 * 100_000 * 7 / 10, "{}", link.arrived - before);
        // A message waits for less than it is under way: some is sent at once after the link was emptied.
        assert!(most < 80 * 100_000, "{most}");
    }

    #[test]
    fn a_slow_link_holds_no_more_than_the_least() {
        // 1 MB/s: the least takes 128 ms.
        let mut link = Link::new();
        let most = link.run(20_000, 1000, Duration::from_millis(20));
        assert!(most <= LEAST as usize + BLOCK, "{most}");
        assert!(link.arrived > 20_000 * 1000 * 9 / 10, "{}", link.arrived);
    }

    #[test]
    fn a_link_that_becomes_longer_is_filled_again() {
        let mut link = Link::new();
        link.run(5000, 50_000, Duration::from_millis(10));
        link.run(30_000, 50_000, Duration::from_millis(100));
        let before = link.arrived;
        link.run(10_000, 50_000, Duration::from_millis(100));
        assert!(link.arrived - before > 10_000 * 50_000 * 6 / 10, "{}", link.arrived - before);
    }

    #[test]
    fn marks_that_nobody_answers_are_given_up() {
        let start = Moment(Duration::ZERO);
        let mut window = BulkWindow::new(start);
        while window.may_send() {
            if window.sent(BLOCK) {
                window.marked(start);
            }
        }
        assert_eq!(window.deadline(), Some(start.plus(ANSWER)));
        window.handle_timeout(start.plus(ANSWER));
        assert!(window.may_send());
        assert!(!window.sent(BLOCK));
        assert_eq!(window.deadline(), None);
        window.answered(start.plus(ANSWER));
        assert!(window.may_send());
    }

    proptest! {
        #[test]
        fn whatever_is_answered_when_it_goes_on_and_stays_in_its_bounds(
            steps in prop::collection::vec((0_u8..4, 0_u64..40_000), 0..400),
        ) {
            let mut now = Moment(Duration::ZERO);
            let mut window = BulkWindow::new(now);
            for (step, millis) in steps {
                match step {
                    0 if window.may_send() => {
                        if window.sent(BLOCK) {
                            window.marked(now);
                        }
                    }
                    1 => window.answered(now),
                    2 => now = now.plus(Duration::from_millis(millis)),
                    _ => window.handle_timeout(now),
                }
                prop_assert!(window.marks.len() <= MAX_MARKS);
                prop_assert!((LEAST..=MOST).contains(&window.window));
                // Whoever may not send has something to wait for.
                prop_assert!(window.may_send() || window.deadline().is_some());
            }
        }
    }
}
