//! Names instead of ids: a name server, and nodes whose people register there and find each other.

use skep_tests::harness::{Golden, NameServer, NodeSetup, Person, Place, run, until};

use super::skep;

/// What a command prints, which has to succeed.
#[track_caller]
fn shows(person: &Person, words: &[&str]) -> String {
    let output = skep(person.node.setup().data(), words);
    assert!(output.status.success(), "{words:?} {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that fails says.
#[track_caller]
fn fails(person: &Person, words: &[&str]) -> String {
    let output = skep(person.node.setup().data(), words);
    assert_eq!(output.status.code(), Some(1), "{words:?} {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// Waits until a table shows a name; it is looked up when it is shown first.
async fn comes_to_show(person: &Person, words: &[&str], name: &str) {
    let look = async || Ok(shows(person, words).contains(name).then_some(()));
    until(person.node.name(), format!("{name} in {words:?}"), look).await.unwrap();
}

#[test]
fn people_register_names_find_each_other_by_them_and_see_them_instead_of_ids() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let here = Place::loopback();
        let mut server = NameServer::start(&here, place.path(), (here.address, 0).into()).await.unwrap();
        let url = server.url().to_owned();
        let setup = |name| NodeSetup::new(name, place.path()).asking(&url);
        let mut alice = Person::start(Golden::ALICE, setup("alice")).await.unwrap();
        let address = alice.node.address().await.unwrap();
        let mut carol = Person::start(Golden::CAROL, setup("carol").joining(&address)).await.unwrap();
        alice.announced().await.unwrap();
        carol.announced().await.unwrap();

        assert!(shows(&alice, &["names", "register", "AliceTest"]).contains("by the account"));
        assert!(fails(&carol, &["names", "register", "alicetest"]).contains("the name is taken"));
        shows(&carol, &["names", "register", "carol-2"]);
        assert!(shows(&carol, &["account", "list"]).contains("carol-2"));
        assert!(shows(&carol, &["names", "lookup", "ALICETEST"]).contains(Golden::ALICE.id));
        assert!(shows(&alice, &["names", "search", "car"]).contains(Golden::CAROL.id));

        let mark = carol.node.events().mark();
        shows(&alice, &["contact", "add", "Carol-2"]);
        carol.asked_by(alice.id, mark).await.unwrap();
        comes_to_show(&carol, &["contact", "requests"], "alicetest").await;
        shows(&carol, &["contact", "accept", "alicetest"]);
        comes_to_show(&carol, &["contact", "list"], "alicetest").await;
        comes_to_show(&alice, &["contact", "list"], "carol-2").await;

        // Killed, the server forgets nothing; without it names are shown all the same.
        server.kill();
        comes_to_show(&alice, &["contact", "list"], "carol-2").await;
        alice.node.stop().await.unwrap();
        alice.node.restart().await.unwrap();
        comes_to_show(&alice, &["contact", "list"], "carol-2").await;
        let listen = url.strip_prefix("http://").unwrap().parse().unwrap();
        let _server = NameServer::start(&here, place.path(), listen).await.unwrap();
        assert!(fails(&alice, &["names", "register", "second"]).contains("has another name already"));
        assert!(shows(&alice, &["names", "lookup", &format!("carol-2@{url}")]).contains(Golden::CAROL.id));
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}
