//! Files between whole nodes: both sides are killed on the way, one holder stands in for another, and the
//! program sends and fetches.

use std::fs;
use std::path::{Path, PathBuf};

use skep::rpc::schema::{AccountParams, method};
use skep::{CommitId, ConversationId, Event, OfferedView, TransferState};
use skep_tests::harness::{Mark, Person, long_file, run};

use super::disk::SmallDisk;
use super::groups::Group;
use super::{Pair, skep};

/// Length of a file that takes seconds to get from one node to another, in bytes.
const LONG: u64 = 128 << 20;

/// A file of that length.
fn long_file_in(folder: &Path) -> PathBuf {
    let path = folder.join("long.bin");
    long_file(&path, LONG).unwrap();
    path
}

/// What is kept of a file that is not whole.
fn partial(person: &Person, conversation: ConversationId, message: CommitId) -> u64 {
    let account = person.node.setup().data().join("accounts").join(person.local.to_string());
    let folder = account.join("conversation_data").join(conversation.to_string());
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let is_it = |name: &str| name.starts_with(&message.to_string()) && name.ends_with(".tmp");
    let mut found = entries.filter(|entry| is_it(entry.file_name().to_str().unwrap()));
    found.next().unwrap().metadata().unwrap().len()
}

#[test]
fn a_file_arrives_whole_though_both_sides_are_killed_on_the_way() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let offered = alice.offer(id, &long_file_in(place.path())).await.unwrap();
        let message = offered.message;
        carol.fetch(id, message).await.unwrap();

        carol.fetched_beyond(message, 0).await.unwrap();
        carol.node.kill();
        let kept = partial(&carol, id, message);
        assert!((1..LONG).contains(&kept), "{kept}");
        let since = carol.node.events().mark();
        carol.node.restart().await.unwrap();
        let resumed = carol
            .told(since, "the transfer to go on", |event| match event {
                Event::Transfer { transfer } => {
                    (transfer.state == TransferState::Running).then_some(transfer.position)
                }
                _ => None,
            })
            .await
            .unwrap();
        assert!(resumed >= kept, "it began anew: {resumed} after {kept}");

        carol.fetched_beyond(message, kept).await.unwrap();
        let since = carol.node.events().mark();
        alice.node.kill();
        let waiting = carol
            .told(since, "the sender to be missed", |event| match event {
                Event::Transfer { transfer } => {
                    (transfer.state == TransferState::Waiting).then(|| transfer.clone())
                }
                _ => None,
            })
            .await
            .unwrap();
        assert!(waiting.position > kept && waiting.problem.is_some(), "{waiting:?}");
        assert!(partial(&carol, id, message) >= waiting.position);
        alice.node.restart().await.unwrap();
        carol.fetched(&offered).await.unwrap();

        let running = |event: &Event| match event {
            Event::Transfer { transfer } if transfer.rate > 0 => Some(transfer.clone()),
            _ => None,
        };
        let shown = carol.told(Mark::BEGINNING, "a transfer under way", running).await.unwrap();
        assert!((1..LONG).contains(&shown.position) && shown.device.is_some(), "{shown:?}");
        let params = AccountParams { account: carol.local };
        assert!(carol.node.call(method::FileList, params).await.unwrap().transfers.is_empty());
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn a_file_goes_on_from_another_member_when_the_one_who_sends_it_is_killed() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let offered = group.alice.offer(id, &long_file_in(group.place.path())).await.unwrap();
        let message = offered.message;
        group.bob.fetch(id, message).await.unwrap();
        group.bob.fetched(&offered).await.unwrap();

        group.carol.fetch(id, message).await.unwrap();
        let sender = group.carol.fetched_beyond(message, 0).await.unwrap().device.unwrap();
        let (first, second) = if group.alice.describe().await.unwrap().device == sender {
            (&mut group.alice, &mut group.bob)
        } else {
            (&mut group.bob, &mut group.alice)
        };
        first.node.kill();
        let other = second.describe().await.unwrap().device;
        group.carol.fetched(&offered).await.unwrap();
        let from_other = |event: &Event| match event {
            Event::Transfer { transfer } => (transfer.device == Some(other)).then_some(transfer.position),
            _ => None,
        };
        let resumed =
            group.carol.told(Mark::BEGINNING, "a transfer from the other", from_other).await.unwrap();
        assert!(resumed > 0, "it began anew");
    });
}

#[test]
fn files_are_sent_and_fetched_by_the_program_under_safe_names() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let (sender, receiver) = (alice.node.setup().data().to_owned(), carol.node.setup().data().to_owned());
        let folder = place.path().join("downloads");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("photo.jpg"), b"mine").unwrap();
        let conversation = id.to_string();
        for (name, saved, content) in [
            ("photo.jpg", "photo (2).jpg", &b"yours"[..]),
            (".hidden\u{202e}txt.sh", "hiddentxt.sh", b"no text"),
            ("empty", "empty", b""),
        ] {
            let path = place.path().join(name);
            fs::write(&path, content).unwrap();
            let sent = skep(&sender, &["file", "send", &conversation, path.to_str().unwrap(), "--json"]);
            assert!(sent.status.success(), "{sent:?}");
            let offered: OfferedView = serde_json::from_slice(&sent.stdout).unwrap();
            carol.has(id, offered.message).await.unwrap();
            let message = offered.message.to_string();
            let words = ["file", "fetch", &conversation, &message, "--to", folder.to_str().unwrap()];
            let fetched = skep(&receiver, &words);
            let shown = String::from_utf8(fetched.stdout).unwrap();
            let place = folder.join(saved);
            assert!(shown.trim_end().ends_with(place.to_str().unwrap()), "{shown} {:?}", fetched.stderr);
            assert_eq!(fs::read(place).unwrap(), content);
        }
        assert_eq!(fs::read(folder.join("photo.jpg")).unwrap(), b"mine");
        carol.node.stop().await.unwrap();
        alice.node.stop().await.unwrap();
    });
}

#[test]
#[allow(clippy::print_stderr, reason = "whoever reads the test's output should know that it was skipped")]
fn a_file_for_which_the_disk_has_no_room_is_refused_before_a_byte_is_written() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let small = place.path().join("small");
        let Some(disk) = SmallDisk::mount(&small, 8) else {
            eprintln!("skipped: only root can mount a small disk");
            return;
        };
        let id = alice.befriend(&mut carol).await.unwrap();
        let offered = alice.offer(id, &long_file_in(place.path())).await.unwrap();
        carol.has(id, offered.message).await.unwrap();
        let data = carol.node.setup().data().to_owned();
        let (conversation, message) = (id.to_string(), offered.message.to_string());
        let refused =
            skep(&data, &["file", "fetch", &conversation, &message, "--to", small.to_str().unwrap()]);
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && error.contains("make room"), "{error}");
        assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
        drop(disk);
    });
}
