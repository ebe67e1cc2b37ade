//! Copies whose disk or whose actor fails them.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::recorded::{NOW, Recorded};
use crate::swarm::repository::fetch::{Fetched, FetchedPack, NewCommits};
use crate::swarm::repository::{Access, Exclusive};
use crate::swarm::testing::{forge, founder};

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

/// A conversation of Alice's, and a copy of it as it is after something was done in it.
struct Copies {
    _place: tempfile::TempDir,
    ours: Arc<Replica>,
    theirs: Arc<Replica>,
}

impl Copies {
    fn after(done: impl FnOnce(&Replica)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let founder = founder();
        let id = founder.begin(place.path(), OTHER, |_| false).unwrap();
        let (path, theirs) = (place.path().join(id.to_hex()), place.path().join("theirs"));
        let (ours, _) = Replica::open(id, &path, &founder).unwrap().unwrap();
        done(&ours);
        assert!(Command::new("cp").arg("-r").args([&path, &theirs]).status().unwrap().success());
        let (theirs, _) = Replica::open(id, &theirs, &founder).unwrap().unwrap();
        Self { _place: place, ours, theirs }
    }
}

/// What `ours` fetches from `theirs`.
fn fetch(ours: &Replica, theirs: &Replica) -> FetchedPack {
    let device = theirs.local().device();
    let (mut fetch, mut serve) = (Fetch::new(ours.id, device), Serve::default());
    let mut answers: Vec<Bytes> = vec![Bytes::new()];
    loop {
        let mut requests = Vec::new();
        for bytes in std::mem::take(&mut answers) {
            let step = ours.fetch_step(&mut fetch, &bytes).unwrap();
            requests.extend(step.send);
            match step.done {
                Some(Fetched::New(pack)) => return pack,
                Some(known) => panic!("{known:?}"),
                None => {}
            }
        }
        for request in requests {
            answers.extend(theirs.serve_step(&mut serve, &request).unwrap().send);
        }
    }
}

/// Lets go of the repository and tells so, and goes on when it is told to.
struct Halted<'a> {
    repository: &'a SharedRepository,
    halted: mpsc::SyncSender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Access for Halted<'_> {
    fn access<T>(&self, operation: impl FnOnce(&Repository) -> T) -> T {
        let result = self.repository.access(operation);
        self.halted.send(()).unwrap();
        self.go_on.recv().unwrap();
        result
    }
}

impl Exclusive for Halted<'_> {
    fn exclusive<T>(&self, operation: impl FnOnce(&mut Repository) -> T) -> T {
        let result = self.repository.exclusive(operation);
        self.halted.send(()).unwrap();
        self.go_on.recv().unwrap();
        result
    }
}

#[test]
fn messages_are_sent_and_shown_while_loose_objects_are_packed() {
    let Copies { ours, .. } = &Copies::after(|ours| {
        let blob = |number: u32| NewObject::new(ObjectKind::Blob, number.to_be_bytes().to_vec()).unwrap();
        ours.repository.lock().write_objects(&(0..600).map(blob).collect::<Vec<_>>()).unwrap();
    });
    let ((halted, is_halted), (go, go_on)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
    let (packed, sent) = thread::scope(|threads| {
        let halting = Halted { repository: &ours.repository, halted, go_on };
        let packing = threads.spawn(move || consolidate(&halting));
        let sent = ["before the pack is written", "after it was"].map(|body| {
            is_halted.recv().unwrap();
            assert!(ours.repository.is_free() && ours.writer.try_lock().is_ok());
            let (sent, _) = send(ours, body, NOW);
            assert_eq!(ours.consolidate().unwrap(), Consolidation::Nothing, "one packs at a time");
            go.send(()).unwrap();
            sent
        });
        // A third time would have to be told to go on, too.
        drop(go);
        (packing.join().unwrap().unwrap(), sent)
    });
    assert_eq!(packed, Consolidation::Done);
    let shown = ours.page(None, 10).unwrap().messages;
    assert!(sent.iter().all(|id| shown.iter().any(|message| message.id == *id)));
}

#[test]
fn messages_are_sent_while_a_peer_is_served() {
    let Copies { ours, .. } = &Copies::after(|_| ());
    let head = ours.head().unwrap();
    let main = ours.repository.lock().path().join("refs/heads/main");
    let mut serve = Serve::default();
    ours.serve_step(&mut serve, b"002egit-upload-pack /conversation\0host=device\0").unwrap();
    // A step that reads the head waits for somebody to write into this.
    let aside = main.with_extension("aside");
    fs::rename(&main, &aside).unwrap();
    assert!(Command::new("mkfifo").arg(&main).status().unwrap().success());
    let step = thread::scope(|threads| {
        let serving = threads.spawn(|| {
            let asked = format!("0032want {head}\n00000009done\n");
            ours.serve_step(&mut serve, asked.as_bytes()).unwrap()
        });
        let mut awaited = fs::OpenOptions::new().write(true).open(&main).unwrap();
        fs::rename(&aside, &main).unwrap();
        let is_free = ours.repository.is_free();
        awaited.write_all(format!("{head}\n").as_bytes()).unwrap();
        drop(awaited);
        let step = serving.join().unwrap();
        assert!(is_free);
        step
    });
    assert_eq!(step.served.len(), 1);
}

#[test]
fn messages_are_sent_while_a_fetched_pack_is_stored() {
    let Copies { ours, theirs, .. } = &Copies::after(|_| ());
    // More than are written as files of their own.
    let burst: Vec<_> = (0..70).map(|number| text(&format!("theirs {number}"))).collect();
    assert!(theirs.send(&burst, NOW).1.is_some());
    let pack = fetch(ours, theirs);

    let ((halted, is_halted), (go, go_on)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
    let (new, sent) = thread::scope(|threads| {
        let halting = Halted { repository: &ours.repository, halted, go_on };
        let storing = threads.spawn(move || pack.store(&halting));
        is_halted.recv().unwrap();
        assert!(ours.repository.is_free() && ours.writer.try_lock().is_ok());
        let (sent, _) = send(ours, "meanwhile", NOW);
        go.send(()).unwrap();
        // A second time would have to be told to go on, too.
        drop(go);
        (storing.join().unwrap().unwrap(), sent)
    });
    assert!(!ours.repository.lock().contains(new.head.into()).unwrap(), "nobody sees it yet");
    let theirs_head = new.head;
    let moved = ours.integrate_stored(new, NOW).unwrap().unwrap();
    assert!(!moved.adopted && ours.has(theirs_head).unwrap() && ours.has(sent).unwrap());
    assert_eq!(ours.log(1_000).unwrap().len(), 70 + 1 + 1 + 1, "both sides, the first commit, the merge");
}

#[test]
fn a_comparison_with_our_head_follows_what_we_write_meanwhile_and_nothing_else() {
    let Copies { ours, theirs, .. } = &Copies::after(|_| ());
    let (first, _) = send(theirs, "first", NOW);
    let early = fetch(ours, theirs).store(&ours.repository).unwrap();
    send(ours, "before", NOW);
    send(theirs, "second", NOW);
    let NewCommits { head, commits, quarantine } = fetch(ours, theirs).store(&ours.repository).unwrap();
    let valid = ours.validate(&quarantine, &commits).unwrap();
    let compare = || ours.compare(head, &valid, &quarantine).unwrap();
    let overtaken = compare();
    let (meanwhile, _) = send(ours, "meanwhile", NOW);
    let followed = ours.follow(compare()).unwrap().unwrap();
    assert!(ours.follow(overtaken).unwrap().is_some(), "one message");
    let overtaken = compare();
    assert!(ours.integrate_stored(early, NOW).unwrap().is_some());
    assert!(ours.has(first).unwrap() && ours.follow(overtaken).unwrap().is_none(), "part of theirs has come");
    assert!(ours.follow(followed).unwrap().is_none());
    let compared = compare();
    let (last, _) = send(ours, "last", NOW);
    let compared = ours.follow(compared).unwrap().unwrap();
    let moved = ours.take_in(head, valid.clone(), compared, quarantine, NOW).unwrap().unwrap();
    assert_eq!((moved.adopted, moved.changes.len()), (false, 1), "only the second is new");
    assert!([first, meanwhile, last, head].iter().all(|id| ours.has(*id).unwrap()));
    assert_eq!(ours.log(100).unwrap().len(), 1 + 3 + 2 + 2, "the beginning, ours, theirs, two merges");
}

#[test]
fn a_message_that_two_fetches_bring_at_once_is_told_once() {
    let Copies { ours, theirs, .. } = &Copies::after(|_| ());
    let (first, _) = send(theirs, "first", NOW);
    let one = fetch(ours, theirs).store(&ours.repository).unwrap();
    let (second, _) = send(theirs, "second", NOW);
    let both = fetch(ours, theirs).store(&ours.repository).unwrap();
    assert_eq!((one.commits.len(), both.commits.len()), (1, 2));
    let told = [one, both].map(|new| {
        let moved = ours.integrate_stored(new, NOW).unwrap().unwrap();
        let ids = moved.changes.iter().map(|change| match change {
            Change::New(message) | Change::Changed(message) => message.id,
        });
        ids.collect::<Vec<_>>()
    });
    assert_eq!(told, [vec![first], vec![second]]);
}

#[test]
fn clocks_that_are_a_day_apart_do_not_hide_what_is_known() {
    let at = |days: i64| UnixMillis(NOW.0 + days * 24 * 60 * 60 * 1000);
    // Down from the head the times jump, so that a walk that trusts them passes what both sides have.
    let Copies { ours, theirs, .. } = &Copies::after(|ours| {
        for days in [2, 0, 2, -1, 2, 1] {
            send(ours, "before", at(days));
        }
    });
    let (first, _) = send(theirs, "theirs", at(-1));
    let new = fetch(ours, theirs).store(&ours.repository).unwrap();
    let moved = ours.integrate_stored(new, NOW).unwrap().unwrap();
    assert!(moved.adopted && moved.standing.head == first);
    assert_eq!(moved.changes.len(), 1, "{:?}", moved.changes);
    send(theirs, "theirs, too", at(-1));
    send(ours, "ours", at(2));
    let new = fetch(ours, theirs).store(&ours.repository).unwrap();
    let merged = ours.integrate_stored(new, NOW).unwrap().unwrap();
    assert_eq!((merged.adopted, merged.changes.len()), (false, 1), "{:?}", merged.changes);
    let new = fetch(theirs, ours).store(&theirs.repository).unwrap();
    let followed = theirs.integrate_stored(new, NOW).unwrap().unwrap();
    assert_eq!((followed.adopted, followed.standing.head), (true, merged.standing.head));
}

#[test]
fn a_clone_that_breaks_the_rules_leaves_the_copy_that_is_there_alone() {
    let place = tempfile::tempdir().unwrap();
    let founder = founder();
    let id = founder.begin(place.path(), OTHER, |_| false).unwrap();
    let (path, unfinished) = (place.path().join(id.to_hex()), place.path().join("late.clone"));
    let before = {
        let (replica, standing) = Replica::open(id, &path, &founder).unwrap().unwrap();
        assert!(Command::new("cp").arg("-r").args([&path, &unfinished]).status().unwrap().success());
        drop(replica);
        standing.head
    };
    let repository = Repository::open(&unfinished).unwrap();
    let stranger = Recorded::new("jami-13.11.0", "alice").identity();
    let head = forge(&repository, &stranger, NOW.seconds(), "I was never here");
    let refused = Replica::adopt(id, repository, head, &path, &founder);
    assert!(matches!(refused, Err(ReplicaError::Invalid(_))), "{refused:?}");
    let (_, standing) = Replica::open(id, &path, &founder).unwrap().unwrap();
    assert_eq!(standing.head, before);
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
fn the_author_of_a_commit_is_whose_device_wrote_it() {
    let place = tempfile::tempdir().unwrap();
    let founder = founder();
    let other = Arc::new(Recorded::new("jami-13.11.0", "alice").identity());
    let theirs = Founder { identity: Arc::clone(&other), ..founder.clone() };
    let id = theirs.begin(place.path(), founder.identity.account_id(), |_| false).unwrap();
    let (replica, _) = Replica::open(id, &place.path().join(id.to_hex()), &founder).unwrap().unwrap();
    assert_eq!(replica.author_of(replica.head().unwrap()).unwrap(), other.account_id());
    let joined = replica.join(founder.now).unwrap().unwrap();
    assert_eq!(replica.author_of(joined.standing.head).unwrap(), founder.identity.account_id());
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
    assert_eq!(replica.timeline.loaded(), log.len());
    replica.release_history(log.len() - 1);
    assert_eq!(replica.timeline.loaded(), 0);
    assert_eq!(replica.log(100).unwrap(), log);
}
