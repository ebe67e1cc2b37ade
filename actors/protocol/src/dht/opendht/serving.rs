//! What this node does for others: keeps their values and tells their listeners (`spec: dht 7`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::compact::Contact;
use super::packet::{Change, ListenVersion, SocketId};
use crate::dht::filter::Filter;
use crate::dht::kind::Refusal;
use crate::dht::listeners::{self, ListenRefusal, Listener, Listeners, Listening};
use crate::dht::store::{Origin, Outcome, RefreshOutcome, Removed, Source, StoreLimits, ValueStore};
use crate::dht::value::{Value, ValueId};
use crate::ids::DhtKey;
use crate::time::Moment;

/// Bytes of values in one reply. A reader that wants more asks for ids first and for each value then;
/// a burst of more datagrams would be lost on the way.
pub(super) const MAX_REPLY_BYTES: usize = 512 * 1024;

/// A node that listens here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subscriber {
    /// Who and where.
    pub(super) contact: Contact,
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
    pub(super) fn forget(&mut self, contact: Contact) {
        for version in [ListenVersion::Replies, ListenVersion::Updates] {
            self.listeners.forget_peer(&Subscriber { contact, version });
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
