//! What waits: requests for their response, and final responses to INVITE for their acknowledgement.

use std::time::Duration;

use bytes::Bytes;

use super::{MAX_RINGING, T1, T2, TRANSACTION_TIME};
use crate::time::Moment;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The first INVITE.
    Call,
    /// A later one.
    Offer,
    /// To give the first one up.
    Cancel,
    /// To end it.
    Bye,
    /// INFO or MESSAGE.
    Tell,
    /// REFER.
    Transfer,
}

/// One request on its way.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) purpose: Purpose,
    pub(super) sequence: u32,
    bytes: Bytes,
    again: Option<(Moment, Duration)>,
    proceeding: bool,
    ends: Moment,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Send(Bytes),
    TimedOut,
}

impl Client {
    pub(super) fn new(now: Moment, purpose: Purpose, sequence: u32, bytes: Bytes, reliable: bool) -> Self {
        let again = (!reliable).then(|| (now.plus(T1), T1));
        Self { purpose, sequence, bytes, again, proceeding: false, ends: now.plus(TRANSACTION_TIME) }
    }

    const fn is_invite(&self) -> bool {
        matches!(self.purpose, Purpose::Call | Purpose::Offer)
    }

    /// A provisional response came: an INVITE is not repeated any more, and may take longer.
    pub(super) fn proceed(&mut self, now: Moment) {
        if self.is_invite() && !self.proceeding {
            self.again = None;
            if self.purpose == Purpose::Call {
                self.ends = now.plus(MAX_RINGING);
            }
        }
        self.proceeding = true;
    }

    pub(super) const fn is_proceeding(&self) -> bool {
        self.proceeding
    }

    /// Given up: the final response has as long as any other.
    pub(super) fn give_up(&mut self, now: Moment) {
        self.ends = now.plus(TRANSACTION_TIME);
    }

    pub(super) fn due(&mut self, now: Moment) -> Due {
        if now >= self.ends {
            return Due::TimedOut;
        }
        match self.again {
            Some((at, pause)) if now >= at => {
                let longer = pause.saturating_mul(2);
                // That of an INVITE grows without bound (timer A).
                let pause = match (self.is_invite(), self.proceeding) {
                    (true, _) => longer,
                    (false, true) => T2,
                    (false, false) => longer.min(T2),
                };
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

/// A final response that is not acknowledged yet. A 200 is repeated however it is carried (RFC 3261,
/// 13.3.1.4).
#[derive(Debug)]
pub(super) struct Repeated {
    /// Of which INVITE.
    pub(super) sequence: u32,
    /// Whether it is a 200.
    pub(super) ok: bool,
    bytes: Bytes,
    again: Option<(Moment, Duration)>,
    ends: Moment,
}

impl Repeated {
    pub(super) fn new(now: Moment, sequence: u32, ok: bool, bytes: Bytes, reliable: bool) -> Self {
        let again = (ok || !reliable).then(|| (now.plus(T1), T1));
        Self { sequence, ok, bytes, again, ends: now.plus(TRANSACTION_TIME) }
    }

    pub(super) fn due(&mut self, now: Moment) -> Due {
        if now >= self.ends {
            return Due::TimedOut;
        }
        match self.again {
            Some((at, pause)) if now >= at => {
                let pause = pause.saturating_mul(2).min(T2);
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
