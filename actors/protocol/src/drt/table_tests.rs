//! The table against the list of buckets that the specification describes, and against brute force.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::table::*;
use crate::ids::DeviceId;
use crate::time::Moment;

const NOW: Moment = Moment(Duration::from_secs(1000));

/// An id that begins with these bits and goes on with the number.
pub(super) fn id(bits: &str, number: u8) -> DeviceId {
    let mut id = [0; 32];
    for (index, bit) in bits.bytes().enumerate() {
        id[index / 8] |= u8::from(bit == b'1') << (7 - index % 8);
    }
    id[31] = number;
    DeviceId(id)
}

/// The buckets as the specification has them: lower limits, and connected nodes.
struct Oracle {
    own: DeviceId,
    buckets: Vec<(DeviceId, BTreeSet<DeviceId>)>,
}

impl Oracle {
    fn new(own: DeviceId) -> Self {
        Self { own, buckets: vec![(DeviceId([0; 32]), BTreeSet::new())] }
    }

    fn find(&self, id: &DeviceId) -> usize {
        self.buckets.iter().rposition(|(lower, _)| lower <= id).unwrap()
    }

    fn depth(&self, index: usize) -> usize {
        let lowest = |bucket: Option<&(DeviceId, BTreeSet<DeviceId>)>| {
            let set =
                |bit: &usize| bucket.is_some_and(|(lower, _)| lower.0[bit / 8] & (0x80 >> (bit % 8)) != 0);
            (0..256).rev().find(set).map_or(0, |bit| bit + 1)
        };
        lowest(self.buckets.get(index)).max(lowest(self.buckets.get(index + 1)))
    }

    fn split(&mut self, index: usize) {
        let depth = self.depth(index);
        let mut lower = self.buckets[index].0;
        lower.0[depth / 8] |= 0x80 >> (depth % 8);
        let upper = self.buckets[index].1.split_off(&lower);
        self.buckets.insert(index + 1, (lower, upper));
    }

    fn add_connected(&mut self, id: DeviceId) {
        let mut index = self.find(&id);
        if id == self.own || self.buckets[index].1.contains(&id) {
            return;
        }
        while self.buckets[index].1.len() == BUCKET_SIZE && self.find(&self.own) == index {
            self.split(index);
            index = self.find(&id);
        }
        self.buckets[index].1.insert(id);
    }
}

/// Ids of which many begin alike.
pub(super) fn any_id() -> impl Strategy<Value = DeviceId> {
    (0..20_usize, any::<[u8; 32]>()).prop_map(|(zeros, mut id)| {
        for bit in 0..zeros {
            id[bit / 8] &= !(0x80 >> (bit % 8));
        }
        DeviceId(id)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn buckets_are_those_of_the_specification(
        own in any_id(), ids in prop::collection::vec(any_id(), 1..80), asked in any_id()
    ) {
        let (mut table, mut oracle) = (RoutingTable::new(own), Oracle::new(own));
        for id in &ids {
            table.add_connected(*id);
            oracle.add_connected(*id);
        }
        prop_assert_eq!(table.bucket_count(), oracle.buckets.len());
        let beside = |bucket: usize| -> BTreeSet<DeviceId> {
            table.nodes().filter(|node| node.connected && node.bucket == bucket).map(|node| node.id).collect()
        };
        for id in ids.iter().chain([&asked]) {
            prop_assert_eq!(&beside(table.bucket_of(id)), &oracle.buckets[oracle.find(id)].1);
        }
    }

    #[test]
    fn the_closest_are_those_of_brute_force(
        own in any_id(), ids in prop::collection::vec(any_id(), 0..60), count in 0..20_usize, target in any_id()
    ) {
        let mut table = RoutingTable::new(own);
        ids.iter().for_each(|id| { table.add_connected(*id); });
        for target in ids.iter().take(3).chain([&target, &own]) {
            let distance = |id: &DeviceId| -> Vec<u8> { id.0.iter().zip(target.0).map(|(a, b)| a ^ b).collect() };
            let mut all: Vec<DeviceId> = ids.iter().filter(|id| *id != target && **id != own).copied().collect();
            all.sort_by_key(distance);
            all.dedup();
            all.truncate(count);
            prop_assert_eq!(table.closest(target, count), all);
        }
    }

    #[test]
    fn who_is_responsible_is_whom_brute_force_names(
        own in any_id(), ids in prop::collection::vec(any_id(), 0..12), mobile in any_id()
    ) {
        let mut table = RoutingTable::new(own);
        ids.iter().for_each(|id| { table.add_connected(*id); });
        let distance = |id: &DeviceId| -> Vec<u8> { id.0.iter().zip(mobile.0).map(|(a, b)| a ^ b).collect() };
        let closest = table.closest(&mobile, 2);
        let ours = closest.len() < 2 || distance(&own) < distance(&closest[1]);
        prop_assert_eq!(table.is_responsible(&mobile), ours);
    }

    #[test]
    fn a_node_is_connected_or_in_other_sets_and_the_own_id_in_none(
        own in any_id(), ids in prop::collection::vec(any_id(), 1..8),
        steps in prop::collection::vec((0..9_usize, 0..9_usize), 0..200)
    ) {
        let mut table = RoutingTable::new(own);
        for (step, which) in steps {
            let id = ids.get(which).copied().unwrap_or(own);
            match step {
                0 => { table.add_known(id); }
                1 => { table.add_mobile(id); }
                2 => { table.add_connecting(id); }
                3 | 4 => { table.add_connected(id); }
                5 => table.remove_connected(&id, true, NOW),
                6 => { table.dial_failed(&id, NOW); }
                7 => { table.mark_mobile(&id); }
                _ => table.remove_mobile(&id),
            }
            for node in table.nodes() {
                prop_assert!(node.id != own);
                prop_assert!(node.connected || node.known || node.connecting || node.mobile);
                prop_assert!(!(node.connected && (node.known || node.connecting)));
            }
        }
    }
}

#[test]
fn a_bucket_splits_for_a_third_node_only_if_it_holds_the_own_id() {
    let mut table = RoutingTable::new(id("0", 0));
    assert!(table.add_connected(id("10", 1)) && table.add_connected(id("11", 2)));
    assert_eq!(table.bucket_count(), 1);
    assert!(table.add_connected(id("101", 3)));
    assert_eq!((table.bucket_count(), table.bucket_of(&id("101", 3))), (2, 0));
    assert!(table.add_connected(id("111", 4)), "a full foreign bucket takes more");
    assert_eq!(table.bucket_count(), 2);
    assert!(!table.add_connected(id("111", 4)));
}

#[test]
fn a_split_puts_nodes_of_all_sets_on_their_side() {
    let mut table = RoutingTable::new(id("0", 0));
    for (place, half) in ["0", "1"].into_iter().enumerate() {
        let number = u8::try_from(place).unwrap() * 10;
        table.add_known(id(half, number + 1));
        table.add_mobile(id(half, number + 2));
        table.add_connecting(id(half, number + 3));
    }
    for number in 4..7 {
        table.add_connected(id("1", number));
    }
    assert_eq!(table.bucket_count(), 2);
    for node in table.nodes() {
        assert_eq!(node.bucket, usize::from(node.id.0[0] & 0x80 == 0), "{node:?}");
    }
    assert_eq!(table.mobile_beside(&id("01", 99)).collect::<Vec<_>>(), [id("0", 2)]);
    assert_eq!(table.mobile_beside(&id("11", 99)).collect::<Vec<_>>(), [id("1", 12)]);
}

#[test]
fn a_failed_dial_returns_a_node_to_known_and_a_mobile_one_to_mobile() {
    let mut table = RoutingTable::new(id("0", 0));
    let (plain, mobile) = (id("1", 1), id("1", 2));
    table.add_known(plain);
    table.add_mobile(mobile);
    assert!(table.add_connecting(plain) && table.add_connecting(mobile));
    assert!(!table.add_connecting(plain), "asked for once");
    assert!(table.dial_failed(&plain, NOW) && table.dial_failed(&mobile, NOW));
    assert!(!table.dial_failed(&plain, NOW));
    let sets: Vec<_> = table.nodes().map(|node| (node.known, node.connecting, node.mobile)).collect();
    assert_eq!(sets, [(true, false, false), (false, false, true)]);
}

#[test]
fn a_disconnected_node_becomes_mobile_if_it_said_so_else_known() {
    let mut table = RoutingTable::new(id("0", 0));
    for number in [1, 2] {
        table.add_connected(id("1", number));
    }
    assert!(table.mark_mobile(&id("1", 2)) && !table.mark_mobile(&id("1", 3)));
    assert!(!table.add_mobile(id("1", 1)) && !table.add_known(id("1", 1)), "connected nodes do not move");
    for number in [1, 2] {
        table.remove_connected(&id("1", number), true, NOW);
    }
    let sets: Vec<_> = table.nodes().map(|node| (node.known, node.mobile)).collect();
    assert_eq!(sets, [(true, false), (false, true)]);
    assert!(table.add_known(id("1", 2)), "heard of as connected elsewhere, it is known as well");
}

#[test]
fn a_flood_of_ids_stays_within_bounds_and_displaces_only_those_that_failed() {
    let mut table = RoutingTable::new(id("0", 0));
    let numbered = |number: usize| {
        let mut id = id("1", 0);
        id.0[20..28].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        id
    };
    assert_eq!((0..10_000).filter(|number| table.add_known(numbered(*number))).count(), MAX_KNOWN_PER_BUCKET);
    table.add_connecting(numbered(5));
    table.dial_failed(&numbered(5), NOW);
    assert!(table.add_known(numbered(20_000)));
    assert!(!table.add_known(numbered(20_001)));
    let ids: Vec<DeviceId> = table.nodes().map(|node| node.id).collect();
    assert!(!ids.contains(&numbered(5)) && ids.contains(&numbered(4)) && ids.contains(&numbered(20_000)));
    assert!(table.memory() <= 2 * MAX_KNOWN_PER_BUCKET * 40, "{}", table.memory());
}
