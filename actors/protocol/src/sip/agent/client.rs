//! Requests that wait for a response (RFC 3261, 17.1.2).
//!
//! ```text
//!            send                 1xx                  final, or timer F
//!   (new) ────────► trying ────────────► proceeding ────────────────────► (gone)
//!                   └ timer E: 0.5, 1, 2, 4, 4 s …    └ timer E: 4 s      repeated finals find nothing,
//!                     over UDP only                                       so there is no timer K
//! ```

use std::time::Duration;

use bytes::Bytes;

use super::messaging::Outgoing;
use super::{T1, T2, TRANSACTION_TIME};
use crate::time::Moment;

/// What a request is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To be registered; or, at the end, not to be any more.
    Register,
    /// To see whether the server is there.
    Alive,
    /// To tell somebody something.
    Message(Outgoing),
}

/// One request on its way.
#[derive(Debug)]
pub(super) struct ClientTransaction {
    pub(super) purpose: Purpose,
    /// The challenges answered so far for what this request is for.
    pub(super) answered: Vec<(bool, String)>,
    bytes: Bytes,
    /// When it is sent again, and how long the pause was; not over connections.
    again: Option<(Moment, Duration)>,
    proceeding: bool,
    /// Timer F.
    ends: Moment,
}

/// What is to be done with a request now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Send(Bytes),
    TimedOut,
}

impl ClientTransaction {
    pub(super) fn new(
        now: Moment,
        purpose: Purpose,
        answered: Vec<(bool, String)>,
        bytes: Bytes,
        reliable: bool,
    ) -> Self {
        let again = (!reliable).then(|| (now.plus(T1), T1));
        Self { purpose, answered, bytes, again, proceeding: false, ends: now.plus(TRANSACTION_TIME) }
    }

    /// A provisional response came.
    pub(super) const fn proceed(&mut self) {
        self.proceeding = true;
    }

    pub(super) fn due(&mut self, now: Moment) -> Due {
        if now >= self.ends {
            return Due::TimedOut;
        }
        match self.again {
            Some((at, pause)) if now >= at => {
                let pause = if self.proceeding { T2 } else { (pause * 2).min(T2) };
                self.again = Some((now.plus(pause), pause));
                Due::Send(self.bytes.clone())
            }
            _ => Due::Nothing,
        }
    }

    pub(super) fn deadline(&self) -> Moment {
        self.again.map_or(self.ends, |(at, _)| at.min(self.ends))
    }
}
