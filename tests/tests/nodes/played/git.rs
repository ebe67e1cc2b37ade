//! Fetches between a played peer and the node, either way.

use std::cell::Cell;
use std::convert::Infallible;
use std::path::Path;
use std::process::{Command, Stdio};

use skep_protocol::ids::CommitId;

use super::recording::RecordedFetch;
use super::socket::Channel;

/// Ends what the client says, and each of its parts.
const FLUSH: &[u8] = b"0000";

/// What a played peer serves: the fetches recorded of it, one after the other.
pub(super) struct Served {
    pub(super) fetches: Vec<RecordedFetch>,
    /// Its head, to be moved by the test.
    pub(super) head: Cell<CommitId>,
}

impl Served {
    /// Serves whatever the node fetches over a channel. It asks for what the recorded client asked for,
    /// in the same words.
    pub(super) async fn serve(&self, channel: &Channel) -> Infallible {
        loop {
            let any = &self.fetches[0];
            let request = channel.hear("a git request", |heard| take(heard, any.request.len())).await;
            assert_eq!(request, any.request);
            let head = self.head.get();
            let recorded = self.fetches.iter().find(|fetch| fetch.head() == head);
            let advertisement = match recorded {
                Some(fetch) => fetch.advertisement.clone(),
                None => with_other(&any.advertisement, any.head(), head),
            };
            channel.say(&advertisement);
            let negotiation = channel.hear("what the node wants", take_negotiation).await;
            if negotiation == FLUSH {
                continue;
            }
            let fetch = recorded.unwrap_or_else(|| panic!("{head} is not recorded"));
            assert_eq!(sorted_lines(&negotiation), sorted_lines(&fetch.negotiation));
            channel.say(&fetch.answer);
            let end = channel.hear("the end of a fetch", |heard| take(heard, FLUSH.len())).await;
            assert_eq!(end, FLUSH);
        }
    }
}

/// Fetches as a recorded client did, from a node that has `head` where the recorded server had another
/// one. What the node answers, which begins as the recorded answer.
pub(super) async fn fetch(channel: &Channel, recorded: &RecordedFetch, head: CommitId) -> Pack {
    channel.say(&recorded.request);
    let advertisement = channel.hear("an advertisement", take_until_flush).await;
    let expected = with_other(&recorded.advertisement, recorded.head(), head);
    let first = |lines: &[u8]| sorted_lines(lines).into_iter().find(|line| line.contains(" HEAD\0"));
    assert_eq!(first(&advertisement), first(&expected));
    channel.say(&with_other(&recorded.negotiation, recorded.head(), head));
    let answer = channel.hear("a pack", take_until_flush).await;
    channel.say(FLUSH);
    let (mut begun, mut pack) = (Vec::new(), Vec::new());
    for line in lines(&answer) {
        match line.first() {
            Some(1) => pack.extend_from_slice(&line[1..]),
            _ => begun.push(line),
        }
    }
    let acknowledged = lines(&recorded.answer).into_iter().take_while(|line| line.first() != Some(&1));
    assert_eq!(begun, acknowledged.collect::<Vec<_>>());
    Pack(pack)
}

/// A pack that the node has sent.
pub(super) struct Pack(Vec<u8>);

impl Pack {
    /// Unpacks it into a repository, and reads a commit of it.
    pub(super) fn commit(&self, repository: &Path, id: CommitId) -> String {
        use std::io::Write as _;
        let mut unpack = git(repository);
        let unpack = unpack.args(["unpack-objects", "-q"]).stdin(Stdio::piped()).spawn();
        let mut unpack = unpack.unwrap();
        unpack.stdin.take().unwrap().write_all(&self.0).unwrap();
        assert!(unpack.wait().unwrap().success());
        let output = git(repository).args(["log", "-1", "--format=%P%n%s", &id.to_string()]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }
}

pub(super) fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository);
    command
}

/// Replaces a commit by another one in what names it.
fn with_other(text: &[u8], recorded: CommitId, other: CommitId) -> Vec<u8> {
    let (recorded, other) = (recorded.to_string(), other.to_string());
    let mut text = text.to_vec();
    for place in 0..text.len().saturating_sub(recorded.len() - 1) {
        if text[place..].starts_with(recorded.as_bytes()) {
            text[place..place + other.len()].copy_from_slice(other.as_bytes());
        }
    }
    text
}

/// The contents of packet lines, without flushes.
fn lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(length) = text.get(..4) {
        let length = usize::from_str_radix(std::str::from_utf8(length).unwrap(), 16).unwrap().max(4);
        lines.push(&text[4..length]);
        text = &text[length..];
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The same in no order that matters: which commits one has is told newest first, and commits of the same
/// second come in any order.
fn sorted_lines(text: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> =
        lines(text).into_iter().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    lines.sort_unstable();
    lines
}

fn take(heard: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    (heard.len() >= length).then(|| heard.drain(..length).collect())
}

/// Packet lines until the first flush.
fn take_until_flush(heard: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut place = 0;
    loop {
        let length = std::str::from_utf8(heard.get(place..place + 4)?).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return take(heard, place + 4);
        }
        place += length;
    }
}

/// A flush alone, or wants, a flush, and haves until the client is done.
fn take_negotiation(heard: &mut Vec<u8>) -> Option<Vec<u8>> {
    let is_whole = heard.starts_with(FLUSH) || heard.ends_with(b"0009done\n");
    is_whole
        .then(|| if heard.starts_with(FLUSH) { take(heard, FLUSH.len()) } else { take(heard, heard.len()) })?
}
