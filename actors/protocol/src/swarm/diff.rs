//! Reading trees: looking a path up, and what differs between two trees.
//!
//! Equal subtrees are skipped by their ids, so the cost is that of the folders that changed: git
//! stores a folder whole, and so it is read whole. Every tree that is new to a history is read in
//! full by [`TreeReader::changes`], which is where its form is checked. Look-ups of a reader that
//! remembers what it read (`tree_cache`) read no tree twice; those of others only scan.

use std::sync::Arc;

use bytes::Bytes;

use super::layout::TreePath;
use super::object::{
    EntryKind, MAX_TREE_DEPTH, ObjectError, ObjectSource, SourceError, Tree, TreeEntry, find_entry,
};
use super::tree_cache::TreeCache;
use crate::ids::{BlobId, TreeId};

/// Most files one commit may change. A leaving member takes the devices along, a ban the votes;
/// nobody has thousands of them.
pub const MAX_CHANGES: usize = 10_000;

/// Why trees could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A tree or blob that is referred to does not exist.
    #[error("object {0} is missing")]
    Missing(String),
    /// A tree is not acceptable.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A folder lies deeper than the layout goes, or an empty folder is recorded.
    #[error("a folder that no conversation has")]
    Folder,
    /// A file that no conversation has.
    #[error("the file {0:?} has no place in a conversation")]
    UnknownPath(String),
    /// More than [`MAX_CHANGES`] files changed.
    #[error("too many files changed")]
    TooManyChanges,
    /// The store failed or refused.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// One file that differs between two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which file.
    pub path: TreePath,
    /// What it was, if it was.
    pub old: Option<BlobId>,
    /// What it is, if it is.
    pub new: Option<BlobId>,
}

/// Reads trees from a source.
#[derive(Debug)]
pub struct TreeReader<'s, S> {
    source: &'s S,
    cache: Option<&'s TreeCache>,
}

/// Entries of one name in two folders.
type Pair = (String, Option<EntryKind>, Option<EntryKind>);

impl<'s, S: ObjectSource> TreeReader<'s, S> {
    /// Reads from `source`.
    #[must_use]
    pub const fn new(source: &'s S) -> Self {
        Self { source, cache: None }
    }

    /// Reads from `source` what is not in `cache`, and leaves there what it reads.
    pub(super) const fn remembering(source: &'s S, cache: &'s TreeCache) -> Self {
        Self { source, cache: Some(cache) }
    }

    fn bytes(&self, id: TreeId) -> Result<Bytes, ReadError> {
        self.source.tree(id)?.ok_or_else(|| ReadError::Missing(id.to_hex()))
    }

    /// Reads and checks one tree.
    ///
    /// # Errors
    /// [`ReadError`] when it is missing or malformed.
    pub fn tree(&self, id: TreeId) -> Result<Arc<Tree>, ReadError> {
        if let Some(tree) = self.cache.and_then(|cache| cache.get(id)) {
            return Ok(tree);
        }
        let tree = Arc::new(Tree::parse(&self.bytes(id)?)?);
        if let Some(cache) = self.cache {
            cache.put(id, Arc::clone(&tree));
        }
        Ok(tree)
    }

    fn entry(&self, folder: TreeId, name: &str) -> Result<Option<EntryKind>, ReadError> {
        match self.cache {
            Some(_) => Ok(self.tree(folder)?.get(name)),
            None => Ok(find_entry(&self.bytes(folder)?, name)),
        }
    }

    /// The id of the folder at `path` below `root`, if there is one.
    pub(super) fn folder_id(&self, root: TreeId, path: &[&str]) -> Result<Option<TreeId>, ReadError> {
        let mut id = root;
        for name in path {
            match self.entry(id, name)? {
                Some(EntryKind::Folder(next)) => id = next,
                _ => return Ok(None),
            }
        }
        Ok(Some(id))
    }

    /// The folder at `path` below `root`, if there is one.
    ///
    /// # Errors
    /// [`ReadError`] when a tree on the way is missing or malformed.
    pub fn folder(&self, root: TreeId, path: &[&str]) -> Result<Option<Arc<Tree>>, ReadError> {
        self.folder_id(root, path)?.map(|id| self.tree(id)).transpose()
    }

    /// The file at `path` below `root`, if there is one.
    ///
    /// # Errors
    /// [`ReadError`] when a tree on the way is missing.
    pub fn file(&self, root: TreeId, path: TreePath) -> Result<Option<BlobId>, ReadError> {
        let text = path.to_string();
        let mut id = root;
        let mut names = text.split('/').peekable();
        while let Some(name) = names.next() {
            match self.entry(id, name)? {
                Some(EntryKind::Folder(next)) if names.peek().is_some() => id = next,
                Some(EntryKind::File(blob)) if names.peek().is_none() => return Ok(Some(blob)),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// All files that differ between `old` (`None`: nothing yet) and `new`.
    ///
    /// # Errors
    /// [`ReadError`] when a changed tree is missing or malformed, or names a file outside the
    /// layout, or when too much changed.
    pub fn changes(&self, old: Option<TreeId>, new: TreeId) -> Result<Vec<Change>, ReadError> {
        let mut changes = Vec::new();
        if old == Some(new) {
            return Ok(changes);
        }
        let mut open = vec![(String::new(), 0_usize, old, Some(new))];
        while let Some((prefix, depth, old, new)) = open.pop() {
            for (name, old, new) in self.pairs(old, new, depth)? {
                let path = format!("{prefix}{name}");
                let (old_file, old_folder) = split(old);
                let (new_file, new_folder) = split(new);
                if old_file != new_file {
                    let path = TreePath::parse(&path).ok_or(ReadError::UnknownPath(path.clone()))?;
                    changes.push(Change { path, old: old_file, new: new_file });
                }
                if old_folder != new_folder {
                    if depth >= MAX_TREE_DEPTH {
                        return Err(ReadError::Folder);
                    }
                    open.push((format!("{path}/"), depth + 1, old_folder, new_folder));
                }
                if changes.len() + open.len() > MAX_CHANGES {
                    return Err(ReadError::TooManyChanges);
                }
            }
        }
        changes.sort_unstable_by_key(|change| change.path);
        Ok(changes)
    }

    /// The entries that differ between two folders. A name that was a file and is a folder comes
    /// twice: as the file that is gone, and as the folder that is new.
    pub(super) fn pairs(
        &self,
        old: Option<TreeId>,
        new: Option<TreeId>,
        depth: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        let read = |id: Option<TreeId>| -> Result<Arc<Tree>, ReadError> {
            let Some(id) = id else { return Ok(Arc::default()) };
            let tree = self.tree(id)?;
            if tree.is_empty() && depth > 0 { Err(ReadError::Folder) } else { Ok(tree) }
        };
        let (old, new) = (read(old)?, read(new)?);
        let (mut old, mut new) = (old.entries().iter().peekable(), new.entries().iter().peekable());
        let mut pairs = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(left), Some(right)) => left.cmp_in_git(right),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(pairs),
            };
            let left: Option<&TreeEntry> = if order.is_le() { old.next() } else { None };
            let right = if order.is_ge() { new.next() } else { None };
            let kinds = (left.map(|entry| entry.kind), right.map(|entry| entry.kind));
            if kinds.0 != kinds.1
                && let Some(entry) = left.or(right)
            {
                pairs.push((entry.name.clone(), kinds.0, kinds.1));
            }
        }
    }
}

fn split(kind: Option<EntryKind>) -> (Option<BlobId>, Option<TreeId>) {
    match kind {
        Some(EntryKind::File(id)) => (Some(id), None),
        Some(EntryKind::Folder(id)) => (None, Some(id)),
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use crate::swarm::object::{MemoryObjects, NewObject, ObjectKind};

    fn keep(objects: &mut MemoryObjects, entries: &[(&str, EntryKind)]) -> TreeId {
        let mut tree = Tree::default();
        for (name, kind) in entries {
            tree.put(name, *kind).unwrap();
        }
        let object = NewObject::new(ObjectKind::Tree, tree.to_bytes()).unwrap();
        let id = TreeId(object.id);
        objects.insert(object);
        id
    }

    fn file(byte: u8) -> EntryKind {
        EntryKind::File(BlobId([byte; 20]))
    }

    #[test]
    fn only_what_differs_is_listed() {
        let mut objects = MemoryObjects::default();
        let people: Vec<String> = (1..=3).map(|byte| AccountId([byte; 20]).to_hex()).collect();
        let old = keep(&mut objects, &[(&people[0], file(1)), (&people[1], file(1))]);
        let new = keep(&mut objects, &[(&people[0], file(2)), (&people[2], file(1))]);
        // Equal folders are not even read.
        let unread = EntryKind::Folder(TreeId([9; 20]));
        let old = keep(&mut objects, &[("invited", EntryKind::Folder(old)), ("admins", unread)]);
        let new = keep(&mut objects, &[("invited", EntryKind::Folder(new)), ("admins", unread)]);
        let changes = TreeReader::new(&objects).changes(Some(old), new).unwrap();
        let changes: Vec<_> =
            changes.iter().map(|it| (it.path, it.old.is_some(), it.new.is_some())).collect();
        let path = |byte| TreePath::invited(AccountId([byte; 20]));
        assert_eq!(changes, [(path(1), true, true), (path(2), true, false), (path(3), false, true)]);
    }

    #[test]
    fn a_file_in_place_of_a_folder_counts_for_both() {
        let mut objects = MemoryObjects::default();
        let person = AccountId([1; 20]).to_hex();
        let folder = keep(&mut objects, &[(&person, file(1))]);
        let old = keep(&mut objects, &[("invited", EntryKind::Folder(folder))]);
        let new = keep(&mut objects, &[("invited", file(1))]);
        let error = TreeReader::new(&objects).changes(Some(old), new).unwrap_err();
        assert!(matches!(error, ReadError::UnknownPath(path) if path == "invited"));
    }

    #[test]
    fn empty_missing_deep_and_unknown_folders_are_refused() {
        let mut objects = MemoryObjects::default();
        let empty = keep(&mut objects, &[]);
        let with_empty = keep(&mut objects, &[("invited", EntryKind::Folder(empty))]);
        let with_missing = keep(&mut objects, &[("invited", EntryKind::Folder(TreeId([9; 20])))]);
        let mut deep = keep(&mut objects, &[("a", file(1))]);
        for _ in 0..100 {
            deep = keep(&mut objects, &[("a", EntryKind::Folder(deep))]);
        }
        let reader = TreeReader::new(&objects);
        assert!(matches!(reader.changes(None, with_empty), Err(ReadError::Folder)));
        assert!(matches!(reader.changes(None, with_missing), Err(ReadError::Missing(_))));
        assert!(matches!(reader.changes(None, deep), Err(ReadError::Folder)));
        assert!(reader.changes(None, empty).unwrap().is_empty());
    }

    #[test]
    fn too_many_changes_are_refused() {
        let mut objects = MemoryObjects::default();
        let mut bytes = Vec::new();
        for number in 0..=MAX_CHANGES {
            bytes.extend_from_slice(format!("100644 {number:040x}\0").as_bytes());
            bytes.extend_from_slice(&[1; 20]);
        }
        let object = NewObject::new(ObjectKind::Tree, bytes).unwrap();
        let folder = EntryKind::Folder(TreeId(object.id));
        objects.insert(object);
        let root = keep(&mut objects, &[("invited", folder)]);
        let error = TreeReader::new(&objects).changes(None, root).unwrap_err();
        assert!(matches!(error, ReadError::TooManyChanges));
    }
}
