//! What has become part of the history lately, so that nobody has to look into the copy for it.

use std::collections::{BTreeSet, VecDeque};

use skep_protocol::ids::CommitId;

/// Commits remembered: what a group writes while one of its members is busy. Five kilobytes of a conversation that
/// is talked in.
const MAX_RECENT: usize = 256;

/// Commits that our head leads to: the last that came, but for those of long fetches.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<CommitId>);

impl Recent {
    /// Adds what one change of the head has brought. Of a long fetch that is nothing: nobody announces it again.
    pub(super) fn add(&mut self, commits: &BTreeSet<CommitId>, head: CommitId) {
        let commits = commits.iter().filter(|_| commits.len() < MAX_RECENT).copied();
        for commit in commits.filter(|commit| *commit != head).chain([head]) {
            if self.0.len() >= MAX_RECENT {
                self.0.pop_front();
            }
            self.0.push_back(commit);
        }
    }

    /// The head has left some of them aside.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether it is known to have come. Older ones are not known to have not.
    pub(super) fn has(&self, commit: CommitId) -> bool {
        self.0.contains(&commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_commits_are_remembered_and_no_more() {
        let commit = |number: u32| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&number.to_be_bytes());
            CommitId(id)
        };
        let mut recent = Recent::default();
        for number in 1..=300 {
            // A head that came with what is before it, as every one does.
            recent.add(&[commit(number)].into(), commit(number));
        }
        assert_eq!(recent.0.len(), MAX_RECENT);
        assert!(recent.has(commit(300)) && recent.has(commit(45)) && !recent.has(commit(44)));
        recent.add(&(1000..2000).map(commit).collect(), commit(1999));
        assert!(recent.has(commit(1999)) && !recent.has(commit(1500)) && recent.has(commit(300)));
        recent.clear();
        assert!(!recent.has(commit(1999)));
    }
}
