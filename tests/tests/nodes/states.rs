//! What the control interface says of conversations that do not answer, or failed too often.

use std::fs::{self, OpenOptions};
use std::process::Command;

use skep::rpc::client::ClientError;
use skep::rpc::schema::{AccountParams, ActorParams, ActorView, ErrorCode, Nothing, SendParams, method};
use skep::{ConversationId, Event};
use skep_tests::harness::{Golden, NodeSetup, Person, Result, run, until};

/// What the list says of a conversation: its state, and why.
async fn state(person: &mut Person, id: ConversationId) -> Result<(String, Option<String>)> {
    let params = AccountParams { account: person.local };
    let listed = person.node.call(method::ConversationList, params).await?.conversations;
    let view = listed.into_iter().find(|view| view.id == id).unwrap();
    Ok((view.state, view.problem))
}

async fn alone(place: &std::path::Path) -> (Person, ConversationId) {
    let mut alice = Person::start(Golden::ALICE, NodeSetup::new("alice", place)).await.unwrap();
    let id = alice.add(Golden::CAROL.id.parse().unwrap()).await.unwrap();
    (alice, id)
}

#[test]
fn a_conversation_that_fails_again_and_again_is_failed_with_the_reason_until_a_restart() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, id) = alone(place.path()).await;
        alice.send(id, "kept").await.unwrap();
        let mark = alice.node.events().mark();
        until("alice", "the conversation to be given up", async || {
            let tree = alice.node.call(method::NodeTree, Nothing {}).await?;
            let is_it =
                |actor: &&ActorView| actor.kind == "conversation" && id.to_hex().starts_with(&actor.name);
            match tree.actors.iter().find(is_it) {
                Some(actor) => {
                    // It may be failing already.
                    let _ = alice.node.ask(method::NodeInjectPanic, ActorParams { actor: actor.id }).await?;
                    Ok(None)
                }
                None => Ok(Some(())),
            }
        })
        .await
        .unwrap();
        let reason = alice
            .told(mark, "that the conversation failed", |event| match event {
                Event::ConversationFailed { conversation, reason } if *conversation == id => {
                    Some(reason.clone())
                }
                _ => None,
            })
            .await
            .unwrap();
        assert_eq!(reason, "it failed too often; it is opened again when the node restarts");
        assert_eq!(state(&mut alice, id).await.unwrap(), ("failed".to_owned(), Some(reason)));
        let send = SendParams { account: alice.local, conversation: id, body: "lost".to_owned() };
        match alice.node.ask(method::MessageSend, send).await.unwrap() {
            Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::NotReady.number()),
            other => panic!("{other:?}"),
        }

        alice.node.stop().await.unwrap();
        alice.node.restart().await.unwrap();
        alice.usable(id).await.unwrap();
        assert_eq!(state(&mut alice, id).await.unwrap(), ("ready".to_owned(), None));
        assert!(alice.messages(id).await.unwrap().iter().any(|message| message.body == "kept"));
    });
}

#[test]
fn a_conversation_that_does_not_answer_is_busy_with_the_reason_and_holds_up_no_other() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, id) = alone(place.path()).await;
        let other = alice.add(Golden::BOB.id.parse().unwrap()).await.unwrap();
        alice.node.stop().await.unwrap();
        // A file that nobody fills: whoever reads it waits.
        let account = alice.node.setup().data().join("accounts").join(alice.local.to_hex());
        let folder = account.join("conversation_data").join(id.to_hex());
        let status = folder.join("status");
        fs::create_dir_all(&folder).unwrap();
        let _ = fs::remove_file(&status);
        assert!(Command::new("mkfifo").arg(&status).status().unwrap().success());
        alice.node.restart().await.unwrap();
        alice.usable(other).await.unwrap();
        let (busy, problem) = state(&mut alice, id).await.unwrap();
        assert_eq!(busy, "busy");
        let problem = problem.unwrap();
        assert!(problem.ends_with("did not answer within 5s"), "{problem}");
        alice.send(other, "goes on").await.unwrap();

        drop(OpenOptions::new().write(true).open(&status).unwrap());
        alice.usable(id).await.unwrap();
        assert_eq!(state(&mut alice, id).await.unwrap(), ("ready".to_owned(), None));
    });
}
