//! The mesh of GossipSub (libp2p specifications, pubsub/gossipsub v1.0 and v1.1), for one topic that all have.
//!
//! Messages go over a mesh of few links; a heartbeat keeps its degree between bounds, and tells others of what
//! there is (IHAVE), who ask for what they miss (IWANT). Connections beyond the mesh are kept up as ambient
//! discovery would: members that are online are dialled while there are too few.
//!
//! Of the score, what bears on the mesh here: time in it (P1), first deliveries (P2), and promises that are
//! broken, as part of the behavioural penalty (P7). There are no invalid messages (P4), applications (P5), or
//! addresses (P6), and no message rate that peers must keep up with (P3). Without an account of who dialled
//! whom in the mesh, there is no quota of outgoing links (D_out), nor opportunistic grafting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::overlay::{Birth, Item, Overlay, Place};
use crate::scenario::{self, OverlayKind, Scenario};
use crate::time::Time;
use crate::world::Net;

/// How many heartbeats messages are kept, and how many of those are told of (v1.0, "Parameters").
const HISTORY: [usize; 2] = [5, 3];

/// How long a peer that was pruned is not grafted (v1.1, "Prune backoff").
const BACKOFF: Time = Time(60_000_000);

/// Which share of the connections is told of what there is, if that is more than `degree_lazy` (v1.1,
/// "Adaptive gossip dissemination").
const GOSSIP_FACTOR: f64 = 0.25;

/// With too many links, so many of the best score are kept in any case (v1.1, "D_score").
const KEPT_BEST: usize = 4;

/// How long somebody who was asked for a message has to send it.
const PROMISE: Time = Time(3_000_000);

/// Weights of the score, and caps, of the kind that the specification leaves to the application.
const TIME_CAP_S: f64 = 60.0;
const FIRST_CAP: f64 = 20.0;
const BROKEN_WEIGHT: f64 = -10.0;

/// What a message takes on the line beside ids, in bytes.
const MESSAGE: u32 = 60;

/// What the id of a message takes, in bytes.
const ID: u32 = 22;

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Said {
    /// A message, so many hops from its author.
    Message(Item, u32),
    /// These are here.
    Have(Vec<Item>),
    /// These are wanted.
    Want(Vec<Item>),
    /// You are in my mesh.
    Graft,
    /// You are not, or not any more.
    Prune,
}

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// Since when it is in the mesh.
    mesh: Option<Time>,
    backoff: Time,
    first: f64,
    broken: f64,
}

impl Peer {
    fn score(&self, now: Time) -> f64 {
        let time = self.mesh.map_or(0.0, |since| now.since(since).seconds().min(TIME_CAP_S));
        time / TIME_CAP_S + self.first.min(FIRST_CAP) + BROKEN_WEIGHT * self.broken * self.broken
    }
}

/// One node.
#[derive(Debug)]
pub struct GossipSub {
    settings: Arc<scenario::GossipSub>,
    peers: BTreeMap<Place, Peer>,
    dialled: BTreeSet<Place>,
    /// What came between the last heartbeats, the latest first, and how far its author is.
    history: VecDeque<BTreeMap<Item, u32>>,
    /// What was asked for: of whom, and until when.
    promises: BTreeMap<Item, (Place, Time)>,
    heartbeat: Time,
}

impl Overlay for GossipSub {
    type Message = Said;
    type Plan = scenario::GossipSub;

    fn plan(scenario: &Scenario, _seed: u64) -> scenario::GossipSub {
        match &scenario.overlay {
            OverlayKind::GossipSub(settings) => settings.clone(),
            _ => scenario::GossipSub::default(),
        }
    }

    fn new(plan: &Arc<scenario::GossipSub>, _birth: Birth) -> Self {
        Self {
            settings: Arc::clone(plan),
            peers: BTreeMap::new(),
            dialled: BTreeSet::new(),
            history: VecDeque::from([BTreeMap::new()]),
            promises: BTreeMap::new(),
            heartbeat: Time::NEVER,
        }
    }

    fn join(&mut self, net: &mut Net<'_, Said>, contacts: &[Place]) {
        contacts.iter().for_each(|peer| self.dial(net, *peer));
        // Not all at the same time.
        let every = Time::from_seconds(self.settings.heartbeat_s);
        self.heartbeat = net.now().plus(Time(net.random().number() % every.0.max(1)));
        net.wake_at(self.heartbeat);
    }

    fn link_up(&mut self, _net: &mut Net<'_, Said>, peer: Place, _incoming: bool) {
        self.dialled.remove(&peer);
        self.peers.entry(peer).or_default();
    }

    fn link_failed(&mut self, _net: &mut Net<'_, Said>, peer: Place) {
        self.dialled.remove(&peer);
    }

    fn link_down(&mut self, _net: &mut Net<'_, Said>, peer: Place) {
        self.dialled.remove(&peer);
        self.peers.remove(&peer);
    }

    fn receive(&mut self, net: &mut Net<'_, Said>, from: Place, said: Said) {
        let now = net.now();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        match said {
            Said::Message(item, hops) => {
                self.promises.remove(&item);
                if net.deliver(item, hops) {
                    peer.first += 1.0;
                    self.keep(item, hops);
                    let mesh = self.mesh().filter(|it| *it != from).collect();
                    send(net, mesh, item, hops);
                }
            }
            Said::Have(items) => {
                // Who is below zero is not listened to (v1.1, "gossipThreshold").
                let is_trusted = peer.score(now) >= 0.0;
                let mut wanted = items;
                wanted.retain(|it| is_trusted && !net.has(*it) && !self.promises.contains_key(it));
                for item in &wanted {
                    self.promises.insert(*item, (from, now.plus(PROMISE)));
                }
                if let Some(first) = wanted.first() {
                    let (first, bytes) = (*first, MESSAGE + ID * wanted.len() as u32);
                    net.send_about(from, first, Said::Want(wanted), bytes);
                }
            }
            Said::Want(items) => {
                for item in items {
                    if let Some(hops) = self.history.iter().find_map(|window| window.get(&item)) {
                        send(net, vec![from], item, *hops);
                    }
                }
            }
            Said::Graft => {
                if peer.backoff > now || peer.score(now) < 0.0 {
                    peer.backoff = now.plus(BACKOFF);
                    net.send(from, Said::Prune, MESSAGE);
                } else {
                    peer.mesh.get_or_insert(now);
                }
            }
            Said::Prune => {
                peer.mesh = None;
                peer.backoff = now.plus(BACKOFF);
            }
        }
    }

    fn timer(&mut self, net: &mut Net<'_, Said>) {
        let now = net.now();
        self.heartbeat = now.plus(Time::from_seconds(self.settings.heartbeat_s));
        self.judge(now);
        self.keep_mesh(net);
        self.gossip(net);
        self.history.push_front(BTreeMap::new());
        self.history.truncate(HISTORY[0]);
        let (open, wanted) = (self.peers.len() + self.dialled.len(), self.settings.connections);
        for peer in net.present(wanted.saturating_sub(open)) {
            self.dial(net, peer);
        }
        net.wake_at(self.heartbeat);
    }

    fn publish(&mut self, net: &mut Net<'_, Said>, item: Item) {
        self.keep(item, 0);
        let now = net.now();
        let all = |peer: &Peer| self.settings.flood_publish && peer.score(now) >= 0.0;
        let chosen = self.peers.iter().filter(|(_, peer)| peer.mesh.is_some() || all(peer));
        let chosen = chosen.map(|(place, _)| *place).collect();
        send(net, chosen, item, 0);
    }

    fn network_changed(&mut self, net: &mut Net<'_, Said>) {
        for peer in net.present(self.settings.degree) {
            self.dial(net, peer);
        }
    }

    fn neighbours(&self) -> Vec<Place> {
        self.mesh().collect()
    }

    fn contacts(&self) -> Vec<Place> {
        self.peers.keys().copied().collect()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.peers.len() * (size_of::<Peer>() + 8)
    }
}

/// Sends a message to some.
fn send(net: &mut Net<'_, Said>, to: Vec<Place>, item: Item, hops: u32) {
    let bytes = net.size(item).saturating_add(MESSAGE);
    for peer in to {
        net.send_item(peer, item, Said::Message(item, hops + 1), bytes);
    }
}

impl GossipSub {
    fn mesh(&self) -> impl Iterator<Item = Place> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.mesh.is_some()).map(|(place, _)| *place)
    }

    fn dial(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        if peer != net.me() && !self.peers.contains_key(&peer) && self.dialled.insert(peer) {
            net.connect(peer);
        }
    }

    fn keep(&mut self, item: Item, hops: u32) {
        if let Some(latest) = self.history.front_mut() {
            latest.insert(item, hops);
        }
    }

    /// Counts promises that were broken.
    fn judge(&mut self, now: Time) {
        let broken: Vec<(Item, Place)> = self
            .promises
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(item, (peer, _))| (*item, *peer))
            .collect();
        for (item, peer) in broken {
            self.promises.remove(&item);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.broken += 1.0;
            }
        }
    }

    /// Keeps the degree between its bounds (v1.1, "Mesh maintenance").
    fn keep_mesh(&mut self, net: &mut Net<'_, Said>) {
        let now = net.now();
        let bad: Vec<Place> =
            self.mesh().filter(|place| self.peers.get(place).is_some_and(|it| it.score(now) < 0.0)).collect();
        bad.into_iter().for_each(|place| self.prune(net, place));
        let mesh: Vec<Place> = self.mesh().collect();
        if mesh.len() < self.settings.degree_low {
            let may = |peer: &Peer| peer.mesh.is_none() && peer.backoff <= now && peer.score(now) >= 0.0;
            let others: Vec<Place> =
                self.peers.iter().filter(|(_, peer)| may(peer)).map(|(place, _)| *place).collect();
            for place in net.random().choose(others, self.settings.degree - mesh.len()) {
                if let Some(peer) = self.peers.get_mut(&place) {
                    peer.mesh = Some(now);
                }
                net.send(place, Said::Graft, MESSAGE);
            }
        } else if mesh.len() > self.settings.degree_high {
            // The best are kept, and of the others any.
            let mut order = net.random().choose(mesh.clone(), mesh.len());
            let score = |place: &Place| self.peers.get(place).map_or(0.0, |peer| peer.score(now));
            order.sort_by(|one, other| score(other).total_cmp(&score(one)));
            let rest = order.split_off(KEPT_BEST.min(order.len()));
            let gone = mesh.len() - self.settings.degree;
            for place in net.random().choose(rest, gone) {
                self.prune(net, place);
            }
        }
    }

    fn prune(&mut self, net: &mut Net<'_, Said>, place: Place) {
        if let Some(peer) = self.peers.get_mut(&place) {
            peer.mesh = None;
            peer.backoff = net.now().plus(BACKOFF);
        }
        net.send(place, Said::Prune, MESSAGE);
    }

    /// Tells some that are not in the mesh what there is.
    fn gossip(&mut self, net: &mut Net<'_, Said>) {
        let items: BTreeSet<Item> =
            self.history.iter().take(HISTORY[1]).flat_map(|window| window.keys().copied()).collect();
        let Some(first) = items.first().copied() else { return };
        let now = net.now();
        let others = self.peers.iter().filter(|(_, peer)| peer.mesh.is_none() && peer.score(now) >= 0.0);
        let others: Vec<Place> = others.map(|(place, _)| *place).collect();
        let share = (others.len() as f64 * GOSSIP_FACTOR) as usize;
        let bytes = MESSAGE + ID * items.len() as u32;
        let items: Vec<Item> = items.into_iter().collect();
        for place in net.random().choose(others, share.max(self.settings.degree_lazy)) {
            net.send_about(place, first, Said::Have(items.clone()), bytes);
        }
    }
}
