//! Many nodes in one process, in virtual time, over a network that loses, delays, doubles and reorders.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use super::{NodeConfig, OpenDhtNode};
use crate::dht::content::Content;
use crate::dht::filter::Filter;
use crate::dht::opendht::compact::Contact;
use crate::dht::opendht::nodes::Family;
use crate::dht::opendht::operation::{Event, Failure, Found, Now, OperationId, Status};
use crate::dht::opendht::packet::NetworkId;
use crate::dht::opendht::random::Randomness;
use crate::dht::value::{Value, ValueId};
use crate::ids::{DhtKey, NodeId, sha1};
use crate::time::{Moment, UnixMillis};

/// When the simulated world begins.
const BEGIN: UnixMillis = UnixMillis(1_700_000_000_000);

/// How the network treats datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// How long a datagram takes, at least and at most.
    pub(super) delay: [Duration; 2],
    /// How many in a hundred are lost.
    pub(super) loss: usize,
    /// How many in a hundred come twice.
    pub(super) doubles: usize,
}

impl Weather {
    /// Ten milliseconds each way, and nothing goes wrong.
    pub(super) const FINE: Self = Self { delay: [Duration::from_millis(10); 2], loss: 0, doubles: 0 };
}

/// One of the machines.
pub(super) struct Machine {
    pub(super) node: OpenDhtNode,
    pub(super) events: Vec<(Moment, Event)>,
    deadline: Option<Moment>,
    pub(super) received: usize,
    /// By how many milliseconds its clock is fast.
    pub(super) fast: i64,
}

type Flight = (Reverse<(Moment, u64)>, SocketAddr, SocketAddr, Vec<u8>);

/// A datagram that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// Answers a datagram in the place of a node.
type Stranger = Box<dyn FnMut(SocketAddr, SocketAddr, &[u8]) -> Vec<Vec<u8>>>;

/// The world.
pub(super) struct World {
    pub(super) moment: Moment,
    pub(super) wall_offset: i64,
    pub(super) weather: Weather,
    pub(super) random: Randomness,
    pub(super) machines: BTreeMap<SocketAddr, Machine>,
    pub(super) strangers: BTreeMap<SocketAddr, Stranger>,
    deadlines: BTreeSet<(Moment, SocketAddr)>,
    flights: BinaryHeap<Flight>,
    count: u64,
    /// What was sent, while it is recorded.
    pub(super) record: Option<Vec<Sent>>,
}

/// The address of the machine with this number.
pub(super) fn address(number: usize) -> SocketAddr {
    let [.., a, b, c] = u32::try_from(number).unwrap().to_be_bytes();
    SocketAddr::from(([10, a, b, c], 4222))
}

/// The id of the node with this number.
pub(super) fn id(number: usize) -> NodeId {
    NodeId(sha1(format!("node {number}").as_bytes()))
}

pub(super) fn value(number: u64, data: &[u8]) -> Value {
    Value::plain(ValueId(number), Content::new(0, data.to_vec()))
}

impl World {
    pub(super) fn new(seed: u8, weather: Weather) -> Self {
        Self {
            moment: Moment(Duration::from_secs(1)),
            wall_offset: 0,
            weather,
            random: Randomness::from_seed([seed; 32]),
            machines: BTreeMap::new(),
            strangers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            flights: BinaryHeap::new(),
            count: 0,
            record: None,
        }
    }

    /// A network of `count` nodes that have known each other for some minutes.
    pub(super) fn settled(seed: u8, weather: Weather, count: usize) -> Self {
        let mut world = Self::new(seed, weather);
        for number in 0..count {
            world.start(number, id(number));
            world.run(Duration::from_millis(100));
        }
        world.run(Duration::from_secs(180));
        world
    }

    pub(super) fn now(&self) -> Now {
        let millis = i64::try_from(self.moment.0.as_millis()).unwrap();
        Now { moment: self.moment, wall: UnixMillis(BEGIN.0 + millis + self.wall_offset) }
    }

    /// The time as the machine at this address has it.
    fn now_at(&self, address: &SocketAddr) -> Now {
        let now = self.now();
        let fast = self.machines.get(address).map_or(0, |machine| machine.fast);
        Now { wall: UnixMillis(now.wall.0 + fast), ..now }
    }

    /// Starts a node that joins through the first one.
    pub(super) fn start(&mut self, number: usize, id: NodeId) {
        self.start_with(number, id, BTreeSet::from([Family::V4]));
        if number > 0 {
            self.act(number, |node, now| node.set_bootstrap(now, [address(0)]));
        }
    }

    pub(super) fn start_with(&mut self, number: usize, id: NodeId, families: BTreeSet<Family>) {
        let seed = self.random.bytes();
        let config = NodeConfig { id, network: NetworkId(7), client: false, families, seed };
        let node = OpenDhtNode::new(config, self.now());
        let machine = Machine { node, events: Vec::new(), deadline: None, received: 0, fast: 0 };
        self.machines.insert(address(number), machine);
        self.after(address(number));
    }

    /// Ends a node without a word.
    pub(super) fn stop(&mut self, number: usize) {
        let machine = self.machines.remove(&address(number)).unwrap();
        if let Some(deadline) = machine.deadline {
            self.deadlines.remove(&(deadline, address(number)));
        }
    }

    pub(super) fn node(&self, number: usize) -> &OpenDhtNode {
        &self.machines[&address(number)].node
    }

    pub(super) fn act<T>(&mut self, number: usize, act: impl FnOnce(&mut OpenDhtNode, Now) -> T) -> T {
        let now = self.now_at(&address(number));
        let machine = self.machines.get_mut(&address(number)).unwrap();
        let result = act(&mut machine.node, now);
        self.after(address(number));
        result
    }

    pub(super) fn put(&mut self, number: usize, key: DhtKey, value: Value, permanent: bool) -> OperationId {
        self.act(number, |node, now| node.put(now, key, value, permanent).unwrap())
    }

    pub(super) fn get(&mut self, number: usize, key: DhtKey) -> OperationId {
        self.act(number, |node, now| node.get(now, key, Filter::default()).unwrap())
    }

    pub(super) fn listen(&mut self, number: usize, key: DhtKey) -> OperationId {
        self.act(number, |node, now| node.listen(now, key).unwrap())
    }

    /// Puts a value and waits for the outcome.
    pub(super) fn put_and_wait(
        &mut self,
        number: usize,
        key: DhtKey,
        value: Value,
        permanent: bool,
    ) -> Result<usize, Failure> {
        let operation = self.put(number, key, value, permanent);
        self.wait_for(number, |event| match event {
            Event::Put { operation: other, result } if *other == operation => Some(*result),
            _ => None,
        })
    }

    /// The data of the values at a key, as a node finds them.
    pub(super) fn get_and_wait(&mut self, number: usize, key: DhtKey) -> Result<Found, Failure> {
        let operation = self.get(number, key);
        self.wait_for(number, |event| match event {
            Event::Got { operation: other, result } if *other == operation => Some(result.clone()),
            _ => None,
        })
    }

    /// Runs until a node tells what is looked for; at most a minute.
    pub(super) fn wait_for<T>(&mut self, number: usize, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let end = self.moment.plus(Duration::from_secs(60));
        let mut seen = 0;
        loop {
            let events = &self.machines[&address(number)].events;
            if let Some(found) = events.iter().skip(seen).find_map(|(_, event)| wanted(event)) {
                return found;
            }
            seen = events.len();
            assert!(self.step(end), "nothing came within a minute");
        }
    }

    /// What a listener was told: the data of values, with when it came.
    pub(super) fn told(&self, number: usize, listening: OperationId) -> Vec<(Moment, Vec<u8>)> {
        let mut told = Vec::new();
        for (moment, event) in &self.machines[&address(number)].events {
            if let Event::Values { operation, values } = event
                && *operation == listening
            {
                told.extend(values.iter().map(|value| (*moment, data(value))));
            }
        }
        told
    }

    /// How many values a listener was told to have expired.
    pub(super) fn expired(&self, number: usize, listening: OperationId) -> usize {
        let events = self.machines[&address(number)].events.iter();
        events
            .map(|(_, event)| match event {
                Event::Expired { operation, fingerprints } if *operation == listening => fingerprints.len(),
                _ => 0,
            })
            .sum()
    }

    pub(super) fn connected(&self) -> usize {
        let connected = |machine: &&Machine| machine.node.health(self.now()).ipv4 == Status::Connected;
        self.machines.values().filter(connected).count()
    }

    /// The machines that keep a value at `key`.
    pub(super) fn keepers(&self, key: DhtKey) -> Vec<SocketAddr> {
        let keeps =
            |machine: &Machine| !machine.node.serving.get(self.moment, key, &Filter::default()).is_empty();
        self.machines.iter().filter(|(_, machine)| keeps(machine)).map(|(address, _)| *address).collect()
    }

    /// Everything that is sent in the next `time`.
    pub(super) fn recorded(&mut self, time: Duration) -> Vec<Sent> {
        self.record = Some(Vec::new());
        self.run(time);
        self.record.take().unwrap_or_default()
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.moment.plus(time);
        while self.step(end) {}
        self.moment = end;
    }

    /// Does what comes next, if that is before `end`.
    fn step(&mut self, end: Moment) -> bool {
        let flight = self.flights.peek().map(|(Reverse((arrival, _)), ..)| *arrival);
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let Some(next) = flight.into_iter().chain(deadline).min().filter(|next| *next <= end) else {
            self.moment = end;
            return false;
        };
        self.moment = self.moment.max(next);
        if flight == Some(next) {
            let Some((_, from, to, bytes)) = self.flights.pop() else { return false };
            self.deliver(from, to, &bytes);
        } else if let Some((_, address)) = self.deadlines.pop_first() {
            let now = self.now_at(&address);
            let Some(machine) = self.machines.get_mut(&address) else { return true };
            machine.deadline = None;
            machine.node.handle_timeout(now);
            assert!(machine.node.deadline().is_none_or(|deadline| deadline > now.moment), "it spins");
            self.after(address);
        }
        true
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = self.now_at(&to);
        if let Some(machine) = self.machines.get_mut(&to) {
            machine.received += 1;
            machine.node.handle_datagram(now, from, bytes);
            self.after(to);
        } else if let Some(stranger) = self.strangers.get_mut(&to) {
            for answer in stranger(to, from, bytes) {
                self.fly(to, from, answer);
            }
        }
    }

    /// Sends a datagram, from wherever it claims to come.
    pub(super) fn fly(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if let Some(record) = &mut self.record {
            record.push(Sent { from, to, bytes: bytes.clone() });
        }
        if self.random.below(100) < self.weather.loss {
            return;
        }
        let copies = 1 + usize::from(self.random.below(100) < self.weather.doubles);
        for _ in 0..copies {
            let [shortest, longest] = self.weather.delay;
            let arrival = self.moment.plus(self.random.between(shortest, longest));
            self.count += 1;
            self.flights.push((Reverse((arrival, self.count)), from, to, bytes.clone()));
        }
    }

    /// Sends what a node wants sent, keeps what it tells, and notes its deadline.
    fn after(&mut self, address: SocketAddr) {
        let machine = self.machines.get_mut(&address).unwrap();
        let mut transmits = Vec::new();
        while let Some(transmit) = machine.node.poll_transmit() {
            transmits.push(transmit);
        }
        while let Some(event) = machine.node.poll_event() {
            machine.events.push((self.moment, event));
        }
        let deadline = machine.node.deadline();
        if let Some(old) = std::mem::replace(&mut machine.deadline, deadline) {
            self.deadlines.remove(&(old, address));
        }
        self.deadlines.extend(deadline.map(|deadline| (deadline, address)));
        for transmit in transmits {
            self.fly(address, transmit.to, transmit.bytes);
        }
    }
}

pub(super) fn data(value: &Value) -> Vec<u8> {
    value.content().map(|content| content.data.clone()).unwrap_or_default()
}

/// The data of what a get found.
pub(super) fn found(result: Result<Found, Failure>) -> Vec<Vec<u8>> {
    result.unwrap().values.iter().map(|value| data(value)).collect()
}

/// Where the machine with this number is.
pub(super) fn contact(number: usize) -> Contact {
    Contact { id: id(number), address: address(number) }
}
