//! Becoming contacts, and a text each way.

use skep::{ConversationId, Event, NodeEvent};
use skep_tests::daemon::Signal;
use skep_tests::harness::{Mark, run};
use skep_tests::live::{Direction, Feature};

use super::pair::{NAME, Pair};

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
        let shown = pair.lab.attempt(Feature::Profile, Direction::ToDaemon);
        let id = pair.ada_asks().await;
        asked.works();
        let profile = |signal: &Signal| match signal {
            Signal::TrustRequest { profile, .. } => Some(profile.clone()),
            _ => None,
        };
        let profile = pair.jamid.events().find(Mark::BEGINNING, profile).unwrap();
        assert!(profile.lines().any(|line| line == "FN:Ada"), "{profile}");
        shown.works();
        talk(&mut pair, id).await;
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_accepts_a_request_of_a_daemon_and_both_talk() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let asked = pair.lab.attempt(Feature::Contact, Direction::FromDaemon);
        let shown = pair.lab.attempt(Feature::Profile, Direction::FromDaemon);
        let id = pair.bob_asks(Mark::BEGINNING).await;
        asked.works();
        let name = |event: &NodeEvent| match &event.event {
            Event::ContactRequest { name, .. } => Some(name.clone()),
            _ => None,
        };
        assert_eq!(pair.ada.node.events().find(Mark::BEGINNING, name).as_deref(), Some(NAME));
        shown.works();
        talk(&mut pair, id).await;
        pair.ada.node.stop().await.unwrap();
    });
}
