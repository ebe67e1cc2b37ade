//! What this node does for others: it keeps their values and tells those who listen
//! (`spec: dht 7`).

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::dht::filter::Filter;
use skep_protocol::dht::kind::Refusal;
use skep_protocol::dht::listeners::{Change, Listener, Listeners};
use skep_protocol::dht::store::{Origin, Outcome, Source, StoreLimits, ValueStore};
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;

use super::wire::{PAGE_BYTES, Reason, Request};

/// Most values in one page; more would make one answer of a busy key a long turn.
const PAGE_VALUES: usize = 256;

/// A change at a key, and the peers that listen there.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) key: DhtKey,
    pub(super) change: Change,
    pub(super) peers: Vec<PeerId>,
}

impl Notice {
    /// The change as it is told.
    pub(super) fn request(&self) -> Request {
        let ids = |ids: &[ValueId]| ids.iter().map(|id| id.0).collect();
        let (values, refreshed, expired) = match &self.change {
            Change::Stored(value) => (vec![value.encode()], Vec::new(), Vec::new()),
            Change::Refreshed(refreshed) => (Vec::new(), ids(refreshed), Vec::new()),
            Change::Expired(expired) => (Vec::new(), Vec::new(), ids(expired)),
        };
        Request::Notify { key: self.key, values, refreshed, expired }
    }
}

/// The values kept and the peers that listen.
#[derive(Debug)]
pub(super) struct Serving {
    store: ValueStore<PeerId>,
    listeners: Listeners<PeerId>,
}

impl Serving {
    pub(super) fn new() -> Self {
        Self { store: ValueStore::new(StoreLimits::default()), listeners: Listeners::default() }
    }

    /// Keeps a value; says what changed by that, and whether it is kept.
    pub(super) fn store(
        &mut self,
        key: DhtKey,
        value: Value,
        source: Source<PeerId>,
        age: Duration,
        now: Moment,
    ) -> (Vec<Notice>, Result<(), Refusal>) {
        let mut removed = Vec::new();
        let origin = Origin { age, ..Origin::fresh(source) };
        let outcome = self.store.put(now, key, value, origin, &mut removed);
        let expired = removed.into_iter().map(|gone| (gone.key, Change::Expired(vec![gone.id])));
        let mut changes: Vec<(DhtKey, Change)> = expired.collect();
        let kept = match outcome {
            Ok(Outcome::Stored(value) | Outcome::Edited(value)) => Ok(Change::Stored(value)),
            Ok(Outcome::Refreshed(id)) => Ok(Change::Refreshed(vec![id])),
            Err(refusal) => Err(refusal),
        };
        let kept = kept.map(|change| changes.push((key, change)));
        (self.notices(changes, now), kept)
    }

    /// The values at a key after an id, as many as one message takes, and whether there are more.
    pub(super) fn page(&self, key: DhtKey, after: ValueId, now: Moment) -> (Vec<Vec<u8>>, bool) {
        let everything = Filter::default();
        let mut page = Vec::new();
        let mut bytes = 0_usize;
        for value in self.store.get(now, key, &everything).filter(|value| value.id > after) {
            let packed = value.encode();
            bytes = bytes.saturating_add(packed.len()).saturating_add(8);
            if page.len() >= PAGE_VALUES || bytes > PAGE_BYTES {
                return (page, true);
            }
            page.push(packed);
        }
        (page, false)
    }

    /// All values at a key.
    pub(super) fn values(&self, key: DhtKey, now: Moment) -> Vec<Arc<Value>> {
        self.store.get(now, key, &Filter::default()).cloned().collect()
    }

    pub(super) fn listen(&mut self, key: DhtKey, peer: PeerId, now: Moment) -> Result<(), Reason> {
        let listened = self.listeners.listen(now, key, listener(peer), Filter::default());
        listened.map(drop).map_err(|_| Reason::Full)
    }

    /// A peer does not listen any more.
    pub(super) fn unlisten(&mut self, key: DhtKey, peer: PeerId) {
        self.listeners.stop(key, &listener(peer));
    }

    /// A peer is gone.
    pub(super) fn lost(&mut self, peer: &PeerId) {
        self.listeners.forget_peer(peer);
    }

    /// Lets values and listeners expire.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<Notice> {
        self.listeners.expire(now);
        let expired = self.store.expire(now);
        self.notices(expired.into_iter().map(|gone| (gone.key, Change::Expired(vec![gone.id]))), now)
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.store.next_deadline().into_iter().chain(self.listeners.next_deadline()).min()
    }

    pub(super) fn value_count(&self) -> usize {
        self.store.len()
    }

    pub(super) fn listener_count(&self) -> usize {
        self.listeners.len()
    }

    fn notices(&self, changes: impl IntoIterator<Item = (DhtKey, Change)>, now: Moment) -> Vec<Notice> {
        let notice = |(key, change): (DhtKey, Change)| {
            let peers = self.listeners.concerned(now, key, &change).map(|listener| listener.peer).collect();
            Notice { key, change, peers }
        };
        changes.into_iter().map(notice).collect()
    }
}

/// A peer listens once at a key.
const fn listener(peer: PeerId) -> Listener<PeerId> {
    Listener { peer, session: 0 }
}
