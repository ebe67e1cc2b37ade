//! Overlays of some devices, and how commits spread in them.

use skep_protocol::drt::lease::{Lease, MAX_DURATION, Statement};
use skep_protocol::drt::message::MobileInfo;
use skep_protocol::drt::telling::FEW_MEMBERS;
use skep_protocol::ids::DeviceId;

use super::lab::*;
use super::messages::{RouteState, RouterMessage};
use crate::recorded::NOW;
use crate::swarm::messages::LinkState;
use crate::virtual_time::{self, pass};

#[test]
fn five_linked_devices_get_channels_and_none_is_told_more_often_than_it_has_channels() {
    virtual_time::run(async {
        let lab = Lab::start(5, 0).await;
        lab.link_all();
        lab.settled().await;
        for place in 0..5 {
            assert_eq!(lab.routes(place).await.degree(), 4);
        }
        for number in 0..10 {
            let (place, new) = (usize::from(number) % 5, commit(number));
            lab.publish(place, new);
            lab.settled().await;
            for other in (0..5).filter(|other| *other != place) {
                assert!(lab.has(other, new));
                assert!((1..=4).contains(&lab.times_told(other, new)), "{}", lab.times_told(other, new));
            }
        }
    });
}

#[test]
fn who_is_not_linked_to_the_author_hears_of_it_over_a_third() {
    virtual_time::run(async {
        let lab = Lab::start(3, 0).await;
        lab.link(0, 1);
        lab.link(1, 2);
        lab.settled().await;
        lab.publish(0, commit(1));
        lab.settled().await;
        assert!(lab.has(2, commit(1)));
        assert_eq!(lab.times_told(2, commit(1)), 1);
        // It waits for the one who cannot be reached, too, in case nobody passes it on.
        assert_eq!(lab.shared.world().places[0].kept, [account(2)]);
    });
}

fn distance(one: DeviceId, other: DeviceId) -> [u8; 32] {
    std::array::from_fn(|at| one.0[at] ^ other.0[at])
}

/// A mobile device that sleeps, as others remember it.
fn sleeper(place: usize) -> MobileInfo {
    let issued_at = NOW.seconds();
    let statement = Statement {
        conversation: CONVERSATION,
        issuer: account(place),
        device: device(place),
        issued_at,
        expires_at: issued_at + MAX_DURATION,
    };
    MobileInfo {
        device: device(place),
        lease: Some(Box::new(Lease { statement, signature: vec![1].into() })),
    }
}

#[test]
fn sleeping_devices_are_woken_once_for_each_commit_by_the_two_who_are_closest() {
    virtual_time::run(async {
        let sleepers = [20, 21, 22];
        let lab = Lab::start_beside(6, 0, sleepers.map(sleeper).to_vec()).await;
        lab.link_all();
        lab.settled().await;
        for number in 0..3 {
            for _ in 0..100 {
                lab.publish(usize::from(number), commit(number));
                lab.settled().await;
            }
            for asleep in sleepers.map(device) {
                let world = lab.shared.world();
                let woken = |place: &&usize| world.places[**place].woken.contains(&(asleep, commit(number)));
                let mut closest: Vec<usize> = (0..6).collect();
                closest.sort_by_key(|place| distance(asleep, device(*place)));
                let wakers: Vec<usize> = closest.iter().filter(woken).copied().collect();
                assert_eq!(wakers, closest[..2]);
            }
        }
        let woken: usize = lab.shared.world().places.iter().map(|place| place.woken.len()).sum();
        assert_eq!(woken, 3 * 3 * 2);
    });
}

#[test]
fn in_a_conversation_of_two_the_sleeping_device_of_the_other_one_is_woken_by_whoever_writes() {
    virtual_time::run(async {
        let lab = Lab::start_beside(2, 0, vec![sleeper(20)]).await;
        lab.link_all();
        lab.publish(0, commit(1));
        lab.settled().await;
        assert!(lab.shared.world().places[0].woken.contains(&(device(20), commit(1))));
    });
}

#[test]
fn devices_of_2023_are_asked_for_a_channel_once_and_told_of_every_commit() {
    virtual_time::run(async {
        let lab = Lab::start(4, 2).await;
        lab.link_all();
        lab.settled().await;
        // One shows what it is.
        let (device, account) = (device(3), account(3));
        lab.tell(0, RouterMessage::Link { device, account, state: LinkState::Legacy });
        for number in 0..5 {
            lab.publish(0, commit(number));
            lab.settled().await;
            for place in 1..4 {
                assert!(lab.has(place, commit(number)));
            }
            assert_eq!(lab.times_told(3, commit(number)), 2, "by each of those who have an overlay");
        }
        for _ in 0..24 {
            pass(3600).await;
            lab.settled().await;
        }
        assert_eq!(lab.shared.world().places[3].asked, 2, "once by each");
        assert_eq!(lab.shared.world().places[2].asked, 2);
        assert_eq!(lab.routes(0).await.direct.len(), 2);
    });
}

#[test]
fn in_a_large_conversation_links_get_few_channels_and_old_devices_are_told_all_the_same() {
    virtual_time::run(async {
        let (count, legacy) = (48, 4);
        assert!(count > FEW_MEMBERS);
        let lab = Lab::start(count, legacy).await;
        lab.link_all();
        for place in 0..count {
            for old in count - legacy..count {
                let (device, account, state) = (device(old), account(old), LinkState::Legacy);
                lab.tell(place, RouterMessage::Link { device, account, state });
            }
        }
        lab.settled().await;
        let mut degrees = Vec::new();
        for place in 0..count - legacy {
            degrees.push(lab.routes(place).await.degree());
        }
        let degree: usize = degrees.iter().sum();
        assert!(degree < (count - legacy) * 20, "{degrees:?}");
        assert!(degrees.iter().all(|degree| *degree >= 2), "{degrees:?}");
        for number in 0..10 {
            lab.publish(usize::from(number), commit(number));
            lab.settled().await;
            assert!((0..count).all(|place| lab.has(place, commit(number))));
            let told: usize = (0..count - legacy).map(|place| lab.times_told(place, commit(number))).sum();
            assert!(told <= degree, "told {told} times over {degree} ends of channels");
        }
    });
}

#[test]
fn who_is_banned_loses_the_channels_and_gets_none_any_more() {
    virtual_time::run(async {
        let lab = Lab::start(4, 0).await;
        lab.link_all();
        lab.settled().await;
        for place in 0..3 {
            lab.set_members(place, &[0, 1, 2]);
        }
        lab.settled().await;
        for place in 0..3 {
            let routes = lab.routes(place).await;
            assert_eq!(routes.degree(), 2);
            assert!(routes.nodes.iter().all(|node| node.device != device(3)), "{routes:?}");
        }
        // He asks again and again.
        for place in 0..3 {
            lab.unlink(place, 3);
            lab.link(place, 3);
        }
        lab.publish(0, commit(1));
        lab.settled().await;
        assert!(!lab.has(3, commit(1)));
        let routes = lab.routes(3).await;
        assert!(routes.nodes.iter().all(|node| node.state != RouteState::Connected), "{routes:?}");
    });
}

#[test]
fn who_becomes_a_member_while_linked_gets_a_channel() {
    virtual_time::run(async {
        let lab = Lab::start(4, 0).await;
        for place in 0..3 {
            lab.set_members(place, &[0, 1, 2]);
        }
        lab.link_all();
        lab.settled().await;
        assert_eq!(lab.routes(3).await.degree(), 0);
        for place in 0..3 {
            lab.set_members(place, &[0, 1, 2, 3]);
        }
        lab.settled().await;
        assert_eq!(lab.routes(3).await.degree(), 3);
    });
}
