//! The simulation, and what it tells of itself.

use std::cell::RefCell;
use std::sync::Arc;

use skep_protocol::ids::DeviceId;
use skep_sim::overlay::{Birth, Item, Overlay, Place};
use skep_sim::overlays::drt::{Drt, Plan, Said};
use skep_sim::scenario::Scenario;
use skep_sim::time::Time;
use skep_sim::{Net, Outcome};

use super::{Course, Script, Step};
use crate::recorded::NOW;
use crate::supervision::Environment;

/// What is seen of a run while it goes.
#[derive(Default)]
struct Seen {
    script: Script,
    course: Course,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

fn see<T>(look: impl FnOnce(&mut Seen) -> T) -> T {
    SEEN.with_borrow_mut(look)
}

/// Runs a scenario.
pub(super) fn run(scenario: &Scenario, seed: u64) -> (Script, Course) {
    SEEN.take();
    let outcome = skep_sim::run_overlay::<Watched>(scenario, seed, &mut |_, _| {}).unwrap();
    let Seen { mut script, mut course } = SEEN.take();
    read_journal(&outcome, &mut script, &mut course);
    for one in outcome.graph.nodes() {
        let higher = outcome.graph.neighbours(one).iter().filter(|other| **other > one);
        course.links.extend(higher.map(|other| (one as usize, *other as usize)));
    }
    (script, course)
}

fn read_journal(outcome: &Outcome, script: &mut Script, course: &mut Course) {
    for line in outcome.journal.as_ref().unwrap().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| event[name].as_u64().unwrap();
        let item = || Item::try_from(number("item")).unwrap();
        let (at, place) = (event["t"].as_f64().unwrap() * 1e6, usize::try_from(number("node")).unwrap());
        let at = Time(at.round() as u64);
        match event["event"].as_str().unwrap() {
            "delivered" => {
                let hops = u32::try_from(number("hops")).unwrap();
                course.had.insert((item(), place), (at, hops));
            }
            "wrote" => {
                script.steps.push((at, place, Step::Write(item())));
                course.had.insert((item(), place), (at, 0));
            }
            "vanished" => script.steps.push((at, place, Step::Vanish)),
            "came" | "fault" => {}
            other => panic!("{other}"),
        }
    }
}

/// The simulated device, and who watches it. Its choices come from where the actor of it draws.
struct Watched(Drt, usize);

impl Overlay for Watched {
    type Message = Said;
    type Plan = Plan;

    fn plan(scenario: &Scenario, seed: u64) -> Plan {
        Drt::plan(scenario, seed)
    }

    fn members(plan: &mut Plan, ids: &[DeviceId]) {
        Drt::members(plan, ids);
    }

    fn new(plan: &Arc<Plan>, mut birth: Birth) -> Self {
        see(|seen| {
            seen.script.ids.push(birth.id);
            seen.script.seeds.push(birth.seed);
        });
        birth.seed = Environment::single_thread(NOW, birth.seed).random_u64();
        Self(Drt::new(plan, birth), birth.place as usize)
    }

    fn join(&mut self, net: &mut Net<'_, Said>, contacts: &[Place]) {
        let known = contacts.iter().map(|place| *place as usize).collect();
        see(|seen| seen.script.steps.push((net.now(), self.1, Step::Come(known))));
        self.0.join(net, contacts);
    }

    fn link_up(&mut self, net: &mut Net<'_, Said>, peer: Place, incoming: bool) {
        self.0.link_up(net, peer, incoming);
    }

    fn link_failed(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        self.0.link_failed(net, peer);
    }

    fn link_down(&mut self, net: &mut Net<'_, Said>, peer: Place) {
        self.0.link_down(net, peer);
    }

    fn receive(&mut self, net: &mut Net<'_, Said>, from: Place, message: Said) {
        if let Said::Commit(item, _) = &message {
            see(|seen| *seen.course.told.entry((*item, self.1)).or_default() += 1);
        }
        self.0.receive(net, from, message);
    }

    fn fetched(&mut self, net: &mut Net<'_, Said>, from: Place, item: Item, here: bool) {
        self.0.fetched(net, from, item, here);
    }

    fn timer(&mut self, net: &mut Net<'_, Said>) {
        self.0.timer(net);
    }

    fn publish(&mut self, net: &mut Net<'_, Said>, item: Item) {
        self.0.publish(net, item);
    }

    fn neighbours(&self) -> Vec<Place> {
        self.0.neighbours()
    }
}
