//! What the profiles of an account can be asked, and what they tell.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, ConversationId, DeviceId};
use skep_protocol::profile::Transfer;

use super::picture::PictureError;
use crate::blocking::PoolError;
use crate::peer::messages::ChannelOffer;
use crate::supervision::{AskError, Message, Policy, Reply};

/// Longest display name that the owner may choose, in bytes.
pub const MAX_NAME: usize = 256;

/// Most people whose profiles are kept; further ones are not taken until there is room. A file has 64 kB at most.
pub const MAX_KEPT_PROFILES: usize = 4096;

/// Profiles kept from which on those go of whoever matters least: before the last places are taken.
pub const CROWDED: usize = MAX_KEPT_PROFILES - 64;

/// Profiles that are kept then. What comes after has the places between, so that not each one makes another go.
pub const KEPT_AT_REST: usize = MAX_KEPT_PROFILES - 256;

/// Why a profile was not changed or shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The name is too long.
    #[error("a name has at most {MAX_NAME} bytes")]
    NameTooLong,
    /// The image cannot be the picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Nobody has sent it yet.
    #[error("there is no profile of {0} here")]
    Unknown(AccountId),
    /// The owner's file cannot be read.
    #[error("the picture cannot be read: {0}")]
    File(String),
    /// The disk refused.
    #[error("the profile could not be read or written: {0}")]
    Storage(String),
    /// Too much at once.
    #[error("the profile is being changed already; try again")]
    Busy,
    /// The node is too busy.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The profiles of the account failed or are too busy.
    #[error(transparent)]
    Unanswered(#[from] AskError),
}

impl From<std::io::Error> for ProfileError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

/// A profile, to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PersonView {
    /// Whose.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// Display name, as that person chose it, made safe to show; empty if none.
    pub name: String,
    /// The picture: an image file in base64; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub picture: String,
    /// What kind of image: `image/png` or `image/jpeg`; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub picture_type: String,
}

/// What becomes of the owner's picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PictureChange {
    /// It stays.
    #[default]
    Keep,
    /// There is none any more.
    Remove,
    /// It is the one in this image file.
    File(std::path::PathBuf),
    /// It is this image.
    Image(Vec<u8>),
}

/// By what way a device gets the owner's profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is a device of the account.
    Own {
        /// Whether it may be one of 2023, which knows the bare name only.
        bare: bool,
    },
    /// Its owner is with us in this conversation.
    Member(ConversationId),
}

/// Everything the profiles of an account can be told.
#[derive(Debug)]
pub enum ProfilesMessage {
    /// Change the owner's profile.
    Set {
        /// Another name.
        name: Option<String>,
        /// Another picture.
        picture: PictureChange,
        /// Told when it is durable.
        reply: Reply<Result<(), ProfileError>>,
    },
    /// Show somebody's profile.
    Show {
        /// Whose.
        person: AccountId,
        /// Gets it.
        reply: Reply<Result<PersonView, ProfileError>>,
    },
    /// A device is linked and may be sent to, or is no more.
    Reach {
        /// Which device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
        /// How it is sent to; none if it is not.
        way: Option<Way>,
    },
    /// A device of the account may have the profiles of these people, which are not here.
    Missing {
        /// Which device.
        device: DeviceId,
        /// Whose profiles, and the conversation in which they are members.
        people: Vec<(ConversationId, AccountId)>,
    },
    /// Somebody was accepted whose request showed this. It counts until they send their profile.
    Hint {
        /// Who.
        person: AccountId,
        /// The vCard.
        vcard: Vec<u8>,
    },
    /// Of the profiles that are kept only these people's are further; at most [`KEPT_AT_REST`] of them.
    Retain(BTreeSet<AccountId>),
    /// A contact was removed or added anew: its devices get the profile once more.
    Forget(AccountId),
    /// A peer gives or wants a profile, and may.
    Serve(ChannelOffer, Transfer),
}

/// What the profiles tell their account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfilesTold {
    /// They begin, or begin anew after a failure: no link is known. These are the people whose names are.
    Started(BTreeMap<AccountId, String>),
    /// The owner's profile is this now.
    Own {
        /// The name in it, made safe to show.
        name: String,
        /// The whole file.
        file: Bytes,
    },
    /// Somebody is called this now.
    Named(AccountId, String),
    /// There is hardly any room left: who matters most is to be told with [`ProfilesMessage::Retain`].
    Crowded,
    /// The profiles of these people are not kept any more.
    Dropped(BTreeSet<AccountId>),
}

impl Message for ProfilesMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Show { .. } => "show",
            Self::Reach { .. } => "reach",
            Self::Missing { .. } => "missing",
            Self::Hint { .. } => "hint",
            Self::Retain(_) => "retain",
            Self::Forget(_) => "forget",
            Self::Serve(..) => "serve",
        }
    }

    fn policy(&self) -> Policy {
        let key = |bytes: &[u8]| bytes.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
        match self {
            // What a device sends must not wait in us.
            Self::Serve(..) => Policy::Reject,
            Self::Reach { device, .. } => Policy::Coalesce(key(&device.0)),
            _ => Policy::Wait,
        }
    }
}
