//! Taking what a fetch brought into the history: stored and validated beside the repository, then
//! adopted, merged or left.

use std::collections::{BTreeMap, BTreeSet};

use skep_protocol::ids::CommitId;
use skep_protocol::swarm::create::{CreateError, Writer};
use skep_protocol::swarm::graph::CommitGraph;
use skep_protocol::swarm::history::HistoryCommit;
use skep_protocol::swarm::merge::{Merge, MergeError, merge_heads};
use skep_protocol::swarm::object::MemoryObjects;
use skep_protocol::swarm::reconcile::{Reconciliation, reconcile};
use skep_protocol::swarm::validate::Validator;
use skep_protocol::time::UnixMillis;

use super::{Moved, Overlay, Replica, ReplicaError, lock};
use crate::swarm::repository::fetch::{FetchError, FetchedPack, NewCommits};
use crate::swarm::repository::{Quarantine, RepositoryError};
use crate::swarm::timeline::{Newest, newest};

/// What a fetch brought, beside a head of ours.
pub(super) struct Compared {
    ours: CommitId,
    /// The commits that it lacks.
    new: BTreeSet<CommitId>,
    /// Those that lead to both heads; none if theirs has ours, or brings nothing.
    graph: Option<CommitGraph>,
}

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
        quarantine.renew(&self.repository.lock())?;
        let compared = self.compare(head, &valid, &quarantine)?;
        let _writer = lock(&self.writer);
        quarantine.renew(&self.repository.lock())?;
        let compared = match self.follow(compared)? {
            Some(compared) => compared,
            None => self.compare(head, &valid, &quarantine)?,
        };
        self.take_in(head, valid, compared, quarantine, now)
    }

    pub(super) fn validate(
        &self,
        quarantine: &Quarantine,
        commits: &[CommitId],
    ) -> Result<Vec<HistoryCommit>, ReplicaError> {
        let mut validator = Validator::new(quarantine, self.id);
        commits.iter().map(|id| Ok(HistoryCommit::from(&validator.validate(*id)?))).collect()
    }

    /// Compares what a fetch brought with our head. That reads all of it, so it is done while others
    /// write.
    pub(super) fn compare(
        &self,
        theirs: CommitId,
        valid: &[HistoryCommit],
        quarantine: &Quarantine,
    ) -> Result<Compared, ReplicaError> {
        let ours = self.head()?;
        // Where commit times lie, some of these may be known. The repository has no doubt.
        let mut new = quarantine.commits_between(theirs, &[ours])?;
        new.retain(|commit| !matches!(self.has(*commit), Ok(true)));
        // Another fetch may have brought some of what is valid into the history meanwhile.
        let new: BTreeSet<CommitId> = new.into_iter().collect();
        let parents: BTreeMap<CommitId, &[CommitId]> =
            valid.iter().map(|commit| (commit.id, commit.parents.as_slice())).collect();
        // Nothing known leads to our head, so whatever does is new.
        let mut contained = false;
        for commit in &new {
            contained |= match parents.get(commit) {
                Some(parents) => parents.contains(&ours),
                None => quarantine.commit_at(*commit)?.parents.contains(&ours),
            };
        }
        let apart = !contained && !new.is_empty();
        let graph = apart.then(|| graph(quarantine, [ours, theirs])).transpose()?;
        Ok(Compared { ours, new, graph })
    }

    /// Takes into a comparison what we wrote since; none if it has to be made anew. The writer's lock is
    /// held.
    pub(super) fn follow(&self, mut compared: Compared) -> Result<Option<Compared>, ReplicaError> {
        let ours = self.head()?;
        if ours == compared.ours {
            return Ok(Some(compared));
        }
        let Some(graph) = &mut compared.graph else { return Ok(None) };
        let repository = self.repository.lock();
        let mut follows = false;
        for id in repository.commits_between(ours, &[compared.ours])? {
            let commit = repository.commit_at(id)?;
            follows |= commit.parents.contains(&compared.ours);
            // What is there already is theirs, and came to us from somebody else meanwhile.
            if !matches!(graph.insert(id, &commit.parents, commit.seconds()), Ok(true)) {
                return Ok(None);
            }
        }
        compared.ours = ours;
        Ok(follows.then_some(compared))
    }

    pub(super) fn take_in(
        &self,
        theirs: CommitId,
        mut news: Vec<HistoryCommit>,
        compared: Compared,
        quarantine: Quarantine,
        now: UnixMillis,
    ) -> Result<Option<Moved>, ReplicaError> {
        let Compared { ours, new, graph } = compared;
        if new.is_empty() {
            return Ok(None);
        }
        news.retain(|commit| new.contains(&commit.id));
        let Some(graph) = graph else { return self.adopt_head(ours, theirs, quarantine, news).map(Some) };
        let only_merges = |head, other| -> Result<bool, ReplicaError> {
            for commit in graph.only_in(head, other) {
                if quarantine.commit_at(commit)?.parents.len() < 2 {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let decision = reconcile(ours, theirs, only_merges(ours, theirs)?, only_merges(theirs, ours)?);
        tracing::debug!(ours = %ours.short(), theirs = %theirs.short(), new = new.len(), ?decision, "two heads");
        match decision {
            Reconciliation::Adopt => self.adopt_head(ours, theirs, quarantine, news).map(Some),
            Reconciliation::Keep => Ok(None),
            // Who has left writes no more; the others merge.
            Reconciliation::Merge if !self.standing(ours)?.joined().contains(&self.account) => Ok(None),
            Reconciliation::Merge => match self.merge(&graph, ours, theirs, quarantine, news, now) {
                // A merge cannot bring our device's certificate: who has written merges, and we follow.
                Err(ReplicaError::Create(CreateError::NewDevice)) => Ok(None),
                merged => merged.map(Some),
            },
        }
    }

    fn adopt_head(
        &self,
        ours: CommitId,
        theirs: CommitId,
        quarantine: Quarantine,
        news: Vec<HistoryCommit>,
    ) -> Result<Moved, ReplicaError> {
        {
            let mut repository = self.repository.lock();
            repository.admit(quarantine)?;
            repository.move_main(Some(ours), theirs)?;
        }
        Ok(self.moved(theirs, news, true))
    }

    fn merge(
        &self,
        graph: &CommitGraph,
        ours: CommitId,
        theirs: CommitId,
        quarantine: Quarantine,
        mut news: Vec<HistoryCommit>,
        now: UnixMillis,
    ) -> Result<Moved, ReplicaError> {
        let draft = match merge_heads(&quarantine, graph, ours, theirs)? {
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

/// The commits that lead to two heads, down to one that leads to the rest and has no parents here: all that
/// only one of them has is among them.
fn graph(source: &Quarantine, heads: [CommitId; 2]) -> Result<CommitGraph, ReplicaError> {
    let Newest { commits, complete } = newest(source, &heads, heads.len())?;
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
