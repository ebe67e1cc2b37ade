use super::super::archive_file::ArchiveSecret;
use super::super::chain::Chain;
use super::super::testing::{CHAIN_B, RECORDED, account_key_b, data};
use super::*;
use crate::contact::Contact;
use crate::ids::ConversationId;
use crate::sync::{ConversationRecord, ConversationRequest};

const NONE: DeviceId = DeviceId([0; 32]);

fn archive_b() -> Archive {
    let chain = Chain::parse(CHAIN_B).unwrap();
    let [account, ca] = chain.issuers() else { panic!("three certificates") };
    Archive::new(account_key_b(), Some(Chain::new(account.clone(), vec![ca.clone()]).unwrap()))
}

fn chain_b() -> VerifiedChain {
    Chain::parse(CHAIN_B).unwrap().verify(RECORDED).unwrap()
}

fn none_revoked() -> RevokedDevices {
    RevokedDevices::new(account_key_b().public().clone())
}

#[test]
fn what_a_newer_release_has_written_stays_also_inside_of_entries() {
    let (who, id) = (AccountId([1; 20]), ConversationId([2; 20]));
    let json = serde_json::to_string(&serde_json::json!({
        "later": {"kept": 1},
        "ringAccountContacts": {who.to_hex(): {"added": 5, "banned": true, "colour": "red"}},
        "conversations": {id.to_hex(): {"id": id, "created": 5, "pinned": [1]}},
        "conversationsRequests": {id.to_hex(): {"from": who, "received": 5, "urgent": true}},
    }))
    .unwrap();
    let keys = archive_b().to_json();
    let text = format!("{},{}", keys.trim_end_matches('}'), json.trim_start_matches('{'));
    let mut archive = Archive::from_json(text.as_bytes()).unwrap();

    let mut contacts = ContactList::new(AccountId([9; 20]));
    let record = Contact::from_json(&archive.contacts[&who]);
    contacts.merge(who, record, |_, told| told).unwrap();
    contacts.add(UnixMillis(9000), who, None, true).unwrap();
    archive.refresh_contacts(&contacts);
    let mut records = ConversationRecords::default();
    records.insert(id, ConversationRecord::from_json(&archive.conversations[&id])).unwrap();
    archive.refresh_conversations(&records);
    let mut requests = ConversationRequests::default();
    let request = ConversationRequest::from_json(&archive.conversation_requests[&id]).unwrap();
    requests.merge(id, request);
    archive.refresh_requests(&requests);

    let again = Archive::from_json(archive.to_json().as_bytes()).unwrap();
    assert_eq!(again.contacts[&who]["colour"], "red");
    assert_eq!(again.contacts[&who].get("banned"), None, "the ban was lifted");
    assert_eq!(Contact::from_json(&again.contacts[&who]), *contacts.get(who).unwrap());
    assert_eq!(again.conversations[&id]["pinned"][0], 1);
    assert_eq!(again.conversation_requests[&id]["urgent"], true);
    assert_eq!(ConversationRequest::from_json(&again.conversation_requests[&id]).as_ref(), requests.get(id));
    assert!(again.to_json().contains(r#""later":{"kept":1}"#));

    archive.refresh_conversations(&ConversationRecords::default());
    assert!(archive.conversations.is_empty(), "what is not remembered any more goes");
}

#[test]
fn refreshing_a_recorded_archive_with_what_it_says_changes_no_entry() {
    let file = data!("vectors/jami-13.7.0/accounts/alice/archive-after-use-nopassword.gz");
    let (before, _) = Archive::open(file, ArchiveSecret::None).unwrap();
    let mut after = before.clone();
    let mut contacts = ContactList::new(before.account_id());
    for (who, record) in &before.contacts {
        contacts.merge(*who, Contact::from_json(record), |_, told| told).unwrap();
    }
    let mut records = ConversationRecords::default();
    for (id, record) in &before.conversations {
        records.insert(*id, ConversationRecord::from_json(record)).unwrap();
    }
    after.refresh_contacts(&contacts);
    after.refresh_conversations(&records);
    assert!(!after.contacts.is_empty() && !after.conversations.is_empty());
    for (old, new) in [(&before.contacts, &after.contacts)] {
        for (id, record) in old {
            assert!(record.iter().all(|(name, value)| new[id].get(name) == Some(value)), "{record:?}");
        }
    }
    assert_eq!(before.conversations.len(), after.conversations.len());
}

#[test]
fn a_revoked_device_is_on_the_list_of_the_archive_which_the_account_has_signed() {
    let mut archive = archive_b();
    let list = archive.revoke(&chain_b(), NONE, &none_revoked(), RECORDED, 8).unwrap().clone();
    assert!(list.is_signed_by(chain_b().account()) && list.names(chain_b().device().serial()));
    let again = Archive::from_json(archive.to_json().as_bytes()).unwrap();
    assert_eq!(again.revocation_list.as_ref(), Some(&list));
    let mut known = none_revoked();
    assert_eq!(known.offer(list.clone()), Ok(true));
    assert!(known.check(&chain_b()).is_err());
    // Once more: the same entries under the next number.
    let twice = archive.revoke(&chain_b(), NONE, &known, RECORDED, 8).unwrap();
    assert_eq!(twice.len(), 1);
    assert_ne!(twice.number(), list.number());
}

#[test]
fn entries_that_other_devices_have_made_with_archives_of_their_own_are_taken_over() {
    let others = [
        data!("vectors/newest/accounts/alice/ring_device.crt"),
        data!("vectors/newest/accounts/bob/ring_device.crt"),
    ]
    .map(|pem| Chain::parse(pem).unwrap().leaf().clone());
    let account = chain_b().account().clone();
    let mut known = none_revoked();
    for certificate in &others {
        let list = RevocationList::revoke(&account, &account_key_b(), None, certificate, RECORDED, 77);
        known.offer(list.unwrap()).unwrap();
    }
    let mut archive = archive_b();
    let list = archive.revoke(&chain_b(), NONE, &known, RECORDED, 8).unwrap().clone();
    assert_eq!(list.len(), 3);
    assert!(others.iter().all(|certificate| list.names(certificate.serial())));
    assert_eq!(known.offer(list.clone()), Ok(true));
    assert_eq!(known.lists(), [list], "it contains the others");
}

#[test]
fn this_device_and_those_of_others_are_not_revoked() {
    let mut archive = archive_b();
    let this = chain_b().device_id();
    let refused = archive.revoke(&chain_b(), this, &none_revoked(), RECORDED, 8).map(drop);
    assert_eq!(refused, Err(RevokeError::ThisDevice));
    let stranger = Chain::parse(data!("vectors/newest/accounts/bob/ring_device.crt")).unwrap();
    let stranger = stranger.verify(RECORDED).unwrap();
    let refused = archive.revoke(&stranger, this, &none_revoked(), RECORDED, 8).map(drop);
    assert_eq!(refused, Err(RevokeError::OtherAccount(stranger.account_id())));
    let mut bare = Archive::new(account_key_b(), None);
    let refused = bare.revoke(&chain_b(), NONE, &none_revoked(), RECORDED, 8).map(drop);
    assert_eq!(refused, Err(RevokeError::NoCertificate));
    assert_eq!((archive.revocation_list, bare.revocation_list), (None, None));
}
