//! The routing table of one network: the neighbourhood known well, the rest by samples
//! (`spec: dht 8`).
//!
//! Bucket `n` holds nodes whose ids share exactly `n` leading bits with ours; the last one holds all
//! that share more. A full last bucket is split, so the table grows with the logarithm of the
//! network. Only nodes
//! that have answered are offered a place, and nodes that answer are never displaced: whoever floods us
//! with new ids gains nothing.

use std::time::Duration;

use super::nodes::{Family, NodeKey, Nodes, common_bits, distance};
use super::random::Randomness;
use crate::ids::{DhtKey, NodeId};
use crate::time::Moment;

/// Nodes of a bucket.
pub(super) const BUCKET_SIZE: usize = 8;

/// Buckets at most: one for every bit of an id.
const MAX_BUCKETS: usize = 160;

/// After how long without an answer from a bucket a node of its range is looked for.
pub(super) const BUCKET_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What became of a node that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// It is in the table.
    Kept,
    /// Its bucket is full. It waits for a place, and this node of the bucket may give it up: ask it.
    Doubted(NodeId),
    /// Its bucket is full of good nodes, or of nodes being asked; it waits for a place.
    Waiting,
    /// The table has no use for it.
    Useless,
}

#[derive(Debug, Default)]
struct Bucket {
    nodes: Vec<NodeId>,
    /// Takes the next free place.
    waiting: Option<NodeId>,
    answered: Option<Moment>,
}

/// The nodes of one family, sorted by how close they are to us.
#[derive(Debug)]
pub(super) struct Table {
    family: Family,
    own: NodeId,
    buckets: Vec<Bucket>,
    /// When our own bucket last got a node.
    grown: Option<Moment>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub(super) fn new(family: Family, own: NodeId) -> Self {
        Self { family, own, buckets: vec![Bucket::default()], grown: None }
    }

    /// Offers a node of which something was heard. It need not be known to `nodes` yet.
    pub(super) fn offer(&mut self, now: Moment, nodes: &Nodes, id: NodeId) -> Offer {
        if id == self.own {
            return Offer::Useless;
        }
        loop {
            let index = self.index(&id.0);
            let last = index + 1 == self.buckets.len();
            let divisible = last && self.buckets.len() < MAX_BUCKETS;
            let family = self.family;
            let Some(bucket) = self.buckets.get_mut(index) else { return Offer::Useless };
            if bucket.nodes.contains(&id) {
                return Offer::Kept;
            }
            if bucket.nodes.len() < BUCKET_SIZE {
                bucket.nodes.push(id);
                bucket.waiting.take_if(|waiting| *waiting == id);
                if last {
                    self.grown = Some(now);
                }
                return Offer::Kept;
            }
            let state = |id: &NodeId| nodes.get(NodeKey { family, id: *id });
            if let Some(place) =
                bucket.nodes.iter_mut().find(|id| state(id).is_none_or(super::nodes::Node::is_expired))
            {
                *place = id;
                return Offer::Kept;
            }
            let dubious = |id: &&NodeId| state(id).is_none_or(|node| !node.is_good(now));
            let doubted = bucket.nodes.iter().filter(dubious);
            let alone = index == 0;
            if divisible && (alone || doubted.clone().next().is_none()) {
                self.split();
                continue;
            }
            let quiet = |id: &&NodeId| state(id).is_some_and(|node| node.pending == 0);
            let doubted = doubted.copied().find(|id| quiet(&id));
            bucket.waiting = Some(id);
            return doubted.map_or(Offer::Waiting, Offer::Doubted);
        }
    }

    /// Notes that a node of the table answered.
    pub(super) fn answered(&mut self, now: Moment, id: NodeId) {
        let index = self.index(&id.0);
        if let Some(bucket) = self.buckets.get_mut(index).filter(|bucket| bucket.nodes.contains(&id)) {
            bucket.answered = Some(now);
        }
    }

    /// Takes an expired node out, and returns the node that waited for its place: ask it.
    pub(super) fn expired(&mut self, id: NodeId) -> Option<NodeId> {
        let index = self.index(&id.0);
        let bucket = self.buckets.get_mut(index)?;
        bucket.waiting.take_if(|waiting| *waiting == id);
        let place = bucket.nodes.iter().position(|node| *node == id)?;
        bucket.nodes.remove(place);
        bucket.waiting.take()
    }

    /// The good nodes closest to `target`, closest first.
    #[must_use]
    pub(super) fn closest(&self, now: Moment, nodes: &Nodes, target: DhtKey, count: usize) -> Vec<NodeId> {
        let good = |id: &&NodeId| nodes.is_good(now, NodeKey { family: self.family, id: **id });
        // Those of the target's bucket share the most bits with it; all of later buckets share one bit less, as
        // many as the target and we; and those of each bucket before share fewer again.
        let index = self.index(&target.0);
        let (before, after) = self.buckets.split_at(index);
        let (own, later) = after.split_at(after.len().min(1));
        let groups = [own, later].into_iter().chain(before.chunks(1).rev());
        let mut found: Vec<NodeId> = Vec::new();
        for group in groups {
            let sorted = found.len();
            found.extend(group.iter().flat_map(|bucket| &bucket.nodes).filter(good));
            if let Some(new) = found.get_mut(sorted..) {
                new.sort_unstable_by_key(|id| distance(&id.0, &target.0));
            }
            if found.len() >= count {
                break;
            }
        }
        found.truncate(count);
        found
    }

    /// All nodes, far ones first.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.buckets.iter().flat_map(|bucket| bucket.nodes.iter().copied())
    }

    /// All nodes, and those that wait for a place.
    pub(super) fn all_ids(&self) -> impl Iterator<Item = NodeId> {
        self.ids().chain(self.buckets.iter().filter_map(|bucket| bucket.waiting))
    }

    /// Whether there would be a place for `id`, or a node that might give up its place.
    #[must_use]
    pub(super) fn wants(&self, now: Moment, nodes: &Nodes, id: NodeId) -> bool {
        let index = self.index(&id.0);
        let good = |id: &NodeId| nodes.is_good(now, NodeKey { family: self.family, id: *id });
        id != self.own
            && self.buckets.get(index).is_some_and(|bucket| {
                let known = bucket.nodes.contains(&id);
                let settled = bucket.nodes.len() >= BUCKET_SIZE && bucket.nodes.iter().all(good);
                !known && (!settled || index + 1 == self.buckets.len())
            })
    }

    /// Whether the bucket of `target` has free places.
    #[must_use]
    pub(super) fn is_sparse(&self, target: DhtKey) -> bool {
        self.buckets.get(self.index(&target.0)).is_some_and(|bucket| bucket.nodes.len() < BUCKET_SIZE)
    }

    /// When our own bucket last got a node.
    #[must_use]
    pub(super) const fn grown(&self) -> Option<Moment> {
        self.grown
    }

    /// For each bucket that has been silent or is empty: an id of its range, to be looked for.
    pub(super) fn stale(&self, now: Moment, random: &mut Randomness) -> Vec<DhtKey> {
        let mut targets = Vec::new();
        for (index, bucket) in self.buckets.iter().enumerate() {
            let silent = bucket.answered.is_none_or(|answered| now.since(answered) >= BUCKET_LIFETIME);
            if silent || bucket.nodes.is_empty() {
                targets.push(self.random_id(index, random));
            }
        }
        targets
    }

    fn random_id(&self, index: usize, random: &mut Randomness) -> DhtKey {
        if index + 1 == self.buckets.len() {
            return DhtKey(random.id_with_prefix(&self.own.0, index));
        }
        let mut other_side = self.own.0;
        if let Some(byte) = other_side.get_mut(index / 8) {
            *byte ^= 0x80 >> (index % 8);
        }
        DhtKey(random.id_with_prefix(&other_side, index + 1))
    }

    fn index(&self, id: &[u8; 20]) -> usize {
        common_bits(&self.own.0, id).min(self.buckets.len().saturating_sub(1))
    }

    /// Moves the nodes of the last bucket that share one bit more with us to one of their own.
    fn split(&mut self) {
        let depth = self.buckets.len();
        let own = self.own;
        let Some(last) = self.buckets.last_mut() else { return };
        let (near, far) = last.nodes.iter().partition(|id| common_bits(&own.0, &id.0) >= depth);
        last.nodes = far;
        let waiting = last.waiting.take_if(|waiting| common_bits(&own.0, &waiting.0) >= depth);
        let answered = last.answered;
        self.buckets.push(Bucket { nodes: near, waiting, answered });
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::testing::at;
    use super::*;

    const OWN: NodeId = NodeId([0; 20]);

    fn key(id: NodeId) -> NodeKey {
        NodeKey { family: Family::V4, id }
    }

    /// An id that shares `bits` bits with ours.
    fn id(bits: usize, number: u8) -> NodeId {
        let mut id = [0; 20];
        id[bits / 8] = 0x80 >> (bits % 8);
        id[19] |= number;
        NodeId(id)
    }

    struct World {
        nodes: Nodes,
        table: Table,
    }

    impl World {
        fn new() -> Self {
            Self { nodes: Nodes::default(), table: Table::new(Family::V4, OWN) }
        }

        fn offer(&mut self, now: Moment, id: NodeId) -> Offer {
            self.nodes.mention(key(id), SocketAddr::from(([10, 0, 0, 1], 1)));
            self.table.offer(now, &self.nodes, id)
        }

        fn offer_good(&mut self, now: Moment, id: NodeId) -> Offer {
            let offer = self.offer(now, id);
            self.nodes.answered(now, key(id));
            self.table.answered(now, id);
            offer
        }
    }

    #[test]
    fn only_the_bucket_around_our_own_id_is_split() {
        let mut world = World::new();
        for number in 1..=8 {
            assert_eq!(world.offer_good(at(0), id(0, number)), Offer::Kept);
        }
        assert_eq!(world.offer_good(at(0), id(0, 9)), Offer::Waiting);
        for bits in 1..20 {
            for number in 1..=8 {
                assert_eq!(world.offer_good(at(0), id(bits, number)), Offer::Kept, "{bits} {number}");
            }
            assert_eq!(world.offer_good(at(0), id(bits, 9)), Offer::Waiting);
        }
        assert_eq!(world.table.ids().count(), 20 * 8);
    }

    #[test]
    fn a_bucket_with_a_dubious_node_is_not_split_and_the_node_is_asked() {
        let mut world = World::new();
        world.offer_good(at(0), id(0, 1));
        for number in 1..=7 {
            world.offer_good(at(0), id(4, number));
        }
        // The only bucket is split in any case.
        world.offer(at(0), id(5, 8));
        assert_eq!(world.offer(at(0), id(6, 1)), Offer::Doubted(id(5, 8)));
        world.nodes.get_mut(key(id(5, 8))).unwrap().pending = 1;
        assert_eq!(world.offer(at(0), id(6, 2)), Offer::Waiting, "it is being asked already");
        world.nodes.answered(at(1), key(id(5, 8)));
        assert_eq!(world.offer(at(1), id(6, 2)), Offer::Kept);
    }

    #[test]
    fn the_closest_are_those_that_sorting_all_nodes_finds() {
        let mut world = World::new();
        let mut random = Randomness::from_seed([7; 32]);
        for number in 1..200 {
            let node = NodeId(random.id_with_prefix(&OWN.0, number % 12));
            let offered = world.offer(at(0), node);
            if offered == Offer::Kept && number % 5 != 0 {
                world.nodes.answered(at(0), key(node));
            }
        }
        for number in 0..200 {
            let target = DhtKey(random.id_with_prefix(&OWN.0, number % 20));
            let good = |id: &NodeId| world.nodes.is_good(at(1), key(*id));
            let mut expected: Vec<NodeId> = world.table.ids().filter(good).collect();
            expected.sort_by_key(|id| distance(&id.0, &target.0));
            for count in [1, 8, 9, 1000] {
                let found = world.table.closest(at(1), &world.nodes, target, count);
                assert_eq!(found, expected[..count.min(expected.len())]);
            }
        }
    }

    #[test]
    fn the_last_newcomer_takes_the_place_of_a_node_that_expires() {
        let mut world = World::new();
        for number in 1..=8 {
            world.offer_good(at(0), id(0, number));
        }
        world.offer_good(at(0), id(3, 1));
        world.offer(at(0), id(0, 9));
        world.offer(at(0), id(0, 10));
        assert_eq!(world.table.expired(id(0, 3)), Some(id(0, 10)));
        assert_eq!(world.table.expired(id(0, 3)), None, "it is out already");
        assert_eq!(world.offer(at(1), id(0, 10)), Offer::Kept);
        world.nodes.expire(key(id(0, 4)));
        assert_eq!(world.offer(at(1), id(0, 11)), Offer::Kept, "an expired node gives way");
        assert!(world.table.ids().all(|known| known != id(0, 4)));
    }

    #[test]
    fn only_good_nodes_are_named_closest_first() {
        let mut world = World::new();
        for bits in 0..12 {
            world.offer_good(at(0), id(bits, 1));
        }
        world.offer(at(0), id(19, 1));
        let target = DhtKey(id(2, 3).0);
        let closest = world.table.closest(at(1), &world.nodes, target, 3);
        assert_eq!(closest, [id(2, 1), id(11, 1), id(10, 1)]);
        assert!(world.table.closest(at(601), &world.nodes, target, 8).is_empty());
    }

    #[test]
    fn silent_buckets_are_refreshed_within_their_range() {
        let mut world = World::new();
        for number in 1..=8 {
            world.offer_good(at(0), id(0, number));
        }
        world.offer_good(at(0), id(3, 1));
        let mut random = Randomness::from_seed([7; 32]);
        assert_eq!(world.table.stale(at(599), &mut random), []);
        world.table.answered(at(599), id(3, 1));
        let stale = world.table.stale(at(600), &mut random);
        assert_eq!(stale.len(), 1);
        assert_eq!(common_bits(&stale[0].0, &OWN.0), 0);
        let stale = world.table.stale(at(1200), &mut random);
        assert_eq!(stale.iter().map(|id| common_bits(&id.0, &OWN.0).min(1)).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn our_own_id_is_never_kept_and_a_flood_of_ids_displaces_nobody() {
        let mut world = World::new();
        assert_eq!(world.offer(at(0), OWN), Offer::Useless);
        for number in 1..=8 {
            world.offer_good(at(0), id(0, number));
        }
        let before: Vec<NodeId> = world.table.ids().collect();
        let mut random = Randomness::from_seed([8; 32]);
        for _ in 0..5000 {
            let stranger = NodeId(random.id_with_prefix(&id(0, 0).0, 1));
            world.offer(at(1), stranger);
        }
        let after: Vec<NodeId> = world.table.ids().filter(|id| before.contains(id)).collect();
        assert_eq!(after, before);
        assert!(world.table.all_ids().count() < 40);
    }
}
