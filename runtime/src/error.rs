//! Why the node did not do what it was asked.

use std::path::PathBuf;

use skep_actors::account::messages::AccountError;
use skep_actors::call::messages::CallError;
use skep_actors::dht::messages::DhtError;
use skep_actors::profile::messages::ProfileError;
use skep_actors::sip::messages::SipError;
use skep_actors::supervision::{AskError, SendError};
use skep_actors::swarm::messages::ConversationError;
use skep_actors::transfer::messages::TransferError;
use skep_protocol::ids::{AccountId, LocalAccountId};
use skep_protocol::names::{self, Name, RegisterError, ServerUrl, TypedError};

use crate::config::ConfigError;

/// Why the node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is no such account here.
    #[error("there is no account {0} on this node")]
    UnknownAccount(LocalAccountId),
    /// The account failed again and again, and rests before it is tried anew.
    #[error("account {0} failed too often and is tried again in a minute; the log says why")]
    AccountDown(LocalAccountId),
    /// Too many accounts are being made.
    #[error("{0} accounts are being created already; try again when they are done")]
    TooManyCreations(usize),
    /// The account could not do it.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The conversation could not do it.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// A file could not be offered, fetched or removed.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A profile could not be changed or shown.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A call could not be made or changed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A SIP account could not do it.
    #[error(transparent)]
    Sip(#[from] SipError),
    /// The actor asked did not answer.
    #[error(transparent)]
    Unanswered(#[from] AskError),
    /// Another process uses the data folder.
    #[error("the data folder {} is in use by process {pid}; stop that node or choose another data_dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it; `unknown` if it did not say.
        pid: String,
    },
    /// A file or folder of the node cannot be used.
    #[error("{} cannot be used: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {problem}")]
    Listen {
        /// The address or socket path.
        address: String,
        /// What the system says.
        problem: String,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The DHT cannot be started as configured.
    #[error("the DHT cannot be started: {0}")]
    Dht(String),
    /// The DHT could not do it.
    #[error(transparent)]
    InDht(#[from] DhtError),
    /// What was typed is neither a name nor an id.
    #[error(transparent)]
    NoName(#[from] TypedError),
    /// There is nobody to ask for names.
    #[error("this node asks no name server: set names.server, or write name@server")]
    NoNameServer,
    /// What was typed is no id, and there is nobody to ask for names.
    #[error(
        "this is no Jami id of 40 hexadecimal digits, and the node asks no name server: set names.server, or \
         write name@server"
    )]
    NoId,
    /// Nobody has the name.
    #[error("nobody has the name {name} at {server}")]
    UnknownName {
        /// The name.
        name: Name,
        /// Who says so.
        server: ServerUrl,
    },
    /// An account has no name.
    #[error("{account} has no name at {server}")]
    Nameless {
        /// The account.
        account: AccountId,
        /// Who says so.
        server: ServerUrl,
    },
    /// The name server cannot be asked or believed.
    #[error(transparent)]
    NameServer(#[from] names::AskError),
    /// The name was not registered.
    #[error(transparent)]
    NotRegistered(#[from] RegisterError),
    /// The node's thread could not be started, or ended before the node ran.
    #[error("the node could not be started: {0}")]
    Start(String),
}

impl NodeError {
    pub(crate) fn file(path: impl Into<PathBuf>, problem: impl ToString) -> Self {
        Self::File { path: path.into(), problem: problem.to_string() }
    }

    /// Whether the node is ending, so that nothing can be asked any more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Unanswered(AskError::NotSent(SendError::Closed { .. })))
    }
}
