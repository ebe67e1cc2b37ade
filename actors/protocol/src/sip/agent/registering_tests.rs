//! An account and its registrar.

use super::played::{CHALLENGE, Played, header};
use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_challenge_is_answered_and_the_account_registered() {
    let mut played = Played::connected(Transport::Tcp);
    let first = played.one_request("REGISTER");
    assert!(header(&first, "Contact").starts_with("<sip:alice@10.0.0.1:40000;transport=tcp>;expires=3600"));
    assert_eq!(header(&first, "Authorization"), "");
    played.answer(&first, "401 Unauthorized", CHALLENGE);
    let second = played.one_request("REGISTER");
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!((&*header(&first, "CSeq"), &*header(&second, "CSeq")), ("1 REGISTER", "2 REGISTER"));
    assert!(
        header(&second, "Authorization")
            .contains("realm=\"example.org\", nonce=\"abc\", uri=\"sip:example.org\"")
    );
    assert!(header(&second, "Authorization").contains("nc=00000001"));
    played.accept(&second, 600);
    let until = played.now.plus(secs(600));
    assert_eq!(played.done.last(), Some(&Action::Status(Registration::Registered { until })));
}

#[test]
fn the_strongest_of_several_challenges_is_answered_and_proxies_too() {
    let mut played = Played::connected(Transport::Tcp);
    let request = played.one_request("REGISTER");
    let sha =
        "WWW-Authenticate: Digest realm=\"example.org\", nonce=\"d\", algorithm=SHA-256, qop=\"auth\"\r\n";
    played.answer(&request, "401 Unauthorized", &format!("{CHALLENGE}{sha}"));
    let request = played.one_request("REGISTER");
    assert!(header(&request, "Authorization").contains("algorithm=SHA-256"));
    let proxy = "Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"e\"\r\n";
    played.answer(&request, "407 Proxy Authentication Required", proxy);
    let request = played.one_request("REGISTER");
    assert!(header(&request, "Authorization").contains("nc=00000002"));
    assert!(header(&request, "Proxy-Authorization").contains("realm=\"proxy\""));
}

#[test]
fn a_registration_is_renewed_before_it_ends_with_the_same_nonce() {
    let mut played = Played::connected(Transport::Tcp);
    let request = played.one_request("REGISTER");
    played.answer(&request, "401 Unauthorized", CHALLENGE);
    let request = played.one_request("REGISTER");
    played.accept(&request, 600);
    played.pass(490);
    assert!(played.sent().is_empty(), "signs of life are no messages");
    played.pass(50);
    let renewal = played.one_request("REGISTER");
    assert!(header(&renewal, "Authorization").contains("nc=00000002"));
    // The nonce has aged: that is no wrong password.
    played.answer(&renewal, "401 Unauthorized", &CHALLENGE.replace("abc", "new"));
    let renewal = played.one_request("REGISTER");
    assert!(header(&renewal, "Authorization").contains("nonce=\"new\""));
    // Nor if it says so once more.
    played.answer(&renewal, "401 Unauthorized", &CHALLENGE.replace("abc\"", "newer\", stale=true"));
    let renewal = played.one_request("REGISTER");
    played.accept(&renewal, 600);
    assert!(played.is_registered());
}

#[test]
fn a_wrong_password_is_tried_again_after_a_long_pause_only() {
    let mut played = Played::connected(Transport::Udp);
    let request = played.one_request("REGISTER");
    played.answer(&request, "401 Unauthorized", CHALLENGE);
    let request = played.one_request("REGISTER");
    played.answer(&request, "401 Unauthorized", &CHALLENGE.replace("abc", "other"));
    assert_eq!(played.last_failure(), (SipProblem::WrongPassword, LONGEST_PAUSE));
    played.done.clear();
    played.pass(LONGEST_PAUSE.as_secs() - 1);
    assert!(played.sent().iter().all(|it| it.line.request_method() != Some(&Method::REGISTER)));
}

#[test]
fn endless_challenges_come_to_an_end() {
    let mut played = Played::connected(Transport::Tcp);
    let mut rounds = 0;
    while let Some(request) = played.sent().pop() {
        rounds += 1;
        assert!(rounds < 20, "it goes on for ever");
        let stale = format!("abc{rounds}\", stale=true");
        played.answer(&request, "401 Unauthorized", &CHALLENGE.replace("abc\"", &stale));
    }
    assert_eq!(rounds, MAX_CHALLENGES + 1);
    assert_eq!(played.last_failure().0, SipProblem::EndlessChallenges);
}

#[test]
fn a_challenge_that_is_none_ends_the_attempt() {
    for more in ["", "WWW-Authenticate: Basic realm=\"a\"\r\n", "WWW-Authenticate: \"\r\n"] {
        let mut played = Played::connected(Transport::Tcp);
        let request = played.one_request("REGISTER");
        played.answer(&request, "401 Unauthorized", more);
        assert_eq!(played.last_failure().0, SipProblem::NoUsableChallenge);
    }
}

#[test]
fn a_longer_time_is_asked_for_where_the_server_wants_it_within_reason() {
    let mut played = Played::connected(Transport::Tcp);
    let request = played.one_request("REGISTER");
    played.answer(&request, "423 Interval Too Brief", "Min-Expires: 7200\r\n");
    let request = played.one_request("REGISTER");
    assert_eq!(header(&request, "Expires"), "7200");
    // The same again, or nonsense, is not asked for.
    played.answer(&request, "423 Interval Too Brief", "Min-Expires: 7200\r\n");
    assert!(matches!(played.last_failure().0, SipProblem::Refused { status: 423, .. }));
    for least in ["99999999999999999999", "99999999", "x", ""] {
        let mut played = Played::connected(Transport::Tcp);
        let request = played.one_request("REGISTER");
        played.answer(&request, "423 Interval Too Brief", &format!("Min-Expires: {least}\r\n"));
        assert!(played.sent().is_empty());
    }
}

#[test]
fn pauses_after_failures_double_up_to_slow_retries() {
    let mut played = Played::connected(Transport::Tcp);
    let mut longest = Duration::ZERO;
    for attempt in 0..14 {
        let request = played.one_request("REGISTER");
        played.answer(&request, "500 Server Internal Error", "");
        let (problem, pause) = played.last_failure();
        assert_eq!(problem, SipProblem::Refused { status: 500, reason: "Server Internal Error".to_owned() });
        let full = FIRST_PAUSE.saturating_mul(1 << attempt).min(LONGEST_PAUSE);
        assert!(pause >= full / 2 && pause <= full, "{attempt}: {pause:?}");
        longest = longest.max(pause);
        played.done.clear();
        played.now = played.now.plus(pause);
        played.act(SipAgent::tick);
        played.done.retain(|it| !matches!(it, Action::Send(bytes) if &bytes[..] == b"\r\n\r\n"));
    }
    assert!(longest > LONGEST_PAUSE / 2);
}

#[test]
fn a_server_that_asks_for_patience_gets_it_up_to_a_limit() {
    for (header, least, most) in [("120", 120, 120), ("4294967296", 3600, 3600), ("x", 1, 2), ("-5", 1, 2)] {
        let mut played = Played::connected(Transport::Tcp);
        let request = played.one_request("REGISTER");
        played.answer(&request, "503 Service Unavailable", &format!("Retry-After: {header}\r\n"));
        let pause = played.last_failure().1;
        assert!(pause >= secs(least) && pause <= secs(most), "{header}: {pause:?}");
    }
}

#[test]
fn a_silent_server_is_asked_again_over_udp_and_then_a_new_path_is_opened() {
    let mut played = Played::connected(Transport::Udp);
    played.pass(31);
    // At 0, 0.5, 1.5, 3.5, 7.5, 11.5 … 27.5 seconds (timer E).
    assert_eq!(played.sent().len(), 10);
    played.pass(1);
    assert!(played.done.contains(&Action::Disconnect));
    assert_eq!(played.last_failure().0, SipProblem::Silent);
    played.done.clear();
    played.pass(2);
    assert!(played.done.contains(&Action::Connect));
}

#[test]
fn over_connections_nothing_is_repeated() {
    let mut played = Played::connected(Transport::Tls);
    played.pass(31);
    assert_eq!(played.sent().len(), 1);
    played.pass(1);
    assert_eq!(played.last_failure().0, SipProblem::Silent);
}

#[test]
fn the_address_that_the_server_sees_becomes_the_contact_and_the_other_is_taken_back() {
    let mut played = Played::connected(Transport::Udp);
    let request = played.one_request("REGISTER");
    let seen = "198.51.100.7:61000".parse().unwrap();
    let contact = format!("Contact: <sip:alice@{}>;expires=3600\r\n", super::played::LOCAL);
    let answer = super::super::response::response(&request, "200 OK", "s", seen, &contact).unwrap();
    played.hear(&String::from_utf8(answer).unwrap());
    let request = played.one_request("REGISTER");
    let contacts: Vec<_> =
        request.headers.get_raw(&ezk_sip_types::Name::CONTACT).map(|it| it.as_str().to_owned()).collect();
    assert_eq!(
        contacts,
        ["<sip:alice@198.51.100.7:61000>;expires=3600", "<sip:alice@10.0.0.1:40000>;expires=0"]
    );
    assert!(!played.is_registered());
}

#[test]
fn a_server_that_sees_us_elsewhere_each_time_is_followed_a_few_times_only() {
    let mut played = Played::connected(Transport::Udp);
    let mut requests = 0;
    while let Some(request) = played.sent().pop() {
        requests += 1;
        assert!(requests < 20, "it goes on for ever");
        let seen = format!("198.51.100.7:{}", 10_000 + requests).parse().unwrap();
        let contact = "Contact: <sip:a@b>;expires=60\r\n";
        let answer = super::super::response::response(&request, "200 OK", "s", seen, contact).unwrap();
        played.hear(&String::from_utf8(answer).unwrap());
    }
    assert_eq!(requests, usize::from(MAX_CONTACT_CHANGES) + 1);
    assert!(played.is_registered());
}

#[test]
fn an_answer_that_registers_nothing_is_no_registration() {
    for more in ["", "Contact: <sip:alice@10.0.0.1:40000>;expires=0\r\n", "Expires: 60\r\n"] {
        let mut played = Played::connected(Transport::Tcp);
        let request = played.one_request("REGISTER");
        played.answer(&request, "200 OK", more);
        assert_eq!(played.last_failure().0, SipProblem::NotRegistered, "{more}");
    }
}

#[test]
fn absurd_times_neither_flood_the_server_nor_overflow() {
    for (granted, most) in [("1", 60), ("18446744073709551615", 1), ("99999999999999999999999", 2)] {
        let mut played = Played::connected(Transport::Tcp);
        let request = played.one_request("REGISTER");
        let contact = format!("Contact: <sip:alice@10.0.0.1:40000;transport=tcp>;expires={granted}\r\n");
        played.answer(&request, "200 OK", &contact);
        let mut requests = 0;
        for _ in 0..100 {
            played.pass(1);
            for request in played.sent() {
                requests += 1;
                played.answer(&request, "200 OK", &contact);
            }
        }
        assert!(played.is_registered() && requests <= most, "{granted}: {requests}");
    }
}

#[test]
fn a_lost_connection_is_opened_anew_soon_and_the_former_contact_taken_back() {
    let mut played = Played::registered(Transport::Tcp);
    played.act(|agent, now| agent.disconnected(now, "end of file"));
    let (problem, pause) = played.last_failure();
    assert_eq!(problem, SipProblem::Unreachable("end of file".to_owned()));
    assert!(pause <= FIRST_PAUSE);
    played.pass(2);
    assert!(played.done.contains(&Action::Connect));
    played.act(|agent, now| {
        agent.connected(now, "10.0.0.1:40001".parse().unwrap(), "10.0.0.9:5060".parse().unwrap())
    });
    let request = played.one_request("REGISTER");
    let contacts: Vec<_> =
        request.headers.get_raw(&ezk_sip_types::Name::CONTACT).map(|it| it.as_str().to_owned()).collect();
    assert!(contacts[0].contains("40001") && contacts[1].contains("40000") && contacts[1].ends_with("=0"));
}

#[test]
fn signs_of_life_keep_paths_open_and_show_that_the_server_is_gone() {
    // Over UDP a request, which anything answers.
    let mut played = Played::registered(Transport::Udp);
    for _ in 0..3 {
        let request = played.next_request("OPTIONS");
        played.answer(&request, "404 Not Found", "");
    }
    let _ = played.next_request("OPTIONS");
    played.pass(33);
    assert_eq!(played.last_failure().0, SipProblem::Silent);

    // Over connections empty lines; who never answers them need not.
    let mut played = Played::registered(Transport::Tcp);
    played.pass(200);
    let lines = Action::Send(Bytes::from_static(b"\r\n\r\n"));
    assert!(played.done.iter().filter(|action| **action == lines).count() >= 3);
    assert!(played.is_registered());
    played.act(|agent, _| agent.received_blank());
    played.pass(KEEP_ALIVE.1.as_secs() + PONG.as_secs());
    assert_eq!(played.last_failure().0, SipProblem::Silent);
    assert!(played.done.contains(&Action::Disconnect));
}

#[test]
fn who_stops_takes_the_registration_back_and_does_not_wait_long() {
    let mut played = Played::registered(Transport::Tcp);
    played.act(SipAgent::stop);
    let request = played.one_request("REGISTER");
    assert_eq!(header(&request, "Expires"), "0");
    played.answer(&request, "401 Unauthorized", CHALLENGE);
    let request = played.one_request("REGISTER");
    assert!(header(&request, "Contact").ends_with(";expires=0"));
    played.answer(&request, "200 OK", "");
    assert_eq!(played.done.last(), Some(&Action::Status(Registration::Stopped)));
    assert_eq!(played.agent.next_deadline(), None);

    let mut silent = Played::registered(Transport::Tcp);
    silent.act(SipAgent::stop);
    silent.pass(LEAVING.as_secs());
    assert_eq!(silent.done.last(), Some(&Action::Status(Registration::Stopped)));

    let mut resting = Played::connected(Transport::Tcp);
    resting.act(SipAgent::stop);
    assert_eq!(resting.done.last(), Some(&Action::Status(Registration::Stopped)));
}

#[test]
fn responses_to_nothing_are_nothing() {
    let mut played = Played::connected(Transport::Udp);
    let request = played.one_request("REGISTER");
    let (before, text) = (played.done.len(), |branch: &str, method: &str| {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:40000;branch={branch}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:alice@10.0.0.1:40000>;expires=60\r\n\r\n"
        )
    });
    let via = header(&request, "Via");
    let branch = parameter(&via, "branch").unwrap();
    for text in [
        text("z9hG4bKother", "REGISTER"),
        text(branch, "MESSAGE"),
        text("", ""),
        "SIP/2.0 200 OK\r\n\r\n".to_owned(),
    ] {
        played.hear(&text);
    }
    assert_eq!(played.done.len(), before);
    assert!(!played.is_registered());
    // A provisional one slows the repetitions down.
    played.answer(&request, "100 Trying", "");
    played.pass(5);
    assert!(played.sent().len() <= 3);
    played.hear(&text(branch, "REGISTER"));
    assert!(played.is_registered());
}

/// An account whose renewal is due, and the request for it.
fn renewing() -> (Played, SipMessage) {
    let mut played = Played::connected(Transport::Tcp);
    let request = played.one_request("REGISTER");
    played.accept(&request, 600);
    played.done.clear();
    for _ in 0..600 {
        played.pass(1);
        played.done.retain(|it| !matches!(it, Action::Send(bytes) if &bytes[..] == b"\r\n\r\n"));
        if let Some(renewal) = played.sent().pop() {
            return (played, renewal);
        }
    }
    panic!("it is not renewed");
}

#[test]
fn a_refused_renewal_leaves_the_registration_as_it_is_and_is_tried_again() {
    let (mut played, renewal) = renewing();
    played.answer(&renewal, "503 Service Unavailable", "");
    assert!(played.is_registered());
    assert_eq!(played.done, [], "it is no news");
    played.act(|agent, now| agent.send(now, 1, &"sip:bob@example.org".parse().unwrap(), "x"));
    let _ = played.one_request("MESSAGE");
    let renewal = played.next_request("REGISTER");
    played.accept(&renewal, 600);
    played.done.clear();
    played.pass(120);
    assert!(played.is_registered());
}

#[test]
fn a_registration_that_ends_unrenewed_is_told_and_the_pause_goes_on() {
    let (mut played, renewal) = renewing();
    let refused = played.now;
    played.answer(&renewal, "503 Service Unavailable", "Retry-After: 900\r\n");
    assert!(played.is_registered());
    while played.is_registered() {
        played.pass(1);
        assert!(played.now.since(refused) < secs(120), "it lasts too long");
    }
    assert!(matches!(played.last_failure().0, SipProblem::Refused { status: 503, .. }));
    played.done.clear();
    played.pass(700);
    assert!(!played.done.contains(&Action::Status(Registration::Trying)));
    played.pass(200);
    assert!(played.done.contains(&Action::Status(Registration::Trying)));
}

#[test]
fn who_stops_takes_back_what_the_server_may_still_have() {
    // While it rests, and while it tries again.
    for tries_again in [false, true] {
        let (mut played, renewal) = renewing();
        played.answer(&renewal, "403 Forbidden", "Retry-After: 200\r\n");
        played.pass(if tries_again { 201 } else { 150 });
        assert!(!played.is_registered());
        let _ = played.sent();
        played.act(SipAgent::stop);
        let request = played.one_request("REGISTER");
        assert_eq!(header(&request, "Expires"), "0");
        played.answer(&request, "200 OK", "");
        assert_eq!(played.done.last(), Some(&Action::Status(Registration::Stopped)));
    }
}

#[test]
fn a_longer_time_is_asked_for_once_in_an_attempt() {
    let mut played = Played::connected(Transport::Tcp);
    let request = played.one_request("REGISTER");
    played.answer(&request, "423 Interval Too Brief", "Min-Expires: 7200\r\n");
    let request = played.one_request("REGISTER");
    played.answer(&request, "423 Interval Too Brief", "Min-Expires: 7201\r\n");
    assert!(played.sent().is_empty());
    assert!(matches!(played.last_failure().0, SipProblem::Refused { status: 423, .. }));
    let request = played.next_request("REGISTER");
    played.answer(&request, "423 Interval Too Brief", "Min-Expires: 7201\r\n");
    assert_eq!(header(&played.one_request("REGISTER"), "Expires"), "7201");
}
