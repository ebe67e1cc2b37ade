//! What is put into the inbox of an account on the DHT: requests, confirmations, instant messages of 2023.

use skep_protocol::contact::TrustRequestMessage;
use skep_protocol::dht::cipher;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::instant::DhtInstantMessage;
use skep_protocol::dht::value::Body;
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::swarm::notice::Notice as SwarmNotice;

use super::*;
use crate::account::rooms::MAX_AWAITED_EACH;
use crate::dht::envelope::{EnvelopeRandom, seal};

/// Puts a letter of bob's device, in [`pair`], into the inbox of alice's.
async fn post(node: &Node, message: &TrustRequestMessage) {
    put_into_inbox(node, &Recorded::new("jami-13.11.0", "alice").identity(), message.to_content()).await;
}

/// The key at which alice, in [`pair`], finds what is put for her.
fn inbox() -> (DhtKey, PublicKey) {
    let recipient = Recorded::new("newest", "alice").identity().chain().device().public_key().clone();
    (DhtKey::inbox(recipient.device_short_id()), recipient)
}

async fn put_into_inbox(node: &Node, sender: &DeviceIdentity, content: Content) {
    let (key, recipient) = inbox();
    let random = EnvelopeRandom::draw(node.root.environment());
    let value = seal(content, sender.key(), &recipient, &random).unwrap();
    let put = |reply| DhtMessage::Put { key, value, permanent: false, reply };
    node.dht.ask(PATIENCE, put).await.unwrap().unwrap();
}

/// The ids of the instant messages to a device that were answered in alice's inbox.
async fn answered(node: &Node, sender: &DeviceIdentity) -> Vec<u64> {
    let get = |reply| DhtMessage::Get { key: inbox().0, reply };
    let found = node.dht.ask(PATIENCE, get).await.unwrap().unwrap();
    let answers = found.values.iter().filter_map(|value| {
        let Body::Encrypted(cipher) = &value.body else { return None };
        let opened = cipher::open(cipher, sender.key()).ok()?;
        let message = DhtInstantMessage::decode(&opened.content().data).unwrap();
        assert!(message.is_answer());
        assert_eq!(opened.owner(), &inbox().1);
        Some(message.id)
    });
    answers.collect()
}

/// Waits until an account has so many conversations.
async fn conversations(node: &Node, wanted: usize) {
    let reached = async {
        while node.ask::<AccountView>(AccountRequest::Describe).await.conversations != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

#[test]
fn a_confirmation_from_before_confirms_nothing_and_costs_no_message() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        let before = befriend(&mut alice, &mut bob).await;
        let contact = bob.id().await;
        bob.stop().await;
        // Somebody has to keep what is put.
        let folder = AccountFolder::new(place.path(), LocalAccountId([3; 8]));
        lay_out(&folder, "jami-13.7.0", "alice");
        let mut keeper = Node::start(3, &folder, vec![alice.address().await]).await;
        told(&mut keeper, |event| matches!(event, Event::AccountReady {})).await;
        alice.ask(|reply| AccountRequest::RemoveContact { contact, ban: false, reply }).await.unwrap();
        conversations(&alice, 0).await;
        until(|| !folders[0].join("conversations").join(before.to_hex()).exists()).await;
        let asked = alice.ask(|reply| AccountRequest::AddContact { contact, reply }).await.unwrap();
        post(&alice, &TrustRequestMessage::confirmation(Some(before))).await;
        // It is fetched, for bob may have it and nothing else.
        conversations(&alice, 2).await;
        let contacts: Vec<ContactView> = alice.ask(AccountRequest::Contacts).await;
        assert_eq!((contacts[0].conversation, contacts[0].confirmed), (Some(asked), false));
        alice.send(asked, "are you there").await;
        post(&alice, &TrustRequestMessage::confirmation(Some(asked))).await;
        told(&mut alice, |event| matches!(event, Event::ContactAdded { confirmed: true, .. })).await;
        let contacts: Vec<ContactView> = alice.ask(AccountRequest::Contacts).await;
        assert_eq!((contacts[0].conversation, contacts[0].confirmed), (Some(asked), true));
        alice.stop().await;
        keeper.stop().await;
    });
}

#[test]
fn an_instant_message_in_the_inbox_is_taken_and_answered_if_its_sender_is_known() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _) = pair(place.path()).await;
        let conversation = befriend(&mut alice, &mut bob).await;
        let typing = SwarmNotice::Typing { conversation, active: true };
        let message = |id| DhtInstantMessage {
            id,
            mime_type: typing.mime_type().to_owned(),
            content: typing.to_text(),
            sent: NOW,
        };
        let [known, stranger] =
            ["jami-13.11.0", "jami-13.7.0"].map(|version| Recorded::new(version, "alice").identity());
        // The certificate of the stranger can be found, which is all there is to know of them.
        let folder = AccountFolder::new(place.path(), LocalAccountId([3; 8]));
        lay_out(&folder, "jami-13.7.0", "alice");
        let mut third = Node::start(3, &folder, vec![alice.address().await]).await;
        told(&mut third, |event| matches!(event, Event::AccountReady {})).await;
        let turns = || alice.rows().iter().find(|row| row.kind == "account").unwrap().turns;
        let before = turns();
        put_into_inbox(&alice, &stranger, message(6).to_content()).await;
        // It comes, is opened, and its sender is found.
        until(|| turns() >= before + 3).await;
        put_into_inbox(&alice, &known, message(7).to_content()).await;
        told(&mut alice, |event| matches!(event, Event::Typing { active: true, .. })).await;
        while answered(&alice, &known).await != [7] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // An answer is not answered.
        let before = alice.rows().iter().find(|row| row.kind == "account").unwrap().turns;
        put_into_inbox(&alice, &known, DhtInstantMessage::answer(8, NOW).to_content()).await;
        until(|| alice.rows().iter().find(|row| row.kind == "account").unwrap().turns >= before + 3).await;
        assert_eq!(answered(&alice, &known).await, [7]);
        assert!(answered(&alice, &stranger).await.is_empty());
        for node in [alice, bob, third] {
            node.stop().await;
        }
    });
}

#[test]
fn a_contact_that_names_conversations_without_end_is_believed_a_bounded_number_of_times() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _) = pair(place.path()).await;
        befriend(&mut alice, &mut bob).await;
        let name = |number: u8| {
            let conversation = Some(ConversationId([number; 20]));
            TrustRequestMessage { confirm: false, ..TrustRequestMessage::confirmation(conversation) }
        };
        for number in 0..MAX_AWAITED_EACH {
            post(&alice, &name(u8::try_from(number).unwrap())).await;
            conversations(&alice, 2 + number).await;
        }
        let turns = || alice.rows().iter().find(|row| row.kind == "account").unwrap().turns;
        for number in 100..104 {
            let before = turns();
            post(&alice, &name(number)).await;
            // It comes, is opened, and its sender is found.
            until(|| turns() >= before + 3).await;
        }
        let view: AccountView = alice.ask(AccountRequest::Describe).await;
        assert_eq!(view.conversations, 1 + MAX_AWAITED_EACH);
        alice.stop().await;
        bob.stop().await;
    });
}
