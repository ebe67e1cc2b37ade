//! What one is told of the other beside messages: how far they have read, and that they type.

use skep::Event;
use skep::rpc::schema::{MessageParams, TypingParams, method};
use skep_tests::daemon::Signal;
use skep_tests::harness::run;
use skep_tests::live::{Direction, Feature};

use super::pair::Pair;

#[test]
fn a_daemon_is_told_that_skep_has_read_and_types() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let message = pair.bob_says(id, "have you read this?").await.id;
        let (account, ada, since) = (pair.ada.local, pair.ada.id, pair.jamid.events().mark());
        let tried = pair.lab.attempt(Feature::Read, Direction::ToDaemon);
        let params = MessageParams { account, conversation: id, message };
        pair.ada.node.call(method::MessageRead, params).await.unwrap();
        let read = |signal: &Signal| {
            matches!(signal, Signal::Read { conversation, member, message: it, .. }
                if (*conversation, *member, *it) == (id, ada, message))
            .then_some(())
        };
        pair.jamid.events().wait(since, "that Ada has read", read).await.unwrap();
        tried.works();

        let tried = pair.lab.attempt(Feature::Typing, Direction::ToDaemon);
        for active in [true, false] {
            let params = TypingParams { account, conversation: id, active };
            pair.ada.node.call(method::MessageTyping, params).await.unwrap();
            let typing = |signal: &Signal| {
                matches!(signal, Signal::Typing { conversation, member, active: it, .. }
                    if (*conversation, *member, *it) == (id, ada, active))
                .then_some(())
            };
            let expected = format!("that Ada types: {active}");
            pair.jamid.events().wait(since, expected, typing).await.unwrap();
        }
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_is_told_that_somebody_on_a_daemon_has_read_and_types() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let message = pair.ada.send(id, "have you read this?").await.unwrap();
        pair.jamid.received(&pair.bob, id, "have you read this?").await.unwrap();
        let (bob, since) = (pair.bob.id, pair.ada.node.events().mark());
        let tried = pair.lab.attempt(Feature::Read, Direction::FromDaemon);
        pair.jamid.read(&pair.bob, id, message).await.unwrap();
        let read = |event: &Event| {
            matches!(event, Event::Read { conversation, member, message: it }
                if (*conversation, *member, *it) == (id, bob, message))
            .then_some(())
        };
        pair.ada.told(since, "that Bob has read", read).await.unwrap();
        tried.works();

        let tried = pair.lab.attempt(Feature::Typing, Direction::FromDaemon);
        for active in [true, false] {
            pair.jamid.typing(&pair.bob, id, active).await.unwrap();
            let typing = |event: &Event| {
                matches!(event, Event::Typing { conversation, member, active: it }
                    if (*conversation, *member, *it) == (id, bob, active))
                .then_some(())
            };
            pair.ada.told(since, format!("that Bob types: {active}"), typing).await.unwrap();
        }
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}
