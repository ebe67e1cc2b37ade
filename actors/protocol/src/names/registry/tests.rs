use serde_json::{Value, json};

use super::*;
use crate::keys::PrivateKey;
use crate::names::answer;
use crate::names::golden::{RECORDED_ACCOUNT, RECORDED_BODY, account_key, other_account_key};
use crate::names::http::{Request, Response};
use crate::names::registration::MAX_REGISTRATION;
use crate::names::server_url::ServerUrl;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn registry() -> NameRegistry {
    NameRegistry::open(b"").unwrap().0
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn incoming<'a>(method: &'a str, target: &'a str, body: &'a [u8]) -> Incoming<'a> {
    Incoming { method, target, body, address: ADDRESS }
}

/// The answer, with a disk that works.
fn exchange(registry: &mut NameRegistry, method: &str, target: &str, body: &[u8]) -> (u16, String) {
    let reply = match registry.handle(at(0), incoming(method, target, body)) {
        Step::Reply(reply) => reply,
        Step::Append { pending, .. } => registry.stored(pending),
    };
    (reply.status, reply.body)
}

fn get(registry: &mut NameRegistry, target: &str) -> (u16, String) {
    exchange(registry, "GET", target, b"")
}

fn post(registry: &mut NameRegistry, name: &str, body: &[u8]) -> (u16, String) {
    exchange(registry, "POST", &format!("/name/{name}"), body)
}

fn body(name: &str, key: &PrivateKey) -> Vec<u8> {
    Registration::sign(name.parse().unwrap(), key, None).unwrap().body()
}

fn status(reply: (u16, String)) -> u16 {
    reply.0
}

const SUCCESS: &str = r#"{"success":true}"#;

#[test]
fn the_recorded_registration_is_taken_and_found_both_ways() {
    let mut registry = registry();
    assert_eq!(post(&mut registry, "alicetest", RECORDED_BODY), (200, SUCCESS.into()));
    let recorded: Value = serde_json::from_slice(RECORDED_BODY).unwrap();
    let text = |field: &str| recorded[field].as_str().unwrap();
    let expected = format!(
        r#"{{"name":"alicetest","addr":"{RECORDED_ACCOUNT}","publickey":"{}","signature":"{}"}}"#,
        text("publickey"),
        text("signature")
    );
    for name in ["alicetest", "AliceTest", "alice%54est", "%61licetest"] {
        assert_eq!(get(&mut registry, &format!("/name/{name}")), (200, expected.clone()), "{name}");
    }
    for prefix in ["", "0x", "ring:", "jami:", "0x%33", "jami%3A"] {
        let id = if prefix.ends_with("%33") { &RECORDED_ACCOUNT[1..] } else { RECORDED_ACCOUNT };
        let answer = get(&mut registry, &format!("/addr/{prefix}{id}"));
        assert_eq!(answer, (200, r#"{"name":"alicetest"}"#.into()), "{prefix}");
    }
    let owner = format!(r#"{{"name":"alicetest","owner":"{}"}}"#, text("owner"));
    assert_eq!(get(&mut registry, "/name/alicetest/owner"), (200, owner));
}

#[test]
fn what_is_not_registered_is_said_in_the_words_of_the_protocol() {
    let mut registry = registry();
    let unknown = (404, r#"{"error":"name not registred"}"#.to_owned());
    assert_eq!(get(&mut registry, "/name/nobody"), unknown);
    assert_eq!(get(&mut registry, "/name/nobody/owner"), unknown);
    let unknown = (404, r#"{"error":"address not registred"}"#.to_owned());
    assert_eq!(get(&mut registry, &format!("/addr/{RECORDED_ACCOUNT}")), unknown);
    for id in ["zzz", "", "0x", &"1".repeat(39), &"1".repeat(41), "%", "%ff"] {
        assert_eq!(get(&mut registry, &format!("/addr/{id}")), (400, r#"{"success":false}"#.into()), "{id}");
    }
}

#[test]
fn other_routes_and_methods_are_refused() {
    let mut registry = registry();
    for target in
        ["", "/", "*", "/names/alice", "/name", "/name/a/b", "/name/alice/owner/x", "//name/alice", "/addr"]
    {
        assert_eq!(status(get(&mut registry, target)), 404, "{target}");
    }
    let name = "/name/alice";
    for (method, target) in
        [("PUT", name), ("DELETE", name), ("get", name), ("POST", "/addr/x"), ("POST", "/name/alice/owner")]
    {
        assert_eq!(status(exchange(&mut registry, method, target, b"")), 405, "{method} {target}");
    }
    assert_eq!(status(get(&mut registry, &format!("/name/{}", "x".repeat(5000)))), 400);
}

#[test]
fn names_outside_of_the_rule_are_refused() {
    let mut registry = registry();
    for name in [
        "ab",
        "AB",
        &"x".repeat(33),
        "bad%20name",
        "caf%C3%A9",
        "%D0%B0lice",
        "ali%E2%80%AEce",
        "",
        "%",
        "a%2Fb",
    ] {
        assert_eq!(status(get(&mut registry, &format!("/name/{name}"))), 400, "{name}");
        assert_eq!(status(post(&mut registry, name, RECORDED_BODY)), 400, "{name}");
    }
    assert!(registry.is_empty());
}

#[test]
fn registering_again_changes_nothing_and_another_account_gets_nothing() {
    let (mut registry, ours, theirs) = (registry(), account_key(), other_account_key());
    assert_eq!(post(&mut registry, "Alice", &body("alice", &ours)), (200, SUCCESS.into()));
    assert_eq!(post(&mut registry, "alice", &body("alice", &ours)), (200, SUCCESS.into()));
    let owner = ours.public().account_id();
    let taken = (403, format!(r#"{{"success":false,"owner":"{owner}"}}"#));
    assert_eq!(post(&mut registry, "ALICE", &body("alice", &theirs)), taken);
    // The same account under another owner is another registration.
    let mut other: Value = serde_json::from_slice(&body("alice", &ours)).unwrap();
    other["owner"] = json!("someone");
    assert_eq!(post(&mut registry, "alice", other.to_string().as_bytes()), taken);
    // An account has one name.
    assert_eq!(status(post(&mut registry, "second", &body("second", &ours))), 403);
    assert_eq!(status(post(&mut registry, "second", &body("second", &theirs))), 200);
    assert_eq!(registry.len(), 2);
}

#[test]
fn registrations_without_a_good_signature_are_refused() {
    let mut registry = registry();
    assert_eq!(status(post(&mut registry, "othername", RECORDED_BODY)), 401);
    let changed = |field: &str, value: Value| {
        let mut body: Value = serde_json::from_slice(RECORDED_BODY).unwrap();
        body[field] = value;
        body.to_string().into_bytes()
    };
    for (field, value, expected) in [
        ("addr", json!("11".repeat(20)), 401),
        ("publickey", json!("eHg="), 401),
        ("signature", json!("eHg="), 401),
        ("addr", json!("0".repeat(40)), 400),
        ("addr", json!("zzz"), 400),
        ("addr", json!(null), 400),
        ("publickey", json!(""), 400),
        ("signature", json!(""), 400),
    ] {
        let (status, body) = post(&mut registry, "alicetest", &changed(field, value));
        assert_eq!(status, expected, "{field} {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["success"], json!(false));
    }
    let long = vec![b' '; MAX_REGISTRATION + 1];
    for body in [b"".as_slice(), b"{", b"null", &long] {
        assert_eq!(status(post(&mut registry, "alicetest", body)), 400);
    }
    assert!(registry.is_empty());
}

#[test]
fn a_name_is_reserved_until_it_is_on_disk_and_free_again_if_that_fails() {
    let (mut registry, ours) = (registry(), account_key());
    let (ours_body, theirs_body) = (body("alice", &ours), body("alice", &other_account_key()));
    let Step::Append { record, pending } =
        registry.handle(at(0), incoming("POST", "/name/alice", &ours_body))
    else {
        panic!()
    };
    assert_eq!(status(get(&mut registry, "/name/alice")), 404, "nobody is told what may not last");
    assert_eq!(status(post(&mut registry, "alice", &theirs_body)), 503);
    assert_eq!(status(post(&mut registry, "alice", &ours_body)), 503);
    assert_eq!(status(post(&mut registry, "bob", &body("bob", &ours))), 503);
    assert_eq!(registry.not_stored(pending).status, 500);
    assert_eq!(status(get(&mut registry, "/name/alice")), 404);
    assert_eq!(status(post(&mut registry, "alice", &theirs_body)), 200);
    // The record that was not stored is one that could have been.
    let (restored, whole) = NameRegistry::open(&[new_log(), &record].concat()).unwrap();
    assert_eq!((restored.len(), whole), (1, new_log().len() + record.len()));
}

#[test]
fn a_registry_that_is_opened_again_answers_the_same() {
    let (mut registry, mut log) = (registry(), new_log().to_vec());
    for (name, body) in [
        ("alicetest", RECORDED_BODY.to_vec()),
        ("bob", body("bob", &account_key())),
        ("carol", body("carol", &other_account_key())),
    ] {
        let target = format!("/name/{name}");
        let Step::Append { record, pending } = registry.handle(at(0), incoming("POST", &target, &body))
        else {
            panic!("{name}")
        };
        log.extend(record);
        assert_eq!(registry.stored(pending).status, 200);
    }
    let torn = [&log[..], b"\xfe\x5b\xa7\xff half a record"].concat();
    let (mut reopened, whole) = NameRegistry::open(&torn).unwrap();
    assert_eq!(whole, log.len());
    for target in [
        "/name/alicetest",
        "/name/bob",
        "/name/carol",
        "/name/bob/owner",
        "/name/dave",
        &format!("/addr/{RECORDED_ACCOUNT}"),
    ] {
        assert_eq!(get(&mut reopened, target), get(&mut registry, target), "{target}");
    }
    assert_eq!(post(&mut reopened, "alicetest", RECORDED_BODY), (200, SUCCESS.into()));
}

#[test]
fn a_search_finds_names_by_their_beginning() {
    let mut registry = registry();
    for (name, key) in [("alice", account_key()), ("alicia", other_account_key())] {
        assert_eq!(status(post(&mut registry, name, &body(name, &key))), 200);
    }
    let search = |registry: &mut NameRegistry, text: &str| {
        let (status, body) = get(registry, &format!("{SEARCH_PATH}?{SEARCH_PARAMETER}={text}"));
        let response = Response { status, location: None, body: body.as_bytes() };
        let found = crate::names::directory::found(response)?;
        Ok::<_, answer::AskError>(
            found.into_iter().filter_map(|mut it| it.remove("username")).collect::<Vec<_>>(),
        )
    };
    assert_eq!(search(&mut registry, "Ali").unwrap(), ["alice", "alicia"]);
    assert_eq!(search(&mut registry, "%61lice").unwrap(), ["alice"]);
    assert_eq!(search(&mut registry, "bob"), Ok(vec![]));
    assert_eq!(search(&mut registry, "a%20b"), Ok(vec![]));
    for text in ["", "al", "%", "&x=alice"] {
        assert_eq!(search(&mut registry, text), Err(answer::AskError::NotAccepted), "{text}");
    }
}

#[test]
fn too_many_requests_of_one_address_are_told_to_come_again_and_count_as_errors_not_as_unknown() {
    let mut registry = registry();
    let mut ask = |now, method, address| {
        let incoming = Incoming { method, target: "/name/alice", body: b"", address };
        match registry.handle(now, incoming) {
            Step::Reply(reply) => reply,
            Step::Append { .. } => panic!("an empty registration was taken"),
        }
    };
    let answered = (0..2500).filter(|_| ask(at(0), "GET", ADDRESS).status == 404).count();
    assert_eq!(answered, 2000);
    let refused = ask(at(0), "GET", ADDRESS);
    assert_eq!((refused.status, refused.retry_after), (503, Some(1)));
    let answered = (0..30).filter(|_| ask(at(0), "POST", ADDRESS).status == 400).count();
    assert_eq!(answered, 20);
    assert_eq!(ask(at(0), "POST", ADDRESS).retry_after, Some(31));
    let other = "10.0.0.1".parse().unwrap();
    assert_eq!((ask(at(0), "GET", other).status, ask(at(0), "POST", other).status), (404, 400));
    assert_eq!((ask(at(30), "GET", ADDRESS).status, ask(at(30), "POST", ADDRESS).status), (404, 400));
}

/// What our client asks is what our server answers.
#[test]
fn client_and_server_understand_each_other() {
    let (mut registry, key, server) = (registry(), account_key(), ServerUrl::default());
    let name: Name = "alice".parse().unwrap();
    let ask = |registry: &mut NameRegistry, request: &Request| {
        exchange(registry, request.method.as_str(), &request.target, &request.body)
    };
    let (status, body) = post(&mut registry, "alice", &body("alice", &key));
    assert_eq!(answer::registered(Response { status, location: None, body: body.as_bytes() }), Ok(()));
    let (status, body) = ask(&mut registry, &Request::name(&server, &name));
    let resolution = answer::resolution(&name, Response { status, location: None, body: body.as_bytes() });
    let expected =
        answer::Resolution { account: key.public().account_id(), evidence: answer::Evidence::Signed };
    assert_eq!(resolution, Ok(Some(expected)));
    let (status, body) = ask(&mut registry, &Request::address(&server, key.public().account_id()));
    assert_eq!(answer::name_of(Response { status, location: None, body: body.as_bytes() }), Ok(Some(name)));
}
