//! The serving side of a `git://` channel (spec: swarm 9.2).
//!
//! ```text
//!            request            wants, flush         haves, flush / done
//!   Request ---------> Advertise -----------> Haves ----------------------> Pack ---> Request
//!      ^    NeedAdvertisement      |           ^ |   FindCommon, BuildPack         (next session)
//!      |                           |           | | flush: ACK … continue, NAK
//!      +------- flush: UpToDate ---+           +-+
//! ```
//!
//! One channel carries any number of sessions, one after the other, and one [`UploadSession`]
//! serves them all. A client may leave one before its end and begin anew. The driver loops: [`UploadSession::receive`] what it read, then
//! [`UploadSession::poll`] until nothing is left, answering every question on the way.
//!
//! The capabilities are those Jami's own server offers, hence no `multi_ack`; the answers satisfy
//! both libgit2, which wants one answer after `done`, and git, which reads as many as it expects.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::packet_line::{self, Packet, PacketDecoder, PacketLineError};
use crate::ids::CommitId;

/// What the server can do, as Jami says it.
const CAPABILITIES: &str = "side-band side-band-64k shallow no-progress include-tag";

/// What a client begins each session with.
const COMMAND: &[u8] = b"git-upload-pack ";

/// Most pack bytes in one side-band packet (spec: swarm 9.2 step 7).
pub const MAX_BAND_PAYLOAD: usize = packet_line::MAX_PAYLOAD_LENGTH - 1;

/// Most haves of one session. Peers of ours send about 20; git sends its whole history if it
/// shares none with us. Far above both, and 40 bytes of work each.
pub const MAX_HAVES: usize = 65_536;

/// Most common commits remembered: more only make the pack a little smaller.
pub const MAX_COMMON: usize = 64;

/// A reference to advertise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Full name, such as `refs/heads/main`.
    pub name: String,
    /// The commit it points to.
    pub target: CommitId,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadOutput {
    /// Send these bytes on the channel.
    Send(Bytes),
    /// A client asks: answer with [`UploadSession::advertise`], or [`UploadSession::fail`].
    NeedAdvertisement,
    /// Say which of these commits exist here with [`UploadSession::common`].
    FindCommon(Vec<CommitId>),
    /// Send a pack with [`UploadSession::pack_bytes`] and [`UploadSession::pack_end`], or
    /// [`UploadSession::fail`].
    BuildPack {
        /// The newest commit to send. Any 40 digits: check that it exists and may be served.
        want: CommitId,
        /// Commits that exist on both sides: send only what they do not reach.
        common: Vec<CommitId>,
    },
    /// The pack up to this commit was sent: the peer has it (spec: swarm 13).
    Finished {
        /// The commit that was wanted.
        want: CommitId,
    },
    /// The client needs nothing: it has the advertised head (spec: swarm 9.2 step 4).
    UpToDate {
        /// The head that was advertised.
        head: CommitId,
    },
    /// Close the channel; nothing follows.
    Close(UploadClose),
}

/// Why a channel must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UploadClose {
    /// The bytes are no packet lines.
    #[error(transparent)]
    PacketLine(#[from] PacketLineError),
    /// The peer asked for something else than fetching.
    #[error("the peer asked for another service than git-upload-pack; close the channel")]
    UnknownService,
    /// A `want` without an id.
    #[error("the peer wants something that is no commit id; close the channel")]
    MalformedWant,
    /// The peer named more than [`MAX_HAVES`] commits.
    #[error("the peer named more than {MAX_HAVES} commits it has; close the channel")]
    TooManyHaves,
    /// The repository could not answer, for example because the wanted commit is unknown.
    #[error("the repository could not serve the peer; close the channel")]
    Refused,
}

#[derive(Debug)]
enum State {
    /// Between sessions.
    Request,
    /// Waiting for the driver's references.
    Advertise,
    /// Reading wants.
    Wants { head: CommitId, want: Option<CommitId> },
    /// Reading haves.
    Haves(Negotiation),
    /// Waiting for the driver to say which haves are known; `done` if the client waits for the pack.
    FindCommon { negotiation: Negotiation, done: bool },
    /// The driver feeds the pack; `pending` is less than one full packet.
    Pack { want: CommitId, pending: BytesMut },
    /// Over for good.
    Closed,
}

#[derive(Debug)]
struct Negotiation {
    want: CommitId,
    /// Haves since the last flush.
    haves: Vec<CommitId>,
    /// Haves seen in all.
    total: usize,
    common: Vec<CommitId>,
}

/// Serves the fetches of one channel.
#[derive(Debug)]
pub struct UploadSession {
    decoder: PacketDecoder,
    state: State,
    outputs: VecDeque<UploadOutput>,
}

impl Default for UploadSession {
    fn default() -> Self {
        Self::new()
    }
}

impl UploadSession {
    /// The server of a channel that was just accepted.
    #[must_use]
    pub fn new() -> Self {
        Self { decoder: PacketDecoder::default(), state: State::Request, outputs: VecDeque::new() }
    }

    /// Takes bytes of the channel. Poll until nothing is left before the next call.
    pub fn receive(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Closed) {
            return;
        }
        if let Err(error) = self.decoder.receive(bytes) {
            self.close(error.into());
        }
    }

    /// What to do next, if anything.
    pub fn poll(&mut self) -> Option<UploadOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !matches!(self.state, State::Request | State::Wants { .. } | State::Haves(_)) {
                return None;
            }
            match self.decoder.next_packet() {
                Ok(Some(packet)) => self.handle(packet),
                Ok(None) => return None,
                Err(error) => self.close(error.into()),
            }
        }
    }

    /// Whether no session is under way, so that the peer may vanish without harm.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Request) && self.decoder.is_empty() && self.outputs.is_empty()
    }

    /// Answers [`UploadOutput::NeedAdvertisement`] with the head and every reference.
    pub fn advertise(&mut self, head: CommitId, references: &[Reference]) {
        if !matches!(self.state, State::Advertise) {
            return;
        }
        let mut out = Vec::new();
        packet_line::encode(format!("{head} HEAD\0{CAPABILITIES}\n").as_bytes(), &mut out);
        for Reference { name, target } in references {
            packet_line::encode(format!("{target} {name}\n").as_bytes(), &mut out);
        }
        out.extend_from_slice(packet_line::FLUSH);
        self.send(out);
        self.state = State::Wants { head, want: None };
    }

    /// Answers [`UploadOutput::FindCommon`] with those of its commits that exist here, in the same
    /// order.
    pub fn common(&mut self, known: &[CommitId]) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::FindCommon { mut negotiation, done } => {
                let room = MAX_COMMON.saturating_sub(negotiation.common.len());
                negotiation.common.extend(known.iter().take(room));
                negotiation.haves.clear();
                if done {
                    self.start_pack(negotiation);
                } else {
                    self.answer_flush(&negotiation);
                    self.state = State::Haves(negotiation);
                }
            }
            other => self.state = other,
        }
    }

    /// Sends the next bytes of the pack, in any portions.
    pub fn pack_bytes(&mut self, mut bytes: &[u8]) {
        let State::Pack { pending, .. } = &mut self.state else { return };
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(MAX_BAND_PAYLOAD - pending.len()));
            pending.extend_from_slice(now);
            bytes = later;
            if pending.len() == MAX_BAND_PAYLOAD {
                self.outputs.push_back(UploadOutput::Send(band_packet(pending)));
                pending.clear();
            }
        }
    }

    /// Ends the pack and with it the session.
    pub fn pack_end(&mut self) {
        match std::mem::replace(&mut self.state, State::Request) {
            State::Pack { want, pending } => {
                if !pending.is_empty() {
                    self.outputs.push_back(UploadOutput::Send(band_packet(&pending)));
                }
                self.send(packet_line::FLUSH.to_vec());
                self.outputs.push_back(UploadOutput::Finished { want });
            }
            other => self.state = other,
        }
    }

    /// The repository cannot answer: the peer sees the channel close (spec: swarm 9.2).
    pub fn fail(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.close(UploadClose::Refused);
        }
    }

    fn handle(&mut self, packet: Packet) {
        if matches!(&packet, Packet::Data(line) if line.starts_with(COMMAND)) {
            return self.request(&packet);
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Request => self.request(&packet),
            State::Wants { head, want } => self.wants(head, want, &packet),
            State::Haves(negotiation) => self.haves(negotiation, &packet),
            other => self.state = other,
        }
    }

    /// A flush here is the end of the session before.
    fn request(&mut self, packet: &Packet) {
        self.state = State::Request;
        let Packet::Data(line) = packet else { return };
        if !line.starts_with(COMMAND) {
            return self.close(UploadClose::UnknownService);
        }
        // Any other version is one we do not speak: answer with version 0, as git does.
        if line.split(|byte| *byte == 0).skip(1).any(|parameter| parameter == b"version=1") {
            self.send(b"000eversion 1\0".to_vec());
        }
        self.state = State::Advertise;
        self.outputs.push_back(UploadOutput::NeedAdvertisement);
    }

    fn wants(&mut self, head: CommitId, want: Option<CommitId>, packet: &Packet) {
        self.state = match (packet, want) {
            (Packet::Data(line), _) if line.starts_with(b"want ") => {
                // The last want counts, as with Jami's server.
                let Some(id) = commit_after(line, b"want ") else {
                    return self.close(UploadClose::MalformedWant);
                };
                State::Wants { head, want: Some(id) }
            }
            (Packet::Data(_), want) => State::Wants { head, want },
            (Packet::Flush, Some(want)) => {
                State::Haves(Negotiation { want, haves: Vec::new(), total: 0, common: Vec::new() })
            }
            (Packet::Flush, None) => {
                self.outputs.push_back(UploadOutput::UpToDate { head });
                State::Request
            }
        };
    }

    fn haves(&mut self, mut negotiation: Negotiation, packet: &Packet) {
        match packet {
            Packet::Data(line) if line.strip_suffix(b"\n").unwrap_or(line) == b"done" => {
                self.find_common(negotiation, true);
            }
            Packet::Data(line) => {
                if let Some(id) = commit_after(line, b"have ") {
                    negotiation.haves.push(id);
                    negotiation.total += 1;
                }
                if negotiation.total > MAX_HAVES {
                    return self.close(UploadClose::TooManyHaves);
                }
                self.state = State::Haves(negotiation);
            }
            Packet::Flush => self.find_common(negotiation, false),
        }
    }

    fn find_common(&mut self, mut negotiation: Negotiation, done: bool) {
        let haves = std::mem::take(&mut negotiation.haves);
        self.state = State::FindCommon { negotiation, done };
        if haves.is_empty() {
            self.common(&[]);
        } else {
            self.outputs.push_back(UploadOutput::FindCommon(haves));
        }
    }

    fn answer_flush(&mut self, negotiation: &Negotiation) {
        let mut out = Vec::new();
        if let Some(first) = negotiation.common.first() {
            packet_line::encode(format!("ACK {first} continue\n").as_bytes(), &mut out);
        }
        packet_line::encode(b"NAK\n", &mut out);
        self.send(out);
    }

    fn start_pack(&mut self, Negotiation { want, common, .. }: Negotiation) {
        let mut out = Vec::new();
        match common.first() {
            Some(first) => packet_line::encode(format!("ACK {first}\n").as_bytes(), &mut out),
            None => packet_line::encode(b"NAK\n", &mut out),
        }
        self.send(out);
        self.state = State::Pack { want, pending: BytesMut::new() };
        self.outputs.push_back(UploadOutput::BuildPack { want, common });
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.outputs.push_back(UploadOutput::Send(bytes.into()));
    }

    fn close(&mut self, reason: UploadClose) {
        self.outputs.push_back(UploadOutput::Close(reason));
        self.state = State::Closed;
    }
}

/// The commit id that follows `keyword` in `line`.
fn commit_after(line: &[u8], keyword: &[u8]) -> Option<CommitId> {
    let digits = line.strip_prefix(keyword)?.get(..CommitId::LENGTH * 2)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A packet of the pack band.
fn band_packet(pack: &[u8]) -> Bytes {
    let mut payload = Vec::with_capacity(pack.len() + 1);
    payload.push(1);
    payload.extend_from_slice(pack);
    let mut out = Vec::with_capacity(payload.len() + 4);
    packet_line::encode(&payload, &mut out);
    out.into()
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
