//! Plumtree: links over which the first copy of a message came carry the next ones (eager); the others only
//! say that there is one (lazy), and take over when it does not come ("Epidemic broadcast trees", section 3).
//! Its optimisation of late trees (section 3.8) is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{MESSAGE, Said};
use crate::overlay::{Item, Place};
use crate::time::Time;
use crate::world::Net;

/// How long a message may take that was announced, until it is asked for; and then until the next is asked.
const PATIENCE: Time = Time(500_000);

/// Messages that are kept for who asks.
const KEPT: usize = 512;

/// A message that was announced and is not here.
#[derive(Debug)]
struct Missing {
    until: Time,
    /// Who has it.
    announced: Vec<Place>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tree {
    eager: BTreeSet<Place>,
    lazy: BTreeSet<Place>,
    /// Hops to the authors of the latest messages.
    kept: BTreeMap<Item, u32>,
    missing: BTreeMap<Item, Missing>,
}

impl Tree {
    pub(super) fn up(&mut self, peer: Place) {
        self.lazy.remove(&peer);
        self.eager.insert(peer);
    }

    pub(super) fn down(&mut self, peer: Place) {
        self.eager.remove(&peer);
        self.lazy.remove(&peer);
        for missing in self.missing.values_mut() {
            missing.announced.retain(|it| *it != peer);
        }
    }

    pub(super) fn publish(&mut self, net: &mut Net<'_, Said>, item: Item) {
        self.push(net, item, 0, None);
    }

    pub(super) fn payload(&mut self, net: &mut Net<'_, Said>, from: Place, item: Item, hops: u32) {
        if net.deliver(item, hops) {
            self.missing.remove(&item);
            self.carry(from);
            self.push(net, item, hops, Some(from));
        } else if self.eager.remove(&from) {
            self.lazy.insert(from);
            net.send_about(from, item, Said::Prune, MESSAGE);
        }
    }

    pub(super) fn announced(&mut self, net: &Net<'_, Said>, from: Place, item: Item) {
        if !net.has(item) {
            let until = net.now().plus(PATIENCE);
            let missing = || Missing { until, announced: Vec::new() };
            self.missing.entry(item).or_insert_with(missing).announced.push(from);
        }
    }

    pub(super) fn grafted(&mut self, net: &mut Net<'_, Said>, from: Place, item: Item) {
        self.carry(from);
        if let Some(hops) = self.kept.get(&item) {
            let bytes = net.size(item).saturating_add(MESSAGE);
            net.send_item(from, item, Said::Payload(item, hops + 1), bytes);
        }
    }

    pub(super) fn pruned(&mut self, from: Place) {
        if self.eager.remove(&from) {
            self.lazy.insert(from);
        }
    }

    /// Asks for what was announced and did not come.
    pub(super) fn late(&mut self, net: &mut Net<'_, Said>) {
        let now = net.now();
        let late: Vec<Item> =
            self.missing.iter().filter(|(_, it)| it.until <= now).map(|(item, _)| *item).collect();
        for item in late {
            let Some(missing) = self.missing.get_mut(&item) else { continue };
            if missing.announced.is_empty() {
                self.missing.remove(&item);
                continue;
            }
            missing.until = now.plus(PATIENCE);
            let from = missing.announced.remove(0);
            self.carry(from);
            net.send_about(from, item, Said::Graft(item), MESSAGE);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.missing.values().map(|missing| missing.until).min()
    }

    pub(super) fn memory(&self) -> usize {
        (self.eager.len() + self.lazy.len()) * 8 + self.kept.len() * 16
    }

    /// Messages go over a link from now on, if there still is one.
    fn carry(&mut self, peer: Place) {
        if self.lazy.remove(&peer) {
            self.eager.insert(peer);
        }
    }

    fn push(&mut self, net: &mut Net<'_, Said>, item: Item, hops: u32, from: Option<Place>) {
        self.kept.insert(item, hops);
        if self.kept.len() > KEPT {
            self.kept.pop_first();
        }
        let bytes = net.size(item).saturating_add(MESSAGE);
        for peer in self.eager.iter().filter(|peer| Some(**peer) != from) {
            net.send_item(*peer, item, Said::Payload(item, hops + 1), bytes);
        }
        for peer in self.lazy.iter().filter(|peer| Some(**peer) != from) {
            net.send_about(*peer, item, Said::Have(item), MESSAGE);
        }
    }
}
