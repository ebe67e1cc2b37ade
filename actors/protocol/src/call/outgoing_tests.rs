//! A call to several devices.

use std::time::Duration;

use super::played::*;
use super::*;
use crate::ids::DeviceId;
use crate::sip::stream::SipMessage;
use crate::time::Moment;

/// Three devices of one person, each with a leg that rings.
struct Household {
    now: Moment,
    call: OutgoingCall,
    devices: std::collections::BTreeMap<LegNumber, Leg>,
    told: Vec<Dialled>,
    ends: std::collections::BTreeMap<LegNumber, End>,
}

fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

impl Household {
    fn ringing(count: u8) -> Self {
        let call = OutgoingCall::new(description(0, true));
        let mut home = Self {
            now: Moment::default(),
            call,
            devices: Default::default(),
            told: Vec::new(),
            ends: Default::default(),
        };
        for number in 1..=count {
            home.open(number);
        }
        let found = home.call.found((1..=count).map(device), true);
        assert!(found.is_empty(), "all are called already");
        home
    }

    fn open(&mut self, number: u8) {
        let ends = ends(ALICE, BOB, true);
        let (_, out) = self.call.opened(self.now, device(number), ends, [number; 32]).unwrap();
        self.take(out);
    }

    fn take(&mut self, out: Vec<Dialled>) {
        for dialled in out {
            match dialled {
                Dialled::Leg(number, Action::Send(bytes)) => self.hear(number, &parse(&bytes)),
                other => self.told.push(other),
            }
        }
    }

    /// A device hears something, and its answers get back.
    fn hear(&mut self, number: LegNumber, message: &SipMessage) {
        let actions = match self.devices.get_mut(&number) {
            Some(leg) => leg.received(self.now, message),
            None => {
                let seed = [100 + u8::try_from(number.0).unwrap(); 32];
                let rung = Leg::ring(self.now, ends(BOB, ALICE, true), seed, message, None);
                let (leg, _, _, actions) = rung.unwrap();
                self.devices.insert(number, leg);
                actions
            }
        };
        self.back(number, actions);
    }

    fn back(&mut self, number: LegNumber, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(bytes) => {
                    let out = self.call.received(self.now, number, &parse(&bytes));
                    self.take(out);
                }
                Action::Ended(end) => assert!(self.ends.insert(number, end).is_none()),
                _ => {}
            }
        }
    }

    fn device(&mut self, number: u32, act: impl FnOnce(&mut Leg, Moment) -> Vec<Action>) {
        let number = LegNumber(number);
        let actions = act(self.devices.get_mut(&number).unwrap(), self.now);
        self.back(number, actions);
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.plus(Duration::from_secs(1));
            let out = self.call.tick(self.now);
            self.take(out);
            let numbers: Vec<_> = self.devices.keys().copied().collect();
            for LegNumber(number) in numbers {
                self.device(number, Leg::tick);
            }
        }
    }

    fn end(&self) -> Option<CallEnd> {
        self.told.iter().find_map(|it| match it {
            Dialled::Ended(end) => Some(*end),
            _ => None,
        })
    }

    fn is_done(&self) -> bool {
        matches!(self.told.last(), Some(Dialled::Done))
    }
}

#[test]
fn all_devices_ring_with_the_same_offer_and_the_first_answer_wins() {
    let mut home = Household::ringing(3);
    assert_eq!(home.devices.len(), 3);
    assert_eq!(home.call.connection(), Connection::Ringing);
    home.device(1, |leg, now| leg.answer(now, &description(1, true)).unwrap());
    assert!(home.told.iter().any(|it| matches!(it, Dialled::Won(LegNumber(1), it) if *it == device(2))));
    assert_eq!(home.ends.len(), 2);
    assert!(home.ends.values().all(|end| *end == End::PeerCancelled));
    assert_eq!(home.end(), None);
    let out = home.call.hang_up(home.now);
    home.take(out);
    home.pass(1);
    assert_eq!(home.ends[&LegNumber(1)], End::PeerHungUp);
    assert_eq!(home.end(), Some(CallEnd::Over(End::HungUp)));
    assert!(home.is_done());
}

#[test]
fn a_device_that_declines_or_is_busy_ends_the_call_everywhere() {
    for (refusal, end) in [(Refusal::Decline, CallEnd::Declined), (Refusal::Busy, CallEnd::Busy)] {
        let mut home = Household::ringing(3);
        home.device(2, |leg, now| leg.refuse(now, refusal));
        assert_eq!(home.end(), Some(end));
        assert_eq!(home.ends[&LegNumber(0)], End::PeerCancelled);
        assert_eq!(home.ends[&LegNumber(1)], End::PeerCancelled);
        home.pass(1);
        assert!(home.is_done());
    }
}

#[test]
fn a_device_that_fails_is_left_out_and_the_last_one_ends_the_call() {
    let mut home = Household::ringing(2);
    home.device(0, |leg, now| leg.refuse(now, Refusal::NoCodec));
    assert_eq!(home.end(), None);
    home.device(1, |leg, now| leg.refuse(now, Refusal::NotAgreed));
    assert_eq!(home.end(), Some(CallEnd::Over(End::Failed(415))));
}

#[test]
fn a_person_without_a_device_that_can_be_reached_is_not_called() {
    let mut call = OutgoingCall::new(description(0, true));
    let out = call.found([device(1), device(2)], true);
    assert!(matches!(out[..], [Dialled::Open(_), Dialled::Open(_)]));
    assert!(call.not_opened(device(1)).is_empty());
    let out = call.not_opened(device(2));
    assert!(matches!(out[..], [Dialled::Ended(CallEnd::NoDevice), Dialled::Done]), "{out:?}");

    let out = OutgoingCall::new(description(0, true)).found([], true);
    assert!(matches!(out[..], [Dialled::Ended(CallEnd::NoDevice), Dialled::Done]), "{out:?}");
}

#[test]
fn a_person_with_devices_without_number_is_called_on_a_bounded_number_of_them() {
    let mut call = OutgoingCall::new(description(0, true));
    let out = call.found((0..=255).map(device), false);
    assert_eq!(out.len(), MAX_LEGS);
}

#[test]
fn an_answer_that_comes_too_late_is_hung_up() {
    let mut home = Household::ringing(2);
    // Both answer before anything gets back.
    let first = home.devices.get_mut(&LegNumber(0)).unwrap().answer(home.now, &description(1, true)).unwrap();
    let second =
        home.devices.get_mut(&LegNumber(1)).unwrap().answer(home.now, &description(1, true)).unwrap();
    home.back(LegNumber(1), second);
    home.back(LegNumber(0), first);
    home.pass(2);
    assert_eq!(home.ends.get(&LegNumber(0)), Some(&End::PeerHungUp));
    assert_eq!(home.ends.get(&LegNumber(1)), None);
    assert_eq!(home.end(), None);
}

#[test]
fn a_channel_that_was_dead_is_opened_anew() {
    let now = Moment::default();
    let mut call = OutgoingCall::new(description(0, true));
    let (number, _) = call.opened(now, device(1), ends(ALICE, BOB, true), [1; 32]).unwrap();
    let out = call.lost(now, number.unwrap());
    assert!(matches!(out[..], [Dialled::Open(it)] if it == device(1)), "{out:?}");
    assert!(call.found([device(1)], true).is_empty());
    let out = call.not_opened(device(1));
    assert!(matches!(out[..], [Dialled::Ended(CallEnd::Over(End::Lost)), Dialled::Done]), "{out:?}");
}

#[test]
fn whoever_closes_every_channel_is_tried_twice_and_no_more() {
    let now = Moment::default();
    let mut call = OutgoingCall::new(description(0, true));
    for last in [false, true] {
        let (number, _) = call.opened(now, device(1), ends(ALICE, BOB, true), [1; 32]).unwrap();
        let out = call.lost(now, number.unwrap());
        assert_eq!(out.iter().any(|it| matches!(it, Dialled::Open(_))), !last, "{out:?}");
    }
    let out = call.found([device(1)], true);
    assert!(matches!(out[..], [Dialled::Ended(CallEnd::Over(End::Lost)), Dialled::Done]), "{out:?}");
}

#[test]
fn what_is_said_before_the_answer_reaches_who_answers() {
    let mut home = Household::ringing(2);
    let text = vec![Part { content_type: "text/plain".into(), body: b"hello".to_vec() }];
    let out = home.call.message(home.now, text).unwrap();
    home.take(out);
    let answer =
        home.devices.get_mut(&LegNumber(1)).unwrap().answer(home.now, &description(1, true)).unwrap();
    let Some(Action::Send(ok)) = answer.first() else { panic!("{answer:?}") };
    let out = home.call.received(home.now, LegNumber(1), &parse(ok));
    let message = out.iter().any(|it| match it {
        Dialled::Leg(LegNumber(1), Action::Send(bytes)) => word(&parse(bytes)) == "MESSAGE",
        _ => false,
    });
    assert!(message, "{out:?}");
}
