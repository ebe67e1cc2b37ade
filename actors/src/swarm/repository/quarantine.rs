//! What a peer sent, until it is known to be good: whole and readable, and seen by nobody else.
//!
//! ```text
//!   pack received ──► quarantine ──► validated ──► admitted: files move in, then `main` does
//!                         └───────── refused, or a crash: gone
//! ```
//!
//! A pack may hold more than the history up to the head that the peer told: a server that found too
//! little in common sends what we have as well, a hostile one sends what nobody needs. What the new
//! commits do not reach is therefore left out before anything is validated or admitted, so the
//! repository holds nothing that was not looked at. A pack without such objects, as servers send it
//! for a clone, is taken as it is; of any other a new one is written.
//!
//! Making one, reading and validating it need the repository for an instant only, so whoever owns it
//! can write meanwhile. Few objects wait in memory, many in a pack that is on disk already when it is
//! admitted. A crash after that and before `main` moves leaves validated objects, nothing else.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use skep_protocol::ids::{BlobId, CommitId, ObjectId, TreeId};
use skep_protocol::swarm::object::{Commit, NewObject, ObjectKind, ObjectSource, SourceError};

use super::object_store::ObjectStore;
use super::staging::{NewPack, StagedPack};
use super::walk::Connected;
use super::{Repository, RepositoryError, Result, git_id};

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
        let view = view.apart();
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

    /// Checks that everything `head` needs is here, and forgets all else that the pack brought.
    /// Returns the commits that `main` lacked, parents before children.
    ///
    /// # Errors
    /// [`RepositoryError::MissingObject`](super::RepositoryError::MissingObject) for the first that
    /// is not here, when an object is damaged or none that we use, or what the system says.
    pub fn keep_needed(&mut self, head: CommitId) -> Result<Vec<CommitId>> {
        let Connected { commits, needed } = self.view.check_connected(head, self.known.as_slice())?;
        match &mut self.held {
            Held::Memory(objects) => objects.retain(|object| needed.contains(&ObjectId(object.id))),
            Held::Pack(staged) => {
                let mut ids = staged.ids()?;
                let sent = ids.len();
                ids.retain(|id| needed.contains(id));
                if ids.len() == sent {
                    return Ok(commits);
                }
                self.held = repack(&self.view, ids)?;
            }
        }
        self.show()?;
        Ok(commits)
    }

    /// Lets objects be seen that came into the repository meanwhile.
    ///
    /// # Errors
    /// What the system says.
    pub fn renew(&mut self, repository: &Repository) -> Result<()> {
        if self.view.generation != repository.generation {
            self.view = repository.view().apart();
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
                self.view.store.show(memory)?;
            }
            Held::Pack(staged) => self.view.store = ObjectStore::open(staged.folder())?,
        }
        Ok(())
    }
}

/// A pack of these objects alone.
fn repack(view: &Repository, ids: Vec<ObjectId>) -> Result<Held> {
    if ids.is_empty() {
        return Ok(Held::Memory(Vec::new()));
    }
    let mut pack = NewPack::create(view, ids.len())?;
    for id in ids {
        let (kind, content) = view.find(id)?.ok_or(RepositoryError::MissingObject(id))?;
        pack.add(view, &NewObject { kind, id: id.0, content })?;
    }
    Ok(Held::Pack(pack.finish(view)?))
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
    pub(in crate::swarm) fn view(&self) -> Self {
        Self {
            path: self.path.clone(),
            store: self.store.clone(),
            unforced: RefCell::default(),
            cache: Arc::clone(&self.cache),
            generation: self.generation,
            reached: Arc::clone(&self.reached),
            views: Arc::clone(&self.views),
            untidy: Arc::default(),
        }
    }

    /// A view that others do not learn from: what it is going to see is not in the repository.
    fn apart(self) -> Self {
        let cache = Arc::new(Mutex::new(self.cache().clone()));
        Self { cache, ..self }
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
                let mut cache = self.cache();
                for object in objects {
                    cache.insert(ObjectId(object.id), object.kind, &object.content);
                }
            }
            Held::Pack(staged) => self.place(staged)?,
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
