//! Trees read before. Most commits of a history share nearly all folders with the one before, so
//! that a whole history costs one reading of each tree in it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::object::Tree;
use crate::ids::TreeId;

/// Most entries of the trees kept since the last change of generation; an entry takes some hundred
/// bytes. Twice as many are kept in all: trees not asked for in one whole generation are let go.
const MAX_ENTRIES: usize = 100_000;

/// Trees that were read and checked.
#[derive(Debug, Default)]
pub(super) struct TreeCache {
    generations: RefCell<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    recent: HashMap<TreeId, Arc<Tree>>,
    /// Entries of all `recent` trees, and one for each of them.
    size: usize,
    older: HashMap<TreeId, Arc<Tree>>,
}

impl TreeCache {
    pub(super) fn get(&self, id: TreeId) -> Option<Arc<Tree>> {
        let mut generations = self.generations.borrow_mut();
        if let Some(tree) = generations.recent.get(&id) {
            return Some(Arc::clone(tree));
        }
        let tree = generations.older.remove(&id)?;
        generations.keep(id, Arc::clone(&tree));
        Some(tree)
    }

    pub(super) fn put(&self, id: TreeId, tree: Arc<Tree>) {
        self.generations.borrow_mut().keep(id, tree);
    }
}

impl Generations {
    fn keep(&mut self, id: TreeId, tree: Arc<Tree>) {
        let size = tree.entries().len().saturating_add(1);
        if self.size.saturating_add(size) > MAX_ENTRIES {
            self.older = std::mem::take(&mut self.recent);
            self.size = 0;
        }
        self.size = self.size.saturating_add(size);
        self.recent.insert(id, tree);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BlobId;
    use crate::swarm::object::EntryKind;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_let_go() {
        let mut tree = Tree::default();
        tree.put("a", EntryKind::File(BlobId([1; 20]))).unwrap();
        let tree = Arc::new(tree);
        let id = |number: usize| TreeId(crate::ids::sha1(&number.to_le_bytes()));
        let cache = TreeCache::default();
        for number in 0..MAX_ENTRIES * 2 {
            cache.put(id(number), Arc::clone(&tree));
            assert!(cache.get(id(0)).is_some());
        }
        assert!(cache.get(id(1)).is_none());
        let generations = cache.generations.borrow();
        assert!(generations.recent.len() + generations.older.len() <= MAX_ENTRIES);
    }
}
