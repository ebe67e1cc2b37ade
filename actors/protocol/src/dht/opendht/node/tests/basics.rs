//! Joining, putting and getting.

use std::collections::BTreeSet;

use super::*;
use crate::dht::filter::Filter;
use crate::dht::opendht::node::Family;
use crate::dht::opendht::operation::{Event, Failure, Rejected, Status};
use crate::dht::value::{Value, ValueId};

#[test]
fn two_nodes_put_get_and_listen() {
    let mut world = World::settled(1, Weather::FINE, 2);
    assert_eq!(world.connected(), 2);
    let listening = world.listen(0, key());
    world.run(seconds(1));
    assert_eq!(world.put_and_wait(1, key(), value(1, b"hello"), false), Ok(1));
    assert_eq!(found(world.get_and_wait(0, key())), [b"hello"]);
    assert_eq!(found(world.get_and_wait(1, key())), [b"hello"]);
    assert_eq!(world.told(0, listening).len(), 1);
}

#[test]
fn a_node_without_others_says_that_it_is_alone() {
    let mut world = World::new(2, Weather::FINE);
    world.start(0, id(0));
    let alone = Failure::Alone { waited: seconds(20) };
    assert_eq!(world.put_and_wait(0, key(), value(1, b"x"), false), Err(alone));
    assert_eq!(world.get_and_wait(0, DhtKey::of_text("other")), Err(alone));
}

#[test]
fn a_node_whose_peers_are_all_gone_says_that_none_answers() {
    let mut world = World::settled(3, Weather::FINE, 3);
    world.stop(0);
    world.stop(1);
    let result = world.put_and_wait(2, key(), value(1, b"x"), false);
    assert_eq!(result, Err(Failure::NoAnswer { asked: 2 }));
    assert_ne!(world.node(2).health(world.now()).ipv4, Status::Connected);
}

#[test]
fn a_permanent_value_put_while_alone_is_delivered_when_others_come() {
    let mut world = World::new(4, Weather::FINE);
    world.start(0, id(0));
    let result = world.put_and_wait(0, key(), value(1, b"early"), true);
    assert!(matches!(result, Err(Failure::Alone { .. })));
    world.start(1, id(1));
    world.run(seconds(5));
    assert_eq!(world.keepers(key()).len(), 2);
}

#[test]
fn a_hundred_nodes_join_through_one_and_find_what_any_of_them_put() {
    let mut world = World::settled(5, Weather::FINE, 100);
    assert_eq!(world.connected(), 100);
    for number in 0..20 {
        let key = DhtKey::of_text(&number.to_string());
        let data = format!("value {number}").into_bytes();
        let stored = world.put_and_wait(number * 5, key, value(1, &data), false).unwrap();
        assert!(stored >= 5, "{stored}");
        let begin = world.moment;
        assert_eq!(found(world.get_and_wait(99 - number, key)), [data]);
        assert!(world.moment.since(begin) <= Duration::from_millis(200), "{number}");
        world.run(seconds(1));
        assert!((8..=12).contains(&world.keepers(key).len()), "{:?}", world.keepers(key).len());
    }
}

#[test]
fn values_go_to_the_eight_closest_nodes() {
    let mut world = World::settled(6, Weather::FINE, 60);
    world.put_and_wait(7, key(), value(1, b"x"), true).unwrap();
    world.run(seconds(5));
    let mut numbers: Vec<usize> = (0..60).collect();
    numbers.sort_by_key(|number| {
        let id = id(*number).0;
        let mut distance = key().0;
        distance.iter_mut().zip(id).for_each(|(byte, other)| *byte ^= other);
        distance
    });
    let keepers = world.keepers(key());
    let closest: Vec<_> = numbers.iter().filter(|number| **number != 7).take(8).collect();
    assert!(closest.iter().all(|number| keepers.contains(&address(**number))));
}

#[test]
fn large_values_and_many_values_are_put_and_found() {
    let mut world = World::settled(7, Weather::FINE, 12);
    let large = vec![7; 60_000];
    assert!(world.put_and_wait(3, key(), value(1, &large), false).unwrap() >= 5);
    assert_eq!(found(world.get_and_wait(9, key())), [large]);
    let key = DhtKey::of_text("many");
    for number in 1..=100 {
        world.put(3, key, value(number, &number.to_be_bytes()), false);
    }
    world.run(seconds(10));
    let values = found(world.get_and_wait(11, key));
    assert_eq!(values, (1..=100_u64).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn a_filter_finds_only_what_it_wants() {
    let mut world = World::settled(8, Weather::FINE, 10);
    for number in 1..=3 {
        world.put_and_wait(1, key(), value(number, &[1]), false).unwrap();
    }
    let get = world.act(5, |node, now| node.get(now, key(), Filter::id(ValueId(2))).unwrap());
    let found = world.wait_for(5, |event| match event {
        Event::Got { operation, result } if *operation == get => Some(result.clone()),
        _ => None,
    });
    assert_eq!(found.unwrap().values.iter().map(|value| value.id.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_no_node_would_keep_is_rejected_at_once() {
    let mut world = World::settled(9, Weather::FINE, 2);
    let rejected = world.act(0, |node, now| node.put(now, key(), value(0, b"no id"), false));
    assert!(matches!(rejected, Err(Rejected::Value(_))));
    let large = Value::encrypted(ValueId(1), vec![1; 70_000]);
    let rejected = world.act(0, |node, now| node.put(now, key(), large, false));
    assert!(matches!(rejected, Err(Rejected::Value(_))));
}

#[test]
fn a_put_is_superseded_by_the_next_and_cancelled_on_demand() {
    let mut world = World::new(10, Weather::FINE);
    world.start(0, id(0));
    let first = world.put(0, key(), value(1, b"a"), true);
    let second = world.put(0, key(), value(1, b"a"), true);
    world.act(0, |node, now| node.cancel_put(now, key(), ValueId(1)));
    for (put, failure) in [(first, Failure::Superseded), (second, Failure::Cancelled)] {
        let result = world.wait_for(0, |event| match event {
            Event::Put { operation, result } if *operation == put => Some(*result),
            _ => None,
        });
        assert_eq!(result, Err(failure));
    }
    assert_eq!(world.node(0).health(world.now()).published, 0);
}

#[test]
fn both_networks_are_used_and_one_without_nodes_delays_nothing() {
    let mut world = World::new(11, Weather::FINE);
    for number in 0..4 {
        world.start_with(number, id(number), BTreeSet::from(Family::ALL));
        world.act(number, |node, now| node.set_bootstrap(now, [address(0)]));
    }
    world.run(seconds(60));
    let begin = world.moment;
    assert_eq!(world.put_and_wait(1, key(), value(1, b"x"), false), Ok(3));
    assert_eq!(found(world.get_and_wait(3, key())), [b"x"]);
    assert!(world.moment.since(begin) < seconds(1));
    let health = world.node(2).health(world.now());
    assert_eq!((health.ipv4, health.ipv6), (Status::Connected, Status::Disconnected));
}

#[test]
fn good_nodes_of_the_last_run_are_enough_to_come_back() {
    let mut world = World::settled(12, Weather::FINE, 10);
    let known = world.node(9).good_nodes();
    assert!(known.contains(&contact(0)) && known.len() == 9);
    world.stop(9);
    world.start_with(9, id(9), BTreeSet::from([Family::V4]));
    world.act(9, |node, now| node.add_known_nodes(now, known));
    world.run(seconds(1));
    assert_eq!(world.node(9).health(world.now()).ipv4, Status::Connected);
    let observed = world.node(9).health(world.now()).observed;
    assert_eq!(observed, [address(9).ip()]);
}

#[test]
fn joining_is_tried_again_until_somebody_is_there() {
    let mut world = World::new(13, Weather::FINE);
    world.start(1, id(1));
    world.run(seconds(30));
    assert_ne!(world.node(1).health(world.now()).ipv4, Status::Connected);
    world.start(0, id(0));
    world.run(seconds(100));
    assert_eq!(world.connected(), 2);
}

#[test]
fn only_the_last_addresses_to_join_through_are_asked_and_the_same_ones_do_not_shorten_the_wait() {
    let mut world = World::new(14, Weather::FINE);
    world.start_with(1, id(1), BTreeSet::from([Family::V4]));
    let mut asked = |numbers: &[usize], time| {
        world.act(1, |node, now| node.set_bootstrap(now, numbers.iter().map(|number| address(*number))));
        let sent = world.recorded(time);
        sent.iter().map(|sent| sent.to).collect::<BTreeSet<_>>()
    };
    // More than are remembered, over time.
    for round in 0..100 {
        asked(&[1000 + round], seconds(1));
    }
    // What was sent before is sent again a few times.
    asked(&[2000, 2001], seconds(10));
    assert_eq!(asked(&[2000, 2001], seconds(60)), BTreeSet::from([address(2000), address(2001)]));
    let wait = |world: &World| world.node(1).upkeep.wait;
    let before = wait(&world);
    assert!(before > seconds(10));
    world.act(1, |node, now| node.set_bootstrap(now, [address(2000)]));
    assert_eq!(wait(&world), before);
    world.act(1, |node, now| node.set_bootstrap(now, [address(2002)]));
    assert_eq!(wait(&world), seconds(10));
}
