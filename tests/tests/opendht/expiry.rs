//! Values that are put once expire ten minutes after they were made, so those that were made almost ten
//! minutes ago expire within seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skep_actors::dht::messages::ListenEvent;
use skep_protocol::dht::opendht::packet::{
    Body, Datagram, NetworkId, Packet, Reader, Reply, Request, TransactionId,
};
use skep_protocol::dht::opendht::query::Query;
use skep_protocol::dht::value::Value;
use skep_protocol::ids::{DhtKey, NodeId};
use skep_tests::daemon::DhtNode;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::engine::{Ours, PATIENCE, key, run, text_of, text_value, told};

/// How long ago a value was made, in seconds: eight less than it lives.
const AGO: u64 = 592;

/// How much a clock is fast, in seconds.
const FAST: i64 = 592;

/// Asks a node once.
async fn ask(socket: &UdpSocket, request: Request) -> Reply {
    let sender = NodeId([9; 20]);
    let network = NetworkId::default();
    let transaction = TransactionId(1);
    let packet = Packet { network, client: true, transaction, sender, body: Body::Request(request) };
    for datagram in packet.encode() {
        socket.send(&datagram).await.unwrap();
    }
    let answer = async {
        let mut buffer = [0; 2048];
        loop {
            let length = socket.recv(&mut buffer).await.unwrap();
            let from = socket.peer_addr().unwrap();
            let reader = Reader { id: sender, network };
            if let Ok(Datagram::Whole(packet)) = Datagram::decode(&buffer[..length], &from, &reader)
                && let Body::Reply(reply) = packet.body
            {
                return reply;
            }
        }
    };
    timeout(PATIENCE, answer).await.unwrap()
}

/// Puts a value that was made some time ago.
async fn put_old(node: &DhtNode, key: DhtKey, value: Value) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(node.address()).await.unwrap();
    let token = ask(&socket, Request::Get { key, query: Query::default(), want: None }).await.token;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (id, values) = (value.id, vec![value.into()]);
    let reply = ask(&socket, Request::Put { key, values, created: Some(now - AGO), token }).await;
    assert_eq!(reply.stored, Some(id));
}

#[test]
fn a_value_expires_at_dhtnode_and_our_listener_is_told() {
    run(async {
        let theirs = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::beside(&theirs).await;
        let key = key("soon gone there");
        let mut events = ours.listen(key).await;
        put_old(&theirs, key, text_value(1, "short-lived")).await;
        let value = told(&mut events, |_| true).await;
        assert_eq!(ours.get(key).await.values, [(*value).clone()]);
        let expired = async {
            loop {
                if let ListenEvent::Expired(gone) = events.recv().await.unwrap() {
                    return gone;
                }
            }
        };
        assert_eq!(timeout(PATIENCE, expired).await.unwrap(), [value.fingerprint()]);
        assert!(ours.get(key).await.values.is_empty());
    });
}

#[test]
fn a_value_of_dhtnode_expires_at_our_node() {
    run(async {
        let mut theirs = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::start_with(Ours::network(&[theirs.address()], None), FAST);
        ours.reachable().await;
        let key = key("soon gone here");
        let mut events = ours.listen(key).await;
        theirs.command(&format!("p {key} short-lived")).await.unwrap();
        assert_eq!(text_of(&*told(&mut events, |_| true).await), "short-lived");
        theirs.until("its outcome", |line| line.starts_with("Put: success").then_some(())).await.unwrap();
        // What it puts beside, its certificate for instance, stays.
        let before = ours.health().await.stored_values;
        assert!(before > 0);
        let expired = async {
            while ours.health().await.stored_values >= before {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, expired).await.unwrap();
        // At the node that put it, whose clock is right, it is still there, and so it is found.
        assert_eq!(text_of(&ours.get(key).await.values[0]), "short-lived");
    });
}
