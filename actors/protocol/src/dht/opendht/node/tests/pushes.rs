//! Listening.

use super::*;
use crate::dht::content::Content;
use crate::dht::golden;
use crate::dht::opendht::operation::OperationId;
use crate::dht::value::{Value, ValueId};

#[test]
fn a_listener_is_told_within_one_and_a_half_round_trips() {
    let mut world = World::settled(20, Weather::FINE, 100);
    let round_trip = Weather::FINE.delay[0] * 2;
    let mut late = Vec::new();
    for number in 0..10_usize {
        let key = DhtKey::of_text(&format!("pushed {number}"));
        let listening = world.listen(99 - number, key);
        world.run(seconds(5));
        // The publisher has been at this key before, as one who answers a request has.
        world.get_and_wait(number, key).unwrap();
        let begin = world.moment;
        world.put(number, key, value(1, b"news"), false);
        world.run(seconds(5));
        let told = world.told(99 - number, listening);
        assert_eq!(told.len(), 1);
        late.push(told[0].0.since(begin));
    }
    assert!(late.iter().all(|late| *late <= round_trip * 3 / 2), "{late:?}");
}

#[test]
fn a_listener_is_told_what_was_there_before_and_each_thing_once() {
    let mut world = World::settled(21, Weather::FINE, 30);
    world.put_and_wait(3, key(), value(1, b"before"), true).unwrap();
    let first = world.listen(8, key());
    world.run(seconds(5));
    world.put(4, key(), value(2, b"after"), true);
    world.run(seconds(5));
    let second = world.listen(8, key());
    world.run(seconds(30 * MINUTE));
    for listening in [first, second] {
        let mut told: Vec<_> = world.told(8, listening).into_iter().map(|(_, data)| data).collect();
        told.sort();
        assert_eq!(told, [b"after".to_vec(), b"before".to_vec()]);
        assert_eq!(world.expired(8, listening), 0);
    }
}

#[test]
fn a_listener_is_told_of_edits_and_of_the_end() {
    let mut world = World::settled(22, Weather::FINE, 30);
    let listening = world.listen(5, key());
    let edition = |sequence, data: &[u8]| {
        let content = Content::new(0, data.to_vec());
        Value::signed(ValueId(4), content.sign(golden::throw_away_key(), sequence).unwrap())
    };
    world.put_and_wait(9, key(), edition(0, b"one"), false).unwrap();
    world.run(seconds(2));
    world.put_and_wait(9, key(), edition(1, b"two"), false).unwrap();
    world.run(seconds(2));
    let data: Vec<_> = world.told(5, listening).into_iter().map(|(_, data)| data).collect();
    assert_eq!(data, [b"one", b"two"]);
    assert_eq!(world.expired(5, listening), 1);
    world.run(seconds(12 * MINUTE));
    assert_eq!(world.expired(5, listening), 2);
    assert!(found(world.get_and_wait(5, key())).is_empty());
}

#[test]
fn a_listener_hears_through_new_nodes_when_those_it_listened_to_are_gone() {
    let mut world = World::settled(23, Weather::FINE, 40);
    let listening = world.listen(5, key());
    world.run(seconds(5));
    for keeper in 1..=3 {
        world.put_and_wait(6, key(), value(100 + keeper, b"probe"), false).unwrap();
        let gone: Vec<_> =
            world.keepers(key()).into_iter().filter(|at| ![5, 6, 0].map(address).contains(at)).collect();
        let numbers = (0..40).filter(|number| gone.contains(&address(*number)));
        numbers.for_each(|number| world.stop(number));
        world.run(seconds(60));
        world.put(6, key(), value(keeper, format!("{keeper}").as_bytes()), false);
        world.run(seconds(15));
        let told = world.told(5, listening);
        assert!(told.iter().any(|(_, data)| *data == format!("{keeper}").as_bytes()), "{keeper}: {told:?}");
    }
}

#[test]
fn a_cancelled_listener_is_told_nothing_more() {
    let mut world = World::settled(24, Weather::FINE, 10);
    let listening = world.listen(5, key());
    world.run(seconds(5));
    world.act(5, |node, now| node.cancel_listen(now, listening));
    world.put_and_wait(6, key(), value(1, b"x"), false).unwrap();
    world.run(seconds(5));
    assert!(world.told(5, listening).is_empty());
    assert_eq!(world.node(5).health(world.now()).listening_keys, 0);
}

#[test]
fn a_forged_value_is_not_told_and_hides_no_true_one() {
    let mut world = World::settled(25, Weather::FINE, 2);
    let listening = world.listen(0, key());
    world.run(seconds(1));
    let content = Content::new(0, b"true".to_vec());
    let honest = Value::signed(ValueId(4), content.sign(golden::throw_away_key(), 0).unwrap());
    let mut forged = honest.encode();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = Value::decode(&forged).unwrap();
    let rejected = world.act(1, |node, now| node.put(now, key(), forged.clone(), false));
    assert!(rejected.is_err());
    // A node that keeps it all the same.
    world.act(1, |node, now| {
        let operation = OperationId(1000);
        node.publishing.put(now.moment, now.wall, key(), forged.into(), false, operation).unwrap();
    });
    world.act(1, |node, now| node.handle_timeout(now));
    world.run(seconds(5));
    assert!(world.told(0, listening).is_empty());
    world.put_and_wait(1, key(), honest, false).unwrap();
    world.run(seconds(1));
    assert_eq!(world.told(0, listening).len(), 1);
}
