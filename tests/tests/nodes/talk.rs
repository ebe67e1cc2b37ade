//! Two people become contacts and talk.

use skep::rpc::schema::method;
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
