//! Requests of others that were answered (RFC 3261, 17.2.2): who repeats one gets the same answer again,
//! and nothing is told twice.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::TRANSACTION_TIME;
use crate::time::Moment;

/// Messages taken at once, before they are let in one after the other: what gathers at a server while we
/// were away.
pub const MESSAGE_BURST: u32 = 64;

/// Messages taken each second after that: more than people write, too few to fill anything.
pub const MESSAGES_PER_SECOND: u32 = 10;

/// Longest answer, in bytes, that is given to a message: nearly all of it are headers of the request, and
/// those of honest ones have less than a quarter.
pub const MAX_ANSWER: usize = 8 * 1024;

/// Answers remembered. What is taken in [`TRANSACTION_TIME`] at the rates above is less.
const MAX_REMEMBERED: usize = 512;

/// One answered request.
#[derive(Debug)]
struct Answered {
    at: Moment,
    /// Which transaction.
    transaction: String,
    /// Which request: a server that sends one twice, over two ways, makes two transactions of it.
    request: String,
    answer: Bytes,
}

/// What was answered, and how many more may come.
#[derive(Debug)]
pub(super) struct Served {
    answered: VecDeque<Answered>,
    /// In thousandths of a message.
    room: u32,
    filled: Moment,
}

impl Served {
    pub(super) const fn new(now: Moment) -> Self {
        Self { answered: VecDeque::new(), room: MESSAGE_BURST * 1000, filled: now }
    }

    /// The answer to the same transaction.
    pub(super) fn repeated(&mut self, now: Moment, transaction: &str) -> Option<Bytes> {
        while self.answered.front().is_some_and(|first| now.since(first.at) >= TRANSACTION_TIME) {
            self.answered.pop_front();
        }
        let found = self.answered.iter().find(|it| it.transaction == transaction);
        found.map(|answered| answered.answer.clone())
    }

    /// Whether the same request came in another transaction.
    pub(super) fn has_request(&self, request: &str) -> bool {
        self.answered.iter().any(|it| it.request == request)
    }

    /// Whether one more message may be taken.
    pub(super) fn admit(&mut self, now: Moment) -> bool {
        let passed = now.since(self.filled).min(Duration::from_secs(60));
        self.filled = now;
        let more = u32::try_from(passed.as_millis()).unwrap_or(u32::MAX).saturating_mul(MESSAGES_PER_SECOND);
        self.room = self.room.saturating_add(more).min(MESSAGE_BURST * 1000);
        let admitted = self.room >= 1000;
        if admitted {
            self.room -= 1000;
        }
        admitted
    }

    pub(super) fn remember(&mut self, at: Moment, transaction: String, request: String, answer: Bytes) {
        if self.answered.len() >= MAX_REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back(Answered { at, transaction, request, answer });
    }
}
