//! Either side is killed while messages are on their way, and comes back.

use skep_tests::harness::run;
use skep_tests::live::{Direction, Feature};

use super::pair::{Pair, texts};

/// Messages sent, and how many of them before the kill.
const COUNT: usize = 40;
const BEFORE: usize = 15;

#[test]
fn a_daemon_that_was_killed_gets_what_skep_sent_meanwhile() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::ReceiverKilled, Direction::ToDaemon);
        let sent = texts("Ada", COUNT);
        let mut burst = pair.ada.burst(id, sent.iter().cloned()).await.unwrap();
        burst.acknowledged(BEFORE).await.unwrap();
        pair.jamid.kill();
        assert_eq!(burst.end().await.unwrap().len(), COUNT);
        pair.jamid.restart().await.unwrap();
        pair.bob_has(id, &[("body", &sent[COUNT - 1])]).await;
        pair.same_history(id, &sent).await;
        pair.ada_says(id, "welcome back").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_that_was_killed_gets_what_a_daemon_sent_meanwhile() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::ReceiverKilled, Direction::FromDaemon);
        let sent = texts("Bob", COUNT);
        for (number, text) in sent.iter().enumerate() {
            pair.jamid.send(&pair.bob, id, text).await.unwrap();
            if number == BEFORE {
                pair.ada.receives(id, &sent[0]).await.unwrap();
                pair.ada.node.kill();
            }
        }
        pair.bob_has(id, &[("body", &sent[COUNT - 1])]).await;
        pair.ada.node.restart().await.unwrap();
        pair.ada_has(id, "the last message", |message| message.body == sent[COUNT - 1]).await;
        pair.same_history(id, &sent).await;
        pair.ada_says(id, "here I am again").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn what_skep_acknowledged_before_it_was_killed_reaches_a_daemon() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::SenderKilled, Direction::ToDaemon);
        let mut burst = pair.ada.burst(id, texts("Ada", COUNT)).await.unwrap();
        burst.acknowledged(BEFORE).await.unwrap();
        pair.ada.node.kill();
        let acknowledged: Vec<String> =
            burst.end().await.unwrap().into_iter().map(|(_, text)| text).collect();
        assert!(acknowledged.len() >= BEFORE);
        pair.ada.node.restart().await.unwrap();
        pair.same_history(id, &acknowledged).await;
        pair.ada_says(id, "here I am again").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn what_a_daemon_wrote_before_it_was_killed_reaches_skep() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::SenderKilled, Direction::FromDaemon);
        let sent = texts("Bob", COUNT);
        // It writes them after it has answered, in no order.
        let (first, rest) = sent.split_at(BEFORE);
        for text in first {
            pair.jamid.send(&pair.bob, id, text).await.unwrap();
        }
        for text in first {
            pair.bob_has(id, &[("body", text)]).await;
        }
        for text in rest {
            pair.jamid.send(&pair.bob, id, text).await.unwrap();
        }
        pair.jamid.restart().await.unwrap();
        pair.same_history(id, first).await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}
