//! What the directory can be asked.

use skep_protocol::identity::VerifiedChain;
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId};
use skep_protocol::keys::PublicKey;

use crate::supervision::{Message, Policy, Reply};

/// Everything the directory can be told.
#[derive(Debug)]
pub enum DirectoryMessage {
    /// The certificate chain of a device; none if it is neither known nor announced, or if the
    /// chain does not verify.
    Device {
        /// Which device.
        device: DeviceId,
        /// Its short id, where older devices put their certificate.
        short: DeviceShortId,
        /// Gets the chain.
        reply: Reply<Option<VerifiedChain>>,
    },
    /// All announced devices of a person whose certificates can be had.
    Devices {
        /// Whose.
        account: AccountId,
        /// Gets the chains.
        reply: Reply<Vec<VerifiedChain>>,
    },
    /// The chains of devices whose keys an announcement named.
    Announced {
        /// Whose: chains of other accounts are left out.
        account: AccountId,
        /// The devices' keys.
        keys: Vec<PublicKey>,
        /// Gets the chains.
        reply: Reply<Vec<VerifiedChain>>,
    },
}

impl Message for DirectoryMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Device { .. } => "device",
            Self::Devices { .. } => "devices",
            Self::Announced { .. } => "announced",
        }
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}
