//! Whether a commit is part of the history, without walking all of it for each question.
//!
//! What a walk reached is remembered, and the next one stops there, so that as the history grows all
//! walks together read every commit once. That a commit is in the store does not tell it: a crash
//! between writing one and moving the head leaves it there, and a head that was a merge of our own
//! may have been given up for somebody else's.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use skep_protocol::ids::CommitId;

use super::{Access, Repository, Result};

/// A head and all that it reaches: some 30 bytes a commit, from the first question about an old one
/// on. Shared by a repository and its views.
#[derive(Debug, Default)]
pub(super) struct Reached(Mutex<Walked>);

#[derive(Debug, Default)]
struct Walked {
    head: Option<CommitId>,
    commits: HashSet<CommitId>,
}

/// What a walk found.
struct Ancestors {
    /// What is new.
    commits: HashSet<CommitId>,
    /// Known parents of new ones.
    met: HashSet<CommitId>,
}

/// Whether a commit is part of the history of `main`. If that needs a walk, the repository is not
/// held for it.
///
/// # Errors
/// When a commit of the history is missing or damaged, or what the system says.
pub fn is_in_history(repository: &impl Access, commit: CommitId) -> Result<bool> {
    let (head, view) = repository.access(|repository| -> Result<_> {
        if !repository.contains(commit.into())? {
            return Ok((None, None));
        }
        let head = repository.head()?;
        Ok((head, (head != Some(commit)).then(|| repository.view())))
    })?;
    match (head, view) {
        (Some(head), Some(view)) => view.reaches(head, commit),
        (head, _) => Ok(head == Some(commit)),
    }
}

impl Repository {
    /// Whether `commit` is `head` or one of its ancestors; `head` is that of now or was a moment ago.
    ///
    /// # Errors
    /// When a commit is missing or damaged.
    pub(super) fn reaches(&self, head: CommitId, commit: CommitId) -> Result<bool> {
        let mut walked = self.reached.0.lock().unwrap_or_else(PoisonError::into_inner);
        if head != commit && !walked.commits.contains(&head) {
            self.walk_on(&mut walked, head)?;
        }
        Ok(head == commit || walked.commits.contains(&commit))
    }

    /// Goes from `head` to what was walked before, and forgets that if it is no part of its history.
    fn walk_on(&self, walked: &mut Walked, head: CommitId) -> Result<()> {
        let mut new = self.ancestors(head, &walked.commits)?;
        if let Some(before) = walked.head.filter(|before| !new.met.contains(before)) {
            let parents = self.commit_at(before)?.parents;
            if !parents.is_empty() && parents.iter().all(|parent| new.met.contains(parent)) {
                // A merge was given up for another one of the same: all that it reached is reached still.
                walked.commits.remove(&before);
            } else {
                *walked = Walked::default();
                new = self.ancestors(head, &walked.commits)?;
            }
        }
        walked.commits.extend(new.commits);
        walked.head = Some(head);
        Ok(())
    }

    /// `head` and its ancestors, down to those in `known`.
    fn ancestors(&self, head: CommitId, known: &HashSet<CommitId>) -> Result<Ancestors> {
        let (mut commits, mut met) = (HashSet::from([head]), HashSet::new());
        let mut open = vec![head];
        while let Some(id) = open.pop() {
            for parent in self.commit_at(id)?.parents {
                if known.contains(&parent) {
                    met.insert(parent);
                } else if commits.insert(parent) {
                    open.push(parent);
                }
            }
        }
        Ok(Ancestors { commits, met })
    }
}
