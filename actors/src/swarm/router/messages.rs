//! What the router of a conversation can be told, and the view it answers with.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::drt::message::Message as SwarmMessage;
use skep_protocol::drt::router::ChannelId;
use skep_protocol::drt::telling::Head;
use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::swarm::layout::Role;
use tokio::sync::OwnedSemaphorePermit;

use crate::peer::messages::ChannelOffer;
use crate::supervision::{Message, Policy, Reply};
use crate::swarm::messages::{LinkState, device_key};
use crate::swarm::standing::Standing;

/// Who takes part, as far as the overlay is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::swarm) struct Membership {
    /// Whether we take part: not when we have left, or are banned.
    pub(in crate::swarm) active: bool,
    /// Whose devices may have channels.
    pub(in crate::swarm) people: BTreeSet<AccountId>,
    /// Who is told of commits.
    pub(in crate::swarm) audience: BTreeSet<AccountId>,
    /// Devices that were voted out.
    pub(in crate::swarm) banned_devices: Vec<DeviceId>,
}

impl Membership {
    /// Who takes part as the tree of the head says it, for a device of `own`, who may be leaving.
    pub(in crate::swarm) fn of(standing: &Standing, own: AccountId, leaving: bool) -> Self {
        let mut audience = standing.audience();
        if leaving {
            // Our own devices learn that we have left from each other.
            audience.remove(&own);
        }
        Self {
            active: !leaving && standing.members.role(own) != Some(Role::Banned),
            people: standing.people(),
            audience,
            banned_devices: standing.members.banned_devices.clone(),
        }
    }

    /// Whether a device may have a channel.
    pub(in crate::swarm) fn admits(&self, account: AccountId, device: DeviceId) -> bool {
        self.active && self.people.contains(&account) && !self.banned_devices.contains(&device)
    }
}

/// Everything a router can be told.
#[derive(Debug)]
pub(in crate::swarm) enum RouterMessage {
    /// Who takes part and which of their devices are linked, at the start and whenever the former changes.
    Overview { members: Membership, linked: BTreeMap<DeviceId, (AccountId, LinkState)> },
    /// A link to a member's device has changed.
    Link { device: DeviceId, account: AccountId, state: LinkState },
    /// This machine got another network.
    NetworkChanged,
    /// A member's device asks for a channel.
    Offer(ChannelOffer),
    /// There is something to tell.
    Head(Head),
    /// A device says that it has a commit, so it need not be told.
    Heard { device: DeviceId, commit: CommitId },
    /// The table at a glance.
    Routes(Reply<RoutesView>),
    /// A message came through a channel; from a channel's task. It gives its place back.
    Received { channel: ChannelId, message: Box<SwarmMessage>, place: OwnedSemaphorePermit },
}

impl Message for RouterMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Overview { .. } => "overview",
            Self::Link { .. } => "link",
            Self::NetworkChanged => "network_changed",
            Self::Offer(_) => "offer",
            Self::Head(_) => "head",
            Self::Heard { .. } => "heard",
            Self::Routes(_) => "routes",
            Self::Received { .. } => "received",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Overview { .. } | Self::NetworkChanged | Self::Head(_) => Policy::Coalesce(0),
            Self::Link { device, .. } | Self::Heard { device, .. } => Policy::Coalesce(device_key(device)),
            // An offer that finds no room is dropped, and so declined.
            Self::Offer(_) => Policy::Reject,
            Self::Routes(_) | Self::Received { .. } => Policy::Wait,
        }
    }
}

/// What a router tells its conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterTold {
    /// It begins, or begins anew after a failure: it knows nobody.
    Started,
    /// Nobody is connected: these members' devices are to be looked for.
    Seek(Vec<AccountId>),
}

/// The overlay of a conversation at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoutesView {
    /// How many buckets the table has; the last one holds the own device's neighbourhood.
    pub buckets: usize,
    /// The devices of the table, by id.
    pub nodes: Vec<RouteView>,
    /// Linked devices of members that have no channel of the overlay, like those of 2023: they are
    /// told of commits directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub direct: Vec<DirectView>,
    /// Announcements of commits made since the actor began.
    pub told: u64,
    /// Announcements of commits heard since the actor began.
    pub heard: u64,
}

impl RoutesView {
    /// How many devices have a channel of the overlay with ours.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.nodes.iter().filter(|node| node.state == RouteState::Connected).count()
    }
}

/// A device of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteView {
    /// Which.
    #[schemars(with = "String")]
    pub device: DeviceId,
    /// Whose, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub account: Option<AccountId>,
    /// The bucket it lies in.
    pub bucket: usize,
    /// How it stands to ours.
    pub state: RouteState,
    /// Whether it is mobile by its own word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mobile: bool,
}

/// How a device stands to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// A channel is open.
    Connected,
    /// A channel is asked for.
    Connecting,
    /// It was heard of.
    Known,
    /// It sleeps, and is woken when there is something new.
    Sleeping,
}

/// A linked device without a channel of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DirectView {
    /// Which.
    #[schemars(with = "String")]
    pub device: DeviceId,
    /// Whose.
    #[schemars(with = "String")]
    pub account: AccountId,
}
