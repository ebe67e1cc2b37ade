//! A conversation of an account, as a program holds it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use skep_actors::supervision::Reply;
use skep_actors::swarm::messages::{
    Changed, ConversationError, ConversationMessage, ConversationView, Exported, GroupChange, MemberView,
    MessageView, Outgoing, Page, ProfileChange, ProfileView,
};
use skep_actors::swarm::router::messages::RoutesView;
use skep_actors::transfer::messages::{OfferedView, TransferError, TransferView, TransfersMessage};
use skep_protocol::ids::{AccountId, CommitId, ConversationId};
use skep_protocol::swarm::layout::VoteAction;
use skep_protocol::swarm::message::Target;

use super::account::Account;
use crate::error::NodeError;

/// Time for a message to be signed and durable, with a burst of others before it.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// Time to read a page or describe the conversation.
const READ_DEADLINE: Duration = Duration::from_secs(15);

/// Time to go through a whole history.
const SEARCH_DEADLINE: Duration = Duration::from_secs(60);

/// A conversation of an account. Cheap to clone; stays valid when its actor is restarted.
#[derive(Clone, Debug)]
pub struct Conversation {
    account: Account,
    id: ConversationId,
}

/// Time to hash a file of a hundred gigabytes, on a slow disk.
const FILE_DEADLINE: Duration = Duration::from_secs(3600);

/// Time to pack a hundred thousand commits, on a slow disk.
const EXPORT_DEADLINE: Duration = Duration::from_secs(300);

type Answer<T> = Reply<Result<T, ConversationError>>;

impl Conversation {
    pub(crate) const fn new(account: Account, id: ConversationId) -> Self {
        Self { account, id }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ConversationId {
        self.id
    }

    /// Sends a text. Answers when it is durable here; delivery goes on by itself.
    ///
    /// # Errors
    /// [`NodeError`], as for all methods here.
    pub async fn send(&self, body: impl Into<String>) -> Result<CommitId, NodeError> {
        self.write(Outgoing::Text { body: body.into(), reply_to: None }).await
    }

    /// Sends a text that answers a message.
    ///
    /// # Errors
    /// [`ConversationError::UnknownMessage`] when there is no such message.
    pub async fn reply(&self, to: CommitId, body: impl Into<String>) -> Result<CommitId, NodeError> {
        self.write(Outgoing::Text { body: body.into(), reply_to: Some(to) }).await
    }

    /// Gives a message of this account another text.
    ///
    /// # Errors
    /// [`ConversationError::NotYours`] when somebody else wrote it.
    pub async fn edit(&self, message: CommitId, body: impl Into<String>) -> Result<CommitId, NodeError> {
        self.write(Outgoing::Edit { message, body: body.into() }).await
    }

    /// Takes a message or a reaction of this account back.
    ///
    /// # Errors
    /// [`ConversationError::NotYours`] when somebody else wrote it.
    pub async fn delete(&self, message: CommitId) -> Result<CommitId, NodeError> {
        self.write(Outgoing::Delete { message }).await
    }

    /// Reacts to a message, usually with one emoji.
    ///
    /// # Errors
    /// [`ConversationError::UnknownMessage`] when there is no such message.
    pub async fn react(&self, message: CommitId, body: impl Into<String>) -> Result<CommitId, NodeError> {
        self.write(Outgoing::React { message, body: body.into() }).await
    }

    /// Writes any message.
    ///
    /// # Errors
    /// [`ConversationError`] when the conversation cannot take it.
    pub async fn write(&self, message: Outgoing) -> Result<CommitId, NodeError> {
        self.ask(SEND_DEADLINE, |reply| ConversationMessage::Send { message, reply }).await
    }

    /// A page of history, newest first: the newest page, or the one older than a message. At most
    /// [`MAX_PAGE`](skep_actors::swarm::messages::MAX_PAGE) messages.
    ///
    /// # Errors
    /// [`ConversationError::UnknownMessage`] when `before` is not here.
    pub async fn messages(&self, before: Option<CommitId>, limit: usize) -> Result<Page, NodeError> {
        self.ask(READ_DEADLINE, |reply| ConversationMessage::Messages { before, limit, reply }).await
    }

    /// Finds messages with this text in any case, newest first.
    ///
    /// # Errors
    /// [`ConversationError::NotReady`] while the conversation has not arrived.
    pub async fn search(&self, text: impl Into<String>, limit: usize) -> Result<Vec<MessageView>, NodeError> {
        let text = text.into();
        self.ask(SEARCH_DEADLINE, |reply| ConversationMessage::Search { text, limit, reply }).await
    }

    /// Notes that the owner has read up to a message, and tells the members who are connected.
    ///
    /// # Errors
    /// [`ConversationError::UnknownMessage`] when there is no such message.
    pub async fn mark_read(&self, message: CommitId) -> Result<(), NodeError> {
        self.ask(READ_DEADLINE, |reply| ConversationMessage::MarkRead { message, reply }).await
    }

    /// Tells the members who are connected that the owner types, or has stopped. It is shown to them
    /// for twelve seconds.
    ///
    /// # Errors
    /// [`ConversationError::NotReady`] while the conversation has not arrived.
    pub async fn set_typing(&self, active: bool) -> Result<(), NodeError> {
        self.ask(READ_DEADLINE, |reply| ConversationMessage::Type { active, reply }).await
    }

    /// Mode, members, profile and head.
    ///
    /// # Errors
    /// [`NodeError`] when the conversation is unknown or does not answer.
    pub async fn describe(&self) -> Result<ConversationView, NodeError> {
        let port = self.account.conversation_port(self.id).await?;
        Ok(port.ask(READ_DEADLINE, ConversationMessage::Describe).await?)
    }

    /// The members, also those invited, banned and left.
    ///
    /// # Errors
    /// [`NodeError`] when the conversation is unknown or does not answer.
    pub async fn members(&self) -> Result<Vec<MemberView>, NodeError> {
        Ok(self.describe().await?.members)
    }

    /// The newest commits, merges included, to compare replicas.
    ///
    /// # Errors
    /// [`ConversationError::NotReady`] while the conversation has not arrived.
    pub async fn log(&self, limit: usize) -> Result<Vec<CommitId>, NodeError> {
        self.ask(SEARCH_DEADLINE, |reply| ConversationMessage::Log { limit, reply }).await
    }

    /// Writes the whole history into a new file as a git bundle, which git can clone and
    /// [`Account::import_conversation`] opens. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`ConversationError::FileExists`], [`ConversationError::Storage`] when it cannot be written.
    pub async fn export(&self, path: impl Into<PathBuf>) -> Result<Exported, NodeError> {
        let path = path.into();
        self.ask(EXPORT_DEADLINE, |reply| ConversationMessage::Export { path, reply }).await
    }

    /// Invites somebody. Delivery goes on by itself, also after a restart. Somebody banned is voted in
    /// again instead, by an admin.
    ///
    /// # Errors
    /// [`ConversationError::NotAdmin`] where only admins invite, [`ConversationError::AlreadyThere`],
    /// [`ConversationError::Banned`].
    pub async fn invite(&self, person: AccountId) -> Result<Changed, NodeError> {
        self.account.invite(self.id, person).await
    }

    /// Votes to ban a person or device, which happens when more than half of the admins have.
    ///
    /// # Errors
    /// [`ConversationError::NotAdmin`], [`ConversationError::NoTarget`],
    /// [`ConversationError::VotedAlready`].
    pub async fn ban(&self, target: Target) -> Result<Changed, NodeError> {
        self.change(GroupChange::Vote { action: VoteAction::Ban, target }).await
    }

    /// Votes to let a person in again. Of devices there is no way back.
    ///
    /// # Errors
    /// As [`Self::ban`]; [`ConversationError::DeviceStaysBanned`].
    pub async fn unban(&self, target: Target) -> Result<Changed, NodeError> {
        self.change(GroupChange::Vote { action: VoteAction::Unban, target }).await
    }

    /// Changes title, description, picture or host of calls.
    ///
    /// # Errors
    /// [`ConversationError::NotAdmin`], [`ConversationError::BadProfile`].
    pub async fn set_profile(&self, profile: ProfileChange) -> Result<Changed, NodeError> {
        self.change(GroupChange::Profile(profile)).await
    }

    /// Title, description, picture and host of calls.
    ///
    /// # Errors
    /// [`ConversationError::NotReady`] while the conversation has not arrived.
    pub async fn profile(&self) -> Result<ProfileView, NodeError> {
        self.ask(READ_DEADLINE, ConversationMessage::Profile).await
    }

    /// What the owner prefers of this conversation, on this device.
    ///
    /// # Errors
    /// [`ConversationError::Storage`] when it cannot be read.
    pub async fn preferences(&self) -> Result<BTreeMap<String, String>, NodeError> {
        self.ask(READ_DEADLINE, ConversationMessage::Preferences).await
    }

    /// Prefers something; an empty value takes a preference away. The others stay.
    ///
    /// # Errors
    /// [`ConversationError::BadPreference`] when there are too many, or one is too long.
    pub async fn prefer(&self, values: BTreeMap<String, String>) -> Result<(), NodeError> {
        self.ask(READ_DEADLINE, |reply| ConversationMessage::Prefer { values, reply }).await
    }

    /// The overlay of the conversation: which devices have channels with ours, which are known, and how
    /// often commits were announced.
    ///
    /// # Errors
    /// [`ConversationError::NotReady`] while the conversation has not arrived.
    pub async fn routes(&self) -> Result<RoutesView, NodeError> {
        self.ask(READ_DEADLINE, ConversationMessage::Routes).await
    }

    /// Offers a file of this machine. It stays where it is, and is served from there as long as it is not
    /// changed. Answers when the offer is durable.
    ///
    /// # Errors
    /// [`TransferError`] when it cannot be read.
    pub async fn send_file(
        &self,
        path: impl Into<PathBuf>,
        reply_to: Option<CommitId>,
    ) -> Result<OfferedView, NodeError> {
        let (conversation, path) = (self.id, path.into());
        self.ask_files(|reply| TransfersMessage::Offer { conversation, path, reply_to, reply }).await
    }

    /// Fetches a file that a message offers, from whichever device has it, now or after a restart. It
    /// appears when it is whole and verified: in the folder given, under a name that is free there, or in
    /// the account's own folder. [`Event::Transfer`] tells how far it is.
    ///
    /// [`Event::Transfer`]: crate::Event::Transfer
    ///
    /// # Errors
    /// [`TransferError`] when the message offers no file, or there is no room for it.
    pub async fn fetch_file(
        &self,
        message: CommitId,
        to: Option<PathBuf>,
    ) -> Result<TransferView, NodeError> {
        let conversation = self.id;
        self.ask_files(|reply| TransfersMessage::Fetch { conversation, message, to, reply }).await
    }

    /// Fetches a file no more; what came of it is removed.
    ///
    /// # Errors
    /// [`TransferError::NoTransfer`] when it is not waited for.
    pub async fn cancel_file(&self, message: CommitId) -> Result<(), NodeError> {
        let conversation = self.id;
        self.ask_files(|reply| TransfersMessage::Cancel { conversation, message, reply }).await
    }

    /// Removes a file from the account, and takes the offer back if it is the account's own. Files that
    /// were offered from, or saved in, other folders stay there.
    ///
    /// # Errors
    /// [`TransferError::NoTransfer`] when there is nothing of it here.
    pub async fn remove_file(&self, message: CommitId) -> Result<(), NodeError> {
        let conversation = self.id;
        self.ask_files(|reply| TransfersMessage::Remove { conversation, message, reply }).await
    }

    async fn ask_files<T>(
        &self,
        request: impl FnOnce(Reply<Result<T, TransferError>>) -> TransfersMessage,
    ) -> Result<T, NodeError> {
        let port = self.account.transfers_port().await?;
        Ok(port.ask(FILE_DEADLINE, request).await??)
    }

    async fn change(&self, change: GroupChange) -> Result<Changed, NodeError> {
        self.ask(SEND_DEADLINE, |reply| ConversationMessage::Change { change, reply }).await
    }

    /// Leaves the conversation and removes it from this account.
    ///
    /// # Errors
    /// [`AccountError::UnknownConversation`](skep_actors::account::messages::AccountError) when it
    /// is gone already.
    pub async fn leave(&self) -> Result<(), NodeError> {
        self.account.leave_conversation(self.id).await
    }

    async fn ask<T>(
        &self,
        deadline: Duration,
        request: impl FnOnce(Answer<T>) -> ConversationMessage,
    ) -> Result<T, NodeError> {
        let port = self.account.conversation_port(self.id).await?;
        Ok(port.ask(deadline, request).await??)
    }
}
