//! What the files of an account can be asked, and the views they answer with.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::transfer::{FileRequest, NoRoom, OfferError};

use crate::blocking::PoolError;
use crate::peer::messages::ChannelOffer;
use crate::supervision::{Message, Policy, Port, Reply};
use crate::swarm::messages::{ConversationError, ConversationMessage};

/// Most files that an account waits for.
pub const MAX_WISHES: usize = 1024;

/// How much files may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLimits {
    /// Longest file that is fetched, in bytes.
    pub largest: u64,
    /// Most bytes that the fetched files of an account may take together.
    pub quota: u64,
}

impl Default for TransferLimits {
    /// As much as the disk has, but for its reserve.
    fn default() -> Self {
        Self { largest: u64::MAX, quota: u64::MAX }
    }
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It comes here.
    Receiving,
    /// It goes to another device.
    Sending,
}

/// How a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Nobody sends it just now; it is asked for again by itself.
    Waiting,
    /// Bytes are under way.
    Running,
    /// It is here, verified.
    Done,
    /// The owner does not want it any more.
    Cancelled,
}

/// A transfer as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransferView {
    /// In which conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The message that offers the file.
    #[schemars(with = "String")]
    pub message: CommitId,
    /// A safe name of the file.
    pub name: String,
    /// Which way it goes.
    pub direction: Direction,
    /// How it stands.
    pub state: TransferState,
    /// How many bytes are here, or were sent.
    pub position: u64,
    /// Length of the file in bytes; 0 if it is not known.
    pub size: u64,
    /// Bytes a second.
    pub rate: u64,
    /// The device at the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub device: Option<DeviceId>,
    /// Where the file is, once it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// What went wrong last, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A file that was offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfferedView {
    /// The message that offers it.
    #[schemars(with = "String")]
    pub message: CommitId,
    /// The name it is offered under.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA3-512 of its content, in hexadecimal.
    pub sha3: String,
}

/// Why a file was not offered, fetched or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The conversation refuses.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// The conversation is not here yet.
    #[error("conversation {0} is not ready; wait until it has arrived")]
    NotReady(ConversationId),
    /// What is offered cannot be had.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// There is no room.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Only files can be offered.
    #[error("{} is not a file that can be read: {reason}", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file was written to meanwhile.
    #[error("{} changed while it was read; offer it again", .0.display())]
    Changed(PathBuf),
    /// Files are saved in folders.
    #[error("{} is not a folder that files can be saved in", .0.display())]
    NotAFolder(PathBuf),
    /// It cannot be in two places.
    #[error("the file is at {}, or on its way there; remove it here first to have it elsewhere", .0.display())]
    Elsewhere(PathBuf),
    /// Nothing to cancel or remove.
    #[error("no file of message {0} is here, or on its way")]
    NoTransfer(CommitId),
    /// Too many at once.
    #[error("this account waits for {MAX_WISHES} files already; cancel some")]
    TooMany,
    /// The disk refused.
    #[error("the file could not be read or written: {0}")]
    Storage(String),
    /// The node is too busy.
    #[error(transparent)]
    Busy(#[from] PoolError),
}

impl From<std::io::Error> for TransferError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

pub(super) type Answer<T> = Reply<Result<T, TransferError>>;

/// Everything the files of an account can be told.
#[derive(Debug)]
pub enum TransfersMessage {
    /// Offer a file of this machine in a conversation. It stays where it is, and is served from there.
    Offer {
        /// Where.
        conversation: ConversationId,
        /// The file.
        path: PathBuf,
        /// The message answered.
        reply_to: Option<CommitId>,
        /// Gets the message, when it is durable.
        reply: Answer<OfferedView>,
    },
    /// Fetch a file that was offered. The wish survives restarts.
    Fetch {
        /// Where.
        conversation: ConversationId,
        /// The message that offers it.
        message: CommitId,
        /// The folder to save it in, under a name that is free; the account's own folder if none.
        to: Option<PathBuf>,
        /// Gets how it stands when the wish is durable.
        reply: Answer<TransferView>,
    },
    /// Fetch a file no more; what came of it is removed.
    Cancel {
        /// Where.
        conversation: ConversationId,
        /// The message that offers it.
        message: CommitId,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// Remove a file from this account, and the offer from the conversation if it is the account's own.
    /// A file that was offered or saved elsewhere stays there.
    Remove {
        /// Where.
        conversation: ConversationId,
        /// The message that offers it.
        message: CommitId,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// All transfers that wait or run.
    List(Reply<Vec<TransferView>>),
    /// A peer wants a file.
    Serve(ChannelOffer, FileRequest),
    /// A conversation is here; also told when its members change.
    Room {
        /// Which.
        conversation: ConversationId,
        /// Where it is asked.
        port: Port<ConversationMessage>,
        /// Who takes part.
        members: BTreeSet<AccountId>,
    },
    /// A conversation is here no more.
    RoomGone(ConversationId),
    /// A link to a device has come up, or ended.
    Link {
        /// Which device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
        /// Whether it is up.
        up: bool,
    },
}

/// What the files tell their account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransfersTold {
    /// They begin, or begin anew after a failure: no conversation and no link is known.
    Started,
    /// The devices of these members are to be looked for.
    Seek(Vec<AccountId>),
}

impl Message for TransfersMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Fetch { .. } => "fetch",
            Self::Cancel { .. } => "cancel",
            Self::Remove { .. } => "remove",
            Self::List(_) => "list",
            Self::Serve(..) => "serve",
            // The newer one of both says it all.
            Self::Room { .. } | Self::RoomGone(_) => "room",
            Self::Link { .. } => "link",
        }
    }

    fn policy(&self) -> Policy {
        let key = |bytes: &[u8]| bytes.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
        match self {
            Self::Serve(..) => Policy::Reject,
            Self::Room { conversation, .. } | Self::RoomGone(conversation) => {
                Policy::Coalesce(key(&conversation.0))
            }
            Self::Link { device, .. } => Policy::Coalesce(key(&device.0)),
            _ => Policy::Wait,
        }
    }
}
