//! What an account tells of its owner, and keeps to itself.

use skep::rpc::schema::{MessageParams, SettingsParams, TypingParams, method};
use skep::{CommitId, ConversationId, Event};
use skep_tests::harness::{Person, run};

use super::{Pair, skep};

async fn read_and_type(reader: &mut Person, conversation: ConversationId, message: CommitId) {
    let account = reader.local;
    let read = MessageParams { account, conversation, message };
    reader.node.call(method::MessageRead, read).await.unwrap();
    let typing = TypingParams { account, conversation, active: true };
    reader.node.call(method::MessageTyping, typing).await.unwrap();
}

#[test]
fn what_is_read_and_typed_is_told_unless_that_is_switched_off() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let account = carol.local;
        let described = carol.describe().await.unwrap();
        assert!(described.read_receipts && described.typing, "both are on at first");

        let off = SettingsParams { account, read_receipts: Some(false), typing: None };
        carol.node.call(method::AccountSet, off).await.unwrap();
        let data = carol.node.setup().data().to_owned();
        let switched = skep(&data, &["account", "set", "--typing", "off"]);
        assert!(switched.status.success(), "{switched:?}");
        carol.node.kill();
        carol.node.restart().await.unwrap();
        carol.usable(id).await.unwrap();
        let described = carol.describe().await.unwrap();
        assert!(!described.read_receipts && !described.typing, "they survive a restart");

        let first = alice.send(id, "first").await.unwrap();
        carol.has(id, first).await.unwrap();
        let mark = alice.node.events().mark();
        read_and_type(&mut carol, id, first).await;
        // What is told goes the way of the announcement of this, before it.
        carol.send(id, "answer").await.unwrap();
        alice.receives(id, "answer").await.unwrap();
        let member = carol.id;
        let tells_of_carol = |event: &Event| match event {
            Event::Read { member: told, message, .. } if *told == member => Some(Some(*message)),
            Event::Typing { member: told, .. } if *told == member => Some(None),
            _ => None,
        };
        let told = alice.node.events().find(mark, |told| tells_of_carol(&told.event));
        assert_eq!(told, None);

        let on = SettingsParams { account, read_receipts: Some(true), typing: Some(true) };
        carol.node.call(method::AccountSet, on).await.unwrap();
        let second = alice.send(id, "second").await.unwrap();
        carol.has(id, second).await.unwrap();
        read_and_type(&mut carol, id, second).await;
        for expected in [Some(second), None] {
            let is_it = |event: &Event| (tells_of_carol(event) == Some(expected)).then_some(());
            alice.told(mark, format!("of Carol: {expected:?}"), is_it).await.unwrap();
        }
    });
}
