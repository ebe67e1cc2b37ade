//! Signed values, and values for one reader, in each direction.

use std::fs;

use skep_actors::dht::envelope::{EnvelopeRandom, seal};
use skep_actors::supervision::Environment;
use skep_protocol::dht::cipher;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Body, Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::keys::PrivateKey;
use skep_protocol::msgpack;
use skep_protocol::time::UnixMillis;
use skep_tests::daemon::DhtNode;
use skep_tests::harness::Golden;

use crate::engine::{Ours, content, key, run, text_of, told};

/// The key of a device, and the value with its certificate.
pub(crate) fn device() -> (PrivateKey, Value) {
    let file = |name| skep_tests::harness::vector(&format!("{}/{name}", Golden::ALICE.device));
    let key = PrivateKey::from_pem(&fs::read_to_string(file("ring_device.key")).unwrap()).unwrap();
    let chain = fs::read(file("ring_device.crt")).unwrap();
    let content = Content::new(8, msgpack::Value::binary(&chain).encode());
    (key, Value::plain(ValueId(1), content))
}

#[test]
fn signed_values_pass_in_each_direction() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let (device, _) = device();
        let here = key("signed here");
        let mut events = ours.listen(here).await;
        node.command(&format!("s {here} theirs")).await.unwrap();
        let value = told(&mut events, |_| true).await;
        assert_eq!(text_of(&value), "theirs");
        let signed = value.as_signed().unwrap();
        assert_eq!(signed.check(), Ok(()));
        assert_eq!(signed.owner().device_short_id().to_string(), node.key_id());
        let there = key("signed there");
        let value = Value::signed(ValueId(5), content("ours").sign(&device, 3).unwrap());
        assert_eq!(ours.put(there, value, true).await.stored, 1);
        let line = node.get_until(&there.to_string(), "\"ours\"").await.unwrap();
        assert!(line.contains("signed (v3)"), "{line}");
    });
}

#[test]
fn a_signed_value_is_replaced_by_its_next_edition_only() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let (device, _) = device();
        let key = key("edited");
        for (edition, text, shown) in [(1, "first", "first"), (3, "third", "third"), (2, "second", "third")] {
            let value = Value::signed(ValueId(5), content(text).sign(&device, edition).unwrap());
            // Our own node refuses what its peer would refuse, and says so.
            let key_text = key.to_string();
            if edition != 2 {
                assert_eq!(ours.put(key, value, true).await.stored, 1);
            }
            node.get_until(&key_text, &format!("\"{shown}\"")).await.unwrap();
        }
    });
}

#[test]
fn a_value_closed_for_us_opens() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let (device, certificate) = device();
        let reader = device.public().device_short_id();
        assert_eq!(ours.put(DhtKey::legacy_certificate(reader), certificate, true).await.stored, 1);
        let key = key("closed for us");
        let mut events = ours.listen(key).await;
        node.command(&format!("e {key} {reader} secret")).await.unwrap();
        let value = told(&mut events, |_| true).await;
        let Body::Encrypted(closed) = &value.body else { panic!("{value:?}") };
        let opened = cipher::open(closed, &device).unwrap().into_signed();
        assert_eq!(opened.content().data, b"secret");
        assert_eq!(opened.owner().device_short_id().to_string(), node.key_id());
    });
}

#[test]
fn a_value_closed_for_dhtnode_opens() {
    run(async {
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let (device, certificate) = device();
        let sender = DhtKey::legacy_certificate(device.public().device_short_id());
        ours.put(sender, certificate, true).await;
        let introduction = self::key("introduction");
        let mut events = ours.listen(introduction).await;
        node.command(&format!("s {introduction} me")).await.unwrap();
        let reader = told(&mut events, |_| true).await.as_signed().unwrap().owner().clone();
        let random = EnvelopeRandom::draw(&Environment::single_thread(UnixMillis(0), 3));
        let key = key("closed for dhtnode");
        let value = seal(content("secret"), &device, &reader, &random).unwrap();
        assert_eq!(ours.put(key, value, false).await.stored, 1);
        node.get_until(&key.to_string(), "\"secret\"").await.unwrap();
    });
}
