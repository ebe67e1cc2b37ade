//! Calls that daemons made, played against legs: each side in turn is ours.

use std::collections::BTreeMap;

use bytes::Bytes;
use ezk_sip_types::Name;

use super::played::*;
use super::*;
use crate::sip::fields::parameter;
use crate::sip::stream::SipMessage;
use crate::testing::{DAEMONS, recorded_lines};
use crate::time::Moment;

/// A recorded message of a call.
#[derive(Clone, serde::Deserialize)]
pub(super) struct Recorded {
    pub(super) from: String,
    pub(super) text: String,
}

pub(super) fn recorded(daemon: &str) -> Vec<Recorded> {
    recorded_lines(&format!("{daemon}/calls.jsonl.gz"))
}

fn parsed(message: &Recorded) -> SipMessage {
    parse(&Bytes::from(message.text.clone()))
}

/// The dialogs of a recording.
fn dialogs(daemon: &str) -> Vec<Vec<Recorded>> {
    let mut dialogs: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for message in recorded(daemon) {
        let call_id = parsed(&message).header(&Name::CALL_ID).unwrap().to_owned();
        dialogs.entry(call_id).or_default().push(message);
    }
    dialogs.into_values().collect()
}

/// What is left of a header when tags and branches are taken away.
fn steady(message: &SipMessage, name: &Name) -> Option<String> {
    let value = message.header(name)?;
    Some(value.split(";tag=").next()?.to_owned())
}

#[test]
fn recorded_calls_ring_and_end_here_as_they_did_there() {
    for daemon in DAEMONS {
        let mut hung_up = 0;
        for dialog in dialogs(daemon) {
            let caller = &dialog[0].from;
            let invite = parsed(&dialog[0]);
            let now = Moment::default();
            let rung = Leg::ring(now, ends(BOB, ALICE, true), [2; 32], &invite, None);
            let (mut leg, offer, _, actions) = rung.unwrap();
            assert!(offer.unwrap().ice.is_some());
            assert!(leg.abilities().messages() && leg.abilities().more_than_two_streams());
            let said: Vec<_> = actions.iter().filter_map(sent).map(|it| word(&it)).collect();
            assert_eq!(said, ["100", "180"]);
            let tag =
                parameter(sent(&actions[1]).unwrap().header(&Name::TO).unwrap(), "tag").unwrap().to_owned();
            let theirs = tag_of_callee(&dialog);
            let declined = dialog
                .iter()
                .any(|it| it.text.starts_with("SIP/2.0 603") || it.text.starts_with("SIP/2.0 486"));
            let mut told = Vec::new();
            if declined {
                told.extend(leg.refuse(now, Refusal::Decline));
            } else {
                told.extend(leg.answer(now, &description(1, true)).unwrap());
            }
            for message in
                dialog[1..].iter().filter(|it| it.from == *caller && !it.text.starts_with("SIP/2.0"))
            {
                // The callee's tag is ours now.
                let text = message.text.replace(&theirs, &tag);
                let message = parse(&Bytes::from(text));
                assert!(leg.is_for(&message));
                let actions = leg.received(now, &message);
                if actions.iter().any(|it| matches!(it, Action::Offered(_))) {
                    told.extend(leg.answer(now, &description(2, false)).unwrap());
                }
                for response in actions.iter().filter_map(sent) {
                    assert_eq!(word(&response), "200", "{}", message.header(&Name::CSEQ).unwrap());
                }
                told.extend(actions);
            }
            let recorded_bye = dialog.iter().any(|it| it.from == *caller && it.text.starts_with("BYE"));
            if recorded_bye {
                hung_up += 1;
                assert_eq!(end_in(&told), Some(End::PeerHungUp));
                assert!(told.iter().any(|it| matches!(it, Action::Acknowledged(None))));
            } else if declined {
                assert_eq!(end_in(&told), Some(End::Refused));
            }
        }
        assert!(hung_up >= 2, "{daemon}");
    }
}

fn sent(action: &Action) -> Option<SipMessage> {
    match action {
        Action::Send(bytes) => Some(parse(bytes)),
        _ => None,
    }
}

fn tag_of_callee(dialog: &[Recorded]) -> String {
    let ringing = dialog.iter().find(|it| it.text.starts_with("SIP/2.0 180")).unwrap();
    parameter(parsed(ringing).header(&Name::TO).unwrap(), "tag").unwrap().to_owned()
}

#[test]
fn our_calls_have_the_form_of_recorded_ones() {
    let recorded = recorded("newest");
    let theirs = parsed(&recorded[0]);
    let offer = crate::sdp::Description::read(&theirs.body).unwrap();
    let ends = Ends::of_devices(
        "Alice New",
        "b08c67bcb7b83cdffbf33f0f4a68c82095c9790c".parse().unwrap(),
        "d316ec16784e52ab724d4e3c37029ee532b42d80".parse().unwrap(),
        "11eac7c8522415e5294f255daa4284711bd28268",
        "10.77.0.3:43498".parse().unwrap(),
        "10.77.0.4:43535".parse().unwrap(),
    );
    let (mut leg, actions) = Leg::call(Moment::default(), ends, [3; 32], Some(&offer)).unwrap();
    let ours = sent(&actions[0]).unwrap();
    assert_eq!(ours.body, theirs.body);
    let first_line = |bytes: &str| bytes.lines().next().unwrap().to_owned();
    let Action::Send(bytes) = &actions[0] else { panic!("{actions:?}") };
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(first_line(&text), first_line(&recorded[0].text));
    for (name, _) in theirs.headers.iter() {
        if ![Name::VIA, Name::CALL_ID, Name::CSEQ, Name::USER_AGENT, Name::CONTENT_LENGTH].contains(name) {
            assert_eq!(steady(&ours, name), steady(&theirs, name), "{name:?}");
        }
    }

    // The recorded answers are those to our call, once they have its ids.
    let ids = |text: &str| {
        let (ours, theirs) = (&ours, &theirs);
        let mut text = text.to_owned();
        for (name, part) in [
            (Name::CALL_ID, None),
            (Name::CSEQ, None),
            (Name::FROM, Some("tag")),
            (Name::VIA, Some("branch")),
        ] {
            let value = |message: &SipMessage| {
                let value = message.header(&name).unwrap();
                part.map_or(value, |part| parameter(value, part).unwrap()).to_owned()
            };
            text = text.replace(&value(theirs), &value(ours));
        }
        parse(&Bytes::from(text))
    };
    let now = Moment::default();
    assert!(matches!(leg.received(now, &ids(&recorded[1].text))[..], [Action::Trying]));
    assert!(matches!(leg.received(now, &ids(&recorded[2].text))[..], [Action::Ringing]));
    let told = leg.received(now, &ids(&recorded[3].text));
    let [Action::Send(ack), Action::Answered(Some(answer))] = &told[..] else { panic!("{told:?}") };
    assert!(answer.ice.is_some());
    let ack = String::from_utf8(ack.to_vec()).unwrap();
    assert_eq!(first_line(&ack), first_line(&recorded[4].text));
    let agreed = crate::sdp::agreed(&offer, answer, true);
    assert!(agreed[0].is_some());
}
