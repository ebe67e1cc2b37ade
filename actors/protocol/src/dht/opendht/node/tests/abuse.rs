//! Floods, amplification, replays, and what is bounded.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::*;
use crate::dht::listeners::LISTENERS_PER_KEY;
use crate::dht::opendht::addresses::ALLOWANCE;
use crate::dht::opendht::packet::{
    Body, Change, Datagram, ListenVersion, NO_KEY, NetworkId, Packet, Reader, Request, SocketId,
    TransactionId, Want,
};
use crate::dht::opendht::query::Query;
use crate::dht::opendht::rate;
use crate::dht::opendht::requests::MAX_REQUESTS;
use crate::dht::opendht::token::Token;
use crate::dht::value::{Value, ValueId};
use crate::ids::NodeId;

/// A packet of the stranger with this number.
fn packet(number: u32, request: Request) -> Vec<Vec<u8>> {
    let sender = NodeId(crate::ids::sha1(&number.to_be_bytes()));
    let transaction = TransactionId(number.max(1));
    Packet { network: NetworkId(7), client: false, transaction, sender, body: Body::Request(request) }
        .encode()
}

fn stranger(number: u32) -> SocketAddr {
    let [a, b, c, d] = number.to_be_bytes();
    SocketAddr::from(([100 + a, b, c, d], 4000))
}

fn ask(world: &mut World, number: u32, request: Request) -> usize {
    let datagrams = packet(number, request);
    let length = datagrams.iter().map(Vec::len).sum();
    for datagram in datagrams {
        world.fly(stranger(number), address(0), datagram);
    }
    length
}

fn listen(socket: u32, token: Option<Token>) -> Request {
    let (query, version) = (Query::default(), ListenVersion::Updates);
    Request::Listen { key: key(), query, socket: SocketId(socket), version, token }
}

/// Every kind of request that a stranger without a valid token can make, and the worst of each.
fn requests_of_strangers() -> Vec<Request> {
    let wrong = || Token::new(&[9; 32]);
    let get = |key, query, want| Request::Get { key, query, want };
    let put = |key, values: Vec<Value>, token| {
        let values = values.into_iter().map(Arc::new).collect();
        Request::Put { key, values, created: None, token }
    };
    let update = |change| Request::Update {
        key: Some(key()),
        socket: SocketId(1),
        change,
        created: None,
        token: None,
    };
    vec![
        Request::Ping,
        Request::Find { target: key(), want: None },
        Request::Find { target: key(), want: Some(Want::BOTH) },
        get(key(), Query::default(), None),
        get(key(), Query::editions(), Some(Want::BOTH)),
        get(NO_KEY, Query::default(), None),
        put(key(), vec![value(1, b"x")], wrong()),
        put(key(), (1..40).map(|id| value(id, b"")).collect(), None),
        put(key(), vec![value(0, b"x")], None),
        put(NO_KEY, vec![value(1, b"x")], None),
        put(key(), vec![value(1, &[1; 5000])], wrong()),
        Request::Refresh { key: key(), id: ValueId(1), token: wrong() },
        Request::Refresh { key: DhtKey::of_text("nothing here"), id: ValueId(1), token: None },
        listen(5, wrong()),
        listen(5, None),
        update(Change::Refreshed(vec![ValueId(1)])),
        update(Change::Values(vec![value(1, b"x").into()])),
    ]
}

/// A node that keeps much at [`key`].
fn laden(seed: u8) -> World {
    let mut world = World::settled(seed, Weather::FINE, 30);
    for number in 1..=40 {
        world.put(0, key(), value(number, &[7; 5000]), true);
    }
    world.run(seconds(10));
    world
}

#[test]
fn nobody_is_sent_more_than_came_from_there_before_it_proved_to_be_there() {
    let mut world = laden(50);
    let mut names = BTreeSet::new();
    for (number, request) in requests_of_strangers().into_iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        let name = request.name();
        names.insert(name);
        let length = ask(&mut world, number, request);
        let sent = world.recorded(seconds(20));
        let sent: Vec<usize> =
            sent.iter().filter(|sent| sent.to == stranger(number)).map(|sent| sent.bytes.len()).collect();
        assert!(
            !sent.is_empty() && sent.iter().all(|sent| *sent <= length + ALLOWANCE),
            "{name}: {length} {sent:?}"
        );
        // An answer, and a ping that asks whether the stranger is there.
        assert!(sent.iter().sum::<usize>() <= 2 * length + ALLOWANCE, "{name}: {length} {sent:?}");
    }
    assert_eq!(names.len(), 7, "{names:?}");
}

#[test]
fn many_requests_in_the_name_of_another_do_not_turn_much_against_it() {
    let mut world = laden(57);
    for (number, request) in requests_of_strangers().into_iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        let (name, mut came) = (request.name(), 0);
        for _ in 0..50 {
            came += ask(&mut world, number, request.clone());
        }
        let sent = world.recorded(seconds(20));
        let went: usize =
            sent.iter().filter(|sent| sent.to == stranger(number)).map(|sent| sent.bytes.len()).sum();
        assert!(went * 10 <= came * 15, "{name}: {came} bytes came, {went} went");
    }
}

#[test]
fn the_answer_comes_as_soon_as_the_caller_proved_to_be_there() {
    let mut world = World::settled(51, Weather::FINE, 30);
    world.put_and_wait(0, key(), value(1, &[7; 500]), true).unwrap();
    ask(&mut world, 1, Request::Get { key: key(), query: Query::default(), want: None });
    let reader = Reader { id: NodeId([9; 20]), network: NetworkId(7) };
    world.strangers.insert(
        stranger(1),
        Box::new(move |_, from, bytes| match Datagram::decode(bytes, &from, &reader).unwrap() {
            Datagram::Whole(packet) if matches!(packet.body, Body::Request(_)) => {
                let body = Body::Reply(crate::dht::opendht::packet::Reply::default());
                let sender = NodeId(crate::ids::sha1(&1_u32.to_be_bytes()));
                Packet { sender, body, ..packet }.encode()
            }
            _ => Vec::new(),
        }),
    );
    let sent = world.recorded(Duration::from_millis(100));
    let answer = sent.iter().filter(|sent| sent.to == stranger(1)).map(|sent| sent.bytes.len()).max();
    assert!(answer.unwrap() > 700);
}

#[test]
fn a_flood_from_many_addresses_is_bounded_and_displaces_nobody() {
    let mut world = World::settled(52, Weather::FINE, 30);
    let before: Vec<_> = world.node(0).tables.values().flat_map(|table| table.ids()).collect();
    let mut answers = 0;
    for round in 0..8_u32 {
        for number in 0..2000_u32 {
            let target = DhtKey(crate::ids::sha1(&number.to_be_bytes()));
            ask(&mut world, round * 2000 + number, Request::Find { target, want: None });
        }
        let sent = world.recorded(Duration::from_millis(100));
        answers += sent.iter().filter(|sent| sent.from == address(0)).count();
    }
    assert!(answers <= 3 * rate::IN_ALL, "{answers}");
    let health = world.node(0).health(world.now());
    assert!(health.requests < 1000 && world.node(0).nodes.iter().count() < 200, "{health:?}");
    let after: Vec<_> = world.node(0).tables.values().flat_map(|table| table.ids()).collect();
    assert!(before.iter().all(|id| after.contains(id)));
    world.run(seconds(2));
    assert!(world.put_and_wait(0, key(), value(1, b"x"), false).is_ok());
    world.run(seconds(60));
    assert!(world.node(0).health(world.now()).requests < 10);
}

#[test]
fn ten_thousand_listeners_are_bounded() {
    let mut world = World::settled(53, Weather::FINE, 3);
    for round in 0..10_u32 {
        for number in round * 1000..(round + 1) * 1000 {
            let token = world.node(0).mint.token(&stranger(number));
            ask(&mut world, number, listen(number, Some(token)));
        }
        world.run(seconds(1));
    }
    let listeners = world.node(0).health(world.now()).listeners;
    assert_eq!(listeners, LISTENERS_PER_KEY);
    world.put(1, key(), value(1, b"x"), false);
    let sent = world.recorded(seconds(60));
    let updates = sent.iter().filter(|sent| sent.from == address(0) && sent.to != address(1)).count();
    assert!((LISTENERS_PER_KEY..4 * LISTENERS_PER_KEY).contains(&updates), "{updates}");
    let health = world.node(0).health(world.now());
    assert_eq!((health.listeners, health.requests), (0, 0), "who does not answer is forgotten");
}

#[test]
fn listeners_at_many_keys_are_told_and_do_not_exceed_the_requests_at_one_time() {
    let mut world = World::settled(54, Weather::FINE, 3);
    for number in 0..10_000_u32 {
        let token = Some(world.node(0).mint.token(&stranger(number)));
        let at = DhtKey::of_text(&(number % 100).to_string());
        let (query, version) = (Query::default(), ListenVersion::Updates);
        ask(&mut world, number, Request::Listen { key: at, query, socket: SocketId(number), version, token });
        if number % 1000 == 0 {
            world.run(seconds(1));
        }
    }
    world.run(seconds(2));
    assert_eq!(world.node(0).health(world.now()).listeners, 10_000);
    for number in 0..100_u32 {
        world.put(1, DhtKey::of_text(&number.to_string()), value(1, b"x"), false);
    }
    world.run(Duration::from_millis(500));
    let requests = world.node(0).health(world.now()).requests;
    assert!((9_000..=MAX_REQUESTS).contains(&requests), "{requests}");
}

#[test]
fn a_replayed_datagram_changes_nothing() {
    let mut world = World::settled(55, Weather::FINE, 6);
    let listening = world.listen(2, key());
    world.run(seconds(2));
    world.put(1, key(), value(1, b"x"), false);
    let first = world.recorded(seconds(2));
    world.put(1, DhtKey::of_text("other"), value(1, b"x"), false);
    world.run(seconds(5 * MINUTE));
    for sent in first {
        // From where it came, and from somewhere else.
        world.fly(sent.from, sent.to, sent.bytes.clone());
        world.fly(stranger(1), sent.to, sent.bytes);
    }
    world.run(seconds(2));
    assert_eq!(world.told(2, listening).len(), 1);
    assert_eq!(world.connected(), 6);
}

#[test]
fn a_value_that_belongs_elsewhere_is_dropped_silently() {
    let mut world = World::settled(56, Weather::FINE, 60);
    let far = DhtKey(id(0).0.map(|byte| !byte));
    let token = Some(world.node(0).mint.token(&stranger(1)));
    for at in [far, DhtKey(id(0).0)] {
        let request = Request::Put {
            key: at,
            values: vec![value(1, b"x").into()],
            created: None,
            token: token.clone(),
        };
        ask(&mut world, 1, request);
        let sent = world.recorded(seconds(1));
        assert!(sent.iter().any(|sent| sent.to == stranger(1)), "the answer is the same");
        assert_eq!(world.keepers(at).is_empty(), at == far);
    }
}
