//! Cores talking to each other over a network of calls, under a time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use libp2p::PeerId;
use libp2p_kad::KBucketKey;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::listeners::LISTENERS_PER_PEER;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::Moment;

use super::config::NodeSecret;
use super::core::{Core, Output};
use super::outbox::Parcel;
use super::wire::{Entry, Reason, Request, Response};
use crate::dht::messages::{DhtError, Found, ListenEvent, ListenId, PutReport, Ticket};

const KEY: DhtKey = DhtKey([5; 20]);
const MINUTE: Duration = Duration::from_secs(60);

fn plain(id: u64, text: &str) -> Value {
    Value::plain(ValueId(id), Content::new(0, text.as_bytes().to_vec()))
}

fn signed(id: u64, text: &str, sequence: u16) -> Value {
    let pem = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/data/vectors/jami-13.7.0/accounts/alice/ring_device.key"
    ));
    let key = PrivateKey::from_pem(pem).unwrap();
    Value::signed(ValueId(id), Content::new(0, text.as_bytes().to_vec()).sign(&key, sequence).unwrap())
}

/// A value whose signature is another one's.
fn forged() -> Vec<u8> {
    let (good, other) = (signed(1, "mine", 1), signed(1, "other", 1));
    let signature = |value: &Value| value.as_signed().unwrap().signature().to_vec();
    let mut packed = good.encode();
    let place = packed.windows(512).position(|window| window == signature(&good)).unwrap();
    packed[place..place + 512].copy_from_slice(&signature(&other));
    packed
}

/// All nodes of a test and the events they told.
#[derive(Default)]
struct Network {
    now: Moment,
    nodes: BTreeMap<PeerId, Core>,
    links: BTreeSet<(PeerId, PeerId)>,
    events: VecDeque<(PeerId, Output)>,
    /// Requests delivered, by what they are.
    requests: BTreeMap<&'static str, usize>,
}

impl Network {
    /// So many nodes, each connected with all others.
    fn full(count: u8) -> (Self, Vec<PeerId>) {
        let mut network = Self::default();
        let peers: Vec<PeerId> = (0..count).map(|number| network.start(number)).collect();
        network.connect_all();
        (network, peers)
    }

    fn start(&mut self, number: u8) -> PeerId {
        let peer = NodeSecret([number + 1; 32]).peer_id().unwrap();
        self.nodes.insert(peer, Core::new(peer, self.now));
        peer
    }

    fn connect(&mut self, one: PeerId, other: PeerId) {
        for (from, to) in [(one, other), (other, one)] {
            if self.links.insert((from, to)) {
                let now = self.now;
                self.node(from).connected(now, to);
            }
        }
    }

    fn connect_all(&mut self) {
        let peers: Vec<PeerId> = self.nodes.keys().copied().collect();
        for (index, one) in peers.iter().enumerate() {
            peers[index + 1..].iter().for_each(|other| self.connect(*one, *other));
        }
        self.run();
        self.advance(Duration::from_secs(1));
    }

    /// The process of a node ends; its peers see the connections close.
    fn kill(&mut self, peer: PeerId) {
        self.nodes.remove(&peer);
        let links: Vec<_> =
            self.links.iter().filter(|(from, to)| *from == peer || *to == peer).copied().collect();
        for (from, to) in links {
            self.links.remove(&(from, to));
            let now = self.now;
            if let Some(node) = self.nodes.get_mut(&from) {
                node.disconnected(now, to);
            }
        }
        self.run();
    }

    fn node(&mut self, peer: PeerId) -> &mut Core {
        self.nodes.get_mut(&peer).unwrap()
    }

    /// Delivers everything until all are quiet.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let next =
                self.nodes.iter_mut().find_map(|(peer, node)| node.poll().map(|output| (*peer, output)));
            match next {
                None => return,
                Some((peer, Output::Send(parcel))) => self.deliver(peer, parcel),
                Some((peer, Output::Search(key))) => {
                    let (now, found) = (self.now, self.closest(key));
                    self.node(peer).search_ended(now, key, found);
                }
                Some(event) => self.events.push_back(event),
            }
        }
        panic!("the nodes never stop talking");
    }

    /// What a look-up finds.
    fn closest(&self, key: DhtKey) -> Vec<PeerId> {
        let target = KBucketKey::from(key.0.to_vec());
        let mut peers: Vec<PeerId> = self.nodes.keys().copied().collect();
        peers.sort_by_key(|peer| KBucketKey::from(*peer).distance(&target));
        peers
    }

    fn deliver(&mut self, from: PeerId, parcel: Parcel) {
        let now = self.now;
        let request = Request::decode(&parcel.request.encode()).unwrap();
        *self.requests.entry(name(&request)).or_default() += 1;
        let linked = self.links.contains(&(from, parcel.peer));
        let response = self.nodes.get_mut(&parcel.peer).filter(|_| linked);
        let response = response.map(|node| node.asked(now, from, request));
        self.node(from).answered(now, parcel.id, response);
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now.plus(time);
        loop {
            self.run();
            let next = self.nodes.values().filter_map(Core::deadline).min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
            let now = self.now;
            let due = self.nodes.values_mut().filter(|node| node.deadline().is_some_and(|due| due <= now));
            due.for_each(|node| node.tick(now));
        }
        self.now = end;
    }

    fn put(&mut self, peer: PeerId, value: Value, permanent: bool) -> Ticket {
        let now = self.now;
        let ticket = self.node(peer).put(now, KEY, value, permanent).unwrap();
        self.run();
        ticket
    }

    fn outcome(&mut self, peer: PeerId, ticket: Ticket) -> Option<Result<PutReport, DhtError>> {
        let of = |(at, event): &(PeerId, Output)| {
            *at == peer && matches!(event, Output::Put(t, _) if *t == ticket)
        };
        let place = self.events.iter().position(of)?;
        match self.events.remove(place) {
            Some((_, Output::Put(_, result))) => Some(result),
            _ => None,
        }
    }

    fn get(&mut self, peer: PeerId) -> Result<Found, DhtError> {
        let now = self.now;
        let ticket = self.node(peer).get(now, KEY).unwrap();
        self.run();
        for _ in 0..40 {
            let of = |event: &(PeerId, Output)| matches!(event, (_, Output::Got(t, _)) if *t == ticket);
            if let Some(place) = self.events.iter().position(of) {
                let Some((_, Output::Got(_, result))) = self.events.remove(place) else { panic!() };
                return result;
            }
            self.advance(Duration::from_millis(500));
        }
        panic!("the get never ends");
    }

    fn ids(&mut self, peer: PeerId) -> Vec<u64> {
        self.get(peer).map(|found| found.values.iter().map(|value| value.id.0).collect()).unwrap_or_default()
    }

    fn listen(&mut self, peer: PeerId) -> ListenId {
        let (now, id) = (self.now, ListenId::unique());
        self.node(peer).listen(now, id, KEY).unwrap();
        self.run();
        id
    }

    /// What a listener was told since the last call: `+id` and `-id`.
    fn told(&mut self, peer: PeerId) -> Vec<String> {
        let mut told = Vec::new();
        self.events.retain(|event| match event {
            (at, Output::Told(_, ListenEvent::Values(values))) if *at == peer => {
                told.extend(values.iter().map(|value| format!("+{}", value.id.0)));
                false
            }
            (at, Output::Told(_, ListenEvent::Expired(gone))) if *at == peer => {
                told.extend(gone.iter().map(|gone| format!("-{}", gone.id.0)));
                false
            }
            _ => true,
        });
        told
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Store { .. } => "store",
        Request::Get { .. } => "get",
        Request::Listen { .. } => "listen",
        Request::Unlisten { .. } => "unlisten",
        Request::Notify { .. } => "notify",
        Request::Ping => "ping",
    }
}

#[test]
fn a_value_put_on_one_node_is_got_on_another() {
    let (mut network, peers) = Network::full(4);
    let ticket = network.put(peers[0], plain(1, "hello"), false);
    assert_eq!(network.outcome(peers[0], ticket), Some(Ok(PutReport { stored: 2 })));
    let found = network.get(peers[3]).unwrap();
    assert_eq!(found, Found { values: vec![plain(1, "hello")], answered: 3 });
}

#[test]
fn values_of_several_nodes_at_one_key_are_merged() {
    let (mut network, peers) = Network::full(10);
    for (number, peer) in (1..).zip(&peers) {
        network.put(*peer, plain(number, "x"), false);
    }
    assert_eq!(network.ids(peers[9]), (1..=10).collect::<Vec<_>>());
}

#[test]
fn values_beyond_one_message_are_got_and_told_page_by_page() {
    let (mut network, peers) = Network::full(3);
    for id in 1..=5 {
        network.put(peers[0], plain(id, &"x".repeat(60_000)), false);
    }
    network.kill(peers[2]);
    let late = network.start(3);
    network.connect(late, peers[1]);
    network.advance(Duration::from_secs(1));
    assert_eq!(network.ids(late), [1, 2, 3, 4, 5]);
    network.listen(late);
    assert_eq!(network.told(late).len(), 5);
}

#[test]
fn an_unsigned_edit_is_refused_and_the_publisher_told() {
    let (mut network, peers) = Network::full(3);
    network.put(peers[0], plain(1, "first"), false);
    let now = network.now;
    let error = network.node(peers[0]).put(now, KEY, plain(1, "other"), false).unwrap_err();
    assert!(matches!(error, DhtError::Value(_)), "{error}");
    assert_eq!(network.get(peers[1]).unwrap().values, [plain(1, "first")]);
}

#[test]
fn a_value_that_is_not_permanent_is_gone_after_the_life_of_its_kind() {
    let (mut network, peers) = Network::full(3);
    network.put(peers[0], plain(1, "x"), false);
    network.advance(9 * MINUTE);
    assert_eq!(network.ids(peers[2]), [1]);
    network.advance(2 * MINUTE);
    assert_eq!(network.ids(peers[2]), [0; 0]);
    assert!(network.nodes.values().all(|node| node.counts().values == 0 && node.counts().published == 0));
}

#[test]
fn a_permanent_value_lives_until_it_is_cancelled() {
    let (mut network, peers) = Network::full(3);
    network.put(peers[0], plain(1, "x"), true);
    network.advance(60 * MINUTE);
    assert_eq!(network.ids(peers[2]), [1]);
    let now = network.now;
    network.node(peers[0]).cancel_put(now, KEY, ValueId(1));
    network.advance(11 * MINUTE);
    assert_eq!(network.ids(peers[2]), [0; 0]);
}

#[test]
fn a_permanent_value_survives_the_restart_of_all_storing_nodes() {
    let (mut network, peers) = Network::full(4);
    network.put(peers[0], plain(1, "x"), true);
    peers[1..].iter().for_each(|peer| network.kill(*peer));
    for number in 1..4 {
        network.start(number);
    }
    network.connect_all();
    assert!(peers[1..].iter().all(|peer| network.node(*peer).counts().values == 1));
    assert_eq!(network.ids(peers[3]), [1]);
}

#[test]
fn a_permanent_value_moves_to_new_nodes_when_storing_nodes_die() {
    let (mut network, peers) = Network::full(12);
    network.put(peers[0], plain(1, "x"), true);
    let holders: Vec<PeerId> =
        peers[1..].iter().copied().filter(|p| network.node(*p).counts().values == 1).collect();
    assert_eq!(holders.len(), 8);
    holders[..4].iter().for_each(|peer| network.kill(*peer));
    network.advance(Duration::from_secs(1));
    let kept = network.nodes.values().filter(|node| node.counts().values == 1).count();
    assert_eq!(kept, 8, "all seven others and the publisher itself");
}

#[test]
fn a_put_without_any_other_node_fails_in_time_but_a_permanent_one_is_delivered_later() {
    let (mut network, peers) = Network::full(1);
    let ticket = network.put(peers[0], plain(1, "x"), true);
    let once = network.put(peers[0], plain(2, "x"), false);
    network.advance(Duration::from_secs(31));
    for ticket in [ticket, once] {
        let outcome = network.outcome(peers[0], ticket);
        assert!(matches!(outcome, Some(Err(DhtError::Alone { .. }))), "{outcome:?}");
    }
    let late = network.start(1);
    network.connect_all();
    assert_eq!(network.node(late).counts().values, 1);
    assert_eq!(network.ids(late), [1, 2], "the second from the publisher's own store");
}

#[test]
fn a_put_made_before_the_first_node_comes_is_delivered_when_it_does() {
    let (mut network, peers) = Network::full(1);
    let ticket = network.put(peers[0], plain(1, "x"), false);
    network.advance(Duration::from_secs(5));
    network.start(1);
    network.connect_all();
    assert_eq!(network.outcome(peers[0], ticket), Some(Ok(PutReport { stored: 1 })));
}

#[test]
fn a_get_without_any_other_node_fails_in_time_unless_this_one_has_the_value() {
    let (mut network, peers) = Network::full(1);
    assert!(matches!(network.get(peers[0]), Err(DhtError::Alone { .. })));
    network.put(peers[0], plain(1, "x"), false);
    assert_eq!(network.ids(peers[0]), [1]);
}

#[test]
fn a_get_does_not_wait_for_a_node_that_does_not_answer() {
    let (mut network, peers) = Network::full(4);
    network.put(peers[0], plain(1, "x"), false);
    // The link is dead and nobody has noticed yet.
    network.links.remove(&(peers[1], peers[2]));
    assert_eq!(network.ids(peers[1]), [1]);
}

#[test]
fn a_listener_is_told_of_each_later_value_at_once_and_once() {
    let (mut network, peers) = Network::full(8);
    network.listen(peers[7]);
    assert_eq!(network.told(peers[7]), [""; 0]);
    network.requests.clear();
    network.put(peers[0], plain(1, "x"), false);
    assert_eq!(network.told(peers[7]), ["+1"]);
    assert!(network.requests["notify"] <= 8, "{:?}", network.requests);
    assert_eq!(network.requests["store"], 7);
    network.advance(11 * MINUTE);
    assert_eq!(network.told(peers[7]), ["-1"]);
}

#[test]
fn a_listener_hears_the_values_of_its_own_node_without_any_other() {
    let (mut network, peers) = Network::full(1);
    network.put(peers[0], plain(1, "x"), true);
    network.listen(peers[0]);
    network.put(peers[0], plain(2, "x"), false);
    assert_eq!(network.told(peers[0]), ["+1", "+2"]);
    network.advance(30 * MINUTE);
    assert_eq!(network.told(peers[0]), ["-2"], "the permanent one stays");
}

#[test]
fn a_permanent_value_does_not_expire_for_a_listener() {
    let (mut network, peers) = Network::full(3);
    network.listen(peers[1]);
    network.put(peers[0], plain(1, "x"), true);
    network.advance(60 * MINUTE);
    assert_eq!(network.told(peers[1]), ["+1"]);
}

#[test]
fn a_second_listener_at_a_key_is_told_what_is_there() {
    let (mut network, peers) = Network::full(3);
    network.put(peers[0], plain(1, "x"), false);
    network.listen(peers[1]);
    network.listen(peers[1]);
    assert_eq!(network.told(peers[1]), ["+1", "+1"]);
    network.put(peers[2], plain(2, "x"), false);
    assert_eq!(network.told(peers[1]), ["+2", "+2"]);
}

#[test]
fn a_cancelled_listener_is_told_nothing_and_the_storing_nodes_forget_it() {
    let (mut network, peers) = Network::full(3);
    let id = network.listen(peers[1]);
    let now = network.now;
    network.node(peers[1]).cancel_listen(now, id);
    network.run();
    network.put(peers[0], plain(1, "x"), false);
    assert_eq!(network.told(peers[1]), [""; 0]);
    assert!(network.nodes.values().all(|node| node.counts().listeners == 0));
}

#[test]
fn a_listener_hears_through_a_node_that_joins_later_and_through_one_that_was_away() {
    let (mut network, peers) = Network::full(1);
    network.listen(peers[0]);
    let other = network.start(1);
    network.connect_all();
    network.put(other, plain(1, "x"), false);
    assert_eq!(network.told(peers[0]), ["+1"]);
    network.kill(other);
    network.start(1);
    network.connect_all();
    network.put(other, plain(2, "x"), false);
    assert_eq!(network.told(peers[0]), ["+2"]);
}

#[test]
fn a_listener_is_remembered_for_hours_and_a_vanished_one_forgotten() {
    let (mut network, peers) = Network::full(3);
    network.listen(peers[1]);
    network.advance(180 * MINUTE);
    network.put(peers[0], plain(1, "x"), false);
    assert_eq!(network.told(peers[1]), ["+1"]);
    network.kill(peers[1]);
    assert_eq!(network.node(peers[0]).counts().listeners, 0);
}

#[test]
fn a_change_that_did_not_arrive_is_told_again() {
    let (mut network, peers) = Network::full(2);
    network.listen(peers[1]);
    let now = network.now;
    network.links.remove(&(peers[0], peers[1]));
    network.node(peers[0]).put(now, KEY, plain(1, "x"), false).unwrap();
    let Some(Output::Send(parcel)) = network.node(peers[0]).poll() else { panic!() };
    network.node(peers[0]).answered(now, parcel.id, None);
    network.links.insert((peers[0], peers[1]));
    network.run();
    assert_eq!(network.told(peers[1]), ["+1"]);
}

#[test]
fn a_connected_peer_that_does_not_answer_is_parted_with_and_the_network_counts_as_out_of_reach() {
    let (mut network, peers) = Network::full(2);
    let now = network.now;
    assert!(network.node(peers[0]).reachable(now).0);
    network.links.clear();
    network.advance(2 * MINUTE);
    let now = network.now;
    assert!(!network.node(peers[0]).reachable(now).0);
    let parted =
        |(_, event): &(PeerId, Output)| matches!(event, Output::Disconnect(peer) if *peer == peers[1]);
    assert!(network.events.iter().any(parted));
}

#[test]
fn an_idle_network_is_reachable_and_nearly_silent() {
    let (mut network, peers) = Network::full(5);
    for peer in peers {
        network.listen(peer);
    }
    network.requests.clear();
    network.advance(60 * MINUTE);
    let now = network.now;
    assert!(network.nodes.values().all(|node| node.reachable(now).0));
    let requests: usize = network.requests.values().sum();
    // A request and its answer take about ten packets in all, five for each of the two nodes.
    let packets_a_second = requests as f64 * 10.0 / 5.0 / 3600.0;
    assert!(packets_a_second < 0.5, "{packets_a_second}: {:?}", network.requests);
}

#[test]
fn ten_thousand_junk_requests_of_one_peer_leave_bounded_state_and_do_not_harm_others() {
    let (mut network, peers) = Network::full(3);
    network.put(peers[0], plain(1, "x"), true);
    let now = network.now;
    let node = network.nodes.get_mut(&peers[1]).unwrap();
    let mut refused = 0;
    for number in 0..10_000_u64 {
        let mut key = [0; 20];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let packed = plain(number + 1, &"junk".repeat(2000)).encode();
        let entries = vec![Entry { age: Duration::ZERO, packed }];
        let now = now.plus(Duration::from_millis(number / 2));
        for request in [Request::Store { key: DhtKey(key), entries }, Request::Listen { key: DhtKey(key) }] {
            let response = node.asked(now, peers[2], request);
            refused += usize::from(matches!(response, Response::Declined(_)));
        }
    }
    assert!(refused > 10_000, "{refused}");
    assert!(node.counts().listeners <= LISTENERS_PER_PEER);
    assert!(node.counts().values <= 6 * 1024 + 1);
    network.now = now.plus(Duration::from_secs(10));
    assert_eq!(network.ids(peers[0]), [1]);
}

#[test]
fn what_was_not_asked_for_is_not_heard() {
    let (mut network, peers) = Network::full(2);
    let now = network.now;
    let values = vec![plain(1, "x").encode()];
    let request = Request::Notify { key: KEY, values, refreshed: Vec::new(), expired: Vec::new() };
    let response = network.node(peers[0]).asked(now, peers[1], request);
    assert_eq!(response, Response::Declined(Reason::NotListening));
    assert_eq!(network.told(peers[0]), [""; 0]);
}

#[test]
fn values_that_are_none_or_badly_signed_are_not_kept() {
    let (mut network, peers) = Network::full(2);
    let now = network.now;
    let good = plain(3, "x").encode();
    let mut cut = good.clone();
    cut.pop();
    let entries = [b"nonsense".to_vec(), cut, plain(0, "x").encode(), good];
    let entries = entries.map(|packed| Entry { age: Duration::ZERO, packed }).to_vec();
    let response = network.node(peers[0]).asked(now, peers[1], Request::Store { key: KEY, entries });
    assert_eq!(response, Response::Stored { refused: vec![(0, Reason::Policy)] });
    assert_eq!(network.node(peers[0]).counts().values, 1);
}

#[test]
fn a_value_that_its_publisher_calls_old_does_not_live_longer() {
    let (mut network, peers) = Network::full(2);
    let now = network.now;
    let entry = |minutes: u32| Entry { age: minutes * MINUTE, packed: plain(minutes.into(), "x").encode() };
    let request = Request::Store { key: KEY, entries: vec![entry(9), entry(20)] };
    let response = network.node(peers[0]).asked(now, peers[1], request);
    assert_eq!(response, Response::Stored { refused: vec![(20, Reason::Policy)] });
    network.advance(2 * MINUTE);
    assert_eq!(network.node(peers[0]).counts().values, 0);
}

#[test]
fn an_edit_with_a_higher_sequence_replaces_and_one_with_a_lower_is_refused() {
    let (mut network, peers) = Network::full(3);
    network.listen(peers[2]);
    network.put(peers[0], signed(1, "first", 5), true);
    let (now, packed) = (network.now, signed(1, "old", 4).encode());
    let entries = vec![Entry { age: Duration::ZERO, packed }];
    let response = network.node(peers[1]).asked(now, peers[0], Request::Store { key: KEY, entries });
    assert_eq!(response, Response::Stored { refused: vec![(1, Reason::Policy)] });
    network.put(peers[0], signed(1, "second", 6), true);
    assert_eq!(network.get(peers[1]).unwrap().values, [signed(1, "second", 6)]);
    assert_eq!(network.told(peers[2]), ["+1", "+1", "-1"], "the edition before is gone");
    network.advance(30 * MINUTE);
    assert_eq!(network.told(peers[2]), [""; 0]);
}

#[test]
fn a_get_takes_the_latest_edition_whoever_answers_first() {
    let (mut network, peers) = Network::full(3);
    let now = network.now;
    for (peer, value) in [(peers[1], signed(1, "old", 1)), (peers[2], signed(1, "new", 2))] {
        let entries = vec![Entry { age: Duration::ZERO, packed: value.encode() }];
        network.node(peer).asked(now, peers[0], Request::Store { key: KEY, entries });
    }
    assert_eq!(network.get(peers[0]).unwrap().values, [signed(1, "new", 2)]);
}

#[test]
fn a_forged_value_is_neither_kept_nor_believed() {
    let (mut network, peers) = Network::full(2);
    let now = network.now;
    let entries = vec![Entry { age: Duration::ZERO, packed: forged() }];
    let response = network.node(peers[0]).asked(now, peers[1], Request::Store { key: KEY, entries });
    assert_eq!(response, Response::Stored { refused: vec![(1, Reason::Policy)] });
    network.listen(peers[0]);
    let values = vec![forged()];
    let request = Request::Notify { key: KEY, values, refreshed: Vec::new(), expired: Vec::new() };
    assert_eq!(network.node(peers[0]).asked(now, peers[1], request), Response::Done);
    assert_eq!(network.told(peers[0]), [""; 0]);
}
