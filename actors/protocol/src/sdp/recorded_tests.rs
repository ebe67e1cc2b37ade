//! Descriptions that daemons sent, read and written again.

use super::*;
use crate::testing::{DAEMONS, recorded_lines};

/// A recorded message of a call.
#[derive(serde::Deserialize)]
pub(super) struct Recorded {
    text: String,
}

/// The bodies of all recorded descriptions.
pub(super) fn bodies(daemon: &str) -> Vec<String> {
    let messages: Vec<Recorded> = recorded_lines(&format!("{daemon}/calls.jsonl.gz"));
    let body = |message: Recorded| {
        let (head, body) = message.text.split_once("\r\n\r\n")?;
        head.contains("application/sdp").then(|| body.to_owned())
    };
    messages.into_iter().filter_map(body).collect()
}

fn local(theirs: &Media) -> LocalMedia {
    let codecs = match theirs.kind {
        MediaKind::Audio => Codec::USUAL_AUDIO.to_vec(),
        _ => Codec::USUAL_VIDEO.to_vec(),
    };
    let kind = theirs.kind.clone();
    LocalMedia {
        stream: LocalStream { kind, codecs, enabled: theirs.is_enabled(), muted: false, held: false },
        port: theirs.port,
        rtcp_port: theirs.rtcp.unwrap().0,
        key: theirs.crypto.as_ref().map(|crypto| crypto.key.clone()),
        candidates: theirs.candidates.iter().map(|it| (it.component(), it.clone())).collect(),
    }
}

#[test]
fn recorded_descriptions_are_written_byte_for_byte_as_they_came() {
    for daemon in DAEMONS {
        let bodies = bodies(daemon);
        assert!(bodies.len() >= 8, "{daemon}");
        for body in bodies {
            let read = Description::read(body.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(read.write()).unwrap(), body, "{daemon}");
        }
    }
}

#[test]
fn our_offers_and_answers_are_those_of_daemons_with_the_same_materials() {
    for daemon in DAEMONS {
        for pair in bodies(daemon).chunks(2) {
            let offered = Description::read(pair[0].as_bytes()).unwrap();
            let media: Vec<_> = offered.media.iter().map(local).collect();
            let address = offered.address.unwrap();
            let ours = offer(offered.origin.clone(), &offered.name, offered.ice.clone(), address, &media);
            assert_eq!(String::from_utf8(ours.write()).unwrap(), pair[0], "{daemon}");

            let Some(second) = pair.get(1) else { continue };
            let theirs = Description::read(second.as_bytes()).unwrap();
            if offered.origin.session > theirs.origin.session + 5 || offered.media.len() != theirs.media.len()
            {
                continue;
            }
            let media: Vec<_> = theirs.media.iter().map(local).collect();
            let (address, name) = (theirs.address.unwrap(), &theirs.name);
            let ours = answer(&offered, theirs.origin.clone(), name, theirs.ice.clone(), address, &media);
            assert_eq!(String::from_utf8(ours.unwrap().write()).unwrap(), *second, "{daemon}");
        }
    }
}

#[test]
fn a_recorded_call_with_pictures_agrees_on_both_streams() {
    let bodies = bodies("newest");
    let at = bodies.iter().position(|body| body.contains("m=video")).unwrap();
    let read = |at: usize| Description::read(bodies[at].as_bytes()).unwrap();
    let (offered, answered) = (read(at), read(at + 1));
    let caller = agreed(&offered, &answered, true);
    let callee = agreed(&answered, &offered, false);
    let codecs = |side: &[Option<Agreed>]| side.iter().flatten().map(|it| it.codec).collect::<Vec<_>>();
    assert_eq!(codecs(&caller), [Codec::Opus, Codec::H264]);
    assert_eq!(codecs(&callee), codecs(&caller));
    for (one, other) in caller.iter().flatten().zip(callee.iter().flatten()) {
        assert_eq!(one.encrypt, other.decrypt);
        assert_eq!(one.decrypt, other.encrypt);
        assert_eq!(one.send_payload, other.receive_payload);
        assert_eq!(one.direction, Direction::Both);
    }
    assert_eq!(offered.candidates(1, Component::Rtcp).count(), 3);
    assert_eq!(carrier(&offered, &answered, None, false), Ok(Carrier::NewIce(answered.ice.unwrap())));
}
