//! A file that is wanted, against holders that lack it, are silent, lie, or come and go.

use super::super::receiving::Flaw;
use super::*;
use crate::testing::Sequence;

const AUTHOR: DeviceId = DeviceId([1; 32]);
const MEMBER: DeviceId = DeviceId([2; 32]);
const OTHER: DeviceId = DeviceId([3; 32]);

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn wanted(devices: &[DeviceId]) -> Wanted {
    let mut wanted = Wanted::default();
    wanted.learn(devices.iter().copied());
    wanted
}

/// Whether nobody is asked unless something happens.
fn is_resting(wanted: &Wanted) -> bool {
    !wanted.is_active() && wanted.queue.is_empty() && wanted.pause_until.is_none()
}

#[test]
fn a_member_is_asked_when_the_author_has_not_got_it() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    assert_eq!(wanted.next(at(0)), Some(AUTHOR));
    assert_eq!(wanted.next(at(0)), None, "one at a time");
    wanted.refused(AUTHOR);
    assert_eq!(wanted.next(at(0)), Some(MEMBER));
    assert_eq!(wanted.opened(MEMBER, at(1)), Chance::Use);
    assert_eq!(wanted.running.map(|running| running.device), Some(MEMBER));
}

#[test]
fn a_silent_device_does_not_hold_up_the_others() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    assert_eq!(wanted.next(at(0)), Some(AUTHOR));
    assert_eq!(wanted.deadline(), Some(at(5)));
    assert_eq!(wanted.next(at(5)), Some(MEMBER));
    assert_eq!(wanted.opened(MEMBER, at(6)), Chance::Use);
    assert_eq!(wanted.opened(AUTHOR, at(7)), Chance::Close, "exactly one carries data");
}

#[test]
fn a_channel_that_nobody_asked_for_is_closed() {
    let mut wanted = wanted(&[AUTHOR]);
    assert_eq!(wanted.opened(AUTHOR, at(0)), Chance::Close);
    assert!(!wanted.is_active());
}

#[test]
fn few_are_asked_at_once() {
    let devices: Vec<DeviceId> = (0..100).map(|number| DeviceId([number; 32])).collect();
    let mut wanted = wanted(&devices);
    let asked = (0..1000).filter(|second| wanted.next(at(*second)).is_some()).count();
    assert_eq!(asked, MAX_ASKED);
    assert_eq!(wanted.deadline(), None, "an answer comes first");
}

#[test]
fn an_author_who_is_not_ready_is_asked_again_after_a_second_and_then_ever_more_rarely() {
    let mut wanted = wanted(&[AUTHOR]);
    let mut asked = Vec::new();
    for second in 0..100_000 {
        while wanted.next(at(second)).is_some() {
            asked.push(second);
            wanted.refused(AUTHOR);
        }
    }
    assert_eq!(asked, [0, 1, 6, 36, 156, 756]);
    assert!(is_resting(&wanted));
    assert_eq!(wanted.deadline(), None);
    wanted.reachable(AUTHOR);
    assert_eq!(wanted.next(at(100_000)), Some(AUTHOR), "an event leads to a request");
}

#[test]
fn a_broken_transfer_goes_on_with_the_next_device_and_then_with_the_same() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    for second in 0..10 {
        let asked = wanted.next(at(second * 2)).or_else(|| wanted.next(at(second * 2 + 1)));
        let device = [AUTHOR, MEMBER][usize::try_from(second % 2).unwrap()];
        assert_eq!(asked, Some(device), "{second}");
        assert_eq!(wanted.opened(device, at(second * 2 + 1)), Chance::Use);
        wanted.ended(Verdict::Incomplete { new: PROGRESS });
    }
}

#[test]
fn a_device_that_closes_at_once_every_time_is_not_asked_in_a_tight_loop() {
    let mut wanted = wanted(&[AUTHOR]);
    let mut asked = 0;
    for second in 0..100_000 {
        while wanted.next(at(second)).is_some() {
            asked += 1;
            assert_eq!(wanted.opened(AUTHOR, at(second)), Chance::Use);
            wanted.ended(Verdict::Incomplete { new: 10 });
        }
    }
    assert_eq!(asked, 1 + PAUSES.len());
}

#[test]
fn a_device_that_delivered_something_else_is_not_asked_again() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    wanted.next(at(0));
    wanted.opened(AUTHOR, at(0));
    wanted.ended(Verdict::Worthless(Flaw::WrongContent));
    for second in 0..10_000 {
        if let Some(device) = wanted.next(at(second)) {
            assert_eq!(device, MEMBER);
            wanted.refused(device);
        }
    }
    wanted.reachable(AUTHOR);
    assert_eq!(wanted.next(at(10_000)), None);
    wanted.retry();
    assert_eq!(wanted.next(at(10_000)), Some(AUTHOR), "unless the owner insists");
}

#[test]
fn without_room_nobody_is_asked_for_a_while() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    assert!(wanted.is_due(at(0)));
    wanted.postpone(at(0));
    assert!(!wanted.is_due(at(0)));
    assert_eq!(wanted.deadline(), Some(at(1)));
    assert_eq!(wanted.next(at(1)), Some(AUTHOR));
}

#[test]
fn a_sender_that_falls_silent_is_given_up() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    wanted.next(at(0));
    wanted.opened(AUTHOR, at(0));
    wanted.heard(FLOOR, at(30));
    assert_eq!(wanted.stalled(at(89)), None);
    assert_eq!(wanted.deadline(), Some(at(90)));
    assert_eq!(wanted.stalled(at(90)), Some(AUTHOR));
    wanted.ended(Verdict::Incomplete { new: 0 });
    assert_eq!(wanted.next(at(90)), Some(MEMBER));
}

#[test]
fn a_sender_that_drips_is_given_up_like_a_silent_one_and_asked_after_the_others() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    wanted.next(at(0));
    wanted.opened(AUTHOR, at(0));
    (1..60).for_each(|second| wanted.heard(64, at(second)));
    assert_eq!(wanted.stalled(at(60)), Some(AUTHOR));
    wanted.ended(Verdict::Incomplete { new: 59 * 64 });
    assert_eq!(wanted.next(at(60)), Some(MEMBER));
    wanted.refused(MEMBER);
    assert_eq!(wanted.next(at(60)), None);
    assert_eq!(wanted.next(at(61)), Some(MEMBER), "the one that dripped comes last");
}

#[test]
fn when_several_devices_sent_what_is_not_the_file_all_are_asked_anew() {
    let mut wanted = wanted(&[AUTHOR, MEMBER]);
    wanted.next(at(0));
    wanted.opened(AUTHOR, at(0));
    wanted.ended(Verdict::Incomplete { new: PROGRESS });
    wanted.next(at(0));
    wanted.opened(MEMBER, at(0));
    wanted.mixed();
    let asked = wanted.next(at(0)).unwrap();
    wanted.refused(asked);
    let other = wanted.next(at(0)).unwrap();
    assert_eq!(BTreeSet::from([asked, other]), BTreeSet::from([AUTHOR, MEMBER]));
}

#[test]
fn a_lack_of_room_is_looked_at_again_and_again() {
    let mut wanted = wanted(&[AUTHOR]);
    let mut looked = 0;
    for second in 0..10_000 {
        if wanted.is_due(at(second)) {
            looked += 1;
            wanted.postpone(at(second));
        }
    }
    assert!((15..30).contains(&looked), "{looked}");
}

#[test]
fn without_anybody_to_ask_it_rests_until_somebody_comes() {
    let mut wanted = Wanted::default();
    assert_eq!((wanted.next(at(0)), wanted.deadline()), (None, None));
    wanted.reachable(OTHER);
    wanted.reachable(OTHER);
    assert_eq!(wanted.next(at(1)), Some(OTHER));
    wanted.reachable(OTHER);
    assert_eq!(wanted.next(at(100)), None, "it is being asked");
    wanted.refused(OTHER);
    wanted.forget(OTHER);
    assert!((0..10_000).all(|second| wanted.next(at(second)).is_none()));
}

#[test]
fn who_comes_up_is_always_among_those_asked_however_many_there_are() {
    let mut wanted = Wanted::default();
    wanted.learn((0..2000u16).map(|number| {
        let mut id = [9; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        DeviceId(id)
    }));
    assert_eq!(wanted.holders.len(), MAX_HOLDERS);
    wanted.reachable(OTHER);
    assert_eq!(wanted.next(at(0)), Some(OTHER));
    assert_eq!(wanted.holders.len(), MAX_HOLDERS);
}

/// Whatever happens in whatever order: never two transfers at once, never more requests than rounds and
/// events allow, and whoever sleeps until the deadline misses nothing.
#[test]
fn any_sequence_of_events_keeps_the_bounds() {
    for seed in 1..200 {
        let mut sequence = Sequence(seed);
        let devices: Vec<DeviceId> = (0..6).map(|number| DeviceId([number; 32])).collect();
        let mut wanted = wanted(&devices[..4]);
        let (mut asked, mut events) = (0, 0);
        for step in 0..2000u64 {
            let now = at(step);
            let device = devices[sequence.below(devices.len())];
            match sequence.below(12) {
                0 => {
                    wanted.reachable(device);
                    events += 1;
                }
                1..=3 => wanted.refused(device),
                4 => _ = wanted.opened(device, now),
                5 => wanted.ended(Verdict::Incomplete { new: 0 }),
                6 => wanted.ended(Verdict::Worthless(Flaw::TooLong)),
                7 => wanted.heard(FLOOR, now),
                _ => {}
            }
            let due = wanted.deadline().is_some_and(|deadline| deadline <= now);
            let mut any = wanted.stalled(now).is_some();
            while wanted.next(now).is_some() {
                any = true;
                asked += 1;
            }
            assert!(due || !any || wanted.rounds > 0, "somebody was asked before the deadline");
            assert!(wanted.asked.len() <= MAX_ASKED);
            assert!(wanted.is_active() || is_resting(&wanted) || wanted.deadline().is_some());
        }
        assert!(asked <= devices.len() * (PAUSES.len() + 1) + events, "{asked} requests");
    }
}
