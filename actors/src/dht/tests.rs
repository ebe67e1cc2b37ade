//! The actor, over TCP on one machine.

use std::time::Duration;

use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::UnixMillis;
use tokio::sync::mpsc;

use super::kad::config::{BootstrapAddress, NodeSecret};
use super::messages::{DhtMessage, ListenEvent, ListenId};
use super::{DhtActor, DhtConfig};
use crate::supervision::{Environment, Outlet, Port, RootHandle, start_root};

const KEY: DhtKey = DhtKey([5; 20]);
const PATIENCE: Duration = Duration::from_secs(20);

fn start(number: u8, bootstrap: Vec<BootstrapAddress>) -> RootHandle<DhtMessage> {
    let config = DhtConfig {
        secret: NodeSecret([number; 32]),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        bootstrap,
        known_peers: None,
    };
    let environment = Environment::single_thread(UnixMillis(0), number.into());
    start_root(environment, move || DhtActor::new(config.clone()))
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let first = start(1, Vec::new());
        let second = start(2, vec![address(first.port()).await]);
        let (outlet, mut events) = Outlet::channel("test", 16);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key: KEY, outlet };
        second.port().send(listen).await.unwrap();
        let value = Value::plain(ValueId(7), Content::new(0, b"x".to_vec()));
        let put = |reply| DhtMessage::Put { key: KEY, value, permanent: true, reply };
        let report = first.port().ask(PATIENCE, put).await.unwrap().unwrap();
        assert_eq!(report.stored, 1);
        assert_eq!(told(&mut events).await, 7);
        for root in [first, second] {
            let end = root.shutdown(PATIENCE).await;
            assert!(end.complete && end.actors_left == 0 && end.tasks_left == 0, "{end:?}");
        }
    });
}
