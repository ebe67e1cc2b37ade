//! Two nodes made of the parts of this room, connected through a DHT and TCP paths made of queues.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::attempt::{Attempt, AttemptError, Event, Step};
use super::dial::{self, ConnectionNumber, DialError, Dialer, Ticket};
use super::ice_text::{Candidate, CandidateKind, Credentials, IceText};
use super::mux::{self, ChannelNumber, CloseReason, Limits, Multiplex, Patience, Role};
use super::request::{KeyKind, PeerRequest, RequestId, RequestKeys, TreatedRequests};
use crate::ids::{DeviceId, DeviceShortId, DhtKey};
use crate::time::Moment;

/// A connection as one node sees it.
struct Connection {
    attempt: Attempt,
    /// How far the attempt has come; both ends must come as far before either goes on.
    checking: bool,
    handshaking: bool,
    socket: Option<Multiplex>,
}

struct Node {
    device: DeviceId,
    keys: RequestKeys,
    allows_peer: bool,
    dialer: Dialer,
    treated: TreatedRequests,
    connections: BTreeMap<ConnectionNumber, Connection>,
    asked: BTreeMap<(ConnectionNumber, ChannelNumber), Ticket>,
    /// Which channel each fulfilled wish got.
    opened: BTreeMap<Ticket, (ConnectionNumber, ChannelNumber)>,
    failed: BTreeMap<Ticket, DialError>,
    first_sockets: usize,
    beacons: usize,
    /// Names the peer asked for, in order; all are accepted unless `silent`.
    accepted: Vec<String>,
    silent: bool,
}

impl Node {
    fn new(number: u8) -> Self {
        let device = DeviceId([number; 32]);
        Self {
            device,
            keys: RequestKeys::of(device, DeviceShortId([number; 20])),
            allows_peer: true,
            dialer: Dialer::new(device),
            treated: TreatedRequests::default(),
            connections: BTreeMap::new(),
            asked: BTreeMap::new(),
            opened: BTreeMap::new(),
            failed: BTreeMap::new(),
            first_sockets: 0,
            beacons: 0,
            accepted: Vec::new(),
            silent: false,
        }
    }

    fn sockets(&self) -> usize {
        self.connections.values().filter(|connection| connection.socket.is_some()).count()
    }

    fn by_id(&mut self, id: RequestId) -> Option<&mut Connection> {
        self.connections.values_mut().find(|connection| connection.attempt.id() == id)
    }
}

fn ice_text() -> IceText {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let candidate = Candidate::passive(CandidateKind::Host, address, address, 4000, 0);
    IceText::new(Credentials::from_random(&[5; 24]), vec![candidate])
}

struct World {
    now: Moment,
    nodes: [Node; 2],
    /// Values on their way: sender, key, content.
    dht: VecDeque<(usize, DhtKey, Vec<u8>)>,
    next_id: u64,
}

impl World {
    fn new() -> Self {
        let nodes = [Node::new(1), Node::new(2)];
        Self { now: Moment::default(), nodes, dht: VecDeque::new(), next_id: 100 }
    }

    fn want(&mut self, node: usize, tickets: std::ops::Range<u64>) {
        let device = self.nodes[1 - node].device;
        for ticket in tickets {
            let name = format!("git://{ticket}");
            self.nodes[node].dialer.connect(Ticket(ticket), device, name, String::new());
        }
    }

    fn run(&mut self) {
        while (0..2).any(|node| self.run_dialer(node) || self.run_attempts(node) || self.run_sockets(node))
            || self.run_dht()
        {}
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
        for node in &mut self.nodes {
            node.connections.values_mut().for_each(|it| it.attempt.handle_timeout(self.now));
            node.connections.values_mut().filter_map(|it| it.socket.as_mut()).for_each(|it| {
                it.handle_timeout(self.now);
            });
        }
        self.run();
    }

    fn add(&mut self, node: usize, number: ConnectionNumber, attempt: Attempt) {
        let connection = Connection { attempt, checking: false, handshaking: false, socket: None };
        self.nodes[node].connections.insert(number, connection);
    }

    fn run_dialer(&mut self, here: usize) -> bool {
        let mut moved = false;
        while let Some(output) = self.nodes[here].dialer.poll() {
            moved = true;
            let node = &mut self.nodes[here];
            match output {
                dial::Output::StartAttempt { connection, device, connection_type } => {
                    let id = RequestId(self.next_id);
                    self.next_id += 1;
                    let kinds = KeyKind::choose(None);
                    self.add(
                        here,
                        connection,
                        Attempt::request(device, id, connection_type, kinds, self.now),
                    );
                }
                dial::Output::OpenChannel { connection, ticket, name, answer_within } => {
                    let patience = match answer_within {
                        Some(time) => Patience::Socket(self.now.plus(time)),
                        None => Patience::Channel(self.now.plus(Duration::from_secs(30))),
                    };
                    let socket = node.connections.get_mut(&connection).unwrap().socket.as_mut().unwrap();
                    let number = socket.open(&name, patience).unwrap();
                    node.asked.insert((connection, number), ticket);
                }
                dial::Output::Failed { ticket, error } => drop(node.failed.insert(ticket, error)),
                dial::Output::Beacon(connection) => {
                    node.beacons += 1;
                    node.connections.get_mut(&connection).unwrap().socket.as_mut().unwrap().beacon(self.now);
                }
                dial::Output::FirstSocket { .. } => node.first_sockets += 1,
                dial::Output::Drop(connection) => drop(node.connections.remove(&connection)),
            }
        }
        moved
    }

    fn run_attempts(&mut self, here: usize) -> bool {
        let mut moved = false;
        let numbers: Vec<ConnectionNumber> = self.nodes[here].connections.keys().copied().collect();
        for number in numbers {
            while let Some(step) =
                self.nodes[here].connections.get_mut(&number).and_then(|it| it.attempt.poll())
            {
                moved = true;
                self.take_step(here, number, step);
            }
        }
        moved
    }

    fn take_step(&mut self, here: usize, number: ConnectionNumber, step: Step) {
        let now = self.now;
        let [a, b] = &mut self.nodes;
        let (node, peer) = if here == 0 { (a, b) } else { (b, a) };
        let connection = node.connections.get_mut(&number).unwrap();
        let id = connection.attempt.id();
        match step {
            Step::CheckPolicy => connection.attempt.handle(now, Event::PolicyDecided(node.allows_peer)),
            Step::Gather { .. } => connection.attempt.handle(now, Event::CandidatesReady(ice_text())),
            Step::Put { request, kinds } => {
                let values = kinds.iter().map(|kind| (here, peer.keys.get(*kind), request.encode()));
                self.dht.extend(values);
            }
            Step::StartChecks(_) => {
                connection.checking = true;
                if let Some(other) = peer.by_id(id).filter(|other| other.checking) {
                    other.attempt.handle(now, Event::Nominated);
                    connection.attempt.handle(now, Event::Nominated);
                }
            }
            Step::StartTls(role) => {
                assert_eq!(role, connection.attempt.role());
                connection.handshaking = true;
                if let Some(other) = peer.by_id(id).filter(|other| other.handshaking) {
                    assert_ne!(role, other.attempt.role());
                    other.attempt.handle(now, Event::TlsDone);
                    connection.attempt.handle(now, Event::TlsDone);
                }
            }
            Step::Ready(role) => {
                connection.socket = Some(Multiplex::new(role, Limits::default()));
                node.dialer.attempt_ready(number, id);
            }
            Step::Failed(error) => {
                node.connections.remove(&number);
                node.dialer.attempt_failed(number, &error);
            }
        }
    }

    fn run_sockets(&mut self, here: usize) -> bool {
        let mut moved = false;
        let numbers: Vec<ConnectionNumber> = self.nodes[here].connections.keys().copied().collect();
        for number in numbers {
            let id = self.nodes[here].connections[&number].attempt.id();
            let there = self.nodes[1 - here].by_id(id).is_some_and(|it| it.socket.is_some());
            // Bytes for an end that is not up yet stay where they are.
            while there
                && let Some(connection) = self.nodes[here].connections.get_mut(&number)
                && let Some(output) = connection.socket.as_mut().and_then(Multiplex::poll)
            {
                moved = true;
                self.take_output(here, number, id, output);
            }
        }
        moved
    }

    fn take_output(&mut self, here: usize, number: ConnectionNumber, id: RequestId, output: mux::Output) {
        let [a, b] = &mut self.nodes;
        let (node, peer) = if here == 0 { (a, b) } else { (b, a) };
        let device = peer.device;
        match output {
            mux::Output::Transmit(bytes) => {
                peer.by_id(id).unwrap().socket.as_mut().unwrap().input_bytes(&bytes);
            }
            mux::Output::ChannelRequested { number: channel, name } => {
                if !node.silent {
                    let socket = node.connections.get_mut(&number).unwrap().socket.as_mut().unwrap();
                    socket.accept(channel).unwrap();
                    node.accepted.push(name);
                }
            }
            mux::Output::Opened(channel) => {
                let ticket = node.asked.remove(&(number, channel)).unwrap();
                node.opened.insert(ticket, (number, channel));
                node.dialer.channel_answered(device, ticket);
            }
            mux::Output::Closed { reason, .. } => assert!(matches!(reason, CloseReason::Socket(_))),
            mux::Output::Shutdown(_) => {
                node.connections.remove(&number);
                node.dialer.socket_ended(number);
                if let Some(connection) = peer.by_id(id) {
                    connection.socket.as_mut().unwrap().input_end(false);
                }
            }
            mux::Output::Declined(_) | mux::Output::Data { .. } => panic!("{output:?}"),
            mux::Output::PeerVersion(_) | mux::Output::BeaconAnswered | mux::Output::MarkAnswered => {}
        }
    }

    fn run_dht(&mut self) -> bool {
        let Some((sender, key, data)) = self.dht.pop_front() else { return false };
        let sender_device = self.nodes[sender].device;
        let here = 1 - sender;
        let node = &mut self.nodes[here];
        let kind = node.keys.kind_of(key).unwrap();
        let request = PeerRequest::decode(&data).unwrap();
        if !node.treated.insert(request.id) {
            return true;
        }
        if request.is_answer {
            let waiting =
                node.connections.values_mut().find(|it| it.attempt.awaits(sender_device, request.id));
            if let Some(connection) = waiting {
                connection.attempt.handle(self.now, Event::Answer(request));
            }
        } else if let Some(number) = node.dialer.incoming_attempt(sender_device) {
            self.add(here, number, Attempt::respond(sender_device, request, kind));
        }
        true
    }

    /// Breaks the path of every socket, on both sides.
    fn cut(&mut self) {
        for here in 0..2 {
            let numbers: BTreeSet<ConnectionNumber> = self.nodes[here].connections.keys().copied().collect();
            for number in numbers {
                self.nodes[here].connections.remove(&number);
                self.nodes[here].dialer.socket_ended(number);
            }
        }
    }
}

#[test]
fn eight_channels_wanted_at_once_come_over_one_socket() {
    let mut world = World::new();
    world.want(0, 0..8);
    world.run();
    let [ours, theirs] = &world.nodes;
    let numbers: Vec<u16> = ours.opened.values().map(|(_, channel)| channel.0).collect();
    assert_eq!(numbers, (0x8000..0x8008).collect::<Vec<u16>>());
    assert_eq!(theirs.accepted, (0..8).map(|ticket| format!("git://{ticket}")).collect::<Vec<_>>());
    assert_eq!((ours.sockets(), theirs.sockets()), (1, 1), "the copy at the other key was dropped");
    assert_eq!((ours.first_sockets, theirs.first_sockets), (1, 1));
    assert_eq!(ours.connections[&ConnectionNumber(0)].attempt.role(), Role::Requester);
    world.want(1, 20..21);
    world.run();
    assert_eq!(world.nodes[1].opened[&Ticket(20)].1, ChannelNumber(1), "the responder counts from 1");
}

#[test]
fn a_refused_device_gets_no_answer_and_gives_up_after_thirty_seconds() {
    let mut world = World::new();
    world.nodes[1].allows_peer = false;
    world.want(0, 0..2);
    world.run();
    assert!(world.nodes[1].connections.is_empty());
    world.wait(Duration::from_secs(29));
    assert!(world.nodes[0].failed.is_empty());
    world.wait(Duration::from_secs(1));
    let error = DialError::Attempt(AttemptError::NoAnswer);
    assert_eq!(world.nodes[0].failed, BTreeMap::from([(Ticket(0), error.clone()), (Ticket(1), error)]));
}

#[test]
fn a_late_answer_is_ignored_and_the_next_attempt_works() {
    let mut world = World::new();
    world.want(0, 0..1);
    while world.run_dialer(0) || world.run_attempts(0) {}
    let requests = std::mem::take(&mut world.dht);
    world.wait(Duration::from_secs(30));
    assert_eq!(world.nodes[0].failed.len(), 1);
    world.dht = requests;
    world.run();
    assert_eq!(world.nodes[0].sockets(), 0);
    world.want(0, 1..2);
    world.run();
    assert!(world.nodes[0].opened.contains_key(&Ticket(1)));
}

#[test]
fn two_that_dial_at_once_have_two_sockets_and_agree_on_the_one_to_use() {
    let mut world = World::new();
    world.want(0, 0..1);
    world.want(1, 10..11);
    world.run();
    for node in &world.nodes {
        assert_eq!((node.sockets(), node.first_sockets, node.beacons), (2, 1, 1));
        assert_eq!(node.opened.len(), 1);
    }
    world.wait(Duration::from_secs(3));
    world.want(0, 1..2);
    world.want(1, 11..12);
    world.run();
    let ids: Vec<RequestId> = [(0, 1), (1, 11)]
        .map(|(node, ticket)| {
            let node = &world.nodes[node];
            node.connections[&node.opened[&Ticket(ticket)].0].attempt.id()
        })
        .to_vec();
    assert_eq!(ids, [RequestId(100), RequestId(100)], "both sockets live, the smallest id is used");
}

#[test]
fn a_channel_lost_with_its_socket_is_asked_for_once_more() {
    let mut world = World::new();
    world.want(0, 0..1);
    world.run();
    world.nodes[1].silent = true;
    world.want(0, 1..2);
    world.run();
    world.cut();
    world.run();
    assert_eq!(world.nodes[0].sockets(), 1, "a new socket came up");
    assert!(world.nodes[0].failed.is_empty());
    world.cut();
    world.run();
    assert_eq!(world.nodes[0].failed, BTreeMap::from([(Ticket(1), DialError::SocketLost)]));
    assert_eq!(world.nodes[0].sockets(), 0);
}

#[test]
fn an_unanswered_sip_channel_takes_its_socket_down_and_is_tried_once_more() {
    let mut world = World::new();
    world.nodes[1].silent = true;
    let device = world.nodes[1].device;
    world.nodes[0].dialer.connect(Ticket(0), device, "sip".into(), String::new());
    world.run();
    world.wait(Duration::from_secs(3));
    assert!(world.nodes[0].failed.is_empty());
    world.wait(Duration::from_secs(3));
    assert_eq!(world.nodes[0].failed, BTreeMap::from([(Ticket(0), DialError::SocketLost)]));
}
