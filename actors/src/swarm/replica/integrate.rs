//! Taking what a fetch brought into the history: stored and validated beside the repository, then
//! adopted, merged or left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use skep_protocol::ids::CommitId;
use skep_protocol::swarm::create::{CreateError, Writer};
use skep_protocol::swarm::graph::CommitGraph;
use skep_protocol::swarm::history::HistoryCommit;
use skep_protocol::swarm::merge::{Merge, MergeError, merge_heads};
use skep_protocol::swarm::object::{Commit, MemoryObjects};
use skep_protocol::swarm::reconcile::{Reconciliation, reconcile};
use skep_protocol::swarm::validate::Validator;
use skep_protocol::time::UnixMillis;

use super::{Moved, Overlay, Replica, ReplicaError, lock};
use crate::swarm::newest::{Newest, newest};
use crate::swarm::repository::fetch::{FetchError, FetchedPack, NewCommits};
use crate::swarm::repository::{Quarantine, RepositoryError};
use crate::swarm::timeline::{News, weight};

/// Commits of a fetch that are told one by one; whoever wants more reads the history. A quarter of what
/// the events of a node have room for.
const MAX_TOLD: usize = 1024;

/// Memory of the messages that wait to be told, in bytes.
const MAX_TOLD_BYTES: usize = 16 * 1024 * 1024;

/// How often what a fetch brought is compared with our head, because that has moved to where the comparison
/// does not lead; the last time, whoever writes waits.
const MAX_COMPARISONS: usize = 4;

/// Commits that passed all rules. Of a fetch with a million of them, no more is kept than is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Valid {
    /// All of them, with their parents.
    parents: BTreeMap<CommitId, Vec<CommitId>>,
    /// The newest, parents first.
    newest: VecDeque<HistoryCommit>,
    /// What those take, in bytes.
    weight: usize,
}

impl Valid {
    /// Adds one that comes after all its parents.
    fn add(&mut self, commit: HistoryCommit) {
        self.parents.insert(commit.id, commit.parents.clone());
        self.weight += weight(&commit);
        self.newest.push_back(commit);
        while self.newest.len() > MAX_TOLD || self.weight > MAX_TOLD_BYTES {
            let Some(oldest) = self.newest.pop_front() else { break };
            self.weight -= weight(&oldest);
        }
    }

    /// Those that are new: whatever follows one of them is new, too.
    fn news(self, new: &BTreeSet<CommitId>) -> News {
        let commits: Vec<_> = self.newest.into_iter().filter(|commit| new.contains(&commit.id)).collect();
        let all = new.iter().filter(|commit| self.parents.contains_key(commit)).count();
        News { untold: all.saturating_sub(commits.len()), commits }
    }
}

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
        for _ in 1..MAX_COMPARISONS {
            let compared = self.compare(head, &valid, &quarantine)?;
            let _writer = lock(&self.writer);
            quarantine.renew(&self.repository.lock())?;
            if let Some(compared) = self.follow(compared)? {
                return self.take_in(head, valid, compared, quarantine, now);
            }
        }
        let _writer = lock(&self.writer);
        quarantine.renew(&self.repository.lock())?;
        let compared = self.compare(head, &valid, &quarantine)?;
        self.take_in(head, valid, compared, quarantine, now)
    }

    pub(super) fn validate(
        &self,
        quarantine: &Quarantine,
        commits: &[CommitId],
    ) -> Result<Valid, ReplicaError> {
        let mut validator = Validator::new(quarantine, self.id);
        let mut valid = Valid::default();
        for id in commits {
            valid.add(HistoryCommit::from(&validator.validate(*id)?));
        }
        Ok(valid)
    }

    /// Compares what a fetch brought with our head. That reads all of it, so it is done while others
    /// write.
    pub(super) fn compare(
        &self,
        theirs: CommitId,
        valid: &Valid,
        quarantine: &Quarantine,
    ) -> Result<Compared, ReplicaError> {
        let ours = self.head()?;
        // Where commit times lie, some of these may be known. The repository has no doubt.
        let mut new = quarantine.commits_between(theirs, &[ours])?;
        new.retain(|commit| !matches!(self.has(*commit), Ok(true)));
        // Another fetch may have brought some of what is valid into the history meanwhile.
        let new: BTreeSet<CommitId> = new.into_iter().collect();
        // Nothing known leads to our head, so whatever does is new.
        let mut contained = false;
        for commit in &new {
            contained |= match valid.parents.get(commit) {
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
        valid: Valid,
        compared: Compared,
        quarantine: Quarantine,
        now: UnixMillis,
    ) -> Result<Option<Moved>, ReplicaError> {
        let Compared { ours, new, graph } = compared;
        if new.is_empty() {
            return Ok(None);
        }
        let news = valid.news(&new);
        let count = new.len();
        let brought = |moved| Moved { new, ..moved };
        let Some(graph) = graph else {
            return self.adopt_head(ours, theirs, quarantine, news).map(brought).map(Some);
        };
        let only_merges = |head, other| -> Result<bool, ReplicaError> {
            for commit in graph.only_in(head, other) {
                if quarantine.commit_at(commit)?.parents.len() < 2 {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let decision = reconcile(ours, theirs, only_merges(ours, theirs)?, only_merges(theirs, ours)?);
        tracing::debug!(ours = %ours.short(), theirs = %theirs.short(), new = count, ?decision, "two heads");
        match decision {
            // Both heads have something of their own, so ours is given up, and it is merges alone.
            Reconciliation::Adopt => {
                let moved = self.adopt_head(ours, theirs, quarantine, news).map(brought)?;
                Ok(Some(Moved { gave_up: true, ..moved }))
            }
            Reconciliation::Keep => Ok(None),
            // Who has left writes no more; the others merge.
            Reconciliation::Merge if !self.standing(ours)?.joined().contains(&self.account) => Ok(None),
            Reconciliation::Merge => match self.merge(&graph, ours, theirs, quarantine, news, now) {
                // A merge cannot bring our device's certificate: who has written merges, and we follow.
                Err(ReplicaError::Create(CreateError::NewDevice)) => Ok(None),
                merged => merged.map(brought).map(Some),
            },
        }
    }

    fn adopt_head(
        &self,
        ours: CommitId,
        theirs: CommitId,
        quarantine: Quarantine,
        news: News,
    ) -> Result<Moved, ReplicaError> {
        {
            let mut repository = self.repository.lock();
            repository.admit(quarantine)?;
            repository.move_main(Some(ours), theirs)?;
        }
        Ok(self.moved(theirs, &news, true))
    }

    fn merge(
        &self,
        graph: &CommitGraph,
        ours: CommitId,
        theirs: CommitId,
        quarantine: Quarantine,
        mut news: News,
        now: UnixMillis,
    ) -> Result<Moved, ReplicaError> {
        let draft = match merge_heads(&quarantine, graph, ours, theirs)? {
            Merge::Merged { tree, objects } => {
                let mut known = Overlay { new: MemoryObjects::default(), base: &quarantine };
                known.new.extend(objects.iter().cloned());
                Writer::new(&known, &self.local(), ours, now)?.merge(theirs, tree, objects)?
            }
            // Neither can be: both sides have commits of their own.
            Merge::UpToDate | Merge::FastForward => return Err(MergeError::Unrelated.into()),
        };
        let (commit, objects) = self.sign_draft(draft)?;
        let head = commit.id;
        news.commits.push(commit);
        self.repository.lock().admit(quarantine)?;
        self.advance(ours, head, &objects, &news)
    }
}

/// The commits that lead to two heads, down to one that leads to the rest and has no parents here: all that
/// only one of them has is among them.
fn graph(source: &Quarantine, heads: [CommitId; 2]) -> Result<CommitGraph, ReplicaError> {
    let keep = |id, commit: &Commit| (id, commit.parents.clone(), commit.seconds());
    let Some(Newest { commits, complete }) = newest(source, &heads, heads.len(), usize::MAX, keep)? else {
        return Ok(CommitGraph::default());
    };
    let mut graph = CommitGraph::default();
    let full = |_| RepositoryError::TooMany { what: "commits", limit: usize::MAX };
    if !complete {
        let inside: BTreeSet<CommitId> = commits.iter().map(|((id, ..), _)| *id).collect();
        let parents = commits.iter().flat_map(|((_, parents, _), _)| parents);
        let gates: BTreeSet<_> = parents.filter(|parent| !inside.contains(parent)).copied().collect();
        for gate in gates {
            graph.insert(gate, &[], source.commit_at(gate)?.seconds()).map_err(full)?;
        }
    }
    for ((id, parents, seconds), _) in commits {
        graph.insert(id, &parents, seconds).map_err(full)?;
    }
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use skep_protocol::ids::{AccountId, DeviceId};
    use skep_protocol::swarm::message::CommitMessage;

    use super::*;

    fn commit(number: u32, parent: Option<CommitId>, text: &str) -> HistoryCommit {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let message = format!(r#"{{"body":"{text}","type":"text/plain"}}"#);
        HistoryCommit {
            id: CommitId(id),
            parents: parent.into_iter().collect(),
            author: AccountId([1; 20]),
            device: DeviceId([2; 32]),
            seconds: i64::from(number),
            message: CommitMessage::parse(message.as_bytes()).ok(),
        }
    }

    #[test]
    fn of_a_fetch_of_any_length_only_so_many_messages_and_bytes_are_kept_in_memory() {
        for (count, text) in [(3000_u32, "short".to_owned()), (300, "x".repeat(200_000))] {
            let (mut valid, mut last) = (Valid::default(), None);
            for number in 0..count {
                let commit = commit(number, last, &text);
                last = Some(commit.id);
                valid.add(commit);
                assert!(valid.newest.len() <= MAX_TOLD && valid.weight <= MAX_TOLD_BYTES);
            }
            let all: BTreeSet<_> = valid.parents.keys().copied().collect();
            let news = valid.clone().news(&all);
            assert!(news.untold > 0 && news.commits.last().map(|commit| commit.id) == last);
            assert_eq!(news.untold + news.commits.len(), all.len());
            let few: BTreeSet<_> = all.into_iter().rev().take(3).collect();
            let news = valid.news(&few);
            assert_eq!((news.commits.len(), news.untold), (3, 0));
        }
    }
}
