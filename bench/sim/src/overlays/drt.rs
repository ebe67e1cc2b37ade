//! The routing table of swarms: the very router that Skep ships, and its rules for telling of commits.
//!
//! What is the node's around it is short here: a link of the network is a channel; a commit is fetched from
//! who told of it, and when that fails from the next who did; who is alone is told of some members that are
//! online. Whom it is told of so, it has a connection with; whoever connects later is known from then on, and the
//! router looks again for whom to dial, as in the node. Mobile devices are known by their word, as in versions before leases, so that no signatures are
//! needed. A stranger that is told of a commit gets a connection for that only, and no channel.

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::drt::message::{Body, Message, Version};
use skep_protocol::drt::presence::watched_count;
use skep_protocol::drt::random::Random;
use skep_protocol::drt::router::{Action, ChannelId, Context, Event, Router, RouterConfig};
use skep_protocol::drt::table::Rules;
use skep_protocol::drt::telling::{Company, FEW_MEMBERS, Head, Linked, Telling};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::time::{Moment, UnixMillis};

use crate::overlay::{Birth, Item, Overlay, Place};
use crate::scenario::{OverlayKind, Scenario};
use crate::time::Time;
use crate::world::Net;

/// What a notification takes on the line, in bytes: its text, and what carries it.
const NOTICE: u32 = 350;

/// What a question for nodes takes, in bytes.
const FIND: u32 = 131;

/// What an answer takes beside its nodes, in bytes.
const FOUND: u32 = 142;

/// What a node in an answer takes, in bytes.
const FOUND_NODE: u32 = 34;

/// What a mobile device in an answer takes, in bytes.
const FOUND_MOBILE: u32 = 46;

/// A day on which mobile devices are believed without a lease; the wall clock stands still.
const WALL: UnixMillis = UnixMillis(1_785_000_000_000);

/// Between two searches of a node that is alone.
const SEEK_AGAIN: Time = Time(60_000_000);

/// What goes over the lines.
#[derive(Clone, Debug)]
pub enum Said {
    /// A message of the overlay.
    Swarm(Box<Message>),
    /// There is a commit; so many hops from its author.
    Commit(Item, u32),
}

/// What all nodes know.
#[derive(Clone, Debug)]
pub struct Plan {
    rules: Rules,
    refresh: Option<Time>,
    /// Everybody, sorted.
    members: Vec<AccountId>,
    presence: usize,
    /// Whether whoever has a connection gets a channel, whatever the buckets say.
    few: bool,
}

/// Who is fetching what from whom.
#[derive(Clone, Debug)]
struct Fetching {
    item: Item,
    hops: u32,
    from: Place,
    /// Who else told of it.
    others: Vec<(Place, u32)>,
}

/// One device.
#[derive(Debug)]
pub struct Drt {
    plan: Arc<Plan>,
    me: Birth,
    router: Router,
    /// Where what it tells others draws from.
    telling_seed: u64,
    telling: Option<Box<Telling>>,
    /// Whom it was told of, and has no channel with yet.
    met: Vec<Place>,
    fetching: Vec<Fetching>,
    /// When members are to be looked for, as nobody is connected.
    seek: Option<Time>,
    refresh: Option<Time>,
    /// What it told last, how far from its author, and of whom it has it; it says so again when it is connected
    /// once more.
    last: Option<(Item, u32, Option<Place>)>,
}

fn account(device: &DeviceId) -> AccountId {
    let mut account = AccountId([0; AccountId::LENGTH]);
    // The end is different for each.
    account.0.copy_from_slice(&device.0[DeviceId::LENGTH - AccountId::LENGTH..]);
    account
}

fn place_of(account: &AccountId) -> Place {
    let mut last = [0; 4];
    last.copy_from_slice(&account.0[AccountId::LENGTH - 4..]);
    Place::from_be_bytes(last)
}

fn commit(item: Item) -> CommitId {
    let mut commit = CommitId([0; CommitId::LENGTH]);
    commit.0[..4].copy_from_slice(&item.to_be_bytes());
    commit
}

impl Overlay for Drt {
    type Message = Said;
    type Plan = Plan;

    fn plan(scenario: &Scenario, _seed: u64) -> Plan {
        let OverlayKind::Drt(settings) = &scenario.overlay else { return Plan::default_of(scenario) };
        let bucket_size = u8::try_from(settings.bucket_size).unwrap_or(u8::MAX);
        // Less than one was refused with the scenario.
        let bucket_size = NonZeroU8::new(bucket_size).unwrap_or(NonZeroU8::MIN);
        let refresh = (settings.refresh_s > 0.0).then(|| Time::from_seconds(settings.refresh_s));
        Plan {
            rules: Rules { bucket_size, waits: !settings.as_specified },
            refresh,
            ..Plan::default_of(scenario)
        }
    }

    fn members(plan: &mut Plan, ids: &[DeviceId]) {
        plan.members = ids.iter().map(account).collect();
        plan.members.sort_unstable();
    }

    fn new(plan: &Arc<Plan>, me: Birth) -> Self {
        // In the order in which the actor draws.
        let mut random = Random::from_seed(me.seed);
        let config = RouterConfig {
            own: me.id,
            conversation: ConversationId([9; 20]),
            is_mobile: me.is_mobile,
            seed: random.number(),
            mobiles: Vec::new(),
        };
        Self {
            plan: Arc::clone(plan),
            router: Router::with_rules(config, plan.rules),
            me,
            telling_seed: random.number(),
            telling: None,
            met: Vec::new(),
            fetching: Vec::new(),
            seek: None,
            refresh: None,
            last: None,
        }
    }

    fn join(&mut self, net: &mut Net<'_, Said>, contacts: &[Place]) {
        if let Some(every) = self.plan.refresh {
            // Not all at the same time.
            let first = Time(net.random().number() % every.0.max(1));
            self.refresh = Some(net.now().plus(first));
        }
        self.meet(net, contacts);
        if contacts.is_empty() {
            self.seek = Some(net.now().plus(net.presence()));
        }
        self.set_timer(net);
    }

    fn link_up(&mut self, net: &mut Net<'_, Said>, peer: Place, incoming: bool) {
        let (channel, device) = (ChannelId(peer.into()), net.id(peer));
        if let Some(place) = self.met.iter().position(|it| *it == peer) {
            self.met.swap_remove(place);
        } else if self.plan.rules.waits && !self.plan.few {
            // There is a connection before there is a channel over it.
            self.handle(net, Event::Known(vec![device]));
        }
        self.handle(net, Event::ChannelUp { channel, device, incoming });
    }

    fn link_failed(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        let device = net.id(peer);
        self.met.retain(|it| *it != peer);
        self.handle(net, Event::ChannelFailed(device));
    }

    fn link_down(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        if let Some(telling) = &mut self.telling {
            telling.unlinked(net.id(peer));
        }
        self.handle(net, Event::ChannelDown(ChannelId(peer.into())));
    }

    fn receive(&mut self, net: &mut Net<'_, Said>, from: Place, message: Said) {
        match message {
            Said::Swarm(message) => {
                let channel = ChannelId(from.into());
                self.handle(net, Event::Received { channel, message: *message });
            }
            Said::Commit(item, hops) => self.told(net, from, item, hops),
        }
    }

    fn fetched(&mut self, net: &mut Net<'_, Said>, from: Place, item: Item, here: bool) {
        let Some(place) = self.fetching.iter().position(|it| it.item == item) else { return };
        if here {
            let Fetching { hops, .. } = self.fetching.swap_remove(place);
            if net.deliver(item, hops) {
                self.tell(net, item, hops, Some(from));
            }
        } else if let Some((next, hops)) = self.fetching[place].others.pop() {
            self.fetching[place].from = next;
            self.fetching[place].hops = hops;
            net.fetch(next, item);
        } else {
            self.fetching.swap_remove(place);
        }
    }

    fn timer(&mut self, net: &mut Net<'_, Said>) {
        let now = net.now();
        if self.router.deadline().is_some_and(|at| moment(now) >= at) {
            self.handle(net, Event::Deadline);
        }
        if self.seek.is_some_and(|at| at <= now) {
            self.seek = None;
            if !self.router.table().has_connected() {
                let found = net.present(self.plan.presence);
                self.seek = Some(now.plus(SEEK_AGAIN));
                self.meet(net, &found);
            }
        }
        if let (Some(at), Some(every)) = (self.refresh, self.plan.refresh)
            && at <= now
        {
            self.refresh = Some(now.plus(every));
            self.handle(net, Event::Refresh);
        }
        self.set_timer(net);
    }

    fn publish(&mut self, net: &mut Net<'_, Said>, item: Item) {
        self.tell(net, item, 0, None);
    }

    fn pushed(&mut self, net: &mut Net<'_, Said>, from: Place, item: Item, hops: u32) {
        self.told(net, from, item, hops);
    }

    fn network_changed(&mut self, net: &mut Net<'_, Said>) {
        self.handle(net, Event::ConnectivityChanged);
    }

    fn neighbours(&self) -> Vec<Place> {
        self.router.table().connected().map(|device| place_of(&account(&device))).collect()
    }

    fn contacts(&self) -> Vec<Place> {
        let nodes = self.router.table().nodes().filter(|node| !node.mobile);
        nodes.map(|node| place_of(&account(&node.id))).collect()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() - size_of::<Router>() + self.router.memory()
    }
}

impl Plan {
    fn default_of(scenario: &Scenario) -> Self {
        let presence = watched_count(scenario.all_nodes());
        let few = scenario.all_nodes() <= FEW_MEMBERS;
        Self { rules: Rules::default(), refresh: None, members: Vec::new(), presence, few }
    }
}

const fn moment(time: Time) -> Moment {
    Moment(Duration::from_micros(time.0))
}

impl Drt {
    /// It is told of members that are there.
    fn meet(&mut self, net: &mut Net<'_, Said>, contacts: &[Place]) {
        self.met = contacts.to_vec();
        let known: Vec<DeviceId> = contacts.iter().map(|place| net.id(*place)).collect();
        if self.plan.rules.waits && self.plan.few {
            known.into_iter().for_each(|device| self.handle(net, Event::SocketOpened(device)));
        } else {
            self.handle(net, Event::Known(known));
        }
    }

    fn handle(&mut self, net: &mut Net<'_, Said>, event: Event) {
        let before = self.router.deadline();
        let context = Context {
            moment: moment(net.now()),
            wall: WALL,
            is_active_member: &|_| true,
            has_socket: &|device| net.find(&device).is_some_and(|place| net.is_linked(place)),
        };
        let actions = self.router.handle(&context, event);
        for action in actions {
            self.act(net, action);
        }
        if self.router.deadline() != before {
            self.set_timer(net);
        }
    }

    fn act(&mut self, net: &mut Net<'_, Said>, action: Action) {
        match action {
            Action::RequestChannel { device, .. } => {
                if let Some(peer) = net.find(&device) {
                    net.connect(peer);
                }
            }
            Action::Send { channel, message } => self.say(net, channel, message),
            Action::CloseChannel(ChannelId(peer)) => net.close(peer as Place),
            Action::Connected => {
                self.seek = None;
                // What it said while it was alone reached nobody.
                if let Some((item, hops, source)) = self.last {
                    self.tell(net, item, hops, source);
                }
            }
            Action::Disconnected => {
                if self.seek.is_none() {
                    self.seek = Some(net.now().plus(net.presence()));
                    self.set_timer(net);
                }
            }
            Action::FindCertificate { .. }
            | Action::SendCertificates { .. }
            | Action::SignLease
            | Action::StoreMobiles => {}
        }
    }

    fn say(&mut self, net: &mut Net<'_, Said>, ChannelId(peer): ChannelId, mut message: Message) {
        // Of those who need no lease.
        message.version = Version::Two;
        let bytes = match &mut message.body {
            Some(Body::Found(found)) => {
                if net.misleads() {
                    found.nodes = net.accomplices(2).into_iter().map(|place| net.id(place)).collect();
                }
                let [nodes, mobiles] = [found.nodes.len(), found.mobile_nodes.len()].map(|it| it as u32);
                FOUND + nodes * FOUND_NODE + mobiles * (FOUND_NODE + FOUND_MOBILE)
            }
            _ => FIND,
        };
        net.send(peer as Place, Said::Swarm(Box::new(message)), bytes);
    }

    fn set_timer(&mut self, net: &mut Net<'_, Said>) {
        let deadline = self.router.deadline().map(|Moment(at)| Time(at.as_micros() as u64));
        let times = [deadline, self.seek, self.refresh];
        net.wake_at(times.into_iter().flatten().min().unwrap_or(Time::NEVER));
    }

    fn telling(&mut self) -> &mut Telling {
        let seed = self.telling_seed;
        self.telling.get_or_insert_with(|| Box::new(Telling::new(Random::from_seed(seed))))
    }

    fn told(&mut self, net: &mut Net<'_, Said>, from: Place, item: Item, hops: u32) {
        // It has told all of that already; who else has it makes no difference any more.
        if self.last.is_some_and(|(last, ..)| last == item) {
            return;
        }
        if net.is_linked(from) {
            let device = net.id(from);
            self.telling().heard(device, commit(item));
        }
        if net.has(item) {
            return;
        }
        match self.fetching.iter_mut().find(|it| it.item == item) {
            Some(under_way) => under_way.others.push((from, hops + 1)),
            None => {
                self.fetching.push(Fetching { item, hops: hops + 1, from, others: Vec::new() });
                net.fetch(from, item);
            }
        }
    }

    /// Tells others of a commit that is here now.
    fn tell(&mut self, net: &mut Net<'_, Said>, item: Item, hops: u32, source: Option<Place>) {
        self.last = Some((item, hops, source));
        let (teller, source) = (source, source.map(|place| net.id(place)));
        let connected: Vec<DeviceId> = self.router.table().connected().collect();
        let linked = connected.iter().map(|device| Linked {
            device: *device,
            account: account(device),
            has_overlay: true,
        });
        let linked: Vec<Linked> = linked.collect();
        let connected_members: BTreeSet<AccountId> = connected.iter().map(account).collect();
        let to_wake = self.router.to_wake();
        let plan = Arc::clone(&self.plan);
        let own = account(&self.me.id);
        let telling = self.telling();
        telling.set_head(Head { commit: commit(item), source });
        let targets = telling.next(&Company {
            own,
            members: &plan.members,
            linked: &linked,
            connected: &connected,
            connected_members: &connected_members,
            to_wake: &to_wake,
        });
        for device in targets.devices {
            if let Some(peer) = net.find(&device) {
                net.send_item(peer, item, Said::Commit(item, hops), NOTICE);
            }
        }
        let others = targets.accounts.iter().map(place_of);
        for place in others.filter(|place| *place != self.me.place && Some(*place) != teller) {
            net.cast_item(place, item, Said::Commit(item, hops), NOTICE, true);
        }
        for device in targets.wake {
            if let Some(mobile) = net.find(&device) {
                net.push(mobile, item, hops);
            }
        }
    }
}
