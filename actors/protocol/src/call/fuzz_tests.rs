//! Fuzz bodies of calls: whatever the other side says, a leg goes on or ends, and does not say more for it.

use std::time::Duration;

use bytes::Bytes;

use super::played::*;
use super::recorded_tests::recorded;
use super::*;
use crate::sip::stream::SipMessage;
use crate::testing::{DAEMONS, with_mutations};

/// Most that is sent for one message that came.
const MOST_SENT: usize = 3;

/// A stranger's request begins a call, or is refused; and what belongs to a call does not break it.
fn fuzz_leg(data: &[u8]) {
    let Ok(Some(message)) = SipMessage::in_datagram(&Bytes::copy_from_slice(data)) else { return };
    if message.line.is_request() {
        let rung = Leg::ring(Default::default(), ends(BOB, ALICE, false), [2; 32], &message, None);
        if let Ok((mut leg, ..)) = rung {
            assert!(leg.is_for(&message));
            leg.received(Default::default(), &message);
            let _ = leg.answer(Default::default(), &description(1, true));
        }
    }
    for mut pair in [Pair::ringing(false), Pair::confirmed(false)] {
        pair.forget();
        pair.stray = true;
        let now = pair.now;
        // Whatever its ids: who drives a leg may be wrong about them.
        let actions = pair.caller.received(now, &message);
        let sent = actions.iter().filter(|it| matches!(it, Action::Send(_))).count();
        assert!(sent <= MOST_SENT, "{actions:?}");
        let actions = pair.callee.as_mut().unwrap().received(now, &message);
        let sent = actions.iter().filter(|it| matches!(it, Action::Send(_))).count();
        assert!(sent <= MOST_SENT, "{actions:?}");
        pair.pass(Duration::from_secs(1));
        assert!(pair.said.len() < 50);
    }
}

fn fuzz_bodies(data: &[u8]) {
    for kind in ["application/media_control+xml", "application/dtmf-relay"] {
        if let Some(control) = Control::read(kind, data) {
            let (kind, body) = control.write();
            assert_eq!(Control::read(kind, body.as_bytes()), Some(control));
        }
        if let Some(press) = KeyPress::read(kind, data) {
            let (kind, body) = press.write();
            assert_eq!(KeyPress::read(kind, body.as_bytes()), Some(press));
        }
    }
    for part in parts_of("multipart/mixed;boundary=x", data) {
        assert!(part.body.len() <= data.len());
    }
}

#[test]
fn damaged_messages_do_a_call_no_harm() {
    for daemon in DAEMONS {
        let mut seen = std::collections::BTreeSet::new();
        for message in recorded(daemon) {
            let kind = message.text.split(' ').take(2).collect::<Vec<_>>().join(" ");
            if seen.insert(kind.get(..8).unwrap_or_default().to_owned()) {
                with_mutations(message.text.as_bytes(), 40, fuzz_leg);
            }
        }
    }
}

#[test]
fn damaged_bodies_of_calls_are_read_or_ignored() {
    for control in
        [Control::KeyFrame(Some(1)), Control::Turn { degrees: 90, stream: None }, Control::Voice(true)]
    {
        with_mutations(control.write().1.as_bytes(), 300, fuzz_bodies);
    }
    with_mutations(KeyPress::new('#').unwrap().write().1.as_bytes(), 300, fuzz_bodies);
    let parts = vec![Part { content_type: "text/plain".into(), body: b"hello".to_vec() }; 3];
    with_mutations(&write_parts(&parts, "x").1, 300, fuzz_bodies);
}
