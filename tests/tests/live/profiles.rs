//! Names and pictures: those of Skep in the channels of conversations, and those of a daemon on a new device of Skep.

use std::fs;
use std::path::Path;

use skep::rpc::schema::{PeopleParams, ProfileSetParams, ProfileShowParams, method};
use skep::{AccountId, PersonView};
use skep_tests::daemon::{Daemon, DaemonAccount};
use skep_tests::harness::{Newcomer, PICTURE, Person, run, until};
use skep_tests::live::{Direction, Feature, Lab};

use super::pair::Pair;

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

/// Waits until a daemon was sent a profile with this line. One of 2023 leaves it in its cache, for a client to take.
async fn was_sent(jamid: &Daemon, own: &DaemonAccount, line: &str) -> String {
    let home = jamid.account_folder(own).ancestors().nth(4).map(Path::to_owned).unwrap();
    let cache = home.join(".cache").join(&own.local).join("vcard");
    until("jamid", format!("{line:?} in {}", cache.display()), async || {
        let files = fs::read_dir(&cache).into_iter().flatten().flatten();
        let mut texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        Ok(texts.find(|text| text.lines().any(|it| it == line)))
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
        let text = was_sent(&pair.jamid, &pair.bob, "FN:Ada L\u{f8}velace").await;
        assert!(text.lines().any(|line| line.starts_with("PHOTO;ENCODING=BASE64;TYPE=JPEG:/9j/")), "{text}");
        set(&mut pair.ada, Some("Ada King"), None).await;
        was_sent(&pair.jamid, &pair.bob, "FN:Ada King").await;
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
        let bob = pair.bob.id;
        write(&pair.jamid, &pair.bob, "Bob the Builder", true);
        let id = pair.ada_asks().await;
        // A daemon of 2023 sends its own to whom it fetches from.
        pair.ada_says(id, "who are you?").await;
        let seen = sees(&mut pair.ada, bob, "Bob the Builder").await;
        assert!(!seen.picture.is_empty(), "the picture is lost");
        write(&pair.jamid, &pair.bob, "Robert", false);
        pair.ada_says(id, "and now?").await;
        sees(&mut pair.ada, bob, "Robert").await;
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
        set(&mut ada, Some("Ada L\u{f8}velace"), Some(PICTURE)).await;
        let pin = ada.export_under_pin(None).await.unwrap();
        let account = jamid.link_by_pin("Ada", &pin, None).await.unwrap();
        let text = was_sent(&jamid, &account, "FN:Ada L\u{f8}velace").await;
        assert!(text.lines().any(|line| line.starts_with("PHOTO;ENCODING=BASE64;TYPE=JPEG:/9j/")), "{text}");
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
