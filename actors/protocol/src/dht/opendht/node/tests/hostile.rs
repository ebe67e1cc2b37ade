//! Nodes that lie: they name only each other, take everything, and keep nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::dht::opendht::compact::Contact;
use crate::dht::opendht::nodes::distance;
use crate::dht::opendht::packet::{Body, Datagram, NetworkId, Packet, Reader, Reply, Request};
use crate::dht::opendht::token::Token;
use crate::ids::NodeId;

/// Lets all machines of `ring` answer as if there were no other nodes.
fn take_over(world: &mut World, ring: &BTreeMap<SocketAddr, NodeId>) {
    let contacts: Vec<Contact> =
        ring.iter().map(|(address, id)| Contact { id: *id, address: *address }).collect();
    for (address, id) in ring {
        let (contacts, id) = (contacts.clone(), *id);
        let reader = Reader { id, network: NetworkId(7) };
        let answer = move |_: SocketAddr, from: SocketAddr, bytes: &[u8]| {
            let Ok(Datagram::Whole(packet)) = Datagram::decode(bytes, &from, &reader) else {
                return Vec::new();
            };
            let Body::Request(request) = &packet.body else { return Vec::new() };
            let mut reply = Reply { seen: Some(from.ip()), token: Token::new(&[1; 32]), ..Reply::default() };
            match request {
                Request::Find { target, .. } | Request::Get { key: target, .. } => {
                    let mut closest = contacts.clone();
                    closest.sort_by_key(|contact| distance(&contact.id.0, &target.0));
                    closest.truncate(8);
                    reply.ipv4 = closest;
                }
                Request::Put { values, .. } => reply.stored = values.first().map(|value| value.id),
                Request::Refresh { id, .. } => reply.stored = Some(*id),
                _ => {}
            }
            Packet { sender: id, body: Body::Reply(reply), ..packet }.encode()
        };
        world.strangers.insert(*address, Box::new(answer));
    }
}

/// Lets the ring make itself known to every node, as it would over time.
fn introduce(world: &mut World, ring: &BTreeMap<SocketAddr, NodeId>) {
    let machines: Vec<SocketAddr> = world.machines.keys().copied().collect();
    for (number, (address, id)) in ring.iter().enumerate() {
        for machine in &machines {
            let request = Body::Request(Request::Find { target: key(), want: None });
            let transaction = crate::dht::opendht::packet::TransactionId(u32::try_from(number).unwrap() + 1);
            let (network, client, sender) = (NetworkId(7), false, *id);
            let packet = Packet { network, client, transaction, sender, body: request };
            for datagram in packet.encode() {
                world.fly(*address, *machine, datagram);
            }
        }
        world.run(seconds(1));
    }
}

/// Of how many keys the values are found, when 20 of 100 nodes are hostile and have ids made by `id_of`.
fn survivors(seed: u8, id_of: impl Fn(usize) -> NodeId, keys: &[DhtKey]) -> usize {
    let mut world = World::settled(seed, Weather::FINE, 80);
    let ring = (200..220).map(|number| (address(number), id_of(number))).collect();
    take_over(&mut world, &ring);
    introduce(&mut world, &ring);
    world.run(seconds(120));
    let mut found = 0;
    for (number, key) in keys.iter().enumerate() {
        let listening = world.listen(79 - number, *key);
        world.put(number, *key, value(1, b"survives"), true);
        world.run(seconds(30));
        let got = world.get_and_wait(number + 20, *key).is_ok_and(|found| !found.values.is_empty());
        let told = !world.told(79 - number, listening).is_empty();
        found += usize::from(got && told);
    }
    found
}

#[test]
fn hostile_nodes_with_ids_like_everybodys_hide_next_to_nothing() {
    let keys: Vec<DhtKey> = (0..10).map(|number| DhtKey::of_text(&format!("target {number}"))).collect();
    let found = survivors(60, id, &keys);
    println!("20 hostile nodes of 100 with random ids: {found} of 10 keys readable and told");
    assert!(found >= 9, "{found}");
}

#[test]
fn hostile_nodes_with_ids_next_to_a_key_are_measured() {
    let next_to = |number: usize| {
        let mut id = key().0;
        id[19] ^= u8::try_from(number).unwrap();
        NodeId(id)
    };
    let found = survivors(61, next_to, &[key(); 10]);
    // Who chooses its id after the key owns the key, here as in the reference.
    println!("20 hostile nodes of 100 with ids next to one key: readable and told in {found} of 10 attempts");
}
