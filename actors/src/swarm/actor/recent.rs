//! What has become part of the history lately, so that nobody has to look into the copy for it.

use std::collections::VecDeque;

use skep_protocol::ids::CommitId;

/// Commits remembered: what a group writes while one of its members is busy. Five kilobytes of a conversation that
/// is talked in.
const MAX_RECENT: usize = 256;

/// Commits that our head leads to, the last that came.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<CommitId>);

impl Recent {
    pub(super) fn add(&mut self, commits: impl IntoIterator<Item = CommitId>) {
        for commit in commits.into_iter().take(MAX_RECENT) {
            if self.0.len() >= MAX_RECENT {
                self.0.pop_front();
            }
            self.0.push_back(commit);
        }
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
        recent.add((0..10_000).map(commit));
        recent.add([commit(20_000)]);
        assert_eq!(recent.0.len(), MAX_RECENT);
        assert!(recent.has(commit(20_000)) && !recent.has(commit(0)) && !recent.has(commit(9_999)));
    }
}
