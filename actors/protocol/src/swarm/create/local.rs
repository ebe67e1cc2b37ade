//! The device that writes, and the first commits it makes.

use super::{CreateError, Draft, message_of};
use crate::identity::{Certificate, Chain};
use crate::ids::{AccountId, CommitId, ConversationId, DeviceId, TreeId};
use crate::swarm::edit::TreeEdit;
use crate::swarm::layout::TreePath;
use crate::swarm::message::{Content, Mode, document_initial};
use crate::swarm::object::{MemoryObjects, UnsignedCommit};
use crate::time::UnixMillis;

/// Who we are: one device of one account.
#[derive(Clone, Debug)]
pub struct LocalDevice {
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
    name: String,
    pub(super) device_file: String,
    pub(super) account_file: String,
}

impl LocalDevice {
    /// From the device's chain (device, account, CA) and the display name of the account.
    ///
    /// # Errors
    /// [`CreateError::NoAccount`] when the chain ends with the device.
    pub fn new(chain: &Chain, name: &str) -> Result<Self, CreateError> {
        let [account, ..] = chain.issuers() else { return Err(CreateError::NoAccount) };
        Ok(Self {
            account: account.account_id(),
            device: chain.leaf().device_id(),
            name: name.to_owned(),
            device_file: chain.leaf().to_pem(),
            account_file: chain.issuers().iter().map(Certificate::to_pem).collect(),
        })
    }

    /// The same device, whose account has this display name now.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// The display name that commits carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// The first commit of a conversation. `invited` is the other one if it is one-to-one (or
    /// oneself).
    ///
    /// # Errors
    /// [`CreateError::Read`] never happens with honest certificates.
    pub fn begin(
        &self,
        mode: Mode,
        invited: Option<AccountId>,
        now: UnixMillis,
    ) -> Result<Draft, CreateError> {
        let invited = invited.filter(|_| mode == Mode::OneToOne);
        let message = message_of(&Content::Initial { mode, invited });
        self.begin_with(&message, invited.filter(|person| *person != self.account), now)
    }

    /// The first commit of a collaborative document of conversation `parent`.
    ///
    /// # Errors
    /// As [`LocalDevice::begin`].
    pub fn begin_document(
        &self,
        parent: ConversationId,
        mime_type: &str,
        now: UnixMillis,
    ) -> Result<Draft, CreateError> {
        self.begin_with(&document_initial(parent, mime_type).to_bytes(), None, now)
    }

    fn begin_with(
        &self,
        message: &[u8],
        invited: Option<AccountId>,
        now: UnixMillis,
    ) -> Result<Draft, CreateError> {
        let nothing = MemoryObjects::default();
        let mut edit = TreeEdit::new(&nothing, None);
        edit.put(TreePath::admin(self.account), self.account_file.as_bytes())?;
        edit.put(TreePath::device(self.device), self.device_file.as_bytes())?;
        if let Some(person) = invited {
            edit.put(TreePath::invited(person), b"")?;
        }
        let tree = edit.finish()?;
        let commit = self.commit(tree.root, Vec::new(), message.to_vec(), now);
        Ok(Draft { objects: tree.objects, commit })
    }

    pub(super) fn commit(
        &self,
        tree: TreeId,
        parents: Vec<CommitId>,
        message: Vec<u8>,
        now: UnixMillis,
    ) -> UnsignedCommit {
        let (name, device) = (self.name.clone(), self.device);
        UnsignedCommit { tree, parents, name, device, seconds: now.seconds(), message }
    }
}
