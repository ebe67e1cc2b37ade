//! The rows of `spec: dht 13` that are decided by the bytes alone.

use super::golden_tests::{READER, source, specified};
use super::packet::{Body, Datagram, Dropped, NO_KEY, Packet, Request, TransactionId};
use crate::dht::value::MAX_PACKED_VALUE;
use crate::ids::NodeId;
use crate::msgpack::{DecodeError, Value as Object};

fn read(bytes: &[u8]) -> Result<Datagram, Dropped> {
    Datagram::decode(bytes, &source(), &READER)
}

fn object(name: &str) -> Object {
    let (_, packet) = specified().into_iter().find(|(packet, _)| packet == name).unwrap();
    crate::msgpack::decode_all(&packet).unwrap()
}

/// The packet with one entry of it replaced, or removed.
fn with(object: &Object, name: &str, value: Option<Object>) -> Object {
    let Object::Map(mut entries) = object.clone() else { panic!() };
    entries.retain(|(key, _)| key.as_text() != Some(name));
    entries.extend(value.map(|value| (Object::text(name), value)));
    Object::Map(entries)
}

/// The packet with one of its arguments replaced, or removed.
fn with_argument(name: &str, argument: &str, value: Option<Object>) -> Object {
    let packet = object(name);
    let arguments = with(packet.get("a").unwrap(), argument, value);
    with(&packet, "a", Some(arguments))
}

fn whole(object: &Object) -> Packet {
    match read(&object.encode()) {
        Ok(Datagram::Whole(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

fn request(object: &Object) -> Request {
    match whole(object).body {
        Body::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

fn dropped(object: &Object) -> Dropped {
    read(&object.encode()).unwrap_err()
}

#[test]
fn what_is_no_map_is_dropped() {
    assert_eq!(read(b""), Err(Dropped::Decode(DecodeError::Incomplete)));
    assert_eq!(read(&[0xc1]), Err(Dropped::Decode(DecodeError::Reserved)));
    assert_eq!(read(&[0x90]), Err(Dropped::NoMap));
    assert_eq!(read(&[0x05]), Err(Dropped::NoMap));
    assert_eq!(read(&[0x80]), Err(Dropped::Unknown));
    assert_eq!(read(&vec![0x91; 60_000]), Err(Dropped::Decode(DecodeError::TooDeep)));
}

#[test]
fn what_comes_from_an_impossible_address_is_dropped() {
    let ping = object("V1 TX").encode();
    for source in
        ["0.1.2.3:7", "239.192.0.1:8888", "10.0.0.1:0", "[::]:7", "[ff02::1]:7", "[::ffff:10.0.0.1]:7"]
    {
        let source = source.parse().unwrap();
        assert_eq!(Datagram::decode(&ping, &source, &READER), Err(Dropped::Martian), "{source}");
    }
    for source in ["127.0.0.1:7", "[fe80::1]:7", "[::1]:7"] {
        assert!(Datagram::decode(&ping, &source.parse().unwrap(), &READER).is_ok(), "{source}");
    }
}

#[test]
fn unknown_requests_and_kinds_are_dropped() {
    let ping = object("V1 TX");
    assert_eq!(dropped(&with(&ping, "q", Some(Object::text("pong")))), Dropped::Unknown);
    assert_eq!(dropped(&with(&ping, "q", None)), Dropped::Unknown);
    assert_eq!(dropped(&with(&ping, "y", Some(Object::text("x")))), Dropped::Unknown);
    assert_eq!(dropped(&with(&ping, "a", None)), Dropped::Unknown);
    assert_eq!(request(&with(&ping, "y", None)), Request::Ping);
}

#[test]
fn a_sender_without_a_proper_id_is_dropped() {
    let ids = [
        None,
        Some(Object::binary(&[0; 20])),
        Some(Object::binary(&[1; 19])),
        Some(Object::Text(vec![b'x'; 20])),
        Some(Object::binary(READER.id.as_bytes())),
    ];
    for id in ids {
        assert_eq!(dropped(&with_argument("V1 TX", "id", id)), Dropped::Sender);
    }
}

#[test]
fn other_networks_are_dropped_and_network_zero_is_none() {
    let ping = object("V1 TX");
    assert_eq!(dropped(&with(&ping, "n", Some(Object::from(7_u64)))), Dropped::Network(7));
    assert_eq!(dropped(&with(&ping, "n", Some(Object::text("7")))), Dropped::Entry("n"));
    assert_eq!(whole(&with(&ping, "n", Some(Object::from(0_u64)))), whole(&ping));
}

#[test]
fn what_follows_the_map_and_unknown_keys_are_ignored() {
    let ping = object("V1 TX");
    let followed = [ping.encode(), vec![0xc1; 100]].concat();
    assert_eq!(read(&followed), Ok(Datagram::Whole(whole(&ping))));
    let Object::Map(mut entries) = ping.clone() else { panic!() };
    entries.extend([(Object::text("zz"), Object::Nil), (Object::Nil, Object::Nil)]);
    entries.reverse();
    assert_eq!(whole(&Object::Map(entries)), whole(&ping));
}

#[test]
fn transactions_are_numbers_or_four_bytes_and_absent_ones_are_zero() {
    let ping = object("V1 TX");
    let transaction = |value| whole(&with(&ping, "t", value)).transaction;
    assert_eq!(transaction(None), TransactionId(0));
    assert_eq!(transaction(Some(Object::binary(&[0, 0, 1, 2]))), TransactionId(258));
    assert_eq!(transaction(Some(Object::Text(vec![0, 0, 1, 2]))), TransactionId(258));
    for wrong in [Object::binary(&[1; 5]), Object::from(1_u64 << 32), Object::Nil, Object::from(-1_i64)] {
        assert_eq!(dropped(&with(&ping, "t", Some(wrong))), Dropped::Entry("t"));
    }
}

#[test]
fn an_absent_key_reads_as_none_and_one_of_a_wrong_length_is_dropped() {
    let get = |value| with_argument("V3 TX", "h", value);
    assert!(matches!(request(&get(None)), Request::Get { key: NO_KEY, .. }));
    for wrong in [Object::binary(&[1; 19]), Object::binary(&[1; 21]), Object::Text(vec![b'x'; 20])] {
        assert_eq!(dropped(&get(Some(wrong))), Dropped::Entry("h"));
    }
    let find = with_argument("V2 TX", "target", None);
    assert!(matches!(request(&find), Request::Find { target: NO_KEY, .. }));
}

#[test]
fn entries_of_wrong_types_are_dropped() {
    for (packet, argument) in [
        ("V8 TX", "q"),
        ("V2 TX", "w"),
        ("V9 TX", "vid"),
        ("V12 TX", "sid"),
        ("V12 TX", "ve"),
        ("V12 RX", "values"),
    ] {
        let wrong = with_argument(packet, argument, Some(Object::text("wrong")));
        assert!(matches!(dropped(&wrong), Dropped::Entry(name) if name == argument), "{argument}");
    }
    for (packet, argument) in [("V13 RX", "re"), ("V13 RX", "c"), ("V12 RX", "exp")] {
        let wrong = with_argument(packet, argument, Some(Object::text("wrong")));
        assert!(matches!(dropped(&wrong), Dropped::Entry(name) if name == argument), "{argument}");
    }
    for kind in ["a", "r", "u", "e"] {
        let wrong = Object::map([(kind, Object::text("wrong")), ("y", Object::text("q"))]);
        assert!(read(&wrong.encode()).is_err(), "{kind}");
    }
    let error = object("V10 RX");
    for wrong in [Object::Nil, Object::Array(vec![]), Object::Array(vec![Object::from(65_536_u64)])] {
        assert_eq!(dropped(&with(&error, "e", Some(wrong))), Dropped::Entry("e"));
    }
}

#[test]
fn a_list_of_nodes_of_a_wrong_length_discards_its_reply() {
    let reply = object("V2 RX");
    let body = with(reply.get("r").unwrap(), "n4", Some(Object::binary(&[1; 27])));
    assert_eq!(dropped(&with(&reply, "r", Some(body))), Dropped::Entry("n4"));
}

#[test]
fn values_that_cannot_be_read_are_skipped() {
    let put = object("V14 TX");
    let good = put.get("a").unwrap().get("values").unwrap().as_array().unwrap()[0].clone();
    let without_type = Object::map([("body", Object::map([("data", Object::binary(b"x"))]))]);
    let bad = Object::map([("id", Object::from(1_u64)), ("dat", without_type)]);
    for (values, left) in [(vec![bad.clone(), good, bad.clone()], 1), (vec![bad], 0), (vec![], 0)] {
        let put = with_argument("V14 TX", "values", Some(Object::Array(values)));
        let Request::Put { values, .. } = request(&put) else { panic!() };
        assert_eq!(values.len(), left);
    }
}

#[test]
fn announced_sizes_beyond_the_largest_value_are_skipped() {
    let size = |size: usize| Object::from(u64::try_from(size).unwrap());
    let announced =
        |sizes: Vec<Object>| read(&with_argument("V14 TX", "values", Some(Object::Array(sizes))).encode());
    let Ok(Datagram::Header(header)) = announced(vec![size(MAX_PACKED_VALUE + 1), size(MAX_PACKED_VALUE)])
    else {
        panic!()
    };
    assert_eq!(header.sizes, [(1, MAX_PACKED_VALUE)]);
    let Ok(Datagram::Whole(packet)) = announced(vec![size(MAX_PACKED_VALUE + 1), size(0)]) else { panic!() };
    assert!(matches!(packet.body, Body::Request(Request::Put { values, .. }) if values.is_empty()));
}

#[test]
fn tokens_are_bytes_or_numbers_and_long_ones_count_as_none() {
    let token = |value| match request(&with_argument("V9 TX", "token", value)) {
        Request::Refresh { token, .. } => token.map(|token| token.as_bytes().to_vec()),
        other => panic!("{other:?}"),
    };
    let numbers = |numbers: &[u64]| Object::Array(numbers.iter().copied().map(Object::from).collect());
    assert_eq!(token(Some(Object::binary(&[1, 2]))), Some(vec![1, 2]));
    assert_eq!(token(Some(numbers(&[1, 255]))), Some(vec![1, 255]));
    assert_eq!(token(None), None);
    assert_eq!(token(Some(Object::binary(&[1; 65]))), None);
    assert_eq!(token(Some(numbers(&[1; 65]))), None);
    let wrong = with_argument("V9 TX", "token", Some(numbers(&[256])));
    assert_eq!(dropped(&wrong), Dropped::Entry("token"));
}

#[test]
fn parts_need_neither_sender_nor_agent() {
    let part = Object::map([("o", Object::from(0_u64)), ("d", Object::binary(b"x"))]);
    let parts = |parts: Object| Object::map([("y", Object::text("p")), ("p", parts)]).encode();
    let good = parts(Object::Map(vec![(Object::from(0_u64), part.clone())]));
    assert!(matches!(read(&good), Ok(Datagram::Parts { parts, .. }) if parts.len() == 1));
    let named = parts(Object::map([("0", part)]));
    let empty = parts(Object::Map(vec![(Object::from(0_u64), Object::Map(vec![]))]));
    for wrong in [named, empty, parts(Object::Nil)] {
        assert_eq!(read(&wrong), Err(Dropped::Entry("p")));
    }
}

#[test]
fn the_text_of_an_error_is_cut_where_a_letter_ends() {
    let text = "é".repeat(500);
    let error = Object::Array(vec![Object::from(404_u64), Object::text(&text)]);
    let Body::Error(error) = whole(&with(&object("V10 RX"), "e", Some(error))).body else { panic!() };
    assert_eq!((error.code, error.text.len()), (404, 200));
}

#[test]
fn an_id_is_told_apart_from_ours_in_replies_too() {
    let reply = object("V1 RX");
    let sender = NodeId::from_bytes(reply.get("r").unwrap().get("id").unwrap().as_binary().unwrap()).unwrap();
    let reader = super::packet::Reader { id: sender, ..READER };
    assert_eq!(Datagram::decode(&reply.encode(), &source(), &reader), Err(Dropped::Sender));
}
