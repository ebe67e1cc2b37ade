//! A random graph in which all have as many links, laid out beforehand: what an overlay could be that knew
//! everybody. It is not mended; who comes back asks its neighbours of before.
//!
//! It is made of rings through all nodes in random order, two links of each node a ring, and of a random
//! matching when the degree is odd. Links that two rings have in common are made once.

use std::sync::Arc;

use skep_protocol::drt::random::Random;

use super::flooding::{Passed, pass};
use crate::chance::{self, Purpose};
use crate::overlay::{Birth, Item, Overlay, Place};
use crate::scenario::{OverlayKind, Scenario};
use crate::world::Net;

/// The graph: the neighbours of each node.
#[derive(Clone, Debug)]
pub struct Plan(Vec<Vec<Place>>);

/// One node.
#[derive(Debug)]
pub struct Regular {
    plan: Arc<Plan>,
    me: Place,
    links: Vec<Place>,
}

fn lay_out(nodes: usize, degree: usize, random: &mut Random) -> Plan {
    let mut lists = vec![Vec::with_capacity(degree); nodes];
    let mut link = |one: Place, other: Place| {
        if one != other && !lists[one as usize].contains(&other) {
            lists[one as usize].push(other);
            lists[other as usize].push(one);
        }
    };
    for _ in 0..degree / 2 {
        let ring = random.choose((0..nodes as Place).collect(), nodes);
        for (place, one) in ring.iter().enumerate() {
            link(*one, ring[(place + 1) % nodes]);
        }
    }
    if degree % 2 == 1 {
        random
            .choose((0..nodes as Place).collect(), nodes)
            .chunks_exact(2)
            .for_each(|pair| link(pair[0], pair[1]));
    }
    Plan(lists)
}

impl Overlay for Regular {
    type Message = Passed;
    type Plan = Plan;

    fn plan(scenario: &Scenario, seed: u64) -> Plan {
        let degree = match &scenario.overlay {
            OverlayKind::Regular(settings) => settings.degree,
            _ => 8,
        };
        let mut random = chance::stream(seed, Purpose::Contacts, 1);
        lay_out(scenario.all_nodes(), degree, &mut random)
    }

    fn new(plan: &Arc<Plan>, birth: Birth) -> Self {
        Self { plan: Arc::clone(plan), me: birth.place, links: Vec::new() }
    }

    fn join(&mut self, net: &mut Net<'_, Passed>, _contacts: &[Place]) {
        self.plan.0[self.me as usize].iter().for_each(|peer| net.connect(*peer));
    }

    fn link_up(&mut self, _net: &mut Net<'_, Passed>, peer: Place, _incoming: bool) {
        self.links.push(peer);
    }

    fn link_down(&mut self, _net: &mut Net<'_, Passed>, peer: Place) {
        self.links.retain(|it| *it != peer);
    }

    fn receive(&mut self, net: &mut Net<'_, Passed>, from: Place, passed: Passed) {
        if net.deliver(passed.item, passed.hops) {
            pass(net, self.links.iter().copied(), passed, Some(from));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_has_a_graph_of_its_own() {
        let scenario = Scenario::default();
        let [Plan(one), Plan(same), Plan(other)] = [1, 1, 2].map(|seed| Regular::plan(&scenario, seed));
        assert!(one == same && one != other);
    }

    #[test]
    fn nearly_all_nodes_have_the_degree_that_is_wanted_and_none_more() {
        for degree in [3, 8] {
            let Plan(lists) = lay_out(1000, degree, &mut Random::from_seed(1));
            assert!(lists.iter().all(|list| list.len() <= degree));
            assert!(lists.iter().filter(|list| list.len() == degree).count() > 950);
            for (one, list) in lists.iter().enumerate() {
                assert!(list.iter().all(|other| lists[*other as usize].contains(&(one as Place))));
            }
        }
    }
}
