//! Taking what a fetch brought into the history: stored and validated beside the repository, then
//! adopted, merged or left.

use std::collections::BTreeSet;

use skep_protocol::ids::CommitId;
use skep_protocol::swarm::create::Writer;
use skep_protocol::swarm::graph::CommitGraph;
use skep_protocol::swarm::history::HistoryCommit;
use skep_protocol::swarm::merge::{Merge, MergeError, merge_heads};
use skep_protocol::swarm::object::MemoryObjects;
use skep_protocol::swarm::reconcile::{Reconciliation, reconcile};
use skep_protocol::swarm::validate::{ValidCommit, Validator};
use skep_protocol::time::UnixMillis;

use super::{Moved, Overlay, Replica, ReplicaError, lock};
use crate::swarm::repository::fetch::{FetchError, FetchedPack, NewCommits};
use crate::swarm::repository::{Quarantine, RepositoryError};
use crate::swarm::timeline::{Newest, newest};

impl Replica {
    /// Validates what a fetch brought, and takes it into the history or forgets it. Up to that
    /// decision others write as if there were no fetch.
    pub(in crate::swarm) fn integrate(
        &self,
        pack: FetchedPack,
        now: UnixMillis,
    ) -> Result<Option<Moved>, ReplicaError> {
        let new = pack.store(&self.repository).map_err(FetchError::from)?;
        self.integrate_stored(new, now)
    }

    pub(super) fn integrate_stored(
        &self,
        new: NewCommits,
        now: UnixMillis,
    ) -> Result<Option<Moved>, ReplicaError> {
        let NewCommits { head, commits, mut quarantine } = new;
        let valid = self.validate(&quarantine, &commits)?;
        let _writer = lock(&self.writer);
        quarantine.renew(&self.repository.lock())?;
        self.take_in(head, &valid, quarantine, now)
    }

    fn validate(
        &self,
        quarantine: &Quarantine,
        commits: &[CommitId],
    ) -> Result<Vec<ValidCommit>, ReplicaError> {
        let mut validator = Validator::new(quarantine, self.id);
        commits.iter().map(|id| Ok(validator.validate(*id)?)).collect()
    }

    fn take_in(
        &self,
        theirs: CommitId,
        valid: &[ValidCommit],
        quarantine: Quarantine,
        now: UnixMillis,
    ) -> Result<Option<Moved>, ReplicaError> {
        let ours = self.head()?;
        let only_ours = quarantine.commits_between(ours, &[theirs])?;
        let only_theirs = quarantine.commits_between(theirs, &[ours])?;
        if only_theirs.is_empty() {
            return Ok(None);
        }
        // Another fetch may have brought some of them into the history meanwhile.
        let news: BTreeSet<CommitId> = only_theirs.iter().copied().collect();
        let news = valid.iter().filter(|commit| news.contains(&commit.id()));
        let news: Vec<HistoryCommit> = news.map(HistoryCommit::from).collect();
        let are_merges = |commits: &[CommitId]| -> Result<bool, ReplicaError> {
            for commit in commits {
                if quarantine.commit_at(*commit)?.parents.len() < 2 {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let decision =
            reconcile(ours, theirs, only_ours.is_empty(), are_merges(&only_ours)?, are_merges(&only_theirs)?);
        tracing::debug!(
            ours = %ours.short(), theirs = %theirs.short(), only_ours = only_ours.len(),
            only_theirs = only_theirs.len(), ?decision, "another head"
        );
        match decision {
            Reconciliation::Adopt => {
                {
                    let mut repository = self.repository.lock();
                    repository.admit(quarantine)?;
                    repository.move_main(Some(ours), theirs)?;
                }
                Ok(Some(self.moved(theirs, news, true)))
            }
            Reconciliation::Keep => Ok(None),
            // Who has left writes no more; the others merge.
            Reconciliation::Merge if !self.standing(ours)?.joined().contains(&self.account) => Ok(None),
            Reconciliation::Merge => self.merge(ours, theirs, quarantine, news, now).map(Some),
        }
    }

    fn merge(
        &self,
        ours: CommitId,
        theirs: CommitId,
        quarantine: Quarantine,
        mut news: Vec<HistoryCommit>,
        now: UnixMillis,
    ) -> Result<Moved, ReplicaError> {
        let merged = match merge_heads(&quarantine, &graph(&quarantine, &[ours, theirs], 2)?, ours, theirs) {
            // Times that lie can hide the common ancestors from a short look.
            Err(MergeError::Unrelated) => {
                merge_heads(&quarantine, &graph(&quarantine, &[ours, theirs], usize::MAX)?, ours, theirs)
            }
            merged => merged,
        }?;
        let draft = match merged {
            Merge::Merged { tree, objects } => {
                let mut known = Overlay { new: MemoryObjects::default(), base: &quarantine };
                known.new.extend(objects.iter().cloned());
                Writer::new(&known, &self.local, ours, now)?.merge(theirs, tree, objects)?
            }
            // Neither can be: both sides have commits of their own.
            Merge::UpToDate | Merge::FastForward => return Err(MergeError::Unrelated.into()),
        };
        let (commit, objects) = self.sign_draft(draft)?;
        let head = commit.id;
        news.push(commit);
        self.repository.lock().admit(quarantine)?;
        self.advance(ours, head, &objects, news)
    }
}

/// At least `count` of the commits that lead to `heads`, and down to one that leads to the rest.
fn graph(source: &Quarantine, heads: &[CommitId], count: usize) -> Result<CommitGraph, ReplicaError> {
    let Newest { commits, complete } = newest(source, heads, count)?;
    let mut graph = CommitGraph::default();
    let full = |_| RepositoryError::TooMany { what: "commits", limit: usize::MAX };
    let inside: BTreeSet<CommitId> = commits.iter().map(|(id, ..)| *id).collect();
    if !complete {
        let parents = commits.iter().flat_map(|(_, commit, _)| &commit.parents);
        let gates: BTreeSet<_> = parents.filter(|parent| !inside.contains(parent)).copied().collect();
        for gate in gates {
            graph.insert(gate, &[], source.commit_at(gate)?.seconds()).map_err(full)?;
        }
    }
    for (id, commit, _) in commits {
        graph.insert(id, &commit.parents, commit.seconds()).map_err(full)?;
    }
    Ok(graph)
}
