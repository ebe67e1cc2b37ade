use proptest::prelude::*;

use super::*;
use crate::dht::content::Content;
use crate::dht::opendht::golden_tests::{READER, source};
use crate::dht::opendht::packet::{Body, Datagram, NetworkId, Reply, Request};
use crate::dht::value::ValueId;
use crate::ids::{DhtKey, NodeId};

fn value(id: u64, length: usize) -> Arc<Value> {
    let data = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
    Arc::new(Value::plain(ValueId(id), Content::new(0, data)))
}

fn at(millis: u64) -> Moment {
    Moment(Duration::from_millis(millis))
}

/// A put of these values.
fn put(transaction: u32, values: Vec<Arc<Value>>) -> Packet {
    Packet {
        network: NetworkId(0),
        client: false,
        transaction: TransactionId(transaction),
        sender: NodeId([1; 20]),
        body: Body::Request(Request::Put { key: DhtKey([2; 20]), values, created: None, token: None }),
    }
}

fn decode(datagram: &[u8]) -> Datagram {
    Datagram::decode(datagram, &source(), &READER).unwrap()
}

/// Hands over one datagram.
fn give(reassembly: &mut Reassembly, now: Moment, datagram: &[u8]) -> Result<Option<Packet>, PartError> {
    match decode(datagram) {
        Datagram::Whole(packet) => Ok(Some(packet)),
        Datagram::Header(header) => reassembly.open(now, source(), header),
        Datagram::Parts { transaction, parts } => reassembly.add(now, source(), transaction, parts),
    }
}

/// Hands over datagrams in this order; the last one completes the message.
fn give_all<'d>(datagrams: impl IntoIterator<Item = &'d Vec<u8>>) -> Option<Packet> {
    let mut reassembly = Reassembly::default();
    let mut last = None;
    for datagram in datagrams {
        assert!(last.is_none(), "complete too early");
        last = give(&mut reassembly, at(0), datagram).unwrap();
    }
    assert!(reassembly.is_empty() && reassembly.bytes == 0 && reassembly.bytes_by_ip.is_empty());
    assert!(reassembly.next_deadline().is_none());
    last
}

#[test]
fn values_are_cut_as_recorded() {
    // (spec: dht V16)
    let data = (0..12).flat_map(|_| 0..=255).collect();
    let value = Arc::new(Value::plain(ValueId(7), Content::new(0, data)));
    let reply =
        Packet { body: Body::Reply(Reply { values: vec![value], ..Reply::default() }), ..put(0x66, vec![]) };
    let datagrams = reply.encode();
    assert_eq!(datagrams.iter().skip(1).map(Vec::len).collect::<Vec<_>>(), [1301, 1303, 565]);
    assert!(hex::encode(&datagrams[0]).contains("a676616c75657391cd0c1e"));
    let start =
        "83a179a170a17466a170810082a16f00a164c5050082a2696407a364617481a4626f647982a47479706500a464617461";
    assert!(hex::encode(&datagrams[1]).starts_with(start));
}

#[test]
fn small_values_stay_in_their_message() {
    let packed = value(1, 0).encode().len();
    assert_eq!(put(1, vec![value(1, 599 - packed - 1)]).encode().len(), 1);
    assert_eq!(put(1, vec![value(1, 600 - packed - 1)]).encode().len(), 2);
    let many =
        |count| (1..=count).map(|id| Arc::new(Value::encrypted(ValueId(id), vec![1]))).collect::<Vec<_>>();
    assert_eq!(put(1, many(49)).encode().len(), 1);
    assert_eq!(put(1, many(50)).encode().len(), 51);
}

#[test]
fn parts_make_their_message_in_any_order() {
    let packet = put(5, vec![value(1, 3000), value(2, 1), value(3, 65_000)]);
    let datagrams = packet.encode();
    assert_eq!(give_all(&datagrams), Some(packet.clone()));
    assert_eq!(give_all(datagrams.iter().rev()), Some(packet.clone()));
    let (header, parts) = datagrams.split_first().unwrap();
    assert_eq!(give_all([header].into_iter().chain(parts.iter().rev())), Some(packet.clone()));
    assert_eq!(give_all(parts.iter().chain([header])), Some(packet));
}

#[test]
fn a_value_that_cannot_be_read_is_left_out_of_its_message() {
    let packet = put(5, vec![value(1, 700), value(2, 700)]);
    let mut datagrams = packet.encode();
    let start = datagrams[1].windows(3).position(|window| window == [0x82, 0xa2, b'i']).unwrap();
    datagrams[1][start] = 0xc1;
    assert_eq!(give_all(&datagrams), Some(put(5, vec![value(2, 700)])));
}

#[test]
fn parts_belong_to_their_sender_and_transaction() {
    let (one, other) = (put(5, vec![value(1, 700)]), put(6, vec![value(2, 700)]));
    let mut reassembly = Reassembly::default();
    for packet in [&one, &other] {
        assert_eq!(give(&mut reassembly, at(0), &packet.encode()[0]), Ok(None));
    }
    let Datagram::Parts { transaction, parts } = decode(&one.encode()[1]) else { panic!() };
    let stranger = "127.0.0.1:4223".parse().unwrap();
    assert!(!reassembly.is_open(stranger, transaction));
    assert_eq!(reassembly.add(at(0), stranger, transaction, parts), Ok(None));
    assert_eq!(give(&mut reassembly, at(0), &other.encode()[1]), Ok(Some(other)));
    assert!(reassembly.is_open(source(), transaction));
    assert_eq!(give(&mut reassembly, at(0), &one.encode()[1]), Ok(Some(one)));
}

#[test]
fn parts_that_do_not_belong_are_refused_and_the_message_still_comes() {
    let packet = put(5, vec![value(1, 3000)]);
    let datagrams = packet.encode();
    let mut reassembly = Reassembly::default();
    assert_eq!(give(&mut reassembly, at(0), &datagrams[0]), Ok(None));
    assert_eq!(give(&mut reassembly, at(0), &datagrams[0]), Err(PartError::Open));
    assert_eq!(give(&mut reassembly, at(0), &datagrams[2]), Ok(None));
    let mut add = |value, offset, length| {
        reassembly.add(at(0), source(), TransactionId(5), vec![Part { value, offset, data: vec![7; length] }])
    };
    assert_eq!(add(0, 1280, 1280), Err(PartError::Overlap));
    assert_eq!(add(0, 0, 1281), Err(PartError::Overlap));
    assert_eq!(add(0, 2559, 1), Err(PartError::Overlap));
    assert_eq!(add(0, 0, 4000), Err(PartError::Outside));
    assert_eq!(add(0, usize::MAX, 2), Err(PartError::Outside));
    assert_eq!(add(1, 0, 1), Err(PartError::Outside));
    assert_eq!(add(0, 0, 0), Err(PartError::Empty));
    assert_eq!(give(&mut reassembly, at(0), &datagrams[3]), Ok(None));
    assert_eq!(give(&mut reassembly, at(0), &datagrams[1]), Ok(Some(packet)));
}

#[test]
fn a_message_is_given_up_three_seconds_after_its_last_part_and_ten_after_its_first() {
    let datagrams = put(5, vec![value(1, 65_000)]).encode();
    let mut reassembly = Reassembly::default();
    assert_eq!(give(&mut reassembly, at(0), &datagrams[0]), Ok(None));
    assert_eq!(reassembly.next_deadline(), Some(at(10_000)));
    for (second, datagram) in (1..).zip(&datagrams[1..5]) {
        assert_eq!(give(&mut reassembly, at(second * 2000), datagram), Ok(None));
        assert_eq!(reassembly.next_deadline(), Some(at((second * 2000 + 3000).min(10_000))));
    }
    reassembly.expire(at(9_999));
    assert_eq!(reassembly.len(), 1);
    reassembly.expire(at(10_000));
    assert!(reassembly.is_empty());
    assert_eq!(reassembly.bytes, 0);
}

#[test]
fn early_parts_are_kept_within_limits() {
    let mut reassembly = Reassembly::default();
    let mut add = |now: u64, offset: usize, length: usize| {
        let part = Part { value: offset / 65_000, offset: offset % 65_000, data: vec![7; length] };
        reassembly.add(at(now), source(), TransactionId(5), vec![part])
    };
    for number in 0..98 {
        assert_eq!(add(0, number, 1), Ok(None));
    }
    assert_eq!(add(9_999, 98, 1), Err(PartError::TooMany));
    reassembly.expire(at(9_999));
    assert!(!reassembly.is_empty());
    reassembly.expire(at(10_000));
    assert!(reassembly.is_empty());
    let mut add = |value, length| {
        let part = Part { value, offset: 0, data: vec![7; length] };
        reassembly.add(at(0), source(), TransactionId(5), vec![part])
    };
    assert_eq!(add(0, 65_000), Ok(None));
    assert_eq!(add(1, EARLY_BYTES - 65_000 + 1), Err(PartError::TooMany));
    assert_eq!(add(1, EARLY_BYTES - 65_000), Ok(None));
}

#[test]
fn memory_is_bounded_for_one_address_and_for_all() {
    let mut reassembly = Reassembly::default();
    let packet = |transaction| match decode(&put(transaction, vec![value(1, 65_000)]).encode()[0]) {
        Datagram::Header(header) => header,
        other => panic!("{other:?}"),
    };
    let (mut of_one, mut all) = (0, 0);
    for host in 0..40_u32 {
        let source = SocketAddr::new(std::net::IpAddr::V4((0x0a00_0000 + host).into()), 7);
        let mut count = 0;
        for transaction in 0..50 {
            if reassembly.open(at(0), source, packet(transaction)).is_err() {
                break;
            }
            let part = Part { value: 0, offset: 0, data: vec![7; 65_000] };
            match reassembly.add(at(0), source, TransactionId(transaction), vec![part]) {
                Ok(_) => count += 1,
                Err(error) => assert_eq!(error, PartError::TooMany),
            }
        }
        of_one = of_one.max(count);
        all += count;
    }
    assert!((30..=32).contains(&of_one), "{of_one}");
    assert!((200..=260).contains(&all), "{all}");
    assert!(reassembly.bytes <= MAX_BYTES);
    reassembly.expire(at(10_000));
    assert_eq!(reassembly.bytes, 0);
}

#[test]
fn updates_are_split_so_that_each_is_small() {
    let sizes = [10_000, 30_000, 30_000, 65_000, 100, 100];
    let values: Vec<_> = (1..).zip(sizes).map(|(id, size)| value(id, size)).collect();
    let ids: Vec<Vec<u64>> =
        batches(values).iter().map(|batch| batch.iter().map(|value| value.id.0).collect()).collect();
    assert_eq!(ids, [vec![1, 2], vec![3], vec![4], vec![5, 6]]);
    assert!(batches(Vec::new()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_values_survive_any_order_of_their_parts(
        lengths in prop::collection::vec(0_usize..5000, 1..6),
        seed in any::<u64>(),
    ) {
        let values = (1..).zip(lengths).map(|(id, length)| value(id, length)).collect();
        let packet = put(5, values);
        let mut datagrams = packet.encode();
        let mut sequence = crate::testing::Sequence(seed | 1);
        for at in (1..datagrams.len()).rev() {
            datagrams.swap(at, sequence.below(at + 1));
        }
        prop_assert_eq!(give_all(&datagrams), Some(packet));
    }
}
