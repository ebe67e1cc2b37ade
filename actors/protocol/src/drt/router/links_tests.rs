//! Which links are made, and what is told of them.

use std::time::Duration;

use super::testing::*;
use super::*;

#[test]
fn known_ids_are_dialled_two_at_a_time_and_connected_ones_not_again() {
    let mut owner = Owner::new();
    let ids: Vec<DeviceId> = (1..6).map(|number| id("1", number)).collect();
    let first = dialled(&owner.handle(Event::Known(ids.clone())));
    assert_eq!(first.len(), 2);
    assert!(owner.handle(Event::Bootstrap).is_empty(), "two are being dialled");
    for (channel, device) in (1..).zip(&first) {
        owner.handle(Event::ChannelUp { channel: ChannelId(channel), device: *device, incoming: false });
    }
    // It is the own bucket still, so two more are dialled, and then one.
    let mut rest = dialled(&owner.handle(Event::Known(ids.clone())));
    assert!(rest.is_disjoint(&first) && rest.len() == 2);
    for (channel, device) in (10..).zip(rest.clone()) {
        owner.up(channel, device);
        rest.extend(dialled(&owner.handle(Event::Known(ids.clone()))));
    }
    assert!(rest.is_disjoint(&first));
    assert_eq!(owner.router.table().bucket_count(), 2);
}

#[test]
fn a_full_foreign_bucket_takes_who_comes_and_is_dialled_no_more() {
    let mut owner = Owner::new();
    for number in 1..=4 {
        owner.up(number.into(), id("1", number));
    }
    assert_eq!(owner.router.table().bucket_count(), 2);
    assert_eq!(owner.router.table().connected().count(), 4);
    assert!(dialled(&owner.found(1, &[id("1", 9)])).is_empty());
    assert_eq!(dialled(&owner.found(1, &[id("0", 9)])), [id("0", 9)].into());
}

#[test]
fn both_ends_ask_for_two_nodes_close_to_themselves_when_a_channel_opens() {
    let mut owner = Owner::new();
    let actions = owner.up(1, id("1", 1));
    let find = Body::Find { count: 2, target: id("0", 0) };
    assert_eq!(actions, [Action::Send { channel: ChannelId(1), message: message(find) }, Action::Connected]);
}

#[test]
fn connected_is_told_for_the_first_channel_only_and_again_after_all_are_gone() {
    let mut owner = Owner::new();
    assert!(owner.up(1, id("1", 1)).contains(&Action::Connected));
    assert!(!owner.up(2, id("1", 2)).contains(&Action::Connected));
    assert!(!owner.down(1).contains(&Action::Disconnected));
    owner.handle(Event::ChannelFailed(id("1", 1)));
    let actions = owner.down(2);
    assert!(!actions.contains(&Action::Connected));
    assert!(owner.up(3, id("1", 2)).contains(&Action::Connected));
}

#[test]
fn disconnected_is_told_when_the_last_dial_has_failed() {
    let mut owner = Owner::new();
    let ids: Vec<DeviceId> = (1..=3).map(|number| id("1", number)).collect();
    let mut dialling = dialled(&owner.handle(Event::Known(ids)));
    let mut dialled_in_all = dialling.len();
    while let Some(device) = dialling.pop_first() {
        let actions = owner.handle(Event::ChannelFailed(device));
        dialling.extend(dialled(&actions));
        dialled_in_all += dialled(&actions).len();
        assert_eq!(actions.contains(&Action::Disconnected), dialling.is_empty());
    }
    assert_eq!(dialled_in_all, 3, "alone, all known nodes are tried, each once");
}

#[test]
fn nodes_known_already_trigger_no_dial() {
    let mut owner = Owner::new();
    owner.up(1, id("1", 1));
    assert_eq!(dialled(&owner.found(1, &[id("1", 2), id("0", 0), id("1", 1)])), [id("1", 2)].into());
    assert!(owner.found(1, &[id("1", 2)]).is_empty());
    owner.handle(Event::ChannelFailed(id("1", 2)));
    owner.wait(Duration::from_hours(2));
    assert!(owner.found(1, &[id("1", 2)]).is_empty());
}

#[test]
fn nodes_with_a_socket_are_preferred_whatever_the_bucket_wants() {
    let mut owner = Owner::new();
    for number in 1..=4 {
        owner.up(number.into(), id("1", number));
    }
    owner.sockets.insert(id("1", 9));
    assert_eq!(dialled(&owner.found(1, &[id("1", 8), id("1", 9)])), [id("1", 9)].into());
}

#[test]
fn a_new_socket_is_used_for_a_channel_and_no_other_is_made_for_it() {
    let mut owner = Owner::new();
    for number in 1..=4 {
        owner.up(number.into(), id("1", number));
    }
    let device = id("1", 9);
    let request = Action::RequestChannel { device, new_socket: false };
    assert_eq!(owner.handle(Event::SocketOpened(device)), [request]);
    assert!(owner.handle(Event::SocketOpened(device)).is_empty());
    owner.up(9, device);
    assert!(owner.handle(Event::SocketOpened(device)).is_empty());
}

#[test]
fn two_channels_of_one_peer_are_one_link_until_both_are_closed() {
    let mut owner = Owner::new();
    owner.up(1, id("1", 1));
    assert!(owner.up(2, id("1", 1)).is_empty(), "the second asks nothing");
    assert_eq!(owner.ask(2, Version::Three, id("1", 1)), Found::default(), "but is read");
    assert!(owner.down(1).is_empty());
    assert!(owner.router.table().is_connected(&id("1", 1)));
    owner.down(2);
    assert!(!owner.router.table().is_connected(&id("1", 1)));
}

#[test]
fn a_lost_link_is_dialled_again_if_it_had_lasted() {
    let mut owner = Owner::new();
    owner.up(1, id("1", 1));
    owner.wait(STABLE);
    assert_eq!(dialled(&owner.down(1)), [id("1", 1)].into());
}

#[test]
fn an_overlay_with_known_ids_only_dials_again_when_told_and_by_itself_at_growing_intervals() {
    let mut owner = Owner::new();
    let device = id("1", 1);
    assert_eq!(owner.handle(Event::Known(vec![device])).len(), 1);
    let mut dials = 1;
    owner.handle(Event::ChannelFailed(device));
    let mut waits = Vec::new();
    while let Some(deadline) = owner.router.deadline() {
        waits.push(deadline.since(owner.moment).as_secs());
        owner.wait(deadline.since(owner.moment));
        dials += dialled(&owner.handle(Event::Deadline)).len();
        assert_eq!(owner.handle(Event::ChannelFailed(device)), [Action::Disconnected]);
    }
    assert_eq!((dials, waits), (9, vec![5, 10, 20, 40, 80, 160, 320, 640]));
    assert!(owner.handle(Event::Bootstrap).is_empty());
    owner.wait(Duration::from_hours(1));
    assert_eq!(dialled(&owner.handle(Event::Bootstrap)), [device].into());
    owner.handle(Event::ChannelFailed(device));
    assert_eq!(dialled(&owner.handle(Event::ConnectivityChanged)), [device].into());
    owner.handle(Event::ChannelFailed(device));
    assert_eq!(dialled(&owner.handle(Event::Known(vec![device]))), [device].into(), "it was seen");
}

#[test]
fn a_left_overlay_closes_all_and_dials_nobody_until_it_is_joined_again() {
    let mut owner = Owner::new();
    owner.up(1, id("1", 1));
    owner.up(2, id("0", 2));
    let closed = owner.handle(Event::Shutdown);
    assert_eq!(closed, [Action::CloseChannel(ChannelId(1)), Action::CloseChannel(ChannelId(2))]);
    assert_eq!(owner.router.deadline(), None);
    assert!(owner.down(1).is_empty());
    for event in
        [Event::Bootstrap, Event::ConnectivityChanged, Event::SocketOpened(id("1", 3)), Event::Deadline]
    {
        assert!(owner.handle(event).is_empty());
    }
    assert_eq!(owner.up(3, id("1", 3)), [Action::CloseChannel(ChannelId(3))]);
    assert_eq!(dialled(&owner.handle(Event::Restart)).len(), 2);
}

#[test]
fn banned_devices_disappear_with_their_channels_and_others_are_dialled() {
    let mut owner = Owner::new();
    for number in 1..=3 {
        owner.up(number.into(), id("1", number));
    }
    owner.found(1, &[id("1", 9)]);
    let actions = owner.handle(Event::Removed(vec![id("1", 1), id("1", 2)]));
    assert_eq!(actions[..2], [Action::CloseChannel(ChannelId(1)), Action::CloseChannel(ChannelId(2))]);
    assert_eq!(dialled(&actions), [id("1", 9)].into());
    assert!(owner.router.table().nodes().all(|node| ![id("1", 1), id("1", 2)].contains(&node.id)));
    owner.handle(Event::ChannelFailed(id("1", 9)));
    let actions = owner.handle(Event::Removed(vec![id("1", 3)]));
    assert!(actions.contains(&Action::Disconnected));
}

#[test]
fn an_idle_router_of_a_large_group_takes_little_memory() {
    let mut owner = Owner::new();
    for number in 1..=30 {
        owner.up(number.into(), id(&format!("{number:08b}"), number));
        owner.found(
            number.into(),
            &(0..128).map(|it| id(&format!("{number:08b}{it:08b}"), 1)).collect::<Vec<_>>(),
        );
    }
    assert!(owner.router.memory() < 64 * 1024, "{}", owner.router.memory());
}

#[test]
fn a_refresh_asks_every_peer_for_a_node_known_beside_it_or_else_for_ourselves() {
    let mut owner = Owner::new();
    assert!(owner.handle(Event::Refresh).is_empty(), "nobody is there to ask");
    // A bucket of two links, where a third node is known, and the own one, where nobody is.
    for number in 1..=2 {
        owner.up(number.into(), id("1", number));
    }
    owner.up(3, id("0", 3));
    owner.found(1, &[id("1", 9)]);
    let find = |target| message(Body::Find { count: FIND_COUNT, target });
    let asked = |channel, target| Action::Send { channel: ChannelId(channel), message: find(target) };
    let all = [asked(1, id("1", 9)), asked(2, id("1", 9)), asked(3, id("0", 0))];
    assert_eq!(owner.handle(Event::Refresh), all);
    assert_eq!(owner.handle(Event::Refresh), all, "each time that it is wanted");
    owner.handle(Event::Shutdown);
    assert!(owner.handle(Event::Refresh).is_empty());
}

/// The owner of a router with other rules, who knows eight nodes of a foreign bucket.
fn ruled(rules: Rules) -> (Owner, BTreeSet<DeviceId>) {
    let mut owner = Owner::new();
    let own = RouterConfig {
        own: id("0", 0),
        conversation: owner.router.conversation,
        is_mobile: false,
        seed: 7,
        mobiles: vec![],
    };
    owner.router = Router::with_rules(own, rules);
    let first = dialled(&owner.handle(Event::Known((1..9).map(|number| id("1", number)).collect())));
    (owner, first)
}

#[test]
fn as_many_links_are_dialled_in_a_bucket_as_the_rules_want() {
    for size in [1, 4, 7] {
        let bucket_size = std::num::NonZeroU8::new(size).unwrap();
        let (mut owner, first) = ruled(Rules { bucket_size, ..Rules::default() });
        assert_eq!(first.len(), usize::from(size));
        for number in 1..=size {
            owner.up(number.into(), id("1", number));
        }
        assert_eq!(owner.router.table().bucket_count(), 1);
        owner.up(20, id("0", 1));
        assert_eq!(owner.router.table().bucket_count(), 2, "one more than the bucket holds");
    }
}

#[test]
fn who_failed_is_dialled_again_by_every_event_if_the_rules_know_no_wait_and_then_by_no_clock() {
    for waits in [true, false] {
        let (mut owner, first) = ruled(Rules { waits, ..Rules::default() });
        owner.up(1, id("0", 1));
        for device in &first {
            owner.handle(Event::ChannelFailed(*device));
        }
        assert_eq!(owner.router.deadline().is_some(), waits);
        let others: BTreeSet<DeviceId> = (1..9).map(|number| id("1", number)).collect();
        let others = &others - &first;
        let mut again = BTreeSet::new();
        for _ in 0..100 {
            let dialled = dialled(&owner.handle(Event::Bootstrap));
            for device in &dialled {
                owner.handle(Event::ChannelFailed(*device));
            }
            again.extend(dialled);
        }
        // Within the same moment those that failed wait, and the others are tried once each.
        assert!(again.is_superset(&others));
        assert_eq!(again.is_disjoint(&first), waits);
    }
}
