//! What real daemons said to each other over some of their channels, and in their contact requests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use flate2::read::GzDecoder;
use skep_protocol::ids::CommitId;
use skep_tests::harness::vector;

/// A line of the file.
#[derive(serde::Deserialize)]
struct Line {
    /// Of a contact request: who asks whom.
    request: Option<String>,
    /// Of a frame: between whom.
    connection: Option<String>,
    /// Who sent it.
    from: Option<String>,
    channel: Option<u16>,
    name: Option<String>,
    /// Of a frame that is about a channel: whether it is requested, accepted or declined.
    control: Option<String>,
    /// Of any other: what it holds.
    hex: Option<String>,
}

/// Everything recorded of one release.
pub(super) struct Recording {
    requests: BTreeMap<String, Vec<u8>>,
    channels: Vec<RecordedChannel>,
}

/// One channel, from its request on.
pub(super) struct RecordedChannel {
    connection: String,
    number: u16,
    pub(super) name: String,
    /// Who asked for it.
    pub(super) asked_by: String,
    pub(super) accepted: bool,
    /// Who said what, in order.
    said: Vec<(String, Vec<u8>)>,
}

impl Recording {
    /// That of a release, by the name of its folder.
    pub(super) fn read(release: &str) -> Self {
        let file = File::open(vector(release).join("played.jsonl.gz")).unwrap();
        let mut recording = Self { requests: BTreeMap::new(), channels: Vec::new() };
        for line in BufReader::new(GzDecoder::new(file)).lines() {
            recording.add(serde_json::from_str(&line.unwrap()).unwrap());
        }
        recording
    }

    fn add(&mut self, line: Line) {
        let bytes = line.hex.map(|hex| decode_hex(&hex));
        if let Some(between) = line.request {
            self.requests.insert(between, bytes.unwrap());
            return;
        }
        let (connection, from) = (line.connection.unwrap(), line.from.unwrap());
        let (number, name) = (line.channel.unwrap(), line.name.unwrap());
        if line.control.as_deref() == Some("request") {
            let (asked_by, said) = (from, Vec::new());
            let channel = RecordedChannel { connection, number, name, asked_by, accepted: false, said };
            return self.channels.push(channel);
        }
        let mut channels = self.channels.iter_mut();
        let channel = channels.find(|it| it.connection == connection && it.number == number).unwrap();
        match bytes {
            Some(bytes) => channel.said.push((from, bytes)),
            None => channel.accepted = line.control.as_deref() == Some("accept"),
        }
    }

    /// The contact request, or its confirmation, of one to another.
    pub(super) fn request(&self, between: &str) -> &[u8] {
        &self.requests[between]
    }

    /// The channel with this beginning of a name that somebody asked for, and got.
    pub(super) fn channel(&self, connection: &str, name: &str, asked_by: &str) -> &RecordedChannel {
        let mut channels = self.channels.iter().filter(|it| it.connection == connection && it.accepted);
        channels.find(|it| it.name.starts_with(name) && it.asked_by == asked_by).unwrap()
    }
}

impl RecordedChannel {
    /// What one of the two said.
    pub(super) fn said_by(&self, who: &str) -> Vec<&[u8]> {
        self.said.iter().filter(|(from, _)| from == who).map(|(_, bytes)| &bytes[..]).collect()
    }

    /// The fetches over a `git://` channel.
    pub(super) fn fetches(&self) -> Vec<RecordedFetch> {
        let mut fetches: Vec<RecordedFetch> = Vec::new();
        for (from, bytes) in &self.said {
            let is_client = *from == self.asked_by;
            if is_client && bytes.windows(15).any(|window| window == b"git-upload-pack") {
                let request = bytes.clone();
                fetches.push(RecordedFetch { request, ..RecordedFetch::default() });
                continue;
            }
            let fetch = fetches.last_mut().unwrap();
            match (is_client, fetch.advertisement.is_empty()) {
                (false, true) => fetch.advertisement.clone_from(bytes),
                (false, false) => fetch.answer.extend_from_slice(bytes),
                (true, _) if fetch.negotiation.is_empty() => fetch.negotiation.clone_from(bytes),
                (true, _) => assert_eq!(bytes, b"0000", "the end"),
            }
        }
        fetches
    }
}

/// One fetch over a `git://` channel.
#[derive(Clone, Default)]
pub(super) struct RecordedFetch {
    /// What the client began with.
    pub(super) request: Vec<u8>,
    pub(super) advertisement: Vec<u8>,
    /// What the client wanted and had.
    pub(super) negotiation: Vec<u8>,
    /// The acknowledgement and the pack; nothing if the client had everything.
    pub(super) answer: Vec<u8>,
}

impl RecordedFetch {
    /// The head of the server.
    pub(super) fn head(&self) -> CommitId {
        std::str::from_utf8(&self.advertisement[4..44]).unwrap().parse().unwrap()
    }
}

fn decode_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
