use super::super::message::SyncReader;
use super::super::testing::recorded_sync;
use super::*;
use crate::contact::Standing;
use crate::ids::CommitId;
use crate::time::UnixMillis;

const OWN: AccountId = AccountId([0xaa; 20]);
const PEER: AccountId = AccountId([1; 20]);
const CONVERSATION: ConversationId = ConversationId([7; 20]);
const DESK: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);
const TABLET: DeviceId = DeviceId([3; 32]);
const NOW: UnixMillis = UnixMillis(1_000_000);

/// What the desk remembers.
struct Desk {
    devices: KnownDevices,
    contacts: ContactList,
    pending: PendingRequests,
    conversations: ConversationRecords,
    requests: ConversationRequests,
}

impl Desk {
    fn new() -> Self {
        let mut devices = KnownDevices::default();
        devices.add(PHONE).unwrap();
        Self {
            devices,
            contacts: ContactList::new(OWN),
            pending: PendingRequests::default(),
            conversations: ConversationRecords::default(),
            requests: ConversationRequests::default(),
        }
    }

    fn receive(&mut self, message: SyncMessage) -> Received {
        let mut tables = AccountTables {
            account: OWN,
            device: DESK,
            devices: &mut self.devices,
            contacts: &mut self.contacts,
            pending: &mut self.pending,
            conversations: &mut self.conversations,
            requests: &mut self.requests,
        };
        tables.receive(PHONE, message, NOW)
    }

    /// The same message again changes nothing.
    fn receive_twice(&mut self, message: &SyncMessage) -> Received {
        let received = self.receive(message.clone());
        let again = self.receive(message.clone());
        assert!(!again.is_changed && !again.is_news, "{again:?}");
        received
    }
}

fn contact(added: i64, removed: i64) -> Contact {
    Contact { added: UnixMillis(added), removed: UnixMillis(removed), ..Contact::default() }
}

fn contacts(contact: Contact) -> SyncMessage {
    SyncMessage { contacts: [(PEER, contact)].into(), ..SyncMessage::default() }
}

fn asking(received: i64) -> SyncMessage {
    let request = PendingRequest {
        device: None,
        conversation: Some(CONVERSATION),
        received: UnixMillis(received),
        payload: b"not told".to_vec(),
        invited: None,
    };
    SyncMessage { trust_requests: [(PEER, request)].into(), ..SyncMessage::default() }
}

fn record(created: i64, removed: i64, erased: i64) -> ConversationRecord {
    let record = ConversationRecord::new(UnixMillis(created), [OWN, PEER], 2);
    ConversationRecord { removed: UnixMillis(removed), erased: UnixMillis(erased), ..record }
}

fn conversation(record: ConversationRecord) -> SyncMessage {
    SyncMessage { conversations: [(CONVERSATION, record)].into(), ..SyncMessage::default() }
}

fn invitation(received: i64, declined: i64) -> SyncMessage {
    let metadata = [("mode".to_owned(), "2".to_owned())].into();
    let request = ConversationRequest::new(PEER, &metadata, UnixMillis(received));
    let request = ConversationRequest { declined: UnixMillis(declined), ..request };
    SyncMessage { requests: [(CONVERSATION, request)].into(), ..SyncMessage::default() }
}

#[test]
fn a_contact_added_banned_and_unbanned_elsewhere_stands_so_here() {
    let mut desk = Desk::new();
    for (told, standing) in [
        (contact(1000, 0), Standing::Active { confirmed: false }),
        (Contact { confirmed: true, ..contact(1000, 0) }, Standing::Active { confirmed: true }),
        (Contact { banned: true, ..contact(1000, 2000) }, Standing::Banned),
        (contact(3000, 2000), Standing::Active { confirmed: false }),
        (contact(3000, 4000), Standing::Removed),
    ] {
        let received = desk.receive_twice(&contacts(told));
        assert!(received.is_news);
        let [SyncEffect::Contact(change)] = &received.effects[..] else { panic!("{received:?}") };
        assert_eq!(change.after, standing);
        assert_eq!(desk.contacts.standing(PEER), standing);
    }
}

#[test]
fn who_asked_and_was_added_is_confirmed_whichever_is_heard_first() {
    for order in [[asking(10), contacts(contact(1000, 0))], [contacts(contact(1000, 0)), asking(10)]] {
        let mut desk = Desk::new();
        order.into_iter().for_each(|message| drop(desk.receive(message)));
        assert_eq!(desk.contacts.standing(PEER), Standing::Active { confirmed: true });
        assert_eq!(desk.pending.get(PEER), None);
    }
}

#[test]
fn who_was_removed_or_banned_does_not_ask_anew_through_a_device_that_has_not_heard_of_it() {
    let banned = Contact { banned: true, ..contact(5, 1000) };
    for (told, request, waits) in
        [(contact(5, 1000), 10, false), (contact(5, 1000), 1001, true), (banned, 1001, false)]
    {
        for order in [[asking(request), contacts(told)], [contacts(told), asking(request)]] {
            let mut desk = Desk::new();
            order.into_iter().for_each(|message| drop(desk.receive(message)));
            assert_eq!(desk.pending.get(PEER).is_some(), waits, "{told:?} {request}");
        }
    }
}

#[test]
fn a_request_told_is_raised_without_vcard_once() {
    let mut desk = Desk::new();
    let received = desk.receive_twice(&asking(10));
    let [SyncEffect::Request(Action::RaiseRequest { account, payload, .. })] = &received.effects[..] else {
        panic!("{received:?}")
    };
    assert_eq!((*account, payload.len(), received.is_news), (PEER, 0, true));
}

#[test]
fn a_conversation_is_offered_removed_erased_and_back() {
    use SyncEffect::{Erase, Offered, Removed};
    let mut desk = Desk::new();
    for (told, effect) in [
        (record(4, 0, 0), Offered { conversation: CONVERSATION, is_new: true }),
        (record(4, 6, 0), Removed { conversation: CONVERSATION }),
        (record(4, 6, 8), Erase { conversation: CONVERSATION }),
        (record(9, 0, 0), Offered { conversation: CONVERSATION, is_new: true }),
        (record(9, 11, 12), Erase { conversation: CONVERSATION }),
    ] {
        let received = desk.receive_twice(&conversation(told));
        assert_eq!((received.effects, received.is_news), (vec![effect], true));
    }
    let later = desk.receive(conversation(record(9, 20, 0)));
    assert!(!later.is_news && later.effects.is_empty(), "another one's time of the same removal");
}

#[test]
fn what_both_have_is_offered_without_being_news_and_what_the_other_lacks_is_not_offered() {
    let mut desk = Desk::new();
    desk.conversations.insert(CONVERSATION, record(4, 0, 0)).unwrap();
    let received = desk.receive(conversation(record(4, 0, 0)));
    let offered = SyncEffect::Offered { conversation: CONVERSATION, is_new: false };
    assert_eq!((received.effects, received.is_news), (vec![offered], false));
    let received = desk.receive(conversation(record(2, 3, 0)));
    assert_eq!(received, Received::default(), "it was added again here since");
}

#[test]
fn a_conversation_of_an_unknown_mode_is_kept_and_not_fetched() {
    let mut desk = Desk::new();
    let received = desk.receive(conversation(ConversationRecord { mode: Some(77), ..record(4, 0, 0) }));
    assert!(received.is_changed && received.effects.is_empty());
    assert_eq!(desk.conversations.get(CONVERSATION).unwrap().mode, Some(77));
}

#[test]
fn a_removed_conversation_that_was_never_here_is_remembered_so_that_nobody_brings_it_back() {
    let mut desk = Desk::new();
    let received = desk.receive_twice(&conversation(record(4, 6, 7)));
    assert!(received.effects.is_empty() && received.is_news);
    let received = desk.receive(conversation(record(4, 0, 0)));
    assert_eq!(received, Received::default());
}

#[test]
fn an_invitation_accepted_elsewhere_is_gone_here_in_any_order() {
    for order in
        [[invitation(3, 0), conversation(record(4, 0, 0))], [conversation(record(4, 0, 0)), invitation(3, 0)]]
    {
        let mut desk = Desk::new();
        order.into_iter().for_each(|message| drop(desk.receive(message)));
        assert_eq!(desk.requests.get(CONVERSATION), None);
    }
}

#[test]
fn an_invitation_declined_elsewhere_is_declined_here_and_a_later_one_waits_again() {
    use SyncEffect::{InvitationGone, InvitationRaised};
    let mut desk = Desk::new();
    for (told, effect) in [
        (invitation(3, 0), Some(InvitationRaised { conversation: CONVERSATION })),
        (invitation(3, 5), Some(InvitationGone { conversation: CONVERSATION })),
        (invitation(4, 0), None),
        (invitation(6, 0), Some(InvitationRaised { conversation: CONVERSATION })),
        (invitation(2, 5), None),
    ] {
        let received = desk.receive_twice(&told);
        assert_eq!(received.effects, Vec::from_iter(effect));
    }
}

#[test]
fn an_invitation_that_came_here_after_the_group_was_removed_is_not_taken_away() {
    let mut desk = Desk::new();
    desk.conversations.insert(CONVERSATION, record(4, 6, 7)).unwrap();
    let metadata = [("mode".to_owned(), "2".to_owned())].into();
    desk.requests.record(CONVERSATION, ConversationRequest::new(PEER, &metadata, UnixMillis(9)), NOW);
    assert!(!desk.receive(conversation(record(4, 6, 7))).is_changed);
    assert!(desk.requests.get(CONVERSATION).is_some());
    assert!(desk.receive(conversation(record(4, 10, 11))).is_changed);
    assert!(desk.requests.get(CONVERSATION).is_none());
    assert_eq!(desk.receive(invitation(9, 0)), Received::default());
    assert!(desk.receive(invitation(12, 0)).is_news, "one that another device was given later");
}

#[test]
fn devices_are_looked_for_and_ours_is_passed_over() {
    let told = |name: &str| ToldDevice { name: name.into(), short_id: None };
    let devices = [(DESK, told("x")), (PHONE, told("phone")), (TABLET, told("tablet"))].into();
    let mut desk = Desk::new();
    let received = desk.receive(SyncMessage { devices, ..SyncMessage::default() });
    let find = SyncEffect::FindDevice { device: TABLET, short_id: None, name: "tablet".into() };
    assert_eq!(received.effects, [SyncEffect::DeviceNamed { device: PHONE }, find]);
    assert!(!received.is_news, "devices ride on the next full state");
    assert!(desk.devices.get(TABLET).is_none(), "nobody has seen its certificate");
}

#[test]
fn the_own_and_the_null_account_are_refused() {
    let mut desk = Desk::new();
    let contacts = [(OWN, contact(5, 0)), (AccountId([0; 20]), contact(5, 0))].into();
    let from_us = ConversationRequest::new(OWN, &[].into(), UnixMillis(3));
    let message =
        SyncMessage { contacts, requests: [(CONVERSATION, from_us)].into(), ..SyncMessage::default() };
    assert_eq!(desk.receive(message), Received { refused: 3, ..Received::default() });
}

#[test]
fn preferences_and_status_of_unknown_conversations_are_passed_over() {
    let texts = |entries: &[(&str, &str)]| -> Texts {
        entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let commit = CommitId([5; 20]);
    let read = texts(&[("read", &commit.to_hex()), ("fetched", "")]);
    let message = SyncMessage {
        preferences: [(CONVERSATION, texts(&[("color", "red"), ("lastModified", "soon")]))].into(),
        status: [(CONVERSATION, [(PEER, read), (OWN, texts(&[("fetched", "")]))].into())].into(),
        ..SyncMessage::default()
    };
    let mut desk = Desk::new();
    assert_eq!(desk.receive(message.clone()), Received { refused: 2, ..Received::default() });
    desk.conversations.insert(CONVERSATION, record(4, 0, 0)).unwrap();
    let received = desk.receive(message);
    let [SyncEffect::Status { members, .. }] = &received.effects[..] else { panic!("{received:?}") };
    assert_eq!(members.len(), 1);
    assert_eq!(members[&PEER].read.map(|it| it.commit), Some(commit));
    assert_eq!(received.refused, 1, "a time that is no number");
}

/// What a device that was linked knows after it has read what the other one told in the recording.
#[test]
fn a_recorded_full_state_makes_a_freshly_linked_device_know_the_same() {
    for (release, contacts, conversations) in
        [("jami-13.7.0", 2, 4), ("jami-13.11.0", 2, 4), ("newest", 2, 3)]
    {
        let mut desk = Desk::new();
        let mut reader = SyncReader::default();
        for line in recorded_sync(release) {
            let bytes = line.bytes();
            let (message, skipped) = reader.next(&mut &*bytes).unwrap().unwrap();
            assert_eq!(skipped, 0);
            desk.receive_twice(&message);
        }
        let all = (desk.contacts.active().count(), desk.conversations.present().count());
        assert_eq!(all, (contacts, conversations), "{release}");
    }
}
