//! Everybody has a link with everybody: one hop, and as many links as there are others.

use std::sync::Arc;

use super::flooding::{Passed, pass};
use crate::overlay::{Birth, Item, Overlay, Place};
use crate::scenario::Scenario;
use crate::world::Net;

/// One node.
#[derive(Debug)]
pub struct FullMesh {
    nodes: Place,
    links: Vec<Place>,
}

impl Overlay for FullMesh {
    type Message = Passed;
    type Plan = Place;

    fn plan(scenario: &Scenario, _seed: u64) -> Place {
        scenario.all_nodes() as Place
    }

    fn new(plan: &Arc<Place>, _birth: Birth) -> Self {
        Self { nodes: **plan, links: Vec::new() }
    }

    fn join(&mut self, net: &mut Net<'_, Passed>, _contacts: &[Place]) {
        // Who comes asks everybody; those who are not there yet will ask.
        let me = net.me();
        (0..self.nodes).filter(|place| *place != me).for_each(|place| net.connect(place));
    }

    fn link_up(&mut self, _net: &mut Net<'_, Passed>, peer: Place, _incoming: bool) {
        self.links.push(peer);
    }

    fn link_down(&mut self, net: &mut Net<'_, Passed>, peer: Place) {
        self.links.retain(|it| *it != peer);
        net.connect(peer);
    }

    fn receive(&mut self, net: &mut Net<'_, Passed>, _from: Place, passed: Passed) {
        // The author has told all.
        net.deliver(passed.item, passed.hops);
    }

    fn publish(&mut self, net: &mut Net<'_, Passed>, item: Item) {
        pass(net, self.links.iter().copied(), Passed { item, hops: 0 }, None);
    }

    fn network_changed(&mut self, net: &mut Net<'_, Passed>) {
        self.join(net, &[]);
    }

    fn neighbours(&self) -> Vec<Place> {
        self.links.clone()
    }
}
