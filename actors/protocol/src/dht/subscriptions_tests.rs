use proptest::prelude::*;

use super::*;
use crate::dht::content::Content;
use crate::dht::golden;

fn key() -> DhtKey {
    DhtKey::of_text("test key")
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn value(id: u64, data: &[u8]) -> Value {
    Value::plain(ValueId(id), Content::new(0, data.to_vec()))
}

fn found(value: &Value) -> SubscriptionEvent {
    SubscriptionEvent::Found { key: key(), value: Arc::new(value.clone()) }
}

fn gone(value: &Value) -> SubscriptionEvent {
    SubscriptionEvent::Expired { key: key(), fingerprint: value.fingerprint() }
}

fn subscribed(nodes: u8) -> Subscriptions<u8> {
    let mut subscriptions = Subscriptions::default();
    subscriptions.subscribe(key()).unwrap();
    for node in 0..nodes {
        assert!(subscriptions.answered(at(0), key(), node));
    }
    subscriptions
}

#[test]
fn a_value_of_several_nodes_is_found_once_and_gone_with_the_last() {
    let mut subscriptions = subscribed(2);
    let a = value(1, b"a");
    assert_eq!(subscriptions.found(at(0), key(), &0, [a.clone()]), [found(&a)]);
    assert_eq!(subscriptions.found(at(1), key(), &1, [a.clone(), a.clone()]), []);
    assert_eq!(subscriptions.expired(key(), &0, &[ValueId(1), ValueId(2)]), []);
    assert_eq!(subscriptions.expired(key(), &1, &[ValueId(1)]), [gone(&a)]);
    assert_eq!(subscriptions.found(at(2), key(), &1, [a.clone()]), [found(&a)]);
}

#[test]
fn a_value_is_gone_when_no_node_confirmed_it_for_its_life() {
    let mut subscriptions = subscribed(2);
    let a = value(1, b"a");
    subscriptions.found(at(0), key(), &0, [a.clone()]);
    subscriptions.found(at(10), key(), &1, [a.clone()]);
    assert_eq!(subscriptions.expire(at(600)), []);
    subscriptions.refreshed(at(605), key(), &1, &[ValueId(1)]);
    assert_eq!(subscriptions.expire(at(1204)), []);
    assert_eq!(subscriptions.expire(at(1205)), [gone(&a)]);
}

#[test]
fn an_edition_takes_the_place_of_the_one_before() {
    let mut subscriptions = subscribed(2);
    let (old, new) = (value(1, b"old"), value(1, b"new"));
    subscriptions.found(at(0), key(), &0, [old.clone()]);
    subscriptions.found(at(0), key(), &1, [old.clone()]);
    assert_eq!(subscriptions.found(at(1), key(), &0, [new.clone()]), [found(&new)]);
    assert_eq!(subscriptions.found(at(1), key(), &1, [new]), [gone(&old)]);
}

fn edition(sequence: u16, data: &[u8]) -> Value {
    let content = Content::new(0, data.to_vec());
    Value::signed(ValueId(1), content.sign(golden::throw_away_key(), sequence).unwrap())
}

#[test]
fn an_edition_that_is_told_again_after_the_next_one_took_its_place_is_ignored() {
    let mut subscriptions = subscribed(3);
    let (old, new) = (edition(1, b"old"), edition(2, b"new"));
    subscriptions.found(at(0), key(), &0, [old.clone()]);
    subscriptions.found(at(0), key(), &1, [old.clone()]);
    assert_eq!(subscriptions.found(at(1), key(), &0, [new.clone()]), [found(&new)]);
    assert_eq!(subscriptions.found(at(1), key(), &1, [new.clone()]), [gone(&old)]);
    for node in [0, 1, 2] {
        assert_eq!(subscriptions.found(at(2), key(), &node, [old.clone()]), []);
    }
    // Once the later one is gone, the former is what there is.
    assert_eq!(subscriptions.expired(key(), &0, &[ValueId(1)]), []);
    assert_eq!(subscriptions.expired(key(), &1, &[ValueId(1)]), [gone(&new)]);
    assert_eq!(subscriptions.found(at(3), key(), &2, [old.clone()]), [found(&old)]);
}

#[test]
fn what_an_owner_signed_elsewhere_hides_nothing_under_the_id_of_another_value() {
    // The content of another value, of a higher number, which one node shows under this id.
    let (honest, moved) = (edition(1, b"honest"), edition(9, b"of another id"));
    let mut subscriptions = subscribed(3);
    assert_eq!(subscriptions.found(at(0), key(), &0, [moved.clone()]), [found(&moved)]);
    assert_eq!(subscriptions.found(at(0), key(), &1, [honest.clone()]), [found(&honest)]);
    // Nor if that node told the honest one before, and was the first to tell it.
    let mut subscriptions = subscribed(3);
    assert_eq!(subscriptions.found(at(0), key(), &0, [honest.clone()]), [found(&honest)]);
    let replaced = subscriptions.found(at(0), key(), &0, [moved.clone()]);
    assert_eq!(replaced, [found(&moved), gone(&honest)]);
    assert_eq!(subscriptions.found(at(1), key(), &1, [honest.clone()]), [found(&honest)]);
    assert_eq!(subscriptions.found(at(2), key(), &2, [honest.clone()]), []);
    assert_eq!(subscriptions.found(at(3), key(), &0, [moved]), []);
    assert!(subscriptions.knows(key(), &honest.fingerprint()));
}

#[test]
fn how_many_replaced_editions_are_remembered_is_bounded() {
    let mut subscriptions = subscribed(1);
    for sequence in 0..u16::try_from(REPLACED_PER_KEY).unwrap() + 3 {
        subscriptions.found(at(0), key(), &0, [edition(sequence, b"")]);
    }
    assert_eq!(subscriptions.keys[&key()].replaced.len(), REPLACED_PER_KEY);
}

#[test]
fn a_false_content_under_a_known_id_hides_nothing() {
    let mut subscriptions = subscribed(2);
    let (real, fake) = (value(1, b"real"), value(1, b"fake"));
    subscriptions.found(at(0), key(), &0, [fake.clone()]);
    assert_eq!(subscriptions.found(at(0), key(), &1, [real]), [found(&value(1, b"real"))]);
    assert_eq!(subscriptions.expired(key(), &0, &[ValueId(1)]), [gone(&fake)]);
}

#[test]
fn nodes_and_keys_that_were_not_asked_are_ignored() {
    let mut subscriptions = subscribed(1);
    assert_eq!(subscriptions.found(at(0), key(), &9, [value(1, b"")]), []);
    assert_eq!(subscriptions.found(at(0), DhtKey::of_text("x"), &0, [value(1, b"")]), []);
    assert!(!subscriptions.answered(at(0), DhtKey::of_text("x"), 0));
}

#[test]
fn a_listen_request_is_repeated_after_its_last_answer() {
    let mut subscriptions = subscribed(1);
    assert_eq!(subscriptions.next_deadline(), Some(at(20)));
    subscriptions.answered(at(5), key(), 0);
    assert_eq!(subscriptions.due(at(24)), []);
    assert_eq!(subscriptions.due(at(25)), [(key(), 0)]);
    assert_eq!(subscriptions.due(at(45)), [(key(), 0)]);
    subscriptions.lost(key(), &0);
    assert_eq!(subscriptions.nodes(key()).count(), 0);
    assert_eq!(subscriptions.next_deadline(), None);
}

#[test]
fn the_values_of_a_lost_node_stay_until_they_expire() {
    let mut subscriptions = subscribed(1);
    let a = value(1, b"a");
    subscriptions.found(at(0), key(), &0, [a.clone()]);
    subscriptions.lost(key(), &0);
    assert_eq!(subscriptions.expire(at(599)), []);
    assert_eq!(subscriptions.expire(at(600)), [gone(&a)]);
    assert!(!subscriptions.listens(key(), &0));
}

#[test]
fn a_flood_of_one_node_pushes_out_only_its_own_values() {
    let mut subscriptions = subscribed(2);
    let real = value(0, b"real");
    subscriptions.found(at(0), key(), &0, [real.clone()]);
    let mut lost = Vec::new();
    for id in 1..=600 {
        lost.extend(subscriptions.found(at(1), key(), &1, [value(id, b"flood")]));
    }
    let lost = lost.iter().filter(|event| matches!(event, SubscriptionEvent::Expired { .. }));
    assert_eq!(lost.count(), 600 - VALUES_PER_NODE);
    assert_eq!(subscriptions.expired(key(), &0, &[ValueId(0)]), [gone(&real)]);
}

#[test]
fn enough_nodes_are_enough() {
    let mut subscriptions = subscribed(u8::try_from(NODES_PER_KEY).unwrap());
    assert!(!subscriptions.answered(at(0), key(), 100));
    subscriptions.found(at(0), key(), &0, [value(1, b"a")]);
    subscriptions.lost(key(), &0);
    assert!(subscriptions.answered(at(0), key(), 100));
    assert!(!subscriptions.answered(at(0), key(), 0));
}

#[test]
fn a_lost_node_is_forgotten_at_once_when_others_have_its_values() {
    let mut subscriptions = subscribed(2);
    subscriptions.found(at(0), key(), &0, [value(1, b"a")]);
    subscriptions.found(at(0), key(), &1, [value(1, b"a")]);
    subscriptions.lost(key(), &0);
    assert!(!subscriptions.listens(key(), &0));
    assert_eq!(subscriptions.expired(key(), &1, &[ValueId(1)]), [gone(&value(1, b"a"))]);
}

#[test]
fn nodes_that_come_and_go_are_forgotten_with_their_values() {
    let mut subscriptions = subscribed(0);
    let churn = |subscriptions: &mut Subscriptions<u8>, now| {
        (0..100)
            .filter(|node| {
                let room = subscriptions.answered(now, key(), *node);
                subscriptions.found(now, key(), node, [value(1, b"a")]);
                subscriptions.lost(key(), node);
                room
            })
            .count()
    };
    assert_eq!(churn(&mut subscriptions, at(0)), REMEMBERED_PER_KEY);
    assert_eq!(subscriptions.expire(at(600)), [gone(&value(1, b"a"))]);
    assert_eq!(churn(&mut subscriptions, at(600)), REMEMBERED_PER_KEY);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn found_and_expired_alternate_for_every_value(
        steps in prop::collection::vec((0_u8..6, 0_u8..4, 0_u64..4, 0_u8..2, 0_u64..300), 1..100),
    ) {
        let mut subscriptions = subscribed(4);
        let mut known = BTreeSet::new();
        let mut now = 0;
        let mut take = |events: Vec<SubscriptionEvent>| {
            for event in events {
                match event {
                    SubscriptionEvent::Found { value, .. } => assert!(known.insert(value.fingerprint())),
                    SubscriptionEvent::Expired { fingerprint, .. } => assert!(known.remove(&fingerprint)),
                }
            }
            known.len()
        };
        for (kind, node, id, data, seconds) in steps {
            now += seconds;
            take(subscriptions.expire(at(now)));
            let events = match kind {
                0 => subscriptions.expired(key(), &node, &[ValueId(id)]),
                1 => {
                    subscriptions.refreshed(at(now), key(), &node, &[ValueId(id)]);
                    Vec::new()
                }
                2 => {
                    subscriptions.lost(key(), &node);
                    Vec::new()
                }
                3 => {
                    subscriptions.answered(at(now), key(), node);
                    Vec::new()
                }
                _ => subscriptions.found(at(now), key(), &node, [value(id, &[data])]),
            };
            let count = take(events);
            prop_assert_eq!(count, subscriptions.keys[&key()].values.len());
        }
        prop_assert_eq!(take(subscriptions.expire(Moment(Duration::MAX))), 0);
        subscriptions.cancel(key());
        prop_assert_eq!(subscriptions.next_deadline(), None);
    }
}
