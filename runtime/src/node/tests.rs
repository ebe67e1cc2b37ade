//! A node of fake parts, through its public interface.

use skep_actors::event::Event;
use skep_actors::supervision::AskError;
use skep_actors::swarm::messages::ConversationError;

use super::fake::{self, CONVERSATION};
use super::*;

fn quiet(folder: &tempfile::TempDir) -> NodeConfig {
    NodeConfig {
        debug: crate::config::DebugConfig { fault_injection: true },
        ..NodeConfig::in_folder(folder.path())
    }
}

#[tokio::test]
async fn accounts_are_made_talk_and_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = fake::start(quiet(&folder)).await.unwrap();
    let mut events = node.events();
    let account = node.create_account("Alice", None, |_| ()).await.unwrap();
    let conversation = account.conversation(CONVERSATION);
    let id = conversation.send("hello").await.unwrap();
    assert_eq!(conversation.messages(None, 10).await.unwrap().messages[0].id, id);
    let event = events.next().await.unwrap();
    assert_eq!(event.account, account.local());
    assert!(matches!(event.event, Event::Message { message, .. } if message.id == id));

    let end = node.shutdown().await;
    assert_eq!(
        end,
        NodeEnd { failed: false, shutdown: Shutdown { complete: true, actors_left: 0, tasks_left: 0 } }
    );
    assert_eq!(events.next().await, None);
    assert!(node.accounts().await.unwrap_err().is_stopped());

    let node = fake::start(quiet(&folder)).await.unwrap();
    let accounts = node.accounts().await.unwrap();
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0].local(), account.local());
    node.shutdown().await;
}

#[tokio::test]
async fn a_removed_account_is_gone_at_once_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = fake::start(quiet(&folder)).await.unwrap();
    let (alice, bob) = (
        node.create_account("Alice", None, |_| ()).await.unwrap(),
        node.create_account("Bob", None, |_| ()).await.unwrap(),
    );
    let mut events = node.events();
    let (first, second) = tokio::join!(alice.remove(), alice.remove());
    assert_eq!([first, second], [Ok(()), Err(NodeError::UnknownAccount(alice.local()))]);
    let told = events.next().await.unwrap();
    assert_eq!((told.account, told.event), (alice.local(), Event::AccountRemoved {}));
    let error = alice.conversation(CONVERSATION).send("hello?").await.unwrap_err();
    assert_eq!(error, NodeError::UnknownAccount(alice.local()));
    assert!(!node.tree().rows().iter().any(|row| row.name.contains(&alice.local().to_hex())));
    bob.conversation(CONVERSATION).send("still here").await.unwrap();
    node.shutdown().await;

    let node = fake::start(quiet(&folder)).await.unwrap();
    let accounts: Vec<_> = node.accounts().await.unwrap().iter().map(Account::local).collect();
    assert_eq!(accounts, [bob.local()]);
    node.shutdown().await;
}

#[tokio::test]
async fn an_account_that_the_disk_does_not_let_go_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let node = fake::start(quiet(&folder)).await.unwrap();
    let alice = node.create_account("Alice", None, |_| ()).await.unwrap();
    std::fs::remove_dir(folder.path().join("accounts").join(alice.local().to_hex())).unwrap();
    assert!(matches!(alice.remove().await, Err(NodeError::File { .. })));
    alice.conversation(CONVERSATION).send("still here").await.unwrap();
    assert_eq!(node.accounts().await.unwrap().len(), 1);
    node.shutdown().await;
}

#[tokio::test]
async fn two_nodes_never_share_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let node = fake::start(quiet(&folder)).await.unwrap();
    match fake::start(quiet(&folder)).await.unwrap_err() {
        NodeError::InUse { pid, .. } => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    assert!(node.accounts().await.is_ok());
    node.shutdown().await;
    fake::start(quiet(&folder)).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn an_actor_that_fails_tells_its_asker_and_serves_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let node = fake::start(quiet(&folder)).await.unwrap();
    let conversation = node.create_account("Alice", None, |_| ()).await.unwrap().conversation(CONVERSATION);
    match conversation.send("panic").await.unwrap_err() {
        NodeError::Unanswered(AskError::Unanswered { actor }) => {
            assert!(actor.ends_with("/conversation"), "{actor}")
        }
        other => panic!("{other:?}"),
    }
    conversation.send("still here").await.unwrap();
    node.shutdown().await;
}

#[tokio::test]
async fn every_kind_of_actor_survives_an_injected_panic() {
    let folder = tempfile::tempdir().unwrap();
    let node = fake::start(fake::config(&folder)).await.unwrap();
    let conversation = node.create_account("Alice", None, |_| ()).await.unwrap().conversation(CONVERSATION);
    let mut events = node.events();
    for kind in ["events", "dht", "account", "conversation", "rpc", "node"] {
        let row = node.tree().rows().into_iter().find(|row| row.kind == kind).unwrap();
        assert!(node.tree().inject_panic(row.id), "{kind}");
        // Meanwhile requests may fail, but the node comes back by itself.
        while conversation.send(kind).await.is_err() || node.health().await.is_err() {
            tokio::task::yield_now().await;
        }
        loop {
            let event = events.next().await.unwrap();
            if matches!(event.event, Event::Message { message, .. } if message.body == kind) {
                break;
            }
        }
    }
    assert!(node.shutdown().await.shutdown.complete);
}

#[tokio::test]
async fn what_does_not_exist_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let node = fake::start(quiet(&folder)).await.unwrap();
    let nobody = LocalAccountId([9; 8]);
    let error = node.account(nobody).describe().await.unwrap_err();
    assert_eq!(error, NodeError::UnknownAccount(nobody));
    let account = node.create_account("Alice", None, |_| ()).await.unwrap();
    let error = account
        .conversation(CONVERSATION)
        .edit(skep_protocol::ids::CommitId([5; 20]), "x")
        .await
        .unwrap_err();
    assert!(matches!(error, NodeError::Conversation(ConversationError::UnknownMessage { .. })));
    node.shutdown().await;
}

#[tokio::test]
async fn an_address_in_use_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = quiet(&folder);
    config.metrics.listen = Some(taken.local_addr().unwrap());
    let error = fake::start(config).await.unwrap_err();
    assert!(
        matches!(&error, NodeError::Listen { address, .. } if *address == taken.local_addr().unwrap().to_string())
    );
}
