//! Time, loss, restarts and churn.

use super::*;
use crate::dht::value::ValueId;

#[test]
fn a_value_put_once_expires_and_a_permanent_one_does_not() {
    let mut world = World::settled(30, Weather::FINE, 20);
    world.put_and_wait(1, key(), value(1, b"once"), false).unwrap();
    world.put_and_wait(1, key(), value(2, b"for good"), true).unwrap();
    assert_eq!(found(world.get_and_wait(7, key())), [b"once".to_vec(), b"for good".to_vec()]);
    world.run(seconds(11 * MINUTE));
    assert_eq!(found(world.get_and_wait(8, key())), [b"for good"]);
    world.run(seconds(50 * MINUTE));
    assert_eq!(found(world.get_and_wait(9, key())), [b"for good"]);
    world.act(1, |node, now| node.cancel_put(now, key(), ValueId(2)));
    world.run(seconds(11 * MINUTE));
    assert!(found(world.get_and_wait(7, key())).is_empty());
}

#[test]
fn a_permanent_value_survives_the_nodes_that_keep_it() {
    let mut world = World::settled(31, Weather::FINE, 60);
    world.put_and_wait(1, key(), value(1, b"for good"), true).unwrap();
    for round in 0..4 {
        world.run(seconds(2 * MINUTE));
        let keepers = world.keepers(key());
        let gone = (2..60).filter(|number| keepers.contains(&address(*number))).take(7);
        gone.collect::<Vec<_>>().into_iter().for_each(|number| world.stop(number));
        world.run(seconds(12 * MINUTE));
        let reader = (2..60).find(|number| world.machines.contains_key(&address(*number))).unwrap();
        assert_eq!(found(world.get_and_wait(reader, key())), [b"for good"], "round {round}");
        assert!(world.keepers(key()).len() >= 8, "round {round}");
    }
}

#[test]
fn a_storing_node_that_forgot_everything_is_given_the_value_again() {
    let mut world = World::settled(32, Weather::FINE, 5);
    world.put_and_wait(1, key(), value(1, b"for good"), true).unwrap();
    world.stop(3);
    world.start(3, id(3));
    world.run(seconds(5));
    // Another value at the key makes a refresh of ours look good there.
    world.put_and_wait(2, key(), value(2, b"other"), true).unwrap();
    world.run(seconds(11 * MINUTE));
    let kept = world.node(3).serving.get(world.moment, key(), &crate::dht::filter::Filter::default());
    assert_eq!(
        kept.iter().map(|value| data(value)).collect::<Vec<_>>(),
        [b"for good".to_vec(), b"other".to_vec()]
    );
}

#[test]
fn bad_weather_slows_but_does_not_stop() {
    let weather =
        Weather { delay: [Duration::from_millis(5), Duration::from_millis(250)], loss: 20, doubles: 10 };
    let mut world = World::settled(33, weather, 40);
    assert_eq!(world.connected(), 40);
    for number in 0..10 {
        let key = DhtKey::of_text(&format!("rain {number}"));
        let listening = world.listen(39 - number, key);
        world.run(seconds(10));
        let data = vec![u8::try_from(number).unwrap(); 300];
        assert!(world.put_and_wait(number, key, value(1, &data), true).is_ok());
        world.run(seconds(30));
        assert_eq!(found(world.get_and_wait(number + 12, key)), std::slice::from_ref(&data));
        let told = world.told(39 - number, listening);
        assert_eq!(told.into_iter().map(|(_, data)| data).collect::<Vec<_>>(), [data]);
    }
}

#[test]
fn two_hundred_nodes_that_come_and_go_keep_what_is_published() {
    let mut world = World::settled(34, Weather { loss: 2, ..Weather::FINE }, 200);
    for number in 0..10 {
        world.put(number, DhtKey::of_text(&format!("{number}")), value(1, &[1]), true);
    }
    world.run(seconds(60));
    // In two minutes a third of the nodes is replaced by new ones.
    for number in 0..60_usize {
        world.stop(20 + number);
        world.start(200 + number, id(200 + number));
        world.run(seconds(2));
    }
    world.run(seconds(60));
    for number in 0..10 {
        let reader = 200 + number * 6;
        let values = found(world.get_and_wait(reader, DhtKey::of_text(&format!("{number}"))));
        assert_eq!(values, [[1]], "{number}");
    }
}

#[test]
fn clock_jumps_disturb_nobody() {
    let mut world = World::settled(35, Weather::FINE, 20);
    let listening = world.listen(7, key());
    world.put_and_wait(1, key(), value(1, b"before"), true).unwrap();
    for jump in [3600 * 24 * 365 * 1000, -2 * 3600 * 24 * 365 * 1000] {
        world.wall_offset += jump;
        world.run(seconds(11 * MINUTE));
        let id = 2 + jump.unsigned_abs();
        world.put_and_wait(2, key(), value(id, b"after"), false).unwrap();
        assert_eq!(found(world.get_and_wait(9, key())).len(), 2);
    }
    world.run(seconds(11 * MINUTE));
    assert_eq!(found(world.get_and_wait(9, key())), [b"before"]);
    assert_eq!(world.told(7, listening).len(), 3);
    assert_eq!(world.expired(7, listening), 2);
}

#[test]
fn nodes_whose_clocks_jump_by_hours_in_either_direction_serve_each_other_as_before() {
    let mut world = World::settled(40, Weather::FINE, 20);
    let listening = world.listen(7, key());
    world.put_and_wait(1, key(), value(1, b"before"), true).unwrap();
    for (number, machine) in (0_i64..).zip(world.machines.values_mut()) {
        machine.fast = if number % 2 == 0 { 5 * 3_600_000 } else { -5 * 3_600_000 };
    }
    for (publisher, reader) in [(2, 9), (3, 8)] {
        let id = u64::try_from(publisher).unwrap();
        world.put_and_wait(publisher, key(), value(id, b"after"), false).unwrap();
        assert_eq!(found(world.get_and_wait(reader, key())), [b"before".to_vec(), b"after".to_vec()]);
        world.run(seconds(11 * MINUTE));
        assert_eq!(found(world.get_and_wait(reader, key())), [b"before"]);
    }
    assert_eq!((world.told(7, listening).len(), world.expired(7, listening)), (3, 2));
}

#[test]
fn a_node_that_slept_for_hours_comes_back() {
    let mut world = World::settled(36, Weather::FINE, 10);
    let mut sleeper = world.machines.remove(&address(4)).unwrap();
    world.run(seconds(3 * 60 * MINUTE));
    let now = world.now();
    sleeper.node.handle_timeout(now);
    world.machines.insert(address(4), sleeper);
    world.act(4, |node, now| node.handle_timeout(now));
    world.run(seconds(60));
    assert!(world.put_and_wait(4, key(), value(1, b"awake"), false).unwrap() >= 5);
}

#[test]
fn after_a_change_of_network_all_is_published_and_listened_at_again() {
    let mut world = World::settled(37, Weather::FINE, 20);
    let listening = world.listen(3, key());
    world.put_and_wait(3, DhtKey::of_text("own"), value(1, b"own"), true).unwrap();
    world.run(seconds(5));
    // The machine gets another address; nodes go on telling the old one.
    let mut moved = world.machines.remove(&address(3)).unwrap();
    let now = world.now();
    moved.node.network_changed(now);
    world.machines.insert(address(903), moved);
    world.act(903, |node, now| node.handle_timeout(now));
    world.run(seconds(10));
    world.put_and_wait(8, key(), value(1, b"news"), false).unwrap();
    world.run(seconds(2));
    assert_eq!(world.told(903, listening).len(), 1);
    assert_eq!(world.node(903).health(world.now()).observed, [address(903).ip()]);
    world.run(seconds(11 * MINUTE));
    assert_eq!(found(world.get_and_wait(9, DhtKey::of_text("own"))), [b"own"]);
}

#[test]
fn a_node_that_came_back_at_another_address_is_known_there() {
    let mut world = World::settled(38, Weather::FINE, 20);
    world.stop(3);
    world.start(903, id(3));
    world.run(seconds(12 * MINUTE));
    let at = |number| world.node(number).good_nodes().into_iter().find(|known| known.id == id(3));
    let known: Vec<_> = (4..20).filter_map(at).map(|known| known.address).collect();
    assert!(known.len() > 1 && known.iter().all(|known| *known == address(903)), "{known:?}");
}

#[test]
fn nodes_with_nothing_to_do_stay_in_touch_at_little_cost() {
    let mut world = World::settled(39, Weather::FINE, 30);
    world.run(seconds(60 * MINUTE));
    let sent = world.recorded(seconds(60 * MINUTE)).len();
    assert_eq!(world.connected(), 30);
    let good: Vec<usize> = (0..30).map(|number| world.node(number).good_nodes().len()).collect();
    let known: Vec<usize> = (0..30).map(|number| world.node(number).health(world.now()).known).collect();
    assert!(good.iter().all(|good| *good >= 8), "{good:?} of {known:?}");
    // Datagrams of one node in a minute.
    assert!(sent / 30 / 60 < 10, "{sent}");
}
