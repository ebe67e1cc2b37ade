//! Contacts that are refused and banned.

use skep::Event;
use skep::rpc::schema::method;
use skep_tests::harness::{Mark, run};
use skep_tests::live::{Direction, Feature};

use super::pair::Pair;

#[test]
fn skep_asks_again_when_a_daemon_has_declined() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let tried = pair.lab.attempt(Feature::Decline, Direction::ToDaemon);
        pair.ada.add(pair.bob.id).await.unwrap();
        pair.jamid.request(&pair.bob, pair.ada.id).await.unwrap();
        pair.jamid.decline(&pair.bob, pair.ada.id).await.unwrap();
        // Who is asked again is not a contact any more: nobody is told of having been declined.
        let about = pair.ada.about(pair.bob.id);
        pair.ada.node.call(method::ContactRemove, about).await.unwrap();
        let id = pair.ada_asks().await;
        pair.ada_says(id, "second thoughts?").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_asks_again_when_skep_has_declined() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let tried = pair.lab.attempt(Feature::Decline, Direction::FromDaemon);
        pair.jamid.add_contact(&pair.bob, pair.ada.id).await.unwrap();
        pair.ada.asked_by(pair.bob.id, Mark::BEGINNING).await.unwrap();
        let since = pair.ada.node.events().mark();
        let about = pair.ada.about(pair.bob.id);
        pair.ada.node.call(method::ContactDecline, about).await.unwrap();
        assert!(pair.ada.requests().await.unwrap().is_empty());
        let id = pair.bob_asks(since).await;
        pair.bob_says(id, "second thoughts?").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_that_skep_has_banned_is_not_heard_until_it_is_allowed_again() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Ban, Direction::ToDaemon);
        let (bob, banned) = (pair.bob.id, pair.ada.node.events().mark());
        let about = pair.ada.about(bob);
        pair.ada.node.call(method::ContactBan, about).await.unwrap();
        let down =
            |event: &Event| matches!(event, Event::LinkDown { contact, .. } if *contact == bob).then_some(());
        pair.ada.told(banned, "the link to be closed", down).await.unwrap();
        pair.jamid.send(&pair.bob, id, "do you hear me?").await.unwrap();
        pair.bob_has(id, &[("body", "do you hear me?")]).await;

        let allowed = pair.ada.node.events().mark();
        pair.ada.add(bob).await.unwrap();
        let heard = |event: &Event| {
            matches!(event, Event::Message { message, .. } if message.body == "do you hear me?").then_some(())
        };
        pair.ada.told(allowed, "what was said meanwhile", heard).await.unwrap();
        pair.ada_says(id, "now I do").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}
