//! Values that nobody put, and values that somebody puts again.

use std::net::SocketAddr;

use super::*;
use crate::dht::content::Content;
use crate::dht::golden;
use crate::dht::opendht::fields::FieldTable;
use crate::dht::opendht::packet::{
    Body, Change, Datagram, NetworkId, Packet, Reader, Reply, Request, TransactionId,
};
use crate::dht::opendht::token::Token;
use crate::dht::value::{Value, ValueId};
use crate::ids::NodeId;

fn edition(sequence: u16, data: &[u8]) -> Value {
    let content = Content::new(0, data.to_vec());
    Value::signed(ValueId(4), content.sign(golden::throw_away_key(), sequence).unwrap())
}

/// The value with its signature altered.
fn forged(value: &Value) -> Value {
    let mut bytes = value.encode();
    *bytes.last_mut().unwrap() ^= 1;
    Value::decode(&bytes).unwrap()
}

/// The node next to [`key`].
fn liar() -> NodeId {
    let mut id = key().0;
    id[19] ^= 1;
    NodeId(id)
}

/// Lets the node at `at` join, which says that it has these values, whatever it is asked for, and that
/// it keeps whatever it is given.
fn let_lie(world: &mut World, at: SocketAddr, values: Vec<Value>) {
    let reader = Reader { id: liar(), network: NetworkId(7) };
    let answer = move |_: SocketAddr, from: SocketAddr, bytes: &[u8]| {
        let Ok(Datagram::Whole(packet)) = Datagram::decode(bytes, &from, &reader) else { return Vec::new() };
        let Body::Request(request) = &packet.body else { return Vec::new() };
        let mut reply = Reply { seen: Some(from.ip()), token: Token::new(&[1; 32]), ..Reply::default() };
        match request {
            Request::Get { query, .. } if query.select.is_empty() => {
                reply.values = values.iter().cloned().map(Into::into).collect();
            }
            Request::Get { query, .. } => reply.fields = Some(FieldTable::of(&query.select, &values)),
            Request::Put { values, .. } => reply.stored = values.first().map(|value| value.id),
            Request::Refresh { id, .. } => reply.stored = Some(*id),
            _ => {}
        }
        Packet { sender: liar(), body: Body::Reply(reply), ..packet }.encode()
    };
    world.strangers.insert(at, Box::new(answer));
    let machines: Vec<SocketAddr> = world.machines.keys().copied().collect();
    for machine in machines {
        let body = Body::Request(Request::Find { target: key(), want: None });
        let (network, client, transaction) = (NetworkId(7), false, TransactionId(1));
        for datagram in (Packet { network, client, transaction, sender: liar(), body }).encode() {
            world.fly(at, machine, datagram);
        }
    }
    world.run(seconds(10));
}

#[test]
fn forged_and_replaced_values_are_not_got_and_hide_no_true_one() {
    let mut world = World::settled(70, Weather::FINE, 20);
    let honest = edition(3, b"true");
    // The certificate of another device, a signature that does not verify, a later edition of nobody,
    // and one that was replaced.
    let certificate = Value::plain(ValueId(1), Content::new(8, b"not of this key".to_vec()));
    let lies = vec![certificate, forged(&honest), forged(&edition(9, b"later")), edition(2, b"before")];
    let_lie(&mut world, address(900), lies);
    assert!(world.put_and_wait(5, key(), honest.clone(), true).is_ok());
    world.run(seconds(5));
    for reader in [3, 11, 19] {
        let found = world.get_and_wait(reader, key()).unwrap().values;
        let values: Vec<Value> = found.iter().map(|value| Value::clone(value)).collect();
        assert_eq!(values, std::slice::from_ref(&honest));
    }
}

#[test]
fn what_an_owner_signed_elsewhere_hides_nothing_under_the_id_of_another_value() {
    let mut world = World::settled(74, Weather::FINE, 20);
    let (honest, moved) = (edition(3, b"true"), edition(9, b"signed for another id"));
    let_lie(&mut world, address(900), vec![moved]);
    let listening = world.listen(5, key());
    world.run(seconds(5));
    assert!(world.put_and_wait(8, key(), honest, true).is_ok());
    world.run(seconds(5));
    for reader in [3, 11, 19] {
        assert!(found(world.get_and_wait(reader, key())).contains(&b"true".to_vec()), "{reader}");
    }
    assert!(world.told(5, listening).iter().any(|(_, data)| data == b"true"));
}

#[test]
fn an_update_with_forged_values_or_of_a_stranger_tells_a_listener_nothing() {
    let mut world = World::settled(71, Weather::FINE, 20);
    let honest = edition(3, b"true");
    let_lie(&mut world, address(900), Vec::new());
    world.record = Some(Vec::new());
    let listening = world.listen(5, key());
    world.run(seconds(5));
    let asked = world.record.take().unwrap();
    let socket = asked.iter().filter(|sent| sent.to == address(900)).find_map(|sent| {
        let reader = Reader { id: liar(), network: NetworkId(7) };
        match Datagram::decode(&sent.bytes, &sent.from, &reader).ok()? {
            Datagram::Whole(Packet { body: Body::Request(Request::Listen { socket, .. }), .. }) => {
                Some(socket)
            }
            _ => None,
        }
    });
    let socket = socket.expect("the liar is listened to");
    world.put_and_wait(8, key(), honest, true).unwrap();
    world.run(seconds(5));
    let update = |value: Value| {
        let (key, change) = (Some(key()), Change::Values(vec![value.into()]));
        let body = Body::Request(Request::Update { key, socket, change, created: None, token: None });
        let (network, client, transaction) = (NetworkId(7), false, TransactionId(1));
        Packet { network, client, transaction, sender: liar(), body }.encode()
    };
    let lies = [forged(&edition(9, b"later")), Value::plain(ValueId(1), Content::new(8, b"no".to_vec()))];
    for datagram in lies.into_iter().flat_map(&update) {
        world.fly(address(900), address(5), datagram);
    }
    // A true one from somebody who is not listened to.
    for datagram in update(edition(9, b"by a stranger")) {
        world.fly(address(901), address(5), datagram);
    }
    world.run(seconds(5));
    assert_eq!(world.told(5, listening).into_iter().map(|(_, data)| data).collect::<Vec<_>>(), [b"true"]);
    assert_eq!(world.expired(5, listening), 0);
}

#[test]
fn an_older_edition_that_is_sent_again_replaces_nothing() {
    let mut world = World::settled(72, Weather::FINE, 20);
    let listening = world.listen(7, key());
    world.record = Some(Vec::new());
    world.put_and_wait(5, key(), edition(1, b"old"), false).unwrap();
    world.run(seconds(2));
    let first = world.record.take().unwrap();
    world.put_and_wait(5, key(), edition(2, b"new"), false).unwrap();
    world.run(seconds(2));
    for sent in first {
        // As it was, tokens and all, and from somewhere else.
        world.fly(sent.from, sent.to, sent.bytes.clone());
        world.fly(address(901), sent.to, sent.bytes);
    }
    world.run(seconds(10));
    assert_eq!(found(world.get_and_wait(9, key())), [b"new"]);
    let told: Vec<_> = world.told(7, listening).into_iter().map(|(_, data)| data).collect();
    assert_eq!(told, [b"old", b"new"]);
}

#[test]
fn parts_of_a_stranger_do_not_get_into_the_values_of_another() {
    let mut world = World::settled(73, Weather::FINE, 2);
    let data: Vec<u8> = (0..20_000).map(|number: u32| number.to_be_bytes()[3]).collect();
    world.put_and_wait(1, key(), value(1, &data), true).unwrap();
    world.record = Some(Vec::new());
    let get = world.get(0, key());
    world.run(Duration::from_millis(1));
    // The number of each request under way, as if it had been guessed.
    let asked = world.record.take().unwrap();
    let numbers = asked.iter().filter_map(|sent| {
        let reader = Reader { id: id(1), network: NetworkId(7) };
        match Datagram::decode(&sent.bytes, &sent.from, &reader).ok()? {
            Datagram::Whole(packet) => Some(packet.transaction),
            _ => None,
        }
    });
    let lie = vec![value(1, &[7; 20_000]).into()];
    for transaction in numbers.collect::<Vec<_>>() {
        let body =
            Body::Reply(Reply { values: lie.clone(), token: Token::new(&[1; 32]), ..Reply::default() });
        let (network, client, sender) = (NetworkId(7), false, id(1));
        for datagram in (Packet { network, client, transaction, sender, body }).encode() {
            world.fly(address(900), address(0), datagram);
        }
    }
    let got = world.wait_for(0, |event| match event {
        crate::dht::opendht::operation::Event::Got { operation, result } if *operation == get => {
            Some(result.clone())
        }
        _ => None,
    });
    assert_eq!(found(got), [data]);
}
