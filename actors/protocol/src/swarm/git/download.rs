//! The fetching side of a `git://` channel (spec: swarm 9.2).
//!
//! ```text
//!   request -> references -> [up to date: flush]
//!                         -> want, haves, done -> pack in side band 1 -> flush, Finished
//! ```
//!
//! One [`DownloadSession`] is one fetch. The next fetch on the same channel is a new session.

use std::collections::VecDeque;

use bytes::Bytes;

use super::packet_line::{self, Packet, PacketDecoder, PacketLineError};
use super::upload::Reference;
use crate::ids::{CommitId, ConversationId, DeviceId};

/// Most bytes one fetch may bring (spec: swarm 15).
pub const MAX_FETCH_BYTES: u64 = 256 * 1024 * 1024;

/// Most commits named in a negotiation, one fewer than clients name who then wait for an answer (spec:
/// swarm 9.2, step 5): as nobody names more after it, it would cost a round trip and change nothing.
pub const MAX_HAVES: usize = 19;

/// Most references read from an advertisement. A conversation has one branch and one remote
/// reference for each device its owner ever fetched from.
pub const MAX_REFERENCES: usize = 4_096;

/// Most characters of a peer's error text that are repeated.
const ERROR_EXCERPT: usize = 200;

/// The branch of every conversation.
const MAIN: &str = "refs/heads/main";

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadOutput {
    /// Send these bytes on the channel.
    Send(Bytes),
    /// The peer's head is known: answer with [`DownloadSession::want`] or
    /// [`DownloadSession::up_to_date`].
    Head(CommitId),
    /// The next bytes of the pack.
    Pack(Bytes),
    /// The pack is complete. Keep the channel open for the next session.
    Finished,
}

/// Why a fetch failed; close the channel and keep the local history as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The bytes are no packet lines.
    #[error(transparent)]
    PacketLine(#[from] PacketLineError),
    /// The peer has no head, or does not say which.
    #[error("the peer advertises no main branch; try another device")]
    NoHead,
    /// The peer cannot send what we read.
    #[error("the peer's server has no side-band-64k; try another device")]
    NoSideBand,
    /// A line that the protocol does not have here.
    #[error("the peer answered {0:?} where the git protocol has no such line; try another device")]
    Unexpected(String),
    /// The peer says why it does not serve.
    #[error("the peer refused: {0:?}")]
    Refused(String),
    /// The peer advertised more than [`MAX_REFERENCES`] references.
    #[error("the peer advertises more than {MAX_REFERENCES} references; try another device")]
    TooManyReferences,
    /// More than [`MAX_FETCH_BYTES`].
    #[error("the fetch is larger than {MAX_FETCH_BYTES} bytes and was aborted")]
    TooLarge,
    /// The channel closed before the fetch was complete.
    #[error("the peer vanished in the middle of a fetch; try again or another device")]
    Vanished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Reading references.
    Advertisement,
    /// Waiting for the driver to say what to fetch.
    Decide,
    /// Skipping answers until the first packet of the pack.
    Answer,
    /// Reading the pack.
    Pack,
    /// Over, well or not.
    Done,
}

/// One fetch.
#[derive(Debug)]
pub struct DownloadSession {
    decoder: PacketDecoder,
    state: State,
    outputs: VecDeque<DownloadOutput>,
    received: u64,
    /// Left of [`MAX_FETCH_BYTES`] or a smaller limit of the caller.
    limit: u64,
    references: Vec<Reference>,
    head: Option<CommitId>,
    side_band: bool,
    include_tag: bool,
}

impl DownloadSession {
    /// Starts fetching `conversation` from `server`, the device that accepted the channel.
    #[must_use]
    pub fn new(conversation: ConversationId, server: DeviceId) -> Self {
        Self::with_limit(conversation, server, MAX_FETCH_BYTES)
    }

    /// As [`Self::new`], with a limit in bytes smaller than [`MAX_FETCH_BYTES`].
    #[must_use]
    pub fn with_limit(conversation: ConversationId, server: DeviceId, limit: u64) -> Self {
        let mut request = Vec::new();
        let line = format!("git-upload-pack /{conversation}\0host={server}\0");
        packet_line::encode(line.as_bytes(), &mut request);
        Self {
            decoder: PacketDecoder::default(),
            state: State::Advertisement,
            outputs: VecDeque::from([DownloadOutput::Send(request.into())]),
            received: 0,
            limit: limit.min(MAX_FETCH_BYTES),
            references: Vec::new(),
            head: None,
            side_band: false,
            include_tag: false,
        }
    }

    /// The references the peer advertised so far, without `HEAD`.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Takes bytes of the channel. Poll until nothing is left before the next call.
    ///
    /// # Errors
    /// When the fetch is too large, or was over already.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.received = self.received.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.received > self.limit {
            self.state = State::Done;
            self.outputs.clear();
            return Err(DownloadError::TooLarge);
        }
        Ok(self.decoder.receive(bytes)?)
    }

    /// The channel closed.
    ///
    /// # Errors
    /// When the fetch was not complete.
    pub fn closed(&mut self) -> Result<(), DownloadError> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(DownloadError::Vanished),
        }
    }

    /// What to do next, if anything.
    ///
    /// # Errors
    /// When the peer breaks the protocol; the session is over then.
    pub fn poll(&mut self) -> Result<Option<DownloadOutput>, DownloadError> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Ok(Some(output));
            }
            if matches!(self.state, State::Decide | State::Done) {
                return Ok(None);
            }
            let step = match self.decoder.next_packet() {
                Ok(None) => return Ok(None),
                Ok(Some(packet)) => self.handle(&packet),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = step {
                self.state = State::Done;
                return Err(error);
            }
        }
    }

    /// Whether the session is over, well or not.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Done && self.outputs.is_empty()
    }

    /// Answers [`DownloadOutput::Head`]: the head is here already. The peer learns so.
    pub fn up_to_date(&mut self) {
        if self.state == State::Decide {
            self.send(packet_line::FLUSH.to_vec());
            self.outputs.push_back(DownloadOutput::Finished);
            self.state = State::Done;
        }
    }

    /// Answers [`DownloadOutput::Head`]: fetch `want`, as we have `haves`, newest first, of which
    /// the first [`MAX_HAVES`] are told.
    pub fn want(&mut self, want: CommitId, haves: &[CommitId]) {
        if self.state != State::Decide {
            return;
        }
        let mut out = Vec::new();
        let tags = if self.include_tag { "include-tag " } else { "" };
        packet_line::encode(format!("want {want} side-band-64k {tags}\n").as_bytes(), &mut out);
        out.extend_from_slice(packet_line::FLUSH);
        for have in haves.iter().take(MAX_HAVES) {
            packet_line::encode(format!("have {have}\n").as_bytes(), &mut out);
        }
        packet_line::encode(b"done\n", &mut out);
        self.state = State::Answer;
        self.send(out);
    }

    fn handle(&mut self, packet: &Packet) -> Result<(), DownloadError> {
        match (self.state, packet) {
            (State::Advertisement, Packet::Data(line)) => self.advertised(line),
            (State::Advertisement, Packet::Flush) => self.advertised_all(),
            (State::Answer, Packet::Data(line)) if line.first().is_some_and(|band| *band <= 3) => {
                self.state = State::Pack;
                self.band(line)
            }
            (State::Answer, Packet::Data(line)) => check_answer(line),
            (State::Pack, Packet::Data(line)) => self.band(line),
            (State::Pack, Packet::Flush) => {
                self.send(packet_line::FLUSH.to_vec());
                self.outputs.push_back(DownloadOutput::Finished);
                self.state = State::Done;
                Ok(())
            }
            (State::Answer | State::Decide | State::Done, _) => {
                Err(DownloadError::Unexpected("0000".to_owned()))
            }
        }
    }

    fn advertised(&mut self, line: &[u8]) -> Result<(), DownloadError> {
        if line.starts_with(b"version 1") || line.starts_with(b"shallow ") {
            return Ok(());
        }
        check_refusal(line)?;
        let mut parts = line.splitn(2, |byte| *byte == 0);
        let reference = parts.next().unwrap_or_default();
        if let Some(capabilities) = parts.next() {
            let mut words = capabilities.split(|byte| byte.is_ascii_whitespace());
            self.side_band = words.clone().any(|word| word == b"side-band-64k");
            self.include_tag = words.any(|word| word == b"include-tag");
        }
        let text = String::from_utf8_lossy(reference);
        let text = text.trim_end_matches('\n');
        let Some((id, name)) = text.split_once(' ') else { return Err(unexpected(line)) };
        let target: CommitId = id.parse().map_err(|_| unexpected(line))?;
        match name {
            "HEAD" => self.head = self.head.or(Some(target)),
            MAIN => {
                self.head = Some(target);
                self.remember(name, target)?;
            }
            "capabilities^{}" => {}
            _ => self.remember(name, target)?,
        }
        Ok(())
    }

    fn remember(&mut self, name: &str, target: CommitId) -> Result<(), DownloadError> {
        if self.references.len() >= MAX_REFERENCES {
            return Err(DownloadError::TooManyReferences);
        }
        self.references.push(Reference { name: name.to_owned(), target });
        Ok(())
    }

    fn advertised_all(&mut self) -> Result<(), DownloadError> {
        let head = self.head.ok_or(DownloadError::NoHead)?;
        if !self.side_band {
            return Err(DownloadError::NoSideBand);
        }
        self.state = State::Decide;
        self.outputs.push_back(DownloadOutput::Head(head));
        Ok(())
    }

    /// A packet of the pack: band 1 is the pack, 2 is progress, 3 an error.
    fn band(&mut self, packet: &Bytes) -> Result<(), DownloadError> {
        match packet.first() {
            Some(1) => self.outputs.push_back(DownloadOutput::Pack(packet.slice(1..))),
            Some(2) => {}
            Some(3) => return Err(DownloadError::Refused(excerpt(&packet.slice(1..)))),
            _ => return Err(unexpected(packet)),
        }
        Ok(())
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.outputs.push_back(DownloadOutput::Send(bytes.into()));
    }
}

/// `ACK …` and `NAK` are skipped, anything else is not an answer.
fn check_answer(line: &[u8]) -> Result<(), DownloadError> {
    check_refusal(line)?;
    if line.starts_with(b"ACK ") || line.starts_with(b"NAK") { Ok(()) } else { Err(unexpected(line)) }
}

fn check_refusal(line: &[u8]) -> Result<(), DownloadError> {
    match line.strip_prefix(b"ERR ") {
        Some(text) => Err(DownloadError::Refused(excerpt(text))),
        None => Ok(()),
    }
}

fn unexpected(line: &[u8]) -> DownloadError {
    DownloadError::Unexpected(excerpt(line))
}

fn excerpt(text: &[u8]) -> String {
    let start = text.get(..ERROR_EXCERPT).unwrap_or(text);
    String::from_utf8_lossy(start).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> DownloadSession {
        DownloadSession::new(ConversationId([1; 20]), DeviceId([2; 32]))
    }

    /// Feeds all of `bytes`; answers the head with a want.
    fn play(
        session: &mut DownloadSession,
        bytes: &[u8],
        haves: &[CommitId],
    ) -> Result<String, DownloadError> {
        session.receive(bytes)?;
        let mut text = String::new();
        while let Some(output) = session.poll()? {
            match output {
                DownloadOutput::Send(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                DownloadOutput::Head(head) => session.want(head, haves),
                DownloadOutput::Pack(_) | DownloadOutput::Finished => {}
            }
        }
        Ok(text)
    }

    fn lines(texts: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in texts {
            match *text {
                "" => out.extend_from_slice(packet_line::FLUSH),
                text => packet_line::encode(text.as_bytes(), &mut out),
            }
        }
        out
    }

    const ID: &str = "1111111111111111111111111111111111111111";
    const OTHER: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn the_request_is_132_bytes() {
        let text = play(&mut session(), b"", &[]).unwrap();
        assert_eq!(text.len(), 132);
        assert!(text.starts_with("0084git-upload-pack /0101") && text.ends_with("0202\0"));
    }

    #[test]
    fn main_is_chosen_before_head_and_head_if_there_is_no_main() {
        let head = format!("{ID} HEAD\0side-band-64k\n");
        let main = format!("{OTHER} refs/heads/main\n");
        let text = play(&mut session(), &lines(&["version 1", &head, &main, ""]), &[]).unwrap();
        assert!(text.contains(&format!("want {OTHER} side-band-64k \n")), "{text}");
        let text = play(&mut session(), &lines(&[&head, ""]), &[]).unwrap();
        assert!(text.contains(&format!("want {ID} ")));
    }

    #[test]
    fn a_peer_without_head_or_side_band_is_refused() {
        let empty = format!("{ID} capabilities^{{}}\0side-band-64k\n");
        assert_eq!(play(&mut session(), &lines(&[&empty, ""]), &[]), Err(DownloadError::NoHead));
        assert_eq!(play(&mut session(), b"0000", &[]), Err(DownloadError::NoHead));
        let plain = format!("{ID} HEAD\0ofs-delta\n");
        assert_eq!(play(&mut session(), &lines(&[&plain, ""]), &[]), Err(DownloadError::NoSideBand));
    }

    #[test]
    fn a_peer_that_says_why_it_refuses_is_repeated_briefly() {
        let long = format!("ERR {}\n", "no ".repeat(1000));
        let Err(DownloadError::Refused(text)) = play(&mut session(), &lines(&[&long]), &[]) else {
            panic!("not refused");
        };
        assert!(text.starts_with("no no") && text.len() <= ERROR_EXCERPT);
        let head = format!("{ID} HEAD\0side-band-64k\n");
        let broken = play(&mut session(), &lines(&[&head, "", "NAK\n", "\x03broken"]), &[]);
        assert_eq!(broken, Err(DownloadError::Refused("broken".to_owned())));
    }

    #[test]
    fn however_many_haves_there_are_nineteen_are_told_and_no_answer_is_awaited() {
        let head = format!("{ID} HEAD\0side-band-64k include-tag\n");
        let haves = vec![CommitId([3; 20]); 30];
        let mut session = session();
        let text = play(&mut session, &lines(&[&head, ""]), &haves).unwrap();
        assert_eq!(text.matches("have ").count(), MAX_HAVES);
        assert!(text.ends_with("\n0009done\n"));
        assert_eq!(play(&mut session, &lines(&["NAK\n", "\x01PACK", ""]), &haves).unwrap(), "0000");
        assert!(session.is_over());
        assert_eq!(session.closed(), Ok(()));
    }

    #[test]
    fn an_oversized_fetch_is_aborted() {
        let mut session = DownloadSession::with_limit(ConversationId([1; 20]), DeviceId([2; 32]), 1000);
        assert_eq!(play(&mut session, &[b'0'; 1001], &[]), Err(DownloadError::TooLarge));
        assert_eq!(session.poll(), Ok(None));
        assert!(session.is_over());
    }

    #[test]
    fn endless_references_are_refused() {
        let mut session = session();
        let line = lines(&[&format!("{ID} refs/heads/x\n")]).repeat(MAX_REFERENCES + 1);
        let result = line.chunks(60_000).try_for_each(|piece| play(&mut session, piece, &[]).map(drop));
        assert_eq!(result, Err(DownloadError::TooManyReferences));
    }
}
