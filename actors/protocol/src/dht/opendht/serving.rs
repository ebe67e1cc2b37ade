//! What this node does for others: keeps their values and tells their listeners (`spec: dht 7`).

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::packet::{Change, ListenVersion, SocketId};
use crate::dht::filter::Filter;
use crate::dht::kind::Refusal;
use crate::dht::listeners::{self, ListenRefusal, Listener, Listeners, Listening, MAX_LISTENERS};
use crate::dht::store::{Origin, Outcome, RefreshOutcome, Removed, Source, StoreLimits, ValueStore};
use crate::dht::value::{Value, ValueId};
use crate::ids::{DhtKey, NodeId};
use crate::time::Moment;

/// Bytes of values in one reply. A reader that wants more asks for ids first and for each value then;
/// a burst of more datagrams would be lost on the way.
pub(super) const MAX_REPLY_BYTES: usize = 512 * 1024;

/// Listeners behind one IP address, whatever ids and ports they use: an eighth of all.
const LISTENERS_PER_ADDRESS: usize = MAX_LISTENERS / 8;

/// A node that listens here. The address comes first, so that those of one machine are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subscriber {
    /// Where it is.
    pub(super) address: SocketAddr,
    /// Who it is.
    pub(super) id: NodeId,
    /// How it wants to be told.
    pub(super) version: ListenVersion,
}

/// Something to tell a listener.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice {
    /// Whom.
    pub(super) subscriber: Subscriber,
    /// What it calls the key.
    pub(super) socket: SocketId,
    /// Where it happened.
    pub(super) key: DhtKey,
    /// What happened.
    pub(super) change: Change,
}

/// Values and listeners of other nodes, and the values of our own.
#[derive(Debug)]
pub(super) struct Serving {
    store: ValueStore<IpAddr>,
    listeners: Listeners<Subscriber>,
}

/// A change of a key, to be told to listeners here and elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Changed {
    /// Where.
    pub(super) key: DhtKey,
    /// What happened.
    pub(super) change: Change,
}

impl Serving {
    /// Keeps nothing yet.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { store: ValueStore::new(StoreLimits::default()), listeners: Listeners::default() }
    }

    /// Keeps a value that `source` sent, made `age` ago.
    pub(super) fn put(
        &mut self,
        now: Moment,
        key: DhtKey,
        value: Value,
        source: &SocketAddr,
        age: Duration,
    ) -> Vec<Changed> {
        let origin = Origin { source: Source::Remote(source.ip()), address: Some(source.ip()), age };
        self.store(now, key, value, origin).1
    }

    /// Keeps a value of our own.
    ///
    /// # Errors
    /// Why no node would keep it.
    pub(super) fn put_own(
        &mut self,
        now: Moment,
        key: DhtKey,
        value: Value,
    ) -> (Result<(), Refusal>, Vec<Changed>) {
        self.store(now, key, value, Origin::fresh(Source::Local))
    }

    fn store(
        &mut self,
        now: Moment,
        key: DhtKey,
        value: Value,
        origin: Origin<IpAddr>,
    ) -> (Result<(), Refusal>, Vec<Changed>) {
        let mut removed = Vec::new();
        let outcome = self.store.put(now, key, value, origin, &mut removed);
        let mut changes = expired(removed);
        let result = outcome.map(|outcome| {
            let change = match outcome {
                Outcome::Stored(value) | Outcome::Edited(value) => Change::Values(vec![value]),
                Outcome::Refreshed(id) => Change::Refreshed(vec![id]),
            };
            changes.push(Changed { key, change });
        });
        (result, changes)
    }

    /// Lets a value live longer. `None` if nothing is kept at the key.
    pub(super) fn refresh(&mut self, now: Moment, key: DhtKey, id: ValueId) -> Option<Changed> {
        match self.store.refresh(now, key, id) {
            RefreshOutcome::UnknownKey => None,
            // Listeners are told even of an unknown value, as the reference does.
            RefreshOutcome::Refreshed | RefreshOutcome::UnknownValue => {
                Some(Changed { key, change: Change::Refreshed(vec![id]) })
            }
        }
    }

    /// The values kept at `key` that `filter` wants.
    #[must_use]
    pub(super) fn get(&self, now: Moment, key: DhtKey, filter: &Filter) -> Vec<Arc<Value>> {
        self.store.get(now, key, filter).cloned().collect()
    }

    /// As many of the values at `key` as one reply takes.
    #[must_use]
    pub(super) fn reply(&self, now: Moment, key: DhtKey, filter: &Filter) -> Vec<Arc<Value>> {
        let mut room = MAX_REPLY_BYTES;
        let fits = |value: &&Arc<Value>| {
            room = room.saturating_sub(value.size());
            room > 0
        };
        self.store.get(now, key, filter).take_while(fits).cloned().collect()
    }

    /// Notes a listener. Returns the values that it does not know of yet.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn listen(
        &mut self,
        now: Moment,
        key: DhtKey,
        subscriber: Subscriber,
        socket: SocketId,
        filter: Filter,
    ) -> Result<Vec<Arc<Value>>, ListenRefusal> {
        let listener = Listener { peer: subscriber, session: socket.0 };
        let crowded = || self.listeners.count_of(neighbours(subscriber)) >= LISTENERS_PER_ADDRESS;
        if !self.listeners.contains(key, &listener) && crowded() {
            return Err(ListenRefusal::PeerFull);
        }
        Ok(match self.listeners.listen(now, key, listener, filter.clone())? {
            Listening::New => self.get(now, key, &filter),
            Listening::Renewed => Vec::new(),
        })
    }

    /// What is to be told to listeners about a change.
    #[must_use]
    pub(super) fn notices(&self, now: Moment, changed: &Changed) -> Vec<Notice> {
        let news = match &changed.change {
            Change::Values(values) => match values.first() {
                Some(value) => listeners::Change::Stored(Arc::clone(value)),
                None => return Vec::new(),
            },
            Change::Refreshed(ids) => listeners::Change::Refreshed(ids.clone()),
            Change::Expired(ids) => listeners::Change::Expired(ids.clone()),
        };
        let concerned = self.listeners.concerned(now, changed.key, &news);
        let notices = concerned.map(|listener| Notice {
            subscriber: listener.peer,
            socket: SocketId(listener.session),
            key: changed.key,
            change: changed.change.clone(),
        });
        notices.collect()
    }

    /// Forgets one listening, so that it is told everything when it is renewed.
    pub(super) fn stop(&mut self, key: DhtKey, subscriber: Subscriber, socket: SocketId) {
        self.listeners.stop(key, &Listener { peer: subscriber, session: socket.0 });
    }

    /// Forgets a listener that is gone.
    pub(super) fn forget(&mut self, subscriber: Subscriber) {
        for version in [ListenVersion::Replies, ListenVersion::Updates] {
            self.listeners.forget_peer(&Subscriber { version, ..subscriber });
        }
    }

    /// Drops what has expired.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<Changed> {
        self.listeners.expire(now);
        expired(self.store.expire(now))
    }

    /// When something expires.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.store.next_deadline().into_iter().chain(self.listeners.next_deadline()).min()
    }

    /// Number of values kept.
    #[must_use]
    pub(super) fn values(&self) -> usize {
        self.store.len()
    }

    /// Bytes kept for others.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.store.remote_bytes()
    }

    /// Number of listenings served.
    #[must_use]
    pub(super) fn listeners(&self) -> usize {
        self.listeners.len()
    }
}

impl Default for Serving {
    fn default() -> Self {
        Self::new()
    }
}

/// All that may listen from the same machine.
fn neighbours(subscriber: Subscriber) -> RangeInclusive<Subscriber> {
    let ip = subscriber.address.ip();
    let (first, last) = (SocketAddr::new(ip, 0), SocketAddr::new(ip, u16::MAX));
    let end = |address, byte, version| Subscriber { address, id: NodeId([byte; 20]), version };
    end(first, 0, ListenVersion::Replies)..=end(last, 0xff, ListenVersion::Updates)
}

fn expired(removed: Vec<Removed>) -> Vec<Changed> {
    let mut changes: Vec<Changed> = Vec::new();
    for Removed { key, id } in removed {
        match changes.last_mut() {
            Some(Changed { key: last, change: Change::Expired(ids) }) if *last == key => ids.push(id),
            _ => changes.push(Changed { key, change: Change::Expired(vec![id]) }),
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::listeners::LISTENERS_PER_PEER;

    fn subscriber(host: u8, port: u16) -> Subscriber {
        let address = SocketAddr::from(([10, 0, 0, host], port));
        Subscriber { address, id: NodeId([7; 20]), version: ListenVersion::Updates }
    }

    #[test]
    fn one_machine_does_not_take_the_room_of_all_listeners() {
        let mut serving = Serving::new();
        let mut listen = |host, number: usize| {
            let port = 1 + u16::try_from(number / LISTENERS_PER_PEER).unwrap();
            let key = DhtKey::of_text(&number.to_string());
            serving.listen(Moment::default(), key, subscriber(host, port), SocketId(1), Filter::default())
        };
        let taken = (0..2 * LISTENERS_PER_ADDRESS).filter(|number| listen(1, *number).is_ok()).count();
        assert_eq!(taken, LISTENERS_PER_ADDRESS);
        assert!(listen(1, 0).is_ok(), "those who are there may stay");
        assert!(listen(2, 0).is_ok());
        serving.forget(subscriber(1, 1));
        assert_eq!(serving.listeners(), taken - LISTENERS_PER_PEER + 1);
    }
}
