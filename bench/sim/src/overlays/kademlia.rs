//! Kademlia (Maymounkov and Mazières 2002): buckets of contacts by distance, look-ups that ask a few of the
//! closest at once, and a broadcast in which each node hands on to one of every bucket below its own height.
//!
//! Contacts need no links. A bucket that is full keeps whom it has: the oldest are replaced only when they
//! do not answer. Buckets are filled by a look-up of the own id and of an id in each bucket farther away.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_protocol::ids::DeviceId;

use crate::overlay::{Birth, Item, Overlay, Place};
use crate::scenario::{self, OverlayKind, Scenario};
use crate::time::Time;
use crate::world::Net;

/// What a question takes on the line, in bytes.
const QUESTION: u32 = 100;

/// What a contact in an answer takes, in bytes.
const CONTACT: u32 = 50;

/// After what time a node that does not answer is given up.
const PATIENCE: Time = Time(1_000_000);

/// What a message takes on the line beside itself, in bytes.
const ENVELOPE: u32 = 60;

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Said {
    /// Who is close to this?
    Find(u32, DeviceId),
    /// These are.
    Found(u32, Vec<Place>),
    /// A message, for all whose ids share with the receiver's at least so many bits; its hops.
    Item(Item, u16, u32),
}

#[derive(Clone, Debug)]
struct Asked {
    place: Place,
    hops: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Heard,
    Waiting(Time),
    Answered,
    Silent,
}

/// A look-up under way: who was heard of, closest first.
#[derive(Clone, Debug)]
struct LookUp {
    target: DeviceId,
    nodes: Vec<Asked>,
    messages: u32,
    /// Whether somebody wants to know what comes of it.
    counts: bool,
}

/// One node.
#[derive(Debug)]
pub struct Kademlia {
    settings: Arc<scenario::Kademlia>,
    id: DeviceId,
    /// By how many bits are shared with the own id.
    buckets: BTreeMap<u16, Vec<Place>>,
    lookups: BTreeMap<u32, LookUp>,
    asked: u32,
    /// Whether the buckets farther away were filled.
    is_filled: bool,
}

fn shared_bits(one: &DeviceId, other: &DeviceId) -> u16 {
    let different = one.0.iter().zip(&other.0).position(|(a, b)| a != b);
    let bits = different.map_or(256, |at| at * 8 + (one.0[at] ^ other.0[at]).leading_zeros() as usize);
    u16::try_from(bits).unwrap_or(256)
}

fn distance(one: &DeviceId, other: &DeviceId) -> [u8; DeviceId::LENGTH] {
    std::array::from_fn(|at| one.0[at] ^ other.0[at])
}

impl Overlay for Kademlia {
    type Message = Said;
    type Plan = scenario::Kademlia;

    fn plan(scenario: &Scenario, _seed: u64) -> scenario::Kademlia {
        match &scenario.overlay {
            OverlayKind::Kademlia(settings) => settings.clone(),
            _ => scenario::Kademlia::default(),
        }
    }

    fn new(plan: &Arc<scenario::Kademlia>, birth: Birth) -> Self {
        Self {
            settings: Arc::clone(plan),
            id: birth.id,
            buckets: BTreeMap::new(),
            lookups: BTreeMap::new(),
            asked: 0,
            is_filled: false,
        }
    }

    fn join(&mut self, net: &mut Net<'_, Said>, contacts: &[Place]) {
        contacts.iter().for_each(|place| self.learn(net, *place));
        self.begin(net, self.id, false);
    }

    fn receive(&mut self, net: &mut Net<'_, Said>, from: Place, said: Said) {
        self.learn(net, from);
        match said {
            Said::Find(number, target) => {
                let mut nodes = self.closest(net, &target, self.settings.k);
                nodes.retain(|place| *place != from);
                if net.misleads() {
                    nodes = net.accomplices(self.settings.k);
                }
                let bytes = QUESTION + CONTACT * nodes.len() as u32;
                net.cast(from, Said::Found(number, nodes), bytes);
            }
            Said::Found(number, nodes) => self.answered(net, from, number, &nodes),
            Said::Item(item, height, hops) => {
                if net.deliver(item, hops) {
                    self.hand_on(net, item, height, hops);
                }
            }
        }
    }

    fn timer(&mut self, net: &mut Net<'_, Said>) {
        let now = net.now();
        let numbers: Vec<u32> = self.lookups.keys().copied().collect();
        for number in numbers {
            let Some(lookup) = self.lookups.get_mut(&number) else { continue };
            let mut silent = Vec::new();
            for node in &mut lookup.nodes {
                if matches!(node.state, State::Waiting(until) if until <= now) {
                    node.state = State::Silent;
                    silent.push(node.place);
                }
            }
            silent.iter().for_each(|place| self.forget(net, *place));
            self.go_on(net, number);
        }
        self.set_timer(net);
    }

    fn publish(&mut self, net: &mut Net<'_, Said>, item: Item) {
        self.hand_on(net, item, 0, 0);
    }

    fn look_up(&mut self, net: &mut Net<'_, Said>, target: DeviceId) {
        self.begin(net, target, true);
    }

    fn network_changed(&mut self, net: &mut Net<'_, Said>) {
        self.is_filled = false;
        self.begin(net, self.id, false);
    }

    fn neighbours(&self) -> Vec<Place> {
        self.buckets.values().flatten().copied().collect()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.buckets.values().map(|bucket| 32 + bucket.capacity() * 4).sum::<usize>()
    }
}

impl Kademlia {
    fn learn(&mut self, net: &Net<'_, Said>, place: Place) {
        if place == net.me() {
            return;
        }
        let bucket = self.buckets.entry(shared_bits(&self.id, &net.id(place))).or_default();
        if !bucket.contains(&place) && bucket.len() < self.settings.k {
            bucket.push(place);
        }
    }

    fn forget(&mut self, net: &Net<'_, Said>, place: Place) {
        if let Some(bucket) = self.buckets.get_mut(&shared_bits(&self.id, &net.id(place))) {
            bucket.retain(|it| *it != place);
        }
    }

    fn closest(&self, net: &Net<'_, Said>, target: &DeviceId, count: usize) -> Vec<Place> {
        let mut nodes: Vec<Place> = self.neighbours();
        nodes.sort_by_cached_key(|place| distance(&net.id(*place), target));
        nodes.truncate(count);
        nodes
    }

    fn begin(&mut self, net: &mut Net<'_, Said>, target: DeviceId, counts: bool) {
        let nodes = self.closest(net, &target, self.settings.k);
        let heard = nodes.into_iter().map(|place| Asked { place, hops: 1, state: State::Heard });
        let lookup = LookUp { target, nodes: heard.collect(), messages: 0, counts };
        self.asked += 1;
        self.lookups.insert(self.asked, lookup);
        self.go_on(net, self.asked);
        self.set_timer(net);
    }

    fn answered(&mut self, net: &mut Net<'_, Said>, from: Place, number: u32, found: &[Place]) {
        let k = self.settings.k;
        let Some(lookup) = self.lookups.get_mut(&number) else { return };
        let Some(node) = lookup.nodes.iter_mut().find(|node| node.place == from) else { return };
        node.state = State::Answered;
        let hops = node.hops + 1;
        for place in found.iter().take(k).filter(|place| **place != net.me()) {
            if lookup.nodes.iter().all(|node| node.place != *place) {
                lookup.nodes.push(Asked { place: *place, hops, state: State::Heard });
            }
        }
        let target = lookup.target;
        lookup.nodes.sort_by_cached_key(|node| distance(&net.id(node.place), &target));
        self.go_on(net, number);
        self.set_timer(net);
    }

    /// Asks the next, or ends when the closest have all answered.
    fn go_on(&mut self, net: &mut Net<'_, Said>, number: u32) {
        let (alpha, k) = (self.settings.alpha, self.settings.k);
        let until = net.now().plus(PATIENCE);
        let Some(lookup) = self.lookups.get_mut(&number) else { return };
        let target = lookup.target;
        let mut waiting = lookup.nodes.iter().filter(|node| matches!(node.state, State::Waiting(_))).count();
        let mut ask = Vec::new();
        for node in lookup.nodes.iter_mut().filter(|node| node.state != State::Silent).take(k) {
            if waiting >= alpha {
                break;
            }
            if node.state == State::Heard {
                node.state = State::Waiting(until);
                waiting += 1;
                ask.push(node.place);
            }
        }
        lookup.messages += ask.len() as u32;
        for place in ask {
            net.cast(place, Said::Find(number, target), QUESTION);
        }
        if waiting == 0 {
            self.end(net, number);
        }
    }

    fn end(&mut self, net: &mut Net<'_, Said>, number: u32) {
        let Some(lookup) = self.lookups.remove(&number) else { return };
        let best = lookup.nodes.iter().find(|node| node.state == State::Answered);
        if lookup.counts {
            let closest = net.closest_online(&lookup.target);
            let own = closest == Some(net.me());
            let found = own || best.map(|node| node.place) == closest;
            net.looked_up(best.map_or(0, |node| node.hops), lookup.messages, found);
        } else if !self.is_filled {
            self.is_filled = true;
            self.fill(net);
        }
    }

    /// Looks up an id in each bucket that is farther away than the closest node.
    fn fill(&mut self, net: &mut Net<'_, Said>) {
        let deepest =
            self.buckets.iter().rev().find(|(_, bucket)| !bucket.is_empty()).map_or(0, |(bits, _)| *bits);
        for bits in 0..deepest {
            let mut target = self.id;
            let at = usize::from(bits / 8);
            target.0[at] ^= 0x80 >> (bits % 8);
            for byte in target.0.iter_mut().skip(at + 1) {
                *byte = net.random().number() as u8;
            }
            self.begin(net, target, false);
        }
    }

    /// Gives a message to one or some of each bucket from this height on; they answer for what is below.
    fn hand_on(&mut self, net: &mut Net<'_, Said>, item: Item, height: u16, hops: u32) {
        let bytes = net.size(item).saturating_add(ENVELOPE);
        let buckets: Vec<(u16, Vec<Place>)> =
            self.buckets.range(height..).map(|(bits, bucket)| (*bits, bucket.clone())).collect();
        for (bits, bucket) in buckets {
            for place in net.random().choose(bucket, self.settings.fanout) {
                net.cast_item(place, item, Said::Item(item, bits + 1, hops + 1), bytes, false);
            }
        }
    }

    fn set_timer(&mut self, net: &mut Net<'_, Said>) {
        let waiting =
            self.lookups.values().flat_map(|lookup| &lookup.nodes).filter_map(|node| match node.state {
                State::Waiting(until) => Some(until),
                _ => None,
            });
        net.wake_at(waiting.min().unwrap_or(Time::NEVER));
    }
}
