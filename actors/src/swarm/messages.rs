//! What a conversation can be asked, and the views it answers with.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::sync::MessageStatus;
use skep_protocol::time::UnixMillis;

use super::standing::describe;
use crate::peer::messages::ChannelOffer;
use crate::supervision::{Message, Policy, Reply};

/// Longest text of one message, in bytes: the protocol has no limit, and this is what people write
/// (`spec: swarm 15`).
pub const MAX_TEXT: usize = 64 * 1024;

/// Most messages in one page.
pub const MAX_PAGE: usize = 1000;

/// What is sent: a commit without change of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outgoing {
    /// A text, or an answer to a message.
    Text {
        /// The text, at most 64 KiB.
        body: String,
        /// The message answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        reply_to: Option<CommitId>,
    },
    /// Another text for a message of one's own.
    Edit {
        /// The original message.
        #[schemars(with = "String")]
        message: CommitId,
        /// The new text.
        body: String,
    },
    /// Takes a message or a reaction of one's own back.
    Delete {
        /// The original message.
        #[schemars(with = "String")]
        message: CommitId,
    },
    /// A reaction to a message.
    React {
        /// The message.
        #[schemars(with = "String")]
        message: CommitId,
        /// The reaction, usually one emoji.
        body: String,
    },
}

/// Why a conversation did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// The text is too long.
    #[error("the text has {length} bytes, more than the {MAX_TEXT} a message may have")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// There is no such message here.
    #[error("there is no message {message} in this conversation")]
    UnknownMessage {
        /// The message named.
        message: CommitId,
    },
    /// Only the author may edit or delete.
    #[error("message {message} was written by somebody else; only its author can change it")]
    NotYours {
        /// The message named.
        message: CommitId,
    },
    /// The kind of entry cannot be edited.
    #[error("entry {message} is not a text and cannot be edited")]
    NotEditable {
        /// The message named.
        message: CommitId,
    },
    /// The conversation has not been fetched yet.
    #[error("the conversation has not arrived yet; wait for it to be ready")]
    NotReady,
    /// We are not, or no longer, a member.
    #[error("this account is not a member of the conversation")]
    NotMember,
    /// The disk refused.
    #[error("the conversation could not be written: {0}")]
    Storage(String),
    /// The node is too busy.
    #[error(transparent)]
    Busy(#[from] crate::blocking::PoolError),
}

/// A message as a list shows it, its edits and reactions applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageView {
    /// The commit.
    #[schemars(with = "String")]
    pub id: CommitId,
    /// Who wrote it.
    #[schemars(with = "String")]
    pub author: AccountId,
    /// When, by the author's clock, in milliseconds since 1970.
    #[schemars(with = "i64")]
    pub time: UnixMillis,
    /// The commit's type: `text/plain`, `member`, `initial`, …
    pub kind: String,
    /// The newest text; empty when it was deleted or has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Whether its author deleted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Earlier texts, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub editions: Vec<String>,
    /// The message answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reply_to: Option<CommitId>,
    /// Reactions, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<ReactionView>,
    /// Other fields of the commit, as text: `action` and `uri` of a member commit, a file's name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub details: std::collections::BTreeMap<String, String>,
}

/// A reaction as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReactionView {
    /// Its commit.
    #[schemars(with = "String")]
    pub id: CommitId,
    /// Who reacted.
    #[schemars(with = "String")]
    pub author: AccountId,
    /// The reaction.
    pub body: String,
}

/// A page of history, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The messages, newest first.
    pub messages: Vec<MessageView>,
    /// Where the next older page begins; none at the beginning of history.
    #[schemars(with = "Option<String>")]
    pub next: Option<CommitId>,
}

/// A member of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// Who.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// `admin`, `member`, `invited`, `banned` or `left`.
    pub role: String,
    /// The newest commit that a device of theirs has, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub fetched: Option<CommitId>,
    /// The message up to which they have read, as far as they have told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub read: Option<CommitId>,
}

/// A conversation at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: ConversationId,
    /// `one_to_one`, `admin_invites_only`, `invites_only`, `public` or `document`.
    pub mode: String,
    /// Title from its profile; empty if none.
    pub title: String,
    /// Description from its profile; empty if none.
    pub description: String,
    /// Its members, also those invited, banned and left.
    pub members: Vec<MemberView>,
    /// The newest commit, when the conversation is here.
    #[schemars(with = "Option<String>")]
    pub head: Option<CommitId>,
    /// `ready`, `fetching`, `busy` if it did not answer, or `failed` if it failed too often and rests
    /// until the node restarts.
    pub state: String,
    /// Why it is not ready, for people; none if nothing went wrong yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ConversationView {
    /// A conversation of which nothing is known but why it does not answer.
    pub(crate) fn silent(id: ConversationId, state: &str, problem: String) -> Self {
        describe(id, None, &MessageStatus::default(), state, Some(problem))
    }
}

/// Everything a conversation actor can be told.
#[derive(Debug)]
pub enum ConversationMessage {
    /// Write a message; answered when it is durable here.
    Send {
        /// What to write.
        message: Outgoing,
        /// Gets the commit.
        reply: Reply<Result<CommitId, ConversationError>>,
    },
    /// Read a page of history.
    Messages {
        /// The message before which the page ends; the newest page if none.
        before: Option<CommitId>,
        /// How many, at most [`MAX_PAGE`].
        limit: usize,
        /// Gets the page.
        reply: Reply<Result<Page, ConversationError>>,
    },
    /// Find texts, newest first.
    Search {
        /// The text to find, in any case.
        text: String,
        /// How many, at most [`MAX_PAGE`].
        limit: usize,
        /// Gets the messages.
        reply: Reply<Result<Vec<MessageView>, ConversationError>>,
    },
    /// Mode, members, profile and head.
    Describe(Reply<ConversationView>),
    /// All commits from the newest, for comparison of replicas: at most `limit`.
    Log {
        /// How many.
        limit: usize,
        /// Gets their ids, newest first, merges included.
        reply: Reply<Result<Vec<CommitId>, ConversationError>>,
    },
    /// Leave; answered when the commit is durable. Asked again, it says the same. The actor goes on
    /// serving, and nothing else.
    Leave(Reply<Result<Left, ConversationError>>),
    /// End, if nobody has written anything: then nothing is taken any more, so that nothing is lost with
    /// the copy. Answered with whether it has ended.
    CloseUnused(Reply<bool>),
    /// Look whether this device has something new; several collapse into one fetch.
    Announced {
        /// The device that has it.
        device: DeviceId,
        /// Whose device it is.
        account: AccountId,
        /// The new commit, if it said which.
        commit: Option<CommitId>,
    },
    /// Fetch the conversation for the first time, from any of these.
    Clone {
        /// Devices that should have it.
        devices: Vec<DeviceId>,
    },
    /// A member has invited us once more: if fetching has failed, it is tried again soon.
    Invited,
    /// A peer wants to fetch from us.
    Serve(ChannelOffer),
    /// A peer has our history up to this commit; from the actor to itself.
    Served {
        /// Whose device it is.
        account: AccountId,
        /// The commit.
        commit: CommitId,
    },
    /// The owner has read up to a message; answered when that is durable. Members who are connected
    /// are told.
    MarkRead {
        /// The message.
        message: CommitId,
        /// The outcome.
        reply: Reply<Result<(), ConversationError>>,
    },
    /// A member has read up to a message.
    ReadBy {
        /// Who.
        member: AccountId,
        /// The message, which may not be here yet.
        commit: CommitId,
    },
    /// The owner types, or has stopped; members who are connected are told.
    Type {
        /// Whether typing.
        active: bool,
        /// Whether there is a conversation to type in.
        reply: Reply<Result<(), ConversationError>>,
    },
    /// A member types, or has stopped.
    TypedBy {
        /// Who.
        member: AccountId,
        /// Whether typing.
        active: bool,
    },
}

impl Message for ConversationMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Messages { .. } => "messages",
            Self::Search { .. } => "search",
            Self::Describe(_) => "describe",
            Self::Log { .. } => "log",
            Self::Leave(_) => "leave",
            Self::CloseUnused(_) => "close_unused",
            Self::Announced { .. } => "announced",
            Self::Clone { .. } => "clone",
            Self::Invited => "invited",
            Self::Serve(_) => "serve",
            Self::Served { .. } => "served",
            Self::MarkRead { .. } => "mark_read",
            Self::ReadBy { .. } => "read_by",
            Self::Type { .. } => "type",
            Self::TypedBy { .. } => "typed_by",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Announced { device, .. } => Policy::Coalesce(device_key(device)),
            Self::Clone { .. } | Self::Invited => Policy::Coalesce(0),
            Self::ReadBy { member, .. } | Self::TypedBy { member, .. } => {
                Policy::Coalesce(member.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte)))
            }
            Self::Serve(_) => Policy::Reject,
            _ => Policy::Wait,
        }
    }
}

/// What is to be done after leaving (`spec: swarm 12`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Others have to learn of it from this copy, which is kept until
    /// [`ConversationTold::LeaveFetched`].
    Announced,
    /// There is nobody who has to learn of it: the copy is not needed any more.
    Alone,
}

/// What a conversation tells its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationTold {
    /// It is here and can be used: its members (all roles that may fetch) and the number of its
    /// mode. Told at the start and whenever members change.
    Ready {
        /// Who may take part.
        members: BTreeSet<AccountId>,
        /// Who has joined.
        joined: BTreeSet<AccountId>,
        /// Number of the mode (`spec: swarm 2`).
        mode: i64,
    },
    /// It has to be fetched first, and nobody is being asked now.
    Wanted,
    /// We have left, and somebody else's device has the commit that says so.
    LeaveFetched,
}

fn device_key(device: &DeviceId) -> u64 {
    device.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}
