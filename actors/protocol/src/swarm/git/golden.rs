//! Recorded fetches between real daemons, replayed against both sides.
//!
//! `git-sessions.jsonl.gz` holds one session a line, `{"channel", "frames": [[side, hex], …]}`, cut
//! from the recorded channels of that daemon: two sessions of each shape (clone, few haves, twenty
//! haves, up to date, pack of several packets).

use super::download::{DownloadError, DownloadOutput, DownloadSession, MAX_HAVES};
use super::pack::PackLimits;
use super::pack::resolve::read_small_pack;
use super::packet_line;
use super::upload::{UploadOutput, UploadSession};
use crate::ids::{CommitId, ConversationId, DeviceId};
use crate::testing::{DAEMONS, recorded_lines};

pub(super) struct Recorded {
    label: String,
    device: DeviceId,
    conversation: ConversationId,
    pub(super) client: Vec<u8>,
    pub(super) server: Vec<u8>,
}

#[derive(serde::Deserialize)]
struct Line {
    channel: String,
    frames: Vec<(String, String)>,
}

/// The sessions that came to their end.
pub(super) fn recorded() -> Vec<Recorded> {
    all_recorded().into_iter().filter(|recorded| recorded.server.ends_with(b"0000")).collect()
}

fn all_recorded() -> Vec<Recorded> {
    let mut all = Vec::new();
    for set in DAEMONS {
        let lines: Vec<Line> = recorded_lines(&format!("{set}/git-sessions.jsonl.gz"));
        for (number, line) in lines.into_iter().enumerate() {
            let side = |side| {
                let frames = line.frames.iter().filter(|frame| frame.0 == side);
                frames.flat_map(|frame| hex::decode(&frame.1).unwrap()).collect()
            };
            let (device, conversation) =
                line.channel.strip_prefix("git://").unwrap().split_once('/').unwrap();
            all.push(Recorded {
                label: format!("{set} session {number}"),
                device: device.parse().unwrap(),
                conversation: conversation.parse().unwrap(),
                client: side("client"),
                server: side("server"),
            });
        }
    }
    all
}

/// The ids after `keyword` in what a client sent.
fn named(client: &[u8], keyword: &str) -> Vec<CommitId> {
    let text = String::from_utf8_lossy(client);
    text.split(keyword).skip(1).map(|rest| rest[..40].parse().unwrap()).collect()
}

struct Fetched {
    sent: Vec<u8>,
    references: Vec<super::upload::Reference>,
    head: CommitId,
    pack: Option<Vec<u8>>,
    finished: bool,
}

/// Plays the client of a recording, fed `step` bytes at a time.
fn fetch(recorded: &Recorded, step: usize) -> Result<Fetched, DownloadError> {
    let mut session = DownloadSession::new(recorded.conversation, recorded.device);
    let wants = named(&recorded.client, "want ");
    let haves = named(&recorded.client, "have ");
    let mut fetched = Fetched {
        sent: Vec::new(),
        references: Vec::new(),
        head: CommitId([0; 20]),
        pack: None,
        finished: false,
    };
    let mut pieces = recorded.server.chunks(step);
    loop {
        while let Some(output) = session.poll()? {
            match output {
                DownloadOutput::Send(bytes) => fetched.sent.extend_from_slice(&bytes),
                DownloadOutput::Head(head) => {
                    fetched.head = head;
                    match wants.last() {
                        Some(want) => session.want(*want, &haves),
                        None => session.up_to_date(),
                    }
                }
                DownloadOutput::Pack(bytes) => {
                    fetched.pack.get_or_insert_default().extend_from_slice(&bytes);
                }
                DownloadOutput::Finished => fetched.finished = true,
            }
        }
        let Some(piece) = pieces.next() else { break };
        session.receive(piece)?;
    }
    fetched.references = session.references().to_vec();
    Ok(fetched)
}

/// What a client sent, less its twentieth commit and the flush after it, on which it waited for an answer:
/// we say `done` after nineteen.
fn without_waiting(client: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(client);
    let twentieth = text.match_indices("0032have ").nth(MAX_HAVES);
    let Some((start, _)) = twentieth else { return client.to_vec() };
    let end = start + 0x32 + packet_line::FLUSH.len();
    assert!(client[..end].ends_with(packet_line::FLUSH));
    [&client[..start], &client[end..]].concat()
}

#[test]
fn as_a_client_we_say_byte_for_byte_what_recorded_clients_said() {
    for recorded in recorded() {
        for step in [1, 7, usize::MAX] {
            let fetched = fetch(&recorded, step).unwrap();
            let (sent, recorded_client) = (&fetched.sent, without_waiting(&recorded.client));
            assert!(fetched.finished, "{}", recorded.label);
            // Some recordings end before the client's last flush.
            assert!(sent.starts_with(&recorded_client), "{}", recorded.label);
            assert!(sent.len() - recorded_client.len() <= 4, "{}", recorded.label);
        }
    }
}

#[test]
fn as_a_server_we_answer_byte_for_byte_as_recorded_servers_did() {
    for recorded in recorded() {
        let expected = fetch(&recorded, usize::MAX).unwrap();
        for step in [1, 7, usize::MAX] {
            let mut session = UploadSession::new();
            let mut sent = Vec::new();
            let mut done = false;
            for piece in recorded.client.chunks(step) {
                session.receive(piece);
                while let Some(output) = session.poll() {
                    match output {
                        UploadOutput::Send(bytes) => sent.extend_from_slice(&bytes),
                        UploadOutput::NeedAdvertisement => {
                            session.advertise(expected.head, &expected.references);
                        }
                        UploadOutput::FindCommon(haves) => session.common(&haves),
                        UploadOutput::BuildPack { want, .. } => {
                            assert_eq!(want, *named(&recorded.client, "want ").last().unwrap());
                            session.pack_bytes(expected.pack.as_ref().unwrap());
                            session.pack_end();
                        }
                        UploadOutput::Finished { .. } | UploadOutput::UpToDate { .. } => done = true,
                        UploadOutput::Close(reason) => panic!("{}: {reason}", recorded.label),
                    }
                }
            }
            assert_eq!(done, recorded.client.ends_with(b"0000") || expected.pack.is_some());
            if recorded.server.len() < super::upload::MAX_BAND_PAYLOAD {
                let hint = String::from_utf8_lossy(&sent[..sent.len().min(600)]).into_owned();
                let same = sent == recorded.server || one_band_packet_split(&recorded, &expected);
                assert!(same, "{} {hint}", recorded.label);
            }
            let ours =
                Recorded { server: sent, label: String::new(), client: recorded.client.clone(), ..recorded };
            let fetched = fetch(&ours, usize::MAX).unwrap();
            assert_eq!(fetched.pack, expected.pack, "{}", recorded.label);
            assert_eq!(fetched.references, expected.references, "{}", recorded.label);
        }
    }
}

/// Whether the recorded server cut the pack into several packets although one would have held it.
fn one_band_packet_split(recorded: &Recorded, fetched: &Fetched) -> bool {
    let Some(pack) = &fetched.pack else { return false };
    !recorded.server.windows(pack.len()).any(|window| window == pack.as_slice())
}

#[test]
fn recorded_packs_are_whole_and_hold_what_was_wanted() {
    let mut packs = 0;
    for recorded in recorded() {
        let Some(pack) = fetch(&recorded, usize::MAX).unwrap().pack else { continue };
        let objects = read_small_pack(&pack, PackLimits::SMALL, &mut |_| None).unwrap();
        let want = named(&recorded.client, "want ")[0];
        assert!(objects.iter().any(|object| object.id == want.0), "{}", recorded.label);
        packs += 1;
    }
    assert!(packs > 20, "{packs}");
}

#[test]
fn a_recorded_session_whose_link_was_cut_is_not_finished() {
    let all = all_recorded();
    let cut: Vec<_> = all.iter().filter(|recorded| !recorded.server.ends_with(b"0000")).collect();
    assert_eq!(cut.len(), 1);
    let fetched = fetch(cut[0], usize::MAX).unwrap();
    assert!(!fetched.finished && fetched.pack.is_none());
}

#[test]
fn a_peer_vanishing_at_any_point_is_an_error() {
    let all = recorded();
    let recorded = all.iter().find(|recorded| recorded.client.windows(5).any(|w| w == b"have ")).unwrap();
    for cut in 0..recorded.server.len() {
        let cut_off = Recorded {
            label: String::new(),
            client: recorded.client.clone(),
            server: recorded.server[..cut].to_vec(),
            ..*recorded
        };
        let fetched = fetch(&cut_off, usize::MAX).unwrap();
        assert!(!fetched.finished, "{cut}");
    }
}
