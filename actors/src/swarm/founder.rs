//! Making conversations, and opening those that were written elsewhere. Everything here blocks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, ConversationId};
use skep_protocol::swarm::create::LocalDevice;
use skep_protocol::swarm::message::Mode;
use skep_protocol::swarm::validate::Validator;
use skep_protocol::time::UnixMillis;

use super::replica::{ReplicaError, sign};
use super::repository::Repository;
use super::standing::{people, read_members};

/// Ending of the folder of a conversation that is being made.
pub(crate) const UNFINISHED: &str = "new";

/// Folder of a conversation that is being imported, before its id is known.
pub(crate) const IMPORT: &str = "import.new";

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
        let local = LocalDevice::new(self.identity.chain().chain(), &self.name)?;
        let mut now = self.now;
        let (id, commit, objects) = loop {
            let draft = local.begin(Mode::OneToOne, Some(other), now)?;
            let (commit, objects) = sign(draft, self.identity.key())?;
            let id = ConversationId::from_initial_commit(commit.id);
            if !is_taken(id) {
                break (id, commit, objects);
            }
            // The same people in the same second make the same first commit: this one was removed.
            now = now.plus(Duration::from_secs(1));
        };
        let unfinished = folder.join(format!("{id}.{UNFINISHED}"));
        Repository::erase(&unfinished)?;
        let repository = Repository::create(&unfinished)?;
        repository.write_objects(&objects)?;
        repository.move_main(None, commit.id)?;
        repository.move_to(&folder.join(id.to_hex()))?;
        Ok(id)
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
            validator.validate_history(head, |_| false)?;
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
