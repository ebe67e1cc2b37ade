//! Two people on nodes of ours meet and talk over the OpenDHT that a `dhtnode` serves.

use skep_tests::daemon::DhtNode;
use skep_tests::harness::{Golden, NodeSetup, Person};

use crate::engine::run;

async fn talk_over(network: &'static str) {
    let node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let setup = |name| NodeSetup::new(name, place.path()).on(network).joining(&node.address());
    let mut alice = Person::start(Golden::ALICE, setup("alice")).await.unwrap();
    let mut carol = Person::start(Golden::CAROL, setup("carol")).await.unwrap();
    alice.announced().await.unwrap();
    carol.announced().await.unwrap();
    let conversation = alice.befriend(&mut carol).await.unwrap();
    let hello = alice.send(conversation, "hello").await.unwrap();
    assert_eq!(carol.receives(conversation, "hello").await.unwrap().id, hello);
    let answer = carol.send(conversation, "hello yourself").await.unwrap();
    assert_eq!(alice.receives(conversation, "hello yourself").await.unwrap().id, answer);
}

#[test]
fn two_people_meet_and_talk_over_opendht_alone() {
    run(talk_over("opendht"));
}

#[test]
fn two_people_meet_and_talk_over_opendht_beside_a_network_of_which_they_know_nobody() {
    run(talk_over("both"));
}
