//! Who listens at which key of this node, and whom a change is told (`spec: dht 6.2, 7`).
//!
//! A listener repeats its request long before its ten minutes are over; there is no other way to
//! leave than to stop. New and edited values go to the listeners whose filter wants them; that a
//! value was refreshed or is gone goes to all listeners of the key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::dht::filter::Filter;
use crate::dht::value::{Value, ValueId};
use crate::ids::DhtKey;
use crate::time::Moment;

/// How long a listener is remembered after its last request.
pub const LISTENER_LIFETIME: Duration = Duration::from_secs(600);

/// Listeners at one key: each change of the key costs a message to each of them.
pub const LISTENERS_PER_KEY: usize = 512;

/// Listeners of one peer on this node. A peer listens at a few keys per account and at one per
/// contact, spread over many nodes.
pub const LISTENERS_PER_PEER: usize = 1024;

/// Listeners in all: a few hundred bytes each, so some 16 MiB.
pub const MAX_LISTENERS: usize = 65_536;

/// Why a peer may not listen. It gets no answer and tries another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenRefusal {
    /// [`LISTENERS_PER_KEY`] is reached.
    #[error("{LISTENERS_PER_KEY} listeners are at this key already")]
    KeyFull,
    /// [`LISTENERS_PER_PEER`] is reached.
    #[error("the peer listens at {LISTENERS_PER_PEER} keys of this node already")]
    PeerFull,
    /// [`MAX_LISTENERS`] is reached.
    #[error("this node serves {MAX_LISTENERS} listeners already")]
    Full,
}

/// Whether a listen request was a first one: then the values at the key are sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// A new listener, or one that changed its filter.
    New,
    /// A listener that was there.
    Renewed,
}

/// What happened to values of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value is new or was edited.
    Stored(Arc<Value>),
    /// Values live longer.
    Refreshed(Vec<ValueId>),
    /// Values are gone.
    Expired(Vec<ValueId>),
}

/// Which listener to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener<P> {
    /// The peer.
    pub peer: P,
    /// The number under which it awaits the news.
    pub session: u32,
}

#[derive(Debug)]
struct Entry {
    filter: Filter,
    expires: Moment,
}

/// The listeners of a storing node. `P` names peers.
#[derive(Debug)]
pub struct Listeners<P> {
    keys: BTreeMap<DhtKey, BTreeMap<Listener<P>, Entry>>,
    peers: BTreeMap<P, BTreeSet<(DhtKey, u32)>>,
    expiries: BTreeSet<(Moment, DhtKey, Listener<P>)>,
}

impl<P> Default for Listeners<P> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), peers: BTreeMap::new(), expiries: BTreeSet::new() }
    }
}

impl<P: Ord + Clone> Listeners<P> {
    /// Notes that `listener` listens at `key` from now on.
    ///
    /// # Errors
    /// When a limit is reached and the listener is not there yet.
    pub fn listen(
        &mut self,
        now: Moment,
        key: DhtKey,
        listener: Listener<P>,
        filter: Filter,
    ) -> Result<Listening, ListenRefusal> {
        self.expire(now);
        let old = self.remove(key, &listener);
        if old.is_none() {
            self.check_limits(key, &listener.peer)?;
        }
        let result =
            if old.is_some_and(|entry| entry.filter == filter) { Listening::Renewed } else { Listening::New };
        let expires = now.plus(LISTENER_LIFETIME);
        self.expiries.insert((expires, key, listener.clone()));
        self.peers.entry(listener.peer.clone()).or_default().insert((key, listener.session));
        self.keys.entry(key).or_default().insert(listener, Entry { filter, expires });
        Ok(result)
    }

    /// The listeners to tell of `change` at `key`.
    pub fn concerned<'l>(
        &'l self,
        now: Moment,
        key: DhtKey,
        change: &'l Change,
    ) -> impl Iterator<Item = &'l Listener<P>> + 'l {
        let listeners = self.keys.get(&key).into_iter().flatten();
        listeners
            .filter(move |(_, entry)| entry.expires > now && wants(&entry.filter, change))
            .map(|(l, _)| l)
    }

    /// Forgets a listener that said it stops; OpenDHT's just fall silent.
    pub fn stop(&mut self, key: DhtKey, listener: &Listener<P>) {
        self.remove(key, listener);
    }

    /// Forgets a peer that is gone.
    pub fn forget_peer(&mut self, peer: &P) {
        for (key, session) in self.peers.get(peer).cloned().unwrap_or_default() {
            self.remove(key, &Listener { peer: peer.clone(), session });
        }
    }

    /// Forgets listeners that have not repeated their request in time.
    pub fn expire(&mut self, now: Moment) {
        while let Some((expires, key, listener)) = self.expiries.pop_first() {
            if expires > now {
                self.expiries.insert((expires, key, listener));
                return;
            }
            self.remove(key, &listener);
        }
    }

    /// When the next listener is to be forgotten.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.expiries.first().map(|(expires, ..)| *expires)
    }

    /// Whether `listener` listens at `key`.
    #[must_use]
    pub fn contains(&self, key: DhtKey, listener: &Listener<P>) -> bool {
        self.keys.get(&key).is_some_and(|listeners| listeners.contains_key(listener))
    }

    /// Number of listeners of these peers.
    #[must_use]
    pub fn count_of(&self, peers: impl std::ops::RangeBounds<P>) -> usize {
        self.peers.range(peers).map(|(_, keys)| keys.len()).sum()
    }

    /// Number of listeners.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.values().map(BTreeMap::len).sum()
    }

    /// Whether nobody listens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn check_limits(&self, key: DhtKey, peer: &P) -> Result<(), ListenRefusal> {
        if self.expiries.len() >= MAX_LISTENERS {
            Err(ListenRefusal::Full)
        } else if self.peers.get(peer).is_some_and(|keys| keys.len() >= LISTENERS_PER_PEER) {
            Err(ListenRefusal::PeerFull)
        } else if self.keys.get(&key).is_some_and(|listeners| listeners.len() >= LISTENERS_PER_KEY) {
            Err(ListenRefusal::KeyFull)
        } else {
            Ok(())
        }
    }

    fn remove(&mut self, key: DhtKey, listener: &Listener<P>) -> Option<Entry> {
        let listeners = self.keys.get_mut(&key)?;
        let entry = listeners.remove(listener)?;
        if listeners.is_empty() {
            self.keys.remove(&key);
        }
        self.expiries.remove(&(entry.expires, key, listener.clone()));
        if let Some(keys) = self.peers.get_mut(&listener.peer) {
            keys.remove(&(key, listener.session));
            if keys.is_empty() {
                self.peers.remove(&listener.peer);
            }
        }
        Some(entry)
    }
}

fn wants(filter: &Filter, change: &Change) -> bool {
    match change {
        Change::Stored(value) => filter.matches(value),
        Change::Refreshed(_) | Change::Expired(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::content::Content;

    fn key(number: usize) -> DhtKey {
        DhtKey::of_text(&number.to_string())
    }

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn listener(peer: usize, session: u32) -> Listener<usize> {
        Listener { peer, session }
    }

    fn stored(id: u64) -> Change {
        Change::Stored(Arc::new(Value::plain(ValueId(id), Content::new(0, Vec::new()))))
    }

    fn told(listeners: &Listeners<usize>, now: Moment, change: &Change) -> Vec<Listener<usize>> {
        listeners.concerned(now, key(0), change).copied().collect()
    }

    #[test]
    fn new_values_go_to_those_who_want_them_and_other_news_to_all() {
        let mut listeners = Listeners::default();
        let picky = Filter::id(ValueId(7));
        assert_eq!(listeners.listen(at(0), key(0), listener(1, 1), Filter::default()), Ok(Listening::New));
        assert_eq!(listeners.listen(at(0), key(0), listener(2, 1), picky.clone()), Ok(Listening::New));
        assert_eq!(listeners.listen(at(0), key(1), listener(3, 1), picky), Ok(Listening::New));
        assert_eq!(told(&listeners, at(1), &stored(6)), [listener(1, 1)]);
        let both = [listener(1, 1), listener(2, 1)];
        for change in [stored(7), Change::Refreshed(vec![ValueId(6)]), Change::Expired(vec![ValueId(6)])] {
            assert_eq!(told(&listeners, at(1), &change), both);
        }
    }

    #[test]
    fn a_listener_is_forgotten_ten_minutes_after_its_last_request() {
        let mut listeners = Listeners::default();
        listeners.listen(at(0), key(0), listener(1, 1), Filter::default()).unwrap();
        listeners.listen(at(0), key(0), listener(2, 1), Filter::default()).unwrap();
        let renewed = listeners.listen(at(20), key(0), listener(2, 1), Filter::default());
        assert_eq!(renewed, Ok(Listening::Renewed));
        assert_eq!(listeners.next_deadline(), Some(at(600)));
        assert_eq!(told(&listeners, at(600), &stored(1)), [listener(2, 1)]);
        listeners.expire(at(600));
        assert_eq!(listeners.len(), 1);
        listeners.expire(at(620));
        assert!(listeners.is_empty() && listeners.peers.is_empty() && listeners.expiries.is_empty());
    }

    #[test]
    fn another_filter_makes_a_listener_new() {
        let mut listeners = Listeners::default();
        listeners.listen(at(0), key(0), listener(1, 1), Filter::default()).unwrap();
        let changed = listeners.listen(at(0), key(0), listener(1, 1), Filter::id(ValueId(1)));
        assert_eq!(changed, Ok(Listening::New));
        assert_eq!(listeners.len(), 1);
    }

    #[test]
    fn a_lost_peer_is_forgotten_everywhere() {
        let mut listeners = Listeners::default();
        for number in 0..5 {
            listeners.listen(at(0), key(number), listener(1, 1), Filter::default()).unwrap();
        }
        listeners.listen(at(0), key(0), listener(2, 1), Filter::default()).unwrap();
        listeners.forget_peer(&1);
        assert_eq!(listeners.len(), 1);
        assert_eq!(told(&listeners, at(0), &stored(1)), [listener(2, 1)]);
    }

    #[test]
    fn limits_stop_newcomers_but_not_those_who_are_there() {
        let mut listeners = Listeners::default();
        for peer in 0..LISTENERS_PER_KEY {
            listeners.listen(at(0), key(0), listener(peer, 1), Filter::default()).unwrap();
        }
        let mut listen =
            |place, peer, now| listeners.listen(now, key(place), listener(peer, 1), Filter::default());
        assert_eq!(listen(0, LISTENERS_PER_KEY, at(0)), Err(ListenRefusal::KeyFull));
        assert_eq!(listen(0, 3, at(0)), Ok(Listening::Renewed));
        for place in 1..LISTENERS_PER_PEER {
            listen(place, 3, at(0)).unwrap();
        }
        assert_eq!(listen(LISTENERS_PER_PEER, 3, at(0)), Err(ListenRefusal::PeerFull));
        assert_eq!(listen(LISTENERS_PER_PEER, 3, at(600)), Ok(Listening::New));
    }
}
