//! What the root of a node can be asked.

use std::sync::Arc;

use skep_actors::account::messages::{AccountMessage, Password};
use skep_actors::dht::messages::DhtMessage;
use skep_actors::linking::messages::LinkingMessage;
use skep_actors::names::NameMessage;
use skep_actors::sip::messages::SipHubMessage;
use skep_actors::supervision::{Message, Policy, Port, Reply};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::linking::Pin;

use crate::error::NodeError;

/// How far the making of an account has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationProgress {
    /// What is being done, for people.
    pub stage: String,
    /// Steps done.
    pub done: u32,
    /// Steps in all.
    pub total: u32,
}

/// Is told how far the making of an account has come; must not block.
pub type OnProgress = Arc<dyn Fn(CreationProgress) + Send + Sync>;

/// An account to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewAccount {
    pub(crate) origin: Origin,
    /// Protects the archive, or opens it.
    pub(crate) password: Option<Password>,
}

/// Where a new account comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// New keys, under this display name.
    Keys { name: String },
    /// The bytes of an archive file.
    Archive(Vec<u8>),
    /// The archive that another device has put on the DHT.
    Pin(Pin),
}

/// Everything the root of a node can be told.
pub(crate) enum NodeMessage {
    /// The accounts, by local name.
    Accounts(Reply<Vec<LocalAccountId>>),
    /// The port of an account.
    Account { local: LocalAccountId, reply: Reply<Result<Port<AccountMessage>, NodeError>> },
    /// Make an account, and start it.
    Create { new: NewAccount, progress: OnProgress, reply: Reply<Result<LocalAccountId, NodeError>> },
    /// Stop an account and remove it for good.
    Remove { local: LocalAccountId, reply: Reply<Result<(), NodeError>> },
    /// The port of the DHT.
    Dht(Reply<Option<Port<DhtMessage>>>),
    /// The port of who links this node to an account.
    Linking(Reply<Option<Port<LinkingMessage>>>),
    /// This node was linked to an account, which is on disk.
    Linked(LocalAccountId),
    /// The port of who asks name servers.
    Names(Reply<Option<Port<NameMessage>>>),
    /// The port of the SIP accounts.
    Sip(Reply<Option<Port<SipHubMessage>>>),
}

impl Message for NodeMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Accounts(_) => "accounts",
            Self::Account { .. } => "account",
            Self::Create { .. } => "create",
            Self::Remove { .. } => "remove",
            Self::Dht(_) => "dht",
            Self::Linking(_) => "linking",
            Self::Linked(_) => "linked",
            Self::Names(_) => "names",
            Self::Sip(_) => "sip",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Create { .. } => Policy::Reject,
            _ => Policy::Wait,
        }
    }
}
