//! Clones recorded between real daemons, played to our client with a repository behind it.

use std::io::Read as _;

use super::super::fetch::Fetch;
use super::*;

#[derive(serde::Deserialize)]
struct Session {
    channel: String,
    frames: Vec<(String, String)>,
}

impl Session {
    fn bytes(&self, side: &str) -> Vec<u8> {
        let frames = self.frames.iter().filter(|frame| frame.0 == side);
        frames.flat_map(|frame| hex::decode(&frame.1).unwrap()).collect()
    }
}

#[test]
fn recorded_clones_fill_a_sound_repository() {
    let mut clones = 0;
    for set in ["jami-13.7.0", "jami-13.11.0", "newest"] {
        let file = std::fs::File::open(bundle(set).join("git-sessions.jsonl.gz")).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        for line in text.lines() {
            let session: Session = serde_json::from_str(line).unwrap();
            let (client, server) = (session.bytes("client"), session.bytes("server"));
            let said = String::from_utf8_lossy(&client);
            if !said.contains("want ") || said.contains("have ") {
                continue;
            }
            let (device, conversation) =
                session.channel.strip_prefix("git://").unwrap().split_once('/').unwrap();
            let (_folder, mut repository) = empty();
            let mut fetch = Fetch::new(conversation.parse().unwrap(), device.parse().unwrap());
            let mut sent = Vec::new();
            let mut done = None;
            for piece in server.chunks(1_000) {
                let step = fetch.advance(&repository, piece).unwrap();
                sent.extend(step.send.iter().flatten().copied());
                done = done.or(step.done);
            }
            assert!(sent.starts_with(&client), "{set}");
            let commits = take_in(&mut repository, done.unwrap());
            // A conversation is named by its first commit.
            assert_eq!(commits[0].to_hex(), conversation);
            check_with_git(repository.path());
            clones += 1;
        }
    }
    assert!(clones >= 9, "{clones}");
}
