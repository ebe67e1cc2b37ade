//! An engine of ours beside a `dhtnode`, and what the tests ask of it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_actors::dht::messages::{DhtMessage, Found, Health, ListenEvent, ListenId, PutReport};
use skep_actors::dht::opendht::OpenDhtNetwork;
use skep_actors::dht::{DhtActor, DhtMemory};
use skep_actors::supervision::{Environment, Outlet, RootHandle, start_root};
use skep_protocol::dht::content::Content;
use skep_protocol::dht::opendht::packet::NetworkId;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::{DhtKey, NodeId};
use skep_protocol::time::UnixMillis;
use skep_tests::daemon::{BindingNode, DhtNode};
use tokio::sync::mpsc;

/// How long something may take that should take a fraction of a second; requests that got lost are
/// sent again after one, two and four.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// How `dhtnode` says what it puts.
pub(crate) const TEXT: &str = "text/plain";

/// Runs a test, unless there is no `dhtnode`.
pub(crate) fn run(test: impl Future<Output = ()>) {
    if !DhtNode::is_installed() {
        eprintln!("skipped: no dhtnode; apt-get install dhtnode");
        return;
    }
    skep_tests::harness::run(test);
}

/// Runs a test, unless there is no Python binding.
pub(crate) fn run_with_binding(test: impl Future<Output = ()>) {
    if let Some(obstacle) = BindingNode::obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    skep_tests::harness::run(test);
}

/// A key of this test alone.
pub(crate) fn key(name: &str) -> DhtKey {
    DhtKey::of_text(name)
}

/// A value as `dhtnode` makes them.
pub(crate) fn content(text: &str) -> Content {
    Content::new(0, text.as_bytes().to_vec()).with_user_type(TEXT)
}

pub(crate) fn text_value(id: u64, text: &str) -> Value {
    Value::plain(ValueId(id), content(text))
}

/// What a value says that everybody can read.
pub(crate) fn text_of(value: &Value) -> String {
    String::from_utf8(value.content().unwrap().data.clone()).unwrap()
}

/// An engine of ours.
pub(crate) struct Ours {
    root: RootHandle<DhtMessage>,
}

impl Ours {
    /// What one on loopback is started with.
    pub(crate) fn network(bootstrap: &[String], known_nodes: Option<PathBuf>) -> OpenDhtNetwork {
        OpenDhtNetwork {
            id: NodeId(DhtKey::of_text(&format!("{bootstrap:?}")).0),
            network: NetworkId(0),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            bootstrap: bootstrap.to_vec(),
            local_discovery: false,
            known_nodes,
        }
    }

    pub(crate) fn start(bootstrap: &[String], known_nodes: Option<PathBuf>) -> Self {
        Self::start_with(Self::network(bootstrap, known_nodes), 0)
    }

    /// One whose clock is this many seconds fast.
    pub(crate) fn start_with(network: OpenDhtNetwork, fast: i64) -> Self {
        let memory = DhtMemory::default();
        let make = move || DhtActor::new(network.clone(), memory.clone());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let wall = UnixMillis(i64::try_from(now.as_millis()).unwrap() + fast * 1000);
        Self { root: start_root(Environment::single_thread(wall, 7), make) }
    }

    /// One that a `dhtnode` has met.
    pub(crate) async fn beside(node: &DhtNode) -> Self {
        let ours = Self::start(&[node.address()], None);
        ours.reachable().await;
        ours
    }

    pub(crate) async fn health(&self) -> Health {
        self.root.port().ask(PATIENCE, |reply| DhtMessage::Health { reply }).await.unwrap()
    }

    pub(crate) async fn reachable(&self) {
        let reach = async {
            while !self.health().await.reachable {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reach).await.unwrap();
    }

    pub(crate) async fn address(&self) -> String {
        self.health().await.listening[0].clone()
    }

    pub(crate) async fn put(&self, key: DhtKey, value: Value, permanent: bool) -> PutReport {
        let put = self.root.port().ask(PATIENCE, |reply| DhtMessage::Put { key, value, permanent, reply });
        put.await.unwrap().unwrap()
    }

    pub(crate) async fn get(&self, key: DhtKey) -> Found {
        self.root.port().ask(PATIENCE, |reply| DhtMessage::Get { key, reply }).await.unwrap().unwrap()
    }

    /// Puts a value again and again until the other node keeps it: all three datagrams of a request may
    /// be lost.
    pub(crate) async fn put_until_kept(&self, key: DhtKey, value: &Value) {
        loop {
            let put = |reply| DhtMessage::Put { key, value: value.clone(), permanent: true, reply };
            if self.root.port().ask(PATIENCE, put).await.unwrap().is_ok_and(|put| put.stored == 1) {
                return;
            }
        }
    }

    /// Asks again and again until a value is found.
    pub(crate) async fn get_until_found(&self, key: DhtKey) -> Value {
        loop {
            let get = |reply| DhtMessage::Get { key, reply };
            let found = self.root.port().ask(PATIENCE, get).await.unwrap();
            if let Some(value) = found.ok().and_then(|found| found.values.into_iter().next()) {
                return value;
            }
        }
    }

    pub(crate) async fn listen(&self, key: DhtKey) -> mpsc::Receiver<ListenEvent> {
        let (outlet, events) = Outlet::channel("test", 64);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key, outlet };
        self.root.port().send(listen).await.unwrap();
        events
    }

    pub(crate) async fn stop(self) {
        self.root.shutdown(PATIENCE).await;
    }
}

/// The next value that a listener is told of and that `wanted` wants.
pub(crate) async fn told(
    events: &mut mpsc::Receiver<ListenEvent>,
    wanted: impl Fn(&Value) -> bool,
) -> Arc<Value> {
    let search = async {
        loop {
            if let ListenEvent::Values(values) = events.recv().await.unwrap()
                && let Some(value) = values.into_iter().find(|value| wanted(value))
            {
                return value;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap()
}
