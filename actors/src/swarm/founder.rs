//! Making conversations, and opening those that were written elsewhere. Everything here blocks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, ConversationId};
use skep_protocol::profile::ConversationProfile;
use skep_protocol::swarm::create::{LocalDevice, Writer};
use skep_protocol::swarm::message::Mode;
use skep_protocol::swarm::validate::Validator;
use skep_protocol::time::UnixMillis;

use super::replica::{ReplicaError, sign};
use super::repository::{Repository, RepositoryError};
use super::standing::{people, read_members};

/// Ending of the folder of a conversation that is being made.
pub(crate) const UNFINISHED: &str = "new";

/// Folder of a conversation that is being imported, before its id is known.
pub(crate) const IMPORT: &str = "import.new";

static NEXT_BEGUN: AtomicU64 = AtomicU64::new(0);

/// Who makes or opens conversations.
#[derive(Clone, Debug)]
pub struct Founder {
    /// Our device.
    pub identity: Arc<DeviceIdentity>,
    /// The account's display name.
    pub name: String,
    /// The time.
    pub now: UnixMillis,
}

impl Founder {
    /// Makes the one-to-one conversation with `other` below `folder`, under an id that is not
    /// taken; durable when it returns.
    ///
    /// # Errors
    /// [`ReplicaError`] when it cannot be written.
    pub fn begin(
        &self,
        folder: &Path,
        other: AccountId,
        is_taken: impl Fn(ConversationId) -> bool,
    ) -> Result<ConversationId, ReplicaError> {
        self.begin_as(Mode::OneToOne, Some(other), None, folder, is_taken)
    }

    /// Makes a group of which we are the only admin below `folder`, with a profile if there is
    /// something in it; durable when it returns.
    ///
    /// # Errors
    /// [`ReplicaError`] when it cannot be written.
    pub fn begin_group(
        &self,
        mode: Mode,
        profile: &ConversationProfile,
        folder: &Path,
        is_taken: impl Fn(ConversationId) -> bool,
    ) -> Result<ConversationId, ReplicaError> {
        let profile = (*profile != ConversationProfile::default()).then_some(profile);
        self.begin_as(mode, None, profile, folder, is_taken)
    }

    fn begin_as(
        &self,
        mode: Mode,
        other: Option<AccountId>,
        profile: Option<&ConversationProfile>,
        folder: &Path,
        is_taken: impl Fn(ConversationId) -> bool,
    ) -> Result<ConversationId, ReplicaError> {
        let local = LocalDevice::new(self.identity.chain().chain(), &self.name)?;
        let mut now = self.now;
        loop {
            let draft = local.begin(mode, other, now)?;
            let (commit, objects) = sign(draft, self.identity.key())?;
            let id = ConversationId::from_initial_commit(commit.id);
            let place = folder.join(id.to_hex());
            if !is_taken(id) && !place.exists() {
                // A name of its own: another may be begun in this very moment.
                let number = NEXT_BEGUN.fetch_add(1, Ordering::Relaxed);
                let unfinished = folder.join(format!("{id}.{number}.{UNFINISHED}"));
                Repository::erase(&unfinished)?;
                let repository = Repository::create(&unfinished)?;
                repository.write_objects(&objects)?;
                let mut head = commit.id;
                if let Some(profile) = profile {
                    let draft = Writer::new(&repository, &local, head, now)?.profile(profile)?;
                    let (commit, objects) = sign(draft, self.identity.key())?;
                    repository.write_objects(&objects)?;
                    head = commit.id;
                }
                repository.move_main(None, head)?;
                match repository.move_to(&place) {
                    Ok(_) => return Ok(id),
                    Err(RepositoryError::AlreadyExists(_)) => Repository::erase(&unfinished)?,
                    Err(error) => return Err(error.into()),
                }
            }
            // The same people in the same second make the same first commit: this one is taken.
            now = now.plus(Duration::from_secs(1));
        }
    }

    /// Opens a bundle, or copies a bare repository, below `folder`, after full validation. Returns
    /// the conversation, those who may take part, and the number of its mode.
    ///
    /// # Errors
    /// [`ReplicaError`] says why it is not taken; nothing is left of it then.
    pub fn import(
        &self,
        path: &Path,
        folder: &Path,
    ) -> Result<(ConversationId, BTreeSet<AccountId>, i64), ReplicaError> {
        let unfinished = folder.join(IMPORT);
        Repository::erase(&unfinished)?;
        let imported = self.import_to(path, &unfinished, folder);
        if imported.is_err() {
            Repository::erase(&unfinished)?;
        }
        imported
    }

    fn import_to(
        &self,
        path: &Path,
        unfinished: &Path,
        folder: &Path,
    ) -> Result<(ConversationId, BTreeSet<AccountId>, i64), ReplicaError> {
        let repository = if path.is_dir() {
            copy_folder(path, unfinished)?;
            Repository::open(unfinished)?
        } else {
            Repository::import_bundle(path, unfinished)?
        };
        let head = repository.head()?.ok_or(ReplicaError::Empty)?;
        let commits = repository.commits_between(head, &[])?;
        let root = commits.first().copied().ok_or(ReplicaError::Empty)?;
        let id = ConversationId::from_initial_commit(root);
        let founding = {
            let mut validator = Validator::new(&repository, id);
            for commit in commits {
                validator.validate(commit)?;
            }
            validator.founding()?
        };
        let tree = repository.commit_at(head)?.tree;
        let members = read_members(&repository, tree, &founding)?;
        if members.role(self.identity.account_id()).is_none() {
            return Err(ReplicaError::NotMember);
        }
        repository.move_to(&folder.join(id.to_hex()))?;
        Ok((id, people(&members), founding.mode.number()))
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), ReplicaError> {
    let failed = |source| ReplicaError::Io { path: from.to_owned(), source };
    crate::storage::make_folder(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (kind, place) = (entry.file_type().map_err(failed)?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &place)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &place).map_err(failed)?;
        }
    }
    Ok(())
}
