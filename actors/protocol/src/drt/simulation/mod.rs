//! The devices of one conversation in one process, in virtual time: how their overlay forms, and how
//! commits spread over it.
//!
//! ```text
//!   node ── router     whom it has channels with: the overlay
//!        ── telling    whom it tells of a commit (spread.rs)
//!        ── proofs     what mobile devices sign, and whose certificates it has (proofs.rs)
//!
//!   node ──► what is under way, by the time it arrives ──► node
//! ```
//!
//! Both are what a device decides with; links, actors and repositories are left out. Everything follows
//! from the seed: the ids, who knows whom, how long messages take. Nodes are named by their places, from
//! 0 on, and methods panic when given a place that there is not.

mod proofs;
mod spread;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

pub use self::proofs::Mobile;
use self::proofs::Proofs;
pub use self::spread::Spread;
use super::message::Message;
use super::random::Random;
use super::router::{Action, ChannelId, Context, Event, Router, RouterConfig};
use super::telling::Telling;
use crate::ids::{AccountId, ConversationId, DeviceId};
use crate::time::{Moment, UnixMillis};

/// Time between two nodes that come online.
const JOIN: Duration = Duration::from_millis(10);

/// After how long somebody who asks for a channel learns that it does not come about.
const FAILURE: Duration = Duration::from_secs(2);

/// What the nodes find.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The conversation.
    pub conversation: ConversationId,
    /// The wall clock, which stands still.
    pub wall: UnixMillis,
    /// How long it takes for anything to arrive, at least and at most.
    pub latency: [Duration; 2],
    /// How many of a hundred requests for a channel fail.
    pub failures: usize,
}

/// Whom a node knows that comes online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// So many of all, also of those who come later, who do not know it. Links are made for channels, and
    /// last no longer.
    Told(usize),
    /// So many of those who came before. They get links with each other, and links last.
    Linked(usize),
}

/// One device, each another person's.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub device: DeviceId,
    /// Whose it is.
    pub account: AccountId,
    /// Its part in the overlay.
    pub router: Router,
    /// How often it said that it is connected.
    pub connected: usize,
    /// How often it said that it is connected no more.
    pub disconnected: usize,
    telling: Telling,
    proofs: Proofs,
    /// The other end of each channel.
    channels: BTreeMap<ChannelId, usize>,
    /// Devices that it has links with.
    linked: BTreeMap<DeviceId, AccountId>,
    /// When it wants to hear that time has passed.
    deadline: Option<Moment>,
    is_up: bool,
    /// Nodes on different sides do not reach each other.
    side: u8,
}

impl Node {
    fn new(conversation: ConversationId, mobile: Option<Mobile>, random: &mut Random) -> Self {
        let mut device = DeviceId([0; 32]);
        device.0.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.number().to_be_bytes()));
        let mut account = AccountId([0; 20]);
        account.0.copy_from_slice(&device.0[..20]);
        if let Some(mobile) = &mobile {
            (device, account) = (mobile.chain.device_id(), mobile.chain.account_id());
        }
        let (seed, is_mobile) = (random.number(), mobile.is_some());
        let config = RouterConfig { own: device, conversation, is_mobile, seed, mobiles: Vec::new() };
        Self {
            device,
            account,
            router: Router::new(config),
            connected: 0,
            disconnected: 0,
            telling: Telling::new(Random::from_seed(seed)),
            proofs: Proofs::new(mobile),
            channels: BTreeMap::new(),
            linked: BTreeMap::new(),
            deadline: None,
            is_up: false,
            side: 0,
        }
    }

    /// Its open channels, and the place of the node at the other end of each.
    #[must_use]
    pub const fn channels(&self) -> &BTreeMap<ChannelId, usize> {
        &self.channels
    }
}

/// What is under way to a node.
#[derive(Debug)]
enum Arrival {
    /// It comes online, and gets links with these.
    Online(Vec<usize>),
    Event(Event),
    /// A request for a channel, from that node.
    Asked(usize),
    Message(ChannelId, Message),
}

/// All nodes, and what is under way between them.
#[derive(Debug)]
pub struct Network {
    conditions: Conditions,
    nodes: Vec<Node>,
    devices: BTreeMap<DeviceId, usize>,
    accounts: BTreeMap<AccountId, usize>,
    people: Vec<AccountId>,
    /// By time, then in the order they were sent.
    under_way: BTreeMap<(Moment, u64), (usize, Arrival)>,
    /// When nodes want to hear that time has passed.
    deadlines: BTreeSet<(Moment, usize)>,
    /// Whether links outlive their channels.
    links_last: bool,
    sent: u64,
    channels: u64,
    now: Moment,
    random: Random,
    /// Requests for channels so far.
    pub dials: usize,
    /// Messages of the overlay that have arrived so far.
    pub messages: usize,
}

impl Network {
    /// So many nodes, none of them online.
    #[must_use]
    pub fn new(count: usize, seed: u64, conditions: Conditions) -> Self {
        Self::with_mobiles(count, Vec::new(), seed, conditions)
    }

    /// So many nodes, of which the first are these mobile devices.
    #[must_use]
    pub fn with_mobiles(count: usize, mobiles: Vec<Mobile>, seed: u64, conditions: Conditions) -> Self {
        let mut random = Random::from_seed(seed);
        let mut mobiles = mobiles.into_iter();
        let nodes = (0..count).map(|_| Node::new(conditions.conversation, mobiles.next(), &mut random));
        let nodes: Vec<Node> = nodes.collect();
        let places = || nodes.iter().enumerate();
        Self {
            conditions,
            devices: places().map(|(place, node)| (node.device, place)).collect(),
            accounts: places().map(|(place, node)| (node.account, place)).collect(),
            people: nodes.iter().map(|node| node.account).collect::<BTreeSet<_>>().into_iter().collect(),
            nodes,
            under_way: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            links_last: false,
            sent: 0,
            channels: 0,
            now: Moment::default(),
            random,
            dials: 0,
            messages: 0,
        }
    }

    /// The nodes by their places.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What the choices of the simulation come from, for choices of its user.
    pub const fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Lets nodes come online, one after the other.
    pub fn join(&mut self, places: Range<usize>, acquaintance: Acquaintance) {
        self.links_last = matches!(acquaintance, Acquaintance::Linked(_));
        let mut at = self.now;
        for place in places.clone() {
            self.nodes[place].is_up = true;
            let arrival = match acquaintance {
                Acquaintance::Told(count) => {
                    let others = (0..places.end).filter(|other| *other != place).collect();
                    let known = self.random.choose(others, count).into_iter();
                    Arrival::Event(Event::Known(known.map(|other| self.nodes[other].device).collect()))
                }
                // In no order: whoever is known first is asked first.
                Acquaintance::Linked(count) => {
                    Arrival::Online(self.random.choose((0..place).collect(), count))
                }
            };
            self.send(at, place, arrival);
            at = at.plus(JOIN);
        }
    }

    /// Has nodes vanish, without a word to anybody.
    pub fn vanish(&mut self, places: &[usize]) {
        for place in places {
            let node = &mut self.nodes[*place];
            node.is_up = false;
            if let Some(at) = node.deadline.take() {
                self.deadlines.remove(&(at, *place));
            }
        }
        self.cut();
    }

    /// Puts nodes on a side. Those on different sides get no new channels; what they have stays until it
    /// is [cut](Self::cut).
    pub fn put_aside(&mut self, places: Range<usize>, side: u8) {
        self.nodes[places].iter_mut().for_each(|node| node.side = side);
    }

    /// Cuts the links and channels of nodes that do not reach each other, of which they hear soon.
    pub fn cut(&mut self) {
        let mut cut = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let channels = node.channels.iter().filter(|(_, other)| !self.reaches(place, **other));
            cut.extend(channels.map(|(channel, _)| (place, *channel)));
        }
        for (place, channel) in cut {
            self.forget(place, channel);
            self.send_down(place, channel);
        }
        for place in 0..self.nodes.len() {
            let mut linked = std::mem::take(&mut self.nodes[place].linked);
            linked.retain(|device, _| self.devices.get(device).is_some_and(|it| self.reaches(place, *it)));
            self.nodes[place].linked = linked;
        }
    }

    fn reaches(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.nodes[one], &self.nodes[other]);
        one.is_up && other.is_up && one.side == other.side
    }

    /// Runs for so long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now.plus(time);
        loop {
            let next = self.under_way.first_key_value().map(|((at, _), _)| *at);
            match (next, self.deadlines.first().copied()) {
                (next, Some((at, place))) if at <= end && next.is_none_or(|next| at < next) => {
                    self.now = self.now.max(at);
                    self.handle(place, Event::Deadline);
                }
                (Some(at), _) if at <= end => self.arrive(),
                _ => break,
            }
        }
        self.now = end;
    }

    fn send(&mut self, at: Moment, to: usize, arrival: Arrival) {
        self.sent += 1;
        self.under_way.insert((at, self.sent), (to, arrival));
    }

    /// Tells a node that a channel is down, not before it hears that it was up.
    fn send_down(&mut self, to: usize, channel: ChannelId) {
        let [_, longest] = self.conditions.latency;
        self.send(self.now.plus(longest), to, Arrival::Event(Event::ChannelDown(channel)));
    }

    /// How long something takes that begins now.
    fn latency(&mut self) -> Duration {
        let [least, most] = self.conditions.latency.map(|time| time.as_millis());
        let spread = usize::try_from(most.saturating_sub(least)).unwrap_or(usize::MAX);
        // Without a choice none is made, so that the choices after it stay the same.
        let more = if spread == 0 { 0 } else { self.random.below(spread) };
        let [least, _] = self.conditions.latency;
        least.saturating_add(Duration::from_millis(u64::try_from(more).unwrap_or(u64::MAX)))
    }

    fn arrive(&mut self) {
        let Some(((at, _), (place, arrival))) = self.under_way.pop_first() else { return };
        self.now = at;
        match arrival {
            Arrival::Asked(from) => self.asked(from, place),
            _ if !self.nodes[place].is_up => {}
            Arrival::Online(known) => {
                for other in known {
                    self.link(place, other);
                    self.handle(place, Event::Known(vec![self.nodes[other].device]));
                    self.handle(other, Event::Known(vec![self.nodes[place].device]));
                }
            }
            Arrival::Event(event) => self.handle(place, event),
            Arrival::Message(channel, message) => {
                if self.nodes[place].channels.contains_key(&channel) {
                    self.messages += 1;
                    self.handle(place, Event::Received { channel, message });
                }
            }
        }
    }

    fn link(&mut self, one: usize, other: usize) {
        for (place, peer) in [(one, other), (other, one)] {
            let Node { device, account, .. } = self.nodes[peer];
            self.nodes[place].linked.insert(device, account);
            self.nodes[place].proofs.meet(device);
        }
    }

    /// A node has no end of a channel any more; who had the other one.
    fn forget(&mut self, place: usize, channel: ChannelId) -> Option<usize> {
        let other = self.nodes[place].channels.remove(&channel)?;
        let device = self.nodes[other].device;
        let node = &mut self.nodes[place];
        if !self.links_last && node.channels.values().all(|it| *it != other) {
            node.linked.remove(&device);
        }
        Some(other)
    }

    fn asked(&mut self, from: usize, to: usize) {
        let failures = self.conditions.failures;
        if !self.reaches(from, to) || failures > 0 && self.random.below(100) < failures {
            let failed = Event::ChannelFailed(self.nodes[to].device);
            return self.send(self.now.plus(FAILURE), from, Arrival::Event(failed));
        }
        self.link(from, to);
        self.channels += 1;
        let channel = ChannelId(self.channels);
        self.nodes[from].channels.insert(channel, to);
        self.nodes[to].channels.insert(channel, from);
        let up = |device, incoming| Event::ChannelUp { channel, device, incoming };
        let (asker, asked) = (self.nodes[from].device, self.nodes[to].device);
        let at = self.now.plus(self.latency());
        self.send(at, from, Arrival::Event(up(asked, false)));
        self.handle(to, up(asker, true));
    }

    /// Has something happen to a node, which acts on it.
    pub fn handle(&mut self, place: usize, event: Event) {
        let Node { router, linked, .. } = &mut self.nodes[place];
        let context = Context {
            moment: self.now,
            wall: self.conditions.wall,
            is_active_member: &|_| true,
            has_socket: &|device| linked.contains_key(&device),
        };
        let actions = router.handle(&context, event);
        let deadline = router.deadline();
        if let Some(before) = std::mem::replace(&mut self.nodes[place].deadline, deadline) {
            self.deadlines.remove(&(before, place));
        }
        self.deadlines.extend(deadline.map(|at| (at, place)));
        for action in actions {
            self.act(place, action);
        }
    }

    fn act(&mut self, place: usize, action: Action) {
        match action {
            Action::RequestChannel { device, .. } => {
                self.dials += 1;
                let at = self.now.plus(self.latency());
                if let Some(to) = self.devices.get(&device).copied() {
                    self.send(at, to, Arrival::Asked(place));
                }
            }
            Action::Send { channel, message } => self.say(place, channel, message),
            Action::CloseChannel(channel) => {
                if let Some(to) = self.forget(place, channel) {
                    self.forget(to, channel);
                    self.send_down(to, channel);
                }
            }
            Action::Connected => self.nodes[place].connected += 1,
            Action::Disconnected => self.nodes[place].disconnected += 1,
            Action::StoreMobiles => {}
            Action::FindCertificate { device, source } => self.find_certificate(place, device, source),
            Action::SendCertificates { channel, devices } => self.send_certificates(place, channel, &devices),
            Action::SignLease => self.sign_lease(place),
        }
    }

    fn say(&mut self, place: usize, channel: ChannelId, message: Message) {
        if let Some(to) = self.nodes[place].channels.get(&channel).copied() {
            // Not before the channel is up there.
            let [_, longest] = self.conditions.latency;
            let at = self.now.plus(self.latency()).plus(longest);
            self.send(at, to, Arrival::Message(channel, message));
        }
    }

    /// The nodes that are online.
    #[must_use]
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|place| self.nodes[*place].is_up).collect()
    }

    /// The nodes that a node is connected with.
    #[must_use]
    pub fn neighbours(&self, place: usize) -> Vec<usize> {
        let connected = self.nodes[place].router.table().connected();
        connected.filter_map(|device| self.devices.get(&device).copied()).collect()
    }

    /// With how many each node is connected that is online.
    #[must_use]
    pub fn degrees(&self) -> Vec<usize> {
        self.up().into_iter().map(|place| self.neighbours(place).len()).collect()
    }

    /// How many hops from `start` each node is that is online and can be reached.
    #[must_use]
    pub fn hops(&self, start: usize) -> BTreeMap<usize, usize> {
        let mut hops = BTreeMap::from([(start, 0)]);
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((place, distance)) = queue.pop_front() {
            for other in self.neighbours(place) {
                if self.nodes[other].is_up && !hops.contains_key(&other) {
                    hops.insert(other, distance + 1);
                    queue.push_back((other, distance + 1));
                }
            }
        }
        hops
    }

    /// Whether all nodes that are online reach each other over the overlay.
    #[must_use]
    pub fn is_one_component(&self) -> bool {
        let up = self.up();
        up.first().is_none_or(|start| self.hops(*start).len() == up.len())
    }

    /// Whether both ends of every connection see it.
    #[must_use]
    pub fn links_are_mutual(&self) -> bool {
        let sees =
            |one: usize, other: usize| self.nodes[one].router.table().is_connected(&self.nodes[other].device);
        self.up().into_iter().all(|one| self.neighbours(one).into_iter().all(|other| sees(other, one)))
    }
}
