//! A daemon and Skep as two devices of one account: what is done on one is so on the other.

use std::time::Duration;

use skep::rpc::schema::{RevokeParams, method};
use skep::{AccountId, DeviceId, Event};
use skep_tests::daemon::{Daemon, DaemonAccount};
use skep_tests::harness::{Golden, Mark, Newcomer, Person, run};
use skep_tests::live::{Direction, Feature, Lab};

const SECOND: Duration = Duration::from_secs(1);

/// How long a device that was revoked tries in vain to connect.
const IN_VAIN: Duration = Duration::from_secs(10);

/// Somebody who is nowhere to be found.
fn contact() -> AccountId {
    Golden::BOB.id.parse().unwrap()
}

/// Ada with a device of each kind, connected to each other.
struct Household {
    skep: Person,
    jamid: Daemon,
    account: DaemonAccount,
    // Last, so that what runs in it has ended.
    lab: Lab,
}

impl Household {
    /// The daemon is let in by Skep, with a PIN.
    async fn start() -> Option<Self> {
        let mut lab = Lab::open().unwrap()?;
        let node = lab.skep_on_opendht("skep").unwrap();
        let jamid = lab.daemon("jamid").await.unwrap();
        let mut skep = Person::arrive(&Newcomer::real(0, "Ada"), node).await.unwrap();
        skep.announced().await.unwrap();
        let pin = skep.export_under_pin(None).await.unwrap();
        let account = jamid.link_by_pin("Ada", &pin, None).await.unwrap();
        assert_eq!(account.id, skep.id);
        skep.meets_own_devices(1).await.unwrap();
        let ids = Self::ids(&mut skep).await;
        jamid.has_devices(&account, &ids).await.unwrap();
        Some(Self { skep, jamid, account, lab })
    }

    /// Skep's device and the daemon's.
    async fn ids(skep: &mut Person) -> [DeviceId; 2] {
        let own = skep.describe().await.unwrap().device;
        let devices = skep.devices().await.unwrap();
        [own, devices.iter().find(|device| !device.this).unwrap().id]
    }

    async fn stop(mut self) {
        self.skep.node.stop().await.unwrap();
    }
}

#[test]
fn a_contact_added_or_removed_on_skep_is_so_on_the_daemon() {
    run(async {
        let Some(mut home) = Household::start().await else { return };
        let tried = home.lab.attempt(Feature::DeviceContact, Direction::ToDaemon);
        let Household { skep, jamid, account, .. } = &mut home;
        let id = skep.add(contact()).await.unwrap();
        jamid.knows(account, contact(), true).await.unwrap();
        jamid.has(account, id, true).await.unwrap();
        skep.node.call(method::ContactRemove, skep.about(contact())).await.unwrap();
        jamid.knows(account, contact(), false).await.unwrap();
        tried.works();
        home.stop().await;
    });
}

#[test]
fn a_contact_added_or_removed_on_the_daemon_is_so_on_skep() {
    run(async {
        let Some(mut home) = Household::start().await else { return };
        let tried = home.lab.attempt(Feature::DeviceContact, Direction::FromDaemon);
        let Household { skep, jamid, account, .. } = &mut home;
        jamid.add_contact(account, contact()).await.unwrap();
        skep.counts_as(contact(), "active").await.unwrap();
        // This release counts seconds, and of two changes in one second only the first is seen.
        tokio::time::sleep(SECOND).await;
        jamid.remove_contact(account, contact(), false).await.unwrap();
        skep.counts_as(contact(), "removed").await.unwrap();
        tried.works();
        home.stop().await;
    });
}

#[test]
fn a_conversation_begun_on_skep_is_on_the_daemon_and_both_write_in_it() {
    run(async {
        let Some(mut home) = Household::start().await else { return };
        let tried = home.lab.attempt(Feature::DeviceConversation, Direction::ToDaemon);
        let Household { skep, jamid, account, .. } = &mut home;
        let group = skep.found("Household").await.unwrap();
        jamid.has(account, group, true).await.unwrap();
        jamid.ready(account, group).await.unwrap();
        skep.send(group, "from Skep").await.unwrap();
        jamid.received(account, group, "from Skep").await.unwrap();
        jamid.send(account, group, "from the daemon").await.unwrap();
        skep.receives(group, "from the daemon").await.unwrap();
        tried.works();
        home.stop().await;
    });
}

#[test]
fn a_conversation_begun_on_the_daemon_is_on_skep_and_both_write_in_it() {
    run(async {
        let Some(mut home) = Household::start().await else { return };
        let tried = home.lab.attempt(Feature::DeviceConversation, Direction::FromDaemon);
        let Household { skep, jamid, account, .. } = &mut home;
        let group = jamid.found(account).await.unwrap();
        skep.gets(group).await.unwrap();
        jamid.send(account, group, "from the daemon").await.unwrap();
        skep.receives(group, "from the daemon").await.unwrap();
        skep.send(group, "from Skep").await.unwrap();
        jamid.received(account, group, "from Skep").await.unwrap();
        tried.works();
        home.stop().await;
    });
}

#[test]
fn a_daemon_that_skep_revokes_has_no_link_any_more() {
    run(async {
        let Some(mut home) = Household::start().await else { return };
        let tried = home.lab.attempt(Feature::Revocation, Direction::ToDaemon);
        let Household { skep, jamid, account, .. } = &mut home;
        let group = skep.found("Household").await.unwrap();
        jamid.ready(account, group).await.unwrap();
        let [own, revoked] = Household::ids(skep).await;
        let since = skep.node.events().mark();
        let params = RevokeParams { account: skep.local, device: revoked, password: None };
        skep.node.call(method::DeviceRevoke, params).await.unwrap();
        let down = |event: &Event| {
            matches!(event, Event::LinkDown { device, .. } if *device == revoked).then_some(())
        };
        skep.told(since, "the link to end", down).await.unwrap();
        let left: Vec<_> = skep.devices().await.unwrap().iter().map(|device| device.id).collect();
        assert_eq!(left, [own]);
        let said = skep.send(group, "among us").await.unwrap();
        jamid.send(account, group, "nobody hears me").await.unwrap();
        // It tries to connect again, and is not let in. (When it starts anew it makes itself another device, as it
        // has the keys of the account.)
        let since = skep.node.events().mark();
        tokio::time::sleep(IN_VAIN).await;
        let up =
            |event: &Event| matches!(event, Event::LinkUp { device, .. } if *device == revoked).then_some(());
        let events = skep.node.events();
        assert_eq!(events.find(since, |it| up(&it.event)), None);
        let heard = jamid.history(account, group).await.unwrap();
        assert!(heard.iter().all(|commit| commit.get("id") != Some(&said.to_string())), "{heard:?}");
        tried.works();
        home.stop().await;
    });
}

#[test]
fn skep_knows_when_a_daemon_has_revoked_it_and_loses_its_links() {
    run(async {
        let Some(mut home) = Household::start().await else { return };
        let tried = home.lab.attempt(Feature::Revocation, Direction::FromDaemon);
        let Household { skep, jamid, account, .. } = &mut home;
        let group = jamid.found(account).await.unwrap();
        skep.gets(group).await.unwrap();
        let [revoked, own] = Household::ids(skep).await;
        jamid.revoke_device(account, revoked).await.unwrap();
        jamid.has_devices(account, &[own]).await.unwrap();
        // This release tells others when it starts.
        jamid.restart().await.unwrap();
        let knows = |event: &Event| matches!(event, Event::DeviceRevoked {}).then_some(());
        skep.told(Mark::BEGINNING, "that it was revoked", knows).await.unwrap();
        let alone =
            |event: &Event| matches!(event, Event::LinkDown { device, .. } if *device == own).then_some(());
        skep.told(Mark::BEGINNING, "the link to end", alone).await.unwrap();
        assert!(skep.add(contact()).await.is_err(), "it may do nothing more for the account");
        tried.works();
        home.stop().await;
    });
}
