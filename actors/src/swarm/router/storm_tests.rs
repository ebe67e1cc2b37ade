//! Storms that were seen elsewhere, and what is left of them here: counted messages.

use skep_protocol::drt::telling::Head;

use super::lab::*;
use super::messages::RouterMessage;
use crate::swarm::messages::LinkState;
use crate::virtual_time::{self, pass};

#[test]
fn announcing_the_same_commit_thousands_of_times_tells_each_peer_once() {
    virtual_time::run(async {
        let lab = Lab::start(4, 1).await;
        lab.link_all();
        lab.settled().await;
        lab.publish(0, commit(1));
        lab.settled().await;
        let before: Vec<usize> = (0..4).map(|place| lab.times_told(place, commit(1))).collect();
        for round in 0..5000 {
            let source = [None, Some(device(1)), Some(device(2))][round % 3];
            lab.tell(0, RouterMessage::Head(Head { commit: commit(1), source }));
            lab.tell(1, RouterMessage::Heard { device: device(0), commit: commit(1) });
            if round % 100 == 0 {
                lab.settled().await;
            }
        }
        lab.settled().await;
        let after: Vec<usize> = (0..4).map(|place| lab.times_told(place, commit(1))).collect();
        assert_eq!(before, after);
        assert!(after[1..].iter().all(|times| (1..=3).contains(times)), "{after:?}");
    });
}

#[test]
fn a_thousand_flaps_of_a_link_announce_each_commit_at_most_once() {
    virtual_time::run(async {
        let lab = Lab::start(3, 0).await;
        lab.link_all();
        lab.settled().await;
        lab.publish(0, commit(1));
        lab.settled().await;
        for flap in 0..1000 {
            lab.unlink(0, 1);
            lab.settled().await;
            lab.link(0, 1);
            lab.settled().await;
            if flap == 500 {
                lab.unlink(0, 1);
                lab.publish(0, commit(2));
                lab.settled().await;
            }
        }
        let world = lab.shared.world();
        for place in &world.places {
            assert!(place.received.values().all(|times| *times == 1), "{:?}", place.received);
        }
        // Each side asks once for each new link.
        assert!(world.places[1].asked <= 1010, "{}", world.places[1].asked);
    });
}

#[test]
fn isolated_and_connected_again_a_thousand_times_announces_at_most_once() {
    virtual_time::run(async {
        // Every new link is the first one: the head is announced again.
        let lab = Lab::start(3, 0).await;
        lab.publish(0, commit(1));
        lab.settled().await;
        for _ in 0..1000 {
            lab.link(0, 1);
            lab.settled().await;
            lab.unlink(0, 1);
            lab.settled().await;
        }
        assert!(lab.times_told(1, commit(1)) <= 1);
        assert_eq!(lab.shared.world().places[0].kept.len(), 2);
    });
}

#[test]
fn hundreds_of_wishes_for_one_channel_ask_for_it_once() {
    virtual_time::run(async {
        let lab = Lab::start(3, 0).await;
        lab.shared.world().places[1].manners = Manners::Silent;
        for _ in 0..500 {
            lab.link(0, 1);
            lab.settled().await;
        }
        assert_eq!(lab.shared.world().places[1].asked, 1);
    });
}

#[test]
fn an_unchanged_peer_is_told_and_asked_nothing_for_a_day() {
    virtual_time::run(async {
        let lab = Lab::start(3, 1).await;
        lab.link_all();
        lab.publish(0, commit(1));
        lab.settled().await;
        let count = |lab: &Lab| {
            let world = lab.shared.world();
            let told: usize = world.places.iter().flat_map(|place| place.received.values()).sum();
            (told, world.places.iter().map(|place| place.asked).collect::<Vec<_>>())
        };
        let before = count(&lab);
        for _ in 0..24 * 60 {
            pass(60).await;
        }
        lab.settled().await;
        assert_eq!(count(&lab), before);
    });
}

#[test]
fn a_peer_that_declines_every_channel_is_asked_once_for_each_link() {
    virtual_time::run(async {
        let lab = Lab::start(3, 0).await;
        lab.shared.world().places[1].manners = Manners::Declines;
        for _ in 0..100 {
            lab.link(0, 1);
            let (device, account) = (device(1), account(1));
            for _ in 0..10 {
                lab.tell(0, RouterMessage::Link { device, account, state: LinkState::Up });
            }
            for _ in 0..60 {
                pass(10).await;
            }
            lab.settled().await;
            lab.unlink(0, 1);
        }
        assert_eq!(lab.shared.world().places[1].asked, 100);
    });
}
