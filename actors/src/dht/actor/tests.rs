//! The actor, over TCP on one machine.

use std::future::Future;
use std::time::Duration;

use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::UnixMillis;
use tokio::sync::mpsc;

use super::{DhtActor, DhtConfig, Wish};
use crate::dht::kad::config::{BootstrapAddress, NodeSecret};
use crate::dht::messages::{DhtMessage, ListenEvent, ListenId};
use crate::supervision::{Environment, Outlet, Port, RootHandle, start_root};

const KEY: DhtKey = DhtKey([5; 20]);
const PATIENCE: Duration = Duration::from_secs(20);

fn config(number: u8, bootstrap: Vec<BootstrapAddress>) -> DhtConfig {
    DhtConfig {
        secret: NodeSecret([number; 32]),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        bootstrap,
        known_peers: None,
    }
}

fn start(make: impl Fn() -> DhtActor + Send + Sync + 'static) -> RootHandle<DhtMessage> {
    start_root(Environment::single_thread(UnixMillis(0), 1), make)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn value(id: u64) -> Value {
    Value::plain(ValueId(id), Content::new(0, b"x".to_vec()))
}

async fn address(port: &Port<DhtMessage>) -> BootstrapAddress {
    loop {
        let health = port.ask(PATIENCE, |reply| DhtMessage::Health { reply }).await.unwrap();
        match health.listening.first() {
            Some(address) => return address.parse().unwrap(),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn told(events: &mut mpsc::Receiver<ListenEvent>) -> u64 {
    match tokio::time::timeout(PATIENCE, events.recv()).await.unwrap() {
        Some(ListenEvent::Values(values)) => values[0].id.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_actors_share_values_and_stop_in_order() {
    run(async {
        let first = start(|| DhtActor::new(config(1, Vec::new())));
        let bootstrap = address(first.port()).await;
        let second = start(move || DhtActor::new(config(2, vec![bootstrap.clone()])));
        let (outlet, mut events) = Outlet::channel("test", 16);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key: KEY, outlet };
        second.port().send(listen).await.unwrap();
        let put = |reply| DhtMessage::Put { key: KEY, value: value(7), permanent: true, reply };
        let report = first.port().ask(PATIENCE, put).await.unwrap().unwrap();
        assert_eq!(report.stored, 1);
        assert_eq!(told(&mut events).await, 7);
        for root in [first, second] {
            let end = root.shutdown(PATIENCE).await;
            assert!(end.complete && end.actors_left == 0 && end.tasks_left == 0, "{end:?}");
        }
    });
}

#[test]
fn a_new_engine_is_told_what_was_asked_of_the_one_before() {
    run(async {
        let (outlet, mut events) = Outlet::channel("test", 16);
        let id = ListenId::unique();
        let root = start(move || {
            let mut actor = DhtActor::new(config(3, Vec::new()));
            actor.published.insert((KEY, ValueId(7)), value(7));
            actor.wishes.insert(id, Wish { key: KEY, outlet: outlet.clone() });
            actor
        });
        assert_eq!(told(&mut events).await, 7);
        root.port().send(DhtMessage::CancelPut { key: KEY, id: ValueId(7) }).await.unwrap();
        root.port().send(DhtMessage::Cancel { id }).await.unwrap();
        let health = root.port().ask(PATIENCE, |reply| DhtMessage::Health { reply }).await.unwrap();
        assert_eq!((health.published, health.listening_keys), (0, 0));
    });
}

#[test]
fn a_node_whose_port_is_taken_listens_on_another() {
    run(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listen = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        let config = DhtConfig { listen: vec![listen], ..config(4, Vec::new()) };
        let root = start(move || DhtActor::new(config.clone()));
        let other = address(root.port()).await.to_string();
        assert!(other.starts_with("/ip4/127.0.0.1/tcp/") && !other.ends_with(&format!("/{port}")), "{other}");
    });
}
