//! The copies of conversations that are open in this process, so that none is opened twice.
//!
//! An actor that is made anew may find that a job of the one before still runs on the pool. A second
//! repository over the same folder would take its unfinished files for leftovers, so the actor gets
//! the copy that is open instead.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::replica::Replica;

static OPEN: Mutex<Option<HashMap<PathBuf, Entry>>> = Mutex::new(None);

/// A copy, and which folder it was opened in: another one may have taken that folder's name since.
#[derive(Debug)]
struct Entry {
    folder: (u64, u64),
    replica: Weak<Replica>,
}

fn identify(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn lock() -> MutexGuard<'static, Option<HashMap<PathBuf, Entry>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The copy that is open in this folder, if one is.
pub(super) fn find(path: &Path) -> Option<Arc<Replica>> {
    let folder = identify(path)?;
    let open = lock();
    let entry = open.as_ref()?.get(path)?;
    entry.replica.upgrade().filter(|_| entry.folder == folder)
}

/// Remembers that a copy is open in this folder.
pub(super) fn remember(path: &Path, replica: &Arc<Replica>) {
    let Some(folder) = identify(path) else { return };
    let mut open = lock();
    let entries = open.get_or_insert_default();
    entries.retain(|_, entry| entry.replica.strong_count() > 0);
    entries.insert(path.to_owned(), Entry { folder, replica: Arc::downgrade(replica) });
}

#[cfg(test)]
mod tests {
    use skep_protocol::ids::AccountId;

    use super::*;
    use crate::swarm::testing::founder;

    #[test]
    fn a_copy_is_shared_while_it_is_open_and_only_within_its_own_folder() {
        let place = tempfile::tempdir().unwrap();
        let founder = founder();
        let id = founder.begin(place.path(), AccountId([7; 20]), |_| false).unwrap();
        let path = place.path().join(id.to_hex());
        let open = || Replica::open(id, &path, &founder).unwrap().unwrap().0;
        let first = open();
        assert!(Arc::ptr_eq(&first, &open()));
        // Removed and made again while a job still holds the first one.
        fs::rename(&path, place.path().join("erased")).unwrap();
        founder.begin(place.path(), AccountId([7; 20]), |_| false).unwrap();
        assert!(!Arc::ptr_eq(&first, &open()));
        drop(first);
        assert!(find(&path).is_none(), "the second one was dropped at once");
    }
}
