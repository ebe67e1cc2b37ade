//! What others may ask of SIP accounts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::address::{SipAddress, SipServer};
use skep_protocol::sip::agent::{Registration, SendFailure, SipPassword, Transport};
use skep_protocol::time::Moment;

use super::hub::MAX_SIP_ACCOUNTS;
use crate::supervision::{Message, Policy, Reply};

/// A SIP account to be made.
#[derive(Clone, Debug)]
pub struct NewSipAccount {
    /// Its address at its server.
    pub address: SipAddress,
    /// Where the server is, unless the address says it.
    pub server: Option<SipServer>,
    /// How it is spoken to.
    pub transport: Transport,
    /// Name to log in with, unless it is the user part of the address.
    pub login: Option<String>,
    /// Password to log in with.
    pub password: SipPassword,
    /// Certificates to trust, in PEM, instead of those that the system trusts.
    pub authorities: Option<String>,
    /// How long registrations are to last.
    pub expiry: Option<Duration>,
}

/// How the registration of a SIP account stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SipState {
    /// The server is connected to, or asked.
    Registering {},
    /// What is for the account comes here.
    Registered {
        /// For how long, in seconds, if it is not renewed, which it will be.
        seconds: u64,
    },
    /// It is not registered.
    Failed {
        /// Why, for people.
        problem: String,
        /// After how many seconds it is tried again.
        again_seconds: u64,
    },
    /// It does nothing.
    Stopped {},
}

impl SipState {
    pub(super) fn of(registration: &Registration, now: Moment) -> Self {
        match registration {
            Registration::Trying => Self::Registering {},
            Registration::Registered { until } => Self::Registered { seconds: until.since(now).as_secs() },
            Registration::Failed { problem, again } => {
                Self::Failed { problem: problem.to_string(), again_seconds: again.since(now).as_secs() }
            }
            Registration::Stopped => Self::Stopped {},
        }
    }
}

/// A SIP account at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SipAccountView {
    /// Its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// Its address.
    pub address: String,
    /// Where its server is.
    pub server: String,
    /// How that is spoken to: `udp`, `tcp` or `tls`.
    pub transport: String,
    /// How its registration stands.
    #[serde(flatten)]
    pub state: SipState,
}

/// Why something was not done for a SIP account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SipError {
    /// There is no such account.
    #[error("there is no SIP account {0} on this node")]
    Unknown(LocalAccountId),
    /// There are enough.
    #[error("this node has {MAX_SIP_ACCOUNTS} SIP accounts, the most it may have")]
    TooMany,
    /// It cannot be as was asked.
    #[error("there can be no such account: {0}")]
    Unfit(String),
    /// The disk refused.
    #[error("the account could not be written or removed: {0}")]
    Storage(String),
    /// A message was not sent.
    #[error(transparent)]
    Message(#[from] SendFailure),
    /// The account ends.
    #[error("the account is being stopped")]
    Stopping,
    /// The account failed too often.
    #[error("the account failed too often and rests for a minute; the log says why")]
    Down,
}

/// Everything that can be asked of the SIP accounts of a node.
#[derive(Debug)]
pub enum SipHubMessage {
    /// Make an account and register it.
    Create {
        /// What it is.
        new: Box<NewSipAccount>,
        /// Gets its name, when it is on disk.
        reply: Reply<Result<SipAccountView, SipError>>,
    },
    /// All accounts.
    List(Reply<Vec<SipAccountView>>),
    /// One account.
    Describe {
        /// Which.
        local: LocalAccountId,
        /// Gets it.
        reply: Reply<Result<SipAccountView, SipError>>,
    },
    /// Take an account's registration back and forget it.
    Remove {
        /// Which.
        local: LocalAccountId,
        /// Told when it is gone from the disk.
        reply: Reply<Result<(), SipError>>,
    },
    /// Send a message.
    Send {
        /// From which account.
        local: LocalAccountId,
        /// The message.
        message: Outgoing,
    },
}

/// A message to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// To whom.
    pub to: SipAddress,
    /// What.
    pub text: String,
    /// Told when the server, or who it is for, has taken it.
    pub reply: Reply<Result<(), SipError>>,
}

impl Message for SipHubMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::List(_) => "list",
            Self::Describe { .. } => "describe",
            Self::Remove { .. } => "remove",
            Self::Send { .. } => "send",
        }
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Message for Outgoing {
    fn kind(&self) -> &'static str {
        "send"
    }

    fn policy(&self) -> Policy {
        Policy::Reject
    }
}
