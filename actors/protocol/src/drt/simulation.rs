//! Many routers in one process: virtual time, channels with latency, and a commit that spreads.
//!
//! Everything follows from the seed: the ids, who knows whom, how long messages take.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::lease_tests::{CONVERSATION, RECORDED};
use super::message::Message;
use super::random::Random;
use super::router::*;
use crate::ids::DeviceId;
use crate::time::{Moment, UnixMillis};

/// What is under way, to a node.
enum Arrival {
    Event(Event),
    /// A request for a channel, from that node.
    Asked(usize),
    Message(ChannelId, Message),
}

pub(super) struct Node {
    pub(super) id: DeviceId,
    pub(super) router: Router,
    pub(super) is_up: bool,
    pub(super) side: u8,
    /// The other end of each open channel.
    pub(super) channels: BTreeMap<ChannelId, usize>,
    pub(super) connected: usize,
    pub(super) disconnected: usize,
}

pub(super) struct Network {
    pub(super) nodes: Vec<Node>,
    places: BTreeMap<DeviceId, usize>,
    /// By time, then in the order they were sent.
    under_way: BinaryHeap<Reverse<(Moment, u64, usize)>>,
    arrivals: BTreeMap<u64, Arrival>,
    sent: u64,
    channels: u64,
    now: Moment,
    pub(super) wall: UnixMillis,
    random: Random,
    pub(super) dials: usize,
    pub(super) messages: usize,
    /// Share of requests that are refused, in percent.
    pub(super) refused: usize,
}

impl Network {
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let mut nodes = Vec::new();
        for _ in 0..count {
            let mut id = [0; 32];
            id.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.number().to_be_bytes()));
            let own = DeviceId(id);
            let config = RouterConfig {
                own,
                conversation: CONVERSATION,
                is_mobile: false,
                seed: random.number(),
                mobiles: vec![],
            };
            nodes.push(Node {
                id: own,
                router: Router::new(config),
                is_up: false,
                side: 0,
                channels: BTreeMap::new(),
                connected: 0,
                disconnected: 0,
            });
        }
        Self {
            places: nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect(),
            nodes,
            under_way: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            sent: 0,
            channels: 0,
            now: Moment::default(),
            wall: RECORDED,
            random,
            dials: 0,
            messages: 0,
            refused: 0,
        }
    }

    /// For what must not overtake a channel that comes up, however long that takes.
    fn latency_behind(&mut self) -> Duration {
        self.latency() + Duration::from_millis(80)
    }

    /// Lets the nodes in, one every ten milliseconds, each knowing `known` others.
    pub(super) fn join(&mut self, places: std::ops::Range<usize>, known: usize) {
        for place in places.clone() {
            self.nodes[place].is_up = true;
            let others = (0..places.end).filter(|other| *other != place).collect();
            let others = self.random.choose(others, known);
            let ids = others.into_iter().map(|other| self.nodes[other].id).collect();
            let at = self.now.plus(Duration::from_millis(10) * u32::try_from(place - places.start).unwrap());
            self.send(at, place, Arrival::Event(Event::Known(ids)));
        }
    }

    fn send(&mut self, at: Moment, to: usize, arrival: Arrival) {
        self.sent += 1;
        self.under_way.push(Reverse((at, self.sent, to)));
        self.arrivals.insert(self.sent, arrival);
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(20 + u64::try_from(self.random.below(60)).unwrap())
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        self.nodes[a].is_up && self.nodes[b].is_up && self.nodes[a].side == self.nodes[b].side
    }

    /// Runs until nothing is under way, or for so long. Deadlines are heeded.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.plus(time);
        loop {
            let next = self.under_way.peek().map(|Reverse((at, ..))| *at);
            let deadlines = self.nodes.iter().enumerate().filter(|(_, node)| node.is_up);
            let deadline = deadlines.filter_map(|(place, node)| Some((node.router.deadline()?, place))).min();
            match (next, deadline) {
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

    fn arrive(&mut self) {
        let Some(Reverse((at, number, to))) = self.under_way.pop() else { return };
        self.now = at;
        let Some(arrival) = self.arrivals.remove(&number) else { return };
        if !self.nodes[to].is_up {
            return;
        }
        match arrival {
            Arrival::Asked(from) => self.asked(from, to),
            Arrival::Event(Event::ChannelDown(channel)) => {
                if self.nodes[to].channels.remove(&channel).is_some() {
                    self.handle(to, Event::ChannelDown(channel));
                }
            }
            Arrival::Event(event) => self.handle(to, event),
            Arrival::Message(channel, message) => {
                if self.nodes[to].channels.contains_key(&channel) {
                    self.messages += 1;
                    self.handle(to, Event::Received { channel, message });
                }
            }
        }
    }

    fn asked(&mut self, from: usize, to: usize) {
        let refused = self.random.below(100) < self.refused;
        if !self.reaches(from, to) || refused {
            return self.fail(from, to);
        }
        self.channels += 1;
        let channel = ChannelId(self.channels);
        let (asker, asked) = (self.nodes[from].id, self.nodes[to].id);
        self.nodes[from].channels.insert(channel, to);
        self.nodes[to].channels.insert(channel, from);
        let up = |device, incoming| Event::ChannelUp { channel, device, incoming };
        let at = self.now.plus(self.latency());
        self.send(at, from, Arrival::Event(up(asked, false)));
        self.handle(to, up(asker, true));
    }

    fn fail(&mut self, from: usize, to: usize) {
        let failed = Event::ChannelFailed(self.nodes[to].id);
        let at = self.now.plus(Duration::from_secs(2));
        self.send(at, from, Arrival::Event(failed));
    }

    pub(super) fn handle(&mut self, place: usize, event: Event) {
        let context = Context {
            moment: self.now,
            wall: self.wall,
            is_active_member: &|_| true,
            has_socket: &|_| false,
        };
        for action in self.nodes[place].router.handle(&context, event) {
            self.act(place, action);
        }
    }

    fn act(&mut self, place: usize, action: Action) {
        match action {
            Action::RequestChannel { device, .. } => {
                let at = self.now.plus(self.latency());
                self.dials += 1;
                let to = self.places[&device];
                if self.reaches(place, to) {
                    self.send(at, to, Arrival::Asked(place));
                } else {
                    self.fail(place, to);
                }
            }
            Action::Send { channel, message } => {
                if let Some(to) = self.nodes[place].channels.get(&channel).copied() {
                    let at = self.now.plus(self.latency_behind());
                    self.send(at, to, Arrival::Message(channel, message));
                }
            }
            Action::CloseChannel(channel) => {
                if let Some(to) = self.nodes[place].channels.remove(&channel) {
                    let at = self.now.plus(self.latency_behind());
                    self.send(at, to, Arrival::Event(Event::ChannelDown(channel)));
                }
            }
            Action::Connected => self.nodes[place].connected += 1,
            Action::Disconnected => self.nodes[place].disconnected += 1,
            Action::StoreMobiles => {}
            other => panic!("{other:?}"),
        }
    }

    /// Cuts the channels between nodes that do not reach each other.
    pub(super) fn cut(&mut self) {
        for place in 0..self.nodes.len() {
            let channels = self.nodes[place].channels.clone();
            for (channel, other) in channels {
                if !self.reaches(place, other) {
                    let at = self.now.plus(self.latency_behind());
                    self.send(at, place, Arrival::Event(Event::ChannelDown(channel)));
                }
            }
            if !self.nodes[place].is_up {
                self.nodes[place].channels.clear();
            }
        }
    }

    pub(super) fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|place| self.nodes[*place].is_up).collect()
    }

    pub(super) fn neighbours(&self, place: usize) -> Vec<usize> {
        self.nodes[place].router.table().connected().map(|id| self.places[&id]).collect()
    }

    /// How many hops from `start` each node is that can be reached.
    pub(super) fn hops(&self, start: usize) -> BTreeMap<usize, usize> {
        let mut hops = BTreeMap::from([(start, 0)]);
        let mut queue = VecDeque::from([start]);
        while let Some(place) = queue.pop_front() {
            for other in self.neighbours(place) {
                if self.nodes[other].is_up && !hops.contains_key(&other) {
                    hops.insert(other, hops[&place] + 1);
                    queue.push_back(other);
                }
            }
        }
        hops
    }

    pub(super) fn is_one_component(&self) -> bool {
        let up = self.up();
        self.hops(up[0]).len() == up.len()
    }

    /// Both ends of every link see it.
    pub(super) fn links_are_mutual(&self) -> bool {
        let linked = |a: usize, b: usize| self.nodes[a].router.table().is_connected(&self.nodes[b].id);
        self.up().into_iter().all(|a| self.neighbours(a).into_iter().all(|b| linked(b, a)))
    }

    /// Spreads a commit from `start` as the specification says: each node tells all its links but the one
    /// it had it from, once it has fetched it.
    pub(super) fn flood(&self, start: usize) -> Flood {
        let mut hops = BTreeMap::from([(start, 0)]);
        let mut received = vec![0; self.nodes.len()];
        let mut queue = VecDeque::from([(start, None)]);
        while let Some((place, source)) = queue.pop_front() {
            for other in self.neighbours(place).into_iter().filter(|other| Some(*other) != source) {
                received[other] += 1;
                if !hops.contains_key(&other) {
                    hops.insert(other, hops[&place] + 1);
                    queue.push_back((other, Some(place)));
                }
            }
        }
        Flood { hops: hops.into_values().collect(), received }
    }

    pub(super) fn degrees(&self) -> Vec<usize> {
        self.up().into_iter().map(|place| self.neighbours(place).len()).collect()
    }
}

pub(super) struct Flood {
    pub(super) hops: Vec<usize>,
    pub(super) received: Vec<usize>,
}
