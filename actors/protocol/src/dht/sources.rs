//! What each source makes the value store keep, and whose value goes first when room is needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::dht::value::ValueId;
use crate::ids::DhtKey;
use crate::time::Moment;

/// Place of a value in the order in which values expire.
pub(super) type Expiry = (Moment, DhtKey, ValueId);

#[derive(Debug, Default)]
struct Usage {
    bytes: usize,
    expiries: BTreeSet<Expiry>,
}

/// The sources of stored values.
#[derive(Debug)]
pub(super) struct Sources<S> {
    usage: BTreeMap<S, Usage>,
    /// Sources by the bytes they use.
    heaviest: BTreeSet<(usize, S)>,
    bytes: usize,
}

impl<S> Default for Sources<S> {
    fn default() -> Self {
        Self { usage: BTreeMap::new(), heaviest: BTreeSet::new(), bytes: 0 }
    }
}

impl<S: Ord + Clone> Sources<S> {
    pub(super) fn charge(&mut self, source: &S, bytes: usize, expiry: Expiry) {
        self.change(source, |usage| {
            usage.bytes = usage.bytes.saturating_add(bytes);
            usage.expiries.insert(expiry);
        });
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn release(&mut self, source: &S, bytes: usize, expiry: Expiry) {
        self.change(source, |usage| {
            usage.bytes = usage.bytes.saturating_sub(bytes);
            usage.expiries.remove(&expiry);
        });
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Bytes of all sources.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of the source that uses most, the value that expires first.
    pub(super) fn first_to_go(&self) -> Option<Expiry> {
        let (_, source) = self.heaviest.last()?;
        self.usage.get(source)?.expiries.first().copied()
    }

    /// A source that uses nothing is forgotten.
    fn change(&mut self, source: &S, change: impl FnOnce(&mut Usage)) {
        let usage = self.usage.entry(source.clone()).or_default();
        self.heaviest.remove(&(usage.bytes, source.clone()));
        change(usage);
        if usage.expiries.is_empty() {
            self.usage.remove(source);
        } else {
            self.heaviest.insert((usage.bytes, source.clone()));
        }
    }

    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        assert_eq!(self.bytes, self.usage.values().map(|usage| usage.bytes).sum::<usize>());
        assert_eq!(self.usage.len(), self.heaviest.len());
    }
}
