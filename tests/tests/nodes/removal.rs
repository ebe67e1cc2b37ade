//! Accounts that are removed, also when the node is killed meanwhile.

use std::fs;
use std::path::Path;
use std::time::Duration;

use skep::Event;
use skep::rpc::schema::{AccountParams, Nothing, method};
use skep_tests::harness::{Golden, Mark, NodeSetup, Person, run, until};

use super::Pair;

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_removed_account_is_withdrawn_from_the_network_and_erased() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        assert!(alice.node.health().await.unwrap().published > 0);
        let mark = carol.node.events().mark();
        let params = AccountParams { account: alice.local };
        alice.node.call(method::AccountRemove, params).await.unwrap();
        alice
            .told(Mark::BEGINNING, "the account to be removed", |event| {
                matches!(event, Event::AccountRemoved {}).then_some(())
            })
            .await
            .unwrap();
        assert!(names(&alice.node.setup().data().join("accounts")).is_empty());
        assert_eq!(alice.node.call(method::AccountList, Nothing {}).await.unwrap().accounts, []);
        let name = alice.node.name().to_owned();
        until(&name, "nothing to be published", async || {
            Ok((alice.node.health().await?.published == 0).then_some(()))
        })
        .await
        .unwrap();
        let gone = alice.id;
        carol
            .told(mark, "the link to alice to end", |event| {
                matches!(event, Event::LinkDown { contact, .. } if *contact == gone).then_some(())
            })
            .await
            .unwrap();
        carol.send(id, "are you still there?").await.unwrap();
        alice.node.restart().await.unwrap();
        assert_eq!(alice.node.call(method::AccountList, Nothing {}).await.unwrap().accounts, []);
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}

/// Files that make the erasing of an account take a while.
const FILES: usize = 500;

#[test]
fn an_account_removed_by_a_node_that_is_killed_is_there_whole_or_gone() {
    run(async {
        for wait in [0, 10, 30] {
            let place = tempfile::tempdir().unwrap();
            let setup = NodeSetup::new("alice", place.path());
            let mut alice = Person::start(Golden::ALICE, setup).await.unwrap();
            let accounts = alice.node.setup().data().join("accounts");
            let (folder, local) = (accounts.join(alice.local.to_string()), alice.local);
            fs::create_dir(folder.join("many")).unwrap();
            for number in 0..FILES {
                fs::write(folder.join("many").join(number.to_string()), "").unwrap();
            }
            let mut client = alice.node.connect().await.unwrap();
            let remove = tokio::spawn(async move {
                client.call(method::AccountRemove, AccountParams { account: local }).await
            });
            tokio::time::sleep(Duration::from_millis(wait)).await;
            alice.node.kill();
            let acknowledged = remove.await.unwrap().is_ok();
            let whole = folder.exists();
            assert!(!(whole && acknowledged), "an acknowledged removal was undone");
            assert!(!whole || names(&folder.join("many")).len() == FILES, "half an account after {wait} ms");

            alice.node.restart().await.unwrap();
            let known = alice.node.call(method::AccountList, Nothing {}).await.unwrap().accounts;
            assert_eq!(known.len(), usize::from(whole), "after {wait} ms");
            assert_eq!(names(&accounts).len(), usize::from(whole), "nothing else is left over");
            if whole {
                assert_eq!(alice.describe().await.unwrap().id, alice.id);
            }
            alice.node.stop().await.unwrap();
        }
    });
}
