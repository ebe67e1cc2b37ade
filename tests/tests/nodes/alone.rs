//! A node that reaches nobody.

use skep_tests::harness::{Golden, NodeSetup, Person, run};

#[test]
fn without_its_bootstrap_a_node_says_so_and_keeps_what_is_written() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        // A port that is free, and stays so for all we know.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let setup = NodeSetup::new("alice", place.path()).joining(&free.to_string());
        let mut alice = Person::start(Golden::ALICE, setup).await.unwrap();
        let health = alice.node.health().await.unwrap();
        assert!(!health.reachable && health.peers == 0, "{health:?}");
        assert!(!alice.describe().await.unwrap().announced);
        let id = alice.add(Golden::CAROL.id.parse().unwrap()).await.unwrap();
        let sent = alice.send(id, "for later").await.unwrap();
        alice.node.restart().await.unwrap();
        assert!(alice.log(id).await.unwrap().contains(&sent));
        assert!(!alice.node.health().await.unwrap().reachable);
        alice.node.stop().await.unwrap();
    });
}
