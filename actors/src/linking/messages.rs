//! What who links this node to an account is told, and what is asked of the owner.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, LocalAccountId};

use crate::account::messages::{AccountError, Password};
use crate::peer::messages::LinkEvent;
use crate::supervision::{Message, Policy, Reply};

/// How far the linking of this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum LinkStage {
    /// There was none since the node started.
    #[default]
    None,
    /// A temporary device is made and announced.
    Preparing {},
    /// The invitation is to be given to a device of the account, which it lets in.
    Invited {
        /// The invitation, `jami-auth://…`, as text or as QR code.
        invitation: String,
    },
    /// A device of the account is connected and asks its owner.
    Connected {
        /// Which account.
        #[schemars(with = "String")]
        account: AccountId,
    },
    /// The account's password is wanted.
    Password {
        /// Whose.
        #[schemars(with = "String")]
        account: AccountId,
        /// Whether the last one was wrong.
        was_wrong: bool,
    },
    /// The account's data have come; the node becomes its device.
    Importing {},
    /// The node is a device of the account.
    Linked {
        /// The account, by its local name.
        #[schemars(with = "String")]
        account: LocalAccountId,
    },
    /// It did not work.
    Failed {
        /// Why, for people.
        problem: String,
    },
}

impl LinkStage {
    /// Whether nothing more happens.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::None | Self::Linked { .. } | Self::Failed { .. })
    }
}

/// A stage, and the how manieth it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NumberedStage {
    /// The stages are counted.
    pub number: u64,
    /// The stage.
    #[serde(flatten)]
    pub stage: LinkStage,
}

/// Everything that who links this node can be told.
#[derive(Debug)]
pub enum LinkingMessage {
    /// Begin: make a temporary device and an invitation.
    Begin(Reply<Result<NumberedStage, AccountError>>),
    /// The stage, if it is another than that of this number; otherwise the next one, or the same after a
    /// second.
    Next {
        /// The number that is known.
        after: u64,
        /// Gets the stage.
        reply: Reply<NumberedStage>,
    },
    /// The owner gives the password.
    Password(Password),
    /// The owner cancels it.
    Cancel,
    /// What happens to the linking of this number; from the actor to itself.
    Internal(u64, Internal),
}

/// What happens to a linking.
#[derive(Debug)]
pub enum Internal {
    /// From the temporary device's links.
    #[doc(hidden)]
    Link(LinkEvent),
    /// Bytes over the channel; none at its end.
    #[doc(hidden)]
    Received(Option<Bytes>),
}

impl Message for LinkingMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Begin(_) => "begin",
            Self::Next { .. } => "next",
            Self::Password(_) => "password",
            Self::Cancel => "cancel",
            Self::Internal(..) => "internal",
        }
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}
