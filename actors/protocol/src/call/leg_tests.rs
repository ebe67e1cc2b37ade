//! One call between two devices.

use std::time::Duration;

use bytes::Bytes;

use super::played::*;
use super::*;
use crate::sdp::Description;
use crate::sip::stream::SipMessage;

const SECOND: Duration = Duration::from_secs(1);

fn text(body: &str) -> Vec<Part> {
    vec![Part { content_type: "text/plain".into(), body: body.into() }]
}

fn messages(actions: &[Action]) -> Vec<String> {
    let text = |action: &Action| match action {
        Action::Message(parts) => Some(String::from_utf8(parts[0].body.clone()).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(text).collect()
}

/// A request as the caller would make it.
fn in_dialog(pair: &Pair, method: &str, sequence: u32, more: &str, body: &str) -> SipMessage {
    let (caller, callee) = (&pair.caller, pair.callee.as_ref().unwrap());
    let text = format!(
        "{method} sips:x@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.1:4000;branch=z9hG4bK{method}{sequence}\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {sequence} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        caller.local_header(),
        callee.local_header(),
        caller.call_id(),
        body.len()
    );
    parse(&Bytes::from(text))
}

#[test]
fn a_call_is_made_answered_and_hung_up_by_either_side() {
    for by_caller in [true, false] {
        let mut pair = Pair::ringing(true);
        assert_eq!(pair.said, [">INVITE", "<100", "<180"]);
        assert!(matches!(pair.caller_told[..], [Action::Trying, Action::Ringing]));
        pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
        pair.deliver();
        assert_eq!(pair.said[3..], ["<200", ">ACK"]);
        assert!(matches!(pair.caller_told.last(), Some(Action::Answered(Some(_)))));
        assert!(matches!(pair.callee_told.last(), Some(Action::Acknowledged(None))));
        pair.forget();
        pair.pass(10 * SECOND);
        assert!(pair.said.is_empty(), "nothing is repeated over a channel");
        if by_caller {
            pair.caller(Leg::hang_up);
        } else {
            pair.callee(Leg::hang_up);
        }
        pair.deliver();
        let ends = (pair.caller_end(), pair.callee_end());
        let expected = if by_caller {
            assert_eq!(pair.said, [">BYE", "<200"]);
            (Some(End::HungUp), Some(End::PeerHungUp))
        } else {
            assert_eq!(pair.said, ["<BYE", ">200"]);
            (Some(End::PeerHungUp), Some(End::HungUp))
        };
        assert_eq!(ends, expected);
        pair.pass(SECOND);
        assert!(is_done(&pair.caller_told) && is_done(&pair.callee_told));
    }
}

#[test]
fn a_refused_call_ends_with_what_the_refusal_means() {
    for (refusal, end) in [
        (Refusal::Decline, End::Declined),
        (Refusal::Busy, End::Busy),
        (Refusal::Gone, End::Failed(481)),
        (Refusal::NoCodec, End::Failed(488)),
        (Refusal::NotAgreed, End::Failed(415)),
    ] {
        let mut pair = Pair::ringing(true);
        pair.callee(|leg, now| leg.refuse(now, refusal));
        pair.deliver();
        assert_eq!((pair.caller_end(), pair.callee_end()), (Some(end), Some(End::Refused)));
        assert_eq!(pair.said.last().unwrap(), ">ACK");
        pair.pass(SECOND);
        assert!(is_done(&pair.caller_told) && is_done(&pair.callee_told));
    }
}

#[test]
fn a_call_that_nobody_answers_is_busy_after_half_a_minute() {
    let mut pair = Pair::ringing(true);
    pair.pass(29 * SECOND);
    assert_eq!(pair.caller_end(), None);
    pair.pass(SECOND);
    assert_eq!((pair.caller_end(), pair.callee_end()), (Some(End::Busy), Some(End::NoAnswer)));
}

#[test]
fn a_call_that_is_given_up_is_cancelled() {
    let mut pair = Pair::ringing(true);
    pair.forget();
    pair.caller(Leg::hang_up);
    pair.deliver();
    assert_eq!(pair.said, [">CANCEL", "<200", "<487", ">ACK"]);
    assert_eq!((pair.caller_end(), pair.callee_end()), (Some(End::Cancelled), Some(End::PeerCancelled)));
    pair.pass(SECOND);
    assert!(is_done(&pair.caller_told) && is_done(&pair.callee_told));
}

#[test]
fn nothing_is_cancelled_before_there_is_a_response() {
    let mut pair = Pair::silent(true);
    pair.caller(Leg::hang_up);
    assert_eq!(pair.said, [">INVITE"]);
    pair.deliver();
    assert!(pair.said.contains(&">CANCEL".to_owned()));
    assert_eq!(pair.count(">CANCEL"), 1);
    assert_eq!((pair.caller_end(), pair.callee_end()), (Some(End::Cancelled), Some(End::PeerCancelled)));
}

#[test]
fn a_call_that_is_answered_while_it_is_given_up_is_hung_up() {
    let mut pair = Pair::ringing(true);
    pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
    pair.caller(Leg::hang_up);
    pair.deliver();
    assert_eq!(pair.caller_end(), Some(End::Cancelled));
    assert_eq!(pair.callee_end(), Some(End::PeerHungUp));
    assert!(pair.said.contains(&">BYE".to_owned()));
    pair.pass(SECOND);
    assert!(is_done(&pair.caller_told) && is_done(&pair.callee_told));
}

#[test]
fn a_device_that_never_answers_is_given_up_and_one_that_rings_for_ever_is_cancelled() {
    let mut pair = Pair::silent(true);
    pair.losing = Box::new(|_| true);
    pair.wire_clear();
    pair.pass(33 * SECOND);
    assert_eq!(pair.caller_end(), Some(End::NoAnswer));
    assert!(is_done(&pair.caller_told));

    let mut pair = Pair::ringing(true);
    pair.callee = None;
    pair.losing = Box::new(|_| true);
    pair.forget();
    pair.pass(MAX_RINGING);
    assert_eq!(pair.said, [">CANCEL"]);
    assert_eq!(pair.caller_end(), Some(End::NoAnswer));
    pair.pass(40 * SECOND);
    assert!(is_done(&pair.caller_told));
}

#[test]
fn over_udp_all_is_repeated_until_it_arrives() {
    for lost in 0..12 {
        let mut pair = Pair::silent(false);
        let mut left = lost;
        pair.wire_clear();
        // The first one is lost, too, and of the rest every second one until enough were.
        let mut turn = 0;
        pair.losing = Box::new(move |_| {
            turn += 1;
            left -= i32::from(left > 0 && turn % 2 == 0);
            left > 0 && turn % 2 == 0
        });
        pair.pass(10 * SECOND);
        pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
        pair.pass(20 * SECOND);
        assert!(pair.caller.is_confirmed() && pair.callee.as_ref().unwrap().is_confirmed(), "{lost}");
        pair.caller(Leg::hang_up);
        pair.pass(100 * SECOND);
        assert_eq!((pair.caller_end(), pair.callee_end()), (Some(End::HungUp), Some(End::PeerHungUp)));
        assert!(is_done(&pair.caller_told) && is_done(&pair.callee_told), "{lost}");
    }
}

#[test]
fn a_repeated_answer_is_acknowledged_again_and_told_once() {
    let mut pair = Pair::ringing(true);
    let mut lost = 3;
    pair.losing = Box::new(move |message| {
        let is_ack = word(message) == "ACK";
        lost -= i32::from(is_ack);
        is_ack && lost > 0
    });
    pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
    pair.deliver();
    pair.pass(20 * SECOND);
    assert_eq!((pair.count("<200"), pair.count(">ACK")), (3, 3));
    let answered = pair.caller_told.iter().filter(|it| matches!(it, Action::Answered(_))).count();
    assert_eq!(answered, 1);
    // A second acknowledgement of the same answer does no harm.
    assert_eq!((pair.caller_end(), pair.callee_end()), (None, None));
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let mut pair = Pair::ringing(true);
    pair.losing = Box::new(|message| word(message) == "ACK");
    pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
    pair.deliver();
    pair.pass(40 * SECOND);
    assert_eq!(pair.callee_end(), Some(End::Gone));
    assert_eq!(pair.caller_end(), Some(End::PeerHungUp));
}

#[test]
fn a_callee_hangs_up_only_after_its_answer_was_acknowledged() {
    let mut pair = Pair::ringing(true);
    pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
    pair.callee(Leg::hang_up);
    assert_eq!(pair.count("<BYE"), 0);
    pair.deliver();
    assert_eq!(pair.count("<BYE"), 1);
    assert_eq!((pair.caller_end(), pair.callee_end()), (Some(End::PeerHungUp), Some(End::HungUp)));
}

#[test]
fn media_are_changed_by_either_side() {
    for by_caller in [true, false] {
        let mut pair = Pair::confirmed(true);
        let offer = description(2, false);
        if by_caller {
            pair.caller(|leg, now| leg.offer(now, Some(&offer)).unwrap());
            pair.deliver();
            assert!(matches!(&pair.callee_told[..], [Action::Offered(Some(it))] if *it == offer));
            pair.callee(|leg, now| leg.answer(now, &description(3, false)).unwrap());
        } else {
            pair.callee(|leg, now| leg.offer(now, Some(&offer)).unwrap());
            pair.deliver();
            assert!(matches!(&pair.caller_told[..], [Action::Offered(Some(it))] if *it == offer));
            pair.caller(|leg, now| leg.answer(now, &description(3, false)).unwrap());
        }
        pair.deliver();
        let told = if by_caller { &pair.caller_told } else { &pair.callee_told };
        assert!(matches!(told.last(), Some(Action::OfferAnswered(it)) if it.origin.version == 3));
        assert_eq!(pair.said.len(), 3, "{:?}", pair.said);
    }
}

#[test]
fn an_offer_that_is_looked_at_is_said_to_be_and_one_that_nobody_looks_at_is_refused() {
    let mut pair = Pair::confirmed(true);
    pair.caller(|leg, now| leg.offer(now, Some(&description(2, true))).unwrap());
    pair.deliver();
    pair.pass(SECOND);
    assert_eq!(pair.said, [">INVITE", "<100"]);
    pair.pass(LONGEST_ANSWER);
    assert!(matches!(pair.caller_told.last(), Some(Action::OfferRefused(488))));
    assert_eq!((pair.caller_end(), pair.callee_end()), (None, None));
    assert!(pair.caller.is_confirmed());
}

#[test]
fn of_offers_that_wait_only_the_last_is_made() {
    let mut pair = Pair::confirmed(true);
    for version in 2..6 {
        pair.caller(|leg, now| leg.offer(now, Some(&description(version, true))).unwrap());
    }
    pair.deliver();
    pair.callee(|leg, now| leg.answer(now, &description(9, true)).unwrap());
    pair.deliver();
    pair.pass(SECOND);
    let versions = pair.callee_told.iter().filter_map(|action| match action {
        Action::Offered(Some(offer)) => Some(offer.origin.version),
        _ => None,
    });
    assert_eq!(versions.collect::<Vec<_>>(), [2, 5]);
}

#[test]
fn two_offers_at_once_are_refused_and_made_again_one_after_the_other() {
    let mut pair = Pair::confirmed(true);
    pair.caller(|leg, now| leg.offer(now, Some(&description(2, true))).unwrap());
    pair.callee(|leg, now| leg.offer(now, Some(&description(3, true))).unwrap());
    pair.deliver();
    assert_eq!((pair.count(">491"), pair.count("<491")), (1, 1));
    let (mut caller_answered, mut callee_answered) = (false, false);
    for _ in 0..60 {
        pair.pass(Duration::from_millis(100));
        if pair.caller_told.drain(..).any(|it| matches!(it, Action::Offered(_))) {
            pair.caller(|leg, now| leg.answer(now, &description(4, true)).unwrap());
            caller_answered = true;
        }
        if pair.callee_told.drain(..).any(|it| matches!(it, Action::Offered(_))) {
            pair.callee(|leg, now| leg.answer(now, &description(5, true)).unwrap());
            callee_answered = true;
        }
        pair.deliver();
    }
    assert!(caller_answered && callee_answered, "{:?}", pair.said);
}

#[test]
fn what_concerns_media_is_told_and_answered() {
    let mut pair = Pair::confirmed(true);
    pair.caller(|leg, now| leg.control(now, Control::Muted(true)).unwrap());
    pair.caller(|leg, now| leg.press(now, KeyPress::new('5').unwrap()).unwrap());
    pair.deliver();
    assert!(matches!(
        pair.callee_told[..],
        [Action::Control(Control::Muted(true)), Action::Key(KeyPress { key: '5', .. })]
    ));
    assert_eq!(pair.said, [">INFO", ">INFO", "<200", "<200"]);
}

#[test]
fn an_info_that_nobody_knows_changes_nothing() {
    let mut pair = Pair::confirmed(true);
    for (sequence, body) in (1_000_000..).zip(["<nothing/>", "", "x"]) {
        let info =
            in_dialog(&pair, "INFO", sequence, "Content-Type: application/media_control+xml\r\n", body);
        pair.hear(false, &info);
    }
    assert!(pair.callee_told.is_empty());
    assert_eq!(pair.said, ["<415", "<200", "<415"]);
}

#[test]
fn messages_before_the_answer_wait_for_it() {
    let mut pair = Pair::ringing(true);
    pair.caller(|leg, now| leg.message(now, text("early")).unwrap());
    pair.callee(|leg, now| leg.message(now, text("early, too")).unwrap());
    let early = in_dialog(&pair, "MESSAGE", 900_000, "Content-Type: text/plain\r\n", "before");
    pair.hear(false, &early);
    assert!(messages(&pair.callee_told).is_empty());
    pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
    assert_eq!(messages(&pair.callee_told), ["before"]);
    // The next number of the caller's is lower than the one that was made up here.
    pair.callee.as_mut().unwrap().forget_sequence();
    pair.deliver();
    assert_eq!(messages(&pair.callee_told), ["before", "early"]);
    assert_eq!(messages(&pair.caller_told), ["early, too"]);
}

#[test]
fn no_message_goes_to_who_takes_none_nor_one_that_is_too_long() {
    let mut pair = Pair::ringing(true);
    let answer = pair.callee.as_mut().unwrap().answer(pair.now, &description(1, true)).unwrap();
    let Some(Action::Send(bytes)) = answer.into_iter().find(|it| matches!(it, Action::Send(_))) else {
        panic!()
    };
    let without = String::from_utf8(bytes.to_vec()).unwrap().replace(", MESSAGE", "");
    pair.hear(true, &parse(&Bytes::from(without)));
    let sent = pair.caller.message(pair.now, text("hello"));
    assert!(matches!(sent, Err(LegError::NoMessages)));

    let mut pair = Pair::confirmed(true);
    let long = pair.caller.message(pair.now, text(&"x".repeat(8000)));
    assert!(matches!(long, Err(LegError::TooLong { .. })));
    let split = vec![Part { content_type: "text/plain\r\nX: y".into(), body: Vec::new() }];
    assert!(matches!(pair.caller.message(pair.now, split), Err(LegError::Malformed)));
    for _ in 0..MAX_REQUESTS {
        pair.caller.message(pair.now, text("x")).unwrap();
    }
    assert!(matches!(pair.caller.message(pair.now, text("x")), Err(LegError::TooMany)));
}

#[test]
fn a_refused_message_is_no_matter_unless_the_call_is_gone() {
    for (status, end) in [
        ("500 Unhandled by dialog usages", None),
        ("481 Gone", Some(End::Gone)),
        ("408 Late", Some(End::Gone)),
    ] {
        let mut pair = Pair::confirmed(true);
        let actions = pair.caller.message(pair.now, text("hello")).unwrap();
        let [Action::Send(bytes)] = &actions[..] else { panic!("{actions:?}") };
        let answer = crate::sip::response::respond(
            &parse(bytes),
            status,
            None,
            "10.0.0.1:1".parse().unwrap(),
            "",
            None,
        );
        pair.hear(true, &parse(&Bytes::from(answer.unwrap())));
        assert_eq!(pair.caller_end(), end, "{status}");
    }
    // Without any answer the call is gone, too.
    let mut pair = Pair::confirmed(true);
    pair.losing = Box::new(|message| word(message) == "MESSAGE");
    pair.caller(|leg, now| leg.message(now, text("hello")).unwrap());
    pair.pass(33 * SECOND);
    assert_eq!(pair.caller_end(), Some(End::Gone));
    assert_eq!(pair.callee_end(), Some(End::PeerHungUp));
}

#[test]
fn a_transfer_is_asked_for_with_one_address() {
    let mut pair = Pair::confirmed(true);
    pair.caller(|leg, now| leg.transfer(now, "sips:carol@ring.dht").unwrap());
    pair.deliver();
    assert_eq!(pair.said, [">REFER", "<202"]);
    assert!(matches!(&pair.callee_told[..], [Action::Transfer(target)] if target == "sips:carol@ring.dht"));
    assert!(matches!(pair.caller_told[..], [Action::Transferred(Ok(()))]));
    assert!(matches!(pair.caller.transfer(pair.now, "sip:a\r\nb"), Err(LegError::Malformed)));
    pair.forget();
    for (sequence, more) in
        (1_000_000..).zip(["", "Refer-To: <sip:a@b>\r\nRefer-To: <sip:c@d>\r\n", "Refer-To: nobody\r\n"])
    {
        let refer = in_dialog(&pair, "REFER", sequence, more, "");
        pair.hear(false, &refer);
    }
    assert_eq!(pair.said, ["<400", "<400", "<400"]);
    assert!(pair.callee_told.is_empty());
}

#[test]
fn abilities_are_told_and_what_is_unknown_is_not_allowed() {
    let mut pair = Pair::confirmed(true);
    for (sequence, (method, status)) in (1_000_000..).zip([
        ("OPTIONS", "<200"),
        ("NOTIFY", "<200"),
        ("UPDATE", "<200"),
        ("PRACK", "<405"),
        ("DANCE", "<405"),
    ]) {
        let request = in_dialog(&pair, method, sequence, "", "");
        pair.hear(false, &request);
        assert_eq!(pair.said.pop().unwrap(), status);
    }
    // One that comes again is answered the same, and one out of order is refused.
    let again = in_dialog(&pair, "OPTIONS", 1_000_000, "", "");
    pair.hear(false, &again);
    let old = in_dialog(&pair, "OPTIONS", 999_999, "", "");
    pair.hear(false, &old);
    assert_eq!(pair.said, ["<200", "<500"]);
}

#[test]
fn a_lost_channel_ends_the_call() {
    let mut pair = Pair::confirmed(true);
    pair.caller(Leg::lost);
    pair.callee(Leg::lost);
    assert!(pair.said.is_empty());
    assert_eq!((pair.caller_end(), pair.callee_end()), (Some(End::Lost), Some(End::Lost)));
    assert!(is_done(&pair.caller_told) && is_done(&pair.callee_told));
    pair.forget();
    pair.caller(Leg::lost);
    assert!(pair.caller_told.is_empty(), "it is lost once");
}

#[test]
fn who_says_to_be_somebody_else_is_forbidden_and_what_cannot_be_read_is_refused() {
    let invite = |change: &dyn Fn(String) -> String| {
        let offer = description(0, true);
        let (_, actions) =
            Leg::call(Default::default(), ends(ALICE, BOB, true), [1; 32], Some(&offer)).unwrap();
        let [Action::Send(bytes)] = &actions[..] else { panic!("{actions:?}") };
        let text = change(String::from_utf8(bytes.to_vec()).unwrap());
        let user = ALICE.to_hex();
        let rung = Leg::ring(
            Default::default(),
            ends(BOB, ALICE, true),
            [2; 32],
            &parse(&Bytes::from(text)),
            Some(&user),
        );
        rung.err().map(|refused| word(&parse(&refused.response.unwrap())))
    };
    assert_eq!(invite(&|text| text), None);
    assert_eq!(
        invite(&|text| text.replace(&format!("sip:{ALICE}"), &format!("sip:{BOB}"))).as_deref(),
        Some("403")
    );
    assert_eq!(invite(&|text| text.replace("v=0", "v=9")).as_deref(), Some("488"));
    assert_eq!(invite(&|text| text.replace("application/sdp", "text/plain")).as_deref(), Some("405"));
    assert_eq!(
        invite(&|text| text.replace("Subject:", "Require: 100rel\r\nSubject:")).as_deref(),
        Some("405")
    );
    assert_eq!(invite(&|text| text.replace("Contact:", "X:")).as_deref(), Some("400"));
    assert_eq!(
        invite(&|text| text
            .replace("@10.0.0.1>", "@10.0.0.1>;tag=x")
            .replace("@10.0.0.2>", "@10.0.0.2>;tag=x"))
        .as_deref(),
        Some("481")
    );
}

#[test]
fn a_call_may_take_the_place_of_another() {
    let mut pair = Pair::silent(true);
    let (_, bytes) = pair.wire_take();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let text = text.replace("Subject:", "Replaces: id@x;to-tag=a;from-tag=b\r\nSubject:");
    pair.hear(false, &parse(&Bytes::from(text)));
    let expected = Replaces { call_id: "id@x".into(), local_tag: "a".into(), remote_tag: "b".into() };
    assert_eq!(pair.replaces, Some(expected));
    assert_eq!(pair.callee.unwrap().shown_name(), "Alice");
}

#[test]
fn a_call_without_an_offer_is_offered_in_the_answer_and_answered_in_the_acknowledgement() {
    let (mut caller, actions) = Leg::call(Default::default(), ends(ALICE, BOB, true), [1; 32], None).unwrap();
    let [Action::Send(invite)] = &actions[..] else { panic!("{actions:?}") };
    let rung = Leg::ring(Default::default(), ends(BOB, ALICE, true), [2; 32], &parse(invite), None);
    let (mut callee, offer, ..) = rung.unwrap();
    assert_eq!(offer, None);
    let actions = callee.answer(Default::default(), &description(0, true)).unwrap();
    let Some(Action::Send(ok)) = actions.first() else { panic!("{actions:?}") };
    let told = caller.received(Default::default(), &parse(ok));
    assert!(told.iter().any(|it| matches!(it, Action::Answered(Some(_)))));
    let Some(Action::Send(ack)) = told.first() else { panic!("{told:?}") };
    let head = String::from_utf8(ack.to_vec()).unwrap().replace("Content-Length: 0\r\n\r\n", "");
    let body = String::from_utf8(description(1, true).write()).unwrap();
    let text = format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let told = callee.received(Default::default(), &parse(&Bytes::from(text)));
    let answer: Option<Description> = told.into_iter().find_map(|it| match it {
        Action::Acknowledged(answer) => answer,
        _ => None,
    });
    assert_eq!(answer.unwrap().origin.version, 1);
}

#[test]
fn a_server_that_wants_to_know_who_calls_is_told() {
    let mut pair = Pair::silent(false);
    let (_, invite) = pair.wire_take();
    let from = "10.0.0.9:5060".parse().unwrap();
    let challenge = crate::sip::response::respond(
        &parse(&invite),
        "407 Proxy Authentication Required",
        Some("s"),
        from,
        "",
        None,
    );
    pair.hear(true, &parse(&Bytes::from(challenge.unwrap())));
    assert!(matches!(pair.caller_told[..], [Action::Challenged(_)]));
    pair.caller(|leg, now| leg.authorize(now, "Proxy-Authorization: Digest x\r\n").unwrap());
    assert_eq!(pair.said, [">INVITE", ">ACK", ">INVITE"]);
    assert_eq!(pair.caller_end(), None);
}

#[test]
fn a_call_whose_challenge_is_not_answered_can_be_given_up() {
    let mut pair = Pair::silent(true);
    let (_, invite) = pair.wire_take();
    let from = "10.0.0.9:5060".parse().unwrap();
    let status = "401 Unauthorized";
    let challenge = crate::sip::response::respond(&parse(&invite), status, Some("s"), from, "", None);
    pair.hear(true, &parse(&Bytes::from(challenge.unwrap())));
    pair.caller(Leg::hang_up);
    assert_eq!(pair.said, [">INVITE", ">ACK"]);
    assert_eq!(pair.caller_end(), Some(End::Cancelled));
    pair.pass(SECOND);
    assert!(is_done(&pair.caller_told));
}
