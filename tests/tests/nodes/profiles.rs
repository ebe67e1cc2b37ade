//! Names and pictures that people give themselves: told to contacts and to own devices, and nothing else with them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use skep::rpc::client::ClientError;
use skep::rpc::schema::{
    AccountParams, ConversationParams, ErrorCode, PeopleParams, ProfileSetParams, ProfileShowParams, method,
};
use skep::{AccountId, ConversationId, Event, PersonView};
use skep_protocol::profile::ProfileDigest;
use skep_tests::harness::{Golden, Mark, NodeSetup, PICTURE, Person, Result, run, until};

use super::{Pair, skep};

/// Time in which a small profile is sent (two seconds until it counts) and noted (one second later), and some more.
const SENT_AND_NOTED: Duration = Duration::from_secs(6);

/// The same as a file.
pub(super) fn picture() -> Vec<u8> {
    STANDARD.decode(PICTURE).unwrap()
}

async fn set(person: &mut Person, name: Option<&str>, picture: Option<&str>) {
    let (account, name) = (person.local, name.map(str::to_owned));
    let params = ProfileSetParams { account, name, picture: picture.map(str::to_owned), picture_file: None };
    person.node.call(method::ProfileSet, params).await.unwrap();
}

async fn show(person: &mut Person, whose: AccountId) -> Result<PersonView> {
    let params = ProfileShowParams { account: person.local, person: Some(whose.to_string()) };
    person.node.call(method::ProfileShow, params).await
}

/// Waits until somebody is called so, and says whether there is a picture.
async fn sees(person: &mut Person, whose: AccountId, called: &str) -> bool {
    let name = person.node.name().to_owned();
    until(&name, format!("{whose} to be called {called:?}"), async || {
        let people = PeopleParams { account: Some(person.local), people: [whose].into() };
        let known = person.node.call(method::NamesKnown, people).await?.display_names;
        Ok(known.get(&whose).is_some_and(|name| name == called).then_some(()))
    })
    .await
    .unwrap();
    !show(person, whose).await.unwrap().picture.is_empty()
}

/// How often somebody was told of a profile since then.
fn times(person: &Person, since: Mark, whose: AccountId) -> usize {
    let mut count = 0;
    person.node.events().find(since, |told| {
        count += usize::from(matches!(&told.event, Event::ProfileChanged { person, .. } if *person == whose));
        None::<()>
    });
    count
}

/// A sign of life that comes after whatever was sent before.
async fn talk(from: &mut Person, to: &mut Person, conversation: ConversationId, text: &str) {
    let message = from.send(conversation, text).await.unwrap();
    to.has(conversation, message).await.unwrap();
}

#[test]
fn contacts_see_each_others_names_and_pictures_and_changes_while_they_were_away() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let (alice_id, carol_id) = (alice.id, carol.id);
        set(&mut alice, Some("Alice in Wonderland"), Some(PICTURE)).await;
        let id = alice.befriend(&mut carol).await.unwrap();
        let requests = |event: &Event| match event {
            Event::ContactRequest { name, .. } => Some(name.clone()),
            _ => None,
        };
        let shown = carol.told(Mark::BEGINNING, "a request", requests).await.unwrap();
        assert_eq!(shown, "Alice in Wonderland");
        assert!(sees(&mut carol, alice_id, "Alice in Wonderland").await, "with a picture");
        sees(&mut alice, carol_id, "Carol").await;
        let seen = show(&mut carol, alice_id).await.unwrap();
        let kept = STANDARD.decode(&seen.picture).unwrap();
        assert_eq!((seen.name.as_str(), seen.picture_type.as_str()), ("Alice in Wonderland", "image/jpeg"));
        assert!(kept.starts_with(b"\xff\xd8\xff"));

        // Everywhere where people are listed.
        let account = AccountParams { account: carol.local };
        let contacts = carol.node.call(method::ContactList, account.clone()).await.unwrap();
        assert_eq!(contacts.display_names.get(&alice.id).map(String::as_str), Some("Alice in Wonderland"));
        let params = ConversationParams { account: carol.local, conversation: id };
        let members = carol.node.call(method::ConversationMembers, params).await.unwrap();
        assert_eq!(members.display_names.len(), 2, "herself, too");
        let table = skep(carol.node.setup().data(), &["contact", "list"]);
        assert!(String::from_utf8(table.stdout).unwrap().contains("Alice in Wonderland"));

        carol.node.stop().await.unwrap();
        set(&mut alice, Some("Alice"), None).await;
        carol.node.restart().await.unwrap();
        assert!(sees(&mut carol, alice_id, "Alice").await, "the picture has stayed");

        // Without a change nothing is sent or told again, also after a restart of both. Whenever a device got the
        // profile, who has it is written anew; that a file came once more would make no event.
        let account = alice.node.setup().data().join("accounts").join(alice.local.to_string());
        let digest = ProfileDigest::of(&fs::read(account.join("profile.vcf")).unwrap());
        let sent = account.join("profileSent");
        until("alice", "it is noted that Carol has the profile".to_owned(), async || {
            let file = fs::read(&sent).unwrap_or_default();
            let notes = |bytes: &[u8]| file.windows(bytes.len()).any(|part| part == bytes);
            Ok((notes(&digest.0) && notes(&carol_id.0)).then_some(()))
        })
        .await
        .unwrap();
        let noted = fs::metadata(&sent).unwrap().modified().unwrap();
        let since = carol.node.events().mark();
        for person in [&mut alice, &mut carol] {
            person.node.stop().await.unwrap();
            person.node.restart().await.unwrap();
        }
        talk(&mut alice, &mut carol, id, "hello again").await;
        // Longer than a profile takes to be sent, and that to be noted.
        tokio::time::sleep(SENT_AND_NOTED).await;
        assert_eq!(fs::metadata(&sent).unwrap().modified().unwrap(), noted, "Carol was sent it again");
        assert_eq!(times(&carol, since, alice_id), 0);
        let told = carol.node.events().mark();
        set(&mut alice, Some("Alice again"), None).await;
        assert!(sees(&mut carol, alice_id, "Alice again").await);
        assert_eq!(times(&carol, told, alice_id), 1);
        let photo = place.path().join("alice.jpg");
        let words = ["profile", "show", &alice.id.to_string(), "--save", photo.to_str().unwrap()];
        let shown = skep(carol.node.setup().data(), &words);
        assert!(shown.status.success(), "{shown:?}");
        assert_eq!(fs::read(photo).unwrap(), kept);
    });
}

async fn refused(person: &mut Person, picture: &Path) -> i32 {
    let picture_file = Some(picture.to_owned());
    let params = ProfileSetParams { account: person.local, name: None, picture: None, picture_file };
    match person.node.ask(method::ProfileSet, params).await.unwrap() {
        Err(ClientError::Refused(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_picture_that_is_too_large_or_none_is_refused_and_the_profile_stays() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut alice = Person::start(Golden::ALICE, NodeSetup::new("alice", place.path())).await.unwrap();
        set(&mut alice, Some("Alice"), Some(PICTURE)).await;
        let own = alice.id;
        let before = show(&mut alice, own).await.unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = place.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let picture = picture();
        let mut vast = picture.clone();
        vast[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let mut long = picture.clone();
        long.resize(17 * 1024 * 1024, 0);
        for path in [
            file("vast.png", &vast),
            file("long.png", &long),
            file("half.png", &picture[..50]),
            file("text.png", b"no picture"),
            place.path().join("missing.png"),
        ] {
            assert_eq!(refused(&mut alice, &path).await, ErrorCode::Refused.number(), "{}", path.display());
        }
        alice.node.kill();
        alice.node.restart().await.unwrap();
        assert_eq!(show(&mut alice, own).await.unwrap(), before);
        let data = alice.node.setup().data().to_owned();
        let good = file("good.png", &picture);
        for words in [&["--no-photo"][..], &["--name", "Ada", "--photo", good.to_str().unwrap()]] {
            let done = skep(&data, &[&["profile", "set"], words].concat());
            assert!(done.status.success(), "{done:?}");
        }
        let after = show(&mut alice, own).await.unwrap();
        assert_eq!((after.name.as_str(), &after.picture), ("Ada", &before.picture));
        assert_eq!(alice.describe().await.unwrap().name, "Ada");
    });
}

#[test]
fn devices_of_one_person_have_the_profile_that_was_set_last_and_learn_those_of_contacts() {
    run(async {
        let Pair { place, alice: mut desk, mut carol } = Pair::start().await.unwrap();
        let (desk_id, carol_id) = (desk.id, carol.id);
        set(&mut carol, Some("Carol at sea"), Some(PICTURE)).await;
        desk.befriend(&mut carol).await.unwrap();
        sees(&mut desk, carol_id, "Carol at sea").await;
        set(&mut desk, Some("Alice at her desk"), None).await;
        carol.node.stop().await.unwrap();

        let address = desk.node.address().await.unwrap();
        let setup = NodeSetup::new("attic", place.path()).joining(&address);
        let mut attic = Person::start(Golden::ALICE_AGAIN, setup).await.unwrap();
        sees(&mut attic, desk_id, "Alice at her desk").await;
        assert_eq!(attic.describe().await.unwrap().name, "Alice at her desk");
        // Carol is away: the other device tells what she looks like.
        assert!(sees(&mut attic, carol_id, "Carol at sea").await, "with her picture");

        set(&mut attic, Some("Alice in the attic"), None).await;
        sees(&mut desk, desk_id, "Alice in the attic").await;
        assert_eq!(desk.describe().await.unwrap().name, "Alice in the attic");

        // Both changed while they did not see each other: the later one counts.
        attic.node.stop().await.unwrap();
        set(&mut desk, Some("Alice, earlier"), None).await;
        desk.node.stop().await.unwrap();
        attic.node.restart().await.unwrap();
        // Times of profiles are in whole seconds, and each change is a second later at least than the one before: what
        // was changed so quickly is ahead of the clock.
        let file = desk.node.setup().data().join("accounts").join(desk.local.to_string()).join("profile.vcf");
        let earlier = fs::metadata(file).unwrap().modified().unwrap();
        until("attic", "the clock to be past the earlier change", async || {
            Ok((std::time::SystemTime::now() >= earlier + Duration::from_secs(1)).then_some(()))
        })
        .await
        .unwrap();
        set(&mut attic, Some("Alice, later"), None).await;
        desk.node.restart().await.unwrap();
        sees(&mut desk, desk_id, "Alice, later").await;
        assert_eq!(attic.describe().await.unwrap().name, "Alice, later");
        carol.node.restart().await.unwrap();
        sees(&mut carol, desk_id, "Alice, later").await;
    });
}
