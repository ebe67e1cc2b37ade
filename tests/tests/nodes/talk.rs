//! Two people become contacts and talk.

use skep::rpc::client::ClientError;
use skep::rpc::schema::{ConversationParams, ErrorCode, MessageParams, TypingParams, method};
use skep::{CommitId, Event};
use skep_tests::harness::{run, same_history};

use super::Pair;

#[test]
fn two_processes_talk_and_end_with_one_history() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let hello = alice.send(id, "hello").await.unwrap();
        assert_eq!(carol.receives(id, "hello").await.unwrap().id, hello);
        let answer = carol.upon(method::MessageReply, id, hello, "hello yourself").await.unwrap();
        assert_eq!(alice.receives(id, "hello yourself").await.unwrap().reply_to, Some(hello));
        carol.upon(method::MessageReact, id, hello, "👋").await.unwrap();
        alice.upon(method::MessageEdit, id, hello, "hello, Carol").await.unwrap();
        let gone = carol.delete(id, answer).await.unwrap();
        alice.has(id, gone).await.unwrap();
        let log = same_history(&mut alice, &mut carol, id).await.unwrap();
        assert!(log.len() >= 7, "{log:?}");
        for person in [&mut alice, &mut carol] {
            let messages = person.messages(id).await.unwrap();
            let found = messages.iter().find(|message| message.id == hello).unwrap();
            assert_eq!(
                (found.body.as_str(), &found.editions[..]),
                ("hello, Carol", &["hello".to_owned()][..])
            );
            assert_eq!(found.reactions[0].body, "👋");
            assert!(messages.iter().find(|message| message.id == answer).unwrap().deleted);
        }
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn bursts_from_both_at_once_end_in_one_history() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let from_alice = alice.burst(id, (0..15).map(|number| format!("a{number}"))).await.unwrap();
        let from_carol = carol.burst(id, (0..15).map(|number| format!("c{number}"))).await.unwrap();
        let (from_alice, from_carol) = (from_alice.end().await.unwrap(), from_carol.end().await.unwrap());
        carol.receives(id, "a14").await.unwrap();
        alice.receives(id, "c14").await.unwrap();
        let log = same_history(&mut alice, &mut carol, id).await.unwrap();
        assert!(from_alice.iter().chain(&from_carol).all(|(commit, _)| log.contains(commit)));
        assert!(log.len() <= 80, "too many merges: {} commits for 30 messages", log.len());
    });
}

#[test]
fn who_reads_and_who_types_is_told_to_those_connected_and_reading_survives_a_restart() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        alice.send(id, "one").await.unwrap();
        let two = alice.send(id, "two").await.unwrap();
        let one = carol.receives(id, "one").await.unwrap().id;
        carol.has(id, two).await.unwrap();

        let mark = alice.node.events().mark();
        let (local, reader) = (carol.local, carol.id);
        let about = |message| MessageParams { account: local, conversation: id, message };
        carol.node.call(method::MessageRead, about(two)).await.unwrap();
        alice
            .told(mark, "that Carol has read", |event| {
                matches!(event, Event::Read { member, message, .. } if *member == reader && *message == two)
                    .then_some(())
            })
            .await
            .unwrap();
        // What was read is not unread by reading something older.
        carol.node.call(method::MessageRead, about(one)).await.unwrap();

        let mark = alice.node.events().mark();
        for active in [true, false] {
            let params = TypingParams { account: carol.local, conversation: id, active };
            carol.node.call(method::MessageTyping, params).await.unwrap();
            alice
                .told(mark, format!("that Carol types: {active}"), |event| {
                    matches!(event, Event::Typing { member, active: told, .. }
                        if *member == reader && *told == active)
                    .then_some(())
                })
                .await
                .unwrap();
        }

        carol.node.kill();
        carol.node.restart().await.unwrap();
        carol.usable(id).await.unwrap();
        let params = ConversationParams { account: carol.local, conversation: id };
        let members = carol.node.call(method::ConversationMembers, params).await.unwrap().members;
        let own = members.iter().find(|member| member.id == carol.id).unwrap();
        assert_eq!(own.read, Some(two));
        let nobody_wrote = CommitId([9; 20]);
        match carol.node.ask(method::MessageRead, about(nobody_wrote)).await.unwrap() {
            Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::NotFound.number()),
            other => panic!("{other:?}"),
        }
    });
}
