//! Reading a history from its newest commits backwards, as far as it is wanted.

use std::collections::{BinaryHeap, HashMap, HashSet, hash_map};

use skep_protocol::ids::CommitId;
use skep_protocol::swarm::object::{Commit, ObjectSource};

/// A commit of the history is not there, or is no commit.
#[derive(Debug, thiserror::Error)]
#[error("commit {0} of the history cannot be read; fetch the conversation from another device")]
pub struct Unreadable(pub CommitId);

/// The newest commits of a history, parents first.
pub(super) struct Newest<T> {
    /// What is kept of each, and its parents that are among them.
    pub(super) commits: Vec<(T, Vec<CommitId>)>,
    /// Whether they are all there are. Otherwise one single commit leads to the rest, and comes before
    /// all of them.
    pub(super) complete: bool,
}

/// A commit that was read, and its parents.
struct Read<T> {
    kept: T,
    parents: Vec<CommitId>,
}

/// Reads from `heads` back until `count` commits are read and one single commit leads to the rest.
/// That commit is left out. Times that lie only make it read more. `keep` says what is kept of each; a
/// whole history does not fit into memory. None if that would be more than `most` commits.
pub(super) fn newest<T>(
    source: &impl ObjectSource,
    heads: &[CommitId],
    count: usize,
    most: usize,
    mut keep: impl FnMut(CommitId, &Commit) -> T,
) -> Result<Option<Newest<T>>, Unreadable> {
    let mut open = BinaryHeap::new();
    let mut read = HashMap::new();
    let mut enter = |id, place: hash_map::VacantEntry<'_, CommitId, Read<T>>, open: &mut BinaryHeap<_>| {
        let commit = read_commit(source, id)?;
        open.push((commit.seconds(), id));
        let kept = keep(id, &commit);
        place.insert(Read { kept, parents: commit.parents });
        Ok(())
    };
    for head in heads {
        if let hash_map::Entry::Vacant(place) = read.entry(*head) {
            enter(*head, place, &mut open)?;
        }
    }
    let (mut taken, mut reached_root) = (0_usize, false);
    while let Some((_, id)) = open.pop() {
        // Past the first commit of all, what is left comes after something that was read.
        if taken >= count && open.is_empty() && !reached_root {
            read.remove(&id);
            return Ok(Some(Newest { commits: parents_first(heads, read), complete: false }));
        }
        if taken >= most {
            return Ok(None);
        }
        taken += 1;
        let parents = read.get(&id).map(|commit| commit.parents.clone()).unwrap_or_default();
        reached_root |= parents.is_empty();
        for parent in parents {
            if let hash_map::Entry::Vacant(place) = read.entry(parent) {
                enter(parent, place, &mut open)?;
            }
        }
    }
    Ok(Some(Newest { commits: parents_first(heads, read), complete: true }))
}

/// Orders commits so that each comes after its parents among them.
fn parents_first<T>(heads: &[CommitId], mut commits: HashMap<CommitId, Read<T>>) -> Vec<(T, Vec<CommitId>)> {
    let parents_of = |commits: &HashMap<CommitId, Read<T>>, id: CommitId| -> Vec<CommitId> {
        let parents = commits.get(&id).map(|commit| commit.parents.clone()).unwrap_or_default();
        parents.into_iter().filter(|parent| commits.contains_key(parent)).collect()
    };
    let mut order = Vec::with_capacity(commits.len());
    let mut entered = HashSet::new();
    let mut open: Vec<_> = heads.iter().map(|head| (*head, false)).collect();
    while let Some((id, parents_done)) = open.pop() {
        if parents_done {
            order.push(id);
        } else if entered.insert(id) {
            open.push((id, true));
            open.extend(parents_of(&commits, id).into_iter().map(|parent| (parent, false)));
        }
    }
    let parents: Vec<_> = order.iter().map(|id| parents_of(&commits, *id)).collect();
    let with_parents = order.into_iter().zip(parents);
    with_parents.filter_map(|(id, parents)| Some((commits.remove(&id)?.kept, parents))).collect()
}

/// A commit of the history.
pub(super) fn read_commit(source: &impl ObjectSource, id: CommitId) -> Result<Commit, Unreadable> {
    let raw = source.commit(id).ok().flatten().ok_or(Unreadable(id))?;
    Commit::parse(raw).map_err(|_| Unreadable(id))
}
