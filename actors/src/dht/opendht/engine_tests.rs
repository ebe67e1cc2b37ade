//! Nodes over UDP on one machine.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use skep_protocol::dht::content::Content;
use skep_protocol::dht::opendht::packet::NetworkId;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::{DhtKey, NodeId};
use skep_protocol::time::UnixMillis;
use tokio::sync::mpsc;

use super::OpenDhtNetwork;
use crate::dht::messages::{DhtError, DhtMessage, Found, Health, ListenEvent, ListenId, PutReport};
use crate::dht::{DhtActor, DhtMemory};
use crate::supervision::{Environment, Outlet, Port, RootHandle, start_root};

const KEY: DhtKey = DhtKey([5; 20]);
const PATIENCE: Duration = Duration::from_secs(30);

fn network(number: u8, bootstrap: &[String]) -> OpenDhtNetwork {
    OpenDhtNetwork {
        id: NodeId([number; 20]),
        network: NetworkId(7),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        bootstrap: bootstrap.to_vec(),
        local_discovery: false,
        known_nodes: None,
    }
}

fn start(network: OpenDhtNetwork) -> RootHandle<DhtMessage> {
    let seed = network.id.0[0].into();
    let memory = DhtMemory::default();
    let make = move || DhtActor::new(network.clone(), memory.clone());
    start_root(Environment::single_thread(UnixMillis(1_700_000_000_000), seed), make)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn value(id: u64, length: usize) -> Value {
    Value::plain(ValueId(id), Content::new(0, vec![u8::try_from(id).unwrap(); length]))
}

async fn put(port: &Port<DhtMessage>, value: Value, permanent: bool) -> Result<PutReport, DhtError> {
    port.ask(PATIENCE, |reply| DhtMessage::Put { key: KEY, value, permanent, reply }).await.unwrap()
}

async fn get(port: &Port<DhtMessage>) -> Result<Found, DhtError> {
    port.ask(PATIENCE, |reply| DhtMessage::Get { key: KEY, reply }).await.unwrap()
}

async fn health(port: &Port<DhtMessage>) -> Health {
    port.ask(PATIENCE, |reply| DhtMessage::Health { reply }).await.unwrap()
}

async fn address(port: &Port<DhtMessage>) -> String {
    health(port).await.listening[0].clone()
}

async fn listen(port: &Port<DhtMessage>) -> (ListenId, mpsc::Receiver<ListenEvent>) {
    let (outlet, events) = Outlet::channel("test", 64);
    let id = ListenId::unique();
    port.send(DhtMessage::Listen { id, key: KEY, outlet }).await.unwrap();
    (id, events)
}

async fn told(events: &mut mpsc::Receiver<ListenEvent>) -> ListenEvent {
    tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap()
}

async fn told_value(events: &mut mpsc::Receiver<ListenEvent>) -> Value {
    match told(events).await {
        ListenEvent::Values(values) if values.len() == 1 => Value::clone(&values[0]),
        other => panic!("{other:?}"),
    }
}

async fn reachable(port: &Port<DhtMessage>) {
    while !health(port).await.reachable {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn nodes_put_get_and_listen_in_each_direction() {
    run(async {
        let first = start(network(1, &[]));
        let second = start(network(2, &[address(first.port()).await]));
        reachable(second.port()).await;
        reachable(first.port()).await;
        let (_, mut at_first) = listen(first.port()).await;
        let (_, mut at_second) = listen(second.port()).await;
        for (id, from) in [(1, &first), (2, &second)] {
            assert_eq!(put(from.port(), value(id, 100), false).await, Ok(PutReport { stored: 1 }));
            assert_eq!(told_value(&mut at_first).await, value(id, 100));
            assert_eq!(told_value(&mut at_second).await, value(id, 100));
        }
        for port in [first.port(), second.port()] {
            assert_eq!(get(port).await.unwrap().values, [value(1, 100), value(2, 100)]);
        }
        first.shutdown(PATIENCE).await;
        second.shutdown(PATIENCE).await;
    });
}

#[test]
fn the_largest_value_arrives_whole() {
    run(async {
        let first = start(network(1, &[]));
        let second = start(network(2, &[address(first.port()).await]));
        reachable(second.port()).await;
        let (_, mut events) = listen(second.port()).await;
        // Its size is within the limit, but not that of its packed form.
        let content = Content::new(0, vec![2; 65_526]).with_user_type("text/plain");
        let too_large = Value::plain(ValueId(2), content);
        assert_eq!(too_large.check_size(), Ok(()));
        assert!(matches!(put(first.port(), too_large, true).await, Err(DhtError::Value(_))));
        let large = value(1, 65_500);
        assert_eq!(put(first.port(), large.clone(), true).await, Ok(PutReport { stored: 1 }));
        assert_eq!(told_value(&mut events).await, large);
        assert_eq!(get(second.port()).await.unwrap().values, [large]);
    });
}

#[test]
fn a_node_joins_again_through_the_nodes_of_its_last_run() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("nodes");
        let first = start(network(1, &[]));
        let with_file = |bootstrap: &[String]| OpenDhtNetwork {
            known_nodes: Some(file.clone()),
            ..network(2, bootstrap)
        };
        let second = start(with_file(&[address(first.port()).await]));
        reachable(second.port()).await;
        second.shutdown(PATIENCE).await;
        let again = start(with_file(&[]));
        reachable(again.port()).await;
        assert_eq!(health(again.port()).await.peers, 1);
    });
}

#[test]
fn a_node_alone_joins_through_a_name_added_later() {
    run(async {
        let first = start(network(1, &[]));
        let second = start(network(2, &[]));
        assert!(!health(second.port()).await.reachable);
        let port = address(first.port()).await.rsplit_once(':').unwrap().1.to_owned();
        for (address, fine) in [(format!("localhost:{port}"), true), ("a b".to_owned(), false)] {
            let added = second.port().ask(PATIENCE, |reply| DhtMessage::AddBootstrap { address, reply });
            assert_eq!(added.await.unwrap().is_ok(), fine);
        }
        reachable(second.port()).await;
    });
}

#[test]
fn a_cancelled_listener_is_not_told_any_more() {
    run(async {
        let node = start(network(1, &[]));
        let (id, mut events) = listen(node.port()).await;
        let (_, mut other) = listen(node.port()).await;
        node.port().send(DhtMessage::Cancel { id }).await.unwrap();
        let (reply, _) = crate::supervision::Reply::channel();
        let put = DhtMessage::Put { key: KEY, value: value(1, 10), permanent: true, reply };
        node.port().send(put).await.unwrap();
        assert_eq!(told_value(&mut other).await, value(1, 10));
        assert_eq!(events.recv().await, None);
        assert_eq!(health(node.port()).await.listening_keys, 1);
    });
}

#[test]
fn nodes_nearby_find_each_other_without_an_address() {
    run(async {
        // Other runs of this test on this machine are other networks.
        let network_id = NetworkId(std::process::id());
        let nearby =
            |number| OpenDhtNetwork { local_discovery: true, network: network_id, ..network(number, &[]) };
        let first = start(nearby(1));
        let alone = start(OpenDhtNetwork { network: network_id, ..network(3, &[]) });
        let second = start(nearby(2));
        reachable(second.port()).await;
        reachable(first.port()).await;
        assert_eq!(put(first.port(), value(1, 100), false).await, Ok(PutReport { stored: 1 }));
        assert_eq!(get(second.port()).await.unwrap().values, [value(1, 100)]);
        assert!(!health(alone.port()).await.reachable, "it did not ask to be found");
    });
}
