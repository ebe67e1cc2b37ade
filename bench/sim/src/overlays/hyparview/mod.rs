//! HyParView (Leitão, Pereira and Rodrigues 2007, "HyParView: a membership protocol for reliable gossip-based
//! broadcast") with Plumtree over it (the same 2007, "Epidemic broadcast trees").
//!
//! ```text
//!   active view     few links, kept in both directions       mended from ▼ when one is lost
//!   passive view    more ids, kept fresh by shuffles that walk at random
//!   tree            which links carry messages, and which only say that there is one
//! ```
//!
//! Beyond the papers: who was let go tries to fill its view as one does whose link failed; who has nobody left
//! in either view is told of a member that is online.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::tree::Tree;
use crate::overlay::{Birth, Item, Overlay, Place};
use crate::scenario::{self, OverlayKind, Scenario};
use crate::time::Time;
use crate::world::Net;

/// Steps of the walk by which news of a newcomer spreads, and of shuffles (section 4.2: ARWL).
const ACTIVE_WALK: u32 = 6;

/// With so many steps left, the newcomer is put into the passive view (PRWL).
const PASSIVE_WALK: u32 = 3;

/// Nodes of the active and of the passive view in a shuffle (section 5: ka, kp).
const SHUFFLED: [usize; 2] = [3, 4];

/// What a message takes on the line beside ids, in bytes.
const MESSAGE: u32 = 60;

/// What an id takes, in bytes.
const ID: u32 = 38;

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Said {
    /// Somebody new is there.
    Join,
    /// Somebody new is there, who walks so many steps more.
    ForwardJoin(Place, u32),
    /// May I be in your active view? I must, if I have nobody else.
    Neighbour(bool),
    /// You may, or not.
    Answer(bool),
    /// You are not in my active view any more.
    Disconnect,
    /// Of whom one knows, and with how many steps more.
    Shuffle(Place, u32, Vec<Place>),
    /// Of whom the other knows.
    Shuffled(Vec<Place>),
    /// A message, so many hops from its author.
    Payload(Item, u32),
    /// There is a message.
    Have(Item),
    /// That message is wanted, and those to come.
    Graft(Item),
    /// Messages came another way.
    Prune,
}

/// What a link is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Join,
    Neighbour { must: bool },
}

/// One node.
#[derive(Debug)]
pub struct HyParView {
    settings: Arc<scenario::HyParView>,
    active: BTreeSet<Place>,
    passive: Vec<Place>,
    pending: BTreeMap<Place, Intent>,
    /// Who refused since the last shuffle.
    refused: BTreeSet<Place>,
    tree: Tree,
    shuffle: Time,
    /// When somebody is to be looked for, as nobody is known.
    seek: Option<Time>,
}

impl Overlay for HyParView {
    type Message = Said;
    type Plan = scenario::HyParView;

    fn plan(scenario: &Scenario, _seed: u64) -> scenario::HyParView {
        match &scenario.overlay {
            OverlayKind::HyParView(settings) => settings.clone(),
            _ => scenario::HyParView::default(),
        }
    }

    fn new(plan: &Arc<scenario::HyParView>, _birth: Birth) -> Self {
        Self {
            settings: Arc::clone(plan),
            active: BTreeSet::new(),
            passive: Vec::new(),
            pending: BTreeMap::new(),
            refused: BTreeSet::new(),
            tree: Tree::default(),
            shuffle: Time::NEVER,
            seek: None,
        }
    }

    fn join(&mut self, net: &mut Net<'_, Said>, contacts: &[Place]) {
        // Not all at the same time.
        let every = Time::from_seconds(self.settings.shuffle_s);
        self.shuffle = net.now().plus(Time(net.random().number() % every.0.max(1)));
        // One is joined through; the others are spare.
        let first = net.random().choose(contacts.to_vec(), 1);
        contacts.iter().filter(|it| !first.contains(it)).for_each(|it| self.remember(net, *it));
        first.into_iter().for_each(|contact| self.ask(net, contact, Intent::Join));
        self.mend(net);
        self.set_timer(net);
    }

    fn link_up(&mut self, net: &mut Net<'_, Said>, peer: Place, _incoming: bool) {
        if let Some(intent) = self.pending.get(&peer) {
            self.tell(net, peer, *intent);
        }
    }

    fn link_failed(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        self.pending.remove(&peer);
        self.passive.retain(|it| *it != peer);
        self.mend(net);
        self.set_timer(net);
    }

    fn link_down(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        self.pending.remove(&peer);
        self.drop_active(peer);
        self.mend(net);
        self.set_timer(net);
    }

    fn receive(&mut self, net: &mut Net<'_, Said>, from: Place, said: Said) {
        match said {
            Said::Join => {
                self.add(net, from);
                for peer in self.active.iter().filter(|peer| **peer != from) {
                    net.send(*peer, Said::ForwardJoin(from, ACTIVE_WALK), MESSAGE + ID);
                }
            }
            Said::ForwardJoin(node, steps) => self.walked(net, from, node, steps),
            Said::Neighbour(must) => {
                let may = must || self.active.len() < self.settings.active;
                net.send(from, Said::Answer(may), MESSAGE);
                if may {
                    self.add(net, from);
                }
            }
            Said::Answer(may) => {
                self.pending.remove(&from);
                if may {
                    self.add(net, from);
                } else {
                    self.refused.insert(from);
                    if !self.active.contains(&from) {
                        net.close(from);
                    }
                    self.mend(net);
                }
            }
            Said::Disconnect => {
                self.drop_active(from);
                self.remember(net, from);
                self.refused.insert(from);
                self.mend(net);
            }
            Said::Shuffle(origin, steps, nodes) => self.shuffled(net, from, origin, steps, nodes),
            Said::Shuffled(nodes) => nodes.into_iter().for_each(|node| self.remember(net, node)),
            Said::Payload(item, hops) => self.tree.payload(net, from, item, hops),
            Said::Have(item) => self.tree.announced(net, from, item),
            Said::Graft(item) => self.tree.grafted(net, from, item),
            Said::Prune => self.tree.pruned(from),
        }
        self.set_timer(net);
    }

    fn timer(&mut self, net: &mut Net<'_, Said>) {
        let now = net.now();
        self.tree.late(net);
        if self.shuffle <= now {
            self.shuffle = now.plus(Time::from_seconds(self.settings.shuffle_s));
            self.refused.clear();
            self.begin_shuffle(net);
            self.mend(net);
        }
        if self.seek.is_some_and(|at| at <= now) {
            self.seek = None;
            if self.active.is_empty() && self.pending.is_empty() {
                net.present(1).into_iter().for_each(|contact| self.ask(net, contact, Intent::Join));
                self.mend(net);
            }
        }
        self.set_timer(net);
    }

    fn publish(&mut self, net: &mut Net<'_, Said>, item: Item) {
        self.tree.publish(net, item);
    }

    fn network_changed(&mut self, net: &mut Net<'_, Said>) {
        self.refused.clear();
        self.seek = Some(net.now());
        self.mend(net);
        // After a partition each part is content with itself: somebody has to ask somebody else.
        net.present(1).into_iter().for_each(|contact| self.ask(net, contact, Intent::Join));
        self.set_timer(net);
    }

    fn neighbours(&self) -> Vec<Place> {
        self.active.iter().copied().collect()
    }

    fn contacts(&self) -> Vec<Place> {
        self.active.iter().chain(&self.passive).copied().collect()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + (self.active.len() * 2 + self.passive.capacity()) * 4 + self.tree.memory()
    }
}

impl HyParView {
    /// Asks for a link, and says what for when it is there.
    fn ask(&mut self, net: &mut Net<'_, Said>, peer: Place, intent: Intent) {
        if peer == net.me() || self.active.contains(&peer) || self.pending.contains_key(&peer) {
            return;
        }
        self.pending.insert(peer, intent);
        if net.is_linked(peer) {
            self.tell(net, peer, intent);
        } else {
            net.connect(peer);
        }
    }

    fn tell(&mut self, net: &mut Net<'_, Said>, peer: Place, intent: Intent) {
        match intent {
            // Who joins is taken in always.
            Intent::Join => {
                self.pending.remove(&peer);
                net.send(peer, Said::Join, MESSAGE);
                self.add(net, peer);
            }
            Intent::Neighbour { must } => net.send(peer, Said::Neighbour(must), MESSAGE),
        }
    }

    /// Takes somebody into the active view, for whom another may have to go.
    fn add(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        if peer == net.me() || self.active.contains(&peer) || !net.is_linked(peer) {
            return;
        }
        while self.active.len() >= self.settings.active {
            let all = self.active.iter().copied().collect();
            let Some(gone) = net.random().choose(all, 1).pop() else { break };
            self.drop_active(gone);
            net.send(gone, Said::Disconnect, MESSAGE);
            net.close(gone);
            self.remember(net, gone);
        }
        self.passive.retain(|it| *it != peer);
        self.active.insert(peer);
        self.tree.up(peer);
        self.seek = None;
    }

    fn drop_active(&mut self, peer: Place) {
        self.active.remove(&peer);
        self.tree.down(peer);
    }

    /// Takes somebody into the passive view, for whom another may have to go.
    fn remember(&mut self, net: &mut Net<'_, Said>, node: Place) {
        if node == net.me() || self.active.contains(&node) || self.passive.contains(&node) {
            return;
        }
        while self.passive.len() >= self.settings.passive {
            let gone = net.random().below(self.passive.len());
            self.passive.swap_remove(gone);
        }
        self.passive.push(node);
    }

    /// Asks one of the passive view, if the active one has room (section 4.3).
    fn mend(&mut self, net: &mut Net<'_, Said>) {
        if self.active.len() >= self.settings.active || !self.pending.is_empty() {
            return;
        }
        let must = self.active.is_empty();
        let mut spare = self.passive.clone();
        spare.retain(|it| must || !self.refused.contains(it));
        match net.random().choose(spare, 1).pop() {
            Some(next) => self.ask(net, next, Intent::Neighbour { must }),
            None if must && self.seek.is_none() => self.seek = Some(net.now().plus(net.presence())),
            None => {}
        }
    }

    fn walked(&mut self, net: &mut Net<'_, Said>, from: Place, node: Place, steps: u32) {
        if steps == 0 || self.active.len() <= 1 {
            self.ask(net, node, Intent::Neighbour { must: true });
            return;
        }
        if steps == PASSIVE_WALK {
            self.remember(net, node);
        }
        let others = self.active.iter().copied().filter(|peer| *peer != from && *peer != node);
        match net.random().choose(others.collect(), 1).pop() {
            Some(next) => net.send(next, Said::ForwardJoin(node, steps - 1), MESSAGE + ID),
            None => self.ask(net, node, Intent::Neighbour { must: true }),
        }
    }

    fn begin_shuffle(&mut self, net: &mut Net<'_, Said>) {
        let active: Vec<Place> = self.active.iter().copied().collect();
        let Some(to) = net.random().choose(active.clone(), 1).pop() else { return };
        let [active_count, passive_count] = SHUFFLED;
        let mut nodes = vec![net.me()];
        nodes.extend(net.random().choose(active, active_count));
        nodes.extend(net.random().choose(self.passive.clone(), passive_count));
        let bytes = MESSAGE + ID * nodes.len() as u32;
        net.send(to, Said::Shuffle(net.me(), ACTIVE_WALK, nodes), bytes);
    }

    fn shuffled(
        &mut self,
        net: &mut Net<'_, Said>,
        from: Place,
        origin: Place,
        steps: u32,
        nodes: Vec<Place>,
    ) {
        let others = self.active.iter().copied().filter(|peer| *peer != from && *peer != origin);
        let next = net.random().choose(others.collect(), 1).pop();
        if let (Some(next), true) = (next, steps > 1) {
            let bytes = MESSAGE + ID * nodes.len() as u32;
            net.send(next, Said::Shuffle(origin, steps - 1, nodes), bytes);
            return;
        }
        let mine = if net.misleads() {
            net.accomplices(nodes.len())
        } else {
            net.random().choose(self.passive.clone(), nodes.len())
        };
        let bytes = MESSAGE + ID * mine.len() as u32;
        net.cast(origin, Said::Shuffled(mine), bytes);
        nodes.into_iter().for_each(|node| self.remember(net, node));
    }

    fn set_timer(&self, net: &mut Net<'_, Said>) {
        let times = [Some(self.shuffle), self.seek, self.tree.deadline()];
        net.wake_at(times.into_iter().flatten().min().unwrap_or(Time::NEVER));
    }
}
