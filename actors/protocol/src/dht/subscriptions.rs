//! The keys a node listens at, and what it knows to be there (`spec: dht 6.2`).
//!
//! Several nodes store the same key, and each tells of its values. A value is news when the first
//! node tells of it, and gone when the last node that held it said so or fell silent for the life of
//! the value. Values are recognised by [`Fingerprint`]: a node that hands out another content under
//! a known id hides nothing.
//!
//! A signature covers neither the id of a value nor its key. So a node can show what an owner signed
//! elsewhere as a later edition of this value, and a later edition alone is no reason to hide one. Only
//! what was told before, has been replaced since, and is outdated for two nodes is a replay.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::dht::edition::Edition;
use crate::dht::value::{Fingerprint, Value, ValueId};
use crate::ids::DhtKey;
use crate::time::Moment;

/// After how long a listen request is repeated in OpenDHT's network: storing nodes of the reference
/// forget soon.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(20);

/// Nodes listened to at one key. The reference takes the 4 closest over IPv4 and as many over IPv6;
/// this node is one more, and the rest leaves room while the set changes.
pub const NODES_PER_KEY: usize = 12;

/// Nodes remembered at one key, with those no longer listened to whose values have not expired.
const REMEMBERED_PER_KEY: usize = 4 * NODES_PER_KEY;

/// Values remembered per key and node; with the 8 nodes of the reference its 4,096 per key.
/// When there are more, the oldest of that node counts as gone.
pub const VALUES_PER_NODE: usize = 512;

/// Editions remembered per key as told and replaced; the oldest are forgotten, and would be told again.
const REPLACED_PER_KEY: usize = 32;

/// Nodes that must have a later edition before one that was replaced is taken for a replay: one alone
/// may have made it of what the owner signed elsewhere.
const CONFIRMATIONS: usize = 2;

/// Keys listened at: one per contact and a few per account.
pub const MAX_SUBSCRIPTIONS: usize = 16_384;

/// What is news at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// A value that was not known to be there.
    Found {
        /// Where.
        key: DhtKey,
        /// The value, as it was admitted.
        value: Arc<Value>,
    },
    /// A value that no node has any more.
    Expired {
        /// Where.
        key: DhtKey,
        /// Which.
        fingerprint: Fingerprint,
    },
}

/// Too many keys are listened at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node listens at {MAX_SUBSCRIPTIONS} keys already: remove contacts or accounts")]
pub struct TooManySubscriptions;

#[derive(Debug)]
struct Seen<P> {
    lifetime: Duration,
    edition: Option<Edition>,
    /// Nodes that have it, and until when.
    holders: BTreeMap<P, Moment>,
}

#[derive(Debug)]
struct Node {
    renew: Option<Moment>,
    /// The values it has, by the order in which it told of them.
    values: BTreeMap<u64, Fingerprint>,
}

#[derive(Debug)]
struct Subscription<P> {
    nodes: BTreeMap<P, Node>,
    values: BTreeMap<Fingerprint, Seen<P>>,
    /// What was told, and is gone because later editions took its place; the oldest first.
    replaced: VecDeque<Fingerprint>,
}

impl<P> Default for Subscription<P> {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), values: BTreeMap::new(), replaced: VecDeque::new() }
    }
}

/// The keys listened at. `P` names nodes.
#[derive(Debug)]
pub struct Subscriptions<P> {
    renewal: Duration,
    keys: BTreeMap<DhtKey, Subscription<P>>,
    renewals: BTreeSet<(Moment, DhtKey, P)>,
    expiries: BTreeSet<(Moment, DhtKey, Fingerprint, P)>,
    /// Numbers the values in the order in which they are told of.
    count: u64,
}

impl<P> Default for Subscriptions<P> {
    fn default() -> Self {
        Self::renewed_every(RENEW_INTERVAL)
    }
}

impl<P> Subscriptions<P> {
    /// No subscriptions; the nodes listened to must hear of each again within `renewal`.
    #[must_use]
    pub fn renewed_every(renewal: Duration) -> Self {
        Self {
            renewal,
            keys: BTreeMap::new(),
            renewals: BTreeSet::new(),
            expiries: BTreeSet::new(),
            count: 0,
        }
    }
}

impl<P: Ord + Clone> Subscriptions<P> {
    /// Starts to listen at `key`; nothing happens if that is so already.
    ///
    /// # Errors
    /// [`TooManySubscriptions`].
    pub fn subscribe(&mut self, key: DhtKey) -> Result<(), TooManySubscriptions> {
        if !self.keys.contains_key(&key) && self.keys.len() >= MAX_SUBSCRIPTIONS {
            return Err(TooManySubscriptions);
        }
        self.keys.entry(key).or_default();
        Ok(())
    }

    /// Stops to listen at `key` and forgets what is there, without events.
    pub fn cancel(&mut self, key: DhtKey) {
        let Some(subscription) = self.keys.remove(&key) else { return };
        for (node, state) in subscription.nodes {
            if let Some(renew) = state.renew {
                self.renewals.remove(&(renew, key, node));
            }
        }
        for (fingerprint, seen) in subscription.values {
            for (node, expires) in seen.holders {
                self.expiries.remove(&(expires, key, fingerprint, node));
            }
        }
    }

    /// The keys listened at.
    pub fn keys(&self) -> impl Iterator<Item = DhtKey> {
        self.keys.keys().copied()
    }

    /// Whether a value with this content is known to be at `key`.
    #[must_use]
    pub fn knows(&self, key: DhtKey, fingerprint: &Fingerprint) -> bool {
        self.keys.get(&key).is_some_and(|subscription| subscription.values.contains_key(fingerprint))
    }

    /// The nodes listened to at `key`.
    pub fn nodes(&self, key: DhtKey) -> impl Iterator<Item = &P> {
        let nodes = self.keys.get(&key).into_iter().flat_map(|subscription| &subscription.nodes);
        nodes.filter(|(_, node)| node.renew.is_some()).map(|(name, _)| name)
    }

    /// Notes that `node` answered a listen request for `key`, and plans the next one. False if there
    /// are enough nodes for the key or it is not listened at: then the node is not needed.
    pub fn answered(&mut self, now: Moment, key: DhtKey, node: P) -> bool {
        let Some(subscription) = self.keys.get_mut(&key) else { return false };
        if !subscription.has_room_for(&node) {
            return false;
        }
        let state = subscription.nodes.entry(node.clone());
        let state = state.or_insert_with(|| Node { renew: None, values: BTreeMap::new() });
        let renew = now.plus(self.renewal);
        if let Some(old) = state.renew.replace(renew) {
            self.renewals.remove(&(old, key, node.clone()));
        }
        self.renewals.insert((renew, key, node));
        true
    }

    /// The listen requests to repeat now. Each is planned again, so an unanswered one is repeated
    /// until [`Self::lost`] says that the node is gone.
    pub fn due(&mut self, now: Moment) -> Vec<(DhtKey, P)> {
        let mut due = Vec::new();
        while let Some((renew, key, node)) = self.renewals.pop_first() {
            if renew > now {
                self.renewals.insert((renew, key, node));
                break;
            }
            due.push((key, node));
        }
        for (key, node) in &due {
            self.answered(now, *key, node.clone());
        }
        due
    }

    /// Stops to listen to a node at `key`. What only it had stays known until it would expire.
    pub fn lost(&mut self, key: DhtKey, node: &P) {
        let Some(subscription) = self.keys.get_mut(&key) else { return };
        let Some(state) = subscription.nodes.get_mut(node) else { return };
        if let Some(renew) = state.renew.take() {
            self.renewals.remove(&(renew, key, node.clone()));
        }
        let elsewhere = subscription.held_elsewhere(node);
        subscription.forget_idle(node);
        for fingerprint in elsewhere {
            // Another node has it, so this makes no event.
            self.release(key, node, fingerprint, &mut Vec::new());
        }
    }

    /// Takes in values that `node` says are at `key`, which must have been admitted. Nodes that were not
    /// asked are ignored, and so are editions that were told and replaced, which somebody may replay.
    pub fn found(
        &mut self,
        now: Moment,
        key: DhtKey,
        node: &P,
        values: impl IntoIterator<Item = Value>,
    ) -> Vec<SubscriptionEvent> {
        let mut events = Vec::new();
        if self.listens(key, node) {
            for value in values {
                self.found_one(now, key, node, value, &mut events);
            }
        }
        events
    }

    /// Notes that values live longer at `node`.
    pub fn refreshed(&mut self, now: Moment, key: DhtKey, node: &P, ids: &[ValueId]) {
        for id in ids.iter().take(VALUES_PER_NODE) {
            for fingerprint in self.held(key, node, *id) {
                self.hold(now, key, node, fingerprint);
            }
        }
    }

    /// Notes that `node` no longer has values.
    pub fn expired(&mut self, key: DhtKey, node: &P, ids: &[ValueId]) -> Vec<SubscriptionEvent> {
        let mut events = Vec::new();
        for id in ids.iter().take(VALUES_PER_NODE) {
            for fingerprint in self.held(key, node, *id) {
                self.release(key, node, fingerprint, &mut events);
            }
        }
        events
    }

    /// Drops what nobody has confirmed for the life of a value.
    pub fn expire(&mut self, now: Moment) -> Vec<SubscriptionEvent> {
        let mut events = Vec::new();
        while let Some((expires, key, fingerprint, node)) = self.expiries.pop_first() {
            if expires > now {
                self.expiries.insert((expires, key, fingerprint, node));
                break;
            }
            self.release(key, &node, fingerprint, &mut events);
        }
        events
    }

    /// When a request is to be repeated or a value may be gone.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let renewal = self.renewals.first().map(|(renew, ..)| *renew);
        let expiry = self.expiries.first().map(|(expires, ..)| *expires);
        renewal.into_iter().chain(expiry).min()
    }

    fn listens(&self, key: DhtKey, node: &P) -> bool {
        self.keys.get(&key).is_some_and(|subscription| subscription.nodes.contains_key(node))
    }

    fn found_one(
        &mut self,
        now: Moment,
        key: DhtKey,
        node: &P,
        value: Value,
        events: &mut Vec<SubscriptionEvent>,
    ) {
        let fingerprint = value.fingerprint();
        let replaced = self.held(key, node, value.id).into_iter().filter(|held| *held != fingerprint);
        let replaced: Vec<_> = replaced.collect();
        let Some(subscription) = self.keys.get_mut(&key) else { return };
        let edition = Edition::of(&value);
        let outdated = edition.map(|edition| subscription.before(value.id, edition)).unwrap_or_default();
        if edition.is_some_and(|edition| subscription.is_replay(fingerprint, edition)) {
            return;
        }
        if let Entry::Vacant(unknown) = subscription.values.entry(fingerprint) {
            unknown.insert(Seen { lifetime: value.kind().lifetime(), edition, holders: BTreeMap::new() });
            events.push(SubscriptionEvent::Found { key, value: Arc::new(value) });
        }
        self.hold(now, key, node, fingerprint);
        // The edition before is gone only after the new one is known, so that nothing flickers.
        for old in replaced {
            self.release(key, node, old, events);
            if let (true, Some(subscription)) = (outdated.contains(&old), self.keys.get_mut(&key)) {
                subscription.note_replaced(old);
            }
        }
        self.bound(key, node, events);
    }

    /// Contents with this id that `node` has.
    fn held(&self, key: DhtKey, node: &P, id: ValueId) -> Vec<Fingerprint> {
        let Some(subscription) = self.keys.get(&key) else { return Vec::new() };
        subscription
            .with_id(id)
            .filter(|(_, seen)| seen.holders.contains_key(node))
            .map(|(name, _)| *name)
            .collect()
    }

    fn hold(&mut self, now: Moment, key: DhtKey, node: &P, fingerprint: Fingerprint) {
        let Some(subscription) = self.keys.get_mut(&key) else { return };
        let Some(seen) = subscription.values.get_mut(&fingerprint) else { return };
        let expires = now.plus(seen.lifetime);
        match seen.holders.insert(node.clone(), expires) {
            Some(old) => {
                self.expiries.remove(&(old, key, fingerprint, node.clone()));
            }
            None => {
                self.count = self.count.wrapping_add(1);
                if let Some(state) = subscription.nodes.get_mut(node) {
                    state.values.insert(self.count, fingerprint);
                }
            }
        }
        self.expiries.insert((expires, key, fingerprint, node.clone()));
    }

    fn release(
        &mut self,
        key: DhtKey,
        node: &P,
        fingerprint: Fingerprint,
        events: &mut Vec<SubscriptionEvent>,
    ) {
        let Some(subscription) = self.keys.get_mut(&key) else { return };
        let Some(seen) = subscription.values.get_mut(&fingerprint) else { return };
        if let Some(expires) = seen.holders.remove(node) {
            self.expiries.remove(&(expires, key, fingerprint, node.clone()));
        }
        if seen.holders.is_empty() {
            subscription.values.remove(&fingerprint);
            events.push(SubscriptionEvent::Expired { key, fingerprint });
        }
        if let Some(state) = subscription.nodes.get_mut(node) {
            state.values.retain(|_, held| *held != fingerprint);
        }
        subscription.forget_idle(node);
    }

    fn bound(&mut self, key: DhtKey, node: &P, events: &mut Vec<SubscriptionEvent>) {
        let state = self.keys.get(&key).and_then(|subscription| subscription.nodes.get(node));
        let Some(state) = state.filter(|state| state.values.len() > VALUES_PER_NODE) else { return };
        if let Some(oldest) = state.values.values().next().copied() {
            self.release(key, node, oldest, events);
        }
    }
}

impl<P: Ord> Subscription<P> {
    /// The contents that are known under an id.
    fn with_id(&self, id: ValueId) -> impl Iterator<Item = (&Fingerprint, &Seen<P>)> {
        self.values.range(Fingerprint { id, digest: [0; 20] }..=Fingerprint { id, digest: [0xff; 20] })
    }

    /// The editions under an id that come before this one.
    fn before(&self, id: ValueId, edition: Edition) -> BTreeSet<Fingerprint> {
        let is_before = |seen: &Seen<P>| seen.edition.is_some_and(|known| known.is_before(edition));
        self.with_id(id).filter(|(_, seen)| is_before(seen)).map(|(name, _)| *name).collect()
    }

    /// Whether an edition was told, replaced, and is outdated for several nodes.
    fn is_replay(&self, fingerprint: Fingerprint, edition: Edition) -> bool {
        let is_later = |seen: &Seen<P>| seen.edition.is_some_and(|known| edition.is_before(known));
        self.replaced.contains(&fingerprint)
            && self
                .with_id(fingerprint.id)
                .any(|(_, seen)| is_later(seen) && seen.holders.len() >= CONFIRMATIONS)
    }

    /// Notes that a node has a later edition in place of one, which is gone if that node was the last.
    fn note_replaced(&mut self, fingerprint: Fingerprint) {
        if self.values.contains_key(&fingerprint) || self.replaced.contains(&fingerprint) {
            return;
        }
        if self.replaced.len() >= REPLACED_PER_KEY {
            self.replaced.pop_front();
        }
        self.replaced.push_back(fingerprint);
    }

    fn has_room_for(&self, node: &P) -> bool {
        let listened = || self.nodes.values().filter(|state| state.renew.is_some()).count();
        match self.nodes.get(node) {
            Some(Node { renew: Some(_), .. }) => true,
            Some(_) => listened() < NODES_PER_KEY,
            None => listened() < NODES_PER_KEY && self.nodes.len() < REMEMBERED_PER_KEY,
        }
    }

    /// What `node` has that a node still listened to has too.
    fn held_elsewhere(&self, node: &P) -> Vec<Fingerprint> {
        let is_listened = |other: &P| self.nodes.get(other).is_some_and(|state| state.renew.is_some());
        let values = self.nodes.get(node).into_iter().flat_map(|state| state.values.values().copied());
        let elsewhere = values.filter(|fingerprint| {
            let seen = self.values.get(fingerprint);
            seen.is_some_and(|seen| seen.holders.keys().any(|other| other != node && is_listened(other)))
        });
        elsewhere.collect()
    }

    /// Forgets a node that is neither listened to nor known to have anything.
    fn forget_idle(&mut self, node: &P) {
        if self.nodes.get(node).is_some_and(|state| state.renew.is_none() && state.values.is_empty()) {
            self.nodes.remove(node);
        }
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
