use proptest::prelude::*;

use super::*;
use crate::testing::with_mutations;

const PHONE: DeviceId = DeviceId([2; 32]);
const TABLET: DeviceId = DeviceId([3; 32]);
const STRANGER: DeviceId = DeviceId([9; 32]);

fn at(millis: u64) -> Moment {
    Moment(Duration::from_millis(millis))
}

fn schedule() -> SyncSchedule {
    SyncSchedule::new(SyncVersions::default(), [PHONE, TABLET])
}

/// Links a device and opens channel `channel` with it, which is told everything.
fn open(schedule: &mut SyncSchedule, device: DeviceId, channel: SyncChannel) {
    schedule.linked(device);
    let [SyncAction::TellAll { version: Some(version), .. }] = schedule.opened(device, channel)[..] else {
        panic!()
    };
    schedule.told_all(device, version);
}

#[test]
fn a_device_without_mark_is_called_when_it_is_seen_and_told_everything() {
    let mut schedule = schedule();
    assert_eq!(schedule.announced(PHONE), Some(SyncAction::Connect(PHONE)));
    assert_eq!(schedule.linked(PHONE), Some(SyncAction::OpenChannel(PHONE)));
    assert_eq!(schedule.linked(PHONE), None, "one channel is asked for at a time");
    assert_eq!(schedule.opened(PHONE, 7), [SyncAction::TellAll { channel: 7, version: Some(0) }]);
    assert_eq!(schedule.told_all(PHONE, 0), Some(SyncAction::Keep));
    schedule.unlinked(PHONE);
    assert_eq!(schedule.announced(PHONE), None, "nothing has changed since");
}

#[test]
fn a_hundred_changes_in_half_a_second_are_one_version_and_told_once() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    let mut actions = Vec::new();
    for number in 0..100 {
        actions.extend(schedule.list_changed(at(number * 5), ListChange::Contacts));
    }
    assert_eq!(actions, [SyncAction::Keep, SyncAction::TellContacts(vec![1])]);
    assert_eq!(schedule.versions().version, 1);
    assert_eq!(schedule.deadline(), Some(at(1495)));
    assert!(schedule.tick(at(1494)).is_empty());
    assert_eq!(
        schedule.tick(at(1495)),
        [SyncAction::TellAll { channel: 1, version: None }, SyncAction::Connect(TABLET)]
    );
    assert_eq!((schedule.deadline(), schedule.tick(at(9999))), (None, Vec::new()));
}

#[test]
fn changes_without_end_are_told_all_the_same() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    let mut told = 0;
    for number in 0..120 {
        schedule.list_changed(at(number * 500), ListChange::Other);
        told += schedule.tick(at(number * 500)).len();
    }
    // Each time the phone is told and the tablet is called.
    assert!((10..=12).contains(&told), "{told}");
}

#[test]
fn contacts_are_told_at_once_and_again_after_a_second_at_the_earliest() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    let told = |actions: Vec<SyncAction>| actions.contains(&SyncAction::TellContacts(vec![1]));
    assert!(told(schedule.list_changed(at(0), ListChange::Contacts)));
    assert!(!told(schedule.list_changed(at(999), ListChange::Contacts)));
    assert!(told(schedule.list_changed(at(1000), ListChange::Contacts)));
    assert!(!told(schedule.list_changed(at(3000), ListChange::Other)));
}

#[test]
fn a_change_while_everything_is_written_leaves_the_device_in_need() {
    let mut schedule = schedule();
    schedule.list_changed(at(0), ListChange::Other);
    schedule.linked(PHONE);
    let actions = schedule.opened(PHONE, 1);
    assert_eq!(actions[0], SyncAction::TellAll { channel: 1, version: Some(1) });
    schedule.list_changed(at(10), ListChange::Other);
    schedule.told_all(PHONE, 1);
    schedule.unlinked(PHONE);
    assert_eq!(schedule.announced(PHONE), Some(SyncAction::Connect(PHONE)));
}

#[test]
fn telling_on_open_channels_is_no_proof_that_a_device_has_heard() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    schedule.list_changed(at(0), ListChange::Other);
    assert!(schedule.tick(at(1000)).contains(&SyncAction::TellAll { channel: 1, version: None }));
    schedule.unlinked(PHONE);
    assert_eq!(schedule.announced(PHONE), Some(SyncAction::Connect(PHONE)));
}

#[test]
fn details_are_gathered_and_told_to_whom_there_is_a_channel_only() {
    let mut schedule = schedule();
    let read = Detail::Status(ConversationId([1; 20]), AccountId([1; 20]));
    let color = Detail::Preferences(ConversationId([2; 20]));
    schedule.detail_changed(at(0), read);
    assert_eq!(schedule.deadline(), None, "nobody is here");
    open(&mut schedule, PHONE, 1);
    for number in 0..50 {
        schedule.detail_changed(at(number), read);
        schedule.detail_changed(at(number), color);
    }
    assert_eq!(schedule.deadline(), Some(at(200)));
    assert_eq!(schedule.tick(at(200)), [SyncAction::TellDetails(vec![1], vec![color, read])]);
    assert_eq!(schedule.deadline(), None);
    assert_eq!(schedule.versions().version, 0, "no device is called for it");
}

#[test]
fn details_beyond_a_limit_are_told_with_everything_else() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    for number in 0..=MAX_DETAILS {
        let mut id = ConversationId([0; 20]);
        id.0[..8].copy_from_slice(&number.to_be_bytes());
        schedule.detail_changed(at(0), Detail::Preferences(id));
    }
    let [SyncAction::TellDetails(_, details)] = &schedule.tick(at(200))[..] else { panic!() };
    assert_eq!(details.len(), MAX_DETAILS);
    assert!(schedule.tick(at(1000)).contains(&SyncAction::TellAll { channel: 1, version: None }));
}

#[test]
fn the_newest_of_two_channels_is_written_to_and_the_other_takes_its_place() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    open(&mut schedule, PHONE, 2);
    let told = |schedule: &mut SyncSchedule, now| schedule.list_changed(now, ListChange::Contacts);
    assert!(told(&mut schedule, at(0)).contains(&SyncAction::TellContacts(vec![2])));
    schedule.closed(PHONE, 2);
    assert!(told(&mut schedule, at(5000)).contains(&SyncAction::TellContacts(vec![1])));
    schedule.closed(PHONE, 1);
    assert_eq!(schedule.linked(PHONE), Some(SyncAction::OpenChannel(PHONE)));
}

#[test]
fn strangers_revoked_devices_and_channels_without_end_are_refused() {
    let mut schedule = schedule();
    assert!(!schedule.accepts(STRANGER));
    assert_eq!((schedule.announced(STRANGER), schedule.linked(STRANGER)), (None, None));
    assert_eq!((schedule.opened(STRANGER, 1), schedule.told_all(STRANGER, 1)), (Vec::new(), None));
    for channel in 0..MAX_CHANNELS_EACH {
        assert!(!schedule.opened(PHONE, channel as u64).is_empty());
    }
    assert!(!schedule.accepts(PHONE) && schedule.opened(PHONE, 99).is_empty());
    schedule.device_revoked(PHONE);
    assert!(!schedule.accepts(PHONE));
    schedule.list_changed(at(0), ListChange::Contacts);
    assert_eq!(schedule.tick(at(1000)), [SyncAction::Connect(TABLET)]);
}

#[test]
fn a_declined_channel_is_asked_for_again_only_with_another_link_event() {
    let mut schedule = schedule();
    schedule.linked(PHONE);
    schedule.declined(PHONE);
    assert_eq!(schedule.linked(PHONE), Some(SyncAction::OpenChannel(PHONE)));
}

#[test]
fn versions_survive_a_restart_and_a_crash_before_the_change_was_told() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    assert_eq!(schedule.list_changed(at(0), ListChange::Other), [SyncAction::Keep]);
    let versions = SyncVersions::decode(&schedule.versions().encode()).unwrap();
    assert_eq!(&versions, schedule.versions());
    let after = SyncSchedule::new(versions, [PHONE]);
    assert_eq!(after.announced(PHONE), Some(SyncAction::Connect(PHONE)));
}

fn fuzz_versions(data: &[u8]) {
    if let Ok(versions) = SyncVersions::decode(data) {
        assert_eq!(SyncVersions::decode(&versions.encode()), Ok(versions));
    }
}

#[test]
fn damaged_files_of_versions_are_read_or_refused() {
    let mut schedule = schedule();
    open(&mut schedule, PHONE, 1);
    schedule.list_changed(at(0), ListChange::Other);
    with_mutations(&schedule.versions().encode(), 500, fuzz_versions);
    assert_eq!(SyncVersions::decode(b"\x80"), Err(VersionsError::NoVersion));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, no device is forgotten: one that is not linked is either marked as of the
    /// present version, or called when it is seen.
    #[test]
    fn no_device_is_forgotten(events in prop::collection::vec((0..8_u8, 0..2_usize, 0..3000_u64), 0..60)) {
        let mut schedule = schedule();
        let mut now = 0;
        for (channel, (event, device, pause)) in (0..).zip(events) {
            now += pause;
            let device = [PHONE, TABLET][device];
            match event {
                0 => drop(schedule.list_changed(at(now), ListChange::Contacts)),
                1 => drop(schedule.list_changed(at(now), ListChange::Other)),
                2 => drop(schedule.linked(device)),
                3 => schedule.unlinked(device),
                4 => drop(schedule.opened(device, channel)),
                5 => schedule.closed(device, channel.saturating_sub(1)),
                6 => {
                    let version = schedule.versions().version;
                    schedule.told_all(device, version.saturating_sub(1));
                }
                _ => drop(schedule.tick(at(now))),
            }
            prop_assert!(schedule.deadline().is_none_or(|deadline| deadline <= at(now + 1000)));
            for device in [PHONE, TABLET] {
                let is_linked = schedule.peers.contains_key(&device);
                let called = schedule.announced(device).is_some();
                prop_assert_eq!(called, !is_linked && schedule.versions().needs(device));
            }
        }
    }
}
