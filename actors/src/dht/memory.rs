//! What was asked of the DHT for good: it outlives every engine and every failure of the actor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep_protocol::dht::announce::MAX_ANNOUNCEMENTS;
use skep_protocol::dht::subscriptions::MAX_SUBSCRIPTIONS;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;

use super::messages::{DhtMessage, ListenEvent, ListenId};
use crate::supervision::{Outlet, Reply};

/// Most nodes to join through that are remembered: as many as any network takes.
const MAX_BOOTSTRAP: usize = 32;

/// What the DHT actor was asked for good: values to keep published, listenings, bootstrap nodes.
///
/// It belongs to the factory that makes the actor, so that an actor made anew finds all of it. Cheap
/// to clone; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct DhtMemory {
    wishes: Arc<Mutex<Wishes>>,
}

/// Listenings up to which nobody looks whether their listeners are still there.
const FEW_LISTENINGS: usize = 64;

#[derive(Debug, Default)]
struct Wishes {
    published: BTreeMap<(DhtKey, ValueId), Value>,
    listenings: BTreeMap<ListenId, (DhtKey, Outlet<ListenEvent>)>,
    /// Listenings that were left when those without a listener were dropped last.
    live_listenings: usize,
    bootstrap: BTreeSet<String>,
}

impl DhtMemory {
    /// Notes what a message asks for good, or takes back.
    pub(super) fn note(&self, message: &DhtMessage) {
        let mut wishes = self.lock();
        match message {
            DhtMessage::Put { key, value, permanent: true, .. } => {
                insert_within(MAX_ANNOUNCEMENTS, &mut wishes.published, (*key, value.id), || value.clone());
            }
            DhtMessage::Put { key, value, permanent: false, .. } => {
                wishes.published.remove(&(*key, value.id));
            }
            DhtMessage::CancelPut { key, id } => {
                wishes.published.remove(&(*key, *id));
            }
            DhtMessage::Listen { id, key, outlet } => {
                wishes.drop_dead_listenings_at_times();
                let listening = || (*key, outlet.clone());
                insert_within(MAX_SUBSCRIPTIONS, &mut wishes.listenings, *id, listening);
            }
            DhtMessage::Cancel { id } => {
                wishes.listenings.remove(id);
            }
            DhtMessage::AddBootstrap { address, .. } if wishes.bootstrap.len() < MAX_BOOTSTRAP => {
                wishes.bootstrap.insert(address.clone());
            }
            DhtMessage::Get { .. } | DhtMessage::Health { .. } | DhtMessage::AddBootstrap { .. } => {}
        }
    }

    /// The messages that ask a new engine for all of it.
    pub(super) fn replay(&self) -> Vec<DhtMessage> {
        let mut wishes = self.lock();
        wishes.drop_dead_listenings();
        let published = wishes.published.iter().map(|((key, _), value)| {
            let (reply, _) = Reply::channel();
            DhtMessage::Put { key: *key, value: value.clone(), permanent: true, reply }
        });
        let listenings = wishes.listenings.iter().map(|(id, (key, outlet))| DhtMessage::Listen {
            id: *id,
            key: *key,
            outlet: outlet.clone(),
        });
        published.chain(listenings).collect()
    }

    /// Nodes to join through besides those of the configuration.
    pub(super) fn bootstrap(&self) -> Vec<String> {
        self.lock().bootstrap.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        // Nothing is half done when a panic poisons it: each change is one insertion or removal.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wishes {
    /// Drops the listenings of listeners that have gone without cancelling them.
    fn drop_dead_listenings(&mut self) {
        self.listenings.retain(|_, (_, outlet)| outlet.is_open());
        self.live_listenings = self.listenings.len();
    }

    /// The same whenever there are twice as many as were left the last time: they never take much
    /// room, and looking costs little.
    fn drop_dead_listenings_at_times(&mut self) {
        if self.listenings.len() >= FEW_LISTENINGS.max(2 * self.live_listenings).min(MAX_SUBSCRIPTIONS) {
            self.drop_dead_listenings();
        }
    }
}

/// Inserts, or replaces what has this key, unless one more would be too many: the engine refuses
/// that one too, and says so to whoever asked.
fn insert_within<K: Ord, V>(limit: usize, map: &mut BTreeMap<K, V>, key: K, value: impl FnOnce() -> V) {
    if map.len() < limit || map.contains_key(&key) {
        map.insert(key, value());
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn listen(memory: &DhtMemory) -> mpsc::Receiver<ListenEvent> {
        let (outlet, events) = Outlet::channel("test", 1);
        memory.note(&DhtMessage::Listen { id: ListenId::unique(), key: DhtKey([5; 20]), outlet });
        events
    }

    #[test]
    fn a_new_engine_is_not_asked_to_tell_listeners_that_are_gone() {
        let memory = DhtMemory::default();
        let kept = listen(&memory);
        drop(listen(&memory));
        assert_eq!(memory.replay().len(), 1);
        drop(kept);
        assert_eq!(memory.replay().len(), 0);
    }

    #[test]
    fn listeners_that_come_and_go_leave_little_behind() {
        let memory = DhtMemory::default();
        let kept: Vec<_> = (0..100).map(|_| listen(&memory)).collect();
        for _ in 0..10_000 {
            drop(listen(&memory));
        }
        let remembered = memory.lock().listenings.len();
        assert!((kept.len()..=2 * kept.len()).contains(&remembered), "{remembered}");
        assert_eq!(memory.replay().len(), kept.len());
    }
}
