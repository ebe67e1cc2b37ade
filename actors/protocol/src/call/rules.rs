//! Who gives way, how many may ring, what is written into the history (`spec: calls 9, 11`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::outgoing::CallEnd;
use crate::ids::AccountId;
use crate::swarm::message::CallRecord;

/// Most calls of one person that ring at once: one from each device that somebody may hold in hand.
pub const MAX_RINGING_PER_PEER: usize = 4;

/// When two people call each other at once, whether we take theirs and give up ours: the one without
/// pictures is taken; if they are alike, that of the person with the greater id.
#[must_use]
pub fn gives_way(own: AccountId, peer: AccountId, ours_has_video: bool, theirs_has_video: bool) -> bool {
    if ours_has_video == theirs_has_video { own < peer } else { ours_has_video }
}

/// What the caller's device writes into the conversation when a call is over; `duration` is how long it
/// was answered.
#[must_use]
pub fn history(callee: AccountId, duration: Option<Duration>, end: CallEnd) -> CallRecord {
    let millis = duration.unwrap_or_default().as_millis();
    let reason = match end {
        CallEnd::Declined => Some("declined"),
        CallEnd::Busy => Some("busy"),
        CallEnd::NoDevice => Some("no_device"),
        CallEnd::Over(_) => None,
    };
    CallRecord::OneToOne {
        to: callee,
        duration_ms: u64::try_from(millis).unwrap_or(u64::MAX),
        reason: reason.map(str::to_owned),
    }
}

/// How many calls of whom ring here.
#[derive(Debug, Default)]
pub struct RingingCalls {
    counts: BTreeMap<AccountId, usize>,
}

impl RingingCalls {
    /// Whether one more of this person may ring; if not, answer that we are busy.
    pub fn admit(&mut self, peer: AccountId) -> bool {
        let count = self.counts.entry(peer).or_default();
        let admitted = *count < MAX_RINGING_PER_PEER;
        if admitted {
            *count += 1;
        }
        admitted
    }

    /// One of this person rings no more.
    pub fn done(&mut self, peer: AccountId) {
        if let Some(count) = self.counts.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::leg::End;
    use super::*;
    use crate::swarm::message::{CommitMessage, Content};

    const LOW: AccountId = AccountId([1; 20]);
    const HIGH: AccountId = AccountId([2; 20]);

    #[test]
    fn of_two_crossed_calls_exactly_one_remains() {
        for ours_has_video in [false, true] {
            for theirs_has_video in [false, true] {
                let low = gives_way(LOW, HIGH, ours_has_video, theirs_has_video);
                let high = gives_way(HIGH, LOW, theirs_has_video, ours_has_video);
                assert_ne!(low, high);
            }
        }
        assert!(gives_way(HIGH, LOW, true, false), "the one without pictures remains");
    }

    #[test]
    fn the_history_tells_how_long_and_why_not() {
        let text = |duration, end| {
            let message = CommitMessage::from_content(&Content::Call(history(LOW, duration, end))).unwrap();
            String::from_utf8(message.to_bytes()).unwrap()
        };
        let to = LOW.to_hex();
        let kind = "application/call-history+json";
        assert_eq!(
            text(Some(Duration::from_millis(10_000)), CallEnd::Over(End::HungUp)),
            format!("{{\"duration\":\"10000\",\"to\":\"{to}\",\"type\":\"{kind}\"}}")
        );
        for (end, reason) in
            [(CallEnd::Declined, "declined"), (CallEnd::Busy, "busy"), (CallEnd::NoDevice, "no_device")]
        {
            let expected =
                format!("{{\"duration\":\"0\",\"reason\":\"{reason}\",\"to\":\"{to}\",\"type\":\"{kind}\"}}");
            assert_eq!(text(None, end), expected);
        }
    }

    #[test]
    fn a_flood_of_calls_of_one_person_rings_a_few_times_and_costs_nobody_else_anything() {
        let mut ringing = RingingCalls::default();
        let admitted = (0..1000).filter(|_| ringing.admit(LOW)).count();
        assert_eq!(admitted, MAX_RINGING_PER_PEER);
        assert!(ringing.admit(HIGH));
        ringing.done(LOW);
        assert!(ringing.admit(LOW) && !ringing.admit(LOW));
    }
}
