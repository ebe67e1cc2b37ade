//! What to do with another head (`spec: swarm 6.1`), so that merges do not answer merges for ever.
//!
//! Two devices that see the same fork each merge it, and then have two heads again. If each merged
//! those too, it would never end. Here a head that only adds merges says nothing new, and is given
//! up for one that says as much:
//!
//! ```text
//!   their commits that we lack     our commits that they lack     what we do
//!   only merges                    only merges                    both move to the smaller head
//!   some content                   only merges                    move to theirs
//!   only merges                    some content                   keep ours: they move to it
//!   some content                   some content                   merge
//! ```
//!
//! Daemons that always merge end the same: their next merge has ours as a parent, and we move to it.

use crate::ids::CommitId;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciliation {
    /// Make theirs our head.
    Adopt,
    /// Leave our head as it is.
    Keep,
    /// Make a merge commit.
    Merge,
}

/// Decides about `theirs`, where each of the two has commits that the other lacks.
#[must_use]
pub fn reconcile(
    ours: CommitId,
    theirs: CommitId,
    we_add_only_merges: bool,
    they_add_only_merges: bool,
) -> Reconciliation {
    match (we_add_only_merges, they_add_only_merges) {
        (true, true) if theirs < ours => Reconciliation::Adopt,
        (_, true) => Reconciliation::Keep,
        (true, false) => Reconciliation::Adopt,
        (false, false) => Reconciliation::Merge,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Some devices that write, fetch from each other and reconcile, over one pool of commits.
    #[derive(Default)]
    struct World {
        parents: BTreeMap<CommitId, Vec<CommitId>>,
        heads: Vec<CommitId>,
        merges: usize,
    }

    impl World {
        fn new(devices: usize) -> Self {
            let mut world = Self::default();
            let root = world.commit(Vec::new(), 0);
            world.heads = vec![root; devices];
            world
        }

        /// The id is a hash of the number, so that sizes of ids have nothing to do with time.
        fn commit(&mut self, parents: Vec<CommitId>, salt: usize) -> CommitId {
            let id = CommitId(crate::ids::sha1(format!("{} {salt}", self.parents.len()).as_bytes()));
            self.parents.insert(id, parents);
            id
        }

        fn ancestors(&self, head: CommitId) -> BTreeSet<CommitId> {
            let mut found = BTreeSet::new();
            let mut open = vec![head];
            while let Some(id) = open.pop() {
                if found.insert(id) {
                    open.extend(&self.parents[&id]);
                }
            }
            found
        }

        fn write(&mut self, device: usize) {
            self.heads[device] = self.commit(vec![self.heads[device]], device);
        }

        /// Whether anything changed.
        fn fetch(&mut self, device: usize, from: usize) -> bool {
            self.take(device, self.heads[from])
        }

        /// Has a device take in a head. Whether anything changed.
        fn take(&mut self, device: usize, theirs: CommitId) -> bool {
            let ours = self.heads[device];
            let (mine, other) = (self.ancestors(ours), self.ancestors(theirs));
            if mine.contains(&theirs) {
                return false;
            }
            let only_merges = |here: &BTreeSet<CommitId>, there: &BTreeSet<CommitId>| {
                here.difference(there).all(|id| self.parents[id].len() > 1)
            };
            let (we, they) = (only_merges(&mine, &other), only_merges(&other, &mine));
            if other.contains(&ours) {
                self.heads[device] = theirs;
                return true;
            }
            self.heads[device] = match reconcile(ours, theirs, we, they) {
                Reconciliation::Adopt => theirs,
                Reconciliation::Keep => return false,
                Reconciliation::Merge => {
                    self.merges += 1;
                    self.commit(vec![ours, theirs], device)
                }
            };
            true
        }

        /// Every device fetches from every other. Whether anything changed.
        fn fetch_from_all(&mut self) -> bool {
            let mut changed = false;
            for (device, from) in (0..16).map(|pair| (pair / 4, pair % 4)) {
                changed |= self.fetch(device, from);
            }
            changed
        }

        fn content(&self, device: usize) -> BTreeSet<CommitId> {
            self.ancestors(self.heads[device]).into_iter().filter(|id| self.parents[id].len() < 2).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn devices_converge_to_one_head_without_loss_and_with_few_merges(
            steps in prop::collection::vec((0..4_usize, 0..4_usize), 0..60),
        ) {
            let mut world = World::new(4);
            for (device, from) in steps {
                if device == from {
                    world.write(device);
                } else {
                    world.fetch(device, from);
                }
            }
            let written = world.parents.values().filter(|parents| parents.len() < 2).count();
            world.merges = 0;
            let mut rounds = 0;
            while world.fetch_from_all() {
                rounds += 1;
                prop_assert!(rounds < 16, "still changing");
            }
            prop_assert_eq!(BTreeSet::from_iter(&world.heads).len(), 1);
            prop_assert_eq!(world.content(0).len(), written);
            prop_assert!(world.merges <= 12, "{} merges", world.merges);
        }
    }

    #[test]
    fn merge_commits_are_not_answered_with_merge_commits_however_often_they_are_announced() {
        let mut world = World::new(4);
        (0..4).for_each(|device| world.write(device));
        // All hear of each other's heads in the same moment, again and again.
        for round in 0..1000 {
            let heads = world.heads.clone();
            for device in 0..4 {
                world.take(device, heads[(device + 1 + round % 3) % 4]);
            }
        }
        assert_eq!(BTreeSet::from_iter(&world.heads).len(), 1);
        assert!(world.merges <= 12, "{} merges", world.merges);
    }

    #[test]
    fn two_merges_of_the_same_fork_end_in_one_head() {
        let mut world = World::new(2);
        world.write(0);
        world.write(1);
        let (a, b) = (world.heads[0], world.heads[1]);
        world.heads = vec![world.commit(vec![a, b], 7), world.commit(vec![b, a], 8)];
        world.fetch(0, 1);
        world.fetch(1, 0);
        assert_eq!(world.heads[0], world.heads[1]);
        assert_eq!(world.merges, 0);
    }
}
