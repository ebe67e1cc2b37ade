use proptest::prelude::*;

use super::*;
use crate::testing::{recording, with_mutations};

fn file(name: &str) -> Vec<u8> {
    recording(&format!("newest/accounts/{name}/convInfo"))
}

#[test]
fn the_files_of_real_daemons_are_written_as_they_were_read() {
    for name in ["alice", "bob", "carla", "alice2"] {
        let bytes = file(name);
        let (records, skipped) = ConversationRecords::decode(&bytes).unwrap();
        assert_eq!(skipped, 0);
        assert_eq!(hex::encode(records.encode()), hex::encode(bytes), "{name}");
    }
}

#[test]
fn a_record_survives_the_archive() {
    let (records, _) = ConversationRecords::decode(&file("alice")).unwrap();
    for (id, record) in records.iter() {
        assert_eq!(ConversationRecord::from_json(&record.to_json(id)), *record);
    }
}

#[test]
fn a_removed_conversation_is_not_present() {
    let (records, _) = ConversationRecords::decode(&file("bob")).unwrap();
    let removed: ConversationId = "2ce39c209b93cc91155160136e010d9a3cc2077e".parse().unwrap();
    assert!(records.get(removed).unwrap().is_removed());
    assert_eq!((records.iter().count(), records.present().count()), (4, 3));
}

#[test]
fn when_there_are_too_many_records_that_of_what_was_erased_first_goes() {
    let id = |number: usize| {
        let mut id = ConversationId([0; 20]);
        id.0[..8].copy_from_slice(&number.to_be_bytes());
        id
    };
    let record = ConversationRecord { created: UnixMillis(1), ..ConversationRecord::default() };
    let mut records = ConversationRecords::default();
    for number in 0..MAX_CONVERSATIONS {
        records.insert(id(number), record.clone()).unwrap();
    }
    assert_eq!(records.insert(id(MAX_CONVERSATIONS), record.clone()), Err(RecordsError::Full));
    for (number, removed, erased) in [(5, 9, 9), (6, 8, 8), (7, 7, 0)] {
        let record = records.get_mut(id(number)).unwrap();
        (record.removed, record.erased) = (UnixMillis(removed), UnixMillis(erased));
    }
    records.insert(id(MAX_CONVERSATIONS), record.clone()).unwrap();
    assert!(records.get(id(6)).is_none() && records.get(id(7)).is_some());
    records.insert(id(MAX_CONVERSATIONS + 1), record.clone()).unwrap();
    assert!(records.get(id(5)).is_none());
    assert_eq!(records.insert(id(MAX_CONVERSATIONS + 2), record), Err(RecordsError::Full));
}

#[test]
fn the_conversation_of_two_is_the_latest_that_is_theirs_alone_and_present() {
    let [ada, bob, eve] = [1, 2, 3].map(|number| AccountId([number; 20]));
    let mut records = ConversationRecords::default();
    let mut record = |number: u8, members: &[AccountId], mode, removed| {
        let created = UnixMillis(i64::from(number));
        let record = ConversationRecord::new(created, members.iter().copied(), mode);
        let id = ConversationId([number; 20]);
        records.insert(id, ConversationRecord { removed: UnixMillis(removed), ..record }).unwrap();
        id
    };
    record(1, &[ada, bob], 0, 0);
    let latest = record(2, &[ada, bob], 0, 0);
    record(3, &[ada, bob], 0, 9);
    record(4, &[ada, bob], 2, 0);
    record(5, &[ada, bob, eve], 0, 0);
    assert_eq!(records.one_to_one(&[ada, bob].into()), Some(latest));
    assert_eq!(records.one_to_one(&[ada, eve].into()), None);
}

fn record(created: i64, removed: i64, erased: i64) -> ConversationRecord {
    let (created, removed, erased) = (UnixMillis(created), UnixMillis(removed), UnixMillis(erased));
    ConversationRecord { created, removed, erased, ..ConversationRecord::default() }
}

#[test]
fn what_was_removed_elsewhere_is_removed_here_and_comes_back_only_when_it_was_added_later() {
    use ConversationStanding::{Erased, Leaving, Present};
    for (own, told, standing) in [
        ((4, 0, 0), (4, 5, 0), Leaving),
        ((4, 5, 0), (4, 5, 6), Erased),
        ((4, 5, 6), (4, 9, 0), Erased),
        ((4, 5, 6), (7, 0, 0), Present),
        ((4, 5, 6), (5, 0, 0), Erased),
        ((10, 0, 0), (4, 9, 9), Present),
        ((10, 0, 0), (4, 12, 0), Leaving),
        ((10, 0, 0), (4, 12, 9), Leaving),
    ] {
        let (own, told) = (record(own.0, own.1, own.2), record(told.0, told.1, told.2));
        assert_eq!(own.merged(&told).standing(), standing, "{own:?} {told:?}");
        assert_eq!(told.merged(&own).standing(), standing, "{told:?} {own:?}");
    }
}

#[test]
fn a_copy_that_was_being_left_is_erased_before_the_conversation_comes_back() {
    assert!(record(4, 5, 0).merged(&record(7, 0, 0)).has_old_copy());
    for own in [record(4, 5, 5), record(7, 5, 5), record(7, 0, 0)] {
        assert!(!own.merged(&record(8, 6, 0)).has_old_copy(), "{own:?}");
    }
}

#[test]
fn a_record_told_of_something_present_says_nothing_of_its_past() {
    let told = record(7, 5, 5).as_told();
    assert_eq!(told, record(7, 0, 0));
    assert_eq!(record(4, 5, 0).as_told(), record(4, 5, 0));
}

#[test]
fn merged_members_are_bounded() {
    let account = |number: usize| {
        let mut id = AccountId([0; 20]);
        id.0[..8].copy_from_slice(&number.to_be_bytes());
        id
    };
    let with = |numbers: std::ops::Range<usize>| ConversationRecord {
        members: numbers.clone().map(account).collect(),
        invited: numbers.map(|number| (account(number), UnixMillis(1))).collect(),
        ..record(4, 0, 0)
    };
    let merged = with(0..900).merged(&with(600..1500));
    assert_eq!((merged.members.len(), merged.invited.len()), (MAX_RECORD_MEMBERS, MAX_RECORD_MEMBERS));
    assert_eq!(merged, with(600..1500).merged(&with(0..900)));
}

fn arbitrary() -> impl Strategy<Value = ConversationRecord> {
    let times = (1..6_i64, 0..6_i64, 0..7_i64);
    let members = prop::collection::btree_set((0..3_u8).prop_map(|it| AccountId([it; 20])), 0..3);
    let invited = prop::collection::btree_map(
        (0..3_u8).prop_map(|it| AccountId([it; 20])),
        (0..3_i64).prop_map(UnixMillis),
        0..3,
    );
    (times, members, invited, prop::option::of(0..3_i64), "[ab]?").prop_map(
        |((created, removed, erased), members, invited, mode, last_displayed)| ConversationRecord {
            members,
            invited,
            mode,
            last_displayed,
            // A copy is erased only after it was removed.
            ..record(created, removed, if removed == 0 { 0 } else { erased })
        },
    )
}

/// The record as it is told, which is what devices have to agree on.
fn told(records: &[&ConversationRecord]) -> ConversationRecord {
    let (first, rest) = records.split_first().unwrap();
    let merged = rest.iter().fold(first.merged(first), |merged, it| merged.merged(it));
    merged.as_told()
}

#[test]
fn one_wrong_entry_does_not_discard_the_others() {
    let (records, _) = ConversationRecords::decode(&file("alice")).unwrap();
    let Object::Map(mut entries) = msgpack::decode_all(&records.encode()).unwrap() else { panic!() };
    entries.insert(1, (Object::text("x"), Object::Nil));
    let (again, skipped) = ConversationRecords::decode(&Object::Map(entries).encode()).unwrap();
    assert_eq!((again, skipped), (records, 1));
}

fn fuzz_records(data: &[u8]) {
    if let Ok((records, _)) = ConversationRecords::decode(data) {
        let file = records.encode();
        let (again, skipped) = ConversationRecords::decode(&file).unwrap();
        assert_eq!((again.encode(), skipped), (file, 0));
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    for name in ["alice", "bob", "carla", "alice2"] {
        with_mutations(&file(name), 300, fuzz_records);
    }
}

proptest! {
    #[test]
    fn records_merge_in_any_order_grouped_in_any_way_and_repeated(
        a in arbitrary(), b in arbitrary(), c in arbitrary(),
    ) {
        let all = told(&[&a, &b, &c]);
        for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
            prop_assert_eq!(told(&order), all.clone());
        }
        prop_assert_eq!(told(&[&a, &b.merged(&c)]), all.clone());
        prop_assert_eq!(told(&[&a, &b, &a, &c, &b, &a]), all);
    }

    #[test]
    fn the_same_record_again_changes_nothing(id: [u8; 20], own in arbitrary(), other in arbitrary()) {
        let id = ConversationId(id);
        let mut records = ConversationRecords::default();
        records.insert(id, own).unwrap();
        records.merge(id, &other).unwrap();
        let before = records.clone();
        prop_assert!(!records.merge(id, &other).unwrap().is_changed);
        prop_assert_eq!(records, before);
    }
}
