//! Nodes in one network find each other though none is told of another.

use std::net::{Ipv6Addr, SocketAddr};

use skep::rpc::schema::{DhtKeyParams, DhtPutParams, method};
use skep_tests::daemon::DhtNode;
use skep_tests::harness::{DHT_PORT, Network, Node, NodeSetup, Place, no_namespaces, until};

use crate::engine::run;

/// The option of `dhtnode` for it.
const LOOK_AROUND: &str = "-D";

/// Runs a test with two nodes of ours and a `dhtnode` in a network of their own, once they have met.
fn run_in_network(ipv6_only: bool, test: impl AsyncFnOnce(&mut DhtNode, [Node; 2])) {
    if let Some(obstacle) = no_namespaces() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    run(async {
        let mut network = Network::private().unwrap();
        let places = ["theirs", "one", "other"].map(|name| network.place(name).unwrap());
        if ipv6_only {
            places.iter().for_each(|place| assert!(!place.speak_ipv6().unwrap().is_unspecified()));
        }
        let mut theirs = DhtNode::start_at(&places[0], DHT_PORT, &[LOOK_AROUND]).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let setup = |name, place: &Place| {
            let setup = NodeSetup::new(name, folder.path()).at(place.clone()).on("opendht").looking_around();
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, DHT_PORT));
            if ipv6_only { setup.listening_at(any) } else { setup }
        };
        let mut one = setup("one", &places[1]).start().await.unwrap();
        let mut other = setup("other", &places[2]).start().await.unwrap();
        for node in [&mut one, &mut other] {
            let name = node.name().to_owned();
            let met = async || {
                let health = node.health().await?;
                Ok((health.reachable && health.peers == 2).then_some(()))
            };
            until(&name, "two other nodes", met).await.unwrap();
        }
        test(&mut theirs, [one, other]).await;
    });
}

async fn everybody_finds_what_others_put(theirs: &mut DhtNode, mut nodes: [Node; 2]) {
    theirs.command("p aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d theirs").await.unwrap();
    let [one, _] = &mut nodes;
    let put = DhtPutParams { key: "hello".to_owned(), text: "ours".to_owned(), permanent: false };
    // A node that takes a second to answer is not waited for; it is told later.
    assert!((1..=2).contains(&one.call(method::DhtPut, put).await.unwrap().stored));
    theirs.get_until("aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d", "\"ours\"").await.unwrap();
    for node in &mut nodes {
        let name = node.name().to_owned();
        let found = async || {
            let key = DhtKeyParams { key: "hello".to_owned() };
            let found = node.call(method::DhtGet, key).await?;
            let mut texts: Vec<_> = found.values.into_iter().filter_map(|value| value.text).collect();
            texts.sort();
            Ok((texts == ["ours", "theirs"]).then_some(()))
        };
        until(&name, "both values", found).await.unwrap();
    }
}

#[test]
fn nodes_in_one_network_find_each_other_and_a_dhtnode() {
    run_in_network(false, everybody_finds_what_others_put);
}

#[test]
fn nodes_in_one_network_find_each_other_and_a_dhtnode_over_ipv6_alone() {
    run_in_network(true, everybody_finds_what_others_put);
}

#[test]
fn a_node_without_any_network_says_once_that_it_looks_for_nobody_and_goes_on() {
    if let Some(obstacle) = no_namespaces() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    run(async {
        let mut network = Network::private().unwrap();
        let place = network.place("alone").unwrap();
        skep_tests::harness::run_to_end(place.command("ip").args(["link", "del", "eth0"])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let setup = NodeSetup::new("alone", folder.path()).at(place).on("opendht").looking_around();
        let mut node = setup.listening_at(SocketAddr::from(([0; 4], DHT_PORT))).start().await.unwrap();
        let put = DhtPutParams { key: "hello".to_owned(), text: "ours".to_owned(), permanent: true };
        // Nobody keeps it, and the node says so after a while, having looked around meanwhile.
        drop(node.ask(method::DhtPut, put).await.unwrap());
        assert!(!node.health().await.unwrap().reachable);
        let log = std::fs::read_to_string(node.setup().log()).unwrap();
        assert_eq!(log.matches("nodes nearby are not looked for").count(), 1, "{log}");
    });
}
