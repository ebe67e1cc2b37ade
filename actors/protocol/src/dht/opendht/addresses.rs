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
const ALLOWANCE: usize = 48;

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
