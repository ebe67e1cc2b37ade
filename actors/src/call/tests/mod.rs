//! Calls of two sides in virtual time, and what devices do to them by hand.

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use ezk_sip_types::msg::MessageLine;
use skep_protocol::call::{Action, Leg, MAX_RENEWALS};
use skep_protocol::ids::AccountId;
use skep_protocol::sip::stream::SipMessage;

use self::world::*;
use super::media::SoundChoice;
use super::messages::{CallCommand, CallId, CallOver, CallStage, CallsMessage, CallsTold};
use crate::event::Event;

fn status(message: &SipMessage) -> u16 {
    match &message.line {
        MessageLine::Response(line) => line.code.into_u16(),
        MessageLine::Request(_) => 0,
    }
}

/// A call of somebody by hand: the leg, when it rings there.
async fn rings(device: &mut ByHand, side: &Side, number: u8) -> Leg {
    let (mut leg, actions) = Leg::call(NOW, ends(side), [number; 32], Some(&description(0))).unwrap();
    device.play(&mut leg, actions, |action| matches!(action, Action::Ringing).then_some(())).await;
    leg
}

#[test]
fn who_rings_and_gives_up_without_end_keeps_neither_others_nor_the_owner_out() {
    run(async {
        let world = World::start().await;
        let mut device = ByHand::to(&world.low);
        for number in 0..100_u8 {
            let (mut leg, actions) =
                Leg::call(NOW, ends(&world.low), [number; 32], Some(&description(0))).unwrap();
            let rang = |action: &Action| match action {
                Action::Ringing => Some(true),
                Action::Ended(_) => Some(false),
                _ => None,
            };
            if device.play(&mut leg, actions, rang).await {
                // Given up, and what comes of it is not acknowledged.
                for action in leg.hang_up(NOW) {
                    if let Action::Send(bytes) = action {
                        device.say(bytes).await;
                    }
                }
                while status(&device.hear().await) != 487 {}
            }
        }
        assert!(world.low.listed().await.is_empty());
        let places = (0..super::messages::MAX_CALLS).map(|_| world.low.place(AccountId([9; 20])));
        futures::future::join_all(places).await;
        world.root.shutdown(PATIENCE).await;
    });
}

#[test]
fn a_way_that_breaks_is_noticed_while_the_call_is_on_hold() {
    run(async {
        let mut world = World::start().await;
        let (placed, taken) = world.call().await;
        world.low.act(placed, CallCommand::Hold(true)).await;
        world.low.reaches(CallStage::Held).await;
        world.ways.break_all();
        assert_eq!(world.low.over(placed).await, CallOver::NoPath);
        world.high.over(taken).await;
    });
}

#[test]
fn an_old_way_that_breaks_while_a_new_one_is_looked_for_ends_nothing() {
    run(async {
        let mut world = World::start().await;
        let (placed, _) = world.call().await;
        world.low.act(placed, CallCommand::Hold(true)).await;
        world.low.reaches(CallStage::Held).await;
        world.ways.slow.store(2000, Ordering::Relaxed);
        // The other side looks for its way last.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.low.act(placed, CallCommand::Hold(false)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.ways.break_all();
        world.low.reaches(CallStage::Active).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.low.hears().await > 40 && world.high.hears().await > 40);
    });
}

#[test]
fn a_held_call_is_silent_until_there_is_a_new_way_and_then_both_are_heard() {
    run(async {
        let mut world = World::start().await;
        let (placed, _) = world.call().await;
        world.low.act(placed, CallCommand::Hold(true)).await;
        world.low.reaches(CallStage::Held).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((world.low.hears().await, world.high.hears().await), (0, 0));
        world.ways.slow.store(5000, Ordering::Relaxed);
        world.low.act(placed, CallCommand::Hold(false)).await;
        assert_eq!(world.high.hears().await, 0, "nothing goes over the old way");
        world.low.reaches(CallStage::Active).await;
        assert!(world.low.hears().await > 40 && world.high.hears().await > 40);
    });
}

#[test]
fn when_both_hold_and_both_go_on_at_once_the_call_goes_on() {
    run(async {
        for slow in [0, 100] {
            let mut world = World::start().await;
            let (placed, taken) = world.call().await;
            for hold in [true, false] {
                let (low, high) = (CallCommand::Hold(hold), CallCommand::Hold(hold));
                world.ways.slow.store(slow, Ordering::Relaxed);
                tokio::join!(world.low.act(placed, low), world.high.act(taken, high));
                tokio::time::sleep(Duration::from_secs(10)).await;
                let stage = if hold { CallStage::Held } else { CallStage::Active };
                let stages = [&world.low, &world.high].map(|side| async { side.listed().await[0].stage });
                assert_eq!(futures::future::join_all(stages).await, [stage, stage]);
            }
            assert!(world.low.hears().await > 40 && world.high.hears().await > 40);
        }
    });
}

#[test]
fn who_holds_and_goes_on_at_once_is_heard_again() {
    run(async {
        let mut world = World::start().await;
        let (placed, taken) = world.call().await;
        for _ in 0..3 {
            world.low.act(placed, CallCommand::Hold(true)).await;
            world.low.act(placed, CallCommand::Hold(false)).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(world.low.hears().await > 40 && world.high.hears().await > 40);
        }
        world.high.act(taken, CallCommand::HangUp).await;
        assert_eq!(world.low.over(placed).await, CallOver::PeerHungUp);
    });
}

#[test]
fn offers_of_new_ways_without_end_open_a_few_and_the_call_goes_on() {
    run(async {
        let mut world = World::start().await;
        let mut device = ByHand::to(&world.low);
        let mut leg = rings(&mut device, &world.low, 1).await;
        let call = world.low.reaches(CallStage::Incoming).await;
        world.low.act(call, CallCommand::Answer(SoundChoice::default())).await;
        let answered = |action: &Action| matches!(action, Action::Answered(_)).then_some(());
        device.play(&mut leg, Vec::new(), answered).await;
        world.low.reaches(CallStage::Active).await;
        let before = world.ways.opened.load(Ordering::Relaxed);
        let mut refused = 0;
        for version in 1..50 {
            let actions = leg.offer(NOW, Some(&description(version))).unwrap();
            let was_refused = |action: &Action| match action {
                Action::OfferAnswered(_) => Some(false),
                Action::OfferRefused(_) => Some(true),
                _ => None,
            };
            refused += u32::from(device.play(&mut leg, actions, was_refused).await);
            // What was received lets the acknowledgement go.
            let _ = leg.tick(NOW);
        }
        let opened = world.ways.opened.load(Ordering::Relaxed) - before;
        assert_eq!((opened, refused), (MAX_RENEWALS as usize, 49 - MAX_RENEWALS));
        assert_eq!(world.low.listed().await.len(), 1);
    });
}

#[test]
fn a_channel_that_a_call_has_opened_carries_another_one_beyond_its_end() {
    run(async {
        let mut world = World::start().await;
        world.by_hand();
        let placed = world.low.place(HIGH.0).await;
        let mut device = ByHand::at(world.channels.recv().await.unwrap());
        let invite = device.hear().await;
        let user = HIGH.0.to_hex();
        let (mut leg, _, _, actions) =
            Leg::ring(NOW, ends(&world.low), [3; 32], &invite, None).unwrap_or_else(|_| panic!("{user}"));
        for action in actions {
            if let Action::Send(bytes) = action {
                device.say(bytes).await;
            }
        }
        // Answered, so that the two calls are not one that was met.
        let answer = leg.answer(NOW, &description(1)).unwrap();
        device.play(&mut leg, answer, |action| matches!(action, Action::Acknowledged(_)).then_some(())).await;
        world.low.reaches(CallStage::Active).await;
        let mut second = rings(&mut device, &world.low, 4).await;
        let incoming = world.low.reaches(CallStage::Incoming).await;
        let bye = leg.hang_up(NOW);
        device.play(&mut leg, bye, |action| matches!(action, Action::Done).then_some(())).await;
        assert_eq!(world.low.over(placed).await, CallOver::PeerHungUp);
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.low.act(incoming, CallCommand::Answer(SoundChoice::default())).await;
        let answered = |action: &Action| matches!(action, Action::Answered(_)).then_some(());
        device.play(&mut second, Vec::new(), answered).await;
        world.low.reaches(CallStage::Active).await;
    });
}

#[test]
fn a_call_that_nobody_answers_is_missed_here_and_busy_there() {
    run(async {
        let mut world = World::start().await;
        let placed = world.low.place(HIGH.0).await;
        let rings = world.high.reaches(CallStage::Incoming).await;
        assert_eq!(world.high.over(rings).await, CallOver::Missed);
        assert_eq!(world.low.over(placed).await, CallOver::Busy);
    });
}

#[test]
fn of_two_calls_that_meet_one_that_does_not_give_way_is_shown() {
    run(async {
        let mut world = World::start().await;
        world.by_hand();
        let placed = world.high.place(LOW.0).await;
        world.high.reaches(CallStage::Searching).await;
        let mut silent = ByHand::at(world.channels.recv().await.unwrap());
        silent.hear().await;
        let mut device = ByHand::to(&world.high);
        let _leg = rings(&mut device, &world.high, 1).await;
        assert_eq!(world.high.listed().await.len(), 1, "whoever calls is about to give way");
        let shown = world.high.reaches(CallStage::Incoming).await;
        assert_ne!(shown, placed);
        let calls = world.high.listed().await;
        assert_eq!(calls.len(), 2);
    });
}

#[test]
fn of_two_calls_that_meet_the_other_one_is_shown_when_ours_ends() {
    run(async {
        let mut world = World::start().await;
        world.by_hand();
        let placed = world.high.place(LOW.0).await;
        let mut silent = ByHand::at(world.channels.recv().await.unwrap());
        silent.hear().await;
        let mut device = ByHand::to(&world.high);
        let _leg = rings(&mut device, &world.high, 1).await;
        let given_up = tokio::time::Instant::now();
        world.high.act(placed, CallCommand::HangUp).await;
        world.high.reaches(CallStage::Incoming).await;
        assert!(given_up.elapsed() < Duration::from_secs(1));
        assert_eq!(world.high.over(placed).await, CallOver::Cancelled);
    });
}

#[test]
fn one_call_is_held_while_another_is_taken_and_goes_on_after_it() {
    run(async {
        let mut world = World::start().await;
        let (first, there) = world.call().await;
        world.low.act(first, CallCommand::Hold(true)).await;
        world.low.reaches(CallStage::Held).await;
        let second = world.high.place(LOW.0).await;
        let taken = world.low.reaches(CallStage::Incoming).await;
        world.low.act(taken, CallCommand::Answer(SoundChoice::default())).await;
        world.low.reaches(CallStage::Active).await;
        world.high.act(second, CallCommand::HangUp).await;
        assert_eq!(world.low.over(taken).await, CallOver::PeerHungUp);
        world.low.act(first, CallCommand::Hold(false)).await;
        world.low.reaches(CallStage::Active).await;
        assert!(world.low.hears().await > 40 && world.high.hears().await > 40);
        world.high.act(there, CallCommand::HangUp).await;
        assert_eq!(world.low.over(first).await, CallOver::PeerHungUp);
    });
}

/// All ends that were told of a call so far, and all records.
async fn ends_told(side: &mut Side, id: CallId) -> (usize, usize) {
    let (mut ends, mut records) = (0, 0);
    loop {
        // In virtual time everything else goes on first.
        let pause = tokio::time::sleep(Duration::from_secs(60));
        tokio::select! {
            event = side.events.recv() => {
                let event = event.unwrap().event;
                ends += usize::from(matches!(event, Event::CallEnded { call, .. } if call == id));
            }
            told = side.told.recv() => records += usize::from(matches!(told, Some(CallsTold::Record { .. }))),
            () = pause => return (ends, records),
        }
    }
}

#[test]
fn the_end_of_a_call_is_told_once_however_little_is_heard() {
    run(async {
        let mut world = World::with_room(1).await;
        let placed = world.low.place(HIGH.0).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let taken = world.high.listed().await[0].id;
        world.high.act(taken, CallCommand::Decline).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(ends_told(&mut world.low, placed).await, (1, 1));
        assert_eq!(ends_told(&mut world.high, taken).await, (1, 0));
    });
}

#[test]
fn a_call_that_panics_is_over_once_and_written_down() {
    run(async {
        let mut world = World::start().await;
        let (placed, _) = world.call().await;
        let tree = world.root.environment().tree();
        let row = tree.rows().into_iter().find(|row| row.name == placed.to_string()).unwrap();
        assert!(tree.inject_panic(row.id));
        assert_eq!(ends_told(&mut world.low, placed).await, (1, 1));
        assert!(world.low.listed().await.is_empty());
    });
}

#[test]
fn what_a_call_told_last_counts_though_it_is_gone_before_that_is_heard() {
    run(async {
        let mut world = World::start().await;
        let (placed, _) = world.call().await;
        // So many wait that the end finds no room.
        let (asks, mut answers): (Vec<_>, Vec<_>) = (0..256)
            .map(|_| {
                let (reply, answer) = crate::supervision::Reply::channel();
                (CallsMessage::List(reply), answer)
            })
            .unzip();
        let (reply, _) = crate::supervision::Reply::channel();
        let hang_up = CallsMessage::Do { call: placed, command: CallCommand::HangUp, reply };
        world.low.calls.try_send(hang_up).unwrap();
        for ask in asks {
            let _ = world.low.calls.try_send(ask);
        }
        for answer in &mut answers {
            let _ = answer.await;
        }
        assert_eq!(ends_told(&mut world.low, placed).await, (1, 1));
    });
}
