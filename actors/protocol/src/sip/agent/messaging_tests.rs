//! Messages of an account, out and in.

use super::played::{CHALLENGE, Played, header};
use super::*;

fn bob() -> SipAddress {
    "sip:bob@example.org".parse().unwrap()
}

fn incoming(number: usize, text: &str, more: &str) -> String {
    format!(
        "MESSAGE sip:alice@10.0.0.1:40000 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK{number}\r\n\
         From: \"Bob\" <sip:bob@example.org;x=y>;tag=b{number}\r\nTo: <sip:alice@example.org>\r\n\
         Call-ID: c{number}\r\nCSeq: 1 MESSAGE\r\n{more}Content-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

const PLAIN: &str = "Content-Type: text/plain\r\n";

#[test]
fn a_message_is_sent_and_answered_once() {
    let mut played = Played::registered(Transport::Tcp);
    played.act(|agent, now| agent.send(now, 7, &bob(), "Hällo"));
    let request = played.one_request("MESSAGE");
    assert_eq!(&request.body[..], "Hällo".as_bytes());
    assert_eq!(header(&request, "To"), "<sip:bob@example.org>");
    assert_eq!(header(&request, "Content-Type"), "text/plain;charset=UTF-8");
    played.answer(&request, "200 OK", "");
    played.answer(&request, "200 OK", "");
    played.pass(40);
    assert_eq!(played.results(), [(7, Ok(()))]);
}

#[test]
fn a_message_is_repeated_over_udp_until_it_is_given_up() {
    let mut played = Played::registered(Transport::Udp);
    played.act(|agent, now| agent.send(now, 1, &bob(), "x"));
    played.pass(20);
    let sent = played.sent().into_iter().filter(|it| it.is_request(&Method::MESSAGE)).count();
    assert_eq!(sent, 8);
    played.pass(12);
    assert_eq!(played.results(), [(1, Err(SendFailure::Silent))]);
}

#[test]
fn challenges_to_messages_are_answered_for_the_own_server_only() {
    let mut played = Played::registered(Transport::Tcp);
    played.act(|agent, now| agent.send(now, 1, &bob(), "x"));
    let request = played.one_request("MESSAGE");
    let proxy = CHALLENGE.replace("WWW-", "Proxy-");
    played.answer(&request, "407 Proxy Authentication Required", &proxy);
    let request = played.one_request("MESSAGE");
    assert_eq!(header(&request, "CSeq"), "2 MESSAGE");
    assert!(header(&request, "Proxy-Authorization").contains("uri=\"sip:bob@example.org\""));
    played.answer(&request, "200 OK", "");
    assert_eq!(played.results(), [(1, Ok(()))]);

    // Whom we write to wants to know what our password makes of a text of their choice.
    played.act(|agent, now| agent.send(now, 2, &bob(), "x"));
    let request = played.one_request("MESSAGE");
    played.answer(&request, "401 Unauthorized", &CHALLENGE.replace("example.org", "evil"));
    assert!(played.sent().is_empty());
    assert_eq!(played.results()[1], (2, Err(SendFailure::Login(SipProblem::NoUsableChallenge))));
}

#[test]
fn messages_that_cannot_be_sent_are_answered_at_once() {
    let mut played = Played::connected(Transport::Tcp);
    played.act(|agent, now| agent.send(now, 1, &bob(), "x"));
    assert_eq!(played.results(), [(1, Err(SendFailure::NotRegistered))]);

    let mut played = Played::registered(Transport::Tcp);
    played.act(|agent, now| agent.send(now, 1, &bob(), &"x".repeat(MAX_TEXT + 1)));
    for id in 0..=64 {
        played.act(|agent, now| agent.send(now, 100 + id, &bob(), "x"));
    }
    let expected = [(1, Err(SendFailure::TooLong(MAX_TEXT + 1))), (164, Err(SendFailure::Busy))];
    assert_eq!(played.results(), expected);

    let mut played = Played::registered(Transport::Udp);
    played.act(|agent, now| agent.send(now, 1, &bob(), &"x".repeat(MAX_DATAGRAM)));
    assert!(matches!(played.results()[..], [(1, Err(SendFailure::TooLongForUdp(_)))]));
    assert!(played.sent().is_empty());
    played.pass(20);
    assert!(!played.sent().iter().any(|it| it.is_request(&Method::MESSAGE)));
}

#[test]
fn a_refusal_and_a_lost_connection_are_told_to_every_sender() {
    let mut played = Played::registered(Transport::Tcp);
    played.act(|agent, now| agent.send(now, 1, &bob(), "x"));
    let request = played.one_request("MESSAGE");
    played.answer(&request, "404 Not Found", "");
    played.act(|agent, now| agent.send(now, 2, &bob(), "x"));
    played.act(|agent, now| agent.send(now, 3, &bob(), "x"));
    played.act(|agent, now| agent.disconnected(now, "reset"));
    let results = played.results();
    assert_eq!(results[0], (1, Err(SendFailure::Refused { status: 404, reason: "Not Found".to_owned() })));
    let mut lost: Vec<_> = results[1..].iter().map(|(id, result)| (*id, result.clone())).collect();
    lost.sort_by_key(|(id, _)| *id);
    assert_eq!(lost, [(2, Err(SendFailure::PathLost)), (3, Err(SendFailure::PathLost))]);
}

#[test]
fn a_message_is_taken_once_and_answered_each_time() {
    let mut played = Played::registered(Transport::Udp);
    let text = incoming(1, "Hi", PLAIN);
    played.hear(&text);
    let first = played.done.last().cloned();
    played.hear(&text);
    assert_eq!(played.done.last().cloned(), first, "the same answer");
    // The server sends the same over another way.
    played.hear(&text.replace("z9hG4bK1", "z9hG4bKother"));
    let arrived = Arrived { from: bob(), name: "Bob".to_owned(), text: "Hi".to_owned() };
    assert_eq!(played.arrived(), [&arrived]);
    assert_eq!(played.sent().len(), 3);
    played.pass(33);
    played.done.clear();
    played.hear(&text);
    assert_eq!(played.arrived().len(), 1, "after that it is forgotten");
}

#[test]
fn messages_that_cannot_be_shown_are_refused_with_the_reason() {
    let long = "x".repeat(MAX_TEXT + 1);
    for (text, status) in [
        (incoming(1, "x", ""), 415),
        (incoming(2, "x", "Content-Type: text/html\r\n"), 415),
        (incoming(3, "x", "Content-Type: text/plain;charset=utf-16\r\n"), 415),
        (incoming(4, &long, PLAIN), 413),
        (incoming(5, "x", PLAIN).replace("sip:bob@example.org;x=y", "tel:+1"), 400),
        (incoming(6, "x", "Content-Type: text/plain\r\nRequire: magic\r\n"), 420),
        (
            incoming(7, "x", PLAIN)
                .replace("To: <sip:alice@example.org>", "To: <sip:alice@example.org>;tag=x"),
            481,
        ),
        (incoming(8, "x", "Content-Type: TEXT/plain; charset=\"UTF-8\"\r\n"), 200),
    ] {
        let mut played = Played::registered(Transport::Udp);
        played.hear(&text);
        assert_eq!(played.one_status(), status, "{text}");
        assert_eq!(played.arrived().len(), usize::from(status == 200));
    }
}

#[test]
fn a_flood_of_messages_is_let_in_slowly() {
    let mut played = Played::registered(Transport::Udp);
    for number in 0..1000 {
        played.hear(&incoming(number, "x", PLAIN));
    }
    assert_eq!(played.arrived().len(), usize::try_from(MESSAGE_BURST).unwrap());
    assert_eq!(played.sent().len(), 1000, "each is answered");
    played.now = played.now.plus(Duration::from_secs(1));
    for number in 1000..2000 {
        played.hear(&incoming(number, "x", PLAIN));
    }
    assert_eq!(played.arrived().len(), usize::try_from(MESSAGE_BURST + MESSAGES_PER_SECOND).unwrap());
}

#[test]
fn huge_headers_and_missing_ones_get_no_answer() {
    let mut played = Played::registered(Transport::Udp);
    let huge = format!("X: y\r\nVia: SIP/2.0/UDP {};branch=x\r\n{PLAIN}", "h".repeat(MAX_ANSWER));
    played.hear(&incoming(1, "x", &huge));
    for missing in ["Via", "From", "To", "Call-ID", "CSeq"] {
        played.hear(&incoming(2, "x", PLAIN).replace(&format!("{missing}:"), "X-Y:"));
    }
    assert!(played.done.is_empty(), "{:?}", played.done);
}

#[test]
fn other_requests_are_answered_as_what_they_are() {
    let mut played = Played::registered(Transport::Udp);
    for (method, status) in
        [("OPTIONS", 200), ("INVITE", 405), ("NOTIFY", 405), ("BYE", 481), ("CANCEL", 481), ("FOO", 405)]
    {
        played.hear(&incoming(1, "", "").replace("MESSAGE", method));
        assert_eq!(played.one_status(), status, "{method}");
    }
    played.hear(&incoming(1, "", "").replace("MESSAGE", "ACK"));
    assert!(played.done.is_empty());
}

const PROXY: &str = "407 Proxy Authentication Required";

/// Registered for an hour, after this challenge.
fn challenged(transport: Transport, challenge: &str) -> Played {
    let mut played = Played::connected(transport);
    let request = played.one_request("REGISTER");
    played.answer(&request, "401 Unauthorized", challenge);
    let request = played.one_request("REGISTER");
    played.accept(&request, 3600);
    played.done.clear();
    played
}

fn send(played: &mut Played, id: u64) -> SipMessage {
    played.act(|agent, now| agent.send(now, id, &bob(), "x"));
    played.one_request("MESSAGE")
}

#[test]
fn answers_to_the_own_server_go_with_later_messages_and_those_to_others_do_not() {
    let mut played = challenged(Transport::Tcp, CHALLENGE);
    for (id, realm) in [(1, "example.org"), (2, "proxy")] {
        let request = send(&mut played, id);
        assert!(!header(&request, "Proxy-Authorization").contains("proxy"));
        played.answer(&request, PROXY, &CHALLENGE.replace("WWW-", "Proxy-").replace("example.org", realm));
        let request = played.one_request("MESSAGE");
        let own = format!("realm=\"{realm}\"");
        let answers = request.headers.get_raw(&ezk_sip_types::Name::PROXY_AUTHORIZATION);
        assert_eq!(answers.filter(|it| it.as_str().contains(&own)).count(), 1);
        played.answer(&request, "200 OK", "");
    }
    let request = send(&mut played, 3);
    let answers: Vec<_> = request.headers.get_raw(&ezk_sip_types::Name::PROXY_AUTHORIZATION).collect();
    assert_eq!(answers.len(), 1);
    assert!(answers[0].as_str().contains("example.org") && answers[0].as_str().contains("nc=00000004"));
}

#[test]
fn long_challenges_of_a_callee_do_not_end_messages_over_udp() {
    let mut played = challenged(Transport::Udp, CHALLENGE);
    let proxy = CHALLENGE.replace("WWW-", "Proxy-");
    let request = send(&mut played, 1);
    played.answer(&request, PROXY, &proxy.replace("abc", &"n".repeat(1000)));
    assert_eq!(played.results(), [(1, Err(SendFailure::Login(SipProblem::NoUsableChallenge)))]);
    // One that is as long as may be, and is kept.
    let request = send(&mut played, 2);
    played.answer(&request, PROXY, &proxy.replace("abc", &"n".repeat(380)));
    let request = played.one_request("MESSAGE");
    played.answer(&request, "200 OK", "");
    // A text that fits without the answer goes out without.
    played.act(|agent, now| agent.send(now, 3, &bob(), &"x".repeat(600)));
    let request = played.one_request("MESSAGE");
    assert_eq!(header(&request, "Proxy-Authorization"), "");
    played.answer(&request, "200 OK", "");
    assert_eq!(played.results()[1..], [(2, Ok(())), (3, Ok(()))]);
}

#[test]
fn nothing_weaker_is_answered_for_a_message_than_for_the_registration() {
    let strong = CHALLENGE.replace("nonce", "algorithm=SHA-256, nonce");
    let proxy = |challenge: &str| challenge.replace("WWW-", "Proxy-");
    let other = proxy(CHALLENGE).replace("example.org", "proxy");
    let without = |challenge: &str| challenge.replace(", qop=\"auth\"", "");
    for (challenge, answered) in [
        (proxy(&strong), true),
        (proxy(CHALLENGE), false),
        (without(&proxy(&strong)), false),
        (other.clone(), true),
        (without(&other), false),
    ] {
        let mut played = challenged(Transport::Tcp, &strong);
        let request = send(&mut played, 1);
        played.answer(&request, PROXY, &challenge);
        assert_eq!(played.sent().len(), usize::from(answered), "{challenge}");
        assert_eq!(played.results().len(), usize::from(!answered));
    }
}

#[test]
fn a_secure_address_is_written_to_over_tls_only() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let mut played = Played::registered(transport);
        played.act(|agent, now| agent.send(now, 1, &"sips:bob@example.org".parse().unwrap(), "x"));
        let sent = played.sent().len();
        if transport == Transport::Tls {
            assert_eq!(sent, 1);
        } else {
            assert_eq!((sent, played.results()), (0, vec![(1, Err(SendFailure::Insecure))]));
        }
    }
}
