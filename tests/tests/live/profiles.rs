//! Names and pictures, each way: in the channels of conversations, and between devices of one account.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use skep::rpc::schema::{PeopleParams, ProfileSetParams, ProfileShowParams, method};
use skep::{AccountId, PersonView};
use skep_tests::daemon::{Daemon, DaemonAccount};
use skep_tests::harness::{Newcomer, Person, run, until};
use skep_tests::live::{Direction, Feature, Lab};

use super::pair::Pair;

/// A picture of four by four pixels.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAPElEQVR4nAXBIQIAMAQF0J9l2UmWZXknkeVlJ5Fl2Yn2HgCcc9y9qkBEqhoR3Q1mNrP33sxARO69mbm7H7d7E7EHlkVEAAAAAElFTkSuQmCC";

async fn set(person: &mut Person, name: Option<&str>, picture: Option<&str>) {
    let (account, name) = (person.local, name.map(str::to_owned));
    let params = ProfileSetParams { account, name, picture: picture.map(str::to_owned), picture_file: None };
    person.node.call(method::ProfileSet, params).await.unwrap();
}

/// Waits until somebody on Skep knows `whose` name, and returns the profile.
async fn sees(person: &mut Person, whose: AccountId, called: &str) -> PersonView {
    let name = person.node.name().to_owned();
    until(&name, format!("{whose} to be called {called:?}"), async || {
        let people = PeopleParams { account: Some(person.local), people: [whose].into() };
        let known = person.node.call(method::NamesKnown, people).await?.display_names;
        Ok(known.get(&whose).is_some_and(|name| name == called).then_some(()))
    })
    .await
    .unwrap();
    let params = ProfileShowParams { account: person.local, person: Some(whose.to_string()) };
    person.node.call(method::ProfileShow, params).await.unwrap()
}

/// The file in which a daemon keeps somebody's profile.
fn kept(jamid: &Daemon, own: &DaemonAccount, whose: AccountId) -> PathBuf {
    jamid.account_folder(own).join("profiles").join(format!("{}.vcf", STANDARD.encode(whose.to_string())))
}

/// Waits until a daemon has a profile with this line.
async fn has(path: PathBuf, line: &str) -> String {
    until("jamid", format!("{line:?} in {}", path.display()), async || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        Ok(text.lines().any(|it| it == line).then_some(text))
    })
    .await
    .unwrap()
}

/// Gives the owner of an account on a daemon a profile, as clients of that time do: they write the file.
fn write(jamid: &Daemon, own: &DaemonAccount, name: &str, picture: bool) {
    let picture = if picture { format!("PHOTO;ENCODING=BASE64;TYPE=PNG:{PICTURE}\n") } else { String::new() };
    let vcard = format!("BEGIN:VCARD\nVERSION:2.1\nFN:{name}\n{picture}END:VCARD");
    fs::write(jamid.account_folder(own).join("profile.vcf"), vcard).unwrap();
}

#[test]
fn a_daemon_gets_the_profile_of_skep_and_another_one_later() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let tried = pair.lab.attempt(Feature::ProfileTold, Direction::ToDaemon);
        set(&mut pair.ada, Some("Ada L\u{f8}velace"), Some(PICTURE)).await;
        let id = pair.ada_asks().await;
        let file = kept(&pair.jamid, &pair.bob, pair.ada.id);
        let text = has(file.clone(), "FN:Ada L\u{f8}velace").await;
        assert!(text.lines().any(|line| line.starts_with("PHOTO;ENCODING=BASE64;TYPE=JPEG:/9j/")), "{text}");
        set(&mut pair.ada, Some("Ada King"), None).await;
        has(file, "FN:Ada King").await;
        pair.ada_says(id, "how do I look?").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_gets_the_profile_of_a_daemon_and_another_one_later() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let tried = pair.lab.attempt(Feature::ProfileTold, Direction::FromDaemon);
        write(&pair.jamid, &pair.bob, "Bob B\u{f8}rk", true);
        let id = pair.ada_asks().await;
        let bob = pair.bob.id;
        let seen = sees(&mut pair.ada, bob, "Bob B\u{f8}rk").await;
        assert!(!seen.picture.is_empty(), "his picture is lost");
        // It looks at the file when it is linked anew.
        write(&pair.jamid, &pair.bob, "Bob the Builder", true);
        pair.jamid.kill();
        pair.jamid.restart().await.unwrap();
        sees(&mut pair.ada, bob, "Bob the Builder").await;
        pair.bob_says(id, "how do I look?").await;
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_that_is_linked_gets_the_owners_profile_of_skep() {
    run(async {
        let Some(mut lab) = Lab::open().unwrap() else { return };
        let tried = lab.attempt(Feature::OwnProfile, Direction::ToDaemon);
        let node = lab.skep_on_opendht("skep").unwrap();
        let jamid = lab.daemon("jamid").await.unwrap();
        let mut ada = Person::arrive(&Newcomer::real(0, "Ada"), node).await.unwrap();
        ada.announced().await.unwrap();
        set(&mut ada, Some("Ada King"), Some(PICTURE)).await;
        let pin = ada.export_under_pin(None).await.unwrap();
        let account = jamid.link_by_pin("Ada", &pin, None).await.unwrap();
        let text = has(jamid.account_folder(&account).join("profile.vcf"), "FN:Ada King").await;
        assert!(text.contains("PHOTO"), "{text}");
        tried.works();
        ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_that_is_linked_gets_the_owners_profile_of_a_daemon() {
    run(async {
        let Some(mut lab) = Lab::open().unwrap() else { return };
        let tried = lab.attempt(Feature::OwnProfile, Direction::FromDaemon);
        let node = lab.skep_on_opendht("skep").unwrap();
        let jamid = lab.daemon("jamid").await.unwrap();
        let account = jamid.arrive(&Newcomer::real(0, "Ada")).await.unwrap();
        write(&jamid, &account, "Ada King", true);
        let pin = jamid.export_under_pin(&account, None).await.unwrap();
        let mut ada = Person::link_by_pin(node.start().await.unwrap(), &pin, None).await.unwrap();
        let own = ada.id;
        let seen = sees(&mut ada, own, "Ada King").await;
        assert!(!seen.picture.is_empty(), "the picture is lost");
        tried.works();
        ada.node.stop().await.unwrap();
    });
}
