//! The keys this node listens at, and the nodes that tell it (`spec: dht 6.2`).
//!
//! The four closest nodes of each network are asked, and again every 20 s; each tells of changes by
//! updates that name the number it was given. This node tells itself of what it keeps. What they all
//! say is compared by [`Subscriptions`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::nodes::NodeKey;
use super::operation::{Event, OperationId, Rejected};
use super::packet::{Change, SocketId};
use super::random::Randomness;
use crate::dht::subscriptions::{SubscriptionEvent, Subscriptions};
use crate::dht::value::{Fingerprint, Value};
use crate::ids::DhtKey;
use crate::time::Moment;

/// Nodes of each network that are asked to tell of a key.
pub(super) const LISTENED: usize = 4;

/// A node that was asked to tell.
#[derive(Clone, Copy, Debug)]
struct Place {
    socket: SocketId,
    /// Whether an answer to a request is awaited.
    asked: bool,
}

/// All keys listened at.
#[derive(Debug)]
pub(super) struct Listening {
    own: NodeKey,
    subscriptions: Subscriptions<NodeKey>,
    operations: BTreeMap<DhtKey, BTreeSet<OperationId>>,
    keys: BTreeMap<OperationId, DhtKey>,
    places: BTreeMap<(DhtKey, NodeKey), Place>,
    sockets: BTreeMap<(NodeKey, SocketId), DhtKey>,
}

impl Listening {
    /// Nothing listened at. `own` is this node, in any family.
    #[must_use]
    pub(super) fn new(own: NodeKey) -> Self {
        Self {
            own,
            subscriptions: Subscriptions::default(),
            operations: BTreeMap::new(),
            keys: BTreeMap::new(),
            places: BTreeMap::new(),
            sockets: BTreeMap::new(),
        }
    }

    /// Starts to listen. Returns whether it is the first at its key: a further one has missed what the
    /// first was told.
    ///
    /// # Errors
    /// [`Rejected::Subscriptions`].
    pub(super) fn listen(
        &mut self,
        now: Moment,
        operation: OperationId,
        key: DhtKey,
    ) -> Result<bool, Rejected> {
        if self.keys.len() >= crate::dht::subscriptions::MAX_SUBSCRIPTIONS {
            return Err(crate::dht::subscriptions::TooManySubscriptions.into());
        }
        self.subscriptions.subscribe(key)?;
        self.subscriptions.answered(now, key, self.own);
        self.keys.insert(operation, key);
        let operations = self.operations.entry(key).or_default();
        operations.insert(operation);
        Ok(operations.len() == 1)
    }

    /// Stops to listen. Other nodes are not told: they forget us in time.
    pub(super) fn cancel(&mut self, operation: OperationId) {
        let Some(key) = self.keys.remove(&operation) else { return };
        let Some(operations) = self.operations.get_mut(&key) else { return };
        operations.remove(&operation);
        if operations.is_empty() {
            self.operations.remove(&key);
            self.subscriptions.cancel(key);
            self.nodes(key).into_iter().for_each(|node| self.forget(key, node));
        }
    }

    /// Whether `key` is listened at.
    #[must_use]
    pub(super) fn is_at(&self, key: DhtKey) -> bool {
        self.operations.contains_key(&key)
    }

    /// The listeners at `key`.
    #[must_use]
    pub(super) fn at(&self, key: DhtKey) -> Vec<OperationId> {
        self.operations.get(&key).into_iter().flatten().copied().collect()
    }

    /// The nodes to ask now, given the closest that are ready, and what each is to call its updates.
    /// They count as asked from here on. If `settled`, nodes of the same network that are not among the
    /// closest any more are left.
    pub(super) fn ask(
        &mut self,
        key: DhtKey,
        closest: &[NodeKey],
        settled: bool,
        random: &mut Randomness,
    ) -> Vec<(NodeKey, SocketId)> {
        let Some(family) = closest.first().map(|node| node.family).filter(|_| self.is_at(key)) else {
            return Vec::new();
        };
        if settled {
            let left = self.nodes(key).into_iter();
            let left = left.filter(|node| node.family == family && !closest.contains(node));
            left.for_each(|node| self.lost(key, node));
        }
        let mut asked = Vec::new();
        for node in closest {
            if self.places.contains_key(&(key, *node)) {
                continue;
            }
            let socket = SocketId(random.non_zero());
            self.places.insert((key, *node), Place { socket, asked: true });
            self.sockets.insert((*node, socket), key);
            asked.push((*node, socket));
        }
        asked
    }

    /// The nodes that are to be asked again, because they forget us in time.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(DhtKey, NodeKey, SocketId)> {
        let mut due = Vec::new();
        for (key, node) in self.subscriptions.due(now) {
            let Some(place) = self.places.get_mut(&(key, node)).filter(|place| !place.asked) else {
                continue;
            };
            place.asked = true;
            due.push((key, node, place.socket));
        }
        due
    }

    /// Notes that a node tells of `key` from now on.
    pub(super) fn answered(&mut self, now: Moment, key: DhtKey, node: NodeKey) {
        if let Some(place) = self.places.get_mut(&(key, node)) {
            place.asked = false;
            self.subscriptions.answered(now, key, node);
        }
    }

    /// Notes that a node tells nothing of `key` any more. What it told stays known until it would
    /// expire.
    pub(super) fn lost(&mut self, key: DhtKey, node: NodeKey) {
        self.subscriptions.lost(key, &node);
        self.forget(key, node);
    }

    /// Notes that a request to a node could not be sent now: it is sent again at the next occasion.
    pub(super) fn postponed(&mut self, key: DhtKey, node: NodeKey) {
        match self.places.get_mut(&(key, node)) {
            Some(place) if self.subscriptions.nodes(key).any(|known| *known == node) => place.asked = false,
            _ => self.forget(key, node),
        }
    }

    /// Lets all nodes be asked anew, as after this machine got another network.
    pub(super) fn restart(&mut self) {
        let places: Vec<_> = self.places.keys().copied().collect();
        places.into_iter().for_each(|(key, node)| self.lost(key, node));
    }

    /// The key that an update from `node` is about, if it was asked for.
    #[must_use]
    pub(super) fn key_of(&self, node: NodeKey, socket: SocketId) -> Option<DhtKey> {
        self.sockets.get(&(node, socket)).copied()
    }

    /// Whether a value is known to be at `key`, so that its signature has been checked.
    #[must_use]
    pub(super) fn knows(&self, key: DhtKey, fingerprint: &Fingerprint) -> bool {
        self.subscriptions.knows(key, fingerprint)
    }

    /// Takes in what `node`, or this node itself, says about `key`. Values must have been admitted.
    pub(super) fn told(&mut self, now: Moment, key: DhtKey, node: NodeKey, change: Change) -> Vec<Event> {
        if node != self.own && self.places.contains_key(&(key, node)) {
            // An update says as well as an answer that the node has taken our request.
            self.subscriptions.answered(now, key, node);
        }
        let events = match change {
            Change::Values(values) => {
                let values = values.into_iter().map(Arc::unwrap_or_clone);
                self.subscriptions.found(now, key, &node, values)
            }
            Change::Refreshed(ids) => {
                self.subscriptions.refreshed(now, key, &node, &ids);
                Vec::new()
            }
            Change::Expired(ids) => self.subscriptions.expired(key, &node, &ids),
        };
        self.events(events)
    }

    /// Tells of values that nobody has confirmed for so long that they are gone.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<Event> {
        let events = self.subscriptions.expire(now);
        self.events(events)
    }

    /// When something is to be done.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.subscriptions.next_deadline()
    }

    /// This node, as one that tells.
    #[must_use]
    pub(super) const fn own(&self) -> NodeKey {
        self.own
    }

    /// The keys listened at.
    pub(super) fn keys(&self) -> impl Iterator<Item = DhtKey> {
        self.operations.keys().copied()
    }

    /// Number of keys listened at.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    fn nodes(&self, key: DhtKey) -> Vec<NodeKey> {
        let first = NodeKey { family: super::nodes::Family::V4, id: crate::ids::NodeId([0; 20]) };
        let places = self.places.range((key, first)..).take_while(|((at, _), _)| *at == key);
        places.map(|((_, node), _)| *node).collect()
    }

    fn forget(&mut self, key: DhtKey, node: NodeKey) {
        if let Some(place) = self.places.remove(&(key, node)) {
            self.sockets.remove(&(node, place.socket));
        }
    }

    fn events(&self, events: Vec<SubscriptionEvent>) -> Vec<Event> {
        let mut found: BTreeMap<DhtKey, Vec<Arc<Value>>> = BTreeMap::new();
        let mut expired: BTreeMap<DhtKey, Vec<Fingerprint>> = BTreeMap::new();
        for event in events {
            match event {
                SubscriptionEvent::Found { key, value } => found.entry(key).or_default().push(value),
                SubscriptionEvent::Expired { key, fingerprint } => {
                    expired.entry(key).or_default().push(fingerprint);
                }
            }
        }
        let mut told = Vec::new();
        for (key, values) in found {
            let events = self.at(key).into_iter();
            told.extend(events.map(|operation| Event::Values { operation, values: values.clone() }));
        }
        // The edition before is gone only after the new one is known.
        for (key, fingerprints) in expired {
            let events = self.at(key).into_iter();
            told.extend(
                events.map(|operation| Event::Expired { operation, fingerprints: fingerprints.clone() }),
            );
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, key, node};
    use super::*;
    use crate::dht::content::Content;
    use crate::dht::value::ValueId;

    const LISTENER: OperationId = OperationId(1);

    fn listening() -> (Listening, Randomness) {
        let mut listening = Listening::new(node(99));
        assert_eq!(listening.listen(at(0), LISTENER, key()), Ok(true));
        (listening, Randomness::from_seed([1; 32]))
    }

    fn values(ids: &[u64]) -> Change {
        let value = |id: &u64| Arc::new(Value::plain(ValueId(*id), Content::new(0, vec![1])));
        Change::Values(ids.iter().map(value).collect())
    }

    fn found(events: &[Event]) -> usize {
        events
            .iter()
            .map(|event| if let Event::Values { values, .. } = event { values.len() } else { 0 })
            .sum()
    }

    #[test]
    fn nodes_are_asked_once_and_again_after_twenty_seconds() {
        let (mut listening, mut random) = listening();
        let asked = listening.ask(key(), &[node(1), node(2)], false, &mut random);
        assert_eq!(asked.len(), 2);
        assert!(listening.ask(key(), &[node(1), node(2)], false, &mut random).is_empty());
        asked.iter().for_each(|(node, _)| listening.answered(at(0), key(), *node));
        assert_eq!(listening.due(at(19)).len(), 0);
        let due = listening.due(at(20));
        assert_eq!(due.iter().map(|(_, node, socket)| (*node, *socket)).collect::<Vec<_>>(), asked);
        assert!(listening.due(at(40)).is_empty(), "no second request while the first is under way");
    }

    #[test]
    fn nodes_that_are_not_among_the_closest_any_more_are_left_once_that_is_sure() {
        let (mut listening, mut random) = listening();
        let asked = listening.ask(key(), &[node(1), node(2)], true, &mut random);
        listening.ask(key(), &[node(2), node(3)], false, &mut random);
        assert_eq!(listening.key_of(node(1), asked[0].1), Some(key()));
        listening.ask(key(), &[node(2), node(3)], true, &mut random);
        assert_eq!(listening.key_of(node(1), asked[0].1), None);
        assert_eq!(listening.key_of(node(2), asked[1].1), Some(key()));
    }

    #[test]
    fn an_update_that_overtakes_the_answer_counts_and_a_stranger_is_not_heard() {
        let (mut listening, mut random) = listening();
        listening.ask(key(), &[node(1), node(2)], false, &mut random);
        assert_eq!(found(&listening.told(at(0), key(), node(1), values(&[1]))), 1);
        assert_eq!(found(&listening.told(at(0), key(), node(2), values(&[1, 2]))), 1);
        assert_eq!(found(&listening.told(at(0), key(), node(7), values(&[3]))), 0);
        let own = listening.own();
        assert_eq!(found(&listening.told(at(0), key(), own, values(&[4]))), 1);
    }

    #[test]
    fn everybody_who_listens_is_told_and_nobody_after_the_end() {
        let (mut listening, mut random) = listening();
        assert_eq!(listening.listen(at(0), OperationId(2), key()), Ok(false));
        let asked = listening.ask(key(), &[node(1)], false, &mut random);
        assert_eq!(listening.told(at(0), key(), node(1), values(&[1])).len(), 2);
        listening.cancel(LISTENER);
        assert_eq!(listening.told(at(0), key(), node(1), values(&[2])).len(), 1);
        listening.cancel(OperationId(2));
        assert_eq!(listening.told(at(0), key(), node(1), values(&[3])), []);
        assert_eq!(listening.key_of(node(1), asked[0].1), None);
        assert!(listening.places.is_empty() && listening.sockets.is_empty() && listening.len() == 0);
    }
}
