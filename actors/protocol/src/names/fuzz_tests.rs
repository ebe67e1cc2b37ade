//! Fuzz bodies of this room.

use std::net::{IpAddr, Ipv4Addr};

use super::answer;
use super::golden::{RECORDED_ACCOUNT, RECORDED_BODY, recorded_fields};
use super::http::Response;
use super::{
    Incoming, Name, NameCache, NameRegistry, Registration, Resolution, ServerUrl, Step, Typed, directory,
    new_log,
};
use crate::testing::with_mutations;
use crate::time::{Moment, UnixMillis};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn name() -> Name {
    "alicetest".parse().unwrap()
}

fn fuzz_answer(data: &[u8]) {
    for status in [200, 400, 404, 500] {
        let response = Response { status, location: None, body: data };
        if let Ok(Some(Resolution { evidence: answer::Evidence::Signed, account })) =
            answer::resolution(&name(), response)
        {
            assert_eq!(account.to_hex(), RECORDED_ACCOUNT);
        }
        let _ = (answer::name_of(response), answer::registered(response), directory::found(response));
    }
}

fn fuzz_registration(data: &[u8]) {
    if let Ok(registration) = Registration::read(name(), data) {
        assert_eq!(registration.account().to_hex(), RECORDED_ACCOUNT);
        assert_eq!(Registration::read(name(), &registration.body()), Ok(registration));
    }
}

fn fuzz_cache(data: &[u8]) {
    if let Ok(cache) = NameCache::decode(NOW, data) {
        assert_eq!(NameCache::decode(NOW, &cache.encode()), Ok(cache));
    }
}

fn fuzz_log(data: &[u8]) {
    if let Ok((registry, whole)) = NameRegistry::open(data) {
        let (again, length) = NameRegistry::open(&data[..whole]).unwrap();
        assert_eq!((again.len(), length), (registry.len(), whole));
    }
}

fn fuzz_request(data: &[u8]) {
    let (mut registry, _) = NameRegistry::open(b"").unwrap();
    let text = String::from_utf8_lossy(data);
    let (method, target) = text.split_once(' ').unwrap_or(("GET", &text));
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let incoming = Incoming { method, target, body: RECORDED_BODY, address };
    let reply = match registry.handle(Moment::default(), incoming) {
        Step::Reply(reply) => reply,
        Step::Append { pending, .. } => registry.stored(pending),
    };
    assert!(serde_json::from_str::<serde_json::Value>(&reply.body).unwrap().is_object());
}

fn fuzz_typed(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(Typed::Name { name, .. }) = Typed::parse(&text) {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    if let Ok(server) = text.parse::<ServerUrl>() {
        assert_eq!(server.as_str().parse(), Ok(server.clone()));
        let _ = server.redirected(&text);
    }
}

#[test]
fn damaged_answers_of_name_servers_are_read_or_refused() {
    let (key, signature) = recorded_fields();
    let signed = format!(
        r#"{{"name":"alicetest","addr":"{RECORDED_ACCOUNT}","publickey":"{key}","signature":"{signature}"}}"#
    );
    with_mutations(signed.as_bytes(), 300, fuzz_answer);
    for answer in [r#"{"name":"alicetest"}"#, r#"{"success":true}"#, r#"{"profiles":[{"username":"x"}]}"#] {
        with_mutations(answer.as_bytes(), 300, fuzz_answer);
    }
}

#[test]
fn damaged_registrations_are_taken_or_refused() {
    with_mutations(RECORDED_BODY, 500, fuzz_registration);
}

#[test]
fn damaged_files_of_names_are_read_or_refused() {
    let mut cache = NameCache::default();
    for text in ["alice", "bob"] {
        let account = RECORDED_ACCOUNT.parse().unwrap();
        let resolution = Resolution { account, evidence: answer::Evidence::Signed };
        cache.learn(NOW, &ServerUrl::default(), &text.parse().unwrap(), resolution);
    }
    with_mutations(&cache.encode(), 1000, fuzz_cache);
}

#[test]
fn damaged_logs_of_names_are_read_or_refused() {
    let (mut registry, _) = NameRegistry::open(b"").unwrap();
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let incoming = Incoming { method: "POST", target: "/name/alicetest", body: RECORDED_BODY, address };
    let Step::Append { record, .. } = registry.handle(Moment::default(), incoming) else { panic!() };
    let log = [new_log(), &record, &record, &record].concat();
    with_mutations(&log, 1000, fuzz_log);
}

#[test]
fn damaged_requests_for_names_are_answered() {
    for request in [
        "GET /name/alicetest",
        "POST /name/alicetest",
        "GET /addr/0x30e6",
        "GET /api/auth/directory/search?queryString=abc",
    ] {
        with_mutations(request.as_bytes(), 300, fuzz_request);
    }
}

#[test]
fn damaged_words_of_people_are_read_or_refused() {
    for text in [
        "jami:alice@names.example.org:80",
        "https://[::1]:8090/names",
        "ring:30e629015fcb780a18681348f8b8c4853f01c13f",
    ] {
        with_mutations(text.as_bytes(), 1000, fuzz_typed);
    }
}
