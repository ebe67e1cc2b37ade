//! What a silent peer says over its multiplexed socket before it falls silent.

use std::collections::HashMap;
use std::fs;
use std::future::pending;

use skep_actors::peer::transport::SecureStream;
use skep_protocol::ids::{CommitId, ConversationId, DeviceId, sha1};
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::link::message::PeerMessage;
use skep_protocol::link::mux::{ChannelNumber, Limits, Multiplex, Output, Patience, Role};
use skep_protocol::swarm::git::download::{DownloadOutput, DownloadSession};
use skep_protocol::swarm::git::upload::{Reference, UploadOutput, UploadSession};
use skep_protocol::swarm::notice::{Announcement, Notice};
use skep_protocol::time::Moment;
use skep_tests::harness::vector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::peer::{Peer, Until};

/// Where the packs come from: a conversation that a real daemon wrote.
const BUNDLE: &str = "newest/swarm/one-to-one.bob.final.bundle";

/// Commits announced in a flood.
const ANNOUNCEMENTS: u64 = 2000;

/// Talks until it is time to fall silent, or the node ends the connection.
pub(super) async fn talk(peer: &Peer, mut stream: SecureStream) {
    let node = stream.device();
    let mut script = Script {
        peer,
        node,
        multiplex: Multiplex::new(Role::Responder, Limits::default()),
        servers: HashMap::new(),
        client: None,
        messages: None,
        deaf: false,
    };
    if peer.until == Until::Multiplexed {
        peer.is_silent();
    }
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let answers = script.act();
        if stream.write_all(&answers).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        if script.deaf {
            peer.is_silent();
            pending::<()>().await;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => script.multiplex.input_bytes(&buffer[..length]),
        }
    }
}

struct Script<'p> {
    peer: &'p Peer,
    node: DeviceId,
    multiplex: Multiplex,
    /// Git channels on which we serve.
    servers: HashMap<ChannelNumber, UploadSession>,
    /// The git channel on which we fetch.
    client: Option<(ChannelNumber, DownloadSession)>,
    /// The channel for messages.
    messages: Option<ChannelNumber>,
    /// Whether nothing is to be read any more.
    deaf: bool,
}

impl Script<'_> {
    /// Does what the socket wants; returns the bytes to be written.
    fn act(&mut self) -> Vec<u8> {
        let mut answers = Vec::new();
        while let Some(output) = self.multiplex.poll() {
            match output {
                Output::Transmit(bytes) => answers.extend(bytes),
                Output::ChannelRequested { number, name } => self.asked(number, &name.parse().unwrap()),
                Output::Opened(number) => self.fetch(number, &[]),
                Output::Data { number, bytes } => {
                    self.serve(number, &bytes);
                    self.fetch(number, &bytes);
                }
                // The node wants no more of what it was sent.
                Output::Closed { number, .. } if self.servers.remove(&number).is_some() => {
                    self.peer.is_silent();
                }
                _ => {}
            }
        }
        answers
    }

    fn asked(&mut self, number: ChannelNumber, name: &ChannelName) {
        match (name, self.peer.until) {
            (_, Until::Multiplexed) => {}
            (ChannelName::Git { conversation, .. }, Until::PackWanted) => self.want_all(*conversation),
            (ChannelName::Git { conversation, .. }, until) => {
                self.multiplex.accept(number).unwrap();
                self.servers.insert(number, UploadSession::new());
                self.peer.git_channels.set(self.peer.git_channels.get() + 1);
                if until == Until::Announcing {
                    self.announce(*conversation);
                }
            }
            (name, until) => {
                self.multiplex.accept(number).unwrap();
                if matches!(name, ChannelName::Message { .. }) {
                    self.messages = Some(number);
                }
                match until {
                    Until::MessagesOpened => self.deaf = true,
                    Until::Unconfirmed => self.peer.is_silent(),
                    _ => {}
                }
            }
        }
    }

    fn announce(&mut self, conversation: ConversationId) {
        let Some(messages) = self.messages else { return };
        for number in 0..ANNOUNCEMENTS {
            let (commit, device) =
                (CommitId(sha1(&number.to_be_bytes())), self.peer.device.identity.device_id());
            let notice = Notice::Announcement(Announcement { conversation, commit, device });
            let mime_type = notice.mime_type().to_owned();
            let message = PeerMessage { id: number, mime_type, content: notice.to_text() };
            self.multiplex.send(messages, &message.encode()).unwrap();
        }
        self.peer.is_silent();
    }

    /// Opens a git channel to the node, instead of giving it one.
    fn want_all(&mut self, conversation: ConversationId) {
        if self.client.is_none() {
            let name = ChannelName::Git { device: self.node, conversation }.to_string();
            // This peer never looks at the clock.
            let patience = Patience::Channel(Moment::default());
            let number = self.multiplex.open(&name, patience).unwrap();
            self.client = Some((number, DownloadSession::new(conversation, self.node)));
        }
    }

    fn fetch(&mut self, number: ChannelNumber, bytes: &[u8]) {
        let Some((_, session)) = self.client.as_mut().filter(|(client, _)| *client == number) else { return };
        session.receive(bytes).unwrap();
        while let Some(output) = session.poll().unwrap() {
            match output {
                DownloadOutput::Send(bytes) => self.multiplex.send(number, &bytes).unwrap(),
                DownloadOutput::Head(head) => {
                    session.want(head, &[]);
                    self.deaf = true;
                }
                DownloadOutput::Pack(_) | DownloadOutput::Finished => {}
            }
        }
    }

    fn serve(&mut self, number: ChannelNumber, bytes: &[u8]) {
        let Some(session) = self.servers.get_mut(&number) else { return };
        match self.peer.until {
            Until::GitOpened => return self.peer.is_silent(),
            Until::Announcing => return,
            _ => {}
        }
        session.receive(bytes);
        while let Some(output) = session.poll() {
            match output {
                UploadOutput::Send(bytes) => self.multiplex.send(number, &bytes).unwrap(),
                UploadOutput::NeedAdvertisement => {
                    let (head, _) = bundle();
                    let main = Reference { name: "refs/heads/main".to_owned(), target: head };
                    session.advertise(head, &[main]);
                }
                UploadOutput::FindCommon(_) => session.common(&[]),
                UploadOutput::BuildPack { .. } => {
                    let (_, pack) = bundle();
                    if self.peer.until == Until::ForeignPack {
                        session.pack_bytes(&pack);
                        session.pack_end();
                    } else {
                        session.pack_bytes(&pack[..pack.len() / 2]);
                        self.peer.is_silent();
                    }
                }
                UploadOutput::Finished { .. } | UploadOutput::UpToDate { .. } | UploadOutput::Close(_) => {}
            }
        }
    }
}

/// The head and the pack of the recorded conversation.
fn bundle() -> (CommitId, Vec<u8>) {
    let bytes = fs::read(vector(BUNDLE)).unwrap();
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let header = std::str::from_utf8(&bytes[..end]).unwrap();
    let main = header.lines().find(|line| line.ends_with(" refs/heads/main")).unwrap();
    (main[..40].parse().unwrap(), bytes[end + 2..].to_vec())
}
