//! Files, each way, also with a break on the way.

use std::fs;
use std::path::{Path, PathBuf};

use skep::rpc::schema::{AccountParams, FileFetchParams, FileSendParams, method};
use skep::{CommitId, ConversationId, Event, OfferedView, TransferState};
use skep_tests::harness::{Mark, file_hash, long_file, run, until};
use skep_tests::live::{Direction, Feature};

use super::pair::Pair;

/// Length of a file that takes seconds, in bytes.
const LONG: u64 = 400 << 20;

/// A file of so many bytes.
fn make(pair: &Pair, name: &str, length: u64) -> PathBuf {
    let path = pair.lab.folder().join(name);
    long_file(&path, length).unwrap();
    path
}

fn same(one: &Path, other: &Path) -> bool {
    file_hash(one).unwrap() == file_hash(other).unwrap()
}

async fn offered(pair: &mut Pair, conversation: ConversationId, path: &Path) -> OfferedView {
    let path = path.to_owned();
    let params = FileSendParams { account: pair.ada.local, conversation, path, reply_to: None };
    pair.ada.node.call(method::FileSend, params).await.unwrap()
}

/// Has Ada fetch a file that Bob offers.
async fn fetch(pair: &mut Pair, conversation: ConversationId, message: CommitId) {
    pair.ada.has(conversation, message).await.unwrap();
    let params = FileFetchParams { account: pair.ada.local, conversation, message, to: None };
    pair.ada.node.call(method::FileFetch, params).await.unwrap();
}

/// Waits until Ada has a file.
async fn fetched(pair: &Pair, wanted: CommitId) -> PathBuf {
    let path = |event: &Event| match event {
        Event::Transfer { transfer } if transfer.message == wanted => transfer.path.clone(),
        _ => None,
    };
    pair.ada.told(Mark::BEGINNING, "a whole file", path).await.unwrap()
}

/// Waits until more than so many bytes of a file are in the way of Bob's daemon.
async fn grows(path: &Path, beyond: u64) {
    let look = async || Ok(fs::metadata(path).ok().filter(|it| it.len() > beyond).map(drop));
    until("jamid", format!("more than {beyond} bytes of a file"), look).await.unwrap();
}

#[test]
fn a_daemon_fetches_a_file_of_skep_and_goes_on_with_one_when_skep_was_killed() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::File, Direction::ToDaemon);
        let path = make(&pair, "short.bin", 3_000_000);
        offered(&mut pair, id, &path).await;
        let file = pair.jamid.offered(&pair.bob, id, "short.bin").await.unwrap();
        let got = pair.lab.folder().join("got-short.bin");
        pair.jamid.fetch_file(&pair.bob, id, &file, &got).await.unwrap();
        pair.jamid.fetched(&pair.bob, &file).await.unwrap();
        assert!(same(&path, &got));
        tried.works();

        let tried = pair.lab.attempt(Feature::FileResumed, Direction::ToDaemon);
        let path = make(&pair, "long.bin", LONG);
        offered(&mut pair, id, &path).await;
        let file = pair.jamid.offered(&pair.bob, id, "long.bin").await.unwrap();
        let got = pair.lab.folder().join("got-long.bin");
        pair.jamid.fetch_file(&pair.bob, id, &file, &got).await.unwrap();
        grows(&got, 0).await;
        pair.ada.node.kill();
        let kept = fs::metadata(&got).unwrap().len();
        assert!(kept < LONG, "it was over before anybody could break in");
        pair.ada.node.restart().await.unwrap();
        let params = AccountParams { account: pair.ada.local };
        // The daemon asks again when it is linked again. What it is sent then begins where it stopped.
        let resumed = until("ada", "the file to be sent on", async || {
            let transfers = pair.ada.node.call(method::FileList, params.clone()).await?.transfers;
            Ok(transfers.into_iter().find(|it| it.position > 0).map(|it| it.position))
        })
        .await
        .unwrap();
        assert!(resumed >= kept, "it began anew: {resumed} after {kept}");
        pair.jamid.fetched(&pair.bob, &file).await.unwrap();
        assert!(same(&path, &got));
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_fetches_a_file_of_a_daemon_and_goes_on_with_one_when_the_daemon_was_killed() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let tried = pair.lab.attempt(Feature::File, Direction::FromDaemon);
        let path = make(&pair, "short.bin", 3_000_000);
        pair.jamid.send_file(&pair.bob, id, &path, "short.bin").await.unwrap();
        let file = pair.jamid.offered(&pair.bob, id, "short.bin").await.unwrap();
        let message = file.message.parse().unwrap();
        fetch(&mut pair, id, message).await;
        assert!(same(&path, &fetched(&pair, message).await));
        tried.works();

        let tried = pair.lab.attempt(Feature::FileResumed, Direction::FromDaemon);
        let path = make(&pair, "long.bin", LONG);
        pair.jamid.send_file(&pair.bob, id, &path, "long.bin").await.unwrap();
        let file = pair.jamid.offered(&pair.bob, id, "long.bin").await.unwrap();
        let message: CommitId = file.message.parse().unwrap();
        fetch(&mut pair, id, message).await;
        let params = AccountParams { account: pair.ada.local };
        let kept = until("ada", "some of a file", async || {
            let transfers = pair.ada.node.call(method::FileList, params.clone()).await?.transfers;
            let running = transfers.into_iter().find(|it| it.message == message);
            Ok(running.filter(|it| it.position > 0).map(|it| it.position))
        })
        .await
        .unwrap();
        let since = pair.ada.node.events().mark();
        pair.jamid.kill();
        assert!(kept < LONG, "it was over before anybody could break in");
        pair.jamid.restart().await.unwrap();
        assert!(same(&path, &fetched(&pair, message).await));
        let resumed = |event: &Event| match event {
            Event::Transfer { transfer } if transfer.state == TransferState::Running => {
                Some(transfer.position)
            }
            _ => None,
        };
        let resumed = pair.ada.told(since, "the transfer to go on", resumed).await.unwrap();
        assert!(resumed >= kept, "it began anew: {resumed} after {kept}");
        tried.works();
        pair.ada.node.stop().await.unwrap();
    });
}
