//! A small crowd through what the demo does with a large one, and histories carried by hand.

use std::process::Command;

use skep::rpc::client::ClientError;
use skep::rpc::schema::{ConversationPathParams, ErrorCode, PathParams, method};
use skep_tests::harness::{Arrival, Guests, no_namespaces, run, run_to_end};

use super::Pair;

#[test]
fn a_group_goes_on_through_a_kill_and_a_partition_and_all_copies_are_equal() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut guests = Guests::start(Arrival::newcomers(5), place.path()).await.unwrap();
        guests.befriend().await.unwrap();
        let mut crowd = guests.gather("Five").await.unwrap();
        crowd.talk_at_once("All at once").await.unwrap();
        let killed = crowd.kill_while_all_write(1).await.unwrap();
        assert_eq!(killed.len(), 1);
        crowd.restart(&killed).await.unwrap();
        crowd.settle().await.unwrap();
        if no_namespaces().is_none() {
            assert!(crowd.part().unwrap());
            crowd.talk_in_halves("Is anybody there").await.unwrap();
            crowd.heal().unwrap();
        }
        let all = crowd.compare().await.unwrap();
        assert!(all.texts >= all.acknowledged && all.acknowledged >= 10, "{all:?}");
        crowd.stop().await.unwrap();
    });
}

#[test]
fn an_exported_conversation_opens_in_git_and_at_a_member_and_at_nobody_else() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        alice.send(id, "to be kept").await.unwrap();
        let own = alice.found("Alone").await.unwrap();
        let path = place.path().join("own.bundle");
        let export = |conversation, path: &std::path::Path| ConversationPathParams {
            account: alice.local,
            conversation,
            path: path.to_owned(),
        };
        let params = [export(own, &path), export(id, &place.path().join("pair.bundle"))];
        for params in &params {
            let written = alice.node.call(method::ConversationExport, params.clone()).await.unwrap();
            assert_eq!(written.bytes, std::fs::metadata(&params.path).unwrap().len());
            assert_eq!(alice.log(params.conversation).await.unwrap().first(), Some(&written.head));
            let clone = params.path.with_extension("git");
            run_to_end(Command::new("git").args(["clone", "-q", "--bare"]).args([&params.path, &clone]))
                .unwrap();
            let head = run_to_end(Command::new("git").arg("-C").arg(&clone).args(["rev-parse", "main"]));
            assert_eq!(head.unwrap(), written.head.to_string());
        }
        let again = alice.node.ask(method::ConversationExport, params[0].clone()).await.unwrap();
        assert!(
            matches!(again, Err(ClientError::Refused(error)) if error.code == ErrorCode::Refused.number())
        );
        // Carol has no part in the group.
        let params = PathParams { account: carol.local, path };
        let refused = carol.node.ask(method::ConversationImport, params).await.unwrap();
        let Err(ClientError::Refused(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.code, ErrorCode::BadArchive.number(), "{error}");
        assert_eq!(
            std::fs::read_dir(place.path())
                .unwrap()
                .filter(|it| { it.as_ref().unwrap().path().extension().is_some_and(|it| it == "tmp") })
                .count(),
            0
        );
    });
}
