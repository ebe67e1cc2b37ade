//! What the reference was sent and how it answered; and the same, damaged.

use std::collections::BTreeSet;

use super::*;
use crate::dht::opendht::golden_tests::{READER, recorded, source, specified};
use crate::dht::opendht::node::{Family, NodeConfig, OpenDhtNode};
use crate::dht::opendht::operation::Now;
use crate::dht::opendht::packet::{Body, Datagram, NetworkId, Packet, Request, TransactionId};
use crate::dht::opendht::token::Token;
use crate::ids::NodeId;
use crate::testing::with_mutations;
use crate::time::{Moment, UnixMillis};

/// The token of the recording.
const TOKEN: &str = "32c3f8cb1f92e9cca47307e17a7b8a0bd66198a22ad9d009b229de6bbb2473f9";

fn node(id: NodeId) -> (OpenDhtNode, Now) {
    let now = Now { moment: Moment(seconds(1)), wall: UnixMillis(1_700_000_000_000) };
    let families = BTreeSet::from(Family::ALL);
    let config = NodeConfig { id, network: NetworkId(0), client: false, families, seed: [3; 32] };
    (OpenDhtNode::new(config, now), now)
}

/// What a packet says, without what differs from one run or release to the next.
fn essence(bytes: &[u8]) -> Option<Packet> {
    let Ok(Datagram::Whole(mut packet)) = Datagram::decode(bytes, &source(), &READER) else { panic!() };
    match &mut packet.body {
        Body::Request(Request::Ping) => return None,
        Body::Request(Request::Update { token, .. }) => {
            *token = None;
            packet.transaction = TransactionId(0);
        }
        Body::Reply(reply) => reply.token = None,
        _ => {}
    }
    Some(packet)
}

#[test]
fn a_node_answers_the_recorded_requests_as_the_reference_did() {
    let id: NodeId = "a861fe9275945c97eab7c7172460983364682329".parse().unwrap();
    let (mut node, now) = node(id);
    node.addresses.prove(now.moment, source());
    let (old, own) = (Token::new(&hex::decode(TOKEN).unwrap()).unwrap(), node.mint.token(&source()));
    let (mut checked, mut answers) = (0, Vec::new());
    for (name, packet) in specified() {
        let number: usize = name.trim_start_matches('V').split(' ').next().unwrap().parse().unwrap();
        if name.contains("TX") {
            let packet = hex::encode(packet).replace(TOKEN, &hex::encode(own.as_bytes()));
            node.handle_datagram(now, source(), &hex::decode(packet).unwrap());
            answers = std::iter::from_fn(|| node.poll_transmit()).map(|sent| sent.bytes).collect();
        } else if number <= 9 || number == 12 {
            let expected = essence(&packet);
            let found =
                answers.iter().filter_map(|answer| essence(answer)).any(|answer| Some(answer) == expected);
            assert!(found, "{name}: {expected:#?} is not among {answers:02x?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 11);
    assert_ne!(old, own);
}

#[test]
fn damaged_datagrams_of_real_nodes_stop_no_node_and_make_it_say_little() {
    let (mut node, mut now) = node(NodeId([7; 20]));
    node.listen(now, DhtKey::of_text("test key")).unwrap();
    node.put(now, key(), value(1, b"x"), true).unwrap();
    let mut handle = |node: &mut OpenDhtNode, from, bytes: &[u8]| {
        now.moment = now.moment.plus(Duration::from_millis(3));
        node.handle_datagram(now, from, bytes);
        if node.deadline().is_some_and(|deadline| deadline <= now.moment) {
            node.handle_timeout(now);
        }
        let sent: usize = std::iter::from_fn(|| node.poll_transmit()).map(|sent| sent.bytes.len()).sum();
        assert!(sent < 200_000, "{sent}");
        while node.poll_event().is_some() {}
    };
    let specified = specified().into_iter().map(|(_, packet)| (source(), packet));
    for (from, packet) in specified.chain(recorded()) {
        with_mutations(&packet, 8, |bytes| handle(&mut node, from, bytes));
    }
    let health = node.health(now);
    assert!(health.requests < 1000 && health.stored_values < 5000, "{health:?}");
}
