//! The decisions of one device in the overlay of one conversation (`spec: drt 4 to 8`).
//!
//! Whoever owns a router tells it every [`Event`], and [`Event::Deadline`] when its
//! [deadline](Router::deadline) has come; and does the [`Action`]s that each call returns, in order.
//! Bytes of channels go through a [`SwarmReader`](super::reader::SwarmReader) for each channel first.
//!
//! ```text
//!   links          channels that come up, fail and go down; whom to dial
//!   messages       what peers ask and answer
//!   sleepers       mobile devices: leases, their certificates, their end
//! ```
//!
//! Where this differs from the reference: a node that could not be reached is not dialled again by every
//! event, but after a wait that doubles; while nobody is connected, all known nodes are tried and not two
//! only; with few links, those that failed are tried again some times by the clock; peers are answered
//! within a budget; who is to wake a mobile device is told of it unasked. A peer that behaves sees none of
//! it but a few more dials and answers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::budget::Budget;
use super::lease::{Lease, RENEWAL_THRESHOLD};
use super::message::{Body, Message, MobileInfo, Version};
use super::mobiles::Mobiles;
use super::parked::Parked;
use super::random::Random;
use super::table::{RoutingTable, Rules};
use crate::identity::VerifiedChain;
use crate::ids::{AccountId, ConversationId, DeviceId};
use crate::time::{Moment, UnixMillis};

mod links;
mod messages;
mod sleepers;

#[cfg(test)]
mod bad_input_tests;
#[cfg(test)]
mod links_tests;
#[cfg(test)]
mod sleepers_tests;
#[cfg(test)]
mod testing;

/// Nodes asked for in every question (`spec: drt 1`).
pub const FIND_COUNT: u64 = 2;

/// Most nodes told in an answer; the reference asks for two.
pub const MAX_FOUND: usize = 16;

/// Channels that one peer may have open: both sides dialling at once makes two.
pub const MAX_CHANNELS_PER_PEER: usize = 4;

/// A channel that lived shorter counts as a failed dial, so that a peer that closes every channel is
/// not dialled in a loop.
pub const STABLE: Duration = Duration::from_secs(30);

/// With fewer links than this, nodes that failed are dialled again by the clock alone: two or three
/// nodes that found each other and nobody else would otherwise stay apart from all others.
pub const FEW_LINKS: usize = 3;

/// How many times the clock alone dials a node again: for twenty minutes. Later, an event has to.
pub const TIMED_RETRIES: u8 = 8;

/// Leases are looked at no more often than this.
pub const EXPIRY_INTERVAL: Duration = Duration::from_mins(1);

/// Names an open channel: chosen by the owner, different for every channel of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// What a router is made with.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// This device.
    pub own: DeviceId,
    /// The conversation.
    pub conversation: ConversationId,
    /// Whether this is a mobile device.
    pub is_mobile: bool,
    /// Where its choices come from.
    pub seed: u64,
    /// The mobile devices remembered from before a restart.
    pub mobiles: Vec<MobileInfo>,
}

/// What the router must know at each event and does not keep.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The time for waits.
    pub moment: Moment,
    /// The time for leases.
    pub wall: UnixMillis,
    /// Whether an account is an active member: not invited, banned or left.
    pub is_active_member: &'a dyn Fn(AccountId) -> bool,
    /// Whether there is a connection to a device that a channel could use.
    pub has_socket: &'a dyn Fn(DeviceId) -> bool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Context").field("moment", &self.moment).field("wall", &self.wall).finish()
    }
}

/// Where a certificate is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// The certificates we keep.
    Store,
    /// The DHT.
    Dht,
}

/// What happens to a router.
#[derive(Clone, Debug)]
pub enum Event {
    /// Devices of members are there, as presence or the caller says: they may be dialled at once.
    Known(Vec<DeviceId>),
    /// Nobody may be connected: try again those known.
    Bootstrap,
    /// A connection to a member's device has come about, for whatever reason.
    SocketOpened(DeviceId),
    /// A channel is open, by either side's request. Those of strangers are declined before.
    ChannelUp {
        /// The channel.
        channel: ChannelId,
        /// The device at the other end, authenticated.
        device: DeviceId,
        /// Whether the other side asked for it.
        incoming: bool,
    },
    /// A channel asked for did not come about.
    ChannelFailed(DeviceId),
    /// A channel is closed.
    ChannelDown(ChannelId),
    /// A message came through a channel.
    Received {
        /// The channel.
        channel: ChannelId,
        /// The message.
        message: Message,
    },
    /// Devices are banned, revoked, or of somebody who is no member any more.
    Removed(Vec<DeviceId>),
    /// Our own connection to the network has changed.
    ConnectivityChanged,
    /// What came of [`Action::FindCertificate`].
    CertificateFound {
        /// Whose.
        device: DeviceId,
        /// Where it was looked for.
        source: CertificateSource,
        /// The chain, if there is a good one.
        chain: Option<Box<VerifiedChain>>,
    },
    /// The lease that [`Action::SignLease`] asked for.
    LeaseSigned(Box<Lease>),
    /// The overlay is to be left, until [`Event::Restart`] or [`Event::Known`].
    Shutdown,
    /// The overlay is to be joined again.
    Restart,
    /// The router's deadline has come.
    Deadline,
    /// Every peer is to be asked for nodes once more, which nobody does today (`spec: drt 6`).
    Refresh,
}

/// What a router wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask a device for a channel; end with [`Event::ChannelUp`] or [`Event::ChannelFailed`].
    RequestChannel {
        /// The device.
        device: DeviceId,
        /// Whether a new connection may be made for it.
        new_socket: bool,
    },
    /// Close a channel; no [`Event::ChannelDown`] is needed.
    CloseChannel(ChannelId),
    /// Send a message.
    Send {
        /// Through which channel.
        channel: ChannelId,
        /// What.
        message: Message,
    },
    /// The first device is connected: say the last commit again, stop watching presence.
    Connected,
    /// Nobody is connected and nobody is being dialled: watch presence.
    Disconnected,
    /// Look for the certificate of a device.
    FindCertificate {
        /// Whose.
        device: DeviceId,
        /// Where.
        source: CertificateSource,
    },
    /// Send the certificates of these devices that the store has, as
    /// [`certificates`](Router::certificates).
    SendCertificates {
        /// Through which channel.
        channel: ChannelId,
        /// Whose.
        devices: Vec<DeviceId>,
    },
    /// Sign [a statement of our own](super::lease::Statement::own).
    SignLease,
    /// Store [`Router::mobiles`].
    StoreMobiles,
}

/// A channel that is open.
#[derive(Clone, Debug)]
struct Link {
    channel: ChannelId,
    device: DeviceId,
    since: Moment,
    budget: Budget,
    /// Which messages the peer understands, as far as it has spoken.
    version: Option<Version>,
    /// Sleeping devices that the peer was told of without asking.
    told: BTreeSet<DeviceId>,
}

/// One device in the overlay of one conversation.
#[derive(Debug)]
pub struct Router {
    conversation: ConversationId,
    is_mobile: bool,
    table: RoutingTable,
    links: Vec<Link>,
    mobiles: Mobiles,
    parked: Parked,
    own_lease: Option<Box<Lease>>,
    /// Whether a lease of our own is being signed.
    signing: bool,
    is_stopped: bool,
    random: Random,
    deadline: Option<Moment>,
    expiry_checked: Option<Moment>,
    actions: Vec<Action>,
}

impl Router {
    /// A router that knows nobody but mobile devices.
    #[must_use]
    pub fn new(config: RouterConfig) -> Self {
        Self::with_rules(config, Rules::default())
    }

    /// A router that keeps to other rules, for simulations.
    #[must_use]
    pub fn with_rules(config: RouterConfig, rules: Rules) -> Self {
        let mut router = Self {
            conversation: config.conversation,
            is_mobile: config.is_mobile,
            table: RoutingTable::with_rules(config.own, rules),
            links: Vec::new(),
            mobiles: Mobiles::default(),
            parked: Parked::default(),
            own_lease: None,
            signing: false,
            is_stopped: false,
            random: Random::from_seed(config.seed),
            deadline: None,
            expiry_checked: None,
            actions: Vec::new(),
        };
        config.mobiles.into_iter().for_each(|info| router.restore(info));
        router
    }

    /// The table, for display and for choosing whom to tell.
    #[must_use]
    pub const fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// The mobile devices to be remembered over a restart.
    #[must_use]
    pub fn mobiles(&self) -> Vec<MobileInfo> {
        self.mobiles.to_list()
    }

    /// The sleeping devices that are for us to wake (`spec: drt 8`).
    #[must_use]
    pub fn to_wake(&self) -> Vec<DeviceId> {
        self.table.mobile().filter(|device| self.table.is_responsible(device)).collect()
    }

    /// When [`Event::Deadline`] is due, if nothing else happens before.
    #[must_use]
    pub const fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    /// Bytes of memory that the router takes, roughly: leases and buffers of the allocator excluded.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.table.memory() + self.links.capacity() * size_of::<Link>()
    }

    /// Takes note of an event.
    #[must_use]
    pub fn handle(&mut self, context: &Context<'_>, event: Event) -> Vec<Action> {
        match event {
            Event::Known(devices) => self.known(context, &devices),
            Event::Bootstrap => self.maintain(context, &[]),
            Event::SocketOpened(device) => self.socket_opened(device),
            Event::ChannelUp { channel, device, incoming } => {
                self.channel_up(context, channel, device, incoming);
            }
            Event::ChannelFailed(device) => self.channel_failed(context, device),
            Event::ChannelDown(channel) => self.channel_down(context, channel),
            Event::Received { channel, message } => self.received(context, channel, message),
            Event::Removed(devices) => self.removed(context, &devices),
            Event::ConnectivityChanged => {
                self.table.forgive_all();
                self.maintain(context, &[]);
            }
            Event::CertificateFound { device, source, chain } => {
                self.certificate_found(context, device, source, chain.as_deref());
            }
            Event::LeaseSigned(lease) => self.lease_signed(context, lease),
            Event::Shutdown => self.shut_down(context),
            Event::Restart => {
                self.is_stopped = false;
                self.maintain(context, &[]);
            }
            Event::Deadline => self.deadline_reached(context),
            Event::Refresh => self.refresh(),
        }
        self.ask_for_certificates(context);
        self.renew_lease(context);
        self.deadline = self.next_deadline(context);
        std::mem::take(&mut self.actions)
    }

    fn deadline_reached(&mut self, context: &Context<'_>) {
        self.expire(context);
        let late = self.parked.timed_out(context.moment);
        self.find_in_dht(late);
        if self.table.rules().waits && !self.table.has_links(FEW_LINKS) {
            self.maintain(context, &[]);
        }
    }

    fn next_deadline(&self, context: &Context<'_>) -> Option<Moment> {
        if self.is_stopped {
            return None;
        }
        let at = |wall: UnixMillis| context.moment.plus(wall.since(context.wall));
        let expiry = self.mobiles.next_expiry().map(|end| {
            let soonest = self.expiry_checked.map_or(context.moment, |last| last.plus(EXPIRY_INTERVAL));
            at(end).max(soonest)
        });
        let renewal = self.renewal().filter(|_| !self.signing).map(at);
        let has_few = self.table.rules().waits && !self.table.has_links(FEW_LINKS);
        let retry = has_few.then(|| self.table.next_retry(TIMED_RETRIES)).flatten();
        [expiry, renewal, retry, self.parked.deadline()].into_iter().flatten().min()
    }

    fn link(&self, channel: ChannelId) -> Option<&Link> {
        self.links.iter().find(|link| link.channel == channel)
    }

    fn link_mut(&mut self, channel: ChannelId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.channel == channel)
    }
}
