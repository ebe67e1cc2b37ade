//! Requests that are declined, contacts that are removed and banned.

use skep::rpc::schema::method;
use skep::{AccountId, Event};
use skep_tests::harness::{Golden, Mark, NodeSetup, Person, Result, run, until};

use super::Pair;

/// The state in which a person has a contact.
async fn state(person: &mut Person, other: AccountId) -> Result<Option<String>> {
    Ok(person.contacts().await?.into_iter().find(|contact| contact.id == other).map(|it| it.state))
}

#[test]
fn a_declined_request_can_be_made_again() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let first = alice.add(carol.id).await.unwrap();
        assert_eq!(carol.asked_by(alice.id, Mark::BEGINNING).await.unwrap(), first);
        assert_eq!(carol.requests().await.unwrap()[0].from, alice.id);
        carol.node.call(method::ContactDecline, carol.about(alice.id)).await.unwrap();
        assert!(carol.requests().await.unwrap().is_empty());
        assert_eq!(state(&mut carol, alice.id).await.unwrap(), None);

        let since = carol.node.events().mark();
        alice.node.call(method::ContactRemove, alice.about(carol.id)).await.unwrap();
        let again = alice.add(carol.id).await.unwrap();
        assert_eq!(carol.asked_by(alice.id, since).await.unwrap(), again);
        carol.accept(alice.id).await.unwrap();
        carol.ready(again, since).await.unwrap();
        alice.confirmed(carol.id).await.unwrap();
        alice.send(again, "at last").await.unwrap();
        carol.receives(again, "at last").await.unwrap();
    });
}

#[test]
fn a_removed_contact_is_gone_with_its_conversation_and_may_come_back() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        carol.node.call(method::ContactRemove, carol.about(alice.id)).await.unwrap();
        assert_eq!(state(&mut carol, alice.id).await.unwrap().as_deref(), Some("removed"));
        carol
            .told(Mark::BEGINNING, "the conversation to be removed", |event| {
                matches!(event, Event::ConversationRemoved { conversation } if *conversation == id)
                    .then_some(())
            })
            .await
            .unwrap();
        assert_eq!(carol.describe().await.unwrap().conversations, 0);
        // What alice writes now stays with her.
        alice.send(id, "are you there?").await.unwrap();

        let since = alice.node.events().mark();
        let new = carol.add(alice.id).await.unwrap();
        assert_ne!(new, id);
        alice.ready(new, since).await.unwrap();
        alice.send(new, "you are back").await.unwrap();
        carol.receives(new, "you are back").await.unwrap();
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn somebody_added_and_removed_in_a_moment_gets_another_conversation() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut alice = Person::start(Golden::ALICE, NodeSetup::new("alice", place.path())).await.unwrap();
        let carol = Golden::CAROL.id.parse().unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let id = alice.add(carol).await.unwrap();
            assert!(!seen.contains(&id), "the removed conversation {id} is back");
            seen.push(id);
            alice.send(id, "is this thing on?").await.unwrap();
            alice.node.call(method::ContactRemove, alice.about(carol)).await.unwrap();
        }
        alice.node.stop().await.unwrap();
    });
}

#[test]
fn a_banned_contact_reaches_nobody() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let since = alice.node.events().mark();
        carol.node.call(method::ContactBan, carol.about(alice.id)).await.unwrap();
        assert_eq!(state(&mut carol, alice.id).await.unwrap().as_deref(), Some("banned"));
        let down = |event: &Event| matches!(event, Event::LinkDown { .. }).then_some(());
        alice.told(since, "the link to end", down).await.unwrap();

        // She writes, and asks again, both in vain.
        let before = carol.node.events().mark();
        alice.send(id, "why?").await.unwrap();
        alice.node.call(method::ContactRemove, alice.about(carol.id)).await.unwrap();
        alice.add(carol.id).await.unwrap();

        // Somebody else, who comes after her, is heard.
        let address = alice.node.address().await.unwrap();
        let setup = NodeSetup::new("bob", place.path()).joining(&address);
        let mut bob = Person::start(Golden::BOB, setup).await.unwrap();
        bob.announced().await.unwrap();
        bob.befriend(&mut carol).await.unwrap();
        assert!(carol.requests().await.unwrap().is_empty());
        let heard = carol.node.events().find(before, |told| match &told.event {
            Event::ContactRequest { from, .. } if *from == alice.id => Some(told.event.clone()),
            Event::LinkUp { contact, .. } if *contact == alice.id => Some(told.event.clone()),
            Event::Message { message, .. } if message.author == alice.id => Some(told.event.clone()),
            _ => None,
        });
        assert_eq!(heard, None);
        drop((alice, bob, carol));
    });
}

#[test]
fn a_request_reaches_somebody_who_comes_online_later() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        carol.node.stop().await.unwrap();
        let id = alice.add(carol.id).await.unwrap();
        alice.send(id, "written before you came").await.unwrap();
        carol.node.restart().await.unwrap();
        let asked = async || Ok(carol.requests().await?.first().and_then(|request| request.conversation));
        assert_eq!(until("carol", "a request", asked).await.unwrap(), id);
        carol.accept(alice.id).await.unwrap();
        carol.usable(id).await.unwrap();
        let read = async || {
            let messages = carol.messages(id).await?;
            Ok(messages.iter().any(|message| message.body == "written before you came").then_some(()))
        };
        until("carol", "the message from before", read).await.unwrap();
        drop((alice, carol, place));
    });
}

#[test]
fn a_banned_contact_that_is_allowed_again_is_heard_in_the_same_conversation() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let since = alice.node.events().mark();
        carol.node.call(method::ContactBan, carol.about(alice.id)).await.unwrap();
        let down = |event: &Event| matches!(event, Event::LinkDown { .. }).then_some(());
        alice.told(since, "the link to end", down).await.unwrap();
        alice.send(id, "why?").await.unwrap();
        assert_eq!(carol.add(alice.id).await.unwrap(), id, "it was kept");
        carol.receives(id, "why?").await.unwrap();
        carol.send(id, "by mistake").await.unwrap();
        alice.receives(id, "by mistake").await.unwrap();
        carol.confirmed(alice.id).await.unwrap();
        drop((alice, carol));
    });
}

#[test]
fn who_begins_anew_with_somebody_who_has_banned_them_is_heard_when_allowed_again() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        carol.node.call(method::ContactBan, carol.about(alice.id)).await.unwrap();
        alice.node.call(method::ContactRemove, alice.about(carol.id)).await.unwrap();
        alice.add(carol.id).await.unwrap();
        let since = alice.node.events().mark();
        assert_eq!(carol.add(alice.id).await.unwrap(), id);
        alice.ready(id, since).await.unwrap();
        carol.send(id, "by mistake").await.unwrap();
        alice.receives(id, "by mistake").await.unwrap();
        drop((alice, carol));
    });
}
