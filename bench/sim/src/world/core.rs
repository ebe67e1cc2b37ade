//! The network: who is there, what is linked, what is under way.

use skep_protocol::drt::random::Random;
use skep_protocol::ids::DeviceId;

use super::journal::Journal;
use super::latency::Latencies;
use super::ledger::Ledger;
use super::seat::{self, End, Seat};
use crate::chance::{self, Purpose, happens};
use crate::error::Result;
use crate::overlay::{Item, Place};
use crate::queue::Queue;
use crate::scenario::{AttackKind, Scenario};
use crate::time::Time;

pub(super) use super::ledger::Lookup;

/// What a request for a link, and an answer to it, takes on the line, in bytes.
const HANDSHAKE: u32 = 400;

/// What a question for what somebody wrote takes on the line, in bytes.
const FETCH_REQUEST: u32 = 300;

/// A link sends again what was lost after at least this.
const RESEND: Time = Time(200_000);

/// What happens.
#[derive(Debug)]
pub(super) enum Event<M> {
    /// Something arrives, over a link if it has an epoch.
    Arrive { to: Place, from: Place, epoch: u32, item: Option<Item>, message: M },
    /// Somebody asks for a link.
    Request { to: Place, from: Place, life: u32 },
    /// Who asked hears that there is one.
    Up { to: Place, from: Place, epoch: u32, life: u32 },
    /// Who asked hears that there is none.
    Failed { to: Place, from: Place, life: u32 },
    /// A node hears that a link is gone.
    Down { to: Place, from: Place, epoch: u32 },
    /// A fetch ends.
    Fetched { to: Place, from: Place, life: [u32; 2], item: Item, barred: bool },
    /// A node wanted to be woken.
    Timer { to: Place, at: Time },
    /// A link breaks by itself.
    Break { one: Place, other: Place, epoch: u32 },
    /// A push reaches a mobile device.
    Push { to: Place, from: Place, item: Item, hops: u32 },
    /// What the scenario wants.
    Script(super::script::Step),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Core<M> {
    pub(super) scenario: Scenario,
    pub(super) seed: u64,
    pub(super) now: Time,
    pub(super) queue: Queue<Event<M>>,
    pub(super) seats: Vec<Seat>,
    pub(super) ledger: Ledger,
    pub(super) journal: Journal,
    pub(super) is_parted: bool,
    latencies: Latencies,
    epochs: u32,
    /// What befalls messages.
    weather: Random,
    /// Whom nodes come to know.
    contacts: Random,
}

impl<M> Core<M> {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Result<Self> {
        let latencies = Latencies::new(scenario, seed)?;
        let nodes = scenario.all_nodes();
        let places = 0..Place::try_from(nodes).unwrap_or(Place::MAX);
        let mut core = Self {
            scenario: scenario.clone(),
            seed,
            now: Time::default(),
            queue: Queue::default(),
            seats: Vec::with_capacity(nodes),
            ledger: Ledger::new(nodes),
            journal: Journal::new(scenario.metrics.events),
            is_parted: false,
            latencies,
            epochs: 0,
            weather: chance::stream(seed, Purpose::Messages, 0),
            contacts: chance::stream(seed, Purpose::Contacts, 0),
        };
        for place in places {
            let seat = core.new_seat(place);
            core.seats.push(seat);
        }
        Ok(core)
    }

    fn new_seat(&self, place: Place) -> Seat {
        let scenario = &self.scenario;
        let mut random = chance::stream(self.seed, Purpose::Nodes, u64::from(place));
        let mut id = seat::id(&mut random, place);
        let number = place as usize;
        let honest = scenario.nodes + scenario.late_nodes();
        let is_hostile = number >= honest;
        if let (true, Some(attack)) = (is_hostile, &scenario.attack) {
            match attack.how {
                AttackKind::Eclipse { victim, ground_bits } => {
                    if let Some(victim) = self.seats.get(victim) {
                        seat::grind(&mut id, &victim.id, ground_bits);
                    }
                }
                AttackKind::Sybil { ground_bits } => {
                    seat::grind(&mut id, &DeviceId([0; DeviceId::LENGTH]), ground_bits);
                }
                _ => {}
            }
        }
        let region = number % self.latencies.regions().max(1);
        Seat {
            id,
            is_up: false,
            is_asleep: false,
            is_mobile: !is_hostile && happens(&mut random, scenario.mobiles.share),
            is_hostile,
            is_natted: !is_hostile && happens(&mut random, scenario.network.nat_share),
            region: u16::try_from(region).unwrap_or_default(),
            side: 0,
            life: 0,
            up_since: Time::default(),
            upload_free: Time::default(),
            timer: Time::NEVER,
            random: chance::stream(self.seed, Purpose::Choices, u64::from(place)),
            ends: Vec::new(),
        }
    }

    pub(super) fn seat(&self, place: Place) -> &Seat {
        &self.seats[place as usize]
    }

    pub(super) fn seat_mut(&mut self, place: Place) -> &mut Seat {
        &mut self.seats[place as usize]
    }

    pub(super) fn find(&self, id: &DeviceId) -> Option<Place> {
        let place = seat::place_of(id);
        self.seats.get(place as usize).filter(|seat| seat.id == *id).map(|_| place)
    }

    /// Writes down what happens, if that is wanted.
    pub(super) fn note(&mut self, what: &'static str, place: Place, detail: &[(&'static str, u64)]) {
        self.journal.note(self.now, what, place, detail);
    }

    pub(super) fn reaches(&self, one: Place, other: Place) -> bool {
        self.seat(one).is_up && self.seat(other).is_up && self.are_together(one, other)
    }

    /// Whether two nodes are on the same side of a partition.
    pub(super) fn are_together(&self, one: Place, other: Place) -> bool {
        self.seat(one).side == self.seat(other).side
    }

    /// Whether a hostile node tells others of nobody but its accomplices.
    pub(super) fn misleads(&self, place: Place) -> bool {
        let kind = self.scenario.attack.as_ref().map(|attack| attack.how);
        self.seat(place).is_hostile
            && matches!(kind, Some(AttackKind::Eclipse { .. } | AttackKind::EclipseAll))
    }

    /// Whether a hostile node keeps to itself what others write.
    fn censors(&self, place: Place) -> bool {
        let kind = self.scenario.attack.as_ref().map(|attack| attack.how);
        self.seat(place).is_hostile
            && match kind {
                None | Some(AttackKind::Slow { .. }) => false,
                Some(AttackKind::CovertFlash { turn_s }) => self.now >= Time::from_seconds(turn_s),
                Some(_) => true,
            }
    }

    fn delay(&self, place: Place, item: Option<Item>) -> Time {
        match self.scenario.attack.as_ref().map(|attack| attack.how) {
            Some(AttackKind::Slow { delay_ms }) if item.is_some() && self.seat(place).is_hostile => {
                Time::from_millis(delay_ms)
            }
            _ => Time::default(),
        }
    }

    pub(super) fn accomplices(&mut self, me: Place, count: usize) -> Vec<Place> {
        let honest = self.scenario.nodes + self.scenario.late_nodes();
        let all = self.scenario.attackers();
        let random = &mut self.seat_mut(me).random;
        let drawn = (0..count).map(|_| (honest + random.below(all)) as Place);
        let mut drawn: Vec<Place> = drawn.filter(|other| *other != me).collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    }

    /// Members that are online, at random: found by draws, as most are.
    pub(super) fn present(&mut self, me: Place, count: usize) -> Vec<Place> {
        let all = self.seats.len();
        let mut drawn = Vec::with_capacity(count);
        for _ in 0..count.saturating_mul(4).saturating_add(16) {
            let place = self.contacts.below(all) as Place;
            if place != me && self.reaches(me, place) && !drawn.contains(&place) {
                drawn.push(place);
            }
            if drawn.len() == count {
                break;
            }
        }
        drawn
    }

    /// Whom a node knows that comes online.
    pub(super) fn contacts(&mut self, me: Place, among: std::ops::Range<usize>, count: usize) -> Vec<Place> {
        let wanted = count.min(among.len().saturating_sub(usize::from(among.contains(&(me as usize)))));
        let mut drawn: Vec<Place> = Vec::with_capacity(wanted);
        while drawn.len() < wanted {
            let place = (among.start + self.contacts.below(among.len())) as Place;
            if place != me && !drawn.contains(&place) {
                drawn.push(place);
            }
        }
        drawn
    }

    /// The node online whose id is closest to a target: all are looked at.
    pub(super) fn closest_online(&self, target: &DeviceId) -> Option<Place> {
        let distance = |seat: &Seat| -> [u8; DeviceId::LENGTH] {
            std::array::from_fn(|at| seat.id.0[at] ^ target.0[at])
        };
        let up = self.seats.iter().enumerate().filter(|(_, seat)| seat.is_up);
        up.min_by_key(|(_, seat)| distance(seat)).map(|(place, _)| place as Place)
    }

    /// One way from a node to another.
    pub(super) fn way(&mut self, from: Place, to: Place) -> Time {
        let (first, second) = (self.seat(from).region, self.seat(to).region);
        let base = self.latencies.between((from, first), (to, second));
        let jitter = self.scenario.network.jitter;
        if jitter > 0.0 {
            base.plus(Time((base.0 as f64 * jitter * chance::unit(&mut self.weather)) as u64))
        } else {
            base
        }
    }

    /// So many ways there and back between two nodes.
    fn round_trips(&mut self, one: Place, other: Place, trips: f64) -> Time {
        if trips <= 0.0 {
            return Time::default();
        }
        let both = self.way(one, other).plus(self.way(other, one));
        Time((both.0 as f64 * trips) as u64)
    }

    /// How much later a message comes because it was lost, and sent again.
    fn resent(&mut self) -> Time {
        let mut later = Time::default();
        while happens(&mut self.weather, self.scenario.network.loss) {
            later = later.plus(RESEND);
        }
        later
    }

    /// When something leaves a node that sends so many bytes.
    fn departure(&mut self, from: Place, bytes: u32) -> Time {
        self.ledger.traffic.count(bytes);
        let (rate, now) = (self.scenario.network.upload_bits_s, self.now);
        if rate <= 0.0 {
            return now;
        }
        let takes = Time::from_seconds(f64::from(bytes) * 8.0 / rate);
        let seat = self.seat_mut(from);
        seat.upload_free = seat.upload_free.max(now).plus(takes);
        seat.upload_free
    }

    pub(super) fn connect(&mut self, me: Place, peer: Place) {
        if me == peer || self.seat(me).alive(peer).is_some() {
            return;
        }
        self.ledger.dials += 1;
        let way = self.way(me, peer);
        let network = &self.scenario.network;
        let (setup, trips) = (Time::from_millis(network.setup_ms), network.setup_round_trips);
        let takes = setup.plus(way).plus(self.round_trips(me, peer, trips));
        let at = self.departure(me, HANDSHAKE).plus(takes);
        let life = self.seat(me).life;
        self.queue.push(at, Event::Request { to: peer, from: me, life });
    }

    /// A request for a link arrives. Who asked hears of what comes of it; the other is told if there is one.
    pub(super) fn request(&mut self, to: Place, from: Place, life: u32) -> bool {
        if !self.seat(from).is_up || self.seat(from).life != life {
            return false;
        }
        // Both asked at once: the other has accepted, and this one is about to hear of that.
        if self.seat(to).alive(from).is_some() || self.seat(from).alive(to).is_some() {
            return false;
        }
        let network = &self.scenario.network;
        let fails = happens(&mut self.weather, network.connect_failure);
        if !self.reaches(from, to) || fails || self.is_barred(from, to) {
            let at = self.now.plus(Time::from_millis(network.connect_timeout_ms));
            self.queue.push(at, Event::Failed { to: from, from: to, life });
            return false;
        }
        self.epochs = self.epochs.wrapping_add(1).max(1);
        let epoch = self.epochs;
        let at = self.departure(to, HANDSHAKE).plus(self.way(to, from));
        self.seat_mut(to).insert(End { peer: from, epoch, fading: 0, clear: at });
        self.queue.push(at, Event::Up { to: from, from: to, epoch, life });
        let mean = self.scenario.network.link_life_s;
        if mean > 0.0 {
            let life = Time::from_seconds(chance::exponential(&mut self.weather, mean));
            self.queue.push(self.now.plus(life), Event::Break { one: from, other: to, epoch });
        }
        true
    }

    /// Whether two nodes behind translators never get a link.
    fn is_barred(&self, one: Place, other: Place) -> bool {
        if !(self.seat(one).is_natted && self.seat(other).is_natted) {
            return false;
        }
        let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
        let mut random = chance::stream(self.seed ^ 1, Purpose::Pairs, pair);
        happens(&mut random, self.scenario.network.nat_failure)
    }

    pub(super) fn close(&mut self, me: Place, peer: Place) {
        let Some(end) = self.seat_mut(me).remove(peer).filter(|end| end.epoch != 0) else { return };
        self.say_goodbye(peer, me, end);
    }

    /// A node is told that the other end of a link is closed, after all that was sent before from there.
    fn say_goodbye(&mut self, at_node: Place, gone: Place, end: End) {
        let at = self.now.plus(self.way(gone, at_node)).max(end.clear);
        let Some(other) = self.seat_mut(at_node).end_mut(gone).filter(|it| it.epoch == end.epoch) else {
            return;
        };
        (other.epoch, other.fading) = (0, end.epoch);
        self.queue.push(at, Event::Down { to: at_node, from: gone, epoch: end.epoch });
    }

    /// The end of a link that a node still has is dead; it hears of that at a time.
    fn sever(&mut self, at_node: Place, gone: Place, epoch: u32, at: Time) {
        let Some(end) = self.seat_mut(at_node).end_mut(gone).filter(|end| end.epoch == epoch) else { return };
        end.epoch = 0;
        self.queue.push(at, Event::Down { to: at_node, from: gone, epoch });
    }

    /// A link breaks; both hear of it.
    pub(super) fn break_link(&mut self, one: Place, other: Place, epoch: u32) {
        let at = self.now.plus(Time::from_millis(self.scenario.network.detection_ms));
        self.sever(one, other, epoch, at);
        self.sever(other, one, epoch, at);
    }

    /// A node goes: its links end, and the others hear of that at once or after a while.
    pub(super) fn go(&mut self, place: Place, graceful: bool) {
        let detection = self.now.plus(Time::from_millis(self.scenario.network.detection_ms));
        let seat = self.seat_mut(place);
        seat.is_up = false;
        seat.timer = Time::NEVER;
        let ends = std::mem::take(&mut seat.ends);
        for end in ends.into_iter().filter(|end| end.epoch != 0) {
            if graceful {
                self.say_goodbye(end.peer, place, end);
            } else {
                self.sever(end.peer, place, end.epoch, detection);
            }
        }
        self.note(if graceful { "left" } else { "vanished" }, place, &[]);
    }

    /// Sends something over a link: what item it is about, if any, and whether its arrival counts as being told.
    pub(super) fn send(
        &mut self,
        me: Place,
        peer: Place,
        message: M,
        bytes: u32,
        about: Option<(Item, bool)>,
    ) {
        let item = about.map(|(item, _)| item);
        if self.seat(me).end(peer).is_none() || item.is_some() && self.censors(me) {
            return;
        }
        let left = self.departure(me, bytes);
        self.ledger.sent(self.now, item, bytes);
        let at = left.plus(self.way(me, peer)).plus(self.delay(me, item)).plus(self.resent());
        let Some(end) = self.seat_mut(me).end_mut(peer) else { return };
        // Into the void, as its sender will learn.
        let epoch = end.epoch;
        if epoch != 0 {
            end.clear = end.clear.max(at);
            let at = end.clear;
            let item = about.filter(|(_, counts)| *counts).map(|(item, _)| item);
            self.queue.push(at, Event::Arrive { to: peer, from: me, epoch, item, message });
        }
    }

    pub(super) fn cast(
        &mut self,
        me: Place,
        peer: Place,
        message: M,
        bytes: u32,
        item: Option<Item>,
        connects: bool,
    ) {
        if item.is_some() && self.censors(me) {
            return;
        }
        let left = self.departure(me, bytes);
        self.ledger.sent(self.now, item, bytes);
        let way = self.way(me, peer);
        let mut at = left.plus(way).plus(self.delay(me, item));
        if self.is_barred(me, peer) {
            return;
        }
        let (failure, loss) = (self.scenario.network.connect_failure, self.scenario.network.loss);
        if connects {
            let (setup, trips) =
                (self.scenario.network.setup_ms, 1.0 + self.scenario.network.setup_round_trips);
            if happens(&mut self.weather, failure) {
                return;
            }
            let takes = self.round_trips(me, peer, trips).plus(self.resent());
            at = at.plus(Time::from_millis(setup)).plus(takes);
        } else if happens(&mut self.weather, loss) {
            return;
        }
        self.queue.push(at, Event::Arrive { to: peer, from: me, epoch: 0, item, message });
    }

    pub(super) fn fetch(&mut self, me: Place, peer: Place, item: Item) {
        let size = self.ledger.size(item);
        let workload = &self.scenario.workload;
        let (trips, local) = (workload.fetch_round_trips, Time::from_millis(workload.fetch_ms));
        self.ledger.fetches += 1;
        self.ledger.sent(self.now, Some(item), FETCH_REQUEST);
        self.ledger.bytes_of_fetch(size);
        let life = [self.seat(me).life, self.seat(peer).life];
        // Over a link there is, or over a connection made for it.
        let barred = self.seat(me).alive(peer).is_none() && self.is_barred(me, peer);
        let at = if barred {
            self.now.plus(Time::from_millis(self.scenario.network.connect_timeout_ms))
        } else {
            let left = self.departure(me, FETCH_REQUEST).max(self.departure(peer, size));
            let takes = self.round_trips(me, peer, trips).plus(self.resent());
            left.plus(takes).plus(local).plus(self.delay(peer, Some(item)))
        };
        self.queue.push(at, Event::Fetched { to: me, from: peer, life, item, barred });
    }

    pub(super) fn push(&mut self, me: Place, mobile: Place, item: Item, hops: u32) {
        if self.censors(me) {
            return;
        }
        self.ledger.pushes += 1;
        let at = self.now.plus(Time::from_millis(self.scenario.mobiles.push_ms));
        self.queue.push(at, Event::Push { to: mobile, from: me, item, hops });
    }
}
