//! What can go wrong, as numbers and words that programs can rely on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_actors::account::messages::AccountError;
use skep_actors::call::conference::messages::ConferenceError;
use skep_actors::call::messages::CallError;
use skep_actors::dht::messages::DhtError;
use skep_actors::profile::messages::ProfileError;
use skep_actors::sip::messages::SipError;
use skep_actors::supervision::{AskError, SendError};
use skep_actors::swarm::messages::ConversationError;
use skep_actors::transfer::messages::TransferError;

use crate::error::NodeError;
use skep_protocol::linking::PinError;
use skep_protocol::names::{AskError as NameServerError, RegisterError};
use skep_protocol::sip::agent::SendFailure;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        /// Why a request was not done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ErrorCode {
            /// Every code, for the reference document.
            pub const ALL: &[(Self, &'static str)] =
                &[$((Self::$name, concat!($($doc),+)),)+];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

error_codes! {
    /// The request is not JSON.
    Parse = -32700;
    /// The request is JSON, but not a request of JSON-RPC 2.0, or too large, or an empty batch.
    InvalidRequest = -32600;
    /// There is no such method.
    MethodNotFound = -32601;
    /// The parameters are not those of the method.
    InvalidParams = -32602;
    /// A fault of the node itself; its log says more.
    Internal = -32603;
    /// The node has too much to do; try again later.
    Busy = -32000;
    /// The account, contact, conversation, message, actor or subscription named does not exist.
    NotFound = -32001;
    /// The rules forbid it: a contact that is oneself, a message of somebody else, a name that is taken.
    Refused = -32002;
    /// The password is wrong.
    WrongPassword = -32003;
    /// The archive or bundle cannot be used.
    BadArchive = -32004;
    /// The disk refused.
    Storage = -32005;
    /// The actor asked failed before it answered; it is unknown whether the request was done.
    Unanswered = -32006;
    /// No answer in time; it is unknown whether the request was or will be done.
    Deadline = -32007;
    /// The node is stopping.
    Stopping = -32008;
    /// The conversation has not arrived yet, or failed too often.
    NotReady = -32009;
    /// The method is switched off in the configuration, or what it needs is not set there.
    Disabled = -32010;
    /// No other node of the DHT answers, or the name server does not.
    Unreachable = -32011;
    /// The name server answered with something that cannot be read or believed.
    BadAnswer = -32012;
}

/// An error as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// A number of the list of errors.
    pub code: i32,
    /// What happened to whom, for people.
    pub message: String,
}

/// Longest name of an unknown method repeated in an error, in characters.
const NAME_EXCERPT: usize = 80;

impl RpcError {
    /// An error with this code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code: code.number(), message: message.into() }
    }

    pub(crate) fn unknown_method(name: &str) -> Self {
        let name: String = name.chars().take(NAME_EXCERPT).collect();
        Self::new(ErrorCode::MethodNotFound, format!("there is no method {name:?}"))
    }
}

impl From<NodeError> for RpcError {
    fn from(error: NodeError) -> Self {
        Self::new(code(&error), error.to_string())
    }
}

fn code(error: &NodeError) -> ErrorCode {
    match error {
        NodeError::UnknownAccount(_) => ErrorCode::NotFound,
        NodeError::AccountDown(_) | NodeError::TooManyCreations(_) => ErrorCode::Busy,
        NodeError::UnknownName { .. } | NodeError::Nameless { .. } => ErrorCode::NotFound,
        NodeError::NoName(_) | NodeError::NoId => ErrorCode::InvalidParams,
        NodeError::NoNameServer => ErrorCode::Disabled,
        NodeError::NameServer(error) => name_server_code(*error),
        NodeError::NotRegistered(RegisterError::Server(error)) => name_server_code(*error),
        NodeError::NotRegistered(RegisterError::Pending) => ErrorCode::Busy,
        NodeError::NotRegistered(_) => ErrorCode::Refused,
        NodeError::Account(error) => account_code(error),
        NodeError::Conversation(error) => conversation_code(error),
        NodeError::Transfer(error) => transfer_code(error),
        NodeError::Profile(error) => profile_code(error),
        NodeError::Call(error) => call_code(error),
        NodeError::Sip(error) => sip_code(error),
        NodeError::Unanswered(AskError::NotSent(SendError::Full { .. })) => ErrorCode::Busy,
        NodeError::Unanswered(AskError::NotSent(_)) => ErrorCode::Stopping,
        NodeError::Unanswered(AskError::Deadline { .. }) => ErrorCode::Deadline,
        NodeError::Unanswered(_) => ErrorCode::Unanswered,
        NodeError::InUse { .. } | NodeError::File { .. } => ErrorCode::Storage,
        NodeError::InDht(error) => dht_code(error),
        NodeError::Listen { .. } | NodeError::Config(_) | NodeError::Dht(_) | NodeError::Start(_) => {
            ErrorCode::Internal
        }
    }
}

const fn name_server_code(error: NameServerError) -> ErrorCode {
    match error {
        NameServerError::Busy => ErrorCode::Busy,
        NameServerError::NotAccepted => ErrorCode::Refused,
        NameServerError::Status(_)
        | NameServerError::Unreachable
        | NameServerError::TimedOut
        | NameServerError::Resting => ErrorCode::Unreachable,
        _ => ErrorCode::BadAnswer,
    }
}

fn dht_code(error: &DhtError) -> ErrorCode {
    match error {
        DhtError::Alone { .. } | DhtError::NoAnswer { .. } => ErrorCode::Unreachable,
        DhtError::Refused { .. } | DhtError::Value(_) => ErrorCode::Refused,
        DhtError::TooMany { .. } => ErrorCode::Busy,
        DhtError::Stopped => ErrorCode::Stopping,
        _ => ErrorCode::Internal,
    }
}

fn account_code(error: &AccountError) -> ErrorCode {
    match error {
        AccountError::Oneself(_)
        | AccountError::TooMany(_)
        | AccountError::NoGroup(_)
        | AccountError::OwnDevice
        | AccountError::BanOwnDevice
        | AccountError::DeviceName
        | AccountError::Revocation(_) => ErrorCode::Refused,
        AccountError::InConversation(error) => conversation_code(error),
        AccountError::UnknownContact(_)
        | AccountError::UnknownRequest(_)
        | AccountError::UnknownInvitation(_)
        | AccountError::UnknownDevice(_)
        | AccountError::NoCertificate(_)
        | AccountError::NotBanned(_)
        | AccountError::UnknownConversation(_) => ErrorCode::NotFound,
        AccountError::WrongPassword => ErrorCode::WrongPassword,
        AccountError::Archive(_) | AccountError::Conversation(_) => ErrorCode::BadArchive,
        AccountError::Storage(_) => ErrorCode::Storage,
        AccountError::ConversationDown(_) | AccountError::ConversationReturning(_) => ErrorCode::NotReady,
        AccountError::NothingUnderPin => ErrorCode::NotFound,
        AccountError::Pin(PinError::Malformed) => ErrorCode::InvalidParams,
        AccountError::Pin(PinError::TooLong(_)) => ErrorCode::Refused,
        AccountError::InDht(error) => dht_code(error),
        AccountError::AddingDevice => ErrorCode::Busy,
        AccountError::NewDevice(_) => ErrorCode::Unreachable,
        AccountError::Linking(_) => ErrorCode::Refused,
        AccountError::Busy(_) => ErrorCode::Busy,
        _ => ErrorCode::Internal,
    }
}

const fn call_code(error: &CallError) -> ErrorCode {
    match error {
        CallError::Unknown(_) => ErrorCode::NotFound,
        CallError::TooMany => ErrorCode::Busy,
        CallError::Oneself | CallError::WrongStage(_) | CallError::Leg(_) => ErrorCode::Refused,
        CallError::Media(_) | CallError::Path(_) => ErrorCode::NotReady,
        CallError::Unsent(_) | CallError::Unanswered(_) => ErrorCode::Unanswered,
        CallError::Conference(error) => conference_code(error),
        _ => ErrorCode::Internal,
    }
}

const fn conference_code(error: &ConferenceError) -> ErrorCode {
    match error {
        ConferenceError::Unknown(_) | ConferenceError::NotInOne(_) | ConferenceError::NobodyThere(_) => {
            ErrorCode::NotFound
        }
        ConferenceError::TooMany => ErrorCode::Busy,
        ConferenceError::Media(_) => ErrorCode::NotReady,
        _ => ErrorCode::Refused,
    }
}

const fn profile_code(error: &ProfileError) -> ErrorCode {
    match error {
        ProfileError::Unknown(_) => ErrorCode::NotFound,
        ProfileError::NameTooLong | ProfileError::Picture(_) | ProfileError::File(_) => ErrorCode::Refused,
        ProfileError::Storage(_) => ErrorCode::Storage,
        ProfileError::Busy | ProfileError::Pool(_) => ErrorCode::Busy,
        _ => ErrorCode::Internal,
    }
}

fn transfer_code(error: &TransferError) -> ErrorCode {
    match error {
        TransferError::Conversation(error) => conversation_code(error),
        TransferError::NotReady(_) => ErrorCode::NotReady,
        TransferError::NoTransfer(_) => ErrorCode::NotFound,
        TransferError::Offer(_)
        | TransferError::NoRoom(_)
        | TransferError::NotAFile { .. }
        | TransferError::NotAFolder(_)
        | TransferError::Elsewhere(_)
        | TransferError::Changed(_)
        | TransferError::TooMany => ErrorCode::Refused,
        TransferError::Storage(_) => ErrorCode::Storage,
        TransferError::Busy(_) => ErrorCode::Busy,
        _ => ErrorCode::Internal,
    }
}

fn sip_code(error: &SipError) -> ErrorCode {
    match error {
        SipError::Unknown(_) => ErrorCode::NotFound,
        SipError::TooMany | SipError::Unfit(_) => ErrorCode::Refused,
        SipError::Storage(_) => ErrorCode::Storage,
        SipError::Stopping => ErrorCode::Stopping,
        SipError::Down => ErrorCode::NotReady,
        SipError::Message(failure) => match failure {
            SendFailure::NotRegistered => ErrorCode::NotReady,
            SendFailure::TooLong(_)
            | SendFailure::TooLongForUdp(_)
            | SendFailure::Insecure
            | SendFailure::Login(_)
            | SendFailure::Refused { .. } => ErrorCode::Refused,
            SendFailure::Busy => ErrorCode::Busy,
            SendFailure::Silent | SendFailure::PathLost => ErrorCode::Unanswered,
            _ => ErrorCode::Internal,
        },
        _ => ErrorCode::Internal,
    }
}

fn conversation_code(error: &ConversationError) -> ErrorCode {
    match error {
        ConversationError::UnknownMessage { .. }
        | ConversationError::NoTarget { .. }
        | ConversationError::NoFile { .. } => ErrorCode::NotFound,
        ConversationError::TooLong { .. }
        | ConversationError::NotYours { .. }
        | ConversationError::NotEditable { .. }
        | ConversationError::NotMember
        | ConversationError::NotAdmin
        | ConversationError::Banned(_)
        | ConversationError::AlreadyThere(_)
        | ConversationError::OneToOne
        | ConversationError::VotedAlready { .. }
        | ConversationError::DeviceStaysBanned
        | ConversationError::BannedDevice
        | ConversationError::BadProfile(_)
        | ConversationError::BadPreference(_)
        | ConversationError::FileExists(_)
        | ConversationError::NewDevice => ErrorCode::Refused,
        ConversationError::NotReady => ErrorCode::NotReady,
        ConversationError::Storage(_) => ErrorCode::Storage,
        ConversationError::Busy(_) | ConversationError::NoRouter(_) => ErrorCode::Busy,
        _ => ErrorCode::Internal,
    }
}
