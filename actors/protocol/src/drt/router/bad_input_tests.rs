//! What peers do that they should not (`spec: drt 12`).

use std::time::Duration;

use super::testing::*;
use super::*;
use crate::drt::budget::{BURST, REFILL};
use crate::drt::message::{MAX_NODES, MessageError};
use crate::drt::reader::{MAX_MESSAGE, SwarmReader};
use crate::drt::table::{MAX_CONNECTED_PER_BUCKET, MAX_KNOWN_PER_BUCKET};
use crate::msgpack::{DecodeError, Value};

fn read(value: &Value) -> Result<Option<Message>, MessageError> {
    SwarmReader::default().next(&mut &*value.encode())
}

fn request(count: Value) -> Message {
    let target = Value::binary(id("1", 1).as_bytes());
    let request = Value::map([("q", 1_u64.into()), ("num", count), ("nodeId", target)]);
    read(&Value::map([("v", 3_u64.into()), ("request", request)])).unwrap().unwrap()
}

#[test]
fn garbage_and_wrong_types_close_the_channel() {
    let bytes = |value| Value::map([("request", Value::map([("nodeId", value)]))]);
    for value in [
        Value::Array(vec![]),
        Value::map([("v", "3".into())]),
        Value::map([("is_mobile", 1_u64.into())]),
        Value::map([("request", Value::Array(vec![]))]),
        Value::map([("response", Value::map([("nodes", Value::map([]))]))]),
        Value::map([("response", Value::map([("nodes", Value::Array(vec!["x".into()]))]))]),
        Value::map([("cert_request", Value::map([("ids", 1_u64.into())]))]),
        Value::map([("self_mobile_info", Value::map([("lease", Value::Nil)]))]),
        bytes(Value::binary(&[1; 31])),
        bytes(Value::text("00")),
    ] {
        assert!(matches!(read(&value), Err(MessageError::WrongType(_))), "{value:?}");
    }
    let garbage = SwarmReader::default().next(&mut &[0xc1][..]);
    assert_eq!(garbage, Err(MessageError::Encoding(DecodeError::Reserved)));
    let too_large = SwarmReader::default().next(&mut &[0xdf, 0xff, 0xff, 0xff, 0xff][..]);
    assert_eq!(too_large, Err(MessageError::Encoding(DecodeError::TooLarge { limit: MAX_MESSAGE })));
}

#[test]
fn missing_and_unknown_entries_and_later_versions_are_read() {
    let empty = read(&Value::map([])).unwrap().unwrap();
    assert_eq!(
        empty,
        Message { version: Version::One, is_mobile: false, self_mobile_info: None, body: None }
    );
    for (number, version) in [(3, Version::Three), (4, Version::Three), (u64::MAX, Version::Three)] {
        let message = read(&Value::map([("new", Value::Nil), ("v", number.into())])).unwrap().unwrap();
        assert_eq!(message.version, version);
    }
    let other = Value::map([("request", Value::map([("q", 9_u64.into())]))]);
    assert_eq!(read(&other).unwrap().unwrap().body, None, "another question is not answered");
}

#[test]
fn a_negative_or_huge_count_is_answered_within_bounds() {
    let mut owner = Owner::new();
    for number in 1..=40 {
        owner.up(number.into(), id("1", number));
    }
    for (count, told) in [(Value::Negative(-1), 0), (u64::MAX.into(), MAX_FOUND), (3_u64.into(), 3)] {
        let actions = owner.say(1, request(count));
        let [Action::Send { message, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert!(matches!(&message.body, Some(Body::Found(found)) if found.nodes.len() == told));
    }
}

#[test]
fn of_thousands_of_ids_a_bounded_number_is_taken_and_two_are_dialled() {
    let many = |from: u16| {
        let ids = (from..from + 5000).map(|number| id(&format!("1{number:016b}"), 1));
        let ids = ids.map(|id| Value::binary(id.as_bytes())).collect();
        let response = Value::map([("q", 2_u64.into()), ("nodes", Value::Array(ids))]);
        read(&Value::map([("v", 3_u64.into()), ("response", response)])).unwrap().unwrap()
    };
    let mut owner = Owner::new();
    owner.up(1, id("01", 1));
    let mut dials = dialled(&owner.say(1, many(0))).len();
    assert_eq!(owner.router.table().active_count(), 1 + MAX_NODES);
    for round in 1..10 {
        dials += dialled(&owner.say(1, many(round * 5000))).len();
    }
    assert!(owner.router.table().active_count() <= 3 + MAX_KNOWN_PER_BUCKET);
    assert_eq!(dials, 2);
}

#[test]
fn a_flood_of_questions_is_answered_within_a_budget() {
    let mut owner = Owner::new();
    owner.up(1, id("1", 1));
    let answers =
        |owner: &mut Owner| (0..1000).map(|_| owner.say(1, request(2_u64.into())).len()).sum::<usize>();
    assert_eq!(answers(&mut owner), usize::from(BURST));
    owner.wait(3 * REFILL);
    assert_eq!(answers(&mut owner), 3);
}

#[test]
fn a_dead_id_in_gossip_is_not_dialled_with_every_message() {
    let mut owner = Owner::new();
    owner.up(1, id("01", 1));
    let dead = id("1", 1);
    let mut dials = 0;
    for round in 0..720_u16 {
        owner.wait(REFILL);
        // Each message has something new, so that the buckets are looked at.
        let actions = owner.found(1, &[dead, id(&format!("1{round:016b}"), 2)]);
        for device in dialled(&actions) {
            dials += usize::from(device == dead);
            owner.handle(Event::ChannelFailed(device));
        }
    }
    assert_eq!(dials, 10, "in an hour");
}

#[test]
fn a_peer_that_closes_every_channel_is_not_dialled_in_a_loop() {
    let mut owner = Owner::new();
    let device = id("1", 1);
    let mut dials = dialled(&owner.handle(Event::Known(vec![device]))).len();
    let start = owner.moment;
    for channel in 0.. {
        owner.handle(Event::ChannelUp { channel: ChannelId(channel), device, incoming: false });
        assert_eq!(owner.handle(Event::ChannelDown(ChannelId(channel))), [Action::Disconnected]);
        let Some(deadline) = owner.router.deadline() else { break };
        owner.wait(deadline.since(owner.moment));
        dials += dialled(&owner.handle(Event::Deadline)).len();
    }
    assert_eq!(dials, 1 + usize::from(TIMED_RETRIES));
    assert!(owner.moment.since(start) > Duration::from_mins(20));
}

#[test]
fn a_thousand_flaps_of_a_link_dial_a_few_times() {
    let mut owner = Owner::new();
    owner.up(1_000_000, id("01", 1));
    let device = id("1", 1);
    let mut dials = 0;
    for channel in 0..1000 {
        owner.up(channel, device);
        dials += dialled(&owner.down(channel)).len();
    }
    assert_eq!(dials, 0, "it comes by itself");
}

#[test]
fn incoming_links_and_channels_of_one_peer_are_bounded() {
    let mut owner = Owner::new();
    owner.up(1, id("01", 1));
    owner.up(2, id("01", 2));
    let limit = u64::try_from(MAX_CONNECTED_PER_BUCKET).unwrap();
    let other = |number: u64| id(&format!("1{number:016b}"), 0);
    for number in 0..limit {
        assert!(
            !owner.up(10 + number, other(number)).contains(&Action::CloseChannel(ChannelId(10 + number)))
        );
    }
    assert_eq!(owner.up(5000, other(limit)), [Action::CloseChannel(ChannelId(5000))]);
    for channel in 6000..6003 {
        assert!(owner.up(channel, other(0)).is_empty());
    }
    assert_eq!(owner.up(6003, other(0)), [Action::CloseChannel(ChannelId(6003))]);
    assert_eq!(owner.up(7000, id("0", 0)), [Action::CloseChannel(ChannelId(7000))], "ourselves");
}

#[test]
fn what_comes_for_channels_that_are_not_there_is_ignored() {
    let mut owner = Owner::new();
    assert!(owner.say(9, request(2_u64.into())).is_empty());
    assert!(owner.down(9).is_empty());
    assert!(owner.handle(Event::ChannelFailed(id("1", 1))).is_empty());
    assert!(owner.handle(Event::Known(vec![id("0", 0)])).is_empty());
}
