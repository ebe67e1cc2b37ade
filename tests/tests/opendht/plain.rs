//! Values that everybody can read: put, found and pushed in each direction, small and large.

use skep_protocol::dht::value::MAX_PACKED_VALUE;
use skep_tests::daemon::DhtNode;

use crate::engine::{Ours, key, run, text_of, text_value, told};

#[test]
fn a_value_of_dhtnode_is_found_and_pushed() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let key = key("from dhtnode");
        let mut events = ours.listen(key).await;
        node.command(&format!("p {key} hello")).await.unwrap();
        let value = told(&mut events, |_| true).await;
        assert_eq!(text_of(&value), "hello");
        let found = ours.get(key).await;
        assert_eq!(found.values, [(*value).clone()]);
        assert_eq!(found.answered, 1);
    });
}

#[test]
fn a_value_of_ours_is_found_and_pushed() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let key = key("from us");
        node.command(&format!("l {key}")).await.unwrap();
        node.until("a token", |line| line.starts_with("Listening, token").then_some(())).await.unwrap();
        assert_eq!(ours.put(key, text_value(0xabcd, "hello"), false).await.stored, 1);
        node.until("the push", |line| line.contains("abcd").then_some(())).await.unwrap();
        node.get_until(&key.to_string(), "data(text/plain):\"hello\"").await.unwrap();
    });
}

#[test]
fn values_of_every_size_pass_in_each_direction() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        for (number, size) in (1..).zip([1, 500, 600, 1280, 5000, 20_000, 60_000]) {
            let text = char::from(b'a' + u8::try_from(number % 26_u64).unwrap()).to_string().repeat(size);
            let there = key(&format!("there {size}"));
            assert_eq!(ours.put(there, text_value(number, &text), true).await.stored, 1, "{size}");
            node.get_until(&there.to_string(), &format!("\"{text}\"")).await.unwrap();
            let here = key(&format!("here {size}"));
            let mut events = ours.listen(here).await;
            node.command(&format!("p {here} {text}")).await.unwrap();
            assert_eq!(text_of(&*told(&mut events, |_| true).await), text, "{size}");
            assert_eq!(text_of(&ours.get(here).await.values[0]), text, "{size}");
        }
        // The most that a packed value may have. The length of its data takes a byte more than that of none.
        let room = MAX_PACKED_VALUE - text_value(77, "").encode().len() - 1;
        let largest = text_value(77, &"z".repeat(room));
        assert_eq!(largest.encode().len(), MAX_PACKED_VALUE);
        let there = key("largest");
        assert_eq!(ours.put(there, largest.clone(), true).await.stored, 1);
        node.get_until(&there.to_string(), &text_of(&largest)).await.unwrap();
    });
}

#[test]
fn many_values_of_one_key_are_all_found() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let key = key("many");
        for number in 1..=20 {
            ours.put(key, text_value(number, &format!("ours {number}.")), true).await;
            node.command(&format!("p {key} theirs-{number}")).await.unwrap();
        }
        node.until("its last put", |line| line.starts_with("Put: success").then_some(())).await.unwrap();
        for number in 1..=20 {
            node.get_until(&key.to_string(), &format!("ours {number}.")).await.unwrap();
        }
        let mut found = ours.get(key).await.values;
        while found.len() < 40 {
            found = ours.get(key).await.values;
        }
        assert_eq!(found.len(), 40);
    });
}
