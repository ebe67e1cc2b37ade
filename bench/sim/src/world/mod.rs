//! A run: nodes of one overlay, the network between them, and what the scenario does to them.
//!
//! ```text
//!   script ──► who comes, goes, writes ─┐
//!                                       ▼
//!   overlay nodes ◄── what happens ── world ── what is looked at ──► report
//!        └── Net: send, link, fetch ──► core: seats, links, queue
//! ```

mod core;
mod journal;
mod latency;
pub(crate) mod ledger;
mod net;
mod report;
mod script;
mod seat;

use std::sync::Arc;

use self::core::{Core, Event};
pub use self::net::Net;
pub use self::report::{Healing, Outcome, Row, Summary};
use self::script::{Script, Step};
use crate::chance::{self, Purpose};
use crate::error::Result;
use crate::graph::Graph;
use crate::overlay::{Birth, Overlay, Place};
use crate::scenario::{Fault, Scenario};
use crate::time::Time;

/// Time between two looks at whether all reach each other again after a fault.
const WATCH: Time = Time(500_000);

/// Whether the tables that a scenario names can be read, and are what they should be.
pub(crate) fn check_tables(scenario: &Scenario) -> Result<()> {
    latency::Latencies::new(scenario, scenario.seed)?;
    script::check_trace(scenario)
}

/// Is told how far a run is: the time in it, and how much has happened.
pub type Progress<'p> = &'p mut dyn FnMut(Time, u64);

/// Events between two calls of [`Progress`].
const PROGRESS: u64 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct World<O: Overlay> {
    core: Core<O::Message>,
    plan: Arc<O::Plan>,
    nodes: Vec<O>,
    script: Script,
    report: report::Report,
}

impl<O: Overlay> World<O> {
    /// Nobody is online yet.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Result<Self> {
        let mut core = Core::new(scenario, seed)?;
        let script = Script::begin(&mut core)?;
        let mut plan = O::plan(scenario, seed);
        O::members(&mut plan, &core.seats.iter().map(|seat| seat.id).collect::<Vec<_>>());
        let plan = Arc::new(plan);
        let places = 0..core.seats.len() as Place;
        let nodes = places.map(|place| O::new(&plan, birth(&core, place))).collect();
        Ok(Self { report: report::Report::new(scenario), core, plan, nodes, script })
    }

    /// Runs to the end.
    pub(crate) fn run(mut self, progress: Progress<'_>) -> Outcome {
        let end = Time::from_seconds(self.core.scenario.duration_s);
        while let Some((at, event)) = self.core.queue.pop(end) {
            self.core.now = at;
            self.core.ledger.events += 1;
            if self.core.ledger.events.is_multiple_of(PROGRESS) {
                progress(at, self.core.ledger.events);
            }
            self.handle(event);
        }
        self.core.now = end;
        let graph = self.graph();
        let contacts = self.stale();
        let memory = self.nodes.iter().map(Overlay::memory).sum::<usize>()
            + self.core.seats.iter().map(seat::Seat::memory).sum::<usize>();
        let random = chance::stream(self.core.seed, Purpose::Samples, 0);
        report::conclude(self.report, &mut self.core, graph, contacts, memory, random)
    }

    fn handle(&mut self, event: Event<O::Message>) {
        match event {
            Event::Arrive { to, from, epoch, item, message } => {
                let is_heard = match epoch {
                    // Who sent it may be gone meanwhile.
                    0 => self.core.seat(to).is_up && self.core.are_together(from, to),
                    epoch => self.core.seat(to).hears(from, epoch),
                };
                if is_heard {
                    if let Some(item) = item {
                        self.core.ledger.received(item);
                    }
                    self.act(to, |node, net| node.receive(net, from, message));
                }
            }
            Event::Request { to, from, life } => {
                // A dead end of an earlier link is told of first.
                if self.core.seat(to).end(from).is_some_and(|end| end.epoch == 0) {
                    self.down(to, from);
                }
                if self.core.request(to, from, life) {
                    self.act(to, |node, net| node.link_up(net, from, true));
                }
            }
            Event::Up { to, from, epoch, life } => self.up(to, from, epoch, life),
            Event::Failed { to, from, life } => {
                if self.core.seat(to).is_up && self.core.seat(to).life == life {
                    self.act(to, |node, net| node.link_failed(net, from));
                }
            }
            Event::Down { to, from, epoch } => {
                // Gone already, or a later link.
                let end = self.core.seat(to).end(from).map(|end| end.epoch);
                if end == Some(0) || end == Some(epoch) {
                    self.down(to, from);
                }
            }
            Event::Fetched { to, from, life, item, barred } => {
                let alive = |core: &Core<O::Message>| [core.seat(to).life, core.seat(from).life] == life;
                if self.core.seat(to).is_up && self.core.seat(to).life == life[0] {
                    let here = !barred && alive(&self.core) && self.core.reaches(to, from);
                    self.act(to, |node, net| node.fetched(net, from, item, here));
                }
            }
            Event::Timer { to, at } => {
                if self.core.seat(to).is_up && self.core.seat(to).timer == at {
                    self.core.seat_mut(to).timer = Time::NEVER;
                    self.act(to, Overlay::timer);
                }
            }
            Event::Break { one, other, epoch } => self.core.break_link(one, other, epoch),
            Event::Push { to, from, item, hops } => self.push(to, from, item, hops),
            Event::Script(step) => self.step(step),
        }
    }

    fn act(&mut self, place: Place, what: impl FnOnce(&mut O, &mut Net<'_, O::Message>)) {
        let node = &mut self.nodes[place as usize];
        what(node, &mut Net { core: &mut self.core, me: place });
    }

    /// Who asked for a link hears that there is one: its own end is made now, if the other still stands.
    fn up(&mut self, to: Place, from: Place, epoch: u32, life: u32) {
        let is_here = self.core.seat(to).is_up && self.core.seat(to).life == life;
        let stands = is_here && self.core.reaches(to, from) && self.core.seat(from).alive(to) == Some(epoch);
        if !stands || self.core.seat(to).alive(from).is_some() {
            if !stands {
                // Who accepted it finds out, as with a link that breaks.
                self.core.break_link(to, from, epoch);
            }
            if !stands && is_here {
                self.act(to, |node, net| node.link_failed(net, from));
            }
            return;
        }
        if self.core.seat(to).end(from).is_some() {
            self.down(to, from);
        }
        let now = self.core.now;
        self.core.seat_mut(to).insert(seat::End { peer: from, epoch, fading: 0, clear: now });
        self.act(to, |node, net| node.link_up(net, from, false));
    }

    fn down(&mut self, to: Place, from: Place) {
        if self.core.seat_mut(to).remove(from).is_some() {
            self.act(to, |node, net| node.link_down(net, from));
        }
    }

    fn push(&mut self, to: Place, from: Place, item: u32, hops: u32) {
        if self.core.ledger.has(item, to) {
            return;
        }
        let seat = self.core.seat(to);
        if !seat.is_up && !seat.is_asleep {
            return;
        }
        if !seat.is_up {
            self.core.ledger.wake_ups += 1;
            self.core.note("woken", to, &[("item", u64::from(item))]);
            self.come(to, &[from]);
        }
        self.core.ledger.received(item);
        self.act(to, |node, net| node.pushed(net, from, item, hops));
    }

    /// A node comes online; it knows these, or whom it is told of.
    fn come(&mut self, place: Place, known: &[Place]) {
        if self.core.seat(place).is_up {
            return;
        }
        let is_first = self.core.seat(place).life == 0;
        let now = self.core.now;
        let seat = self.core.seat_mut(place);
        seat.is_up = true;
        seat.is_asleep = false;
        seat.life += 1;
        seat.up_since = now;
        seat.timer = Time::NEVER;
        self.core.ledger.joins += 1;
        self.core.note("came", place, &[]);
        let contacts = if known.is_empty() { self.contacts(place, is_first) } else { known.to_vec() };
        if !is_first {
            self.nodes[place as usize] = O::new(&self.plan, birth(&self.core, place));
        }
        if !is_first || place as usize >= self.core.scenario.nodes {
            self.script.came(&mut self.core, place);
        }
        self.act(place, |node, net| node.join(net, &contacts));
    }

    fn contacts(&mut self, place: Place, is_first: bool) -> Vec<Place> {
        let scenario = &self.core.scenario;
        let count = scenario.bootstrap.contacts;
        let seat = self.core.seat(place);
        if seat.is_hostile {
            // They know whom they are after.
            let victim = match scenario.attack.as_ref().map(|attack| attack.how) {
                Some(crate::scenario::AttackKind::Eclipse { victim, .. }) => Some(victim as Place),
                _ => None,
            };
            let mut known = self.core.present(place, count);
            known.extend(victim.filter(|victim| !known.contains(victim)));
            return known;
        }
        let is_from_the_beginning = is_first && (place as usize) < scenario.nodes && !self.is_cold();
        if is_from_the_beginning {
            let among = script::acquaintances(scenario, place);
            return self.core.contacts(place, among, count);
        }
        self.core.present(place, count)
    }

    /// Whether attackers are there before everybody else, so that who comes may know them.
    fn is_cold(&self) -> bool {
        self.core.scenario.attack.as_ref().is_some_and(|attack| attack.at_s == 0.0)
    }

    fn go(&mut self, place: Place, graceful: bool) {
        if self.core.seat(place).is_up {
            self.core.ledger.departures += 1;
            self.core.go(place, graceful);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Come(place, life) => {
                if life.is_none_or(|life| life == self.core.seat(place).life) {
                    self.come(place, &[]);
                }
            }
            Step::Go(place, why, life) => {
                let seat = self.core.seat(place);
                if seat.is_up && life.is_none_or(|life| life == seat.life) {
                    let graceful = self.script.is_graceful(&self.core, place, why);
                    self.go(place, graceful);
                    self.core.seat_mut(place).is_asleep = why == script::Why::Sleep;
                    self.script.gone(&mut self.core, place, why);
                }
            }
            Step::Write(author, size) => self.write(author, size),
            Step::Judge(item) => {
                let core = &mut self.core;
                let (seats, ledger) = (&core.seats, &mut core.ledger);
                let seat = |place: Place| &seats[place as usize];
                ledger.judge(
                    item,
                    |place, since| {
                        seat(place).is_up && seat(place).up_since <= since && !seat(place).is_hostile
                    },
                    |place| seat(place).is_mobile,
                );
            }
            Step::LookUp => {
                let (who, target) = self.script.next_lookup(&mut self.core);
                if let Some(who) = self.next_up(who) {
                    self.act(who, |node, net| node.look_up(net, target));
                }
            }
            Step::Fault(number) => self.fault(number),
            Step::Mend(number) => self.mend(number),
            Step::Row => {
                let graph = self.graph();
                let stale = self.stale();
                self.report.row(&self.core, &graph, stale);
            }
            Step::Watch => self.watch(),
            Step::Idle => self.report.idle(&self.core),
        }
    }

    /// Somebody writes: the author, or who is online next to it.
    fn write(&mut self, author: Place, size: u32) {
        let Some(author) = self.next_up(author) else { return };
        let item = self.core.ledger.write(author, size, self.core.now);
        self.core.note("wrote", author, &[("item", u64::from(item))]);
        let judged = self.core.now.plus(Time::from_seconds(self.core.scenario.metrics.judge_after_s));
        self.core.queue.push(judged, Event::Script(Step::Judge(item)));
        self.act(author, |node, net| node.publish(net, item));
    }

    /// The first honest node online from this one on.
    fn next_up(&self, from: Place) -> Option<Place> {
        let honest = self.core.scenario.nodes as Place;
        let places = (from..honest).chain(0..from.min(honest));
        places.into_iter().find(|place| self.core.seat(*place).is_up)
    }

    fn fault(&mut self, number: usize) {
        let Some(fault) = self.core.scenario.faults.get(number).cloned() else { return };
        let mut random = chance::stream(self.core.seed, Purpose::Churn, u64::MAX - number as u64);
        self.core.note("fault", 0, &[("number", number as u64)]);
        match fault {
            Fault::Crash { share, .. } => {
                let up: Vec<Place> = self.up_places().collect();
                let count = (up.len() as f64 * share) as usize;
                let gone = random.choose(up, count.min(self.core.seats.len()));
                self.vanish(number, gone);
            }
            Fault::RegionalFailure { region, .. } => {
                let gone =
                    self.up_places().filter(|place| usize::from(self.core.seat(*place).region) == region);
                let gone = gone.collect();
                self.vanish(number, gone);
            }
            Fault::Partition { share, .. } => {
                for seat in &mut self.core.seats {
                    seat.side = u8::from(chance::happens(&mut random, share));
                }
                self.core.is_parted = true;
                self.cut();
            }
            Fault::FlashCrowd { .. } => {}
        }
        if !self.core.is_parted {
            self.report.begin_healing(self.core.now);
            self.core.queue.push(self.core.now, Event::Script(Step::Watch));
        }
    }

    fn up_places(&self) -> impl Iterator<Item = Place> + '_ {
        let seats = self.core.seats.iter().enumerate();
        seats.filter(|(_, seat)| seat.is_up && !seat.is_hostile).map(|(place, _)| place as Place)
    }

    fn vanish(&mut self, number: usize, gone: Vec<Place>) {
        for place in &gone {
            self.go(*place, false);
        }
        self.report.remember(number, gone);
    }

    fn cut(&mut self) {
        for place in 0..self.core.seats.len() as Place {
            let ends = self.core.seat(place).ends.clone();
            // Of a link that is being made only one end is there yet.
            for end in ends.iter().filter(|end| end.epoch != 0) {
                if !self.core.reaches(place, end.peer) {
                    self.core.break_link(place, end.peer, end.epoch);
                }
            }
        }
    }

    fn mend(&mut self, number: usize) {
        let Some(fault) = self.core.scenario.faults.get(number).cloned() else { return };
        self.core.note("mended", 0, &[("number", number as u64)]);
        for place in self.report.remembered(number) {
            self.come(place, &[]);
        }
        if let Fault::Partition { noticed, .. } = fault {
            self.core.seats.iter_mut().for_each(|seat| seat.side = 0);
            self.core.is_parted = false;
            let mut random = chance::stream(self.core.seed, Purpose::Churn, u64::MAX / 2 - number as u64);
            for place in self.up_places().collect::<Vec<_>>() {
                if chance::happens(&mut random, noticed) {
                    self.act(place, Overlay::network_changed);
                }
            }
        }
        self.report.begin_healing(self.core.now);
        self.core.queue.push(self.core.now, Event::Script(Step::Watch));
    }

    /// Looks at whether all reach each other again.
    fn watch(&mut self) {
        let whole = self.graph().is_whole();
        if !self.report.watched(self.core.now, whole) {
            self.core.queue.push(self.core.now.plus(WATCH), Event::Script(Step::Watch));
        }
    }

    fn graph(&self) -> Graph {
        Graph::new(self.core.seats.len(), |place| {
            let neighbours = || {
                let all = self.nodes[place as usize].neighbours().into_iter();
                all.filter(|other| self.core.reaches(place, *other)).collect()
            };
            self.core.seat(place).is_up.then(neighbours)
        })
    }

    /// Of all that nodes remember, which share is not online.
    fn stale(&self) -> Option<f64> {
        let (mut all, mut gone) = (0_u64, 0_u64);
        for place in self.up_places() {
            for contact in self.nodes[place as usize].contacts() {
                all += 1;
                gone += u64::from(!self.core.seat(contact).is_up);
            }
        }
        (all > 0).then(|| gone as f64 / all as f64)
    }
}

fn birth<M>(core: &Core<M>, place: Place) -> Birth {
    let seat = core.seat(place);
    let number = u64::from(place) | u64::from(seat.life) << 32;
    Birth {
        place,
        id: seat.id,
        seed: chance::seed(core.seed, Purpose::Choices, number.rotate_left(8)),
        is_mobile: seat.is_mobile,
        is_hostile: seat.is_hostile,
    }
}
