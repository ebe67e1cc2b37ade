//! The one branch: reading it, moving it, telling peers about it.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use skep_protocol::ids::CommitId;
use skep_protocol::swarm::git::upload::Reference;

use super::durable::{self, at};
use super::{Repository, RepositoryError, Result};
use crate::storage;

/// The branch of every conversation.
const MAIN: &str = "refs/heads/main";

/// Longest content of a reference: 40 digits and a newline.
const MAX_REFERENCE: usize = 64;

/// What a client is told first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The commit `HEAD` stands for.
    pub head: CommitId,
    /// Every reference.
    pub references: Vec<Reference>,
}

impl Repository {
    /// The newest commit of `main`; none while the repository is empty.
    ///
    /// # Errors
    /// [`RepositoryError::CorruptReference`], or what the system says.
    pub fn head(&self) -> Result<Option<CommitId>> {
        let path = self.main_path();
        let content = match storage::read(&path, MAX_REFERENCE) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(RepositoryError::CorruptReference(path));
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let Some(content) = content else { return Ok(None) };
        let text = std::str::from_utf8(&content).unwrap_or_default();
        match text.strip_suffix('\n').unwrap_or(text).parse() {
            Ok(head) => Ok(Some(head)),
            Err(_) => Err(RepositoryError::CorruptReference(path)),
        }
    }

    /// Moves `main` to `new`, if it is `expected` still. When it returns, the move is on disk.
    ///
    /// # Errors
    /// [`RepositoryError::HeadMoved`] when `main` is something else,
    /// [`RepositoryError::MissingObject`] when `new` is not here, [`RepositoryError::Locked`], or
    /// what the system says. `main` did not move then, unless it was the folder that could not be
    /// forced to disk: read [`Self::head`] again.
    pub fn move_main(&self, expected: Option<CommitId>, new: CommitId) -> Result<()> {
        if !self.contains(new.into())? {
            return Err(RepositoryError::MissingObject(new.into()));
        }
        let path = self.main_path();
        let lock = durable::beside(&path, "lock");
        let mut file = durable::create_file(&lock).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RepositoryError::Locked(lock.clone()),
            _ => at(&lock)(error),
        })?;
        let moved = self.head().and_then(|found| {
            if found != expected {
                return Err(RepositoryError::HeadMoved { expected, found });
            }
            file.write_all(format!("{new}\n").as_bytes()).map_err(at(&lock))?;
            file.sync_all().map_err(at(&lock))?;
            fs::rename(&lock, &path).map_err(at(&path))
        });
        if moved.is_err() {
            durable::remove_file(&lock)?;
        }
        moved?;
        path.parent().map_or(Ok(()), durable::force_folder)
    }

    /// What to tell a client; none while the repository is empty.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub fn advertise(&self) -> Result<Option<Advertisement>> {
        Ok(self.head()?.map(|head| Advertisement {
            head,
            references: vec![Reference { name: MAIN.to_owned(), target: head }],
        }))
    }

    pub(super) fn main_path(&self) -> PathBuf {
        self.path.join(MAIN)
    }
}
