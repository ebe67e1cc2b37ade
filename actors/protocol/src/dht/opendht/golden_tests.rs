//! The packets of `spec: dht 12`, and those that real daemons sent, are read and written.

use std::net::SocketAddr;
use std::sync::Arc;

use super::compact::Contact;
use super::fields::FieldRow;
use super::packet::{
    Body, Change, Datagram, ErrorReply, ListenVersion, NetworkId, Packet, Reader, Reply, Request, SocketId,
    TransactionId, Want,
};
use super::query::{Field, Query};
use super::token::Token;
use crate::dht::content::Content;
use crate::dht::filter::Filter;
use crate::dht::value::{Value, ValueId};
use crate::ids::{DhtKey, NodeId};
use crate::testing::{recorded_lines, text};

/// A packet of a real daemon.
#[derive(serde::Deserialize)]
struct Sample {
    src: SocketAddr,
    data: String,
}

/// Packets of real daemons, up to five of each shape, with their senders.
pub(super) fn recorded() -> Vec<(SocketAddr, Vec<u8>)> {
    crate::testing::DAEMONS
        .iter()
        .flat_map(|daemon| recorded_lines::<Sample>(&format!("{daemon}/wire/dht-samples.jsonl.gz")))
        .map(|sample| (sample.src, hex::decode(&sample.data).unwrap()))
        .collect()
}

/// The packets of the specification, each with its name.
pub(super) fn specified() -> Vec<(String, Vec<u8>)> {
    let lines = text!("spec/dht/packets.txt").lines();
    lines
        .map(|line| {
            let (name, packet) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), hex::decode(packet).unwrap())
        })
        .collect()
}

/// Somebody that is none of the recorded nodes.
pub(super) const READER: Reader = Reader { id: NodeId([7; 20]), network: NetworkId(0) };

pub(super) fn source() -> SocketAddr {
    "127.0.0.1:4222".parse().unwrap()
}

/// The packet as a node of 2026 would have sent it.
fn with_our_agent(packet: &[u8]) -> Vec<u8> {
    let old = hex::decode("a176a4524e4731").unwrap();
    match packet.windows(old.len()).position(|window| window == old) {
        Some(at) => [&packet[..at], &hex::decode("a176a26f32").unwrap(), &packet[at + old.len()..]].concat(),
        None => packet.to_vec(),
    }
}

fn decode(packet: &[u8]) -> Packet {
    match Datagram::decode(packet, &source(), &READER) {
        Ok(Datagram::Whole(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

/// Packet number `at` of this name.
fn packet(name: &str, at: usize) -> Packet {
    let mut packets = specified().into_iter().filter(|(packet, _)| packet == name);
    decode(&packets.nth(at).unwrap().1)
}

fn key() -> DhtKey {
    DhtKey::of_text("test key")
}

fn token() -> Option<Token> {
    Token::new(&hex::decode("32c3f8cb1f92e9cca47307e17a7b8a0bd66198a22ad9d009b229de6bbb2473f9").unwrap())
}

fn hello() -> Arc<Value> {
    Arc::new(Value::plain(ValueId(0x1122_3344_5566_7788), Content::new(0, b"hello".to_vec())))
}

fn request(name: &str, at: usize) -> Request {
    match packet(name, at) {
        Packet { client: false, sender, body: Body::Request(request), .. } => {
            let senders = [crate::ids::sha1(b"raw client"), NODE.0];
            assert!(senders.contains(&sender.0));
            request
        }
        other => panic!("{other:?}"),
    }
}

fn reply(name: &str, at: usize) -> Reply {
    match packet(name, at) {
        Packet { sender: NODE, body: Body::Reply(reply), .. } => reply,
        other => panic!("{other:?}"),
    }
}

const NODE: NodeId = NodeId([
    0xa8, 0x61, 0xfe, 0x92, 0x75, 0x94, 0x5c, 0x97, 0xea, 0xb7, 0xc7, 0x17, 0x24, 0x60, 0x98, 0x33, 0x64,
    0x68, 0x23, 0x29,
]);

fn seen() -> Reply {
    Reply { seen: Some("127.0.0.1".parse().unwrap()), ..Reply::default() }
}

#[test]
fn every_packet_of_the_specification_is_written_as_it_was_read() {
    for (name, bytes) in specified() {
        match Datagram::decode(&bytes, &source(), &READER).unwrap() {
            // The fields of V7 were asked for in descending order, which nobody does.
            Datagram::Whole(packet) if name == "V7 TX" => assert_eq!(decode(&packet.encode()[0]), packet),
            Datagram::Whole(packet) => {
                assert_eq!(packet.encode(), [with_our_agent(&bytes)], "{name}");
            }
            Datagram::Header(header) => {
                assert_eq!((name.as_str(), header.sizes), ("V16 RX", vec![(0, 3102)]))
            }
            Datagram::Parts { .. } => panic!("{name} is no part"),
        }
    }
}

#[test]
fn every_packet_of_real_daemons_is_read_and_written_as_it_was() {
    let (mut whole, mut headers, mut parts) = (0, 0, 0);
    for (source, bytes) in recorded() {
        match Datagram::decode(&bytes, &source, &READER).unwrap() {
            Datagram::Whole(packet) => {
                assert_eq!(packet.encode(), [with_our_agent(&bytes)]);
                whole += 1;
            }
            Datagram::Header(header) => {
                assert!(header.sizes.iter().all(|(_, size)| *size >= 600));
                headers += 1;
            }
            Datagram::Parts { parts: some, .. } => {
                assert_eq!(some.len(), 1);
                assert!(some[0].data.len() <= 1280 && some[0].offset % 1280 == 0);
                parts += 1;
            }
        }
    }
    assert!(whole > 150 && headers > 5 && parts > 10, "{whole} {headers} {parts}");
}

#[test]
fn requests_are_read_as_what_they_ask() {
    // (spec: dht V1 to V9, V12, V13)
    assert_eq!(packet("V1 TX", 0).transaction, TransactionId(1));
    assert_eq!(request("V1 TX", 0), Request::Ping);
    assert_eq!(request("V2 TX", 0), Request::Find { target: key(), want: None });
    assert_eq!(request("V3 TX", 0), Request::Get { key: key(), query: Query::default(), want: None });
    let put = Request::Put { key: key(), values: vec![hello()], created: None, token: token() };
    assert_eq!(request("V3 TX", 1), put);
    let ids = Query::ids(Filter::default());
    assert_eq!(request("V6 TX", 0), Request::Get { key: key(), query: ids, want: None });
    let one = Query::value(hello().id);
    assert_eq!(request("V8 TX", 0), Request::Get { key: key(), query: one, want: None });
    let Request::Refresh { id, token: with, .. } = request("V9 TX", 0) else { panic!() };
    assert_eq!((id, with), (ValueId(5), token()));
    let listen = Request::Listen {
        key: key(),
        query: Query::default(),
        socket: SocketId(777),
        version: ListenVersion::Updates,
        token: token(),
    };
    assert_eq!(request("V12 TX", 0), listen);
    let update = Request::Update {
        key: Some(key()),
        socket: SocketId(777),
        change: Change::Values(vec![hello()]),
        created: None,
        token: token(),
    };
    assert_eq!(request("V12 RX", 0), update);
    let update = Request::Update {
        key: None,
        socket: SocketId(779),
        change: Change::Refreshed(vec![ValueId(5)]),
        created: None,
        token: token(),
    };
    assert_eq!(request("V13 RX", 0), update);
}

#[test]
fn replies_are_read_as_what_they_hold() {
    // (spec: dht V1 to V7, V14)
    assert_eq!(reply("V1 RX", 0), seen());
    assert_eq!(reply("V2 RX", 0), Reply { token: token(), ..seen() });
    assert_eq!(reply("V3 RX", 1), Reply { stored: Some(hello().id), ..seen() });
    assert_eq!(reply("V3 RX", 2), Reply { token: token(), values: vec![hello()], ..seen() });
    let fields = reply("V6 RX", 0).fields.unwrap();
    assert_eq!(fields.fields.into_iter().collect::<Vec<_>>(), [Field::Id]);
    assert_eq!(fields.rows, [FieldRow { id: Some(hello().id), ..FieldRow::default() }]);
    let fields = reply("V7 RX", 0).fields.unwrap();
    let row = FieldRow {
        id: Some(hello().id),
        type_number: Some(0),
        owner: Some(vec![0; 20]),
        sequence: Some(0),
        user_type: Some(String::new()),
    };
    assert_eq!(fields.rows, [row]);
    assert_eq!(packet("V14 RX", 0).transaction, TransactionId(778));
    assert_eq!(reply("V14 RX", 0).values.len(), 1);
}

#[test]
fn errors_and_notices_are_read_as_what_they_tell() {
    // (spec: dht V9 to V11, V15)
    let error = |name, at| match packet(name, at).body {
        Body::Error(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error("V9 RX", 0), ErrorReply::REFRESH_UNKNOWN);
    assert_eq!(error("V10 RX", 0).code, ErrorReply::UNAUTHORIZED);
    assert_eq!(error("V10 RX", 0).text, "Put with wrong token");
    assert_eq!(error("V11 RX", 0).code, ErrorReply::INCOMPLETE);
    let notice = Body::Notice { change: Change::Refreshed(vec![ValueId(5)]), token: token() };
    assert_eq!(packet("V15 RX", 0).body, notice);
    assert_eq!(packet("V15 RX", 0).transaction, TransactionId(778));
}

#[test]
fn nodes_in_a_recorded_reply_have_the_addresses_of_the_recording() {
    let contacts: Vec<Contact> = recorded()
        .iter()
        .filter_map(|(source, bytes)| match Datagram::decode(bytes, source, &READER).unwrap() {
            Datagram::Whole(Packet { body: Body::Reply(reply), .. }) => Some(reply.ipv4),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(contacts.len() > 20);
    assert!(contacts.iter().all(|contact| contact.address.to_string().starts_with("10.77.0.")));
}

#[test]
fn other_networks_and_clients_are_told_after_the_agent_as_the_reference_does() {
    let mut packet = packet("V1 TX", 0);
    packet.network = NetworkId(7);
    let reader = Reader { network: NetworkId(7), ..READER };
    let bytes = packet.encode().remove(0);
    assert!(hex::encode(&bytes).ends_with("a179a171a176a26f32a16e07"));
    assert_eq!(Datagram::decode(&bytes, &source(), &reader), Ok(Datagram::Whole(packet.clone())));
    packet.client = true;
    let bytes = packet.encode().remove(0);
    assert_eq!(Datagram::decode(&bytes, &source(), &reader), Ok(Datagram::Whole(packet)));
}

#[test]
fn both_families_are_wanted_in_the_numbers_of_linux_and_read_in_those_of_any_system() {
    let mut packet = packet("V2 TX", 0);
    packet.body = Body::Request(Request::Find { target: key(), want: Some(Want::BOTH) });
    let bytes = packet.encode().remove(0);
    let at = bytes.windows(5).position(|window| window == [0xa1, b'w', 0x92, 2, 10]).unwrap();
    for family in [10, 23, 28, 30] {
        let mut bytes = bytes.clone();
        bytes[at + 4] = family;
        assert_eq!(decode(&bytes), packet);
    }
}
