//! Copies whose disk or whose actor fails them.

use std::fs;

use super::*;
use crate::swarm::testing::founder;

const OTHER: AccountId = AccountId([7; 20]);

fn text(body: &str) -> Outgoing {
    Outgoing::Text { body: body.to_owned(), reply_to: None }
}

fn send(replica: &Replica, body: &str, now: UnixMillis) -> (CommitId, Moved) {
    let (answers, moved) = replica.send(&[text(body)], now);
    let [Ok(Sent { id })] = answers.as_slice() else { panic!("{answers:?}") };
    (*id, moved.unwrap())
}

#[test]
fn a_durable_message_is_acknowledged_and_told_though_older_history_cannot_be_read() {
    let place = tempfile::tempdir().unwrap();
    let founder = founder();
    let id = founder.begin(place.path(), OTHER, |_| false).unwrap();
    let path = place.path().join(id.to_hex());
    let middle = {
        let (replica, _) = Replica::open(id, &path, &founder).unwrap().unwrap();
        let (middle, _) = send(&replica, "first", founder.now);
        send(&replica, "second", founder.now);
        middle.to_hex()
    };
    let object = path.join("objects").join(&middle[..2]).join(&middle[2..]);
    let aside = place.path().join("aside");
    fs::rename(&object, &aside).unwrap();
    let (replica, _) = Replica::open(id, &path, &founder).unwrap().unwrap();
    let (third, moved) = send(&replica, "third", founder.now);
    assert_eq!((replica.head().unwrap(), moved.standing.head), (third, third));
    let [Change::New(message)] = moved.changes.as_slice() else { panic!("{:?}", moved.changes) };
    assert_eq!((message.id, message.body.as_str()), (third, "third"));
    fs::rename(&aside, &object).unwrap();
    let shown = replica.page(None, 10).unwrap().messages;
    assert_eq!(shown.iter().filter(|message| message.kind == "text/plain").count(), 3);
}

#[test]
fn a_clone_that_comes_second_gives_way_to_the_one_that_is_there() {
    let place = tempfile::tempdir().unwrap();
    let founder = founder();
    let id = founder.begin(place.path(), OTHER, |_| false).unwrap();
    let (path, unfinished) = (place.path().join(id.to_hex()), place.path().join("late.clone"));
    fs::rename(&path, &unfinished).unwrap();
    // The same again is the same conversation: its id is that of its first commit.
    assert_eq!(founder.begin(place.path(), OTHER, |_| false).unwrap(), id);
    let repository = Repository::open(&unfinished).unwrap();
    let head = repository.head().unwrap().unwrap();
    fs::remove_file(unfinished.join("refs/heads/main")).unwrap();
    let (_, standing) = Replica::adopt(id, repository, head, &path, &founder).unwrap();
    assert_eq!(standing.head, head);
    assert!(!unfinished.exists());
}

#[test]
fn history_that_was_let_go_is_read_again_when_it_is_wanted() {
    let place = tempfile::tempdir().unwrap();
    let founder = founder();
    let id = founder.begin(place.path(), OTHER, |_| false).unwrap();
    let (replica, _) = Replica::open(id, &place.path().join(id.to_hex()), &founder).unwrap().unwrap();
    for body in ["one", "two"] {
        send(&replica, body, founder.now);
    }
    let log = replica.log(100).unwrap();
    replica.release_history(log.len());
    assert_eq!(lock(&replica.timeline).loaded(), log.len());
    replica.release_history(log.len() - 1);
    assert_eq!(lock(&replica.timeline).loaded(), 0);
    assert_eq!(replica.log(100).unwrap(), log);
}
