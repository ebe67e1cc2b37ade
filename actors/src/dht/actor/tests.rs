//! The actor, over TCP on one machine.

use std::future::Future;
use std::time::Duration;

use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::UnixMillis;
use tokio::sync::mpsc;

use super::DhtActor;
use crate::dht::DhtMemory;
use crate::dht::kad::KadNetwork;
use crate::dht::kad::config::{BootstrapAddress, NodeSecret};
use crate::dht::messages::{DhtError, DhtMessage, Health, ListenEvent, ListenId, PutReport};
use crate::supervision::{Environment, Outlet, Port, Reply, RootHandle, start_root};

const KEY: DhtKey = DhtKey([5; 20]);
const PATIENCE: Duration = Duration::from_secs(20);

fn config(number: u8, bootstrap: Vec<BootstrapAddress>) -> KadNetwork {
    KadNetwork {
        secret: NodeSecret([number; 32]),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        bootstrap,
        known_peers: None,
    }
}

fn start(config: KadNetwork) -> RootHandle<DhtMessage> {
    start_with(config, DhtMemory::default())
}

fn start_with(config: KadNetwork, memory: DhtMemory) -> RootHandle<DhtMessage> {
    let make = move || DhtActor::new(config.clone(), memory.clone());
    start_root(Environment::single_thread(UnixMillis(0), 1), make)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn value(id: u64) -> Value {
    Value::plain(ValueId(id), Content::new(0, b"x".to_vec()))
}

fn put(id: u64, reply: Reply<Result<PutReport, DhtError>>) -> DhtMessage {
    DhtMessage::Put { key: KEY, value: value(id), permanent: true, reply }
}

async fn health(port: &Port<DhtMessage>) -> Health {
    port.ask(PATIENCE, |reply| DhtMessage::Health { reply }).await.unwrap()
}

async fn address(port: &Port<DhtMessage>) -> BootstrapAddress {
    loop {
        match health(port).await.listening.first() {
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
        let first = start(config(1, Vec::new()));
        let bootstrap = address(first.port()).await;
        let second = start(config(2, vec![bootstrap]));
        let (outlet, mut events) = Outlet::channel("test", 16);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key: KEY, outlet };
        second.port().send(listen).await.unwrap();
        let report = first.port().ask(PATIENCE, |reply| put(7, reply)).await.unwrap().unwrap();
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
        let memory = DhtMemory::default();
        memory.note(&put(7, Reply::channel().0));
        memory.note(&DhtMessage::Listen { id, key: KEY, outlet });
        let root = start_with(config(3, Vec::new()), memory);
        assert_eq!(told(&mut events).await, 7);
        root.port().send(DhtMessage::CancelPut { key: KEY, id: ValueId(7) }).await.unwrap();
        root.port().send(DhtMessage::Cancel { id }).await.unwrap();
        let health = health(root.port()).await;
        assert_eq!((health.published, health.listening_keys), (0, 0));
    });
}

#[test]
fn a_failed_actor_forgets_nothing_it_was_asked_for_good() {
    run(async {
        let first = start(config(5, Vec::new()));
        let bootstrap = address(first.port()).await;
        let second = start(config(6, vec![bootstrap]));
        let (outlet, mut events) = Outlet::channel("test", 16);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key: KEY, outlet };
        second.port().send(listen).await.unwrap();
        second.port().ask(PATIENCE, |reply| put(7, reply)).await.unwrap().unwrap();
        assert_eq!(told(&mut events).await, 7);

        assert!(second.environment().tree().inject_panic(second.port().id()));
        let health_after = health(second.port()).await;
        assert_eq!((health_after.published, health_after.listening_keys), (1, 1));
        assert_eq!(second.environment().tree().rows()[0].restarts, 1);
        // The outlet from before the failure is told of what is put after it.
        first.port().ask(PATIENCE, |reply| put(8, reply)).await.unwrap().unwrap();
        while told(&mut events).await != 8 {}
        // A node that joins is given the value from before the failure by its publisher.
        assert!(first.shutdown(PATIENCE).await.complete);
        let address = address(second.port()).await;
        let third = start(config(7, vec![address]));
        let given = async {
            while health(third.port()).await.stored_values == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, given).await.unwrap();
    });
}

#[test]
fn a_node_whose_port_is_taken_listens_on_another() {
    run(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listen = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        let config = KadNetwork { listen: vec![listen], ..config(4, Vec::new()) };
        let root = start(config);
        let other = address(root.port()).await.to_string();
        assert!(other.starts_with("/ip4/127.0.0.1/tcp/") && !other.ends_with(&format!("/{port}")), "{other}");
    });
}
