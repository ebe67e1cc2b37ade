//! A repository that several jobs use, each for single operations, and which of them are ready to be read.
//!
//! Only the last few that were used have their object store open: a node with thousands of conversations
//! keeps neither memory nor files for those in which nothing happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use bytes::Bytes;
use skep_protocol::ids::{BlobId, CommitId, TreeId};
use skep_protocol::swarm::object::{ObjectSource, SourceError};

use super::repository::{Access, Exclusive, Repository};

/// Repositories of the process with an open object store, of eighty kilobytes, a cache of at most half a
/// megabyte, and two files for each pack.
const MAX_AWAKE: usize = 16;

/// Those that are awake, in the order of their waking.
static AWAKE: Mutex<VecDeque<Weak<Mutex<Repository>>>> = Mutex::new(VecDeque::new());

/// A repository, locked for each operation.
#[derive(Debug)]
pub(super) struct SharedRepository(Arc<Mutex<Repository>>);

impl SharedRepository {
    pub(super) fn new(repository: Repository) -> Self {
        let shared = Self(Arc::new(Mutex::new(repository)));
        woken(&shared.0);
        shared
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Repository> {
        let repository = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !repository.is_awake() {
            repository.wake();
            // One that the system refuses to open takes no place.
            if repository.is_awake() {
                woken(&self.0);
            }
        }
        repository
    }

    /// Whether nobody uses it now.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.0.try_lock().is_ok()
    }
}

/// Remembers that a repository is awake, and lets those rest that have been longest if there are too many.
/// Never waits for one of them.
fn woken(repository: &Arc<Mutex<Repository>>) {
    let mut awake = AWAKE.lock().unwrap_or_else(PoisonError::into_inner);
    awake.push_back(Arc::downgrade(repository));
    // Those in use stay; each is looked at once.
    for _ in MAX_AWAKE..awake.len() {
        let Some(oldest) = awake.pop_front() else { return };
        let Some(shared) = oldest.upgrade() else { continue };
        match shared.try_lock() {
            Ok(mut repository) => repository.rest(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().rest(),
            Err(TryLockError::WouldBlock) => awake.push_back(oldest),
        }
    }
}

impl Access for SharedRepository {
    fn access<T>(&self, operation: impl FnOnce(&Repository) -> T) -> T {
        operation(&self.lock())
    }
}

impl Exclusive for SharedRepository {
    fn exclusive<T>(&self, operation: impl FnOnce(&mut Repository) -> T) -> T {
        operation(&mut self.lock())
    }
}

impl ObjectSource for SharedRepository {
    fn commit(&self, id: CommitId) -> Result<Option<Bytes>, SourceError> {
        self.lock().commit(id)
    }

    fn tree(&self, id: TreeId) -> Result<Option<Bytes>, SourceError> {
        self.lock().tree(id)
    }

    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<Bytes>, SourceError> {
        self.lock().blob(id, limit)
    }
}

#[cfg(test)]
mod tests {
    use skep_protocol::ids::AccountId;

    use super::*;
    use crate::swarm::testing::founder;

    fn is_awake(shared: &SharedRepository) -> bool {
        shared.0.lock().unwrap().is_awake()
    }

    #[test]
    fn only_the_last_few_repositories_are_awake_and_those_at_rest_can_be_read() {
        let place = tempfile::tempdir().unwrap();
        let founder = founder();
        let id = founder.begin(place.path(), AccountId([7; 20]), |_| false).unwrap();
        let open = |_| SharedRepository::new(Repository::open(&place.path().join(id.to_hex())).unwrap());
        let all: Vec<_> = (0..3 * MAX_AWAKE).map(open).collect();
        let awake = || all.iter().filter(|shared| is_awake(shared)).count();
        assert!(awake() <= MAX_AWAKE);
        assert!(!is_awake(&all[0]));
        // Somebody reads from it with the lock held while others wake.
        let first = all[0].lock();
        let head = first.head().unwrap().unwrap();
        for shared in &all[1..] {
            assert!(shared.commit(head).unwrap().is_some());
        }
        assert!(first.is_awake());
        drop(first);
        assert!(awake() <= MAX_AWAKE + 1);
        assert!(all[0].commit(head).unwrap().is_some());
    }
}
