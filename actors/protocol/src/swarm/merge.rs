//! Joining two heads (`spec: swarm 6.1`): a three-way merge of their trees.
//!
//! The files of a conversation are put and removed whole, so a file changed on both sides is a
//! conflict; only `profile.vcf` may be one, and the side with the greater head wins.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::diff::ReadError;
use super::graph::CommitGraph;
use super::object::{
    Commit, EntryKind, MAX_TREE_DEPTH, NewObject, ObjectError, ObjectKind, ObjectSource, Tree,
};
use crate::ids::{CommitId, TreeId};

/// How often the base of a merge may itself be made of several bases. Crossing merges make two.
const MAX_VIRTUAL_BASES: usize = 2;

/// Most bases of one merge that are merged themselves, the latest ones; devices that merge across
/// each other leave two or three.
const MAX_BASES: usize = 8;

/// What to do with another head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Nothing: it is part of the own history.
    UpToDate,
    /// Move to it: the own head is part of its history.
    FastForward,
    /// Make a merge commit with this tree.
    Merged {
        /// The merged tree.
        tree: TreeId,
        /// Folders that are new.
        objects: Vec<NewObject>,
    },
}

/// Why two heads cannot be merged; nothing is changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// They have no common ancestor.
    #[error("the two heads have no common ancestor")]
    Unrelated,
    /// Both sides changed this file.
    #[error("both sides changed {0}")]
    Conflict(String),
    /// A tree or commit could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<ObjectError> for MergeError {
    fn from(error: ObjectError) -> Self {
        Self::Read(error.into())
    }
}

/// Compares and merges `theirs` into `ours`; both are in `graph`.
///
/// # Errors
/// [`MergeError`] when they are unrelated, conflict, or cannot be read.
pub fn merge_heads<S: ObjectSource>(
    source: &S,
    graph: &CommitGraph,
    ours: CommitId,
    theirs: CommitId,
) -> Result<Merge, MergeError> {
    let bases = graph.merge_bases(ours, theirs);
    if bases.is_empty() {
        return Err(MergeError::Unrelated);
    }
    if bases.contains(&theirs) {
        return Ok(Merge::UpToDate);
    }
    if bases.contains(&ours) {
        return Ok(Merge::FastForward);
    }
    let mut merger = Merger { source, graph, made: BTreeMap::new() };
    let base = merger.base(&bases, 0)?;
    let (our_tree, their_tree) = (merger.tree_of(ours)?, merger.tree_of(theirs)?);
    let tree = merger.merge(base, our_tree, their_tree, ours > theirs)?;
    let objects =
        merger.made.into_iter().map(|(id, content)| NewObject { kind: ObjectKind::Tree, id: id.0, content });
    Ok(Merge::Merged { tree, objects: objects.collect() })
}

struct Merger<'m, S> {
    source: &'m S,
    graph: &'m CommitGraph,
    made: BTreeMap<TreeId, Bytes>,
}

impl<S: ObjectSource> Merger<'_, S> {
    fn tree_of(&self, commit: CommitId) -> Result<TreeId, MergeError> {
        let raw = self.source.commit(commit).map_err(ReadError::from)?;
        let raw = raw.ok_or_else(|| ReadError::Missing(commit.to_hex()))?;
        Ok(Commit::parse(raw)?.tree)
    }

    /// One tree to stand for all bases: they are merged themselves, as far as that goes.
    fn base(&mut self, bases: &[CommitId], level: usize) -> Result<TreeId, MergeError> {
        let [first, rest @ ..] = bases else { return Err(MergeError::Unrelated) };
        let mut tree = self.tree_of(*first)?;
        if level < MAX_VIRTUAL_BASES {
            for other in rest.iter().take(MAX_BASES - 1) {
                let below = self.graph.merge_bases(*first, *other);
                let below = self.base(&below, level + 1)?;
                let other_tree = self.tree_of(*other)?;
                tree = self.merge(below, tree, other_tree, first > other)?;
            }
        }
        Ok(tree)
    }

    fn merge(
        &mut self,
        base: TreeId,
        ours: TreeId,
        theirs: TreeId,
        ours_wins: bool,
    ) -> Result<TreeId, MergeError> {
        let merged = self.merge_folder("", 0, [Some(base), Some(ours), Some(theirs)], ours_wins)?;
        match merged {
            Some(tree) => Ok(tree),
            None => self.keep(&Tree::default()),
        }
    }

    /// Merges `[base, ours, theirs]`; goes no deeper than the layout.
    fn merge_folder(
        &mut self,
        prefix: &str,
        depth: usize,
        folders: [Option<TreeId>; 3],
        ours_wins: bool,
    ) -> Result<Option<TreeId>, MergeError> {
        if let Some(settled) = settle(folders) {
            return Ok(settled);
        }
        if depth > MAX_TREE_DEPTH {
            return Err(ReadError::Folder.into());
        }
        let [base, ours, theirs] = folders;
        let folders = [self.read(base)?, self.read(ours)?, self.read(theirs)?];
        let names: BTreeSet<&String> = folders.iter().flat_map(BTreeMap::keys).collect();
        let mut merged = Tree::default();
        for name in names {
            let entries = folders.each_ref().map(|folder| folder.get(name).copied());
            let path = format!("{prefix}{name}");
            let entry = match settle(entries) {
                Some(entry) => entry,
                None if path == "profile.vcf" => entries[if ours_wins { 1 } else { 2 }],
                None => {
                    let [Ok(base), Ok(ours), Ok(theirs)] = entries.map(folder) else {
                        return Err(MergeError::Conflict(path));
                    };
                    let below = [base, ours, theirs];
                    self.merge_folder(&format!("{path}/"), depth + 1, below, ours_wins)?
                        .map(EntryKind::Folder)
                }
            };
            if let Some(entry) = entry {
                merged.put(name, entry)?;
            }
        }
        if merged.is_empty() { Ok(None) } else { self.keep(&merged).map(Some) }
    }

    fn read(&self, id: Option<TreeId>) -> Result<BTreeMap<String, EntryKind>, ReadError> {
        let Some(id) = id else { return Ok(BTreeMap::new()) };
        let bytes = match self.made.get(&id) {
            Some(bytes) => bytes.clone(),
            None => self.source.tree(id)?.ok_or_else(|| ReadError::Missing(id.to_hex()))?,
        };
        Ok(Tree::parse(&bytes)?.into_entries().into_iter().map(|entry| (entry.name, entry.kind)).collect())
    }

    fn keep(&mut self, tree: &Tree) -> Result<TreeId, MergeError> {
        let object = NewObject::new(ObjectKind::Tree, tree.to_bytes())?;
        self.made.insert(TreeId(object.id), object.content);
        Ok(TreeId(object.id))
    }
}

/// The side that changed, if only one did or both did the same.
fn settle<T: PartialEq + Copy>([base, ours, theirs]: [T; 3]) -> Option<T> {
    if ours == theirs || base == theirs {
        Some(ours)
    } else if base == ours {
        Some(theirs)
    } else {
        None
    }
}

/// A folder or nothing; `Err` for a file.
const fn folder(entry: Option<EntryKind>) -> Result<Option<TreeId>, ()> {
    match entry {
        None => Ok(None),
        Some(EntryKind::Folder(id)) => Ok(Some(id)),
        Some(EntryKind::File(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::golden;
    use crate::swarm::graph::unseen_commits;

    fn graph_of(objects: &impl ObjectSource, head: CommitId) -> (CommitGraph, Vec<Commit>) {
        let mut graph = CommitGraph::default();
        let mut commits = Vec::new();
        for id in unseen_commits(objects, head, |_| false).unwrap() {
            let commit = Commit::parse(objects.commit(id).unwrap().unwrap()).unwrap();
            graph.insert(id, &commit.parents, commit.seconds()).unwrap();
            commits.push(commit);
        }
        (graph, commits)
    }

    #[test]
    fn every_recorded_merge_has_the_tree_we_would_make() {
        let mut seen = 0;
        for daemon in golden::DAEMONS {
            let golden = golden::load(daemon);
            for repository in golden.repositories.values() {
                let (graph, commits) = graph_of(&golden.objects, repository.head);
                for commit in commits {
                    if let [ours, theirs] = *commit.parents.as_slice() {
                        let merge = merge_heads(&golden.objects, &graph, ours, theirs).unwrap();
                        let Merge::Merged { tree, .. } = merge else { panic!("{merge:?}") };
                        assert_eq!(tree, commit.tree);
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn a_descendant_is_fast_forwarded_to_and_an_ancestor_ignored() {
        let golden = golden::load("newest");
        let head = golden.repositories["group.alice"].head;
        let (graph, commits) = graph_of(&golden.objects, head);
        let parent = commits.last().unwrap().parents[0];
        assert_eq!(merge_heads(&golden.objects, &graph, head, parent).unwrap(), Merge::UpToDate);
        assert_eq!(merge_heads(&golden.objects, &graph, parent, head).unwrap(), Merge::FastForward);
        assert_eq!(merge_heads(&golden.objects, &graph, head, head).unwrap(), Merge::UpToDate);
    }

    #[test]
    fn unrelated_heads_are_not_merged() {
        let golden = golden::load("newest");
        let (one, other) =
            (golden.repositories["group.alice"].head, golden.repositories["one-to-one.bob"].head);
        let (mut graph, _) = graph_of(&golden.objects, one);
        for id in unseen_commits(&golden.objects, other, |_| false).unwrap() {
            let commit = Commit::parse(golden.objects.commit(id).unwrap().unwrap()).unwrap();
            graph.insert(id, &commit.parents, commit.seconds()).unwrap();
        }
        assert!(matches!(merge_heads(&golden.objects, &graph, one, other), Err(MergeError::Unrelated)));
    }
}
