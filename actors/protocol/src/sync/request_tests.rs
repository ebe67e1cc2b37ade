use proptest::prelude::*;

use super::*;
use crate::testing::with_mutations;

const ADA: AccountId = AccountId([1; 20]);
const BOB: AccountId = AccountId([2; 20]);
const NOW: UnixMillis = UnixMillis(10_000);

fn id(number: usize) -> ConversationId {
    let mut id = [0; 20];
    id[..8].copy_from_slice(&number.to_be_bytes());
    ConversationId(id)
}

fn request(from: AccountId, mode: Mode, received: i64) -> ConversationRequest {
    let metadata =
        [("mode", mode.number().to_string()), ("title", "t".to_owned()), ("unknown", "left out".to_owned())];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    ConversationRequest::new(from, &metadata, UnixMillis(received))
}

fn group(from: AccountId, received: i64) -> ConversationRequest {
    request(from, Mode::InvitesOnly, received)
}

#[test]
fn one_invitation_waits_for_each_conversation() {
    let mut requests = ConversationRequests::default();
    assert_eq!(requests.record(id(1), group(ADA, 1), NOW), RecordedRequest::New);
    assert_eq!(requests.record(id(1), group(ADA, 2), NOW), RecordedRequest::Duplicate);
    assert_eq!(requests.record(id(1), group(BOB, 3), NOW), RecordedRequest::Duplicate);
    assert_eq!(requests.get(id(1)), Some(&group(ADA, 1)));
    assert_eq!(requests.get(id(1)).unwrap().metadata.len(), 2, "what nobody knows is left out");
}

#[test]
fn what_was_declined_comes_back_only_with_a_later_invitation() {
    let mut requests = ConversationRequests::default();
    requests.record(id(1), group(ADA, 1), NOW);
    assert!(requests.decline(id(1), NOW) && !requests.decline(id(1), NOW));
    assert_eq!(requests.waiting().count(), 0);
    for stale in [1, 9_999, 10_000] {
        assert_eq!(requests.record(id(1), group(ADA, stale), NOW), RecordedRequest::Declined);
    }
    assert_eq!(requests.record(id(1), group(ADA, 10_001), NOW), RecordedRequest::New);
    assert_eq!(requests.waiting().count(), 1);
}

#[test]
fn a_new_conversation_of_two_declines_the_earlier_ones_of_the_same_person() {
    let mut requests = ConversationRequests::default();
    requests.record(id(1), request(ADA, Mode::OneToOne, 1), NOW);
    requests.record(id(2), group(ADA, 1), NOW);
    requests.record(id(3), request(BOB, Mode::OneToOne, 1), NOW);
    requests.record(id(4), request(ADA, Mode::OneToOne, 2), NOW);
    let waiting: Vec<_> = requests.waiting().map(|(id, _)| id).collect();
    assert_eq!(waiting, [id(2), id(3), id(4)]);
}

#[test]
fn of_two_invitations_one_to_one_the_last_to_come_waits_whatever_its_time_says() {
    let mut requests = ConversationRequests::default();
    requests.record(id(1), request(ADA, Mode::OneToOne, 300_000), NOW);
    requests.record(id(2), request(ADA, Mode::OneToOne, 1), NOW);
    assert_eq!(requests.waiting().map(|(id, _)| id).collect::<Vec<_>>(), [id(2)]);
    assert!(requests.is_waiting(id(2)) && !requests.is_waiting(id(1)));
}

#[test]
fn told_by_other_devices_the_last_invitation_one_to_one_waits_until_it_is_answered() {
    let mut requests = ConversationRequests::default();
    assert_eq!(requests.merge(id(2), request(ADA, Mode::OneToOne, 2)), MergedRequest::Raised);
    assert_eq!(requests.merge(id(1), request(ADA, Mode::OneToOne, 1)), MergedRequest::Updated);
    assert_eq!(requests.merge(id(3), request(BOB, Mode::OneToOne, 1)), MergedRequest::Raised);
    assert_eq!(requests.waiting().map(|(id, _)| id).collect::<Vec<_>>(), [id(2), id(3)]);
    requests.decline(id(2), NOW);
    assert_eq!(requests.waiting().map(|(id, _)| id).collect::<Vec<_>>(), [id(3)]);
}

#[test]
fn a_thousand_invitations_at_once_are_kept_and_nobody_takes_the_room_of_others() {
    let mut requests = ConversationRequests::default();
    for number in 0..MAX_REQUESTS_EACH {
        assert_eq!(requests.record(id(number), group(ADA, 1), NOW), RecordedRequest::New);
    }
    assert_eq!(requests.record(id(5000), group(ADA, 1), NOW), RecordedRequest::Full);
    assert_eq!(requests.record(id(5001), group(BOB, 1), NOW), RecordedRequest::New);
    // What was declined makes way.
    assert!(requests.decline(id(7), NOW));
    assert_eq!(requests.record(id(5000), group(ADA, 1), NOW), RecordedRequest::New);
    assert_eq!(requests.get(id(7)), None);
    assert!(requests.encode().len() < MAX_REQUESTS_FILE);
}

#[test]
fn the_bytes_of_one_persons_invitations_are_bounded() {
    let mut requests = ConversationRequests::default();
    let large = || {
        let mut large = group(ADA, 1);
        large.metadata.insert("avatar".to_owned(), "x".repeat(60_000));
        large
    };
    let taken = (0..200).filter(|n| requests.record(id(*n), large(), NOW) == RecordedRequest::New);
    assert_eq!(taken.count(), MAX_REQUEST_BYTES_EACH / 60_016);
    assert_eq!(requests.record(id(300), group(BOB, 1), NOW), RecordedRequest::New);
    assert!(requests.decline(id(0), NOW));
    assert_eq!(requests.record(id(301), large(), NOW), RecordedRequest::New, "declining frees the room");
}

#[test]
fn an_empty_file_of_a_real_daemon_is_read_and_written() {
    let (requests, skipped) = ConversationRequests::decode(b"\x80").unwrap();
    assert_eq!((requests.encode(), skipped), (b"\x80".to_vec(), 0));
    assert_eq!(ConversationRequests::decode(b"\x90"), Err(RequestsError::NotAMap));
}

#[test]
fn a_file_of_2023_is_read_and_wrong_entries_are_skipped() {
    let old = Object::map([
        ("from", Object::text(&ADA.to_hex())),
        ("conversationId", Object::text(&id(1).to_hex())),
        ("metadatas", Object::Map(vec![(Object::text("mode"), Object::text("2"))])),
        ("received", Object::from(5_i64)),
        ("declined", Object::from(0_i64)),
    ]);
    let wrong = Object::map([("from", Object::text("nobody"))]);
    let file = Object::Map(vec![
        (Object::text("x"), old.clone()),
        (Object::text("y"), wrong),
        (Object::text("z"), old),
    ]);
    let (requests, skipped) = ConversationRequests::decode(&file.encode()).unwrap();
    assert_eq!(skipped, 2, "one is wrong and one is there twice");
    let read = requests.get(id(1)).unwrap();
    assert_eq!((read.from, read.received, read.mode()), (ADA, UnixMillis(5000), Mode::InvitesOnly));
}

fn fuzz_requests(data: &[u8]) {
    if let Ok((requests, _)) = ConversationRequests::decode(data) {
        let file = requests.encode();
        assert_eq!(ConversationRequests::decode(&file), Ok((requests, 0)));
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let mut requests = ConversationRequests::default();
    for number in 0..5 {
        requests.record(id(number), group(ADA, 1), NOW);
    }
    requests.decline(id(3), NOW);
    with_mutations(&requests.encode(), 300, fuzz_requests);
}

proptest! {
    #[test]
    fn every_set_of_invitations_survives_its_file(
        entries in prop::collection::btree_map(0..99_usize, (1_i64..9999, prop::bool::ANY), 0..20),
    ) {
        let mut requests = ConversationRequests::default();
        for (number, (received, declined)) in entries {
            requests.record(id(number), group(ADA, received), NOW);
            if declined {
                requests.decline(id(number), NOW);
            }
        }
        prop_assert_eq!(ConversationRequests::decode(&requests.encode()), Ok((requests, 0)));
    }

    #[test]
    fn any_file_is_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_requests(&bytes);
    }
}
