//! Whether a contact is there. Nobody says that they go: who is gone is seen by the announcement that is not
//! renewed, so each of these takes ten minutes.

use std::time::{Duration, Instant};

use skep::{ContactView, Event};
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

#[test]
fn a_daemon_sees_skep_come_and_go() {
    run(async {
        let Some((mut pair, _)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Presence, Direction::ToDaemon);
        let ada = pair.ada.id;
        pair.jamid.follow(&pair.bob, ada).await.unwrap();
        let begun = Instant::now();
        let seen = async || Ok(pair.jamid.sees_online(&pair.bob, ada).await?.then_some(()));
        until("jamid", "Ada online", seen).await.unwrap();
        assert!(begun.elapsed() < SECONDS, "it took {:?}", begun.elapsed());

        pair.ada.node.stop().await.unwrap();
        let gone = async {
            while pair.jamid.sees_online(&pair.bob, ada).await.unwrap() {
                sleep(LOOK).await;
            }
        };
        timeout(LIFETIME + PATIENCE, gone).await.expect("Ada is still online");
        pair.ada.node.restart().await.unwrap();
        let seen = async || Ok(pair.jamid.sees_online(&pair.bob, ada).await?.then_some(()));
        until("jamid", "Ada online again", seen).await.unwrap();
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_sees_a_daemon_come_and_go() {
    run(async {
        let Some((mut pair, _)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::Presence, Direction::FromDaemon);
        let bob = pair.bob.id;
        let seen = bob_seen(&mut pair).await;
        assert!(seen.online && seen.devices.len() == 1, "{seen:?}");

        let killed = pair.ada.node.events().mark();
        pair.jamid.kill();
        let down =
            |event: &Event| matches!(event, Event::LinkDown { contact, .. } if *contact == bob).then_some(());
        pair.ada.told(killed, "the link to be gone", down).await.unwrap();
        let seen = bob_seen(&mut pair).await;
        assert!(seen.online && !seen.connected, "it is announced still: {seen:?}");
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
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}
