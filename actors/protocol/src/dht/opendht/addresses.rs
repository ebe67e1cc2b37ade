//! Which addresses are known to receive what is sent to them.
//!
//! The source of a datagram can be forged, so whoever asks for much with a small request might turn
//! our answer against another. Large answers go to addresses that have answered a request of ours or
//! shown a token of ours; to all others a request that we send first: when its answer comes, so does
//! the one that was asked for. An OpenDHT node waits long enough to notice nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::packet::Packet;
use crate::time::Moment;

/// How long an address counts as proved after it proved itself.
const PROVED_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Proved addresses that are remembered, some 100 bytes each.
const MAX_PROVED: usize = 16_384;

/// How long a request is held for its sender to prove its address: after this it has been repeated.
const HELD_LIFETIME: Duration = Duration::from_secs(2);

/// Requests held at one time, a few hundred bytes each.
const MAX_HELD: usize = 2048;

/// By how many bytes an answer to an unproved address may exceed the request: the sender's address,
/// and a longer user agent.
pub(super) const ALLOWANCE: usize = 48;

/// Proved addresses, and requests that wait for a proof.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    proved: BTreeMap<SocketAddr, Moment>,
    oldest: BTreeSet<(Moment, SocketAddr)>,
    held: VecDeque<(Moment, SocketAddr, Packet)>,
}

impl Addresses {
    /// Whether an answer of `answer` bytes may go to `address`, from which `request` bytes came.
    #[must_use]
    pub(super) fn may_receive(
        &self,
        now: Moment,
        address: &SocketAddr,
        request: usize,
        answer: usize,
    ) -> bool {
        answer <= request.saturating_add(ALLOWANCE)
            || self.proved.get(address).is_some_and(|proved| now.since(*proved) < PROVED_LIFETIME)
    }

    /// Notes that `address` proved to receive what is sent to it, and returns the requests that
    /// waited for that.
    pub(super) fn prove(&mut self, now: Moment, address: SocketAddr) -> Vec<Packet> {
        if let Some(before) = self.proved.insert(address, now) {
            self.oldest.remove(&(before, address));
        }
        self.oldest.insert((now, address));
        if self.proved.len() > MAX_PROVED
            && let Some((_, forgotten)) = self.oldest.pop_first()
        {
            self.proved.remove(&forgotten);
        }
        if self.held.is_empty() {
            return Vec::new();
        }
        let (freed, held) = self.held.drain(..).partition(|(_, holder, _)| *holder == address);
        self.held = held;
        let freed: VecDeque<_> = freed;
        freed.into_iter().filter(|(until, ..)| *until > now).map(|(_, _, packet)| packet).collect()
    }

    /// Holds a request until its sender has proved its address. Returns whether to ask for a proof:
    /// not if one is awaited already, or too many are.
    pub(super) fn hold(&mut self, now: Moment, address: SocketAddr, packet: Packet) -> bool {
        while self.held.front().is_some_and(|(until, ..)| *until <= now) {
            self.held.pop_front();
        }
        if self.held.len() >= MAX_HELD {
            return false;
        }
        let awaited = self.held.iter().any(|(_, holder, _)| *holder == address);
        let repeated = awaited
            && self
                .held
                .iter()
                .any(|(_, holder, held)| *holder == address && held.transaction == packet.transaction);
        if !repeated {
            self.held.push_back((now.plus(HELD_LIFETIME), address, packet));
        }
        !awaited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::opendht::packet::{Body, NetworkId, Request, TransactionId};
    use crate::ids::NodeId;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn address(port: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], u16::try_from(port).unwrap()))
    }

    fn packet(number: u32) -> Packet {
        Packet {
            network: NetworkId(0),
            client: false,
            transaction: TransactionId(number),
            sender: NodeId([1; 20]),
            body: Body::Request(Request::Ping),
        }
    }

    #[test]
    fn long_answers_go_to_proved_addresses_only() {
        let mut addresses = Addresses::default();
        assert!(addresses.may_receive(at(0), &address(1), 100, 148));
        assert!(!addresses.may_receive(at(0), &address(1), 100, 149));
        addresses.prove(at(0), address(1));
        assert!(addresses.may_receive(at(3599), &address(1), 100, 60_000));
        assert!(!addresses.may_receive(at(3600), &address(1), 100, 60_000));
        assert!(!addresses.may_receive(at(0), &address(2), 100, 60_000));
    }

    #[test]
    fn requests_are_held_until_the_proof_and_not_for_long() {
        let mut addresses = Addresses::default();
        assert!(addresses.hold(at(0), address(1), packet(1)));
        assert!(!addresses.hold(at(0), address(1), packet(2)), "a proof is awaited already");
        assert!(!addresses.hold(at(0), address(1), packet(1)), "it was repeated");
        assert!(addresses.hold(at(1), address(2), packet(3)));
        assert_eq!(addresses.prove(at(1), address(1)), [packet(1), packet(2)]);
        assert_eq!(addresses.prove(at(1), address(1)), []);
        assert_eq!(addresses.prove(at(3), address(2)), [], "its time was over");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut addresses = Addresses::default();
        let held = (0..3 * MAX_HELD).filter(|port| addresses.hold(at(0), address(*port), packet(1))).count();
        assert_eq!((held, addresses.held.len()), (MAX_HELD, MAX_HELD));
        for number in 0..MAX_PROVED + 5 {
            let at = Moment(Duration::from_millis(number as u64));
            addresses.prove(at, address(number));
        }
        assert_eq!((addresses.proved.len(), addresses.oldest.len()), (MAX_PROVED, MAX_PROVED));
        assert!(!addresses.may_receive(at(20), &address(4), 0, 1000));
        assert!(addresses.may_receive(at(20), &address(5), 0, 1000));
    }
}
