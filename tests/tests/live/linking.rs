//! Devices of one account on both sides, linked by a PIN.

use skep::AccountId;
use skep_tests::harness::{Golden, Newcomer, Person, run};
use skep_tests::live::{Direction, Feature, Lab};

const PASSWORD: &str = "correct horse battery";

/// Somebody who is a contact of the account, and nowhere to be found.
fn contact() -> AccountId {
    Golden::BOB.id.parse().unwrap()
}

async fn a_daemon_is_linked(feature: Feature, password: Option<&str>) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let tried = lab.attempt(feature, Direction::ToDaemon);
    let node = lab.skep_on_opendht("skep").unwrap();
    let jamid = lab.daemon("jamid").await.unwrap();
    let mut ada = Person::arrive(&Newcomer::real(0, "Ada"), node).await.unwrap();
    if let Some(password) = password {
        ada.protect(password).await.unwrap();
    }
    ada.announced().await.unwrap();
    ada.add(contact()).await.unwrap();

    let pin = ada.export_under_pin(password).await.unwrap();
    let account = jamid.link_by_pin("Ada", &pin, password).await.unwrap();
    assert_eq!(account.id, ada.id);
    assert_eq!(jamid.contacts(&account).await.unwrap(), [contact()]);
    tried.works();
    ada.node.stop().await.unwrap();
}

#[test]
fn a_daemon_is_linked_by_a_pin_of_skep() {
    run(a_daemon_is_linked(Feature::Pin, None));
}

#[test]
fn a_daemon_is_linked_by_a_pin_of_skep_and_the_password() {
    run(a_daemon_is_linked(Feature::ProtectedPin, Some(PASSWORD)));
}

async fn skep_is_linked(feature: Feature, password: Option<&str>) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let tried = lab.attempt(feature, Direction::FromDaemon);
    let node = lab.skep_on_opendht("skep").unwrap();
    let jamid = lab.daemon("jamid").await.unwrap();
    let account = match password {
        None => jamid.arrive(&Newcomer::real(0, "Ada")).await.unwrap(),
        password => jamid.create_account("Ada", password).await.unwrap(),
    };
    jamid.add_contact(&account, contact()).await.unwrap();

    let pin = jamid.export_under_pin(&account, password).await.unwrap();
    let node = node.start().await.unwrap();
    let mut ada = Person::link_by_pin(node, &pin, password).await.unwrap();
    assert_eq!(ada.id, account.id);
    let view = ada.describe().await.unwrap();
    assert_eq!((view.name.as_str(), view.protected), ("Ada", password.is_some()));
    let contacts: Vec<AccountId> = ada.contacts().await.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(contacts, [contact()]);
    ada.announced().await.unwrap();
    tried.works();
    ada.node.stop().await.unwrap();
}

#[test]
fn skep_is_linked_by_a_pin_of_a_daemon() {
    run(skep_is_linked(Feature::Pin, None));
}

#[test]
fn skep_is_linked_by_a_pin_of_a_daemon_and_the_password() {
    run(skep_is_linked(Feature::ProtectedPin, Some(PASSWORD)));
}
