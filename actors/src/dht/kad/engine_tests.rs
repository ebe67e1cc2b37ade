//! Engines over libp2p, in one process.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libp2p::core::transport::MemoryTransport;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::behaviour::secured;
use super::config::{BootstrapAddress, EngineConfig, NodeSecret};
use super::engine::Engine;
use crate::dht::messages::{DhtError, DhtMessage, Found, Health, ListenEvent, ListenId, PutReport};
use crate::supervision::{Outlet, Reply};

const KEY: DhtKey = DhtKey([5; 20]);

/// How long a test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn plain(id: u64, text: &str) -> Value {
    Value::plain(ValueId(id), Content::new(0, text.as_bytes().to_vec()))
}

fn secret() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// How to start a node, again and again: its number is its secret and its memory address. Memory
/// addresses of a node that crashed stay in use, so tests that restart nodes take TCP.
#[derive(Clone, Default)]
struct Plan {
    number: u64,
    bootstrap: Vec<BootstrapAddress>,
    file: Option<PathBuf>,
    /// TCP port, if it is not to be reached through memory.
    port: Option<u16>,
}

impl Plan {
    fn new(bootstrap: &[&Plan]) -> Self {
        let bootstrap = bootstrap.iter().map(|plan| plan.address()).collect();
        Self { number: secret(), bootstrap, ..Self::default() }
    }

    fn tcp(bootstrap: &[&Plan]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port: Some(free), ..Self::new(bootstrap) }
    }

    fn address(&self) -> BootstrapAddress {
        self.listen().parse().unwrap()
    }

    fn listen(&self) -> String {
        match self.port {
            Some(port) => format!("/ip4/127.0.0.1/tcp/{port}"),
            None => format!("/memory/{}", self.number),
        }
    }

    fn start(&self) -> Node {
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        let started = Instant::now();
        let config = EngineConfig {
            secret: NodeSecret(bytes),
            listen: vec![self.listen().parse().unwrap()],
            bootstrap: self.bootstrap.clone(),
            known_peers: self.file.clone(),
            clock: Arc::new(move || Moment(started.elapsed())),
            seed: self.number,
        };
        let (sender, receiver) = mpsc::channel(16);
        let engine = if self.port.is_some() {
            Engine::new(config, receiver).unwrap()
        } else {
            let keypair = config.secret.keypair().unwrap();
            let transport = secured(MemoryTransport::default(), &keypair).unwrap();
            Engine::over(config, transport, receiver).unwrap()
        };
        Node { messages: sender, task: tokio::spawn(engine.run()) }
    }
}

struct Node {
    messages: mpsc::Sender<DhtMessage>,
    task: JoinHandle<()>,
}

impl Node {
    async fn ask<R>(&self, request: impl FnOnce(Reply<R>) -> DhtMessage) -> R {
        let (reply, answer) = Reply::channel();
        self.messages.send(request(reply)).await.unwrap();
        tokio::time::timeout(PATIENCE * 2, answer).await.unwrap().unwrap()
    }

    async fn put(&self, value: Value, permanent: bool) -> Result<PutReport, DhtError> {
        self.ask(|reply| DhtMessage::Put { key: KEY, value, permanent, reply }).await
    }

    async fn get(&self) -> Result<Found, DhtError> {
        self.ask(|reply| DhtMessage::Get { key: KEY, reply }).await
    }

    async fn health(&self) -> Health {
        self.ask(|reply| DhtMessage::Health { reply }).await
    }

    async fn listen(&self, room: usize) -> (ListenId, mpsc::Receiver<ListenEvent>) {
        let (outlet, events) = Outlet::channel("test", room);
        let id = ListenId::unique();
        self.messages.send(DhtMessage::Listen { id, key: KEY, outlet }).await.unwrap();
        (id, events)
    }

    async fn has_peers(&self, count: usize) {
        until(|| async {
            let health = self.health().await;
            health.reachable && health.peers >= count
        })
        .await;
    }

    async fn has_value(&self, id: u64) {
        until(|| async {
            self.get().await.is_ok_and(|found| found.values.iter().any(|value| value.id.0 == id))
        })
        .await;
    }

    async fn stop(self) {
        drop(self.messages);
        self.task.await.unwrap();
    }

    /// Ends without a word, as a crash does.
    async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let attempts = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, attempts).await.expect("it never happened");
}

async fn next_values(events: &mut mpsc::Receiver<ListenEvent>) -> Vec<u64> {
    match tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
        ListenEvent::Values(values) => values.iter().map(|value| value.id.0).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn values_are_put_got_and_pushed_between_two_nodes() {
    let first = Plan::new(&[]);
    let second = Plan::new(&[&first]);
    let (first, second) = (first.start(), second.start());
    let (_, mut events) = second.listen(16).await;
    first.has_peers(1).await;
    assert_eq!(first.put(plain(1, "hello"), false).await, Ok(PutReport { stored: 1 }));
    assert_eq!(next_values(&mut events).await, [1]);
    let found = second.get().await.unwrap();
    assert_eq!(found, Found { values: vec![plain(1, "hello")], answered: 1 });
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn the_largest_value_travels_and_a_larger_one_is_refused() {
    let first = Plan::new(&[]);
    let second = Plan::new(&[&first]);
    let (first, second) = (first.start(), second.start());
    let value = plain(1, &"x".repeat(65_536));
    first.put(value.clone(), false).await.unwrap();
    second.has_peers(1).await;
    assert_eq!(second.get().await.unwrap().values, [value]);
    let refused = first.put(plain(2, &"x".repeat(65_537)), false).await;
    assert!(matches!(refused, Err(DhtError::Value(_))), "{refused:?}");
}

#[tokio::test]
async fn nodes_over_tcp_meet_and_tell_each_other_their_addresses() {
    let first = Plan::tcp(&[]).start();
    until(|| async { !first.health().await.listening.is_empty() }).await;
    let address = first.health().await.listening.remove(0);
    let second = Plan::tcp(&[]).start();
    let add = |address: String| |reply| DhtMessage::AddBootstrap { address, reply };
    assert_eq!(second.ask(add(address)).await, Ok(()));
    assert!(matches!(second.ask(add("no address".into())).await, Err(DhtError::Address(_))));
    first.has_peers(1).await;
    second.has_peers(1).await;
    let health = first.health().await;
    assert_eq!(health.observed, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(health.known, 1);
    assert_eq!(second.put(plain(1, "x"), false).await, Ok(PutReport { stored: 1 }));
}

#[tokio::test(start_paused = true)]
async fn listeners_that_went_without_a_word_are_forgotten_after_a_minute() {
    let node = Plan::new(&[]).start();
    let (_, kept) = node.listen(16).await;
    for _ in 0..3 {
        let (outlet, _) = Outlet::channel("test", 16);
        let id = ListenId::unique();
        node.messages.send(DhtMessage::Listen { id, key: DhtKey([6; 20]), outlet }).await.unwrap();
    }
    assert_eq!(node.health().await.listening_keys, 2);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(node.health().await.listening_keys, 1);
    drop(kept);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(node.health().await.listening_keys, 0);
}

#[tokio::test]
async fn a_node_whose_bootstrap_is_not_up_yet_joins_when_it_is() {
    let bootstrap = Plan::new(&[]);
    let node = Plan::new(&[&bootstrap]).start();
    let (_, mut events) = node.listen(16).await;
    let health = node.health().await;
    assert!(!health.reachable && health.peers == 0 && health.last_answer.is_none());
    let bootstrap = bootstrap.start();
    node.has_peers(1).await;
    bootstrap.put(plain(1, "x"), false).await.unwrap();
    assert_eq!(next_values(&mut events).await, [1]);
}

#[tokio::test]
async fn a_network_of_three_survives_the_restart_of_its_bootstrap_and_storing_nodes() {
    let bootstrap = Plan::tcp(&[]);
    let (one, two) = (Plan::tcp(&[&bootstrap]), Plan::tcp(&[&bootstrap]));
    let running = bootstrap.start();
    let (first, second) = (one.start(), two.start());
    first.has_peers(2).await;
    second.has_peers(2).await;
    let (_, mut events) = second.listen(16).await;
    first.put(plain(1, "x"), true).await.unwrap();
    assert_eq!(next_values(&mut events).await, [1]);

    running.crash().await;
    until(|| async { first.health().await.peers == 1 }).await;
    first.put(plain(2, "x"), false).await.unwrap();
    assert_eq!(next_values(&mut events).await, [2], "the others need no bootstrap node");

    let running = bootstrap.start();
    running.has_peers(2).await;
    running.has_value(1).await;
    until(|| async { running.health().await.stored_values >= 1 }).await;
    running.put(plain(3, "x"), false).await.unwrap();
    assert_eq!(next_values(&mut events).await, [3]);

    second.crash().await;
    let second = two.start();
    second.has_peers(2).await;
    second.has_value(1).await;
}

#[tokio::test]
async fn a_node_finds_its_network_again_through_the_peers_it_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = Plan::tcp(&[]);
    let other = Plan::tcp(&[&bootstrap]);
    let mut plan = Plan { file: Some(folder.path().join("peers")), ..Plan::tcp(&[&bootstrap]) };
    let running = bootstrap.start();
    let other = other.start();
    let node = plan.start();
    node.has_peers(2).await;
    node.stop().await;
    running.stop().await;

    plan.bootstrap.clear();
    let node = plan.start();
    node.has_peers(1).await;
    other.has_peers(1).await;
}

#[tokio::test]
async fn eleven_nodes_find_each_other_and_who_is_close_to_a_key() {
    let bootstrap = Plan::new(&[]);
    let plans: Vec<Plan> = (0..10).map(|_| Plan::new(&[&bootstrap])).collect();
    let _running = bootstrap.start();
    let nodes: Vec<Node> = plans.iter().map(Plan::start).collect();
    // With ten peers, look-ups begin.
    for node in [&nodes[0], &nodes[7], &nodes[9]] {
        node.has_peers(10).await;
    }
    let (_, mut events) = nodes[9].listen(16).await;
    let report = nodes[0].put(plain(1, "x"), false).await.unwrap();
    assert!(report.stored >= 5, "{report:?}");
    assert_eq!(next_values(&mut events).await, [1]);
    assert_eq!(nodes[7].get().await.unwrap().values, [plain(1, "x")]);
}

#[tokio::test]
async fn a_busy_listener_gets_all_values_in_order_and_one_that_is_gone_is_forgotten() {
    let node = Plan::new(&[]).start();
    let (id, mut events) = node.listen(1).await;
    let (_, gone) = node.listen(1).await;
    drop(gone);
    for number in 1..=20 {
        let (reply, _) = Reply::channel();
        let message = DhtMessage::Put { key: KEY, value: plain(number, "x"), permanent: false, reply };
        node.messages.send(message).await.unwrap();
    }
    for number in 1..=20 {
        assert_eq!(next_values(&mut events).await, [number]);
    }
    assert_eq!(node.health().await.listening_keys, 1);
    node.messages.send(DhtMessage::Cancel { id }).await.unwrap();
    assert_eq!(node.health().await.listening_keys, 0);
    assert_eq!(events.recv().await, None);
}
