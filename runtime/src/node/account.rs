//! An account of the node, as a program holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use skep_actors::account::messages::{
    AccountError, AccountMessage, AccountRequest, AccountView, ContactView, DeviceView, LinkView, Password,
    RequestView,
};
use skep_actors::profile::messages::{PersonView, PictureChange, ProfilesMessage};
use skep_actors::supervision::{Port, Reply};
use skep_actors::swarm::messages::{Changed, ConversationMessage, ConversationView, ProfileChange};
use skep_actors::transfer::messages::{TransferView, TransfersMessage};
use skep_protocol::ids::{AccountId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::names::{Name, TypedError};
use skep_protocol::swarm::message::Mode;

use super::conversation::Conversation;
use super::{ASK_DEADLINE, NamedView, Node};
use crate::error::NodeError;

/// Time to find the certificate of a device that is to be banned.
const SEARCH_DEADLINE: Duration = Duration::from_secs(90);

/// Time to open or write an archive: Argon2 and a full disk write, with others before it.
const ARCHIVE_DEADLINE: Duration = Duration::from_secs(60);

/// Time for a picture to be read, scaled and written, with other work before it.
const PICTURE_DEADLINE: Duration = Duration::from_secs(60);

/// Time for an invitation to be durable in the records and in the conversation.
const INVITE_DEADLINE: Duration = Duration::from_secs(90);

/// Time to validate a conversation that is imported: a hundred thousand commits, twice over.
const IMPORT_DEADLINE: Duration = Duration::from_secs(300);

/// An account of the node. Cheap to clone; stays valid when its actor is restarted.
#[derive(Clone, Debug)]
pub struct Account {
    node: Node,
    local: LocalAccountId,
}

type Answer<T> = Reply<Result<T, AccountError>>;

impl Account {
    pub(crate) const fn new(node: Node, local: LocalAccountId) -> Self {
        Self { node, local }
    }

    /// Its local name on this node.
    #[must_use]
    pub const fn local(&self) -> LocalAccountId {
        self.local
    }

    /// The account at a glance.
    ///
    /// # Errors
    /// [`NodeError`], as for all methods here, when the account does not answer.
    pub async fn describe(&self) -> Result<AccountView, NodeError> {
        self.ask_plain(AccountRequest::Describe).await
    }

    /// The archive: all that is needed to use the account elsewhere.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`] when the account is protected by another one.
    pub async fn export(&self, password: Option<Password>) -> Result<Vec<u8>, NodeError> {
        self.ask(ARCHIVE_DEADLINE, |reply| AccountRequest::Export { password, reply }).await
    }

    /// Gives the archive another password, or none.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`] when `old` is not the present one.
    pub async fn change_password(
        &self,
        old: Option<Password>,
        new: Option<Password>,
    ) -> Result<(), NodeError> {
        self.ask(ARCHIVE_DEADLINE, |reply| AccountRequest::ChangePassword { old, new, reply }).await
    }

    /// Gives the account another display name.
    ///
    /// # Errors
    /// [`ProfileError`](skep_actors::profile::messages::ProfileError) when it is too long, or could not be
    /// written.
    pub async fn rename(&self, name: impl Into<String>) -> Result<(), NodeError> {
        self.set_profile(Some(name.into()), PictureChange::Keep).await
    }

    /// Changes the profile that contacts, fellow members and other devices of the account see. What is not named
    /// stays. The picture is made small, and nothing of the file is kept but what is to be seen.
    ///
    /// # Errors
    /// [`ProfileError`](skep_actors::profile::messages::ProfileError) when the name is too long, or the image
    /// cannot be a picture.
    pub async fn set_profile(&self, name: Option<String>, picture: PictureChange) -> Result<(), NodeError> {
        let port = self.profiles_port().await?;
        let set = |reply| ProfilesMessage::Set { name, picture, reply };
        Ok(port.ask(PICTURE_DEADLINE, set).await??)
    }

    /// The profile of somebody, as that person told it last; or the owner's own one.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`](skep_actors::profile::messages::ProfileError::Unknown) when there is none.
    pub async fn profile(&self, person: AccountId) -> Result<PersonView, NodeError> {
        let port = self.profiles_port().await?;
        Ok(port.ask(ASK_DEADLINE, |reply| ProfilesMessage::Show { person, reply }).await??)
    }

    /// What people are called, as far as they have told it.
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn display_names(
        &self,
        people: BTreeSet<AccountId>,
    ) -> Result<BTreeMap<AccountId, String>, NodeError> {
        self.ask_plain(|reply| AccountRequest::DisplayNames { people, reply }).await
    }

    /// Switches on or off whether others are told how far the owner has read, and that the owner types.
    /// What is none stays as it is.
    ///
    /// # Errors
    /// [`AccountError::Storage`] when it could not be written.
    pub async fn set(&self, read_receipts: Option<bool>, typing: Option<bool>) -> Result<(), NodeError> {
        self.ask(ASK_DEADLINE, |reply| AccountRequest::Set { read_receipts, typing, reply }).await
    }

    /// Registers a name for the account at the node's name server. Names are for ever, and an account has
    /// one at each server. The password opens the archive, which has the key that signs.
    ///
    /// # Errors
    /// [`NodeError::NoNameServer`], [`AccountError::WrongPassword`], [`NodeError::NotRegistered`] when the
    /// server refuses, for example because somebody has the name.
    pub async fn register_name(
        &self,
        name: &str,
        password: Option<Password>,
    ) -> Result<NamedView, NodeError> {
        let name: Name = name.parse().map_err(TypedError::from)?;
        self.node.name_server()?;
        let sign = |reply| AccountRequest::SignName { name, password, reply };
        self.node.register_name(self.ask(ARCHIVE_DEADLINE, sign).await?).await
    }

    /// Removes the account from this node for good: its keys, contacts and conversations. Other
    /// devices of the account, and an archive exported before, are not touched.
    ///
    /// # Errors
    /// [`AccountError::Storage`] when the disk refuses; the account is then still there.
    pub async fn remove(&self) -> Result<(), NodeError> {
        self.node.remove_account(self.local).await
    }

    /// Adds a contact and sends it a request. The conversation can be used at once.
    ///
    /// # Errors
    /// [`AccountError::Oneself`], [`AccountError::TooMany`].
    pub async fn add_contact(&self, contact: AccountId) -> Result<Conversation, NodeError> {
        let add = |reply| AccountRequest::AddContact { contact, reply };
        Ok(self.conversation(self.ask(ARCHIVE_DEADLINE, add).await?))
    }

    /// Accepts a request. The conversation is being fetched; [`Event::ConversationReady`] tells
    /// when it is there.
    ///
    /// [`Event::ConversationReady`]: crate::Event::ConversationReady
    ///
    /// # Errors
    /// [`AccountError::UnknownRequest`] when there is none from this person.
    pub async fn accept(&self, from: AccountId) -> Result<Conversation, NodeError> {
        let accept = |reply| AccountRequest::Accept { from, reply };
        Ok(self.conversation(self.ask(ASK_DEADLINE, accept).await?))
    }

    /// Declines a request; the sender is not told.
    ///
    /// # Errors
    /// [`AccountError::UnknownRequest`] when there is none from this person.
    pub async fn decline(&self, from: AccountId) -> Result<(), NodeError> {
        self.ask(ASK_DEADLINE, |reply| AccountRequest::Decline { from, reply }).await
    }

    /// Removes a contact. A banned one may not come back by itself.
    ///
    /// # Errors
    /// [`AccountError::UnknownContact`] when there is no such contact.
    pub async fn remove_contact(&self, contact: AccountId, ban: bool) -> Result<(), NodeError> {
        self.ask(ASK_DEADLINE, |reply| AccountRequest::RemoveContact { contact, ban, reply }).await
    }

    /// Bans a single device of somebody else: it gets no link and no answer, and is told nothing. What it
    /// writes into conversations still comes by way of others.
    ///
    /// # Errors
    /// [`AccountError::NoCertificate`], [`AccountError::BanOwnDevice`].
    pub async fn ban_device(&self, device: DeviceId) -> Result<(), NodeError> {
        self.ask(SEARCH_DEADLINE, |reply| AccountRequest::BanDevice { device, reply }).await
    }

    /// Lifts the ban of a single device.
    ///
    /// # Errors
    /// [`AccountError::NotBanned`].
    pub async fn allow_device(&self, device: DeviceId) -> Result<(), NodeError> {
        self.ask(ASK_DEADLINE, |reply| AccountRequest::AllowDevice { device, reply }).await
    }

    /// All contacts, also those removed and banned.
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn contacts(&self) -> Result<Vec<ContactView>, NodeError> {
        self.ask_plain(AccountRequest::Contacts).await
    }

    /// Contact requests and invitations that wait for an answer.
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn requests(&self) -> Result<Vec<RequestView>, NodeError> {
        self.ask_plain(AccountRequest::Requests).await
    }

    /// Makes a group of which this account is the only member and admin.
    ///
    /// # Errors
    /// [`AccountError::NoGroup`] for a mode that is no group's, [`AccountError::InConversation`] when the
    /// profile is too long.
    pub async fn create_conversation(
        &self,
        mode: Mode,
        profile: ProfileChange,
    ) -> Result<Conversation, NodeError> {
        let create = |reply| AccountRequest::CreateConversation { mode, profile, reply };
        Ok(self.conversation(self.ask(ARCHIVE_DEADLINE, create).await?))
    }

    pub(super) async fn invite(
        &self,
        conversation: ConversationId,
        person: AccountId,
    ) -> Result<Changed, NodeError> {
        self.ask(INVITE_DEADLINE, |reply| AccountRequest::Invite { conversation, person, reply }).await
    }

    /// Accepts an invitation. The conversation is being fetched; [`Event::ConversationReady`] tells
    /// when it is there.
    ///
    /// [`Event::ConversationReady`]: crate::Event::ConversationReady
    ///
    /// # Errors
    /// [`AccountError::UnknownInvitation`] when there is none into this conversation.
    pub async fn accept_invitation(&self, conversation: ConversationId) -> Result<Conversation, NodeError> {
        self.ask(ASK_DEADLINE, |reply| AccountRequest::AcceptInvitation { conversation, reply }).await?;
        Ok(self.conversation(conversation))
    }

    /// Declines an invitation; who invites is not told.
    ///
    /// # Errors
    /// [`AccountError::UnknownInvitation`] when there is none into this conversation.
    pub async fn decline_invitation(&self, conversation: ConversationId) -> Result<(), NodeError> {
        self.ask(ASK_DEADLINE, |reply| AccountRequest::DeclineInvitation { conversation, reply }).await
    }

    /// All conversations at a glance.
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn conversations(&self) -> Result<Vec<ConversationView>, NodeError> {
        self.ask(ARCHIVE_DEADLINE, AccountRequest::Conversations).await
    }

    /// A conversation by its id. Whether there is such a one shows at its first use.
    #[must_use]
    pub fn conversation(&self, id: ConversationId) -> Conversation {
        Conversation::new(self.clone(), id)
    }

    /// Opens a conversation from a git bundle or a bare repository on the node's machine.
    ///
    /// # Errors
    /// [`AccountError`] when it breaks the rules of a conversation or cannot be read.
    pub async fn import_conversation(&self, path: impl Into<PathBuf>) -> Result<Conversation, NodeError> {
        let path = path.into();
        let import = |reply| AccountRequest::ImportConversation { path, reply };
        Ok(self.conversation(self.ask(IMPORT_DEADLINE, import).await?))
    }

    /// The account's devices, this one included.
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn devices(&self) -> Result<Vec<DeviceView>, NodeError> {
        self.ask_plain(AccountRequest::Devices).await
    }

    /// Gives this device another name, which the others hear of.
    ///
    /// # Errors
    /// [`AccountError::DeviceName`], [`AccountError::TooMany`].
    pub async fn rename_device(&self, name: impl Into<String>) -> Result<(), NodeError> {
        let name = name.into();
        self.ask(ASK_DEADLINE, |reply| AccountRequest::RenameDevice { name, reply }).await
    }

    /// Revokes another device of the account: whoever hears of it has nothing to do with that device any
    /// more. There is no way back. The password opens the archive, which has the key that signs.
    ///
    /// # Errors
    /// [`AccountError::UnknownDevice`], [`AccountError::OwnDevice`], [`AccountError::WrongPassword`].
    pub async fn revoke_device(&self, device: DeviceId, password: Option<Password>) -> Result<(), NodeError> {
        let revoke = |reply| AccountRequest::RevokeDevice { device, password, reply };
        self.ask(ARCHIVE_DEADLINE, revoke).await
    }

    /// All files that are on their way to or from this device, or waited for.
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn transfers(&self) -> Result<Vec<TransferView>, NodeError> {
        Ok(self.transfers_port().await?.ask(ASK_DEADLINE, TransfersMessage::List).await?)
    }

    /// All links to other devices.
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn links(&self) -> Result<Vec<LinkView>, NodeError> {
        self.ask(ASK_DEADLINE, AccountRequest::Links).await
    }

    pub(super) async fn leave_conversation(&self, conversation: ConversationId) -> Result<(), NodeError> {
        let leave = |reply| AccountRequest::LeaveConversation { conversation, reply };
        self.ask(ARCHIVE_DEADLINE, leave).await
    }

    pub(super) async fn conversation_port(
        &self,
        conversation: ConversationId,
    ) -> Result<Port<ConversationMessage>, NodeError> {
        self.ask(ASK_DEADLINE, |reply| AccountRequest::Conversation { conversation, reply }).await
    }

    pub(super) async fn transfers_port(&self) -> Result<Port<TransfersMessage>, NodeError> {
        self.ask(ASK_DEADLINE, AccountRequest::Transfers).await
    }

    async fn profiles_port(&self) -> Result<Port<ProfilesMessage>, NodeError> {
        self.ask(ASK_DEADLINE, AccountRequest::Profiles).await
    }

    pub(super) async fn ask<T>(
        &self,
        deadline: Duration,
        request: impl FnOnce(Answer<T>) -> AccountRequest,
    ) -> Result<T, NodeError> {
        let port = self.node.account_port(self.local).await?;
        Ok(port.ask(deadline, |reply| AccountMessage::Request(request(reply))).await??)
    }

    pub(super) async fn ask_plain<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> AccountRequest,
    ) -> Result<T, NodeError> {
        let port = self.node.account_port(self.local).await?;
        Ok(port.ask(ASK_DEADLINE, |reply| AccountMessage::Request(request(reply))).await?)
    }
}
