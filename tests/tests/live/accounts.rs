//! Accounts that go from one side to the other as archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use skep::AccountId;
use skep::rpc::schema::{ExportParams, Secret, method};
use skep_protocol::identity::Chain;
use skep_protocol::time::UnixMillis;
use skep_tests::daemon::{Daemon, DaemonAccount};
use skep_tests::harness::{Person, run, vector};
use skep_tests::live::{Direction, Feature, Lab};

const PASSWORD: &str = "correct horse battery";

/// The archive of an account, as a client of the node gets it.
async fn exported(person: &mut Person, password: Option<&str>) -> Vec<u8> {
    let password = password.map(|text| Secret::new(text.to_owned()));
    let params = ExportParams { account: person.local, password };
    BASE64.decode(person.node.call(method::AccountExport, params).await.unwrap().archive).unwrap()
}

/// The account that the certificates of a daemon's device prove, as Skep reads them.
fn proven_account(daemon: &Daemon, account: &DaemonAccount) -> AccountId {
    let pem = fs::read(daemon.account_folder(account).join("ring_device.crt")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = UnixMillis(i64::try_from(now).unwrap());
    Chain::parse(&pem).unwrap().verify(now).unwrap().account_id()
}

async fn an_account_of_skep_opens_on_a_daemon(feature: Feature, password: Option<&str>) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let opened = lab.attempt(feature, Direction::ToDaemon);
    let node = lab.skep("skep").unwrap().start().await.unwrap();
    let mut ada = Person::create(node, "Ada", password).await.unwrap();
    let archive = lab.write("ada.gz", &exported(&mut ada, password).await).unwrap();
    let jamid = lab.daemon("jamid").await.unwrap();
    let account = jamid.import_account("Ada", &archive, password).await.unwrap();
    assert_eq!(account.id, ada.id);
    opened.works();

    let chain = lab.attempt(Feature::DeviceChain, Direction::FromDaemon);
    assert_eq!(proven_account(&jamid, &account), ada.id);
    chain.works();
    ada.node.stop().await.unwrap();
}

#[test]
fn an_account_of_skep_without_a_password_opens_on_a_daemon() {
    run(an_account_of_skep_opens_on_a_daemon(Feature::Archive, None));
}

#[test]
fn an_account_of_skep_with_a_password_opens_on_a_daemon() {
    run(an_account_of_skep_opens_on_a_daemon(Feature::ProtectedArchive, Some(PASSWORD)));
}

/// Writes the account's own authority, the last certificate of a chain, into a file of its own.
fn authority(lab: &Lab, name: &str, chain: &Path) -> PathBuf {
    let pem = fs::read_to_string(chain).unwrap();
    let begin = pem.rfind("-----BEGIN CERTIFICATE-----").unwrap();
    lab.write(name, &pem.as_bytes()[begin..]).unwrap()
}

async fn an_account_of_a_daemon_opens_on_skep(feature: Feature, password: Option<&str>) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let opened = lab.attempt(feature, Direction::FromDaemon);
    let jamid = lab.daemon("jamid").await.unwrap();
    let account = jamid.create_account("Ada", password).await.unwrap();
    let file = lab.folder().join("ada.gz");
    jamid.export_account(&account, &file, password).await.unwrap();
    let node = lab.skep("skep").unwrap().start().await.unwrap();
    let mut ada = Person::import(node, &fs::read(&file).unwrap(), password).await.unwrap();
    assert_eq!(ada.id, account.id);
    let view = ada.describe().await.unwrap();
    assert_eq!((view.name.as_str(), view.protected), ("Ada", password.is_some()));
    opened.works();

    // Both sides have made a device of the account: the daemon judges Skep's as it judges its own.
    let chain = lab.attempt(Feature::DeviceChain, Direction::ToDaemon);
    let folder = ada.node.setup().data().join("accounts").join(ada.local.to_string());
    let (certificates, key) = (folder.join("ring_device.crt"), folder.join("ring_device.key"));
    let own = jamid.account_folder(&account).join("ring_device.crt");
    let own = authority(&lab, "authority.pem", &own);
    let faults = jamid.certificate_faults(&account, &certificates, &key, &own).await.unwrap();
    assert_eq!(faults, [""; 0]);
    let other = authority(&lab, "other-authority.pem", &vector("newest/accounts/alice/ring_device.crt"));
    let faults = jamid.certificate_faults(&account, &certificates, &key, &other).await.unwrap();
    assert_eq!(faults, ["KNOWN_AUTHORITY", "VALID_AUTHORITY"], "the daemon looks at who signed");
    chain.works();
    ada.node.stop().await.unwrap();
}

#[test]
fn an_account_of_a_daemon_without_a_password_opens_on_skep() {
    run(an_account_of_a_daemon_opens_on_skep(Feature::Archive, None));
}

#[test]
fn an_account_of_a_daemon_with_a_password_opens_on_skep() {
    run(an_account_of_a_daemon_opens_on_skep(Feature::ProtectedArchive, Some(PASSWORD)));
}
