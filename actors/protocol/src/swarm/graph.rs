//! Which commit follows which: the order of display, merge bases, what is new.
//!
//! Commits are entered parents first, so that a commit's place in the list is greater than those
//! of all its ancestors. Everything below walks that list once and needs no recursion.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::object::{Commit, ObjectSource};
use super::refusal::{Problem, Refusal, ValidationError};
use crate::ids::CommitId;

/// Most commits of one conversation. A commit takes about a kilobyte, so this is a hundred times
/// what the 256 MiB of a clone can bring.
pub const MAX_COMMITS: usize = 32_000_000;

/// Most commits for which room is made ahead.
const MAX_RESERVED: usize = 1_000_000;

/// A commit whose parents are not in the graph, or one too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The parent has to be entered first.
    #[error("commit {commit} follows {parent}, which is unknown")]
    UnknownParent {
        /// The new commit.
        commit: CommitId,
        /// Its parent.
        parent: CommitId,
    },
    /// There are [`MAX_COMMITS`] already.
    #[error("the conversation has too many commits")]
    Full,
}

#[derive(Clone, Debug)]
struct Node {
    id: CommitId,
    seconds: i64,
    /// Its parents are `edges[start..end]`.
    edges: (u32, u32),
}

/// The commits of a conversation and their parents.
#[derive(Clone, Debug, Default)]
pub struct CommitGraph {
    nodes: Vec<Node>,
    edges: Vec<u32>,
    places: HashMap<CommitId, u32>,
}

impl CommitGraph {
    /// Enters a commit after its parents; `seconds` is its commit time. Says whether it is new.
    ///
    /// # Errors
    /// [`GraphError`] when a parent is unknown or there are too many commits.
    pub fn insert(&mut self, id: CommitId, parents: &[CommitId], seconds: i64) -> Result<bool, GraphError> {
        if self.nodes.len() >= MAX_COMMITS {
            return Err(GraphError::Full);
        }
        let place = u32::try_from(self.nodes.len()).map_err(|_| GraphError::Full)?;
        let start = self.edges.len();
        for parent in parents {
            let Some(place) = self.places.get(parent) else {
                self.edges.truncate(start);
                return Err(GraphError::UnknownParent { commit: id, parent: *parent });
            };
            self.edges.push(*place);
        }
        let Entry::Vacant(vacant) = self.places.entry(id) else {
            self.edges.truncate(start);
            return Ok(false);
        };
        let edge = |place: usize| u32::try_from(place).map_err(|_| GraphError::Full);
        self.nodes.push(Node { id, seconds, edges: (edge(start)?, edge(self.edges.len())?) });
        vacant.insert(place);
        Ok(true)
    }

    /// Makes room for so many more commits.
    pub(super) fn reserve(&mut self, commits: usize) {
        let commits = commits.min(MAX_RESERVED);
        self.nodes.reserve(commits);
        self.edges.reserve(commits);
        self.places.reserve(commits);
    }

    fn parents_of(&self, node: &Node) -> &[u32] {
        self.edges.get(node.edges.0 as usize..node.edges.1 as usize).unwrap_or_default()
    }

    /// Whether the commit is known.
    #[must_use]
    pub fn contains(&self, id: CommitId) -> bool {
        self.places.contains_key(&id)
    }

    /// How many commits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The parents of a commit; `None` if it is unknown.
    pub fn parents(&self, id: CommitId) -> Option<impl Iterator<Item = CommitId>> {
        let node = self.nodes.get(*self.places.get(&id)? as usize)?;
        Some(self.parents_of(node).iter().filter_map(|place| Some(self.nodes.get(*place as usize)?.id)))
    }

    /// `head` and all its ancestors, newest first: children before parents, of those that are free
    /// the one with the latest time, of equal times the one that became free first
    /// (`spec: swarm 8`). Empty if `head` is unknown. Takes time in proportion to the history.
    #[must_use]
    pub fn order(&self, head: CommitId) -> Vec<CommitId> {
        let places = self.places.get(&head).map(|head| self.order_of_places(*head)).unwrap_or_default();
        places.into_iter().filter_map(|place| Some(self.nodes.get(place as usize)?.id)).collect()
    }

    /// Where a commit stands in the order of entry.
    pub(super) fn place(&self, id: CommitId) -> Option<u32> {
        self.places.get(&id).copied()
    }

    /// The commit at a place.
    pub(super) fn id_at(&self, place: u32) -> Option<CommitId> {
        Some(self.nodes.get(place as usize)?.id)
    }

    /// Commit time in seconds of the commit at a place.
    pub(super) fn seconds_at(&self, place: u32) -> Option<i64> {
        Some(self.nodes.get(place as usize)?.seconds)
    }

    /// [`CommitGraph::order`] in places.
    pub(super) fn order_of_places(&self, head: u32) -> Vec<u32> {
        let (mut waiting, size) = self.children_below(head);
        let mut order = Vec::with_capacity(size);
        let mut free = BinaryHeap::new();
        let mut entered = 0_u64;
        let mut enter = |free: &mut BinaryHeap<_>, place: u32, node: &Node| {
            free.push((node.seconds, Reverse(entered), place));
            entered += 1;
        };
        if let Some(node) = self.nodes.get(head as usize) {
            enter(&mut free, head, node);
        }
        while let Some((_, _, place)) = free.pop() {
            let Some(node) = self.nodes.get(place as usize) else { continue };
            order.push(place);
            for &parent in self.parents_of(node) {
                let (Some(count), Some(node)) =
                    (waiting.get_mut(parent as usize), self.nodes.get(parent as usize))
                else {
                    continue;
                };
                *count = count.saturating_sub(1);
                if *count == 0 {
                    enter(&mut free, parent, node);
                }
            }
        }
        order
    }

    /// For every ancestor of `head`, how many children lead to `head`; and how many there are.
    fn children_below(&self, head: u32) -> (Vec<u32>, usize) {
        let mut children = vec![0_u32; head as usize + 1];
        let mut size = 0;
        for (place, node) in self.nodes.iter().enumerate().take(head as usize + 1).rev() {
            if place != head as usize && children.get(place).is_none_or(|count| *count == 0) {
                continue;
            }
            size += 1;
            for &parent in self.parents_of(node) {
                if let Some(count) = children.get_mut(parent as usize) {
                    *count += 1;
                }
            }
        }
        (children, size)
    }

    /// Whether `ancestor` is `descendant` or one of its ancestors.
    #[must_use]
    pub fn is_ancestor(&self, ancestor: CommitId, descendant: CommitId) -> bool {
        let (Some(&from), Some(&to)) = (self.places.get(&ancestor), self.places.get(&descendant)) else {
            return false;
        };
        let mut seen = HashSet::new();
        let mut open = vec![to];
        while let Some(place) = open.pop() {
            if place == from {
                return true;
            }
            if place > from && seen.insert(place) {
                open.extend(
                    self.nodes.get(place as usize).into_iter().flat_map(|node| self.parents_of(node)),
                );
            }
        }
        false
    }

    /// The commits that lead to `head` and not to `other`, children before parents. Empty if one of
    /// the two is unknown. Takes time in proportion to the graph.
    #[must_use]
    pub fn only_in(&self, head: CommitId, other: CommitId) -> Vec<CommitId> {
        const HEAD: u8 = 1;
        const OTHER: u8 = 2;
        let (Some(&head), Some(&other)) = (self.places.get(&head), self.places.get(&other)) else {
            return Vec::new();
        };
        let mut marks = vec![0_u8; head.max(other) as usize + 1];
        for (place, mark) in [(head, HEAD), (other, OTHER)] {
            marks.get_mut(place as usize).into_iter().for_each(|marked| *marked |= mark);
        }
        let mut found = Vec::new();
        // Parents have lower places.
        for place in (0..marks.len()).rev() {
            let mark = marks.get(place).copied().unwrap_or_default();
            let Some(node) = self.nodes.get(place).filter(|_| mark != 0) else { continue };
            if mark == HEAD {
                found.push(node.id);
            }
            for &parent in self.parents_of(node) {
                marks.get_mut(parent as usize).into_iter().for_each(|marked| *marked |= mark);
            }
        }
        found
    }

    /// The best common ancestors of two commits, latest first: none of them is an ancestor of
    /// another. Usually one; two after crossing merges; none when the histories are unrelated or
    /// unknown.
    #[must_use]
    pub fn merge_bases(&self, left: CommitId, right: CommitId) -> Vec<CommitId> {
        let mut steps = usize::MAX;
        self.merge_bases_within(left, right, &mut steps).unwrap_or_default()
    }

    /// [`CommitGraph::merge_bases`], taking one off `steps` for each commit looked at; `None` when
    /// they are used up.
    pub(super) fn merge_bases_within(
        &self,
        left: CommitId,
        right: CommitId,
        steps: &mut usize,
    ) -> Option<Vec<CommitId>> {
        const LEFT: u8 = 1;
        const RIGHT: u8 = 2;
        const BELOW_BASE: u8 = 4;
        let (Some(&left), Some(&right)) = (self.places.get(&left), self.places.get(&right)) else {
            return Some(Vec::new());
        };
        let mut marks = vec![0_u8; left.max(right) as usize + 1];
        let mut open = BinaryHeap::new();
        // How many open commits could still lead to a base.
        let mut undecided = 0_usize;
        for (place, mark) in [(left, LEFT), (right, RIGHT)] {
            let Some(marked) = marks.get_mut(place as usize) else { continue };
            if *marked == 0 {
                open.push(place);
                undecided += 1;
            }
            *marked |= mark;
        }
        let mut bases = Vec::new();
        while undecided > 0 {
            let Some(place) = open.pop() else { break };
            *steps = steps.checked_sub(1)?;
            let mut mark = marks.get(place as usize).copied().unwrap_or(0);
            let Some(node) = self.nodes.get(place as usize) else { break };
            if mark & BELOW_BASE == 0 {
                undecided -= 1;
                if mark & (LEFT | RIGHT) == LEFT | RIGHT {
                    bases.push(node.id);
                    mark |= BELOW_BASE;
                }
            }
            for &parent in self.parents_of(node) {
                let Some(marked) = marks.get_mut(parent as usize) else { continue };
                let old = *marked;
                *marked |= mark;
                if old == 0 {
                    open.push(parent);
                    undecided += usize::from(mark & BELOW_BASE == 0);
                } else if old & BELOW_BASE == 0 && mark & BELOW_BASE != 0 {
                    undecided -= 1;
                }
            }
        }
        Some(bases)
    }
}

/// All commits that lead to `head` and are not `known`, parents first, in the reverse of the
/// display order.
///
/// # Errors
/// [`ValidationError`] when a commit is missing or malformed, or there are too many.
pub fn unseen_commits<S: ObjectSource>(
    source: &S,
    head: CommitId,
    known: impl Fn(CommitId) -> bool,
) -> Result<Vec<CommitId>, ValidationError> {
    Ok(unseen(source, head, known)?.into_iter().map(|commit| commit.id).collect())
}

/// What a graph needs to know of a commit.
pub(super) struct Found {
    pub(super) id: CommitId,
    pub(super) parents: Vec<CommitId>,
    pub(super) seconds: i64,
}

/// [`unseen_commits`] with what they say of themselves. Each is read once.
pub(super) fn unseen<S: ObjectSource>(
    source: &S,
    head: CommitId,
    known: impl Fn(CommitId) -> bool,
) -> Result<Vec<Found>, ValidationError> {
    let read = |id: CommitId| -> Result<(Vec<CommitId>, i64), Problem> {
        let raw = source.commit(id)?.ok_or_else(|| Refusal::Missing(id.to_hex()))?;
        let commit = Commit::parse(raw)?;
        let seconds = commit.seconds();
        Ok((commit.parents, seconds))
    };
    let mut graph = CommitGraph::default();
    let mut facts: HashMap<CommitId, (Vec<CommitId>, i64)> = HashMap::new();
    let mut open = if known(head) { Vec::new() } else { vec![head] };
    while let Some(&id) = open.last() {
        if let Some((parents, seconds)) = facts.get(&id) {
            // Its parents have been entered in the meantime.
            let parents: Vec<CommitId> = parents.iter().copied().filter(|parent| !known(*parent)).collect();
            let entered = graph.insert(id, &parents, *seconds);
            entered.map_err(|_| Problem::from(Refusal::TooManyChanges).at(id))?;
            open.pop();
            continue;
        }
        let (parents, seconds) = read(id).map_err(|problem| problem.at(id))?;
        let unread = |parent: &&CommitId| !known(**parent) && !facts.contains_key(*parent);
        open.extend(parents.iter().rev().filter(unread));
        facts.insert(id, (parents, seconds));
    }
    let order = graph.order(head).into_iter().rev();
    let found =
        order.filter_map(|id| facts.remove(&id).map(|(parents, seconds)| Found { id, parents, seconds }));
    Ok(found.collect())
}
