//! Presence in virtual time, with the certificates of a recorded account.

use super::*;
use crate::dht::value::ValueId;
use crate::identity::Chain;
use crate::testing::data;
use crate::time::UnixMillis;

use PresenceState::{Available, Connected, Offline};

fn chain(pem: &[u8]) -> VerifiedChain {
    Chain::parse(pem).unwrap().verify(UnixMillis(1_795_350_000_000)).unwrap()
}

fn phone() -> VerifiedChain {
    chain(data!("vectors/newest/accounts/alice/ring_device.crt"))
}

/// Another device of the same account.
fn laptop() -> VerifiedChain {
    chain(data!("vectors/newest/accounts/alice2/ring_device.crt"))
}

fn value(id: u64) -> Fingerprint {
    Fingerprint { id: ValueId(id), digest: [0; 20] }
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn device(number: u64) -> DeviceId {
    let mut device = [0; 32];
    device[..8].copy_from_slice(&number.to_be_bytes());
    DeviceId(device)
}

fn tracking() -> (Presence, AccountId) {
    let (mut presence, account) = (Presence::default(), phone().account_id());
    assert!(presence.track(account));
    (presence, account)
}

fn told(presence: &mut Presence) -> Vec<PresenceChange> {
    presence.changes(at(0))
}

fn change(was_online: bool, devices: &[&VerifiedChain]) -> PresenceChange {
    let mut devices: Vec<_> = devices.iter().map(|chain| chain.device_id()).collect();
    devices.sort();
    PresenceChange { account: phone().account_id(), was_online, devices }
}

#[test]
fn an_announced_device_counts_from_when_its_chain_is_good() {
    let (mut presence, peer) = tracking();
    let device = phone().device_id();
    assert!(!presence.awaits_verification(peer, device));
    assert!(presence.announced(peer, value(1), device));
    assert!(presence.awaits_verification(peer, device));
    assert_eq!((presence.state(peer), presence.devices(peer)), (Offline, vec![]));
    assert_eq!(told(&mut presence), []);
    presence.verified(&phone());
    assert_eq!(told(&mut presence), [change(false, &[&phone()])]);
    assert!(!presence.awaits_verification(peer, device));
    assert_eq!(presence.devices(peer), [(device, Available)]);
    // One that is gone by the time its chain is found does not count.
    presence.announced(peer, value(2), laptop().device_id());
    presence.expired(peer, value(2));
    presence.verified(&laptop());
    assert_eq!(told(&mut presence), []);
    assert_eq!(presence.devices(peer), [(device, Available)]);
}

#[test]
fn a_revoked_device_is_not_there_though_it_is_announced() {
    let (mut presence, peer) = tracking();
    presence.announced(peer, value(1), phone().device_id());
    presence.announced(peer, value(2), laptop().device_id());
    presence.verified(&phone());
    presence.verified(&laptop());
    assert_eq!(told(&mut presence), [change(false, &[&phone(), &laptop()])]);
    let revoked = laptop();
    let is_revoked = |serial: &[u8]| serial == revoked.device().serial();
    presence.revoked(peer, is_revoked);
    assert_eq!(told(&mut presence), [change(true, &[&phone()])]);
    presence.revoked(peer, is_revoked);
    assert_eq!(told(&mut presence), []);
    presence.revoked(peer, |_| true);
    assert_eq!(told(&mut presence), [change(true, &[])]);
}

#[test]
fn a_banned_device_is_not_there_until_it_is_allowed_and_verified_again() {
    let (mut presence, peer) = tracking();
    presence.announced(peer, value(1), phone().device_id());
    presence.verified(&phone());
    told(&mut presence);
    presence.banned(peer, phone().device_id());
    assert_eq!(told(&mut presence), [change(true, &[])]);
    presence.verified(&phone());
    assert_eq!(told(&mut presence), [change(false, &[&phone()])]);
}

#[test]
fn a_restarted_device_stays_while_one_announcement_lives() {
    let (mut presence, peer) = tracking();
    let device = phone().device_id();
    presence.announced(peer, value(1), device);
    presence.announced(peer, value(1), device);
    presence.verified(&phone());
    presence.announced(peer, value(2), device);
    assert_eq!(told(&mut presence), [change(false, &[&phone()])]);
    presence.expired(peer, value(1));
    presence.expired(peer, value(9));
    assert_eq!(told(&mut presence), []);
    presence.expired(peer, value(2));
    assert_eq!(told(&mut presence), [change(true, &[])]);
    // It has to show its chain again.
    presence.announced(peer, value(3), device);
    assert_eq!(presence.state(peer), Offline);
}

#[test]
fn an_account_is_there_while_one_of_its_devices_is() {
    let (mut presence, peer) = tracking();
    for (number, chain) in [(1, phone()), (2, laptop())] {
        presence.announced(peer, value(number), chain.device_id());
        presence.verified(&chain);
    }
    told(&mut presence);
    presence.expired(peer, value(1));
    assert_eq!(told(&mut presence), [change(true, &[&laptop()])]);
    assert_eq!(presence.state(peer), Available);
}

#[test]
fn a_connected_contact_is_not_offline_when_its_announcement_ends() {
    let (mut presence, peer) = tracking();
    let device = phone().device_id();
    presence.announced(peer, value(1), device);
    presence.verified(&phone());
    told(&mut presence);
    presence.channel_opened(peer, device);
    presence.channel_opened(peer, device);
    presence.expired(peer, value(1));
    assert_eq!(told(&mut presence), []);
    assert_eq!(presence.devices(peer), [(device, Connected)]);
    presence.channel_closed(peer, device);
    assert_eq!(told(&mut presence), []);
    presence.channel_closed(peer, device);
    assert_eq!(told(&mut presence), [change(true, &[])]);
    presence.channel_closed(peer, device);
    assert_eq!(told(&mut presence), []);
}

#[test]
fn a_device_that_is_linked_and_not_announced_is_there_until_the_link_ends() {
    let (mut presence, peer) = tracking();
    presence.channel_opened(peer, phone().device_id());
    assert_eq!(told(&mut presence), [change(false, &[&phone()])]);
    presence.channel_closed(peer, phone().device_id());
    assert_eq!(told(&mut presence), [change(true, &[])]);
}

#[test]
fn accounts_that_are_not_tracked_have_no_presence() {
    let (mut presence, peer) = (Presence::default(), phone().account_id());
    assert!(!presence.announced(peer, value(1), phone().device_id()));
    presence.verified(&phone());
    presence.channel_opened(peer, phone().device_id());
    assert_eq!(told(&mut presence), []);
    presence.track(peer);
    presence.announced(peer, value(1), phone().device_id());
    presence.verified(&phone());
    presence.untrack(peer);
    assert_eq!((presence.state(peer), presence.next_deadline()), (Offline, None));
    assert_eq!(told(&mut presence), []);
}

#[test]
fn a_flood_of_announcements_is_not_remembered() {
    let (mut presence, peer) = tracking();
    let remembered = (0..1000).filter(|number| presence.announced(peer, value(*number), device(*number)));
    assert_eq!(remembered.count(), MAX_ANNOUNCED_DEVICES);
    let (mut presence, peer) = tracking();
    let remembered = (0..1000).filter(|number| presence.announced(peer, value(*number), device(1)));
    assert_eq!(remembered.count(), MAX_ANNOUNCEMENTS_PER_DEVICE);
    // What many put again of one device takes no place from another.
    assert!(presence.announced(peer, value(5000), device(2)));
}

#[test]
fn a_device_that_comes_and_goes_a_thousand_times_is_told_of_with_pauses_and_as_it_is_in_the_end() {
    let (mut presence, peer) = tracking();
    let mut changes = Vec::new();
    for number in 0..1000 {
        presence.announced(peer, value(number), phone().device_id());
        presence.verified(&phone());
        changes.extend(presence.changes(at(number / 10)));
        if number < 999 {
            presence.expired(peer, value(number));
            changes.extend(presence.changes(at(number / 10)));
        }
    }
    // A hundred seconds: as many as may come at once, and one for each spacing.
    let most = u64::from(MAX_CHANGES_AT_ONCE) + 100 / CHANGE_SPACING.as_secs();
    assert!(changes.len() as u64 <= most, "{} changes were told", changes.len());
    // What is told alternates, and is in the end what holds.
    assert!(changes.windows(2).all(|two| two[0].is_online() == two[1].was_online));
    let due = presence.next_deadline();
    changes.extend(presence.changes(due.unwrap_or(at(200))));
    assert!(changes.last().unwrap().is_online());
    assert_eq!(presence.next_deadline(), None);
    // Others are told of at once, and so is this one after a while.
    let other = AccountId([9; 20]);
    presence.track(other);
    presence.channel_opened(other, device(7));
    assert_eq!(presence.changes(at(100)).len(), 1);
    presence.expired(peer, value(999));
    assert_eq!(presence.changes(at(300)), [change(true, &[])]);
}
