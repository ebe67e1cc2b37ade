use std::collections::BTreeMap;

use super::super::devices::MAX_DEVICES;
use super::super::message::SyncReader;
use super::*;
use crate::contact::{Contact, MAX_CONTACTS};
use crate::sync::{ConversationRequest, Marker};
use crate::time::UnixMillis;

fn numbered<const N: usize>(number: usize) -> [u8; N] {
    let mut id = [1; N];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

struct Shelf {
    devices: KnownDevices,
    contacts: ContactList,
    pending: PendingRequests,
    conversations: ConversationRecords,
    requests: ConversationRequests,
}

impl Shelf {
    fn new() -> Self {
        Self {
            devices: KnownDevices::default(),
            contacts: ContactList::new(AccountId([0xaa; 20])),
            pending: PendingRequests::default(),
            conversations: ConversationRecords::default(),
            requests: ConversationRequests::default(),
        }
    }

    fn telling(&self) -> Telling<'_> {
        let Self { devices, contacts, pending, conversations, requests } = self;
        Telling { devices, contacts, pending, conversations, requests }
    }
}

fn short(_: DeviceId) -> Option<DeviceShortId> {
    Some(DeviceShortId([9; 20]))
}

/// The messages are read as they were told, and each is a frame at most.
fn check(messages: &[SyncMessage]) {
    let mut reader = SyncReader::default();
    for message in messages {
        let bytes = message.encode();
        assert!(bytes.len() <= MAX_TOLD_MESSAGE, "{}", bytes.len());
        assert_eq!(reader.next(&mut &*bytes), Ok(Some((message.clone(), 0))));
    }
}

#[test]
fn ten_thousand_contacts_are_told_in_messages_of_a_frame_each() {
    let mut shelf = Shelf::new();
    for number in 0..MAX_CONTACTS {
        let contact = Contact {
            added: UnixMillis(i64::MAX),
            removed: UnixMillis(i64::MAX - 1),
            conversation: Some(ConversationId(numbered(number))),
            ..Contact::default()
        };
        shelf.contacts.merge(AccountId(numbered(number)), contact, |_, told| told).unwrap();
    }
    for number in 0..MAX_DEVICES {
        let device = DeviceId(numbered(number));
        shelf.devices.add(device).unwrap();
        shelf.devices.name(device, &"n".repeat(500), device);
    }
    let messages = shelf.telling().device_data(short, 0);
    check(&messages);
    assert!((20..50).contains(&messages.len()), "{}", messages.len());
    assert_eq!(messages.iter().map(|it| it.contacts.len()).sum::<usize>(), MAX_CONTACTS);
    assert_eq!(messages[0].devices.len(), MAX_DEVICES);
}

#[test]
fn conversations_with_many_members_fit_into_frames() {
    let mut shelf = Shelf::new();
    let members: Vec<_> = (0..1024).map(|number| AccountId(numbered(number))).collect();
    for number in 0..20 {
        let mut record = ConversationRecord::new(UnixMillis(i64::MAX), members.iter().copied(), 2);
        record.invited = members.iter().map(|member| (*member, UnixMillis(i64::MAX))).collect();
        record.last_displayed = "f".repeat(40);
        shelf.conversations.insert(ConversationId(numbered(number)), record).unwrap();
        let metadata = [("title".to_owned(), "t".repeat(20_000))].into();
        let request = ConversationRequest::new(members[number], &metadata, UnixMillis(7));
        shelf.requests.record(ConversationId(numbered(100 + number)), request, UnixMillis(8));
    }
    let messages = shelf.telling().conversation_data();
    check(&messages);
    assert!(messages.iter().all(|it| it.conversations.is_empty() || it.requests.is_empty()));
    let told = |count: fn(&SyncMessage) -> usize| messages.iter().map(count).sum::<usize>();
    assert_eq!((told(|it| it.conversations.len()), told(|it| it.requests.len())), (20, 20));
}

#[test]
fn who_has_nothing_says_so_in_one_message() {
    let shelf = Shelf::new();
    assert_eq!(shelf.telling().device_data(short, 7), [SyncMessage::default()]);
    assert!(shelf.telling().conversation_data().is_empty());
    assert!(preferences_told([]).is_empty() && status_told([]).is_empty());
}

#[test]
fn documents_and_devices_without_certificate_are_not_told_and_present_ones_were_never_removed() {
    let mut shelf = Shelf::new();
    shelf.devices.add(DeviceId([1; 32])).unwrap();
    let mut record = ConversationRecord::new(UnixMillis(9), [], 2);
    (record.removed, record.erased) = (UnixMillis(5), UnixMillis(6));
    shelf.conversations.insert(ConversationId([1; 20]), record).unwrap();
    let document = ConversationRecord::new(UnixMillis(9), [], Mode::Document.number());
    shelf.conversations.insert(ConversationId([2; 20]), document).unwrap();
    assert!(shelf.telling().device_data(|_| None, 0)[0].devices.is_empty());
    let messages = shelf.telling().conversation_data();
    let told: Vec<_> = messages[0].conversations.values().map(|it| (it.removed, it.erased)).collect();
    assert_eq!(told, [(UnixMillis(0), UnixMillis(0))]);
}

#[test]
fn of_twenty_five_requests_each_state_tells_twenty_and_some_states_all() {
    let mut shelf = Shelf::new();
    for number in 0..25 {
        let request = PendingRequest {
            device: None,
            conversation: None,
            received: UnixMillis(1),
            payload: b"not told".to_vec(),
            invited: None,
        };
        shelf.pending.record(AccountId(numbered(number)), request);
    }
    let mut all = BTreeMap::new();
    for start in [3, 24, usize::MAX] {
        let messages = shelf.telling().device_data(short, start);
        assert_eq!(messages[0].trust_requests.len(), MAX_TOLD_REQUESTS);
        assert!(messages[0].trust_requests.values().all(|it| it.payload.is_empty()));
        all.extend(messages[0].trust_requests.clone());
    }
    assert_eq!(all.len(), 25);
}

#[test]
fn preferences_and_status_are_told_of_many_conversations() {
    let values = (0..9).map(|number| (format!("name {number}"), "v".repeat(1000))).collect();
    let mut preferences = Preferences::default();
    let never = Preferences::default();
    preferences.change(values, UnixMillis(5000));
    let ids = (0..30).map(|number| ConversationId(numbered(number)));
    let told = ids.clone().map(|id| (id, &preferences)).chain([(ConversationId([9; 20]), &never)]);
    let messages = preferences_told(told);
    check(&messages);
    assert_eq!(messages.iter().map(|it| it.preferences.len()).sum::<usize>(), 30);

    let marker = Some(Marker { commit: crate::ids::CommitId([4; 20]), seconds: Some(i64::MAX) });
    let status = MemberStatus { fetched: marker, read: marker };
    let members = (0..100).map(|number| AccountId(numbered(number)));
    let messages = status_told(ids.flat_map(|id| members.clone().map(move |member| (id, member, status))));
    check(&messages);
    let told = messages.iter().flat_map(|it| it.status.values().map(BTreeMap::len)).sum::<usize>();
    assert_eq!(told, 3000);
}
