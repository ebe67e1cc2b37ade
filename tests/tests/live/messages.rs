//! What can be done with messages.

use skep::rpc::schema::method;
use skep_tests::daemon::Relation;
use skep_tests::harness::run;
use skep_tests::live::{Direction, Feature};

use super::pair::Pair;

/// Scripts that are easily broken: joined emoji, combining marks, right to left, line ends, quotes.
const SCRIPTS: &str = "Gr\u{fc}\u{df}e e\u{301} \u{4f60}\u{597d} \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f469}\u{200d}\u{1f680}\n\n\
     second \"line\" \\ \u{1f41d}\r\n\tthird <line> & more";

/// A text of any script and of many lines.
fn long() -> String {
    format!("{}\nend", [SCRIPTS; 200].join("\n"))
}

#[test]
fn what_skep_does_with_messages_is_understood_by_a_daemon() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let attempt = |pair: &Pair, feature| pair.lab.attempt(feature, Direction::ToDaemon);
        let tried = attempt(&pair, Feature::Unicode);
        let text = long();
        pair.ada_says(id, &text).await;
        pair.bob_has(id, &[("body", &text)]).await;
        tried.works();

        let tried = attempt(&pair, Feature::Reply);
        let heard = pair.bob_says(id, "will you come?").await;
        let question = heard.id.to_string();
        let reply = pair.ada.upon(method::MessageReply, id, heard.id, "yes").await.unwrap();
        pair.bob_has(id, &[("id", &reply.to_string()), ("reply-to", &question), ("body", "yes")]).await;
        tried.works();

        let tried = attempt(&pair, Feature::Reaction);
        pair.ada.upon(method::MessageReact, id, heard.id, "\u{1f44d}").await.unwrap();
        pair.bob_has(id, &[("react-to", &question), ("body", "\u{1f44d}")]).await;
        tried.works();

        let tried = attempt(&pair, Feature::Edit);
        pair.ada.upon(method::MessageEdit, id, reply, "yes, at nine").await.unwrap();
        pair.bob_has(id, &[("edit", &reply.to_string()), ("body", "yes, at nine")]).await;
        tried.works();

        let tried = attempt(&pair, Feature::Deletion);
        pair.ada.delete(id, reply).await.unwrap();
        pair.bob_has(id, &[("edit", &reply.to_string()), ("body", "")]).await;
        tried.works();
        pair.same_history(id, &[]).await;
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn what_a_daemon_does_with_messages_is_understood_by_skep() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let attempt = |pair: &Pair, feature| pair.lab.attempt(feature, Direction::FromDaemon);
        let tried = attempt(&pair, Feature::Unicode);
        pair.bob_says(id, &long()).await;
        tried.works();

        let tried = attempt(&pair, Feature::Reply);
        let asked = pair.ada.send(id, "will you come?").await.unwrap();
        let question = pair.bob_has(id, &[("body", "will you come?")]).await;
        pair.jamid.upon(&pair.bob, id, Relation::Reply, &question, "yes").await.unwrap();
        let reply = pair.ada.receives(id, "yes").await.unwrap();
        assert_eq!(reply.reply_to, Some(asked));
        tried.works();

        let tried = attempt(&pair, Feature::Reaction);
        pair.jamid.upon(&pair.bob, id, Relation::Reaction, &question, "\u{1f44d}").await.unwrap();
        let bob = pair.bob.id;
        pair.ada_has(id, "the reaction", |message| {
            let reaction = message.reactions.first();
            message.id == asked && reaction.is_some_and(|it| it.author == bob && it.body == "\u{1f44d}")
        })
        .await;
        tried.works();

        let tried = attempt(&pair, Feature::Edit);
        let answer = reply.id.to_string();
        pair.jamid.upon(&pair.bob, id, Relation::Edit, &answer, "yes, at nine").await.unwrap();
        pair.ada_has(id, "the edit", |message| message.id == reply.id && message.body == "yes, at nine")
            .await;
        tried.works();

        let tried = attempt(&pair, Feature::Deletion);
        pair.jamid.upon(&pair.bob, id, Relation::Edit, &answer, "").await.unwrap();
        pair.ada_has(id, "the deletion", |message| message.id == reply.id && message.deleted).await;
        tried.works();
        pair.same_history(id, &[]).await;
        pair.ada.node.stop().await.unwrap();
    });
}
