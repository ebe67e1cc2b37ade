//! OpenDHT's library, by its Python binding, with no other node than ours. It has no calls to sign or
//! encrypt what it puts; `encrypted` shows by the console of `dhtnode` how such values come to us.

use skep_actors::dht::envelope::{EnvelopeRandom, seal};
use skep_actors::supervision::Environment;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::identity::Certificate;
use skep_protocol::ids::DhtKey;
use skep_protocol::msgpack;
use skep_protocol::time::UnixMillis;
use skep_tests::daemon::{BindingNode, BindingValue};

use crate::encrypted::device;
use crate::engine::{Ours, TEXT, content, key, run_with_binding, text_value, told};

/// What the binding shows of a text of ours.
fn shown(id: u64, text: &str) -> BindingValue {
    BindingValue { id, user_type: TEXT.to_owned(), data: hex(text) }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn values_of_the_binding_are_found_and_pushed() {
    run_with_binding(async {
        let ours = Ours::start(&[], None);
        let mut theirs = BindingNode::start(&ours.address().await).await.unwrap();
        ours.reachable().await;
        for (id, size) in [(1, 5), (2, 1000), (3, 60_000)] {
            let (key, text) = (key(&format!("from the binding {size}")), "x".repeat(size));
            let mut events = ours.listen(key).await;
            assert!(theirs.put(&key.to_string(), id, TEXT, text.as_bytes()).await.unwrap());
            assert_eq!(*told(&mut events, |_| true).await, text_value(id, &text));
            assert_eq!(ours.get(key).await.values, [text_value(id, &text)]);
        }
    });
}

#[test]
fn values_of_ours_are_found_by_the_binding_and_pushed_to_it() {
    run_with_binding(async {
        let ours = Ours::start(&[], None);
        let mut theirs = BindingNode::start(&ours.address().await).await.unwrap();
        ours.reachable().await;
        for (id, size) in [(1, 5), (2, 1000), (3, 60_000)] {
            let (key, text) = (key(&format!("for the binding {size}")), "x".repeat(size));
            theirs.listen(&key.to_string()).await.unwrap();
            assert_eq!(ours.put(key, text_value(id, &text), false).await.stored, 1);
            assert_eq!(theirs.told().await.unwrap(), (shown(id, &text), false));
            assert_eq!(theirs.get(&key.to_string()).await.unwrap(), [shown(id, &text)]);
        }
    });
}

#[test]
fn the_binding_knows_who_signed_a_value_of_ours() {
    run_with_binding(async {
        let ours = Ours::start(&[], None);
        let mut theirs = BindingNode::start(&ours.address().await).await.unwrap();
        ours.reachable().await;
        let (device, _) = device();
        let key = key("signed for the binding");
        theirs.listen(&key.to_string()).await.unwrap();
        let value = Value::signed(ValueId(5), content("signed").sign(&device, 3).unwrap());
        assert_eq!(ours.put(key, value, true).await.stored, 1);
        assert_eq!(theirs.told().await.unwrap(), (shown(5, "signed"), false));
        let owner = device.public().device_short_id().to_string();
        assert_eq!(theirs.owners(&key.to_string()).await.unwrap(), [owner]);
    });
}

#[test]
fn a_value_closed_for_the_binding_opens() {
    run_with_binding(async {
        let ours = Ours::start(&[], None);
        let mut theirs = BindingNode::start(&ours.address().await).await.unwrap();
        ours.reachable().await;
        // It publishes its certificate at the id of its key, and looks for ours when it sees our signature.
        let place: DhtKey = theirs.key_id().parse().unwrap();
        let certificate = told(&mut ours.listen(place).await, |_| true).await;
        let pem = msgpack::decode_all(&certificate.content().unwrap().data).unwrap();
        let reader = Certificate::from_pem(pem.as_binary().unwrap()).unwrap();
        let (device, own) = device();
        ours.put(DhtKey::legacy_certificate(device.public().device_short_id()), own, true).await;
        let random = EnvelopeRandom::draw(&Environment::single_thread(UnixMillis(0), 3));
        for (number, text) in [(0, "short"), (1, &*"long ".repeat(300))] {
            let key = key(&format!("closed for the binding {number}"));
            theirs.listen(&key.to_string()).await.unwrap();
            let value = seal(content(text), &device, reader.public_key(), &random).unwrap();
            let id = value.id.0;
            assert_eq!(ours.put(key, value, false).await.stored, 1);
            assert_eq!(theirs.told().await.unwrap(), (shown(id, text), false));
            assert_eq!(theirs.get(&key.to_string()).await.unwrap(), [shown(id, text)]);
        }
    });
}
