//! Contacts that are refused, removed and banned, and come back.

use std::collections::BTreeMap;

use skep::rpc::schema::method;
use skep::{ConversationId, Event};
use skep_tests::daemon::Signal;
use skep_tests::harness::{Mark, Person, run};
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

/// Bob removes Ada as a contact, or bans her.
async fn bob_removes(pair: &Pair, ban: bool) {
    pair.jamid.remove_contact(&pair.bob, pair.ada.id, ban).await.unwrap();
}

#[test]
fn skep_asks_again_whom_it_has_removed() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Removal, Direction::ToDaemon);
        let about = pair.ada.about(pair.bob.id);
        pair.ada.node.call(method::ContactRemove, about).await.unwrap();
        let since = pair.ada.node.events().mark();
        let begun = pair.ada.add(pair.bob.id).await.unwrap();
        assert_ne!(begun, id, "the one before is gone");
        // For the daemon she is a contact still: it does not ask, and goes on where they were.
        let ready = |event: &Event| {
            matches!(event, Event::ConversationReady { conversation } if *conversation == id).then_some(())
        };
        pair.ada.told(since, "the conversation before", ready).await.unwrap();
        let gone = |event: &Event| {
            matches!(event, Event::ConversationRemoved { conversation } if *conversation == begun)
                .then_some(())
        };
        pair.ada.told(since, "the one just begun to be gone", gone).await.unwrap();
        assert_eq!(pair.ada.contacts().await.unwrap()[0].conversation, Some(id));
        pair.ada_says(id, "there you are").await;
        pair.bob_says(id, "and you").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_asks_again_whom_it_has_removed() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Removal, Direction::FromDaemon);
        let (removed, since) = (pair.jamid.events().mark(), pair.ada.node.events().mark());
        bob_removes(&pair, false).await;
        let gone = |signal: &Signal| {
            matches!(signal, Signal::Removed { conversation, .. } if *conversation == id).then_some(())
        };
        pair.jamid.events().wait(removed, "the conversation to be gone", gone).await.unwrap();
        pair.jamid.add_contact(&pair.bob, pair.ada.id).await.unwrap();
        // For Ada he is a contact still, so she is not asked.
        let ready = |event: &Event| match event {
            Event::ConversationReady { conversation } if *conversation != id => Some(*conversation),
            _ => None,
        };
        let again = pair.ada.told(since, "another conversation", ready).await.unwrap();
        pair.jamid.joined(&pair.bob, again, pair.ada.id).await.unwrap();
        pair.bob_says(again, "there you are").await;
        pair.ada_says(again, "and you").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_that_a_daemon_has_removed_asks_again() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Return, Direction::ToDaemon);
        bob_removes(&pair, false).await;
        // Nobody is told of having been removed.
        let about = pair.ada.about(pair.bob.id);
        pair.ada.node.call(method::ContactRemove, about).await.unwrap();
        let again = pair.ada_asks().await;
        assert_ne!(again, id);
        pair.ada_says(again, "there you are").await;
        pair.bob_says(again, "and you").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_that_skep_has_removed_asks_again() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Return, Direction::FromDaemon);
        let (bob, since) = (pair.bob.id, pair.ada.node.events().mark());
        let about = pair.ada.about(bob);
        pair.ada.node.call(method::ContactRemove, about).await.unwrap();
        pair.jamid.add_contact(&pair.bob, pair.ada.id).await.unwrap();
        assert_eq!(pair.ada.asked_by(bob, since).await.unwrap(), id, "he still has it");
        assert_eq!(pair.ada.accept(bob).await.unwrap(), id);
        pair.ada.ready(id, since).await.unwrap();
        pair.bob_says(id, "there you are").await;
        pair.ada_says(id, "and you").await;
        pair.same_history(id, &["good morning".to_owned()]).await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

/// Carol, on Skep, who talks with both Ada and Bob: what passes by way of her shows that a message of one
/// to the other would have had the time to come.
struct Carol {
    person: Person,
    with_ada: ConversationId,
    with_bob: ConversationId,
}

impl Carol {
    async fn befriend(pair: &mut Pair) -> Self {
        let mut person = pair.carol_comes().await;
        let with_ada = pair.ada.befriend(&mut person).await.unwrap();
        let with_bob = person.add(pair.bob.id).await.unwrap();
        assert_eq!(pair.jamid.request(&pair.bob, person.id).await.unwrap(), with_bob);
        pair.jamid.accept(&pair.bob, person.id).await.unwrap();
        pair.jamid.ready(&pair.bob, with_bob).await.unwrap();
        person.confirmed(pair.bob.id).await.unwrap();
        person.joined(pair.bob.id, with_bob).await.unwrap();
        Self { person, with_ada, with_bob }
    }

    /// Ada tells her something, and she tells Bob.
    async fn tells_bob(&mut self, pair: &mut Pair) {
        pair.ada.send(self.with_ada, "tell Bob").await.unwrap();
        self.person.receives(self.with_ada, "tell Bob").await.unwrap();
        self.person.send(self.with_bob, "from Ada").await.unwrap();
        pair.jamid.received(&pair.bob, self.with_bob, "from Ada").await.unwrap();
    }

    /// Bob tells her something, and she tells Ada.
    async fn tells_ada(&mut self, pair: &mut Pair) {
        pair.jamid.send(&pair.bob, self.with_bob, "tell Ada").await.unwrap();
        self.person.receives(self.with_bob, "tell Ada").await.unwrap();
        self.person.send(self.with_ada, "from Bob").await.unwrap();
        pair.ada.receives(self.with_ada, "from Bob").await.unwrap();
    }
}

#[test]
fn skep_that_a_daemon_has_banned_is_not_heard_until_it_is_allowed_again() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let mut carol = Carol::befriend(&mut pair).await;
        let tried = pair.lab.attempt(Feature::Ban, Direction::FromDaemon);
        let (bob, banned) = (pair.bob.id, pair.ada.node.events().mark());
        bob_removes(&pair, true).await;
        let down =
            |event: &Event| matches!(event, Event::LinkDown { contact, .. } if *contact == bob).then_some(());
        pair.ada.told(banned, "the link to be closed", down).await.unwrap();
        pair.ada.send(id, "do you hear me?").await.unwrap();
        carol.tells_bob(&mut pair).await;
        let heard = |commit: &BTreeMap<String, String>| {
            commit.get("body").is_some_and(|body| body == "do you hear me?")
        };
        let history = pair.jamid.history(&pair.bob, id).await.unwrap();
        assert!(!history.is_empty() && !history.iter().any(heard), "{history:#?}");

        pair.jamid.add_contact(&pair.bob, pair.ada.id).await.unwrap();
        pair.bob_has(id, &[("body", "do you hear me?")]).await;
        pair.bob_says(id, "now I do").await;
        tried.works();
        carol.person.node.stop().await.unwrap();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_that_skep_has_banned_is_not_heard_until_it_is_allowed_again() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let mut carol = Carol::befriend(&mut pair).await;
        let tried = pair.lab.attempt(Feature::Ban, Direction::ToDaemon);
        let (bob, banned) = (pair.bob.id, pair.ada.node.events().mark());
        let about = pair.ada.about(bob);
        pair.ada.node.call(method::ContactBan, about).await.unwrap();
        let down =
            |event: &Event| matches!(event, Event::LinkDown { contact, .. } if *contact == bob).then_some(());
        pair.ada.told(banned, "the link to be closed", down).await.unwrap();
        pair.jamid.send(&pair.bob, id, "do you hear me?").await.unwrap();
        pair.bob_has(id, &[("body", "do you hear me?")]).await;
        carol.tells_ada(&mut pair).await;
        let history = pair.ada.messages(id).await.unwrap();
        assert!(history.iter().any(|message| message.body == "good morning"), "{history:#?}");
        assert!(!history.iter().any(|message| message.body == "do you hear me?"), "{history:#?}");

        let allowed = pair.ada.node.events().mark();
        assert_eq!(pair.ada.add(bob).await.unwrap(), id, "it was kept");
        let heard = |event: &Event| {
            matches!(event, Event::Message { message, .. } if message.body == "do you hear me?").then_some(())
        };
        pair.ada.told(allowed, "what was said meanwhile", heard).await.unwrap();
        pair.ada_says(id, "now I do").await;
        tried.works();
        carol.person.node.stop().await.unwrap();
        pair.ada.node.stop().await.unwrap();
    });
}
