//! What the sync actor can be told, and what it tells its account.

use std::collections::BTreeSet;

use bytes::Bytes;
use skep_protocol::ids::DeviceId;
use skep_protocol::sync::{Detail, ListDigests, SyncChannel, SyncMessage};
use tokio::sync::OwnedSemaphorePermit;

use crate::peer::messages::ChannelOffer;
use crate::supervision::{Message, Policy};

/// The account's devices and lists, pushed at each change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnDevices {
    /// The other devices of the account; their certificates were checked, and none is revoked.
    pub others: BTreeSet<DeviceId>,
    /// Those of them that have a link.
    pub linked: BTreeSet<DeviceId>,
    /// What the lists are like.
    pub lists: ListDigests,
}

/// Everything the sync actor can be told.
#[derive(Debug)]
pub enum SyncActorMessage {
    /// How things are now.
    Devices(OwnDevices),
    /// Another device of the account announced itself.
    Announced(DeviceId),
    /// Those that are here are told of devices and contacts at once: one was revoked, or renamed.
    ContactsChanged,
    /// A device asks for a sync channel.
    Offer(ChannelOffer),
    /// Preferences or status of a conversation have changed here.
    Changed(Detail),
    /// Write these messages, as was [wished](SyncTold::Wished).
    Tell {
        /// Into which channels.
        channels: Vec<SyncChannel>,
        /// The messages, each as it is to be framed.
        messages: Vec<Bytes>,
        /// What a device has heard of when all of it is written.
        version: Option<u64>,
    },
    /// Something was written whole; from a channel of the actor.
    Written {
        /// To which device.
        device: DeviceId,
        /// What it has heard of.
        version: u64,
    },
}

impl Message for SyncActorMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Devices(_) => "devices",
            Self::Announced(_) => "announced",
            Self::ContactsChanged => "contacts_changed",
            Self::Offer(_) => "offer",
            Self::Changed(_) => "changed",
            Self::Tell { .. } => "tell",
            Self::Written { .. } => "written",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Devices(_) => Policy::Coalesce(0),
            Self::ContactsChanged => Policy::Coalesce(1),
            // What a device sends must not wait in us; a detail that is lost comes with the next full state.
            Self::Offer(_) | Self::Changed(_) => Policy::Reject,
            _ => Policy::Wait,
        }
    }
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Everything.
    All,
    /// Devices, contacts and trust requests.
    Contacts,
    /// Preferences and status of some conversations.
    Details(Vec<Detail>),
}

/// What the sync actor tells its account.
#[derive(Debug)]
pub enum SyncTold {
    /// It begins, or begins anew after a failure: it knows neither devices nor links.
    Started,
    /// A device lacks something: connect to it if it is there.
    Connect(DeviceId),
    /// This is to be told; [`SyncActorMessage::Tell`] does it.
    Wished {
        /// What.
        wish: Wish,
        /// Into which channels.
        channels: Vec<SyncChannel>,
        /// To be given back.
        version: Option<u64>,
    },
    /// A device has told something.
    Received {
        /// Which device.
        device: DeviceId,
        /// What.
        message: Box<SyncMessage>,
        /// The place it takes.
        place: OwnedSemaphorePermit,
    },
}
