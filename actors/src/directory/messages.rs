//! What the directory can be asked.

use std::sync::Arc;

use skep_protocol::dht::value::Value;
use skep_protocol::identity::{RevocationList, VerifiedChain};
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId};
use skep_protocol::keys::PublicKey;

use crate::supervision::{Message, Policy, Reply};

/// Everything the directory can be told.
#[derive(Debug)]
pub enum DirectoryMessage {
    /// The certificate chain of a device; none if it is neither known nor announced, if the chain
    /// does not verify, or if the device was revoked.
    Device {
        /// Which device.
        device: DeviceId,
        /// Its short id, if that is known: where older devices put their certificate.
        short: Option<DeviceShortId>,
        /// Gets the chain.
        reply: Reply<Option<VerifiedChain>>,
    },
    /// As [`Self::Device`], of one that we want to reach: its chain is kept.
    Wanted {
        /// Which device.
        device: DeviceId,
        /// Its short id, if that is known.
        short: Option<DeviceShortId>,
        /// Gets the chain.
        reply: Reply<Option<VerifiedChain>>,
    },
    /// As [`Self::Device`], of the chains that are kept here; the DHT is not asked.
    Kept {
        /// Which device.
        device: DeviceId,
        /// Gets the chain.
        reply: Reply<Option<VerifiedChain>>,
    },
    /// All announced devices of a person whose certificates can be had, without those revoked.
    Devices {
        /// Whose.
        account: AccountId,
        /// Gets the chains.
        reply: Reply<Vec<VerifiedChain>>,
    },
    /// The chains of devices whose keys an announcement named, without those revoked.
    Announced {
        /// Whose: chains of other accounts are left out.
        account: AccountId,
        /// The devices' keys.
        keys: Vec<PublicKey>,
        /// Gets the chains.
        reply: Reply<Vec<VerifiedChain>>,
    },
    /// Our account has made a revocation list: it is kept, and told of as one that was found.
    Take {
        /// The account's key.
        key: PublicKey,
        /// The list.
        list: Box<RevocationList>,
    },
    /// Values that appeared at the key of a person who is followed: revocation lists of that person
    /// among them are kept.
    Seen {
        /// Whose key.
        account: AccountId,
        /// The values.
        values: Vec<Arc<Value>>,
    },
}

/// What the directory tells its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryEvent {
    /// A person has revoked a device: ask [`super::Revocations`] whom it concerns.
    Revoked(AccountId),
}

impl Message for DirectoryMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Device { .. } => "device",
            Self::Wanted { .. } => "wanted",
            Self::Kept { .. } => "kept",
            Self::Devices { .. } => "devices",
            Self::Announced { .. } => "announced",
            Self::Take { .. } => "take",
            Self::Seen { .. } => "seen",
        }
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}
