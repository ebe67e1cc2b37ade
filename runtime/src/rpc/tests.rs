//! The control interface as its clients see it, over real sockets to a node of fake parts.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use skep_actors::event::Event;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};

use super::client::{Client, ClientError};
use super::schema::{method, *};
use super::*;
use crate::config::NodeConfig;
use crate::node::fake::{self, CONVERSATION, NAME, NAMED, PROFILED};

struct Running {
    folder: tempfile::TempDir,
    node: Node,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = fake::config(&folder);
        change(&mut config);
        Self { node: fake::start(config).await.unwrap(), folder }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("control.sock")
    }

    async fn raw(&self) -> Raw {
        Raw(BufReader::new(UnixStream::connect(self.socket()).await.unwrap()))
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }

    async fn endpoint(&self, kind: &str) -> String {
        let info = self.client().await.call(method::NodeInfo, Nothing {}).await.unwrap();
        info.endpoints.into_iter().find(|endpoint| endpoint.kind == kind).unwrap().address
    }
}

/// A client that says exactly what it is told.
struct Raw(BufReader<UnixStream>);

impl Raw {
    async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
        self.0.write_all(b"\n").await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, text: impl AsRef<[u8]>) -> Value {
        self.say(text).await;
        self.hear().await
    }
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params }).to_string()
}

fn code(reply: &Value) -> i64 {
    reply["error"]["code"].as_i64().unwrap_or_default()
}

#[tokio::test]
async fn broken_requests_get_the_errors_of_the_standard() {
    let running = Running::start().await;
    let mut raw = running.raw().await;
    for (text, expected, id) in [
        ("{", -32700, Value::Null),
        ("\u{fffd}", -32700, Value::Null),
        ("[]", -32600, Value::Null),
        ("1", -32600, Value::Null),
        (r#"{"id": 1, "method": "node.info"}"#, -32600, json!(1)),
        (r#"{"jsonrpc": "2.0", "id": [], "method": "node.info"}"#, -32600, Value::Null),
        (r#"{"jsonrpc": "2.0", "id": "a"}"#, -32600, json!("a")),
        (r#"{"jsonrpc": "2.0", "id": 2, "method": "node.info", "params": 3}"#, -32600, json!(2)),
        (r#"{"jsonrpc": "2.0", "id": 3, "method": "node.nothing"}"#, -32601, json!(3)),
        (r#"{"jsonrpc": "2.0", "id": 4, "method": "node.info", "params": [1]}"#, -32602, json!(4)),
        (r#"{"jsonrpc": "2.0", "id": 5, "method": "node.info", "params": {"x": 1}}"#, -32602, json!(5)),
        (r#"{"jsonrpc": "2.0", "id": 6, "method": "account.describe"}"#, -32602, json!(6)),
    ] {
        let reply = raw.ask(text).await;
        assert_eq!((code(&reply), &reply["id"]), (expected, &id), "{text} {reply}");
        assert_eq!(reply["jsonrpc"], "2.0");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(code(&raw.ask(deep).await), -32700);
    assert!(raw.ask(request(7, "node.info", json!({}))).await["result"]["pid"].is_number());
    running.node.shutdown().await;
}

#[tokio::test]
async fn a_batch_gets_one_reply_with_one_entry_for_each_request_but_none_for_notifications() {
    let running = Running::start().await;
    let mut raw = running.raw().await;
    let notification = json!({ "jsonrpc": "2.0", "method": "node.info" });
    let ask = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "node.info" });
    let reply = raw.ask(json!([ask(1), notification, 1, ask(2)]).to_string()).await;
    let ids: Vec<_> = reply.as_array().unwrap().iter().map(|reply| reply["id"].clone()).collect();
    assert_eq!(ids, [json!(1), Value::Null, json!(2)]);
    // Neither a notification nor a batch of them is answered: the next reply is the next request's.
    raw.say(notification.to_string()).await;
    raw.say(json!([notification, notification]).to_string()).await;
    assert_eq!(raw.ask(request(9, "node.info", json!({}))).await["id"], 9);
    let large = Value::Array(vec![ask(0); MAX_BATCH + 1]);
    assert_eq!(code(&raw.ask(large.to_string()).await), -32600);
    running.node.shutdown().await;
}

#[tokio::test]
async fn a_request_too_long_is_refused_and_the_connection_goes_on() {
    let running = Running::start().await;
    let mut raw = running.raw().await;
    let reply = raw.ask(vec![b'x'; MAX_REQUEST + 1]).await;
    assert_eq!((code(&reply), &reply["id"]), (-32600, &Value::Null));
    assert_eq!(raw.ask(request(1, "node.info", json!({}))).await["id"], 1);
    running.node.shutdown().await;
}

#[tokio::test]
async fn every_request_gets_exactly_one_reply_also_when_the_actor_fails() {
    let running = Running::start().await;
    let account = running.node.create_account("Alice", None, |_| ()).await.unwrap().local();
    let mut raw = running.raw().await;
    // More than are worked on at once, all sent before anything is read.
    let count = 3 * MAX_IN_FLIGHT;
    for id in 0..count {
        let body = if id == MAX_IN_FLIGHT { "panic" } else { "hello" };
        let params = json!({ "account": account, "conversation": CONVERSATION, "body": body });
        raw.say(request(id, "message.send", params)).await;
    }
    let mut failed = 0;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..count {
        let reply = raw.hear().await;
        assert!(seen.insert(reply["id"].as_u64().unwrap()), "a second reply: {reply}");
        if code(&reply) == i64::from(ErrorCode::Unanswered.number()) {
            failed += 1;
        } else {
            assert!(reply["result"]["message"].is_string(), "{reply}");
        }
    }
    assert_eq!(failed, 1);
    running.node.shutdown().await;
}

#[tokio::test]
async fn a_client_that_stops_asking_still_gets_its_replies() {
    let running = Running::start().await;
    let mut stream = UnixStream::connect(running.socket()).await.unwrap();
    let text = format!("{}\n{}", request(1, "node.info", json!({})), request(2, "node.tree", json!({})));
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    assert_eq!(replies.lines().count(), 2);
    running.node.shutdown().await;
}

#[tokio::test]
async fn events_come_after_the_reply_to_their_subscription_until_it_ends() {
    let running = Running::start().await;
    let account = running.node.create_account("Alice", None, |_| ()).await.unwrap();
    let conversation = account.conversation(CONVERSATION);
    let mut client = running.client().await;
    let other = SubscribeParams { account: Some(skep_protocol::ids::LocalAccountId([9; 8])) };
    client.call(method::EventsSubscribe, other).await.unwrap();
    let subscription = client.call(method::EventsSubscribe, SubscribeParams::default()).await.unwrap();
    let id = conversation.send("hello").await.unwrap();
    let notice = client.next_event().await.unwrap();
    assert_eq!(notice.subscription, subscription.subscription);
    assert!(matches!(notice.event.event, Event::Message { message, .. } if message.id == id));
    client.call(method::EventsUnsubscribe, subscription).await.unwrap();
    assert!(matches!(
        client.call(method::EventsUnsubscribe, subscription).await,
        Err(ClientError::Refused(error)) if error.code == ErrorCode::NotFound.number()
    ));
    let mut others = running.node.events();
    conversation.send("unheard").await.unwrap();
    others.next().await.unwrap();
    for _ in 1..MAX_SUBSCRIPTIONS {
        client.call(method::EventsSubscribe, SubscribeParams::default()).await.unwrap();
    }
    assert!(client.call(method::EventsSubscribe, SubscribeParams::default()).await.is_err());
    running.node.shutdown().await;
    assert!(matches!(client.next_event().await, Err(ClientError::Lost)));
}

#[tokio::test]
async fn what_comes_at_a_key_of_the_dht_is_told_until_the_subscription_ends() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let key = || "a key".to_owned();
    let subscription = client.call(method::DhtListen, DhtKeyParams { key: key() }).await.unwrap();
    let put = |text: &str| DhtPutParams { key: key(), text: text.to_owned(), permanent: false };
    let put_first = client.call(method::DhtPut, put("first")).await.unwrap();
    let notice = client.next_listened().await.unwrap();
    assert_eq!(notice.subscription, subscription.subscription);
    assert_eq!(notice.values[0].id, put_first.id);
    assert_eq!(notice.values[0].text.as_deref(), Some("first"));
    client.call(method::EventsUnsubscribe, subscription).await.unwrap();
    client.call(method::DhtPut, put("second")).await.unwrap();
    let found = client.call(method::DhtGet, DhtKeyParams { key: key() }).await.unwrap();
    assert_eq!((found.values.len(), found.answered), (2, 2));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_told_what_it_missed() {
    let running = Running::start_with(|config| config.limits.event_buffer = 8).await;
    let account = running.node.create_account("Alice", None, |_| ()).await.unwrap();
    let conversation = account.conversation(CONVERSATION);
    let mut client = running.client().await;
    client.call(method::EventsSubscribe, SubscribeParams::default()).await.unwrap();
    // Far more than the socket, the queue and the ring hold together.
    let body = "x".repeat(16 * 1024);
    for number in 0..200 {
        conversation.send(format!("{number} {body}")).await.unwrap();
    }
    let (mut told, mut missed) = (0, 0);
    while told + missed < 200 {
        match client.next_event().await.unwrap().event.event {
            Event::Message { .. } => told += 1,
            Event::Missed { count } => missed += count,
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 0);
    assert_eq!(told + missed, 200);
    running.node.shutdown().await;
}

#[tokio::test]
async fn making_an_account_tells_how_far_it_is() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let params = CreateParams { name: "Alice".to_owned(), password: None };
    let mut steps = Vec::new();
    let made = client
        .call_with::<method::AccountCreate>(params, |notice| steps.push((notice.done, notice.total)))
        .await;
    assert_eq!(made.unwrap().name, "Fake");
    assert_eq!(steps, [(0, 2), (1, 2), (2, 2)]);
    let listed = client.call(method::AccountList, Nothing {}).await.unwrap();
    assert_eq!(listed.accounts.len(), 1);
    running.node.shutdown().await;
}

#[tokio::test]
async fn errors_of_accounts_have_their_codes() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let import = ImportParams { archive: "YQ==".to_owned(), password: Some(Secret::new("no".to_owned())) };
    let wrong = client.call(method::AccountImport, import).await;
    assert!(matches!(wrong, Err(ClientError::Refused(e)) if e.code == ErrorCode::WrongPassword.number()));
    let garbled = ImportParams { archive: "?".to_owned(), password: None };
    let wrong = client.call(method::AccountImport, garbled).await;
    assert!(matches!(wrong, Err(ClientError::Refused(e)) if e.code == ErrorCode::InvalidParams.number()));
    let account = skep_protocol::ids::LocalAccountId([9; 8]);
    let no_id = ContactParams { account, contact: "neither name nor id".to_owned() };
    let wrong = client.call(method::ContactAdd, no_id).await;
    assert!(matches!(wrong, Err(ClientError::Refused(e)) if e.code == ErrorCode::InvalidParams.number()));
    let nobody = ContactParams { account, contact: "jami:80eeb2".to_owned() };
    let wrong = client.call(method::ContactAdd, nobody).await;
    assert!(matches!(wrong, Err(ClientError::Refused(e)) if e.code == ErrorCode::NotFound.number()));
    let nobody = AccountParams { account };
    let wrong = client.call(method::AccountDescribe, nobody).await;
    assert!(matches!(wrong, Err(ClientError::Refused(e)) if e.code == ErrorCode::NotFound.number()));
    running.node.shutdown().await;
}

#[tokio::test]
async fn errors_of_groups_have_their_codes() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let params = CreateParams { name: "Alice".to_owned(), password: None };
    let account = client.call(method::AccountCreate, params).await.unwrap().local;
    let mut raw = running.raw().await;
    let person = "07".repeat(20);
    for (name, params, expected) in [
        ("conversation.invite", json!({ "contact": person }), ErrorCode::Refused),
        ("conversation.invite", json!({ "contact": "no body" }), ErrorCode::InvalidParams),
        ("conversation.invite", json!({ "contact": "nobody" }), ErrorCode::NotFound),
        ("conversation.ban", json!({ "target": "08".repeat(20) }), ErrorCode::NotFound),
        ("conversation.ban", json!({ "target": "ali\u{202e}ce" }), ErrorCode::InvalidParams),
        ("conversation.set_profile", json!({ "profile": {} }), ErrorCode::InvalidParams),
        ("conversation.set_profile", json!({ "profile": { "colour": "red" } }), ErrorCode::InvalidParams),
    ] {
        let mut params = params;
        params["account"] = json!(account);
        params["conversation"] = json!(CONVERSATION);
        let reply = raw.ask(request(1, name, params)).await;
        assert_eq!(code(&reply), i64::from(expected.number()), "{name} {reply}");
    }
    let unknown = json!({ "account": account, "conversation": "1".repeat(40) });
    let reply = raw.ask(request(1, "conversation.decline", unknown)).await;
    assert_eq!(code(&reply), i64::from(ErrorCode::NotFound.number()), "{reply}");
    let vote = json!({ "account": account, "conversation": CONVERSATION, "target": person });
    let reply = raw.ask(request(2, "conversation.ban", vote)).await;
    assert_eq!(reply["result"]["decided"], false, "{reply}");
    running.node.shutdown().await;
}

#[tokio::test]
async fn profiles_are_set_and_shown_and_what_cannot_be_one_is_refused() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let params = CreateParams { name: "Alice".to_owned(), password: None };
    let account = client.call(method::AccountCreate, params).await.unwrap().local;
    let mut raw = running.raw().await;
    for (params, expected) in [
        (json!({}), ErrorCode::InvalidParams),
        (json!({ "picture": "?" }), ErrorCode::InvalidParams),
        (json!({ "picture": "", "picture_file": "/photo.png" }), ErrorCode::InvalidParams),
        (json!({ "picture_file": "photo.png" }), ErrorCode::InvalidParams),
        (json!({ "picture": "bm8gcGljdHVyZQ==" }), ErrorCode::Refused),
    ] {
        let mut params = params;
        params["account"] = json!(account);
        let reply = raw.ask(request(1, "profile.set", params)).await;
        assert_eq!(code(&reply), i64::from(expected.number()), "{reply}");
    }
    for params in [json!({ "name": "Ada" }), json!({ "picture": "" }), json!({ "picture": "cGhvdG8=" })] {
        let mut params = params;
        params["account"] = json!(account);
        let reply = raw.ask(request(2, "profile.set", params)).await;
        assert_eq!(reply["result"], json!({}), "{reply}");
    }
    let show = |person: skep_protocol::ids::AccountId| {
        request(3, "profile.show", json!({ "account": account, "person": person }))
    };
    let reply = raw.ask(show(PROFILED)).await;
    assert_eq!(
        (&reply["result"]["name"], &reply["result"]["picture_type"]),
        (&json!("Seven"), &json!("image/jpeg"))
    );
    let reply = raw.ask(show(skep_protocol::ids::AccountId([9; 20]))).await;
    assert_eq!(code(&reply), i64::from(ErrorCode::NotFound.number()), "{reply}");
    let reply = raw.ask(request(4, "contact.requests", json!({ "account": account }))).await;
    assert_eq!(reply["result"]["display_names"], json!({ PROFILED.to_hex(): "Seven" }), "{reply}");
    running.node.shutdown().await;
}

#[tokio::test]
async fn names_are_told_as_far_as_they_are_known_and_nobody_is_asked_without_a_server() {
    let people = json!({ "people": [NAMED, "1".repeat(40)] });
    let running = Running::start().await;
    let mut raw = running.raw().await;
    let reply = raw.ask(request(1, "names.known", people.clone())).await;
    assert_eq!(reply["result"], json!({ "names": { NAMED.to_hex(): NAME } }));
    running.node.shutdown().await;

    let running = Running::start_with(|config| config.names.server = None).await;
    let mut raw = running.raw().await;
    let reply = raw.ask(request(1, "names.known", people)).await;
    assert_eq!(reply["result"], json!({ "names": {} }));
    let account = "1".repeat(16);
    for (name, params, expected) in [
        ("names.lookup", json!({ "text": "alice" }), ErrorCode::Disabled),
        ("names.search", json!({ "text": "alice" }), ErrorCode::Disabled),
        ("names.register", json!({ "account": account, "name": "alice" }), ErrorCode::Disabled),
        ("contact.add", json!({ "account": account, "contact": "alice" }), ErrorCode::InvalidParams),
        ("names.lookup", json!({ "text": "alice@http://127.0.0.1:1" }), ErrorCode::Unreachable),
    ] {
        let reply = raw.ask(request(2, name, params)).await;
        assert_eq!(code(&reply), i64::from(expected.number()), "{name} {reply}");
    }
    running.node.shutdown().await;
}

#[tokio::test]
async fn faults_are_injected_only_where_that_is_switched_on() {
    let running = Running::start_with(|config| config.debug.fault_injection = false).await;
    let refused = running.client().await.call(method::NodeInjectPanic, ActorParams { actor: 0 }).await;
    assert!(matches!(refused, Err(ClientError::Refused(e)) if e.code == ErrorCode::Disabled.number()));
    running.node.shutdown().await;
}

#[tokio::test]
async fn too_many_connections_are_refused_with_a_reason() {
    let running = Running::start_with(|config| config.limits.rpc_connections = 1).await;
    let mut first = running.client().await;
    first.call(method::NodeInfo, Nothing {}).await.unwrap();
    let reply = running.raw().await.hear().await;
    assert_eq!(code(&reply), i64::from(ErrorCode::Busy.number()));
    running.node.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_asked_for_is_answered_and_then_happens() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(method::NodeShutdown, Nothing {}).await.unwrap();
    let end = running.node.ended().await;
    assert!(!end.failed && end.shutdown.complete, "{end:?}");
    assert!(!running.socket().exists());
    assert!(matches!(Client::connect(&running.socket()).await, Err(ClientError::NoNode { .. })));
}

async fn websocket(
    running: &Running,
    headers: &[(&'static str, String)],
) -> Result<tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>, u16>
{
    let mut request = format!("ws://{}/", running.endpoint("websocket").await).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((stream, _)) => Ok(stream),
        Err(WsError::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_websocket_client_needs_the_token_and_an_allowed_origin() {
    let running = Running::start().await;
    let token = std::fs::read_to_string(running.folder.path().join("rpc.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let authorised = ("authorization", bearer.clone());
    assert_eq!(websocket(&running, &[]).await.err(), Some(401));
    assert_eq!(websocket(&running, &[("authorization", "Bearer no".to_owned())]).await.err(), Some(401));
    let evil = ("origin", "https://evil.example".to_owned());
    assert_eq!(websocket(&running, &[authorised.clone(), evil]).await.err(), Some(403));
    let known = ("origin", "https://chat.example".to_owned());
    websocket(&running, &[authorised.clone(), known]).await.unwrap();

    let mut socket = websocket(&running, &[authorised]).await.unwrap();
    socket.send(WsMessage::text(request(1, "node.info", json!({})))).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap();
    let reply: Value = serde_json::from_str(reply.to_text().unwrap()).unwrap();
    assert_eq!(reply["id"], 1);
    socket.send(WsMessage::text("x".repeat(MAX_REQUEST + 1))).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap();
    assert_eq!(code(&serde_json::from_str(reply.to_text().unwrap()).unwrap()), -32600);
    assert!(running.node.shutdown().await.shutdown.complete);
}

async fn http(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn metrics_and_health_are_served() {
    let running = Running::start().await;
    let address = running.endpoint("metrics").await;
    assert!(http(&address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let metrics = http(&address, "/metrics").await;
    for line in [
        "skep_dht_reachable 1",
        "skep_dht_peers 3",
        "skep_actors{actor=\"node\"} 1",
        "skep_rpc_requests_total 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing from {metrics}");
    }
    assert!(running.node.shutdown().await.shutdown.complete);
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let running = Running::start().await;
    let _line = running.raw().await;
    let _http = tokio::net::TcpStream::connect(running.endpoint("websocket").await).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(8), running.node.shutdown()).await.unwrap();
    assert!(end.shutdown.complete, "{end:?}");
}

#[tokio::test]
async fn random_and_mutated_requests_are_answered_and_never_stop_the_node() {
    use rand::{Rng as _, SeedableRng as _};
    let running = Running::start().await;
    let account = running.node.create_account("Alice", None, |_| ()).await.unwrap().local();
    let corpus = [
        request(1, "node.info", json!({})),
        request("x", "account.create", json!({ "name": "Bob", "password": "p" })),
        request(Value::Null, "contact.add", json!({ "account": account, "contact": "jami:00" })),
        request(2, "message.list", json!({ "account": account, "conversation": CONVERSATION, "limit": 3 })),
        json!([{ "jsonrpc": "2.0", "id": 3, "method": "contact.list", "params": { "account": account } }])
            .to_string(),
        request(4, "account.import", json!({ "archive": "H4sIAAAAAAAA" })),
    ];
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut raw = running.raw().await;
    let (rounds, mut replies) = (400, 0);
    for round in 0..rounds {
        let mut text = corpus[round % corpus.len()].clone().into_bytes();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..3) {
                0 => text[at] = random.random(),
                1 => text.truncate(at.max(1)),
                _ => text.insert(at, random.random()),
            }
        }
        // One line, so that the number of requests is known.
        text.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        raw.say(text).await;
        raw.say(request("next", "node.nothing", json!({}))).await;
        loop {
            let reply = raw.hear().await;
            if reply["id"] == "next" {
                break;
            }
            replies += usize::from(reply.get("method").is_none());
        }
    }
    raw.0.shutdown().await.unwrap();
    let mut rest = String::new();
    raw.0.read_to_string(&mut rest).await.unwrap();
    replies += rest.lines().filter(|line| !line.contains("\"method\"")).count();
    assert!((rounds / 2..=rounds).contains(&replies), "{replies} replies to {rounds} requests");
    assert!(running.node.accounts().await.is_ok());
    running.node.shutdown().await;
}

#[tokio::test]
async fn the_requests_of_the_reference_document_are_answered() {
    let running = Running::start().await;
    let mut raw = running.raw().await;
    let document = reference::markdown();
    let blocks = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let requests: Vec<_> = blocks
        .flat_map(str::lines)
        .filter_map(|line| line.split('\'').find(|it| it.starts_with('{')))
        .collect();
    assert!(!requests.is_empty());
    for request in requests {
        let reply = raw.ask(request).await;
        assert!(reply["result"].is_object(), "{request} {reply}");
    }
    running.node.shutdown().await;
}
