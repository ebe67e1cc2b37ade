//! How often a peer may ask (`spec: dht 2.4`).

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::time::Moment;

/// Requests taken of one peer in each [`WINDOW`], as in the reference.
const REQUESTS: u32 = 1024;

/// The time over which requests are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Most peers counted; more than connections are allowed.
const MAX_PEERS: usize = 512;

/// Requests of each peer in its present window.
#[derive(Debug, Default)]
pub(super) struct Budget {
    peers: BTreeMap<PeerId, (Moment, u32)>,
}

impl Budget {
    /// Counts a request; whether it may be served.
    pub(super) fn spend(&mut self, peer: PeerId, now: Moment) -> bool {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, (since, _)| now.since(*since) < WINDOW);
            if self.peers.len() >= MAX_PEERS {
                return false;
            }
        }
        let (since, count) = self.peers.entry(peer).or_insert((now, 0));
        if now.since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= REQUESTS
    }

    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_asks_too_often_waits_for_the_next_window_and_others_do_not() {
        let (mut budget, eager, other) = (Budget::default(), PeerId::random(), PeerId::random());
        let now = Moment::default();
        assert_eq!((0..5000).filter(|_| budget.spend(eager, now)).count(), 1024);
        assert!(budget.spend(other, now));
        assert!(budget.spend(eager, now.plus(WINDOW)));
    }

    #[test]
    fn the_peers_counted_are_bounded() {
        let mut budget = Budget::default();
        (0..2000).for_each(|_| _ = budget.spend(PeerId::random(), Moment::default()));
        assert_eq!(budget.peers.len(), MAX_PEERS);
        assert!(budget.spend(PeerId::random(), Moment(WINDOW)));
    }
}
