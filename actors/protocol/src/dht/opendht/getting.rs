//! Gets: first which values the closest nodes have, then the values (`spec: dht 6`).
//!
//! Every node lists the ids it has. Each value is fetched from the first two nodes that list it, and
//! from all of them as soon as two contents differ or one is wrong: a node that makes up a value under
//! a known id hides nothing. Of what all nodes list and hand out, each has a share, so that one with much
//! to say leaves room for the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::nodes::NodeKey;
use super::operation::{Event, Failure, Found, MAX_GETS, OperationId, Rejected};
use super::publishing::{Progress, is_complete, is_unreachable};
use crate::dht::edition;
use crate::dht::filter::Filter;
use crate::dht::subscriptions::VALUES_PER_NODE;
use crate::dht::value::{Fingerprint, Value, ValueId};
use crate::ids::DhtKey;
use crate::time::Moment;

/// How long a get may take before what it has found is told in any case.
pub(super) const GET_PATIENCE: Duration = Duration::from_secs(20);

/// From how many nodes each value is fetched, as long as they agree.
const COPIES: usize = 2;

/// Values of one get; the reference keeps as many for a listening.
pub(super) const MAX_FOUND: usize = 4096;

/// Bytes of the values of one get.
pub(super) const MAX_FOUND_BYTES: usize = 16 << 20;

/// Of [`MAX_FOUND`], the ids that one node may list, and the values that nobody handed out before it: as
/// many as for a listening.
const SHARE: usize = VALUES_PER_NODE;

/// Of [`MAX_FOUND_BYTES`], those of values that nobody handed out before one node.
const SHARED_BYTES: usize = MAX_FOUND_BYTES / 4;

/// Values fetched from a node at a time: each may come in fifty datagrams.
const FETCHED_AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Asked,
    Answered,
    Failed,
}

/// A value that nodes list.
#[derive(Debug, Default)]
struct Listed {
    /// Nodes that list it and were not asked for it.
    holders: Vec<NodeKey>,
    asked: BTreeSet<NodeKey>,
    copies: usize,
    contents: BTreeSet<Fingerprint>,
}

impl Listed {
    /// How many more nodes are to be asked for it.
    fn missing(&self) -> usize {
        let copies = if self.contents.len() > 1 { usize::MAX } else { COPIES };
        copies.saturating_sub(self.copies).saturating_sub(self.asked.len())
    }
}

/// A value that was handed out.
#[derive(Debug)]
struct Copies {
    value: Arc<Value>,
    /// Nodes that handed it out; `None` is this one.
    nodes: BTreeSet<Option<NodeKey>>,
}

/// How much a node was the first to hand out.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    values: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Get {
    key: DhtKey,
    filter: Filter,
    started: Moment,
    deadline: Moment,
    places: BTreeMap<NodeKey, Place>,
    listed: BTreeMap<ValueId, Listed>,
    values: BTreeMap<Fingerprint, Copies>,
    bytes: usize,
    shares: BTreeMap<NodeKey, Share>,
}

impl Get {
    /// Takes in a value that `node`, or without one this node itself, hands out.
    fn take(&mut self, node: Option<NodeKey>, value: Arc<Value>) {
        if !self.filter.matches(&value) {
            return;
        }
        let fingerprint = value.fingerprint();
        if let Some(copies) = self.values.get_mut(&fingerprint) {
            copies.nodes.insert(node);
            return;
        }
        let bytes = self.bytes.saturating_add(value.size());
        if self.values.len() >= MAX_FOUND || bytes > MAX_FOUND_BYTES {
            return;
        }
        if let Some(node) = node {
            let share = self.shares.entry(node).or_default();
            let bytes = share.bytes.saturating_add(value.size());
            if share.values >= SHARE || bytes > SHARED_BYTES {
                return;
            }
            *share = Share { values: share.values + 1, bytes };
        }
        self.bytes = bytes;
        self.values.insert(fingerprint, Copies { value, nodes: BTreeSet::from([node]) });
    }

    /// What was handed out, without the editions that were replaced.
    fn found(self) -> Vec<Arc<Value>> {
        let values = self.values.into_values();
        edition::latest(values.map(|Copies { value, nodes }| (value, nodes.len())).collect())
    }
}

/// The gets under way.
#[derive(Debug, Default)]
pub(super) struct Getting {
    gets: BTreeMap<OperationId, Get>,
}

impl Getting {
    /// Starts a get; `own` are the values that this node keeps itself.
    ///
    /// # Errors
    /// [`Rejected::Gets`].
    pub(super) fn start(
        &mut self,
        now: Moment,
        operation: OperationId,
        key: DhtKey,
        filter: Filter,
        own: impl IntoIterator<Item = Arc<Value>>,
    ) -> Result<(), Rejected> {
        if self.gets.len() >= MAX_GETS {
            return Err(Rejected::Gets);
        }
        let mut get = Get {
            key,
            filter,
            started: now,
            deadline: now.plus(GET_PATIENCE),
            places: BTreeMap::new(),
            listed: BTreeMap::new(),
            values: BTreeMap::new(),
            bytes: 0,
            shares: BTreeMap::new(),
        };
        own.into_iter().for_each(|value| get.take(None, value));
        self.gets.insert(operation, get);
        Ok(())
    }

    /// Ends a get without an outcome.
    pub(super) fn cancel(&mut self, operation: OperationId) {
        self.gets.remove(&operation);
    }

    /// The gets at `key`.
    #[must_use]
    pub(super) fn at(&self, key: DhtKey) -> Vec<OperationId> {
        self.gets.iter().filter(|(_, get)| get.key == key).map(|(operation, _)| *operation).collect()
    }

    /// The conditions of a get.
    #[must_use]
    pub(super) fn filter(&self, operation: OperationId) -> Filter {
        self.gets.get(&operation).map(|get| get.filter.clone()).unwrap_or_default()
    }

    /// Whether `node` is to be asked for the ids it has. It counts as asked from here on.
    pub(super) fn ask(&mut self, operation: OperationId, node: NodeKey) -> bool {
        let Some(get) = self.gets.get_mut(&operation) else { return false };
        let new = !get.places.contains_key(&node);
        if new {
            get.places.insert(node, Place::Asked);
        }
        new
    }

    /// Notes which values a node has, and which of them it handed out at once.
    pub(super) fn listed(
        &mut self,
        operation: OperationId,
        node: NodeKey,
        ids: impl IntoIterator<Item = ValueId>,
        values: Vec<Arc<Value>>,
    ) {
        let Some(get) = self.gets.get_mut(&operation) else { return };
        get.places.insert(node, Place::Answered);
        let wanted = get.filter.id;
        let ids: BTreeSet<ValueId> =
            ids.into_iter().filter(|id| wanted.is_none_or(|wanted| wanted == *id)).take(SHARE).collect();
        for id in ids {
            if get.listed.len() < MAX_FOUND || get.listed.contains_key(&id) {
                get.listed.entry(id).or_default().holders.push(node);
            }
        }
        values.into_iter().for_each(|value| get.take(Some(node), value));
    }

    /// The values to fetch now, and from which nodes. They count as asked from here on.
    pub(super) fn fetch(&mut self, operation: OperationId) -> Vec<(NodeKey, ValueId)> {
        let Some(get) = self.gets.get_mut(&operation) else { return Vec::new() };
        let mut busy: BTreeMap<NodeKey, usize> = BTreeMap::new();
        for node in get.listed.values().flat_map(|listed| &listed.asked) {
            *busy.entry(*node).or_default() += 1;
        }
        let mut fetches = Vec::new();
        for (id, listed) in &mut get.listed {
            let mut missing = listed.missing();
            listed.holders.retain(|node| {
                let load = busy.entry(*node).or_default();
                let ask = missing > 0 && *load < FETCHED_AT_ONCE;
                if ask {
                    (missing, *load) = (missing - 1, *load + 1);
                    listed.asked.insert(*node);
                    fetches.push((*node, *id));
                }
                !ask
            });
        }
        fetches
    }

    /// Notes what a node handed out when it was asked for a value; nothing if it did not answer.
    pub(super) fn fetched(
        &mut self,
        operation: OperationId,
        node: NodeKey,
        id: ValueId,
        values: Vec<Arc<Value>>,
    ) {
        let Some(get) = self.gets.get_mut(&operation) else { return };
        let Some(listed) = get.listed.get_mut(&id) else { return };
        listed.asked.remove(&node);
        let values: Vec<_> = values.into_iter().filter(|value| value.id == id).collect();
        listed.copies += usize::from(!values.is_empty());
        listed.contents.extend(values.iter().map(|value| value.fingerprint()));
        values.into_iter().for_each(|value| get.take(Some(node), value));
    }

    /// Notes that a node did not list what it has.
    pub(super) fn failed(&mut self, operation: OperationId, node: NodeKey) {
        if let Some(get) = self.gets.get_mut(&operation) {
            get.places.insert(node, Place::Failed);
        }
    }

    /// The outcome of a get, if it has one by now. `is_slow` tells of nodes that are not waited for.
    pub(super) fn settle(
        &mut self,
        now: Moment,
        operation: OperationId,
        progress: &[Progress],
        is_slow: impl Fn(NodeKey) -> bool,
    ) -> Option<Event> {
        let get = self.gets.get(&operation)?;
        let asked = progress.iter().map(|family| family.asked).sum::<usize>();
        let listed = |node: &NodeKey| matches!(get.places.get(node), Some(Place::Answered | Place::Failed));
        let complete = is_complete(progress, listed)
            && get.listed.values().all(|listed| {
                listed.asked.iter().all(|node| is_slow(*node) && listed.copies > 0)
                    && (listed.missing() == 0 || listed.holders.is_empty())
            });
        if !complete && !is_unreachable(progress) && get.deadline > now {
            return None;
        }
        let get = self.gets.remove(&operation)?;
        let answered = get.places.values().filter(|place| **place == Place::Answered).count();
        let result = match (answered, asked) {
            (0, 0) if get.values.is_empty() => Err(Failure::Alone { waited: now.since(get.started) }),
            (0, asked) if get.values.is_empty() => Err(Failure::NoAnswer { asked }),
            _ => Ok(Found { values: get.found(), answered }),
        };
        Some(Event::Got { operation, result })
    }

    /// The keys of the gets that take too long.
    #[must_use]
    pub(super) fn overdue(&self, now: Moment) -> Vec<DhtKey> {
        self.gets.values().filter(|get| get.deadline <= now).map(|get| get.key).collect()
    }

    /// The keys of all gets.
    pub(super) fn keys(&self) -> BTreeSet<DhtKey> {
        self.gets.values().map(|get| get.key).collect()
    }

    /// When a get takes too long.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.gets.values().map(|get| get.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, node};
    use super::*;
    use crate::dht::content::Content;

    const GET: OperationId = OperationId(1);
    const ONE: ValueId = ValueId(1);

    fn value(id: u64, data: &[u8]) -> Arc<Value> {
        Arc::new(Value::plain(ValueId(id), Content::new(0, data.to_vec())))
    }

    /// A get that has asked five nodes.
    fn started(own: Vec<Arc<Value>>) -> Getting {
        let mut getting = Getting::default();
        getting.start(at(0), GET, DhtKey([1; 20]), Filter::default(), own).unwrap();
        for number in 1..=5 {
            assert!(getting.ask(GET, node(number)));
            assert!(!getting.ask(GET, node(number)));
        }
        getting
    }

    fn settled(getting: &mut Getting, now: Moment) -> Option<Result<Vec<Vec<u8>>, Failure>> {
        let closest: Vec<NodeKey> = (1..=5).map(node).collect();
        let progress = [Progress { closest, synced: true, alive: true, asked: 5 }];
        match getting.settle(now, GET, &progress, |_| false)? {
            Event::Got { result, .. } => Some(result.map(|found| {
                found.values.iter().map(|value| value.content().unwrap().data.clone()).collect()
            })),
            event => panic!("{event:?}"),
        }
    }

    #[test]
    fn each_value_is_fetched_from_two_nodes_that_list_it() {
        let mut getting = started(Vec::new());
        for number in 1..=5 {
            assert_eq!(settled(&mut getting, at(1)), None);
            getting.listed(GET, node(number), [ONE], Vec::new());
        }
        assert_eq!(getting.fetch(GET), [(node(1), ONE), (node(2), ONE)]);
        assert_eq!(getting.fetch(GET), []);
        for number in [1, 2] {
            assert_eq!(settled(&mut getting, at(1)), None);
            getting.fetched(GET, node(number), ONE, vec![value(1, b"x")]);
        }
        assert_eq!(settled(&mut getting, at(1)), Some(Ok(vec![b"x".to_vec()])));
        assert!(getting.keys().is_empty());
    }

    #[test]
    fn when_two_contents_differ_all_nodes_are_asked() {
        let mut getting = started(Vec::new());
        for number in 1..=5 {
            getting.listed(GET, node(number), [ONE], Vec::new());
        }
        getting.fetch(GET);
        getting.fetched(GET, node(1), ONE, vec![value(1, b"forged")]);
        getting.fetched(GET, node(2), ONE, vec![value(1, b"true")]);
        assert_eq!(getting.fetch(GET).len(), 3);
        for number in 3..=5 {
            getting.fetched(GET, node(number), ONE, vec![value(1, b"true")]);
        }
        assert_eq!(settled(&mut getting, at(1)).unwrap().unwrap().len(), 2);
    }

    #[test]
    fn the_next_node_is_asked_for_a_value_that_another_did_not_hand_out() {
        let mut getting = started(Vec::new());
        for number in 1..=5 {
            getting.listed(GET, node(number), (number <= 3).then_some(ONE), Vec::new());
        }
        getting.fetch(GET);
        getting.fetched(GET, node(1), ONE, Vec::new());
        getting.fetched(GET, node(2), ONE, vec![value(9, b"another one")]);
        assert_eq!(getting.fetch(GET), [(node(3), ONE)]);
        getting.fetched(GET, node(3), ONE, vec![value(1, b"x")]);
        assert_eq!(settled(&mut getting, at(1)), Some(Ok(vec![b"x".to_vec()])));
    }

    #[test]
    fn a_get_ends_in_time_with_what_it_has() {
        let mut getting = started(vec![value(7, b"own")]);
        getting.listed(GET, node(1), [], vec![value(8, b"at once")]);
        assert_eq!(settled(&mut getting, at(19)), None);
        assert_eq!(getting.next_deadline(), Some(at(20)));
        assert_eq!(settled(&mut getting, at(20)), Some(Ok(vec![b"own".to_vec(), b"at once".to_vec()])));
        let mut getting = started(Vec::new());
        assert_eq!(settled(&mut getting, at(20)), Some(Err(Failure::NoAnswer { asked: 5 })));
    }

    #[test]
    fn a_node_that_lists_and_hands_out_a_flood_leaves_room_for_what_others_have() {
        let mut getting = started(Vec::new());
        getting.listed(GET, node(1), (1..100_000).map(ValueId), Vec::new());
        assert_eq!(getting.gets[&GET].listed.len(), SHARE);
        assert_eq!(getting.fetch(GET).len(), FETCHED_AT_ONCE);
        let rare = ValueId(200_000);
        for number in 2..=5 {
            getting.listed(GET, node(number), [rare], Vec::new());
        }
        assert_eq!(getting.fetch(GET), [(node(2), rare), (node(3), rare)]);
        for (flood, taken) in [(vec![0; 60_000], SHARED_BYTES / 60_000), (vec![0], SHARE)] {
            let mut getting = started(Vec::new());
            let values = (0..SHARE as u64 + 9).map(|id| value(id, &flood)).collect();
            getting.listed(GET, node(1), [], values);
            assert_eq!(getting.gets[&GET].values.len(), taken);
            getting.listed(GET, node(2), [rare], Vec::new());
            getting.fetched(GET, node(2), rare, vec![value(rare.0, b"true")]);
            assert_eq!(getting.gets[&GET].values.len(), taken + 1);
        }
    }

    #[test]
    fn what_all_nodes_list_and_hand_out_together_is_bounded() {
        let mut getting = started(Vec::new());
        for number in 1..=20 {
            let id = |place: u64| u64::from(number) * 1000 + place;
            let values = (1..60).map(|place| value(id(place), &[0; 60_000])).collect();
            getting.listed(GET, node(number), (1..1000).map(|place| ValueId(id(place))), values);
        }
        assert_eq!(getting.gets[&GET].listed.len(), MAX_FOUND);
        assert_eq!(getting.gets[&GET].values.len(), MAX_FOUND_BYTES / 60_000);
        for number in 2..2 + MAX_GETS as u64 - 1 {
            let operation = OperationId(number);
            getting.start(at(0), operation, DhtKey([1; 20]), Filter::default(), []).unwrap();
        }
        let refused = getting.start(at(0), OperationId(9999), DhtKey([1; 20]), Filter::default(), []);
        assert_eq!(refused, Err(Rejected::Gets));
    }
}
