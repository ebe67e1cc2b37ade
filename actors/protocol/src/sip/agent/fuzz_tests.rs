//! Fuzz bodies of an account: whatever a server says, it goes on, and does not say more for it.

use super::played::{CHALLENGE, Played, header};
use super::*;
use crate::testing::with_mutations;

/// Most that is sent for one message that came: an answer, or the next request.
const MOST_SENT: usize = 2;

fn fuzz_agent(data: &[u8]) {
    let Ok(Some(message)) = SipMessage::in_datagram(&Bytes::copy_from_slice(data)) else { return };
    for mut played in [Played::connected(Transport::Udp), Played::registered(Transport::Tcp)] {
        played.done.clear();
        played.act(|agent, now| agent.received(now, &message));
        assert!(played.sent().len() <= MOST_SENT);
        played.pass(100);
        assert!(played.done.len() < 100, "it says too much: {}", played.done.len());
    }
}

/// Gives an account responses that are for its own requests, but damaged behind their first lines.
fn fuzz_answers(status: &str, more: &str) {
    let lines = format!("Contact: <sip:alice@10.0.0.1:40000>;expires=60\r\n{more}");
    with_mutations(lines.as_bytes(), 400, |lines| {
        let mut played = Played::connected(Transport::Udp);
        let request = played.one_request("REGISTER");
        played.answer(&request, status, &String::from_utf8_lossy(lines));
        assert!(played.sent().len() <= MOST_SENT);
        played.pass(100);
        assert!(played.done.len() < 100, "it says too much: {}", played.done.len());
    });
}

#[test]
fn damaged_requests_and_responses_do_an_account_no_harm() {
    let request = "MESSAGE sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bK1\r\n\
        From: \"B\\\"ob\" <sip:bob@example.org>;tag=b\r\nTo: <sip:alice@example.org>\r\nCall-ID: c\r\n\
        CSeq: 1 MESSAGE\r\nContent-Type: text/plain;charset=utf-8\r\nContent-Length: 2\r\n\r\nhi";
    with_mutations(request.as_bytes(), 1000, fuzz_agent);
    // The seed is always the same, and so is the branch of the first request.
    let mut played = Played::connected(Transport::Udp);
    let via = header(&played.one_request("REGISTER"), "Via");
    let response =
        format!("SIP/2.0 200 OK\r\nVia: {via}\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@b>;expires=1\r\n\r\n");
    played.hear(&response);
    assert!(played.is_registered(), "it is for the request that is under way");
    with_mutations(response.replace("rport;", "rport=1;received=10.0.0.1;").as_bytes(), 300, fuzz_agent);
}

#[test]
fn damaged_answers_to_a_registration_do_an_account_no_harm() {
    fuzz_answers("200 OK", "Expires: 60\r\n");
    fuzz_answers("401 Unauthorized", CHALLENGE);
    fuzz_answers(
        "401 Unauthorized",
        "WWW-Authenticate: Digest algorithm=\"abcé-x\", realm=\"é\", nonce=\"\\\"\"\r\n",
    );
    fuzz_answers("423 Interval Too Brief", "Min-Expires: 7200\r\n");
    fuzz_answers("503 Service Unavailable", "Retry-After: 18 (soon);x=y\r\n");
}
