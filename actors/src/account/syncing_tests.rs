//! What follows from what another device of the account tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_protocol::contact::Contact;
use skep_protocol::ids::DeviceId;
use skep_protocol::swarm::message::Mode;
use skep_protocol::sync::SyncMessage;
use skep_protocol::time::UnixMillis;
use tokio::sync::Semaphore;

use super::*;
use crate::swarm::messages::{ConversationView, ProfileChange};
use crate::sync::messages::SyncTold;

const OTHER: DeviceId = DeviceId([9; 32]);

/// Another device of the account tells something.
async fn tell(node: &Node, message: SyncMessage) {
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let told = SyncTold::Received { device: OTHER, message: Box::new(message), place };
    node.account.send(AccountMessage::Sync(told)).await.unwrap();
}

async fn tell_record(node: &Node, id: ConversationId, record: ConversationRecord) {
    let conversations = [(id, record)].into();
    tell(node, SyncMessage { conversations, ..SyncMessage::default() }).await;
}

async fn conversations(node: &Node) -> Vec<ConversationId> {
    let all: Vec<ConversationView> = node.ask(AccountRequest::Conversations).await.unwrap();
    all.into_iter().map(|it| it.id).collect()
}

async fn removed(node: &mut Node, id: ConversationId) {
    node.event(|event| {
        matches!(event, Event::ConversationRemoved { conversation } if *conversation == id).then_some(())
    })
    .await;
}

/// The commit that a copy on disk stands at.
fn head(copy: &Path) -> String {
    fs::read_to_string(copy.join("refs/heads/main")).unwrap()
}

#[test]
fn a_conversation_removed_on_another_device_is_kept_unused_until_that_one_has_erased_it() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), "1111111111111111".parse().unwrap());
        lay_out(&folder, "newest", "alice");
        let mut alice = Node::start(1, &folder, Vec::new()).await;
        let create = |reply| AccountRequest::CreateConversation {
            mode: Mode::InvitesOnly,
            profile: ProfileChange::default(),
            reply,
        };
        let id = alice.ask(create).await.unwrap();
        alice.send(id, "here").await;
        let copy = folder.join("conversations").join(id.to_hex());
        let before = head(&copy);
        let record = record(&folder, id);
        let left = ConversationRecord { removed: UnixMillis(record.created.0 + 1), ..record };
        tell_record(&alice, id, left.clone()).await;
        removed(&mut alice, id).await;
        assert!(conversations(&alice).await.is_empty());
        alice.stop().await;

        // It is not left once more from here, also after a restart.
        let alice = Node::start(2, &folder, Vec::new()).await;
        assert!(conversations(&alice).await.is_empty());
        assert_eq!(head(&copy), before);
        tell_record(&alice, id, ConversationRecord { erased: left.removed, ..left }).await;
        until(|| !copy.exists()).await;
        assert!(!super::record(&folder, id).is_leaving());
        alice.stop().await;
    });
}

#[test]
fn what_another_device_has_erased_stays_while_others_have_to_learn_from_here_that_we_left() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        alice.send(id, "good bye").await;
        bob.text(id, "good bye").await;
        alice.stop().await;
        bob.ask(|reply| AccountRequest::LeaveConversation { conversation: id, reply }).await.unwrap();
        let left = record(&folders[1], id);
        tell_record(&bob, id, ConversationRecord { erased: left.removed, ..left }).await;
        // What is written next has gone through the account after it.
        let contact = Contact { added: UnixMillis(5), ..Contact::default() };
        let contacts = [(AccountId([7; 20]), contact)].into();
        tell(&bob, SyncMessage { contacts, ..SyncMessage::default() }).await;
        bob.event(|event| {
            matches!(event, Event::ContactAdded { contact, .. } if contact.0 == [7; 20]).then_some(())
        })
        .await;
        bob.stop().await;
        assert!(record(&folders[1], id).is_leaving());
        assert!(folders[1].join("conversations").join(id.to_hex()).exists());
    });
}

#[test]
fn contacts_told_by_another_device_are_let_in_and_shut_out() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), "1111111111111111".parse().unwrap());
        lay_out(&folder, "newest", "alice");
        let mut alice = Node::start(1, &folder, Vec::new()).await;
        let people: Vec<AccountId> = (1..=100).map(|number| AccountId([number; 20])).collect();
        let told = |contact: Contact| {
            let contacts: BTreeMap<_, _> = people.iter().map(|person| (*person, contact)).collect();
            SyncMessage { contacts, ..SyncMessage::default() }
        };
        let added = Contact { added: UnixMillis(10), confirmed: true, ..Contact::default() };
        let banned = Contact { removed: UnixMillis(20), banned: true, ..added };
        for (contact, state) in [(added, "active"), (banned, "banned"), (added, "banned")] {
            tell(&alice, told(contact)).await;
            let contacts: Vec<ContactView> = alice.ask(AccountRequest::Contacts).await;
            assert_eq!(contacts.iter().filter(|contact| contact.state == state).count(), 100);
        }
        alice.event(|event| matches!(event, Event::ContactRemoved { banned: true, .. }).then_some(())).await;
        alice.stop().await;
    });
}
