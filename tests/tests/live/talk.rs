//! Becoming contacts, and a text each way.

use skep::ConversationId;
use skep_tests::harness::{Mark, run};
use skep_tests::live::{Direction, Feature};

use super::pair::Pair;

/// Says something each way.
async fn talk(pair: &mut Pair, id: ConversationId) {
    let said = pair.lab.attempt(Feature::Text, Direction::ToDaemon);
    pair.ada_says(id, "hello from Skep \u{1f41d}").await;
    said.works();
    let heard = pair.lab.attempt(Feature::Text, Direction::FromDaemon);
    pair.bob_says(id, "hello from a daemon \u{1f44b}").await;
    heard.works();
}

#[test]
fn a_daemon_accepts_a_request_of_skep_and_both_talk() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let asked = pair.lab.attempt(Feature::Contact, Direction::ToDaemon);
        let id = pair.ada_asks().await;
        asked.works();
        talk(&mut pair, id).await;
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_accepts_a_request_of_a_daemon_and_both_talk() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let asked = pair.lab.attempt(Feature::Contact, Direction::FromDaemon);
        let id = pair.bob_asks(Mark::BEGINNING).await;
        asked.works();
        talk(&mut pair, id).await;
        pair.ada.node.stop().await.unwrap();
    });
}
