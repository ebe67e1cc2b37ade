//! A conversation's repository on disk: bare, one branch, safe against crashes and peers.
//!
//! ```text
//!   HEAD                 ref: refs/heads/main
//!   refs/heads/main      the head; replaced whole                references
//!   objects/xx/…         one object a file; replaced whole       loose
//!   objects/pack/…       many objects a file                     staging, consolidate
//!   quarantine/…         what peers sent, not validated yet      receive, quarantine
//! ```
//!
//! Everything blocks; callers run it on the [`crate::blocking`] pool. A [`Repository`] is `Send`
//! and has one owner, which alone writes; that owner decides when `main` moves. The order of
//! writing is always objects, then their folders, then the reference, each forced to disk before
//! the next, so a crash at any instant leaves a repository that git calls sound, and what was
//! acknowledged is there.
//!
//! Reading objects is left to gix. Writing is ours because gix does not
//! force to disk, walking because gix visits hidden histories whole.

mod alike;
mod bundle;
mod cache;
mod consolidate;
mod durable;
pub mod fetch;
mod loose;
mod object_store;
mod pack_stream;
mod quarantine;
mod reached;
mod receive;
mod references;
pub mod serve;
mod staging;
mod walk;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use skep_protocol::ids::{BlobId, CommitId, ObjectId, TreeId};
use skep_protocol::swarm::git::pack::PackError;
use skep_protocol::swarm::object::{
    Commit, EntryKind, MAX_COMMIT, MAX_TREE, ObjectError, ObjectKind, ObjectSource, SourceError, Tree,
    object_id,
};

pub use bundle::export_bundle;
pub use consolidate::{Consolidation, Exclusive, consolidate};
pub use pack_stream::PackStream;
pub use quarantine::{Access, Quarantine};
pub use reached::is_in_history;
pub use receive::PackReceiver;
pub use references::Advertisement;

use self::cache::ObjectCache;
use self::consolidate::Untidy;
use self::object_store::ObjectStore;
use self::reached::Reached;
use super::damage::refusal_of_system;
use crate::storage;

/// Largest object read, in bytes; nothing larger is ever written.
const MAX_OBJECT: usize = 32 * 1024 * 1024;

/// The configuration git needs to take the folder for a repository.
const CONFIG: &[u8] = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";

/// What [`Repository::create`] writes to `HEAD`.
const HEAD: &[u8] = b"ref: refs/heads/main\n";

/// Why a repository could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The system refused.
    #[error("{path} could not be used: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no repository.
    #[error("{0} is no repository of a conversation")]
    NotARepository(PathBuf),
    /// There is something already.
    #[error("{0} exists already; choose a free place")]
    AlreadyExists(PathBuf),
    /// There is no commit.
    #[error("{0} has no commit yet")]
    Empty(PathBuf),
    /// A reference holds no commit id.
    #[error("{0} is damaged: it holds no commit id; restore the repository from another device")]
    CorruptReference(PathBuf),
    /// An object is not there.
    #[error("object {0} is missing; fetch the conversation from another device")]
    MissingObject(ObjectId),
    /// The stored bytes do not make the object.
    #[error("object {0} is damaged; fetch the conversation from another device")]
    CorruptObject(ObjectId),
    /// An object that breaks the rules of its kind.
    #[error("object {id} cannot be used: {source}")]
    BadObject {
        /// The object.
        id: ObjectId,
        /// What is wrong with it.
        source: ObjectError,
    },
    /// The head is not the one that the change builds upon.
    #[error("the head is {found:?}, not {expected:?}: build the change upon the newest head")]
    HeadMoved {
        /// What the caller took for the head.
        expected: Option<CommitId>,
        /// What the head is.
        found: Option<CommitId>,
    },
    /// Somebody else moves the head, or died doing so since the repository was opened.
    #[error("{0} exists: the head is being moved by somebody else")]
    Locked(PathBuf),
    /// A commit that may not be served: it is no part of the history.
    #[error("commit {0} is no part of the history")]
    NotInHistory(CommitId),
    /// A pack was refused.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A walk found more than it may.
    #[error("there are more than {limit} new {what}; refuse them")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A file is not a git bundle.
    #[error("{path} is not a git bundle that can be imported: {what}")]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The object store failed.
    #[error("the object store of {path} failed: {message}")]
    Store {
        /// The repository.
        path: PathBuf,
        /// What gix says.
        message: String,
    },
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, RepositoryError>;

/// A conversation's repository.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    store: ObjectStore,
    /// Folders with names of objects in them that may not be on disk yet.
    unforced: RefCell<BTreeSet<PathBuf>>,
    /// Shared with views that see nothing else.
    cache: Arc<Mutex<ObjectCache>>,
    /// Counts the times that packs came or went.
    generation: u64,
    reached: Arc<Reached>,
    /// Held by this and by each of its views.
    views: Arc<()>,
    /// Held by this and by who packs.
    untidy: Arc<Untidy>,
}

impl Repository {
    /// Makes an empty repository at a free place. It appears whole or not at all.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyExists`], or what the system says.
    pub fn create(path: &Path) -> Result<Self> {
        if path.exists() {
            return Err(RepositoryError::AlreadyExists(path.to_owned()));
        }
        let unfinished = durable::beside(path, "new");
        durable::remove_folder(&unfinished)?;
        for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
            let folder = unfinished.join(folder);
            storage::make_folder(&folder).map_err(durable::at(&folder))?;
        }
        for (name, content) in [("HEAD", HEAD), ("config", CONFIG)] {
            let file = unfinished.join(name);
            storage::replace(&file, content).map_err(durable::at(&file))?;
        }
        for folder in ["objects", "refs"] {
            durable::force_folder(&unfinished.join(folder))?;
        }
        durable::rename(&unfinished, path)?;
        Self::open(path)
    }

    /// Opens a repository: removes what a crash left behind, and checks that the head and all of
    /// its files are there and whole.
    ///
    /// # Errors
    /// [`RepositoryError::NotARepository`], [`RepositoryError::CorruptReference`],
    /// [`RepositoryError::MissingObject`] or [`RepositoryError::CorruptObject`] when the repository
    /// is damaged; nothing is repaired silently.
    pub fn open(path: &Path) -> Result<Self> {
        let not_a_repository = || RepositoryError::NotARepository(path.to_owned());
        let head = path.join("HEAD");
        let found = storage::read(&head, HEAD.len()).map_err(durable::at(&head))?;
        if found.as_deref() != Some(HEAD) {
            return Err(not_a_repository());
        }
        durable::remove_leftovers(path)?;
        let repository = Self::reader(path)?;
        // Whoever had it open before may have been killed in between.
        let folders = [repository.objects_folder(), repository.pack_folder()];
        repository.unforced.borrow_mut().extend(folders);
        repository.unforced.borrow_mut().extend(loose::changed_since(path, &repository.main_path())?);
        if let Some(head) = repository.head()? {
            repository.check_tree(repository.commit_at(head)?.tree)?;
        }
        Ok(repository)
    }

    /// One that sees what is there now, for reading alone.
    fn reader(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            store: ObjectStore::open(path)?,
            unforced: RefCell::default(),
            cache: Arc::default(),
            generation: 0,
            reached: Arc::default(),
            views: Arc::default(),
            untidy: Arc::default(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the repository to a free place, as when a clone turned out to be good.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyExists`], or what the system says; it stays where it is then.
    pub fn move_to(self, path: &Path) -> Result<Self> {
        if path.exists() {
            return Err(RepositoryError::AlreadyExists(path.to_owned()));
        }
        durable::rename(&self.path, path)?;
        Self::open(path)
    }

    /// Erases a repository that nobody holds open.
    ///
    /// # Errors
    /// What the system says.
    pub fn erase(path: &Path) -> Result<()> {
        let doomed = durable::beside(path, "erased");
        durable::remove_folder(&doomed)?;
        if path.exists() {
            durable::rename(path, &doomed)?;
        }
        durable::remove_folder(&doomed)
    }

    /// Whether it is ready to be read; if not, it gets so when it is.
    pub(in crate::swarm) fn is_awake(&self) -> bool {
        self.store.is_open()
    }

    /// Gets ready to be read. If the system refuses, whoever reads is told.
    pub(in crate::swarm) fn wake(&self) {
        let _ = self.store.git();
    }

    /// Lets go of files and memory until it is read again.
    pub(in crate::swarm) fn rest(&mut self) {
        self.store.close();
        *self.cache() = ObjectCache::default();
    }

    /// Whether the object is here, in the history or not.
    ///
    /// # Errors
    /// What the system says.
    pub fn contains(&self, id: ObjectId) -> Result<bool> {
        Ok(self.store.git()?.has_object(git_id(id)))
    }

    /// The commit, read and checked.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn commit_at(&self, id: CommitId) -> Result<Commit> {
        let id = ObjectId::from(id);
        let raw = self.object(id, ObjectKind::Commit)?;
        Commit::parse(raw).map_err(|source| RepositoryError::BadObject { id, source })
    }

    fn tree_at(&self, id: TreeId) -> Result<Tree> {
        let id = ObjectId::from(id);
        let raw = self.object(id, ObjectKind::Tree)?;
        Tree::parse(&raw).map_err(|source| RepositoryError::BadObject { id, source })
    }

    /// The content of an object that must be here and of this kind.
    fn object(&self, id: ObjectId, kind: ObjectKind) -> Result<Bytes> {
        match self.find(id)? {
            Some((found, content)) if found == kind => Ok(content),
            Some(_) => Err(RepositoryError::CorruptObject(id)),
            None => Err(RepositoryError::MissingObject(id)),
        }
    }

    /// An object of any kind, its bytes checked against its id.
    fn find(&self, id: ObjectId) -> Result<Option<(ObjectKind, Bytes)>> {
        if let Some(found) = self.cache().get(id) {
            return Ok(Some(found));
        }
        let Some((kind, size)) = self.header(id)? else { return Ok(None) };
        if size > MAX_OBJECT {
            return Err(RepositoryError::CorruptObject(id));
        }
        // The header was read, so an error now means that the rest of the object is damaged.
        let found = self
            .store
            .git()?
            .try_find_object(git_id(id))
            .map_err(|error| self.refused(&error).unwrap_or(RepositoryError::CorruptObject(id)))?;
        let Some(object) = found else { return Ok(None) };
        let content = Bytes::from(object.detach().data);
        if object_id(kind, &content) != Ok(id.0) {
            return Err(RepositoryError::CorruptObject(id));
        }
        self.cache().insert(id, kind, &content);
        Ok(Some((kind, content)))
    }

    /// Kind and size in bytes.
    fn header(&self, id: ObjectId) -> Result<Option<(ObjectKind, usize)>> {
        if let Some((kind, content)) = self.cache().get(id) {
            return Ok(Some((kind, content.len())));
        }
        let header = match self.store.git()?.try_find_header(git_id(id)) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(None),
            Err(error) => {
                let corrupt = || self.loose_path(id).exists().then_some(RepositoryError::CorruptObject(id));
                let known = self.refused(&error).or_else(corrupt);
                return Err(known.unwrap_or_else(|| self.store_error(&error)));
            }
        };
        let kind = match header.kind() {
            gix::objs::Kind::Commit => ObjectKind::Commit,
            gix::objs::Kind::Tree => ObjectKind::Tree,
            gix::objs::Kind::Blob => ObjectKind::Blob,
            gix::objs::Kind::Tag => return Ok(None),
        };
        Ok(Some((kind, usize::try_from(header.size()).unwrap_or(usize::MAX))))
    }

    /// Checks that a tree and everything in it can be read.
    fn check_tree(&self, root: TreeId) -> Result<()> {
        let (mut open, mut seen) = (vec![root], HashSet::from([root]));
        while let Some(folder) = open.pop() {
            for entry in self.tree_at(folder)?.into_entries() {
                match entry.kind {
                    // Of folders in each other, each twice, there are more than can be counted.
                    EntryKind::Folder(id) if !seen.insert(id) => {}
                    EntryKind::Folder(id) => open.push(id),
                    EntryKind::File(id) => drop(self.object(id.into(), ObjectKind::Blob)?),
                }
            }
        }
        Ok(())
    }

    /// Lets packs that came or went be seen.
    fn reload(&mut self) -> Result<()> {
        self.store = ObjectStore::open(&self.path)?;
        self.generation += 1;
        Ok(())
    }

    /// Forces to disk what names objects have since it was done last. A folder for which that failed
    /// is tried again with the next objects, though they be the same: nothing builds upon an object
    /// that power loss can take away.
    fn force_names(&self) -> Result<()> {
        let mut unforced = self.unforced.borrow_mut();
        while let Some(folder) = unforced.first() {
            durable::force_folder(folder)?;
            unforced.pop_first();
        }
        Ok(())
    }

    fn cache(&self) -> MutexGuard<'_, ObjectCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects_folder(&self) -> PathBuf {
        objects_folder(&self.path)
    }

    fn pack_folder(&self) -> PathBuf {
        pack_folder(&self.path)
    }

    /// The error, if the system refused and the store is not at fault.
    fn refused(&self, error: &(dyn std::error::Error + 'static)) -> Option<RepositoryError> {
        let number = refusal_of_system(error)?.raw_os_error()?;
        let source = std::io::Error::from_raw_os_error(number);
        Some(RepositoryError::Io { path: self.path.clone(), source })
    }

    fn store_error(&self, error: &impl std::fmt::Display) -> RepositoryError {
        RepositoryError::Store { path: self.path.clone(), message: error.to_string() }
    }

    fn source(
        &self,
        id: ObjectId,
        kind: ObjectKind,
        limit: usize,
    ) -> std::result::Result<Option<Bytes>, SourceError> {
        let store = |error| SourceError::Store(Box::new(error));
        match self.header(id).map_err(store)? {
            Some((found, size)) if found == kind => {
                if size > limit {
                    return Err(SourceError::TooLong { limit });
                }
                Ok(self.find(id).map_err(store)?.map(|(_, content)| content))
            }
            _ => Ok(None),
        }
    }
}

impl ObjectSource for Repository {
    fn commit(&self, id: CommitId) -> std::result::Result<Option<Bytes>, SourceError> {
        self.source(id.into(), ObjectKind::Commit, MAX_COMMIT)
    }

    fn tree(&self, id: TreeId) -> std::result::Result<Option<Bytes>, SourceError> {
        self.source(id.into(), ObjectKind::Tree, MAX_TREE)
    }

    fn blob(&self, id: BlobId, limit: usize) -> std::result::Result<Option<Bytes>, SourceError> {
        self.source(id.into(), ObjectKind::Blob, limit)
    }
}

fn objects_folder(repository: &Path) -> PathBuf {
    repository.join("objects")
}

fn pack_folder(repository: &Path) -> PathBuf {
    objects_folder(repository).join("pack")
}

fn git_id(id: ObjectId) -> gix::ObjectId {
    gix::ObjectId::Sha1(id.0)
}
