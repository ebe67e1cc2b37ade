//! The requests of ours that are under way: sent up to three times, matched with their answers
//! (`spec: dht 2.2`).
//!
//! An answer is one if it comes from the address asked and carries the number of the request. The
//! numbers are random rather than counted, so that nobody who is asked something can answer in the
//! name of another node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::packet::{Request, TransactionId};
use super::random::Randomness;
use crate::ids::NodeId;
use crate::time::Moment;

/// How often a request is sent before its receiver counts as gone.
pub(super) const SENDS: u8 = 3;

/// What the waits for an answer begin with; each is twice the one before and a bit.
const WAIT_BASE: Duration = Duration::from_millis(500);

/// Most that is added to each wait, so that many requests sent at once are not repeated at once.
const WAIT_SPREAD: Duration = Duration::from_millis(250);

/// Requests under way at one time. Those for operations of ours are a few dozen an operation; the
/// rest is room for updates to listeners.
pub(super) const MAX_REQUESTS: usize = 16_384;

/// Requests under way to one address, so that a slow one does not take the room of the others. In a
/// small network one node is close to hundreds of keys of ours.
pub(super) const MAX_REQUESTS_PER_ADDRESS: usize = 512;

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receiver {
    /// Where it is sent.
    pub(super) address: SocketAddr,
    /// Who is to be there, if that is known.
    pub(super) id: Option<NodeId>,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Open<P> {
    /// Whom it is for.
    pub(super) receiver: Receiver,
    /// Its number.
    pub(super) transaction: TransactionId,
    /// What it says.
    pub(super) request: Request,
    /// What it is for.
    pub(super) purpose: P,
    sends_left: u8,
    wait: Duration,
    due: Moment,
}

impl<P> Open<P> {}

/// What to do about a request that was not answered in time.
#[derive(Debug)]
pub(super) enum Overdue<P> {
    /// Send it again.
    Resend(Open<P>),
    /// Its receiver does not answer.
    GivenUp(Open<P>),
}

type Name = (SocketAddr, TransactionId);

/// All requests under way; `P` says what each is for.
#[derive(Debug)]
pub(super) struct Requests<P> {
    open: BTreeMap<Name, Open<P>>,
    due: BTreeSet<(Moment, Name)>,
}

impl<P> Default for Requests<P> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), due: BTreeSet::new() }
    }
}

impl<P: Clone> Requests<P> {
    /// Notes that a request is sent now for the first of `sends` times, and gives it a number.
    /// `None` if there are too many already: then it must not be sent.
    pub(super) fn start(
        &mut self,
        now: Moment,
        random: &mut Randomness,
        receiver: Receiver,
        request: Request,
        purpose: P,
        sends: u8,
    ) -> Option<TransactionId> {
        if self.open.len() >= MAX_REQUESTS || self.open_to(receiver.address) >= MAX_REQUESTS_PER_ADDRESS {
            return None;
        }
        let transaction = self.free_number(random, receiver.address)?;
        let sends_left = sends.saturating_sub(1);
        let mut open =
            Open { receiver, transaction, request, purpose, sends_left, wait: WAIT_BASE, due: now };
        open.wait_longer(now, random);
        let name = (receiver.address, transaction);
        self.due.insert((open.due, name));
        self.open.insert(name, open);
        Some(transaction)
    }

    /// Ends the request that an answer with this number from `source` is for.
    pub(super) fn answered(&mut self, source: SocketAddr, transaction: TransactionId) -> Option<Open<P>> {
        let open = self.open.remove(&(source, transaction))?;
        self.due.remove(&(open.due, (source, transaction)));
        Some(open)
    }

    /// Whether an answer with this number is awaited from `source`.
    #[must_use]
    pub(super) fn awaits(&self, source: SocketAddr, transaction: TransactionId) -> bool {
        self.open.contains_key(&(source, transaction))
    }

    /// Lets a request wait anew, because its answer has begun to come.
    pub(super) fn postpone(&mut self, now: Moment, source: SocketAddr, transaction: TransactionId) {
        let name = (source, transaction);
        let Some(open) = self.open.get_mut(&name) else { return };
        self.due.remove(&(open.due, name));
        open.due = open.due.max(now.plus(open.wait));
        self.due.insert((open.due, name));
    }

    /// The next request that was not answered in time.
    pub(super) fn overdue(&mut self, now: Moment, random: &mut Randomness) -> Option<Overdue<P>> {
        let &(due, name) = self.due.first()?;
        if due > now {
            return None;
        }
        self.due.pop_first();
        let open = self.open.get_mut(&name)?;
        if open.sends_left == 0 {
            return self.open.remove(&name).map(Overdue::GivenUp);
        }
        open.sends_left -= 1;
        open.wait_longer(now, random);
        self.due.insert((open.due, name));
        Some(Overdue::Resend(open.clone()))
    }

    /// Ends all requests to a node that is gone.
    pub(super) fn give_up(&mut self, address: SocketAddr) -> Vec<Open<P>> {
        let names: Vec<Name> = self.open.range(names_to(address)).map(|(name, _)| *name).collect();
        names.into_iter().filter_map(|(address, transaction)| self.answered(address, transaction)).collect()
    }

    /// Ends all requests that `ended` says so of, without anybody being told.
    pub(super) fn cancel(&mut self, ended: impl Fn(&P) -> bool) -> Vec<Open<P>> {
        let names = self.open.iter().filter(|(_, open)| ended(&open.purpose));
        let names: Vec<Name> = names.map(|(name, _)| *name).collect();
        names.into_iter().filter_map(|(address, transaction)| self.answered(address, transaction)).collect()
    }

    /// Number of requests under way to one address.
    #[must_use]
    pub(super) fn open_to(&self, address: SocketAddr) -> usize {
        self.open.range(names_to(address)).count()
    }

    /// When the next request is overdue.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Number of requests under way.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    fn free_number(&self, random: &mut Randomness, address: SocketAddr) -> Option<TransactionId> {
        // A second attempt is needed once in half a million even if all requests go to one node.
        (0..4).map(|_| TransactionId(random.non_zero())).find(|number| !self.awaits(address, *number))
    }
}

fn names_to(address: SocketAddr) -> std::ops::RangeInclusive<Name> {
    (address, TransactionId(0))..=(address, TransactionId(u32::MAX))
}

impl<P> Open<P> {
    fn wait_longer(&mut self, now: Moment, random: &mut Randomness) {
        self.wait = self.wait.saturating_mul(2).saturating_add(random.between(Duration::ZERO, WAIT_SPREAD));
        self.due = now.plus(self.wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn receiver(port: u16) -> Receiver {
        Receiver { address: SocketAddr::from(([10, 0, 0, 1], port)), id: None }
    }

    fn start(requests: &mut Requests<u8>, random: &mut Randomness, port: u16, sends: u8) -> TransactionId {
        requests.start(at(0), random, receiver(port), Request::Ping, 0, sends).unwrap()
    }

    #[test]
    fn a_request_is_sent_three_times_with_growing_waits_and_then_given_up() {
        let (mut requests, mut random) = (Requests::default(), Randomness::from_seed([1; 32]));
        let number = start(&mut requests, &mut random, 1, SENDS);
        let (mut last, mut waits) = (at(0), Vec::new());
        for round in 0..3 {
            let due = requests.next_deadline().unwrap();
            assert!(requests.overdue(Moment(due.0 - Duration::from_millis(1)), &mut random).is_none());
            waits.push(due.since(last).as_millis());
            last = due;
            match requests.overdue(due, &mut random).unwrap() {
                Overdue::Resend(open) => assert!(round < 2 && open.transaction == number),
                Overdue::GivenUp(open) => assert!(round == 2 && open.transaction == number),
            }
        }
        assert!((1000..=1250).contains(&waits[0]), "{waits:?}");
        assert!((2000..=2750).contains(&waits[1]), "{waits:?}");
        assert!((4000..=5750).contains(&waits[2]), "{waits:?}");
        assert!(requests.len() == 0 && requests.next_deadline().is_none());
    }

    #[test]
    fn an_answer_counts_once_and_only_from_where_the_request_went() {
        let (mut requests, mut random) = (Requests::default(), Randomness::from_seed([2; 32]));
        let number = start(&mut requests, &mut random, 1, SENDS);
        assert!(requests.answered(receiver(2).address, number).is_none());
        assert!(requests.answered(receiver(1).address, TransactionId(number.0 ^ 1)).is_none());
        assert!(requests.answered(receiver(1).address, number).is_some());
        assert!(requests.answered(receiver(1).address, number).is_none());
        assert!(requests.next_deadline().is_none());
    }

    #[test]
    fn an_answer_that_has_begun_to_come_is_waited_for() {
        let (mut requests, mut random) = (Requests::default(), Randomness::from_seed([3; 32]));
        let number = start(&mut requests, &mut random, 1, 1);
        requests.postpone(at(900), receiver(1).address, number);
        assert!(requests.overdue(at(1300), &mut random).is_none());
        assert!(matches!(requests.overdue(at(2200), &mut random), Some(Overdue::GivenUp(_))));
    }

    #[test]
    fn all_requests_to_a_node_end_with_it() {
        let (mut requests, mut random) = (Requests::default(), Randomness::from_seed([4; 32]));
        for port in [1, 1, 2, 1] {
            start(&mut requests, &mut random, port, SENDS);
        }
        assert_eq!(requests.give_up(receiver(1).address).len(), 3);
        assert_eq!(requests.len(), 1);
        assert_eq!(requests.cancel(|purpose| *purpose == 0).len(), 1);
        assert!(requests.len() == 0 && requests.due.is_empty());
    }

    #[test]
    fn the_number_of_requests_is_bounded() {
        let (mut requests, mut random) = (Requests::default(), Randomness::from_seed([5; 32]));
        for number in 0..MAX_REQUESTS {
            let port = u16::try_from(number / MAX_REQUESTS_PER_ADDRESS).unwrap();
            start(&mut requests, &mut random, 1000 + port, SENDS);
        }
        assert!(requests.start(at(0), &mut random, receiver(2), Request::Ping, 0, SENDS).is_none());
    }

    #[test]
    fn one_address_does_not_take_the_room_of_others() {
        let (mut requests, mut random) = (Requests::default(), Randomness::from_seed([6; 32]));
        for _ in 0..MAX_REQUESTS_PER_ADDRESS {
            start(&mut requests, &mut random, 1, SENDS);
        }
        assert!(requests.start(at(0), &mut random, receiver(1), Request::Ping, 0, SENDS).is_none());
        assert!(requests.start(at(0), &mut random, receiver(2), Request::Ping, 0, SENDS).is_some());
    }
}
