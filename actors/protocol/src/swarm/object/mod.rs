//! Git objects as Jami uses them: their bytes, their ids and where they are read from.
//!
//! Only commits, trees and blobs occur. Bytes come from peers, so parsing is strict and bounded;
//! ids are computed with a SHA-1 that notices known collision attacks, as git does.

mod commit;
mod tree;

use std::collections::HashMap;

use bytes::Bytes;
use sha1_checked::Sha1;

use crate::ids::{BlobId, CommitId, TreeId};

pub use commit::{
    Commit, MAX_COMMIT, MAX_PARENTS, SignError, Signature, SignedCommit, UnsignedCommit, clean_name,
};
pub use tree::{EntryKind, MAX_TREE, MAX_TREE_DEPTH, Tree, TreeEntry, find_entry, is_safe_name};

/// Id of the empty blob: every marker file (`invited/…`, `votes/…`) is this one.
pub const EMPTY_BLOB: BlobId = BlobId([
    0xe6, 0x9d, 0xe2, 0x9b, 0xb2, 0xd1, 0xd6, 0x43, 0x4b, 0x8b, 0x29, 0xae, 0x77, 0x5a, 0xd8, 0xc2, 0xe4,
    0x8c, 0x53, 0x91,
]);

/// What kind of object some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// A folder.
    Tree,
    /// A file.
    Blob,
}

impl ObjectKind {
    /// The word git puts before the size when it hashes an object.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
        }
    }
}

/// Why bytes are not an acceptable git object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The bytes were crafted for a SHA-1 collision.
    #[error("the object was crafted to collide with another one")]
    Collision,
    /// Longer than anything honest.
    #[error("the {kind} of {length} bytes is longer than {limit}")]
    TooLong {
        /// `commit` or `tree`.
        kind: &'static str,
        /// How long it is, in bytes.
        length: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The commit is not in git's form.
    #[error("malformed commit: {0}")]
    Commit(&'static str),
    /// The tree is not in git's form, or holds what no conversation may hold.
    #[error("malformed tree: {0}")]
    Tree(&'static str),
}

/// The id of an object: SHA-1 over its header and content.
///
/// # Errors
/// [`ObjectError::Collision`] when the bytes carry the marks of a collision attack.
pub fn object_id(kind: ObjectKind, content: &[u8]) -> Result<[u8; 20], ObjectError> {
    use sha1_checked::Digest as _;
    let mut hasher = Sha1::new();
    hasher.update(format!("{} {}\0", kind.word(), content.len()));
    hasher.update(content);
    let result = hasher.try_finalize();
    if result.has_collision() {
        return Err(ObjectError::Collision);
    }
    Ok((*result.hash()).into())
}

/// Why an [`ObjectSource`] could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The object is longer than the reader allows; nothing was read.
    #[error("the object is longer than {limit} bytes")]
    TooLong {
        /// What the reader allows, in bytes.
        limit: usize,
    },
    /// The store itself failed; says nothing about the object.
    #[error("the object store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where objects are read from: a repository with a fetched pack, or memory.
///
/// A source must return bytes that hash to the id asked for. `None` means that the object is not
/// there, or is of another kind.
pub trait ObjectSource {
    /// Content of a commit, at most [`MAX_COMMIT`] bytes.
    ///
    /// # Errors
    /// [`SourceError`] when it is too long or the store fails.
    fn commit(&self, id: CommitId) -> Result<Option<Bytes>, SourceError>;

    /// Content of a tree, at most [`MAX_TREE`] bytes.
    ///
    /// # Errors
    /// [`SourceError`] when it is too long or the store fails.
    fn tree(&self, id: TreeId) -> Result<Option<Bytes>, SourceError>;

    /// Content of a blob, at most `limit` bytes.
    ///
    /// # Errors
    /// [`SourceError`] when it is too long or the store fails.
    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<Bytes>, SourceError>;
}

impl<S: ObjectSource + ?Sized> ObjectSource for &S {
    fn commit(&self, id: CommitId) -> Result<Option<Bytes>, SourceError> {
        (**self).commit(id)
    }
    fn tree(&self, id: TreeId) -> Result<Option<Bytes>, SourceError> {
        (**self).tree(id)
    }
    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<Bytes>, SourceError> {
        (**self).blob(id, limit)
    }
}

/// A new object to be written to the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its id.
    pub id: [u8; 20],
    /// Its content.
    pub content: Bytes,
}

impl NewObject {
    /// Computes the id of `content`.
    ///
    /// # Errors
    /// [`ObjectError::Collision`], see [`object_id`].
    pub fn new(kind: ObjectKind, content: impl Into<Bytes>) -> Result<Self, ObjectError> {
        let content = content.into();
        Ok(Self { kind, id: object_id(kind, &content)?, content })
    }
}

/// Objects held in memory: for simulations, for tests, and for reading objects not yet written.
#[derive(Clone, Debug, Default)]
pub struct MemoryObjects {
    objects: HashMap<[u8; 20], (ObjectKind, Bytes)>,
}

impl MemoryObjects {
    /// Adds an object.
    pub fn insert(&mut self, object: NewObject) {
        self.objects.insert(object.id, (object.kind, object.content));
    }

    /// Adds a signed commit.
    pub fn insert_commit(&mut self, commit: &SignedCommit) {
        self.objects.insert(commit.id.0, (ObjectKind::Commit, commit.content.clone()));
    }

    /// All objects, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKind, [u8; 20], &Bytes)> {
        self.objects.iter().map(|(id, (kind, content))| (*kind, *id, content))
    }

    fn get(&self, kind: ObjectKind, id: [u8; 20], limit: usize) -> Result<Option<Bytes>, SourceError> {
        match self.objects.get(&id) {
            Some((found, content)) if *found == kind => {
                if content.len() > limit {
                    Err(SourceError::TooLong { limit })
                } else {
                    Ok(Some(content.clone()))
                }
            }
            _ => Ok(None),
        }
    }
}

impl Extend<NewObject> for MemoryObjects {
    fn extend<I: IntoIterator<Item = NewObject>>(&mut self, objects: I) {
        for object in objects {
            self.insert(object);
        }
    }
}

impl ObjectSource for MemoryObjects {
    fn commit(&self, id: CommitId) -> Result<Option<Bytes>, SourceError> {
        self.get(ObjectKind::Commit, id.0, MAX_COMMIT)
    }
    fn tree(&self, id: TreeId) -> Result<Option<Bytes>, SourceError> {
        self.get(ObjectKind::Tree, id.0, MAX_TREE)
    }
    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<Bytes>, SourceError> {
        self.get(ObjectKind::Blob, id.0, limit)
    }
}

/// New objects on top of a source, as if they were written already.
#[derive(Debug)]
pub struct Overlay<'o, S> {
    /// What is new.
    pub above: MemoryObjects,
    /// Where everything else is.
    pub below: &'o S,
}

impl<S: ObjectSource> ObjectSource for Overlay<'_, S> {
    fn commit(&self, id: CommitId) -> Result<Option<Bytes>, SourceError> {
        self.above.commit(id)?.map_or_else(|| self.below.commit(id), |found| Ok(Some(found)))
    }
    fn tree(&self, id: TreeId) -> Result<Option<Bytes>, SourceError> {
        self.above.tree(id)?.map_or_else(|| self.below.tree(id), |found| Ok(Some(found)))
    }
    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<Bytes>, SourceError> {
        self.above.blob(id, limit)?.map_or_else(|| self.below.blob(id, limit), |found| Ok(Some(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_ids_are_git_s() {
        assert_eq!(object_id(ObjectKind::Blob, b"").unwrap(), EMPTY_BLOB.0);
        assert_eq!(
            hex::encode(object_id(ObjectKind::Tree, b"").unwrap()),
            "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        );
    }

    #[test]
    fn a_source_neither_mixes_kinds_nor_reads_beyond_the_limit() {
        let mut objects = MemoryObjects::default();
        let blob = NewObject::new(ObjectKind::Blob, &b"four"[..]).unwrap();
        objects.insert(blob.clone());
        assert!(objects.tree(TreeId(blob.id)).unwrap().is_none());
        assert!(objects.blob(BlobId(blob.id), 4).unwrap().is_some());
        assert!(matches!(objects.blob(BlobId(blob.id), 3), Err(SourceError::TooLong { limit: 3 })));
    }
}
