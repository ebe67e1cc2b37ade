//! Two real daemons talk: should this fail, the laboratory is broken and nothing is said of Skep.

use std::collections::BTreeMap;

use skep_tests::harness::run;
use skep_tests::live::Lab;

/// What is compared of a message that both have.
fn essence(message: &BTreeMap<String, String>) -> [Option<&String>; 4] {
    ["id", "type", "body", "author"].map(|key| message.get(key))
}

#[test]
fn two_daemons_become_contacts_and_talk() {
    run(async {
        let Some(mut lab) = Lab::open().unwrap() else { return };
        let (alice, bob) = (lab.daemon("alice").await.unwrap(), lab.daemon("bob").await.unwrap());
        let (at_alice, at_bob) =
            tokio::join!(alice.create_account("Alice", None), bob.create_account("Bob", None));
        let (at_alice, at_bob) = (at_alice.unwrap(), at_bob.unwrap());
        let id = alice.befriend(&at_alice, &bob, &at_bob).await.unwrap();

        alice.send(&at_alice, id, "hello").await.unwrap();
        bob.received(&at_bob, id, "hello").await.unwrap();
        bob.send(&at_bob, id, "hello yourself").await.unwrap();
        alice.received(&at_alice, id, "hello yourself").await.unwrap();

        let here = alice.history(&at_alice, id).await.unwrap();
        let there = bob.history(&at_bob, id).await.unwrap();
        let bodies: Vec<_> = here.iter().filter_map(|message| message.get("body")).take(2).collect();
        assert_eq!(bodies, ["hello yourself", "hello"]);
        assert!(here.iter().map(essence).eq(there.iter().map(essence)), "{here:?}\n{there:?}");
    });
}

#[test]
fn a_daemon_that_is_killed_comes_back_with_its_account() {
    run(async {
        let Some(mut lab) = Lab::open().unwrap() else { return };
        let mut alice = lab.daemon("alice").await.unwrap();
        let account = alice.create_account("Alice", None).await.unwrap();
        let since = alice.events().mark();
        alice.restart().await.unwrap();
        alice.announced(&account.local, since).await.unwrap();
    });
}
