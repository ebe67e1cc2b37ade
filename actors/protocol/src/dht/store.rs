//! The values a node keeps for others (`spec: dht 3.1, 7`).
//!
//! A key has many values, told apart by their ids. Each lives as long as its kind does and longer
//! when it is refreshed. What peers make us keep is bounded: a full key or a full store gives up the
//! value that would expire first of the source that takes most room, so one source can only push
//! out its own values once it uses more than any other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::dht::filter::Filter;
use crate::dht::kind::{self, Refusal};
use crate::dht::sources::{Expiry, Sources};
use crate::dht::value::{Value, ValueId};
use crate::ids::DhtKey;
use crate::time::Moment;

/// Bytes counted for every value on top of its packed length: what the tables around it take.
pub const VALUE_OVERHEAD: usize = 512;

/// How much a node keeps for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Values at one key. The reference allows 65,536; the busiest key of Jami, the letter box of a
    /// device, needs a few hundred in ten minutes, and every reader of the key fetches them all.
    pub values_per_key: usize,
    /// Bytes in all, counted as packed length plus [`VALUE_OVERHEAD`]; 64 MiB as in the reference.
    pub bytes: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { values_per_key: 1024, bytes: 64 << 20 }
    }
}

/// Who had a value stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source<S> {
    /// This node: its values are neither counted nor displaced.
    Local,
    /// A peer, named by whatever the network cannot forge.
    Remote(S),
}

/// What came with a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<S> {
    /// Who put the value.
    pub source: Source<S>,
    /// The address it came from, where there is one; fills in service addresses.
    pub address: Option<IpAddr>,
    /// How long ago the value was made, as its publisher says; never negative.
    pub age: Duration,
}

impl<S> Origin<S> {
    /// A fresh value from `source`.
    pub const fn fresh(source: Source<S>) -> Self {
        Self { source, address: None, age: Duration::ZERO }
    }
}

/// What a put did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new value was stored.
    Stored(Arc<Value>),
    /// The value with this id was replaced.
    Edited(Arc<Value>),
    /// The value was there and lives longer now.
    Refreshed(ValueId),
}

/// What a refresh found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// The value lives longer now.
    Refreshed,
    /// There are values at the key but not this one; answered as success (`spec: dht 2.1`).
    UnknownValue,
    /// There is nothing at the key; answered with error 404.
    UnknownKey,
}

/// A value that is no longer kept, because its time is over or its room was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removed {
    /// Where it was.
    pub key: DhtKey,
    /// Which it was.
    pub id: ValueId,
}

#[derive(Debug)]
struct Stored<S> {
    value: Arc<Value>,
    expires: Moment,
    source: Source<S>,
    bytes: usize,
}

/// The values of many keys. `S` names the sources.
#[derive(Debug)]
pub struct ValueStore<S> {
    limits: StoreLimits,
    keys: BTreeMap<DhtKey, BTreeMap<ValueId, Stored<S>>>,
    expiries: BTreeSet<Expiry>,
    sources: Sources<S>,
}

impl<S: Ord + Clone> ValueStore<S> {
    /// An empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        Self { limits, keys: BTreeMap::new(), expiries: BTreeSet::new(), sources: Sources::default() }
    }

    /// Stores, edits or refreshes a value. Values that lost their place are appended to `removed`.
    ///
    /// # Errors
    /// Why the value was not stored. The sender is told of success in any case (`spec: dht 2`).
    pub fn put(
        &mut self,
        now: Moment,
        key: DhtKey,
        value: Value,
        origin: Origin<S>,
        removed: &mut Vec<Removed>,
    ) -> Result<Outcome, Refusal> {
        let id = value.id;
        // An identical value was checked when it was stored.
        if self.find(key, id).is_some_and(|stored| stored.value.is_same(&value)) {
            return Ok(self.renew(now, key, id, origin.source));
        }
        let value = kind::admit(key, value, origin.address)?;
        let old = self.find(key, id);
        if old.is_some_and(|stored| stored.value.is_same(&value)) {
            return Ok(self.renew(now, key, id, origin.source));
        }
        if let Some(old) = old {
            kind::may_replace(&old.value, &value)?;
        }
        let edited = old.is_some();
        let remaining = value.kind().lifetime().saturating_sub(origin.age);
        if remaining.is_zero() {
            return Err(Refusal::Expired);
        }
        let bytes = value.encode().len().saturating_add(VALUE_OVERHEAD);
        self.remove(key, id);
        let value = Arc::new(value);
        let stored =
            Stored { value: Arc::clone(&value), expires: now.plus(remaining), source: origin.source, bytes };
        self.insert(key, stored);
        self.make_room(now, key, removed);
        if self.find(key, id).is_none() {
            if !edited {
                removed.retain(|gone| *gone != Removed { key, id });
            }
            return Err(Refusal::Full);
        }
        Ok(if edited { Outcome::Edited(value) } else { Outcome::Stored(value) })
    }

    /// Lets a value live longer.
    pub fn refresh(&mut self, now: Moment, key: DhtKey, id: ValueId) -> RefreshOutcome {
        match self.keys.get(&key).map(|values| values.contains_key(&id)) {
            None => RefreshOutcome::UnknownKey,
            Some(false) => RefreshOutcome::UnknownValue,
            Some(true) => {
                self.prolong(now, key, id);
                RefreshOutcome::Refreshed
            }
        }
    }

    /// The values at `key` that pass `filter` and have not expired, by rising id.
    pub fn get<'s>(
        &'s self,
        now: Moment,
        key: DhtKey,
        filter: &'s Filter,
    ) -> impl Iterator<Item = &'s Arc<Value>> + 's {
        let values = self.keys.get(&key).into_iter().flat_map(BTreeMap::values);
        values.filter(move |stored| stored.expires > now && filter.matches(&stored.value)).map(|s| &s.value)
    }

    /// Removes a value, as when its own publisher takes it back; tells whether it was there.
    pub fn remove(&mut self, key: DhtKey, id: ValueId) -> bool {
        let Some(values) = self.keys.get_mut(&key) else { return false };
        let removed = values.remove(&id);
        if values.is_empty() {
            self.keys.remove(&key);
        }
        let Some(stored) = removed else { return false };
        let expiry = (stored.expires, key, id);
        self.expiries.remove(&expiry);
        if let Source::Remote(source) = &stored.source {
            self.sources.release(source, stored.bytes, expiry);
        }
        true
    }

    /// Removes what has expired.
    pub fn expire(&mut self, now: Moment) -> Vec<Removed> {
        let mut removed = Vec::new();
        while let Some(&(expires, key, id)) = self.expiries.first() {
            if expires > now {
                break;
            }
            self.expiries.pop_first();
            self.remove(key, id);
            removed.push(Removed { key, id });
        }
        removed
    }

    /// When the next value expires.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.expiries.first().map(|(expires, ..)| *expires)
    }

    /// Bytes kept for others, counted as the limit counts them.
    #[must_use]
    pub fn remote_bytes(&self) -> usize {
        self.sources.bytes()
    }

    /// Number of values, own ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.expiries.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expiries.is_empty()
    }

    fn find(&self, key: DhtKey, id: ValueId) -> Option<&Stored<S>> {
        self.keys.get(&key)?.get(&id)
    }

    fn insert(&mut self, key: DhtKey, stored: Stored<S>) {
        let expiry = (stored.expires, key, stored.value.id);
        self.expiries.insert(expiry);
        if let Source::Remote(source) = &stored.source {
            self.sources.charge(source, stored.bytes, expiry);
        }
        self.keys.entry(key).or_default().insert(stored.value.id, stored);
    }

    fn renew(&mut self, now: Moment, key: DhtKey, id: ValueId, source: Source<S>) -> Outcome {
        self.prolong(now, key, id);
        // What this node publishes itself must not be displaced as another's.
        if source == Source::Local {
            self.replace(key, id, |stored| stored.source = Source::Local);
        }
        Outcome::Refreshed(id)
    }

    fn prolong(&mut self, now: Moment, key: DhtKey, id: ValueId) {
        self.replace(key, id, |stored| {
            stored.expires = stored.expires.max(now.plus(stored.value.kind().lifetime()));
        });
    }

    /// Changes a stored value and keeps the tables that refer to it right.
    fn replace(&mut self, key: DhtKey, id: ValueId, change: impl FnOnce(&mut Stored<S>)) {
        let Some(old) = self.find(key, id) else { return };
        let (value, expires) = (Arc::clone(&old.value), old.expires);
        let mut stored = Stored { value, expires, source: old.source.clone(), bytes: old.bytes };
        self.remove(key, id);
        change(&mut stored);
        self.insert(key, stored);
    }

    fn make_room(&mut self, now: Moment, key: DhtKey, removed: &mut Vec<Removed>) {
        let crowded = self.keys.get(&key).is_some_and(|values| values.len() > self.limits.values_per_key);
        if !crowded && self.remote_bytes() <= self.limits.bytes {
            return;
        }
        removed.extend(self.expire(now));
        while self.keys.get(&key).is_some_and(|values| values.len() > self.limits.values_per_key) {
            let Some(id) = self.least_at(key) else { break };
            self.displace(key, id, removed);
        }
        while self.remote_bytes() > self.limits.bytes {
            let Some((_, key, id)) = self.sources.first_to_go() else { break };
            self.displace(key, id, removed);
        }
    }

    fn displace(&mut self, key: DhtKey, id: ValueId, removed: &mut Vec<Removed>) {
        self.remove(key, id);
        removed.push(Removed { key, id });
    }

    /// At `key`, the value that expires first of the source with most values there.
    fn least_at(&self, key: DhtKey) -> Option<ValueId> {
        let mut by_source: BTreeMap<&S, (usize, (Moment, ValueId))> = BTreeMap::new();
        for (id, stored) in self.keys.get(&key)? {
            if let Source::Remote(source) = &stored.source {
                let expiry = (stored.expires, *id);
                let entry = by_source.entry(source).or_insert((0, expiry));
                *entry = (entry.0 + 1, entry.1.min(expiry));
            }
        }
        by_source.into_values().max_by_key(|(count, _)| *count).map(|(_, (_, id))| id)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
