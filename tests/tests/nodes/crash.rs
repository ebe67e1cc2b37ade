//! Processes that are killed while they work.

use std::collections::BTreeSet;

use skep_tests::harness::{run, same_history};

use super::Pair;

/// Messages of a burst.
const BURST: usize = 40;

fn texts() -> impl Iterator<Item = String> {
    (0..BURST).map(|number| format!("burst {number}"))
}

#[test]
fn what_a_killed_sender_acknowledged_is_not_lost() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let mut burst = alice.burst(id, texts()).await.unwrap();
        burst.acknowledged(10).await.unwrap();
        alice.node.kill();
        let sent = burst.end().await.unwrap();
        assert!(sent.len() < BURST, "the burst was over before its sender was killed");
        alice.node.restart().await.unwrap();
        let here: BTreeSet<_> = alice.log(id).await.unwrap().into_iter().collect();
        assert!(sent.iter().all(|(commit, _)| here.contains(commit)), "lost by the sender");
        let last = alice.send(id, "back again").await.unwrap();
        carol.has(id, last).await.unwrap();
        let log = same_history(&mut alice, &mut carol, id).await.unwrap();
        assert!(sent.iter().all(|(commit, _)| log.contains(commit)), "lost on the way");
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn a_killed_receiver_catches_up_with_a_burst() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let mut burst = alice.burst(id, texts()).await.unwrap();
        burst.acknowledged(1).await.unwrap();
        carol.receives(id, "burst 0").await.unwrap();
        let own = carol.send(id, "in between").await.unwrap();
        carol.node.kill();
        let sent = burst.end().await.unwrap();
        assert_eq!(sent.len(), BURST);
        carol.node.restart().await.unwrap();
        carol.has(id, sent[BURST - 1].0).await.unwrap();
        let log = same_history(&mut alice, &mut carol, id).await.unwrap();
        assert!(log.contains(&own), "lost by the receiver");
        assert!(sent.iter().all(|(commit, _)| log.contains(commit)));
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn a_node_killed_while_both_write_comes_back_to_one_history() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let from_alice = alice.burst(id, texts()).await.unwrap();
        let mut from_carol = carol.burst(id, texts()).await.unwrap();
        from_carol.acknowledged(5).await.unwrap();
        carol.node.kill();
        let (from_alice, from_carol) = (from_alice.end().await.unwrap(), from_carol.end().await.unwrap());
        // Alice has long begun to look for carol when she is back.
        let absent = alice.send(id, "where are you?").await.unwrap();
        carol.node.restart().await.unwrap();
        carol.has(id, absent).await.unwrap();
        let log = same_history(&mut alice, &mut carol, id).await.unwrap();
        assert!(from_alice.iter().chain(&from_carol).all(|(commit, _)| log.contains(commit)));
    });
}
