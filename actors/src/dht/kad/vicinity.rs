//! Who is close to a key: the peers at hand and those that look-ups found.
//!
//! A node of a small network is connected to all others, so its own list is the answer. In a large
//! one the list is completed by look-ups, whose results are kept for [`FRESH`].

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use libp2p_kad::{KBucketDistance, KBucketKey};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;

/// With fewer peers than this we know all of them, and looking for more finds nothing: half a
/// bucket of Kademlia's, which holds 20.
const SMALL_NETWORK: usize = 10;

/// How long a look-up's result is used (`spec: dht 6`, synced).
const FRESH: Duration = Duration::from_secs(10 * 60);

/// How long a peer that did not answer is passed over, unless it connects before.
pub(super) const PENALTY: Duration = Duration::from_secs(30);

/// Most look-ups remembered. A forgotten one is made again when needed.
const MAX_SEARCHES: usize = 2048;

/// Most peers remembered from one look-up.
const MAX_FOUND: usize = 20;

/// Most silent peers remembered; more than can be asked within [`PENALTY`] in earnest.
const MAX_SILENT: usize = 512;

/// The farthest place among the peers at which a value is stored, counted from the key, and how
/// many peers must be known for the rule to hold (`spec: dht 7`).
const FARTHEST_STORING: usize = 14;
const RULE_FROM: usize = 8;

#[derive(Debug)]
struct Search {
    found: Vec<PeerId>,
    /// When the last one ended.
    ended: Option<Moment>,
    running: bool,
}

/// The peers around, seen from this node.
#[derive(Debug)]
pub(super) struct Vicinity {
    local: PeerId,
    connected: BTreeMap<PeerId, KBucketKey<PeerId>>,
    silent: BTreeMap<PeerId, Moment>,
    searches: BTreeMap<DhtKey, Search>,
}

impl Vicinity {
    pub(super) fn new(local: PeerId) -> Self {
        Self { local, connected: BTreeMap::new(), silent: BTreeMap::new(), searches: BTreeMap::new() }
    }

    /// Returns whether it is new.
    pub(super) fn connected(&mut self, peer: PeerId) -> bool {
        self.silent.remove(&peer);
        peer != self.local && self.connected.insert(peer, KBucketKey::from(peer)).is_none()
    }

    /// Returns whether it was known.
    pub(super) fn disconnected(&mut self, peer: &PeerId) -> bool {
        self.connected.remove(peer).is_some()
    }

    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.connected.contains_key(peer)
    }

    pub(super) fn peer_count(&self) -> usize {
        self.connected.len()
    }

    /// A peer did not answer; it is passed over for a while.
    pub(super) fn was_silent(&mut self, peer: PeerId, now: Moment) {
        if self.silent.len() >= MAX_SILENT {
            self.silent.retain(|_, until| *until > now);
        }
        if self.silent.len() < MAX_SILENT {
            self.silent.insert(peer, now.plus(PENALTY));
        }
    }

    /// A peer answered.
    pub(super) fn answered(&mut self, peer: &PeerId) {
        self.silent.remove(peer);
    }

    /// The closest peers to `key` that may be asked, closest first.
    pub(super) fn closest(&self, key: DhtKey, count: usize, now: Moment) -> Vec<PeerId> {
        let target = target(key);
        let found = self.searches.get(&key).map_or(&[][..], |search| &search.found);
        let mut peers: BTreeMap<KBucketDistance, PeerId> =
            self.connected.iter().map(|(peer, place)| (place.distance(&target), *peer)).collect();
        peers.extend(found.iter().map(|peer| (KBucketKey::from(*peer).distance(&target), *peer)));
        let silent = |peer: &PeerId| self.silent.get(peer).is_some_and(|until| *until > now);
        peers.into_values().filter(|peer| *peer != self.local && !silent(peer)).take(count).collect()
    }

    /// Whether this node is close enough to `key` to keep values for others (`spec: dht 7`).
    pub(super) fn is_ours(&self, key: DhtKey) -> bool {
        if self.connected.len() < RULE_FROM {
            return true;
        }
        let target = target(key);
        let own = KBucketKey::from(self.local).distance(&target);
        self.connected.values().filter(|place| place.distance(&target) < own).count() < FARTHEST_STORING
    }

    /// Whether `key` should be looked up before its closest peers are asked; says yes once.
    pub(super) fn start_search(&mut self, key: DhtKey, now: Moment) -> bool {
        if self.connected.len() < SMALL_NETWORK {
            return false;
        }
        if self.searches.len() >= MAX_SEARCHES && !self.searches.contains_key(&key) {
            let oldest = self.searches.iter().filter(|(_, search)| !search.running);
            let oldest = oldest.min_by_key(|(_, search)| search.ended).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return false };
            self.searches.remove(&oldest);
        }
        let search =
            self.searches.entry(key).or_insert(Search { found: Vec::new(), ended: None, running: false });
        let fresh = search.ended.is_some_and(|ended| now.since(ended) < FRESH);
        if search.running || fresh {
            return false;
        }
        search.running = true;
        true
    }

    /// Whether the first look-up of `key` is under way.
    pub(super) fn is_unknown(&self, key: DhtKey) -> bool {
        self.searches.get(&key).is_some_and(|search| search.ended.is_none())
    }

    /// A look-up has ended; an empty result keeps what was known.
    pub(super) fn search_ended(&mut self, key: DhtKey, mut found: Vec<PeerId>, now: Moment) {
        if let Some(search) = self.searches.get_mut(&key) {
            search.running = false;
            search.ended = Some(now);
            if !found.is_empty() {
                found.truncate(MAX_FOUND);
                search.found = found;
            }
        }
    }
}

/// Where a key lies among the nodes: Kademlia hashes both.
fn target(key: DhtKey) -> KBucketKey<Vec<u8>> {
    KBucketKey::from(key.0.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::kad::config::NodeSecret;

    const KEY: DhtKey = DhtKey([9; 20]);

    fn peer(number: u8) -> PeerId {
        NodeSecret([number; 32]).peer_id().unwrap()
    }

    fn with_peers(count: u8) -> Vicinity {
        let mut vicinity = Vicinity::new(peer(0));
        (1..=count).for_each(|number| assert!(vicinity.connected(peer(number))));
        vicinity
    }

    #[test]
    fn all_nodes_agree_on_the_closest() {
        let views = (0..6).map(|own| {
            let mut vicinity = Vicinity::new(peer(own));
            for other in 0..6 {
                vicinity.connected(peer(other));
            }
            let mut closest = vicinity.closest(KEY, 6, Moment::default());
            let target = target(KEY);
            closest.push(peer(own));
            closest.sort_by_key(|peer| KBucketKey::from(*peer).distance(&target));
            closest
        });
        let views: Vec<_> = views.collect();
        assert!(views.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_silent_peer_is_passed_over_until_it_answers_or_time_passes() {
        let mut vicinity = with_peers(3);
        let first = vicinity.closest(KEY, 1, Moment::default())[0];
        vicinity.was_silent(first, Moment::default());
        assert!(!vicinity.closest(KEY, 3, Moment::default()).contains(&first));
        assert_eq!(vicinity.closest(KEY, 3, Moment(PENALTY))[0], first);
        vicinity.answered(&first);
        assert_eq!(vicinity.closest(KEY, 3, Moment::default())[0], first);
    }

    #[test]
    fn look_ups_are_made_in_large_networks_only_and_their_results_kept_a_while() {
        assert!(!with_peers(5).start_search(KEY, Moment::default()));
        let mut vicinity = with_peers(20);
        assert!(vicinity.start_search(KEY, Moment::default()));
        assert!(!vicinity.start_search(KEY, Moment::default()), "one at a time");
        vicinity.search_ended(KEY, (30..60).map(peer).collect(), Moment::default());
        assert!(!vicinity.is_unknown(KEY));
        assert!(!vicinity.start_search(KEY, Moment::default()), "still fresh");
        assert!(vicinity.start_search(KEY, Moment(FRESH)));
        assert_eq!(vicinity.closest(KEY, 100, Moment::default()).len(), 20 + MAX_FOUND);
    }

    #[test]
    fn a_node_far_from_a_key_does_not_store_for_others() {
        assert!(with_peers(13).is_ours(KEY));
        let ours = (0..30).filter(|number| {
            let mut vicinity = Vicinity::new(peer(*number));
            for other in 0..30 {
                vicinity.connected(peer(other));
            }
            vicinity.is_ours(KEY)
        });
        assert_eq!(ours.count(), FARTHEST_STORING);
    }

    #[test]
    fn remembered_look_ups_and_silent_peers_are_bounded() {
        let mut vicinity = with_peers(20);
        for number in 0..10_000_u32 {
            let mut key = [0; 20];
            key[..4].copy_from_slice(&number.to_be_bytes());
            if vicinity.start_search(DhtKey(key), Moment::default()) {
                vicinity.search_ended(DhtKey(key), Vec::new(), Moment::default());
            }
        }
        assert!(vicinity.searches.len() <= MAX_SEARCHES);
    }
}
