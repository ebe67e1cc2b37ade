//! What a peer sent, until it is known to be good: whole and readable, and seen by nobody else.
//!
//! ```text
//!   pack received ──► quarantine ──► validated ──► admitted: files move in, then `main` does
//!                         └───────── refused, or a crash: gone
//! ```
//!
//! Making one, reading and validating it need the repository for an instant only, so whoever owns it
//! can write meanwhile. Few objects wait in memory, many in a pack that is on disk already when it is
//! admitted. A crash after that and before `main` moves leaves validated objects, nothing else.

use std::sync::Arc;

use bytes::Bytes;
use skep_protocol::ids::{BlobId, CommitId, ObjectId, TreeId};
use skep_protocol::swarm::object::{Commit, NewObject, ObjectKind, ObjectSource, SourceError};

use super::staging::StagedPack;
use super::{Repository, Result, git_id, open_git};

/// A repository that may have several users, each of whom holds it for single operations.
pub trait Access {
    /// Uses it for one operation.
    fn access<T>(&self, operation: impl FnOnce(&Repository) -> T) -> T;
}

impl Access for Repository {
    fn access<T>(&self, operation: impl FnOnce(&Repository) -> T) -> T {
        operation(self)
    }
}

/// Objects of a pack over those of the repository. Dropping it forgets them.
#[derive(Debug)]
#[must_use = "what it holds is gone unless it is admitted"]
pub struct Quarantine {
    objects: usize,
    /// The head when the pack was taken in.
    known: Option<CommitId>,
    view: Repository,
    held: Held,
}

#[derive(Debug)]
pub(super) enum Held {
    Memory(Vec<NewObject>),
    Pack(StagedPack),
}

impl Quarantine {
    pub(super) fn new(objects: usize, known: Option<CommitId>, view: Repository, held: Held) -> Result<Self> {
        let mut quarantine = Self { objects, known, view, held };
        quarantine.show()?;
        Ok(quarantine)
    }

    /// Objects of the pack, new or not.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// As [`Repository::commits_between`].
    ///
    /// # Errors
    /// As there.
    pub fn commits_between(&self, head: CommitId, known: &[CommitId]) -> Result<Vec<CommitId>> {
        self.view.commits_between(head, known)
    }

    /// As [`Repository::commit_at`].
    ///
    /// # Errors
    /// As there.
    pub fn commit_at(&self, id: CommitId) -> Result<Commit> {
        self.view.commit_at(id)
    }

    /// Checks that everything `head` needs is here; returns what `main` lacked of it.
    ///
    /// # Errors
    /// As [`Repository::check_connected`].
    pub fn check_connected(&self, head: CommitId) -> Result<Vec<CommitId>> {
        self.view.check_connected(head, self.known.as_slice())
    }

    /// Lets objects be seen that came into the repository meanwhile.
    ///
    /// # Errors
    /// What the system says.
    pub fn renew(&mut self, repository: &Repository) -> Result<()> {
        if self.view.generation != repository.generation {
            self.view = repository.view();
            self.show()?;
        }
        Ok(())
    }

    /// Lets the view see what is held.
    fn show(&mut self) -> Result<()> {
        match &self.held {
            Held::Memory(objects) => {
                let mut memory = gix::odb::memory::Storage::default();
                for object in objects {
                    let content = (git_kind(object.kind), object.content.to_vec());
                    memory.insert(git_id(ObjectId(object.id)), content);
                }
                self.view.git.objects.set_object_memory(memory);
            }
            Held::Pack(staged) => self.view.git = open_git(staged.folder())?,
        }
        Ok(())
    }
}

impl ObjectSource for Quarantine {
    fn commit(&self, id: CommitId) -> std::result::Result<Option<Bytes>, SourceError> {
        self.view.commit(id)
    }

    fn tree(&self, id: TreeId) -> std::result::Result<Option<Bytes>, SourceError> {
        self.view.tree(id)
    }

    fn blob(&self, id: BlobId, limit: usize) -> std::result::Result<Option<Bytes>, SourceError> {
        self.view.blob(id, limit)
    }
}

impl Repository {
    /// The repository as it is now, for reading. While there is one, objects are added but stay where
    /// they are.
    pub(super) fn view(&self) -> Self {
        Self {
            path: self.path.clone(),
            git: self.git.clone(),
            unforced_folders: self.unforced_folders.clone(),
            cache: self.cache.clone(),
            generation: self.generation,
            views: Arc::clone(&self.views),
        }
    }

    /// Whether there is a view.
    pub(super) fn is_viewed(&self) -> bool {
        Arc::strong_count(&self.views) > 1
    }

    /// Takes in what a pack brought; when it returns, its objects are on disk and here to stay.
    ///
    /// # Errors
    /// What the system says. Some objects may be here then, whole and unused.
    pub fn admit(&mut self, quarantine: Quarantine) -> Result<()> {
        match &quarantine.held {
            Held::Memory(objects) => {
                self.write_objects(objects)?;
                let mut cache = self.cache.borrow_mut();
                for object in objects {
                    cache.insert(ObjectId(object.id), object.kind, &object.content);
                }
            }
            Held::Pack(staged) => drop(self.place(staged)?),
        }
        Ok(())
    }
}

fn git_kind(kind: ObjectKind) -> gix::objs::Kind {
    match kind {
        ObjectKind::Commit => gix::objs::Kind::Commit,
        ObjectKind::Tree => gix::objs::Kind::Tree,
        ObjectKind::Blob => gix::objs::Kind::Blob,
    }
}
