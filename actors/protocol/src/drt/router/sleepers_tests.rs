//! Mobile devices and their leases.

use std::time::Duration;

use super::testing::*;
use super::*;
use crate::drt::lease_tests::{Device, RECORDED, devices};
use crate::drt::mobiles::{LEGACY_CUT_OFF, decode_list, encode_list};
use crate::drt::parked::{MAX_PARKED, REPLY_TIMEOUT};

const DAY: Duration = Duration::from_hours(24);

fn info(lease: &Lease) -> MobileInfo {
    MobileInfo { device: lease.device(), lease: Some(Box::new(lease.clone())) }
}

fn gossip(infos: Vec<MobileInfo>) -> Message {
    message(Body::Found(Found { mobile_infos: infos, ..Found::default() }))
}

fn find(device: DeviceId, source: CertificateSource) -> Action {
    Action::FindCertificate { device, source }
}

fn certificate(device: &Device, source: CertificateSource, found: bool) -> Event {
    let chain = found.then(|| Box::new(device.chain.clone()));
    Event::CertificateFound { device: device.id(), source, chain }
}

/// An owner with one peer, on channel 1.
fn with_peer() -> Owner {
    let mut owner = Owner::new();
    owner.up(1, id("1", 1));
    owner
}

fn mobile_ids(owner: &Owner) -> Vec<DeviceId> {
    owner.router.table().mobile().collect()
}

#[test]
fn a_lease_is_taken_up_with_the_certificate_of_our_store_and_told_to_others() {
    let [alice, ..] = devices();
    let lease = alice.lease(RECORDED);
    let mut owner = with_peer();
    let actions = owner.say(1, gossip(vec![info(&lease)]));
    assert_eq!(actions, [find(alice.id(), CertificateSource::Store)], "no peer is asked");
    let actions = owner.handle(certificate(&alice, CertificateSource::Store, true));
    assert_eq!(actions, [Action::StoreMobiles]);
    assert_eq!(mobile_ids(&owner), [alice.id()]);
    for version in [Version::One, Version::Three] {
        let found = owner.ask(1, version, alice.id());
        assert_eq!((found.mobile_infos, found.mobile_nodes), (vec![info(&lease)], vec![]));
    }
    assert!(owner.say(1, gossip(vec![info(&lease)])).is_empty(), "the same is no news");
}

#[test]
fn a_certificate_is_asked_of_the_peer_and_then_looked_for_in_the_dht() {
    let [alice, bob, carla] = devices();
    let leases = [&alice, &bob, &carla].map(|device| info(&device.lease(RECORDED)));
    let mut owner = with_peer();
    owner.say(1, gossip(leases[..2].to_vec()));
    let asks = owner.handle(certificate(&alice, CertificateSource::Store, false));
    let ask = |devices: Vec<DeviceId>| Action::Send {
        channel: ChannelId(1),
        message: message(Body::CertificateRequest(devices)),
    };
    assert_eq!(asks, [ask(vec![alice.id()])]);
    let waits = owner.handle(certificate(&bob, CertificateSource::Store, false));
    assert!(waits.is_empty(), "one request at a time");

    // Carla's was not asked for, and is not taken.
    let chains = [&carla, &alice].map(|device| device.chain.chain().to_der()).to_vec();
    let actions = owner.say(1, message(Body::CertificateResponse(chains)));
    assert_eq!(actions, [Action::StoreMobiles, ask(vec![bob.id()])]);
    assert_eq!(mobile_ids(&owner), [alice.id()]);

    assert_eq!(owner.router.deadline(), Some(owner.moment.plus(REPLY_TIMEOUT)));
    owner.wait(REPLY_TIMEOUT);
    assert_eq!(owner.handle(Event::Deadline), [find(bob.id(), CertificateSource::Dht)]);
    owner.handle(certificate(&bob, CertificateSource::Dht, true));
    assert_eq!(mobile_ids(&owner).len(), 2);
    owner.say(1, gossip(leases.to_vec()));
    owner.handle(certificate(&carla, CertificateSource::Store, false));
    let unanswered = owner.say(1, message(Body::CertificateResponse(vec![])));
    assert_eq!(unanswered, [find(carla.id(), CertificateSource::Dht)]);
    owner.handle(certificate(&carla, CertificateSource::Dht, false));
    let again = owner.say(1, gossip(leases.to_vec()));
    assert_eq!(again, [find(carla.id(), CertificateSource::Store)], "given up, and heard of again");
}

#[test]
fn unsolicited_certificates_are_ignored() {
    let [alice, ..] = devices();
    let mut owner = with_peer();
    let chains = vec![alice.chain.chain().to_der()];
    assert!(owner.say(1, message(Body::CertificateResponse(chains.clone()))).is_empty());
    owner.say(1, gossip(vec![info(&alice.lease(RECORDED))]));
    assert!(owner.say(1, message(Body::CertificateResponse(chains))).is_empty());
    assert!(mobile_ids(&owner).is_empty());
}

#[test]
fn when_the_peer_has_gone_the_dht_is_asked() {
    let [alice, ..] = devices();
    let mut owner = with_peer();
    owner.up(2, id("01", 2));
    owner.say(1, gossip(vec![info(&alice.lease(RECORDED))]));
    owner.handle(certificate(&alice, CertificateSource::Store, false));
    assert!(owner.down(1).contains(&find(alice.id(), CertificateSource::Dht)));
}

#[test]
fn certificates_are_given_for_ourselves_and_for_verified_leases_only() {
    let [alice, bob, _] = devices();
    let mut owner = with_peer();
    owner.say(1, gossip(vec![info(&alice.lease(RECORDED)), info(&bob.lease(RECORDED))]));
    owner.handle(certificate(&alice, CertificateSource::Store, true));
    let own = id("0", 0);
    let actions =
        owner.say(1, message(Body::CertificateRequest(vec![bob.id(), alice.id(), own, id("1", 1)])));
    assert_eq!(actions, [Action::SendCertificates { channel: ChannelId(1), devices: vec![own, alice.id()] }]);
    let answer = owner.router.certificates([vec![1; 10], vec![2; 1 << 17]]);
    assert_eq!(answer.body, Some(Body::CertificateResponse(vec![vec![1; 10]])));
}

#[test]
fn bad_leases_are_not_taken_up() {
    let [alice, bob, _] = devices();
    let mut owner = with_peer();
    owner.strangers.insert(bob.chain.account_id());
    let good = alice.lease(RECORDED);
    let unsigned = MobileInfo { device: alice.id(), lease: None };
    let other_name = MobileInfo { device: bob.id(), ..info(&good) };
    for bad in [info(&bob.lease(RECORDED)), unsigned, other_name] {
        assert!(owner.say(1, gossip(vec![bad])).is_empty());
    }
    let (mut tampered, mut of_bob) = (good.clone(), good);
    tampered.statement.issued_at += 1;
    of_bob.statement.device = bob.id();
    for (bad, device) in [(tampered, &alice), (of_bob, &bob)] {
        owner.say(1, gossip(vec![info(&bad)]));
        assert!(owner.handle(certificate(device, CertificateSource::Store, true)).is_empty());
    }
    assert!(mobile_ids(&owner).is_empty());
}

#[test]
fn at_most_sixty_four_leases_wait_and_the_first_to_end_gives_way() {
    let mut owner = with_peer();
    let lease = |number: u8| {
        let mut lease = crate::drt::lease_tests::lease();
        lease.statement.device = id("1", number);
        lease.statement.expires_at = lease.statement.issued_at + 1000 + i64::from(number);
        info(&lease)
    };
    let limit = u8::try_from(MAX_PARKED).unwrap();
    let parked = owner.say(1, gossip((101..=100 + limit).map(lease).collect()));
    assert_eq!(parked.len(), MAX_PARKED);
    assert!(owner.say(1, gossip(vec![lease(100)])).is_empty(), "it would be the first to end");
    assert_eq!(owner.say(1, gossip(vec![lease(200)])), [find(id("1", 200), CertificateSource::Store)]);
}

#[test]
fn a_mobile_peer_sleeps_when_it_disconnects_and_is_not_dialled() {
    let [alice, ..] = devices();
    let mut owner = Owner::new();
    owner.up(1, alice.id());
    let lease = info(&alice.lease(RECORDED));
    let own_word = |device| Message {
        is_mobile: true,
        self_mobile_info: Some(MobileInfo { device, ..lease.clone() }),
        ..message(Body::Find { count: 2, target: alice.id() })
    };
    let other = owner.say(1, own_word(id("1", 5)));
    assert!(matches!(other[..], [Action::Send { .. }]), "another device's lease says nothing");
    assert!(owner.say(1, own_word(alice.id())).contains(&find(alice.id(), CertificateSource::Store)));
    owner.handle(certificate(&alice, CertificateSource::Store, true));
    owner.wait(STABLE);
    assert_eq!(owner.down(1), [Action::Disconnected]);
    assert_eq!(mobile_ids(&owner), [alice.id()]);
    assert!(owner.handle(Event::Bootstrap).is_empty());
    assert_eq!(owner.router.to_wake(), [alice.id()]);

    // A dial that fails leaves it where it is.
    owner.handle(Event::SocketOpened(alice.id()));
    owner.handle(Event::ChannelFailed(alice.id()));
    assert_eq!(mobile_ids(&owner), [alice.id()]);
    owner.up(2, alice.id());
    assert!(mobile_ids(&owner).is_empty());
}

#[test]
fn a_mobile_record_does_not_move_a_connected_node() {
    let [alice, ..] = devices();
    let mut owner = with_peer();
    owner.up(2, alice.id());
    assert!(owner.say(1, gossip(vec![info(&alice.lease(RECORDED))])).is_empty());
    assert!(owner.router.table().is_connected(&alice.id()) && mobile_ids(&owner).is_empty());
}

#[test]
fn unsigned_mobile_devices_of_old_releases_count_until_the_cut_off() {
    let told = Found { mobile_nodes: vec![id("1", 8)], ..Found::default() };
    let old = Message { version: Version::One, is_mobile: true, ..message(Body::Found(told)) };
    let mut owner = with_peer();
    owner.wall = UnixMillis(LEGACY_CUT_OFF.0 - 10_000);
    let newer = Message { version: Version::Three, ..old.clone() };
    assert!(owner.say(1, newer).is_empty(), "version 3 must sign");
    assert_eq!(owner.say(1, old.clone()), [Action::StoreMobiles]);
    let found = owner.ask(1, Version::One, id("1", 8));
    assert_eq!((found.mobile_nodes, found.mobile_infos.len()), (vec![id("1", 8)], 1));
    let found = owner.ask(1, Version::Three, id("1", 8));
    assert_eq!((found.mobile_nodes, found.mobile_infos.len()), (vec![id("1", 8)], 0));
    owner.up(2, id("01", 2));
    owner.down(1);
    assert_eq!(mobile_ids(&owner), [id("1", 1), id("1", 8)]);

    owner.wait(Duration::from_secs(10));
    owner.handle(Event::Deadline);
    assert!(mobile_ids(&owner).is_empty());
    owner.say(2, old);
    assert!(mobile_ids(&owner).is_empty());
}

#[test]
fn an_expired_lease_is_forgotten_at_its_deadline() {
    let [alice, bob, _] = devices();
    let mut owner = with_peer();
    owner.say(1, gossip(vec![info(&alice.lease(RECORDED)), info(&bob.lease(RECORDED))]));
    owner.handle(certificate(&alice, CertificateSource::Store, true));
    owner.handle(certificate(&bob, CertificateSource::Store, true));
    assert_eq!(owner.router.deadline(), Some(owner.moment.plus(30 * DAY)));
    owner.wait(30 * DAY);
    assert_eq!(owner.ask(1, Version::Three, alice.id()).mobile_infos, [], "not told any more");
    assert!(owner.handle(Event::Deadline).contains(&Action::StoreMobiles));
    assert!(mobile_ids(&owner).is_empty() && owner.router.mobiles().is_empty());
    assert_eq!(owner.router.deadline(), None);
}

#[test]
fn mobile_devices_survive_a_restart() {
    let [alice, bob, _] = devices();
    let stored = encode_list(&[info(&alice.lease(RECORDED)), info(&bob.lease(RECORDED))]);
    let mut other = info(&alice.lease(RECORDED));
    other.device = id("1", 9);
    let list = [decode_list(&stored), vec![other]].concat();
    let mut owner = Owner::with(id("0", 0), false, list);
    assert_eq!(mobile_ids(&owner).len(), 2);
    assert_eq!(encode_list(&owner.router.mobiles()).len(), stored.len());
    assert!(owner.handle(Event::Bootstrap).is_empty());
    assert_eq!(owner.handle(Event::Removed(vec![alice.id()])), [Action::StoreMobiles]);
    assert_eq!(mobile_ids(&owner), [bob.id()]);
}

#[test]
fn who_is_closer_takes_over_the_waking() {
    let [alice, ..] = devices();
    let mut owner = Owner::with(id("0", 0), false, vec![info(&alice.lease(RECORDED))]);
    let near = |number: u8| {
        let mut id = alice.id();
        id.0[31] ^= number;
        id
    };
    assert_eq!(owner.router.to_wake(), [alice.id()]);
    owner.up(1, near(1));
    assert_eq!(owner.router.to_wake(), [alice.id()], "two are to wake it");
    owner.up(2, near(2));
    assert!(owner.router.to_wake().is_empty());
    owner.down(1);
    assert_eq!(owner.router.to_wake(), [alice.id()]);
}

#[test]
fn those_who_are_closer_to_a_mobile_device_are_told_once_that_it_sleeps() {
    let [alice, ..] = devices();
    let near = |number: u8| {
        let mut id = alice.id();
        id.0[31] ^= number;
        id
    };
    let mut owner = Owner::new();
    // The third closest need not know, nor does one who is farther away than we are or of an old release.
    for (channel, peer) in [(1, near(1)), (2, near(2)), (3, near(3)), (4, id("1", 4))] {
        owner.up(channel, peer);
        let version = if channel == 2 { Version::One } else { Version::Three };
        owner.ask(channel, version, peer);
    }
    owner.up(5, alice.id());
    let lease = info(&alice.lease(RECORDED));
    let own_word = Message {
        is_mobile: true,
        self_mobile_info: Some(lease.clone()),
        ..message(Body::Find { count: 2, target: alice.id() })
    };
    owner.say(5, own_word);
    owner.handle(certificate(&alice, CertificateSource::Store, true));
    let told = |actions: Vec<Action>| -> Vec<(ChannelId, Message)> {
        let sent = actions.into_iter().filter_map(|action| match action {
            Action::Send { channel, message } => Some((channel, message)),
            _ => None,
        });
        sent.collect()
    };
    owner.wait(STABLE);
    assert_eq!(told(owner.down(5)), [(ChannelId(1), gossip(vec![lease.clone()]))]);
    for _ in 0..1000 {
        owner.up(5, alice.id());
        assert!(told(owner.down(5)).is_empty());
    }
    // What was heard from others is passed on as well, so that it comes to whom it concerns.
    let renewed = info(&alice.lease(UnixMillis(RECORDED.0 + 60_000)));
    owner.say(4, gossip(vec![renewed.clone()]));
    let actions = owner.handle(certificate(&alice, CertificateSource::Store, true));
    assert_eq!(told(actions), [(ChannelId(1), gossip(vec![renewed]))]);
}

#[test]
fn a_mobile_device_signs_a_lease_sends_it_and_renews_it_in_time() {
    let [alice, ..] = devices();
    let mut owner = Owner::with(alice.id(), true, vec![]);
    assert_eq!(owner.handle(Event::Bootstrap), [Action::SignLease]);
    assert!(owner.handle(Event::Bootstrap).is_empty(), "asked for once");
    let lease = alice.lease(RECORDED);
    assert!(owner.handle(Event::LeaseSigned(Box::new(lease.clone()))).is_empty());
    let actions = owner.up(1, id("1", 1));
    let [Action::Send { message, .. }, Action::Connected] = &actions[..] else { panic!("{actions:?}") };
    assert!(message.is_mobile);
    assert_eq!(message.self_mobile_info, Some(info(&lease)));
    assert_eq!(owner.router.deadline(), Some(owner.moment.plus(16 * DAY)));
    owner.wait(16 * DAY);
    assert_eq!(owner.handle(Event::Deadline), [Action::SignLease]);
}
