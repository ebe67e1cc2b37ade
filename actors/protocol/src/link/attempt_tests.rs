//! Attempts to connect, in virtual time.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::link::ice_text::{Candidate, CandidateKind, Credentials};

const NOW: Moment = Moment(Duration::from_secs(100));
const PEER: DeviceId = DeviceId([7; 32]);
const ID: RequestId = RequestId(42);

fn text() -> IceText {
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let candidate = Candidate::passive(CandidateKind::Host, address, address, 4000, 0);
    IceText::new(Credentials::from_random(&[1; 24]), vec![candidate])
}

fn message(is_answer: bool, ice_text: &str) -> PeerRequest {
    PeerRequest { id: ID, ice_text: ice_text.into(), is_answer, connection_type: String::new() }
}

fn requester() -> Attempt {
    Attempt::request(PEER, ID, "sync".into(), KeyKind::choose(None), NOW)
}

fn responder() -> Attempt {
    Attempt::respond(PEER, message(false, &text().to_string()), KeyKind::Legacy)
}

fn steps(attempt: &mut Attempt) -> Vec<Step> {
    std::iter::from_fn(|| attempt.poll()).collect()
}

/// What the attempt does when it is told all of this.
fn run(attempt: &mut Attempt, events: impl IntoIterator<Item = Event>) -> Vec<Step> {
    let mut all = steps(attempt);
    for event in events {
        attempt.handle(NOW, event);
        all.extend(steps(attempt));
    }
    all
}

fn timed_out(attempt: &mut Attempt, after: Duration) -> Vec<Step> {
    while attempt.letter.as_ref().is_some_and(|letter| letter.next.is_some()) {
        attempt.handle_timeout(attempt.deadline().unwrap());
        assert!(matches!(steps(attempt)[..], [Step::Put { .. }]));
    }
    assert_eq!(attempt.deadline(), Some(NOW.plus(after)));
    attempt.handle_timeout(NOW.plus(after - Duration::from_millis(1)));
    assert_eq!(steps(attempt), []);
    attempt.handle_timeout(NOW.plus(after));
    assert_eq!(attempt.deadline(), None);
    steps(attempt)
}

#[test]
fn a_requester_goes_from_gathering_to_ready_as_tls_server() {
    let mut attempt = requester();
    let answer = message(true, &text().to_string());
    let events = [Event::CandidatesReady(text()), Event::Answer(answer), Event::Nominated, Event::TlsDone];
    let request = PeerRequest { connection_type: "sync".into(), ..message(false, &text().to_string()) };
    let expected = [
        Step::Gather { controlling: false },
        Step::Put { request, kinds: &[KeyKind::Current, KeyKind::Legacy] },
        Step::StartChecks(text()),
        Step::StartTls(Role::Requester),
        Step::Ready(Role::Requester),
    ];
    assert_eq!(run(&mut attempt, events), expected);
    assert_eq!(attempt.deadline(), None);
}

#[test]
fn a_responder_checks_at_once_and_becomes_tls_client() {
    let mut attempt = responder();
    let events = [
        Event::PolicyDecided(true),
        Event::CandidatesReady(text()),
        Event::PutFailed,
        Event::Nominated,
        Event::TlsDone,
    ];
    let expected = [
        Step::CheckPolicy,
        Step::Gather { controlling: true },
        Step::Put { request: message(true, &text().to_string()), kinds: &[KeyKind::Legacy] },
        Step::StartChecks(text()),
        Step::StartTls(Role::Responder),
        Step::Ready(Role::Responder),
    ];
    assert_eq!(run(&mut attempt, events), expected);
}

#[test]
fn a_refused_request_is_not_answered() {
    let expected = [Step::CheckPolicy, Step::Failed(AttemptError::Refused)];
    assert_eq!(run(&mut responder(), [Event::PolicyDecided(false)]), expected);
}

#[test]
fn a_requester_without_answer_gives_up_after_thirty_seconds() {
    let mut attempt = requester();
    run(&mut attempt, [Event::CandidatesReady(text())]);
    assert_eq!(timed_out(&mut attempt, ANSWER_TIMEOUT), [Step::Failed(AttemptError::NoAnswer)]);
}

#[test]
fn a_request_that_is_not_answered_is_put_again_three_times_under_its_id() {
    let mut attempt = requester();
    let put = run(&mut attempt, [Event::CandidatesReady(text())]).pop().unwrap();
    assert!(matches!(&put, Step::Put { request, .. } if request.id == ID && !request.is_answer));
    for seconds in [3, 9, 21] {
        let due = NOW.plus(Duration::from_secs(seconds));
        assert_eq!(attempt.deadline(), Some(due));
        attempt.handle_timeout(due);
        assert_eq!(steps(&mut attempt), std::slice::from_ref(&put));
    }
    assert_eq!(timed_out(&mut attempt, ANSWER_TIMEOUT), [Step::Failed(AttemptError::NoAnswer)]);
}

#[test]
fn an_answered_request_is_not_put_again() {
    let mut attempt = requester();
    run(&mut attempt, [Event::CandidatesReady(text()), Event::Answer(message(true, &text().to_string()))]);
    attempt.handle_timeout(NOW.plus(FIRST_REPEAT));
    assert_eq!(steps(&mut attempt), []);
    assert_eq!(attempt.deadline(), Some(NOW.plus(CHECK_TIMEOUT)));
}

#[test]
fn an_answer_is_put_again_until_a_path_works() {
    let mut attempt = responder();
    let done = run(&mut attempt, [Event::PolicyDecided(true), Event::CandidatesReady(text())]);
    let put = done.into_iter().find(|step| matches!(step, Step::Put { .. })).unwrap();
    attempt.handle_timeout(NOW.plus(FIRST_REPEAT));
    assert_eq!(steps(&mut attempt), [put]);
    run(&mut attempt, [Event::Nominated]);
    attempt.handle_timeout(NOW.plus(Duration::from_secs(9)));
    assert_eq!(steps(&mut attempt), []);
}

#[test]
fn a_request_fails_only_when_every_put_of_it_did() {
    let mut attempt = requester();
    run(&mut attempt, [Event::CandidatesReady(text())]);
    attempt.handle_timeout(NOW.plus(FIRST_REPEAT));
    steps(&mut attempt);
    assert_eq!(run(&mut attempt, [Event::PutFailed]), []);
    assert_eq!(run(&mut attempt, [Event::PutFailed]), [Step::Failed(AttemptError::Put)]);
}

#[test]
fn only_the_answer_waited_for_is_taken() {
    let mut attempt = requester();
    assert!(!attempt.awaits(PEER, ID), "the request is not put yet");
    run(&mut attempt, [Event::CandidatesReady(text())]);
    assert!(attempt.awaits(PEER, ID));
    assert!(!attempt.awaits(DeviceId([8; 32]), ID));
    assert!(!attempt.awaits(PEER, RequestId(43)));
    let other = PeerRequest { id: RequestId(43), ..message(true, &text().to_string()) };
    assert_eq!(run(&mut attempt, [Event::Answer(other)]), []);
    run(&mut attempt, [Event::Answer(message(true, &text().to_string()))]);
    assert!(!attempt.awaits(PEER, ID), "a second answer is dropped");
}

#[test]
fn a_useless_ice_text_fails_the_attempt() {
    let no_candidates = "abcdefgh\npasswordpassword\nnonsense\n";
    for (ice_text, error) in [
        ("", AttemptError::IceText(IceTextError::NoCredentials { what: "user fragment" })),
        (no_candidates, AttemptError::NoCandidates),
    ] {
        let mut ours = requester();
        let events = [Event::CandidatesReady(text()), Event::Answer(message(true, ice_text))];
        assert_eq!(run(&mut ours, events).last(), Some(&Step::Failed(error.clone())));
        let mut theirs = Attempt::respond(PEER, message(false, ice_text), KeyKind::Current);
        let done = run(&mut theirs, [Event::PolicyDecided(true), Event::CandidatesReady(text())]);
        assert!(matches!(&done[..], [_, _, Step::Put { .. }, Step::Failed(it)] if *it == error));
    }
}

#[test]
fn each_state_has_its_own_way_to_fail() {
    let ready = || Event::CandidatesReady(text());
    let answer = || Event::Answer(message(true, &text().to_string()));
    for (events, error) in [
        (vec![Event::GatherFailed], AttemptError::Gather),
        (vec![ready(), Event::PutFailed], AttemptError::Put),
        (vec![ready(), answer(), Event::ChecksFailed], AttemptError::Checks),
        (vec![ready(), answer(), Event::Nominated, Event::TlsFailed], AttemptError::Handshake),
    ] {
        assert_eq!(run(&mut requester(), events).last(), Some(&Step::Failed(error)));
    }
    for (events, after) in [
        (vec![], GATHER_TIMEOUT),
        (vec![ready(), answer()], CHECK_TIMEOUT),
        (vec![ready(), answer(), Event::Nominated], HANDSHAKE_TIMEOUT),
    ] {
        let mut attempt = requester();
        run(&mut attempt, events);
        let done = timed_out(&mut attempt, after);
        assert!(matches!(done[..], [Step::Failed(AttemptError::TimedOut(_))]));
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<bool>().prop_map(Event::PolicyDecided),
        Just(Event::CandidatesReady(text())),
        Just(Event::GatherFailed),
        Just(Event::PutFailed),
        Just(Event::Answer(message(true, &text().to_string()))),
        Just(Event::Nominated),
        Just(Event::ChecksFailed),
        Just(Event::TlsDone),
        Just(Event::TlsFailed),
    ]
}

proptest! {
    #[test]
    fn events_in_any_order_end_it_at_most_once(
        events in prop::collection::vec(event(), 0..20),
        ours in any::<bool>(),
    ) {
        let mut attempt = if ours { requester() } else { responder() };
        let all = run(&mut attempt, events);
        let ends = all.iter().position(|step| matches!(step, Step::Ready(_) | Step::Failed(_)));
        prop_assert!(ends.is_none_or(|index| index + 1 == all.len()));
    }
}
