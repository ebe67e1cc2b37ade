//! What the links of an account can be asked, and what they tell.
//!
//! The `links` actor of an account has one `peer` child for each device; both speak these messages.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_protocol::identity::VerifiedChain;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::sip::stream::SipMessage;
use tokio::sync::OwnedSemaphorePermit;

pub use super::channel::{Channel, ChannelEnd, ChannelOffer, ChannelReceiver, ChannelSender};
pub use super::line::SipLine;
use super::links::Internal;
use crate::account::messages::LinkView;
use crate::supervision::{Message, Policy, Reply};

/// Why there is no channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The device's certificate is nowhere to be found.
    #[error("device {0} is not announced, so it cannot be reached")]
    UnknownDevice(DeviceId),
    /// It is this device.
    #[error("device {0} is this device itself")]
    Oneself(DeviceId),
    /// The person or device is banned.
    #[error("device {0} is banned here")]
    Banned(DeviceId),
    /// The device was revoked by its account.
    #[error("device {0} was revoked by its account")]
    Revoked(DeviceId),
    /// This device was revoked, so it connects to nobody.
    #[error("this device was revoked by its account; import the account's archive to make a new device")]
    OwnRevoked,
    /// No answer came over the DHT.
    #[error("device {0} did not answer the connection request")]
    NoAnswer(DeviceId),
    /// The devices found no path, or the handshake failed.
    #[error("no connection to device {device}: {reason}")]
    NoConnection {
        /// The device.
        device: DeviceId,
        /// Why, for people.
        reason: String,
    },
    /// The peer does not want this channel.
    #[error("device {device} declined the channel {name}")]
    Declined {
        /// The device.
        device: DeviceId,
        /// The channel's name.
        name: String,
    },
    /// The link was lost before the channel was open.
    #[error("the link to device {0} was lost")]
    Lost(DeviceId),
    /// Not in time.
    #[error("device {0} did not open the channel in time")]
    Deadline(DeviceId),
    /// Too many channels or dials at once.
    #[error("too many requests to device {0} are under way")]
    Busy(DeviceId),
}

/// Who may connect (`spec: contacts 5`): a snapshot that the account pushes at each change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Accounts whose devices are let in: contacts, requesters accepted, ourselves.
    pub allowed: BTreeSet<AccountId>,
    /// Accounts whose devices are refused, whatever else is set.
    pub banned: BTreeSet<AccountId>,
    /// Whether unknown accounts are let in.
    pub public: bool,
}

/// A message of the `msg:` channel (`spec: swarm 10`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// MIME type.
    pub kind: String,
    /// Text.
    pub content: String,
}

/// Whom a notice is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Every device of this person: those connected at once, the others when they can be reached.
    Account(AccountId),
    /// One device.
    Device(DeviceId),
}

/// Everything the links of an account can be told.
#[derive(Debug)]
pub enum LinksMessage {
    /// Open a channel, over a new link if there is none.
    Open {
        /// To which device.
        device: DeviceId,
        /// Under which name.
        name: String,
        /// How long to try.
        deadline: Duration,
        /// Gets the channel.
        reply: Reply<Result<Channel, LinkError>>,
    },
    /// Open a channel to a device that may otherwise not connect, until [`Self::Drop`] of its account.
    OpenToGuest {
        /// To which device.
        chain: Box<VerifiedChain>,
        /// Under which name.
        name: String,
        /// How long to try.
        deadline: Duration,
        /// Gets the channel.
        reply: Reply<Result<Channel, LinkError>>,
    },
    /// Deliver a notice, now or when the device can be reached. A later notice with the same
    /// recipient and topic replaces one that has not gone yet.
    Notify {
        /// To whom.
        to: Recipient,
        /// What it is about: a hash of the conversation.
        topic: u64,
        /// What to say.
        notice: Notice,
        /// Whether it is kept for who is not connected now.
        lasting: bool,
        /// A device that need not be told.
        except: Option<DeviceId>,
    },
    /// Deliver a notice to a device that sleeps, known or not, if it may connect: it is asked for a link
    /// once, which wakes it.
    Wake {
        /// Which device.
        device: DeviceId,
        /// What it is about, as in [`Self::Notify`].
        topic: u64,
        /// What to say.
        notice: Notice,
    },
    /// Who may connect from now on; links to those banned are closed.
    SetTrust(Trust),
    /// This machine got another network: links have to prove themselves, and who could not be reached is
    /// tried anew.
    NetworkChanged,
    /// Devices were revoked: links to those who may not connect any more are closed.
    Recheck,
    /// These devices of a person are announced: connect to them, and deliver what waits for them.
    Present {
        /// Whose devices.
        account: AccountId,
        /// All of them that are known.
        devices: Vec<VerifiedChain>,
    },
    /// Close all links to a person.
    Drop {
        /// Whose.
        account: AccountId,
    },
    /// List the links.
    List(Reply<Vec<LinkView>>),
    /// What the DHT and the children tell; from the actor to itself.
    Internal(Internal),
}

/// What the links tell the account.
#[derive(Debug)]
pub enum LinkEvent {
    /// The links begin, or begin anew after a failure: there is none, and no device is known.
    Started,
    /// The first link to a device is up and its message channel open.
    Up {
        /// Which device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
        /// Whether it may be one of 2023.
        may_be_legacy: bool,
    },
    /// A device with a link takes messages as those of 2023 do: it is one of them, or little younger.
    Legacy {
        /// Which device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
    },
    /// Another link to a device is up beside those there are: it may have lost them, and with them
    /// what was on its way.
    Renewed {
        /// Which device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
        /// Whether it may be one of 2023.
        may_be_legacy: bool,
    },
    /// The last link to a device has ended.
    Down {
        /// Which device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
    },
    /// A notice arrived.
    Notice {
        /// From which device.
        device: DeviceId,
        /// Whose, by its certificate.
        account: AccountId,
        /// What it says.
        notice: Notice,
        /// The place it takes.
        place: Place,
    },
    /// Something about a call came over a `sip` channel.
    Sip {
        /// Where it came, and is answered.
        line: SipLine,
        /// The request or response.
        message: Box<SipMessage>,
        /// The place it takes.
        place: Place,
    },
    /// A peer asks for a channel that is not the links' own.
    Offer(ChannelOffer, Place),
}

/// One of the few places that a device has in the mailbox of its account, so that one which floods
/// keeps only itself waiting. Dropping it gives it back.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held until it is dropped")] pub(super) OwnedSemaphorePermit);

#[cfg(test)]
impl Place {
    /// A place that nobody else wants.
    pub(crate) fn free() -> Self {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        Self(places.try_acquire_owned().unwrap())
    }
}

impl Message for LinksMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::OpenToGuest { .. } => "open",
            Self::Notify { .. } => "notify",
            Self::Wake { .. } => "wake",
            Self::SetTrust(_) => "set_trust",
            Self::NetworkChanged => "network_changed",
            Self::Recheck => "recheck",
            Self::Present { .. } => "present",
            Self::Drop { .. } => "drop",
            Self::List(_) => "list",
            Self::Internal(Internal::Dht(..)) => "dht",
            Self::Internal(Internal::Peer(..)) => "peer",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::SetTrust(_) | Self::NetworkChanged | Self::Recheck => Policy::Coalesce(0),
            Self::Present { account, .. } => {
                Policy::Coalesce(account.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte)))
            }
            _ => Policy::Wait,
        }
    }
}
