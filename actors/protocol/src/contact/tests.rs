//! The parts of this room together, on what real daemons sent.

use crate::contact::*;
use crate::dht::cipher;
use crate::dht::content::VerifiedContent;
use crate::dht::golden;
use crate::dht::value::{Body, Value, ValueId};
use crate::identity::{Chain, ChainError, RevocationList};
use crate::ids::{AccountId, ConversationId, DhtKey};
use crate::keys::PrivateKey;
use crate::sync::ConversationRecords;
use crate::testing::text;
use crate::time::UnixMillis;

/// A time at which all recorded certificates are valid.
const NOW: UnixMillis = UnixMillis(1_795_350_000_000);

/// One of many accounts.
pub(super) fn numbered(number: usize) -> AccountId {
    let mut id = [1; 20];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    AccountId(id)
}

struct Person {
    chain: Chain,
    key: PrivateKey,
    contacts: ContactList,
    pending: PendingRequests,
    trust: TrustTable,
}

impl Person {
    fn new(chain: &str, key: &str) -> Self {
        let chain = Chain::parse(chain.as_bytes()).unwrap();
        let account = chain.account_id().unwrap();
        Self {
            key: PrivateKey::from_pem(key).unwrap(),
            contacts: ContactList::new(account),
            pending: PendingRequests::default(),
            trust: TrustTable::new(account, None),
            chain,
        }
    }

    fn alice() -> Self {
        Self::new(
            text!("vectors/newest/accounts/alice/ring_device.crt"),
            text!("vectors/newest/accounts/alice/ring_device.key"),
        )
    }

    fn alice2() -> Self {
        Self::new(
            text!("vectors/newest/accounts/alice2/ring_device.crt"),
            text!("vectors/newest/accounts/alice2/ring_device.key"),
        )
    }

    fn bob() -> Self {
        Self::new(
            text!("vectors/newest/accounts/bob/ring_device.crt"),
            text!("vectors/newest/accounts/bob/ring_device.key"),
        )
    }

    fn account(&self) -> AccountId {
        self.chain.account_id().unwrap()
    }

    /// The message as a value for the device of `to`.
    fn write(&self, to: &Self, message: &TrustRequestMessage) -> Value {
        let recipient = to.key.public();
        let content = message.to_content().sign_for(&self.key, 0, recipient.device_short_id()).unwrap();
        let cipher = cipher::encrypt(&content, recipient, &[5; 32], [6; cipher::IV_LENGTH]).unwrap();
        Value::encrypted(ValueId(1), cipher)
    }

    fn open(&self, value: &Value) -> VerifiedContent {
        let Body::Encrypted(cipher) = &value.body else { panic!("not encrypted") };
        cipher::open(cipher, &self.key).unwrap()
    }

    /// All steps from the DHT value to the actions.
    fn take_in(&mut self, from: &Chain, value: &Value) -> Result<Vec<Action>, Denial> {
        let content = self.open(value);
        assert_eq!(content.owner(), from.leaf().public_key());
        let message = TrustRequestMessage::decode(&content.content().data).unwrap();
        let status = |id| self.trust.status(&self.contacts, id);
        let sender = admit(from, status, Audience::Public, [], NOW)?;
        let (account, device) = (sender.account_id(), content.owner().clone());
        let incoming = Incoming { account, device, message };
        let own = self.account();
        Ok(receive(
            NOW,
            own,
            &mut self.contacts,
            &mut self.pending,
            &ConversationRecords::default(),
            incoming,
        ))
    }
}

fn conversation() -> ConversationId {
    "0237426a15a050a06868d6636d6edc6e6f185951".parse().unwrap()
}

/// The first recorded value at the inbox of a person.
fn recorded_for(person: &Person) -> Value {
    let inbox = DhtKey::inbox(person.key.public().device_short_id());
    let line = golden::newest().into_iter().find(|line| line.kind == "put" && line.key == inbox).unwrap();
    Value::decode(&hex::decode(line.packed).unwrap()).unwrap()
}

#[test]
fn the_recorded_request_and_its_confirmation_make_contacts() {
    let (mut alice, mut bob) = (Person::alice(), Person::bob());
    let (a, b) = (alice.account(), bob.account());
    alice.contacts.add(NOW, b, Some(conversation()), false).unwrap();

    let actions = bob.take_in(&alice.chain, &recorded_for(&bob)).unwrap();
    let [Action::RaiseRequest { account, conversation: Some(asked), payload, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((*account, *asked), (a, conversation()));
    assert!(payload.starts_with(b"BEGIN:VCARD"));

    bob.pending.remove(a).unwrap();
    bob.contacts.add(NOW, a, Some(conversation()), true).unwrap();
    let actions = alice.take_in(&bob.chain, &recorded_for(&alice)).unwrap();
    assert!(matches!(actions[..], [Action::ContactConfirmed(_), Action::ForgetOutgoing { .. }]));
    assert_eq!(alice.contacts.standing(b), Standing::Active { confirmed: true });
}

#[test]
fn a_banned_account_stays_invisible_until_it_is_added_again() {
    // (spec: contacts V7)
    let (mut alice, mut bob) = (Person::alice(), Person::bob());
    let (a, b) = (alice.account(), bob.account());
    alice.contacts.add(NOW, b, Some(conversation()), false).unwrap();
    bob.take_in(&alice.chain, &recorded_for(&bob)).unwrap();
    bob.pending.remove(a);
    bob.contacts.add(NOW, a, Some(conversation()), true).unwrap();

    bob.contacts.remove(NOW, a, true).unwrap();
    let again = alice.write(&bob, &TrustRequestMessage::request(conversation(), b"", NOW));
    assert_eq!(bob.take_in(&alice.chain, &again), Err(Denial::Banned { certificate: a }));
    assert_eq!(bob.pending.iter().count(), 0);

    bob.contacts.add(NOW, a, Some(conversation()), false).unwrap();
    let request = bob.write(&alice, &TrustRequestMessage::request(conversation(), b"", NOW));
    let actions = alice.take_in(&bob.chain, &request).unwrap();
    assert!(matches!(actions[..], [Action::ContactConfirmed(_), Action::SendConfirmation { .. }, ..]));
    let confirmation = alice.write(&bob, &TrustRequestMessage::confirmation(Some(conversation())));
    assert!(bob.take_in(&alice.chain, &confirmation).is_ok());
    assert_eq!(bob.contacts.standing(a), Standing::Active { confirmed: true });
}

#[test]
fn a_banned_device_is_ignored_though_its_account_is_not() {
    let (alice, mut bob) = (Person::alice(), Person::bob());
    let device = alice.chain.leaf().account_id();
    bob.trust.set(&bob.contacts, device, TrustStatus::Banned).unwrap();
    let denied = bob.take_in(&alice.chain, &recorded_for(&bob));
    assert_eq!(denied, Err(Denial::Banned { certificate: device }));
}

#[test]
fn a_revoked_device_of_an_allowed_account_is_refused() {
    let (alice, revoked) = (Person::alice(), Person::alice2());
    let lists: Vec<_> = golden::packed_values()
        .iter()
        .filter_map(|(_, packed)| RevocationList::from_value(&Value::decode(packed).unwrap()).ok())
        .collect();
    let decide = |chain| admit(chain, |_| TrustStatus::Allowed, Audience::Known, &lists, NOW).map(drop);
    assert_eq!(decide(&alice.chain), Ok(()));
    assert_eq!(decide(&revoked.chain), Err(Denial::Chain(ChainError::Revoked { position: 0 })));
}
