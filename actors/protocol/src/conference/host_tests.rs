//! A conference and those in it, in virtual time.

use std::time::Duration;

use super::*;
use crate::ids::{AccountId, DeviceId};
use crate::time::Moment;

const HOST: (AccountId, DeviceId) = (AccountId([0xaa; 20]), DeviceId([0xaa; 32]));
const WIDE: Size = Size { width: 640, height: 360 };

fn account(number: u16) -> AccountId {
    let mut bytes = [1; 20];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    AccountId(bytes)
}

fn device(number: u16) -> DeviceId {
    let mut bytes = [2; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    DeviceId(bytes)
}

fn joined(number: u16, video: Option<Size>) -> Joined {
    let call_id = format!("77{number}");
    Joined { account: account(number), device: device(number), call_id, video, muted: false }
}

fn whom(number: u16) -> Whom {
    Whom { account: account(number), device: Some(device(number)) }
}

/// A conference, the time, and what was told last to whom.
struct Room {
    conference: Conference,
    now: Moment,
    done: Vec<HostAction>,
}

impl Room {
    fn new(count: u16, all_moderate: bool, kind: Kind) -> Self {
        let settings = HostSettings { all_moderate, ..HostSettings::default() };
        let conference = Conference::new(HOST, settings, kind, true);
        let mut room = Self { conference, now: Moment::default(), done: Vec::new() };
        for number in 0..count {
            room.join(number, Some(WIDE));
        }
        room.pass(1000);
        room.done.clear();
        room
    }

    fn join(&mut self, number: u16, video: Option<Size>) -> Seat {
        let (seat, actions) = self.conference.join(self.now, joined(number, video));
        self.done.extend(actions);
        seat.unwrap()
    }

    fn act(&mut self, act: impl FnOnce(&mut Conference, Moment) -> Vec<HostAction>) {
        let actions = act(&mut self.conference, self.now);
        self.done.extend(actions);
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now.plus(Duration::from_millis(millis));
        for turn in 0.. {
            assert!(turn < 100_000, "time stands still");
            let Some(next) = self.conference.next_deadline().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.act(Conference::tick);
        }
        self.now = end;
    }

    fn order(&mut self, from: u32, order: &Order, version: u8) {
        let body = order.write(version).unwrap();
        self.act(|conference, now| conference.ordered(now, Seat(from), &body));
        self.pass(500);
    }

    /// What a participant was told last.
    fn told(&self, seat: u32) -> Option<&ConferenceInfo> {
        self.done.iter().rev().find_map(|action| match action {
            HostAction::Tell(to, info) if *to == Seat(seat) => Some(info),
            _ => None,
        })
    }

    fn entry(&self, of: u16) -> Entry {
        let info = self.conference.info(None);
        info.entries.into_iter().find(|entry| entry.account() == Some(account(of))).unwrap()
    }

    fn hung_up(&self) -> Vec<u32> {
        let hung_up = |action: &HostAction| match action {
            HostAction::HangUp(Seat(seat)) => Some(*seat),
            _ => None,
        };
        self.done.iter().filter_map(hung_up).collect()
    }
}

#[test]
fn nobody_hears_the_own_voice_and_everybody_hears_the_others() {
    let room = Room::new(3, true, Kind::Meeting);
    let hears = |listener| room.conference.hears(listener);
    let seats = |numbers: &[u32]| numbers.iter().map(|seat| Voice::Seat(Seat(*seat))).collect::<Vec<_>>();
    assert_eq!(hears(Listener::Host), seats(&[0, 1, 2]));
    assert_eq!(hears(Listener::Seat(Seat(1))), [vec![Voice::Host], seats(&[0, 2])].concat());
    assert_eq!(hears(Listener::Recording), [vec![Voice::Host], seats(&[0, 1, 2])].concat());
}

#[test]
fn who_is_muted_by_anybody_is_not_heard_and_a_detached_host_neither_speaks_nor_hears() {
    let mut room = Room::new(3, true, Kind::Meeting);
    room.order(0, &Order::Mute(whom(1), true), 1);
    room.act(|conference, now| conference.muted(now, Seat(2), true));
    assert_eq!(room.conference.hears(Listener::Recording), [Voice::Host, Voice::Seat(Seat(0))]);
    room.act(|conference, now| conference.attach(now, false).1);
    assert_eq!(room.conference.hears(Listener::Seat(Seat(1))), [Voice::Seat(Seat(0))]);
    assert!(room.conference.hears(Listener::Host).is_empty());
    room.order(0, &Order::Mute(whom(1), false), 1);
    assert_eq!(room.conference.hears(Listener::Seat(Seat(0))), [Voice::Seat(Seat(1))]);
}

#[test]
fn a_moderators_mute_is_told_to_all() {
    for version in [0, 1] {
        let mut room = Room::new(3, true, Kind::Meeting);
        room.order(0, &Order::Mute(whom(1), true), version);
        for seat in 0..3 {
            let muted: Vec<_> =
                room.told(seat).unwrap().entries.iter().map(|it| it.moderator_muted).collect();
            assert_eq!(muted, [false, false, true, false]);
        }
    }
}

#[test]
fn who_is_no_moderator_may_raise_and_lower_the_own_hand_and_nothing_else() {
    let mut room = Room::new(3, false, Kind::Meeting);
    for order in [
        Order::Mute(whom(1), true),
        Order::Layout(Layout::OneBig),
        Order::Show(whom(1), Some("771_video_0".into())),
        Order::HangUp(whom(1)),
        Order::Hand(whom(1), true),
    ] {
        room.order(0, &order, 1);
    }
    let info = room.conference.info(None);
    assert!(info.entries.iter().all(|it| !it.active && !it.moderator_muted && !it.hand));
    assert_eq!((info.layout, room.hung_up().len()), (Layout::Grid, 0));

    room.order(0, &Order::Hand(whom(0), true), 1);
    assert!(room.entry(0).hand);
    room.order(1, &Order::Hand(whom(0), false), 1);
    assert!(room.entry(0).hand, "only moderators lower the hands of others");
    room.act(|conference, now| conference.set_moderator(now, account(1), true));
    room.order(1, &Order::Hand(whom(2), true), 1);
    assert!(!room.entry(2).hand, "nobody raises the hands of others");
    room.order(1, &Order::Hand(whom(0), false), 0);
    assert!(!room.entry(0).hand);
    room.order(0, &Order::Hand(whom(0), true), 0);
    room.act(|conference, now| conference.leave(now, Seat(1)).1);
    assert!(!room.conference.may_moderate(account(1)), "rights end with the last call of the account");
}

#[test]
fn hanging_up_is_for_one_device_or_for_all_as_the_order_says() {
    let mut room = Room::new(2, true, Kind::Meeting);
    let second = Joined { device: device(99), call_id: "99".into(), ..joined(1, None) };
    let (seat, _) = room.conference.join(room.now, second);
    assert_eq!(seat, Some(Seat(2)));
    room.order(0, &Order::HangUp(whom(1)), 1);
    assert_eq!(room.hung_up(), [1]);
    room.done.clear();
    room.order(0, &Order::HangUp(whom(1)), 0);
    assert_eq!(room.hung_up(), [1, 2]);
}

#[test]
fn hanging_up_the_host_detaches_it_and_the_others_go_on() {
    let mut room = Room::new(3, true, Kind::Meeting);
    room.order(0, &Order::HangUp(Whom { account: HOST.0, device: Some(HOST.1) }), 1);
    assert!(room.done.contains(&HostAction::Detach) && !room.conference.is_attached());
    assert_eq!(room.conference.len(), 3);
    let told = room.told(2).unwrap();
    assert!(told.entries.iter().all(|entry| entry.account() != Some(HOST.0)), "it is not in the list");
}

#[test]
fn the_active_one_is_shown_big_and_when_it_leaves_there_is_a_grid() {
    let mut room = Room::new(3, true, Kind::Meeting);
    room.order(0, &Order::Layout(Layout::OneBig), 1);
    room.order(0, &Order::Show(whom(1), Some("771_video_0".into())), 1);
    let visible = |room: &Room| {
        let info = room.conference.info(None);
        info.entries.iter().filter(|it| it.place.is_visible() && it.place != Entry::audio_only()).count()
    };
    assert_eq!(visible(&room), 1);
    assert!(room.entry(1).active);
    assert_eq!(room.entry(1).place.size, Size { width: 1280, height: 720 });
    // An unknown stream changes nothing, and one that loses its picture stays active.
    room.order(0, &Order::Show(whom(2), Some("nothing".into())), 1);
    assert!(room.entry(1).active);
    room.act(|conference, now| conference.shows(now, Seat(1), None));
    assert!(room.entry(1).active && room.entry(1).video_muted);
    room.act(|conference, now| conference.leave(now, Seat(1)).1);
    assert_eq!(visible(&room), 2);
    room.order(0, &Order::Show(whom(2), None), 0);
    assert!(room.entry(2).active);
    room.order(0, &Order::ShowNone, 0);
    assert!(!room.entry(2).active);
}

#[test]
fn who_has_no_picture_is_listed_without_a_tile_and_gets_one_with_the_picture() {
    let mut room = Room::new(1, true, Kind::Meeting);
    let seat = room.join(5, None);
    let entry = room.entry(5);
    assert_eq!((entry.place, entry.video_muted), (Entry::audio_only(), true));
    assert_eq!(entry.stream, "775_audio_0");
    assert_eq!(room.conference.tiles().len(), 1);
    room.act(|conference, now| conference.shows(now, seat, Some(WIDE)));
    assert_eq!((room.entry(5).stream.as_str(), room.conference.tiles().len()), ("775_video_0", 2));
    room.act(|conference, now| conference.turns(now, seat, 90));
    let size = room.entry(5).place.size;
    assert!(size.height > size.width);
}

#[test]
fn a_voice_is_told_to_everybody_at_once_and_recording_too() {
    let mut room = Room::new(3, true, Kind::Meeting);
    room.act(|conference, now| conference.speaks(now, Seat(1), true));
    for seat in 0..3 {
        assert!(room.told(seat).unwrap().entries[2].voice);
    }
    assert!(!room.done.contains(&HostAction::Remix));
    room.act(|conference, now| conference.records(now, Seat(0), true));
    room.act(|conference, now| conference.record(now, true));
    room.pass(500);
    let recording: Vec<_> = room.told(2).unwrap().entries.iter().map(|it| it.recording).collect();
    assert_eq!(recording, [true, true, false, false]);
    room.order(2, &Order::Voice(whom(0), "770_video_0".into(), true), 1);
    assert!(room.entry(0).voice, "everybody may say who speaks");
}

#[test]
fn a_conference_of_joined_calls_ends_as_a_call_and_a_meeting_stays() {
    let mut room = Room::new(3, true, Kind::Merged);
    let (remaining, _) = room.conference.leave(room.now, Seat(0));
    assert_eq!(remaining, Remaining::Goes);
    let (remaining, actions) = room.conference.leave(room.now, Seat(1));
    assert_eq!(remaining, Remaining::Single(Seat(2)));
    assert!(actions.contains(&HostAction::Tell(Seat(2), ConferenceInfo::default())));
    assert_eq!(room.conference.leave(room.now, Seat(2)).0, Remaining::Over);

    let mut room = Room::new(2, true, Kind::Meeting);
    assert_eq!(room.conference.leave(room.now, Seat(0)).0, Remaining::Goes);
    assert_eq!(room.conference.leave(room.now, Seat(1)).0, Remaining::Goes, "the host is still there");
    assert_eq!(room.conference.attach(room.now, false).0, Remaining::Over);

    let mut room = Room::new(2, true, Kind::Meeting);
    assert_eq!(room.conference.attach(room.now, false).0, Remaining::Goes);
    assert_eq!(room.conference.leave(room.now, Seat(0)).0, Remaining::Goes);
    assert_eq!(room.conference.leave(room.now, Seat(1)).0, Remaining::Over);
    assert_eq!(Room::new(3, true, Kind::Meeting).conference.end().len(), 3);
}

#[test]
fn a_conference_within_a_conference_is_shown_in_its_tile_and_not_told_to_who_told_it() {
    let mut room = Room::new(2, true, Kind::Meeting);
    let inner = |number: u16, x: u32| Entry {
        uri: account(number).to_hex(),
        device: device(number).to_hex(),
        stream: format!("{number}_video_0"),
        moderator: true,
        active: true,
        place: Rectangle { x, y: 0, size: Size { width: 320, height: 360 } },
        ..Entry::default()
    };
    let nested = ConferenceInfo {
        entries: vec![inner(50, 0), inner(51, 320), inner(0, 0)],
        picture: WIDE,
        version: 1,
        layout: Layout::Grid,
    };
    room.act(|conference, now| conference.nested(now, Seat(1), nested.clone()));
    room.pass(500);
    let told = room.told(0).unwrap().clone();
    let accounts: Vec<_> = told.entries.iter().filter_map(Entry::account).collect();
    assert_eq!(accounts, [HOST.0, account(0), account(50), account(51), account(0)]);
    // The tile of the second of two is the right half, above the middle.
    assert_eq!(told.entries[3].place.x, 960);
    assert!(told.entries.iter().all(|entry| !entry.active));
    let back = room.told(1).unwrap();
    assert_eq!(back.entries.iter().filter_map(Entry::account).collect::<Vec<_>>(), [HOST.0, account(0)]);
    assert!(!Room::new(1, false, Kind::Meeting).conference.may_moderate(account(50)));

    // The same again is not told again; an order goes where its aim is; an empty list ends it.
    room.done.clear();
    room.act(|conference, now| conference.nested(now, Seat(1), nested));
    room.pass(500);
    assert!(room.done.is_empty());
    room.order(0, &Order::Mute(whom(50), true), 1);
    assert!(room.done.contains(&HostAction::Forward(Seat(1), Order::Mute(whom(50), true))));
    room.act(|conference, now| conference.nested(now, Seat(1), ConferenceInfo::default()));
    room.pass(500);
    assert_eq!(room.told(0).unwrap().entries.len(), 3);
}

#[test]
fn a_flood_of_orders_is_followed_at_a_bounded_rate() {
    let mut room = Room::new(2, true, Kind::Meeting);
    let body = |on: bool| Order::Hand(whom(0), on).write(1).unwrap();
    let mut followed = 0;
    for turn in 0..1000 {
        let before = room.entry(0).hand;
        room.act(|conference, now| conference.ordered(now, Seat(0), &body(!before)));
        followed += u32::from(room.entry(0).hand != before);
        assert!(turn < 50 || followed <= ORDER_BURST);
    }
    assert_eq!(followed, ORDER_BURST);
    room.pass(1000);
    let before = room.entry(0).hand;
    room.act(|conference, now| conference.ordered(now, Seat(0), &body(!before)));
    assert_ne!(room.entry(0).hand, before);
}

#[test]
fn two_hundred_with_many_talkers_are_told_at_most_four_times_a_second_in_messages_that_fit() {
    let mut room = Room::new(200, true, Kind::Meeting);
    for step in 0..200_u32 {
        room.act(|conference, now| conference.speaks(now, Seat(step % 20), step % 40 < 20));
        room.pass(50);
    }
    let mut counts = std::collections::BTreeMap::<Seat, usize>::new();
    for action in &room.done {
        if let HostAction::Tell(seat, info) = action {
            *counts.entry(*seat).or_default() += 1;
            assert!(info.write().len() <= MAX_SENT_INFO);
            assert!(
                info.entries.iter().any(|it| it.account() == Some(account(u16::try_from(seat.0).unwrap())))
            );
        }
    }
    // Ten seconds have passed.
    assert_eq!(counts.len(), 200);
    assert!(counts.values().all(|count| *count <= 41), "{:?}", counts.values().max());
}

#[test]
fn a_crowd_beyond_what_a_conference_holds_is_not_let_in() {
    let settings = HostSettings::default();
    let mut conference = Conference::new(HOST, settings, Kind::Meeting, false);
    for number in 0..u16::try_from(MAX_PARTICIPANTS).unwrap() {
        conference.seat_silently(joined(number, None));
    }
    assert_eq!(conference.join(Moment::default(), joined(5000, None)), (None, Vec::new()));
}
