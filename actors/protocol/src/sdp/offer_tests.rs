//! Offers, answers, and what comes of them.

use std::net::IpAddr;

use super::*;
use crate::link::ice_text::{CandidateKind, Credentials};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn ice() -> Option<Credentials> {
    Some(Credentials { ufrag: "fragment".into(), password: "a password of the session".into() })
}

fn origin(version: u64) -> Origin {
    Origin::at("vm", 1_795_343_781, version, HERE)
}

fn candidate(port: u16) -> Candidate {
    let kind = CandidateKind::Host;
    Candidate { foundation: "H1".into(), number: 0, priority: 1, address: HERE, port, kind }
}

pub(super) fn audio() -> LocalMedia {
    stream(MediaKind::Audio, &Codec::USUAL_AUDIO, 4000)
}

pub(super) fn video() -> LocalMedia {
    stream(MediaKind::Video, &Codec::USUAL_VIDEO, 5000)
}

fn stream(kind: MediaKind, codecs: &[Codec], port: u16) -> LocalMedia {
    LocalMedia {
        stream: LocalStream { kind, codecs: codecs.to_vec(), enabled: true, muted: false, held: false },
        port,
        rtcp_port: port + 1,
        key: Some(SrtpKey::new([7; 30])),
        candidates: vec![(Component::Rtp, candidate(port)), (Component::Rtcp, candidate(port + 1))],
    }
}

pub(super) fn offered(media: &[LocalMedia]) -> Description {
    offer(origin(0), "Call ID 1", ice(), HERE, media)
}

fn answered(to: &Description, media: &[LocalMedia]) -> Result<Description, NotAgreed> {
    answer(to, origin(1), "Call ID 2", ice(), HERE, media)
}

fn codecs(agreed: &[Option<Agreed>]) -> Vec<Option<Codec>> {
    agreed.iter().map(|it| it.as_ref().map(|it| it.codec)).collect()
}

#[test]
fn an_answer_keeps_the_offerers_order_and_numbers_and_takes_one_codec() {
    let mut camera = video();
    camera.stream.codecs = vec![Codec::H265, Codec::H264, Codec::Vp8];
    let offer = offered(&[audio(), camera]);
    let names: Vec<_> = offer.media[1].formats.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["96", "97", "98"]);
    let mut ours = video();
    ours.stream.codecs = vec![Codec::Vp8, Codec::H264];
    let answer = answered(&offer, &[audio(), ours]).unwrap();
    assert_eq!(answer.media[1].formats, [Codec::H264.format(97)]);
    let agreed = agreed(&offer, &answer, true);
    assert_eq!(codecs(&agreed), [Some(Codec::Opus), Some(Codec::H264)]);
    let video = agreed[1].as_ref().unwrap();
    assert_eq!((video.send_payload, video.receive_payload), (97, 97));
    assert_eq!(agreed[0].as_ref().unwrap().keys, Some((101, 101)));
}

#[test]
fn of_several_codecs_in_an_answer_the_first_is_used() {
    let offer = offered(&[video()]);
    let mut answer = answered(&offer, &[video()]).unwrap();
    answer.media[0].formats = vec![Codec::Vp8.format(97), Codec::H264.format(96)];
    assert_eq!(codecs(&agreed(&offer, &answer, true)), [Some(Codec::Vp8)]);
}

#[test]
fn candidates_are_numbered_over_all_streams_in_use() {
    let mut gone = video();
    gone.stream.enabled = false;
    let offer = offered(&[audio(), gone, video()]);
    let numbers = |at: usize| offer.media[at].candidates.iter().map(|it| it.number).collect::<Vec<_>>();
    assert_eq!((numbers(0), numbers(1), numbers(2)), (vec![1, 2], vec![], vec![3, 4]));
    let rtcp = offer.candidates(2, Component::Rtcp).next().unwrap();
    assert_eq!(rtcp.port, 5001);
}

#[test]
fn what_is_muted_or_held_is_said_of_pictures_only() {
    for (muted, held, expected) in [
        (false, false, Direction::Both),
        (true, false, Direction::Receive),
        (false, true, Direction::Send),
        (true, true, Direction::Neither),
    ] {
        let mut media = [audio(), video()];
        for local in &mut media {
            (local.stream.muted, local.stream.held) = (muted, held);
        }
        let offer = offered(&media);
        assert_eq!(offer.media[0].direction, Some(Direction::Both));
        assert_eq!(offer.media[1].direction, Some(expected));
        let answer = answered(&offer, &[audio(), video()]).unwrap();
        let callee = agreed(&answer, &offer, false);
        let video = callee[1].as_ref().unwrap();
        assert_eq!((video.remote_muted, video.remote_held), (muted, held));
        assert_eq!(video.direction, expected.reversed());
    }
}

#[test]
fn a_removed_stream_keeps_its_line_without_a_port() {
    let mut gone = video();
    gone.stream.enabled = false;
    let offer = offered(&[audio(), gone]);
    assert_eq!((offer.media.len(), offer.media[1].port), (2, 0));
    let answer = answered(&offer, &[audio(), video()]).unwrap();
    assert_eq!((answer.media.len(), answer.media[1].port), (2, 0));
    assert_eq!(codecs(&agreed(&answer, &offer, false)), [Some(Codec::Opus), None]);
}

#[test]
fn streams_of_unknown_kind_without_key_or_in_the_clear_are_refused_each_in_its_place() {
    let mut offer = offered(&[audio(), video(), video(), video(), video()]);
    offer.media[0].kind = MediaKind::Other("application".into());
    offer.media[1].crypto = None;
    offer.media[2].profile = Profile::Avp;
    offer.media[3].formats = vec![Codec::Pcma.format(8)];
    let media = [audio(), video(), video(), video(), video()];
    let answer = answered(&offer, &media).unwrap();
    let ports: Vec<_> = answer.media.iter().map(|media| media.port).collect();
    assert_eq!(ports, [0, 0, 0, 0, 5000]);
    let text = String::from_utf8(answer.write()).unwrap();
    assert!(text.contains("m=application 0 RTP/SAVP 104\r\n"), "{text}");
    // More lines than we have streams for are refused, too.
    assert_eq!(answered(&offered(&[audio(), video()]), &[audio()]).unwrap().media[1].port, 0);
}

#[test]
fn an_offer_of_which_nothing_can_be_taken_is_not_answered() {
    let mut offer = offered(&[audio()]);
    offer.media[0].crypto = None;
    assert_eq!(answered(&offer, &[audio()]), Err(NotAgreed::NothingInCommon));
    // One in which nothing is asked for is.
    let mut gone = audio();
    gone.stream.enabled = false;
    assert!(answered(&offered(&[gone]), &[audio()]).is_ok());
}

#[test]
fn lines_of_an_answer_that_were_not_offered_are_not_in_use() {
    let offer = offered(&[audio(), video()]);
    let mut answer = answered(&offer, &[audio(), video()]).unwrap();
    answer.media.swap(0, 1);
    answer.media.extend(answer.media.clone());
    assert_eq!(codecs(&agreed(&offer, &answer, true)), [None, None]);
}

#[test]
fn an_offer_without_ice_keeps_how_media_are_carried() {
    let with = offered(&[audio()]);
    let without = offer(origin(1), "x", None, HERE, &[audio()]);
    assert!(without.media[0].candidates.is_empty());
    let answer = answered(&without, &[audio()]).unwrap();
    assert!(answer.ice.is_none() && answer.media[0].candidates.is_empty());
    let running = Carrier::NewIce(ice().unwrap());
    assert_eq!(carrier(&without, &answer, Some(&running), false), Ok(Carrier::Keep));
    assert_eq!(carrier(&with, &answer, Some(&running), false), Ok(Carrier::Keep));
    assert_eq!(carrier(&with, &answer, None, false), Err(NotAgreed::NoIce));
    assert_eq!(carrier(&with, &answer, None, true), Ok(Carrier::Plain));
    assert_eq!(carrier(&without, &answer, Some(&Carrier::Plain), true), Ok(Carrier::Plain));
}

#[test]
fn plain_media_go_to_the_addresses_that_are_said() {
    let text = b"v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n\
        m=audio 6000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n\
        m=audio 6002 RTP/AVP 8\r\nc=IN IP6 ::1\r\na=rtcp:7000 IN IP4 10.0.0.3\r\n";
    let theirs = Description::read(text).unwrap();
    let mut ours = audio();
    ours.key = None;
    ours.stream.codecs = vec![Codec::Pcma, Codec::Pcmu];
    let answer = answered(&theirs, &[ours.clone(), ours]).unwrap();
    let agreed = agreed(&answer, &theirs, false);
    let [Some(first), Some(second)] = &agreed[..] else { panic!("{agreed:?}") };
    assert_eq!((first.codec, first.send_payload), (Codec::Pcmu, 0));
    assert_eq!(first.rtp, Some("10.0.0.2:6000".parse().unwrap()));
    assert_eq!(first.rtcp, Some("10.0.0.2:6001".parse().unwrap()));
    assert_eq!(second.rtp, Some("[::1]:6002".parse().unwrap()));
    assert_eq!(second.rtcp, Some("10.0.0.3:7000".parse().unwrap()));
    assert!(first.encrypt.is_none());
}
