//! Whether a contact is there. Nobody says that they go: who is gone is seen by the announcement that is not
//! renewed. What waits for that takes ten minutes of the daemon's own clock, and is run by whoever asks for
//! it: `--run-ignored only`. That Skep sees an announcement lapse is tested in time of its own, without a daemon.

use std::time::{Duration, Instant};

use skep::{AccountId, ContactView, Event};
use skep_tests::harness::{PATIENCE, run, until};
use skep_tests::live::{Direction, Feature};
use tokio::time::{sleep, timeout};

use super::pair::Pair;

/// How long an announcement lives on the DHT when nobody renews it.
const LIFETIME: Duration = Duration::from_secs(600);

/// How often it is looked whether somebody is gone.
const LOOK: Duration = Duration::from_secs(1);

/// Time within which somebody is seen who has come.
const SECONDS: Duration = Duration::from_secs(30);

/// How Ada sees Bob.
async fn bob_seen(pair: &mut Pair) -> ContactView {
    let bob = pair.bob.id;
    pair.ada.contacts().await.unwrap().into_iter().find(|contact| contact.id == bob).unwrap()
}

/// Bob's daemon sees Ada online.
async fn ada_is_seen(pair: &Pair, ada: AccountId) {
    let begun = Instant::now();
    let seen = async || Ok(pair.jamid.sees_online(&pair.bob, ada).await?.then_some(()));
    until("jamid", "Ada online", seen).await.unwrap();
    assert!(begun.elapsed() < SECONDS, "it took {:?}", begun.elapsed());
}

/// Bob's daemon is killed, and Ada sees that at once though he is announced still.
async fn bob_is_killed(pair: &mut Pair) {
    let bob = pair.bob.id;
    let seen = bob_seen(pair).await;
    assert!(seen.online && seen.devices.len() == 1, "{seen:?}");
    let killed = pair.ada.node.events().mark();
    pair.jamid.kill();
    let down =
        |event: &Event| matches!(event, Event::LinkDown { contact, .. } if *contact == bob).then_some(());
    pair.ada.told(killed, "the link to be gone", down).await.unwrap();
    let seen = bob_seen(pair).await;
    assert!(seen.online && !seen.connected, "it is announced still: {seen:?}");
}

#[test]
fn a_daemon_sees_that_skep_is_there() {
    run(async {
        let Some((mut pair, _)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Presence, Direction::ToDaemon);
        let ada = pair.ada.id;
        pair.jamid.follow(&pair.bob, ada).await.unwrap();
        ada_is_seen(&pair, ada).await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_sees_that_a_daemon_is_there_and_at_once_that_its_link_is_gone() {
    run(async {
        let Some((mut pair, _)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Presence, Direction::FromDaemon);
        bob_is_killed(&mut pair).await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
#[ignore = "waits ten minutes for an announcement to lapse"]
fn a_daemon_sees_skep_come_and_go() {
    run(async {
        let Some((mut pair, _)) = Pair::befriended().await else { return };
        let ada = pair.ada.id;
        pair.jamid.follow(&pair.bob, ada).await.unwrap();
        ada_is_seen(&pair, ada).await;
        pair.ada.node.stop().await.unwrap();
        let gone = async {
            while pair.jamid.sees_online(&pair.bob, ada).await.unwrap() {
                sleep(LOOK).await;
            }
        };
        timeout(LIFETIME + PATIENCE, gone).await.expect("Ada is still online");
        pair.ada.node.restart().await.unwrap();
        ada_is_seen(&pair, ada).await;
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
#[ignore = "waits ten minutes for an announcement to lapse"]
fn skep_sees_a_daemon_come_and_go() {
    run(async {
        let Some((mut pair, _)) = Pair::befriended().await else { return };
        let bob = pair.bob.id;
        bob_is_killed(&mut pair).await;
        let gone = async {
            while bob_seen(&mut pair).await.online {
                sleep(LOOK).await;
            }
        };
        timeout(LIFETIME + PATIENCE, gone).await.expect("Bob is still online");
        let back = pair.ada.node.events().mark();
        pair.jamid.restart().await.unwrap();
        let online = |event: &Event| {
            matches!(event, Event::Presence { contact, online: true, .. } if *contact == bob).then_some(())
        };
        pair.ada.told(back, "Bob to be back", online).await.unwrap();
        pair.ada.node.stop().await.unwrap();
    });
}
