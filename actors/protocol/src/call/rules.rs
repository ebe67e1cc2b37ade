//! Who gives way, how many may ring, what is written into the history (`spec: calls 9, 11`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::outgoing::CallEnd;
use crate::ids::AccountId;
use crate::swarm::message::CallRecord;
use crate::time::Moment;

/// Most calls of one person that ring at once, or are given up and not acknowledged yet: one from each device that
/// somebody may hold in hand.
pub const MAX_RINGING_PER_PEER: usize = 4;

/// Most calls that ring at once: half of the calls that an account may have, so that its owner can always call.
pub const MAX_RINGING_CALLS: usize = 16;

/// While more than so many ring, nobody may ring with a second one: two thirds of the places are for those who
/// do not ring yet.
const SHARED_RINGING: usize = 6;

/// How many new ways for the sound the other side may have of a call at once: more than anybody holds and resumes.
/// Each costs sockets and a search.
pub const MAX_RENEWALS: u32 = 8;

/// How long until it may have one more.
pub const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

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
///
/// A call that was given up keeps its place among those of its caller until the caller has acknowledged that, and
/// takes no place of anybody else.
#[derive(Debug, Default)]
pub struct RingingCalls {
    /// Of each person: those that ring, and those that were given up.
    held: BTreeMap<AccountId, usize>,
    ringing: usize,
}

impl RingingCalls {
    /// Whether one more of this person may ring; if not, answer that we are busy.
    pub fn admit(&mut self, peer: AccountId) -> bool {
        let held = self.held.get(&peer).copied().unwrap_or_default();
        let most = if self.ringing >= SHARED_RINGING { 1 } else { MAX_RINGING_PER_PEER };
        let admitted = held < most && self.ringing < MAX_RINGING_CALLS;
        if admitted {
            *self.held.entry(peer).or_default() += 1;
            self.ringing += 1;
        }
        admitted
    }

    /// One of those admitted rings no more. Its caller's place is taken until [`Self::done`].
    pub fn silent(&mut self) {
        self.ringing = self.ringing.saturating_sub(1);
    }

    /// One of this person that rings no more is done with: answered, or acknowledged.
    pub fn done(&mut self, peer: AccountId) {
        if let Some(held) = self.held.get_mut(&peer) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&peer);
            }
        }
    }
}

/// How many new ways for the sound the other side may have now.
#[derive(Clone, Copy, Debug)]
pub struct Renewals {
    left: u32,
    /// Up to when what grows back is counted.
    counted: Moment,
}

impl Renewals {
    /// All of them.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { left: MAX_RENEWALS, counted: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Moment) -> bool {
        while self.left < MAX_RENEWALS && now.since(self.counted) >= RENEWAL_PAUSE {
            self.left += 1;
            self.counted = self.counted.plus(RENEWAL_PAUSE);
        }
        if self.left == MAX_RENEWALS {
            self.counted = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
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
        ringing.silent();
        assert!(!ringing.admit(LOW), "one that is not acknowledged keeps its caller's place");
        ringing.done(LOW);
        assert!(ringing.admit(LOW) && !ringing.admit(LOW));
    }

    #[test]
    fn who_rings_and_gives_up_without_end_keeps_nobody_else_out() {
        let mut ringing = RingingCalls::default();
        let people = |from: u8| (from..=255).map(|person| AccountId([person; 20]));
        for person in people(10) {
            for _ in 0..1000 {
                if ringing.admit(person) {
                    ringing.silent();
                }
            }
        }
        assert!(
            people(0).filter(|person| ringing.admit(*person)).count() >= 10,
            "those who hold no place may ring"
        );
    }

    #[test]
    fn who_wants_new_ways_without_end_gets_a_few_and_then_one_after_each_pause() {
        let start = Moment(Duration::ZERO);
        let mut renewals = Renewals::new(start);
        let at_once = (0..1000).filter(|_| renewals.take(start)).count();
        assert_eq!(at_once, MAX_RENEWALS as usize);
        let later = start.plus(RENEWAL_PAUSE);
        assert!(renewals.take(later) && !renewals.take(later));
        let much_later = start.plus(RENEWAL_PAUSE * 1000);
        assert_eq!((0..1000).filter(|_| renewals.take(much_later)).count(), MAX_RENEWALS as usize);
    }

    #[test]
    fn while_many_ring_nobody_rings_twice_and_so_others_can_ring_too() {
        let mut ringing = RingingCalls::default();
        let of_two = (0..1000).filter(|turn| ringing.admit(if turn % 2 == 0 { LOW } else { HIGH })).count();
        assert_eq!(of_two, SHARED_RINGING);
        let others = (10..=255).filter(|person| ringing.admit(AccountId([*person; 20]))).count();
        assert_eq!(others, MAX_RINGING_CALLS - SHARED_RINGING);
    }
}
