//! The state machine of one multiplexed socket (`spec: connection 7`).
//!
//! ```text
//!             open()                peer accepts
//!   (free) ----------> Requested ------------------> Open
//!                          | peer declines            |  close(), end mark, decline,
//!   (free) <---------------+<-------------------------+  end of the socket
//!     |                    | decline()                ^
//!     +--------------> Offered -----------------------+
//!       peer requests                accept()
//! ```
//!
//! Bytes from TLS go in, [`Output::Transmit`] goes back into TLS in order. Every channel that was
//! requested by either side ends in exactly one of [`Output::Declined`], [`Output::Closed`] or our own
//! [`Multiplex::decline`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::control::{self, ChannelState, ControlMessage, VERSION};
use super::event::{ChannelError, CloseReason, Output, Patience, Role, ShutdownReason};
use super::frame::{self, ChannelNumber, Frame, FrameReader};
use crate::time::Moment;

/// Longest channel name, in bytes: longer ones are declined (`spec: connection 13`).
pub const MAX_NAME: usize = 4096;

/// How long a beacon may stay unanswered.
pub const BEACON_TIMEOUT: Duration = Duration::from_secs(3);

/// Beacons and marks that await their answers: more are not sent.
const MAX_ASKED: usize = 64;

/// How long the reply to a request for a `sip` channel may take.
pub const SIP_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// First number the requester of the connection gives a channel.
const FIRST_OF_REQUESTER: u16 = 0x8000;
/// First number the responder gives a channel.
const FIRST_OF_RESPONDER: u16 = 0x0001;

/// How much a peer may make one socket hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Channels in any state. Each costs a few dozen bytes here, and a consumer elsewhere.
    pub channels: usize,
    /// The peer's requests that await our decision. Each may hold a name of [`MAX_NAME`] bytes.
    pub offered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { channels: 8192, offered: 1024 }
    }
}

#[derive(Debug)]
enum Channel {
    /// We asked for it. `ended` notes an end mark that overtook the peer's answer.
    Requested { patience: Patience, ended: bool },
    /// The peer asked for it.
    Offered { name: String, ended: bool },
    /// Both sides have it.
    Open,
}

/// What a beacon request of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// A sign of life.
    Beacon,
    /// To know that what was sent before it has arrived.
    Mark,
}

/// One multiplexed socket.
#[derive(Debug)]
pub struct Multiplex {
    limits: Limits,
    reader: FrameReader,
    channels: BTreeMap<ChannelNumber, Channel>,
    /// How many of the channels are offered.
    offered: usize,
    /// When our requests are given up, soonest first.
    request_deadlines: BTreeSet<(Moment, ChannelNumber)>,
    /// Where the search for the next free number begins.
    next_number: u16,
    peer_version: Option<u64>,
    beacon_deadline: Option<Moment>,
    /// What the peer's next beacon replies answer; they come in order.
    asked: VecDeque<Asked>,
    ended: bool,
    outputs: VecDeque<Output>,
}

impl Multiplex {
    /// A socket over a TLS session that is just up. Its first output is our version.
    #[must_use]
    pub fn new(role: Role, limits: Limits) -> Self {
        let next_number = match role {
            Role::Requester => FIRST_OF_REQUESTER,
            Role::Responder => FIRST_OF_RESPONDER,
        };
        let mut socket = Self {
            limits,
            reader: FrameReader::default(),
            channels: BTreeMap::new(),
            offered: 0,
            request_deadlines: BTreeSet::new(),
            next_number,
            peer_version: None,
            beacon_deadline: None,
            asked: VecDeque::new(),
            ended: false,
            outputs: VecDeque::new(),
        };
        socket.transmit_control(&ControlMessage::Version(VERSION));
        socket
    }

    /// The next thing to do; to be drained after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let request = self.request_deadlines.first().map(|(deadline, _)| *deadline);
        self.beacon_deadline.into_iter().chain(request).min()
    }

    /// Gives up what is overdue at `now`: single requests, or the socket.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.beacon_deadline.is_some_and(|deadline| deadline <= now) {
            self.end(ShutdownReason::BeaconUnanswered);
        }
        while let Some((deadline, number)) = self.request_deadlines.first().copied()
            && deadline <= now
        {
            if let Some(Channel::Requested { patience: Patience::Socket(_), .. }) = self.channels.get(&number)
            {
                self.end(ShutdownReason::RequestUnanswered(number));
            } else {
                // The mark closes the peer's end, should it accept after all.
                self.transmit_frame(number, &[]);
                self.close_channel(number, CloseReason::Unanswered);
                self.request_deadlines.remove(&(deadline, number));
            }
        }
    }

    /// Takes plaintext from the TLS session, cut anywhere.
    pub fn input_bytes(&mut self, mut bytes: &[u8]) {
        while !self.ended {
            match self.reader.next(&mut bytes) {
                Ok(Some(frame)) => self.input_frame(frame),
                Ok(None) => return,
                Err(error) => self.end(error.into()),
            }
        }
    }

    /// The TLS session has ended, in order or not.
    pub fn input_end(&mut self, in_order: bool) {
        let whole = in_order && self.reader.is_at_boundary();
        self.end(if whole { ShutdownReason::EndOfStream } else { ShutdownReason::TransportFailed });
    }

    /// Asks the peer for a channel; the answer is [`Output::Opened`] or [`Output::Declined`], or
    /// [`Output::Closed`] when patience is at its end.
    ///
    /// # Errors
    /// When the name is too long, there are too many channels, or the socket has ended.
    pub fn open(&mut self, name: &str, patience: Patience) -> Result<ChannelNumber, ChannelError> {
        if self.ended {
            return Err(ChannelError::SocketEnded);
        }
        if name.len() > MAX_NAME {
            return Err(ChannelError::NameTooLong);
        }
        let number = self.free_number().ok_or(ChannelError::TooManyChannels)?;
        self.channels.insert(number, Channel::Requested { patience, ended: false });
        self.request_deadlines.insert((patience.deadline(), number));
        self.transmit_state(name.to_owned(), number, ChannelState::Request);
        Ok(number)
    }

    /// Gives the peer the channel it asked for; data may be sent at once.
    ///
    /// # Errors
    /// When the peer does not, or no longer, ask for it.
    pub fn accept(&mut self, number: ChannelNumber) -> Result<(), ChannelError> {
        let (name, ended) = self.take_offered(number)?;
        self.transmit_state(name, number, ChannelState::Accept);
        self.channels.insert(number, Channel::Open);
        if ended {
            self.close_channel(number, CloseReason::EndOfChannel);
        }
        Ok(())
    }

    /// Refuses the channel the peer asked for.
    ///
    /// # Errors
    /// When the peer does not, or no longer, ask for it.
    pub fn decline(&mut self, number: ChannelNumber) -> Result<(), ChannelError> {
        let (name, _) = self.take_offered(number)?;
        self.transmit_state(name, number, ChannelState::Decline);
        Ok(())
    }

    /// Sends bytes through an open channel, in as many frames as they need.
    ///
    /// # Errors
    /// When the channel is not open.
    pub fn send(&mut self, number: ChannelNumber, bytes: &[u8]) -> Result<(), ChannelError> {
        if !matches!(self.channels.get(&number), Some(Channel::Open)) {
            return Err(ChannelError::NoSuchChannel(number));
        }
        // A frame without data would end the channel.
        if !bytes.is_empty() {
            let mut out = Vec::new();
            frame::write_data(number, bytes, &mut out);
            self.outputs.push_back(Output::Transmit(out));
        }
        Ok(())
    }

    /// Closes an open channel, or gives up one that was asked for.
    ///
    /// # Errors
    /// When there is no such channel.
    pub fn close(&mut self, number: ChannelNumber) -> Result<(), ChannelError> {
        if !matches!(self.channels.get(&number), Some(Channel::Open | Channel::Requested { .. })) {
            return Err(ChannelError::NoSuchChannel(number));
        }
        self.transmit_frame(number, &[]);
        self.close_channel(number, CloseReason::Local);
        Ok(())
    }

    /// Asks the peer for a sign of life, if it understands such requests; says whether it was asked.
    /// If nothing comes within [`BEACON_TIMEOUT`] of the last beacon, the socket is shut down.
    pub fn beacon(&mut self, now: Moment) -> bool {
        let understood = self.understands_beacons();
        if understood {
            self.ask(Asked::Beacon);
            self.beacon_deadline = Some(now.plus(BEACON_TIMEOUT));
        }
        understood
    }

    /// Asks the peer to answer when all that was sent so far has arrived, which [`Output::MarkAnswered`] tells;
    /// says whether it was asked. No answer has no consequence.
    pub fn mark(&mut self) -> bool {
        self.understands_beacons() && self.ask(Asked::Mark)
    }

    fn understands_beacons(&self) -> bool {
        !self.ended && self.peer_version.is_some_and(|version| version >= VERSION)
    }

    fn ask(&mut self, asked: Asked) -> bool {
        let room = self.asked.len() < MAX_ASKED;
        if room {
            self.asked.push_back(asked);
            self.transmit_control(&ControlMessage::BeaconRequest);
        }
        room
    }

    /// Shuts the socket down from this side.
    pub fn shutdown(&mut self) {
        self.end(ShutdownReason::Local);
    }

    /// Whether the socket has ended.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// How many channels there are, in any state.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    fn input_frame(&mut self, frame: Frame) {
        match frame.channel {
            ChannelNumber::CONTROL => {
                control::read_control(&frame.data).for_each(|message| self.input_control(message));
            }
            ChannelNumber::PROTOCOL => {
                control::read_protocol(&frame.data).into_iter().for_each(|it| self.input_control(it));
            }
            number if frame.data.is_empty() => self.input_end_mark(number),
            number => {
                if matches!(self.channels.get(&number), Some(Channel::Open)) {
                    self.outputs.push_back(Output::Data { number, bytes: frame.data });
                }
            }
        }
    }

    fn input_control(&mut self, message: ControlMessage) {
        match message {
            ControlMessage::Channel { name, number, state: ChannelState::Request } => {
                self.input_request(name, number);
            }
            ControlMessage::Channel { number, state: ChannelState::Accept, .. } => self.input_accept(number),
            ControlMessage::Channel { number, state: ChannelState::Decline, .. } => {
                self.input_decline(number)
            }
            ControlMessage::Version(version) => {
                if self.peer_version.is_none() {
                    let version = version.min(VERSION);
                    self.peer_version = Some(version);
                    self.outputs.push_back(Output::PeerVersion(version));
                }
            }
            ControlMessage::BeaconRequest => self.transmit_control(&ControlMessage::BeaconReply),
            ControlMessage::BeaconReply => {
                let answered = self.asked.pop_front();
                // Any answer is a sign of life.
                if self.beacon_deadline.take().is_some() {
                    self.outputs.push_back(Output::BeaconAnswered);
                }
                if answered == Some(Asked::Mark) {
                    self.outputs.push_back(Output::MarkAnswered);
                }
            }
        }
    }

    fn input_request(&mut self, name: String, number: ChannelNumber) {
        let refused = number.is_reserved()
            || name.len() > MAX_NAME
            || self.channels.contains_key(&number)
            || self.channels.len() >= self.limits.channels
            || self.offered >= self.limits.offered;
        if refused {
            self.transmit_state(name, number, ChannelState::Decline);
            return;
        }
        self.offered += 1;
        self.channels.insert(number, Channel::Offered { name: name.clone(), ended: false });
        self.outputs.push_back(Output::ChannelRequested { number, name });
    }

    fn input_accept(&mut self, number: ChannelNumber) {
        let Some(Channel::Requested { patience, ended }) = self.channels.get(&number) else { return };
        let (patience, ended) = (*patience, *ended);
        self.request_deadlines.remove(&(patience.deadline(), number));
        self.channels.insert(number, Channel::Open);
        self.outputs.push_back(Output::Opened(number));
        if ended {
            self.close_channel(number, CloseReason::EndOfChannel);
        }
    }

    fn input_decline(&mut self, number: ChannelNumber) {
        match self.channels.get(&number) {
            Some(Channel::Requested { patience, .. }) => {
                self.request_deadlines.remove(&(patience.deadline(), number));
                self.channels.remove(&number);
                self.outputs.push_back(Output::Declined(number));
            }
            Some(Channel::Open | Channel::Offered { .. }) => {
                self.close_channel(number, CloseReason::EndOfChannel);
            }
            None => {}
        }
    }

    fn input_end_mark(&mut self, number: ChannelNumber) {
        match self.channels.get_mut(&number) {
            Some(Channel::Requested { ended, .. } | Channel::Offered { ended, .. }) => *ended = true,
            Some(Channel::Open) => self.close_channel(number, CloseReason::EndOfChannel),
            None => {}
        }
    }

    /// Forgets a channel and tells so.
    fn close_channel(&mut self, number: ChannelNumber, reason: CloseReason) {
        match self.channels.remove(&number) {
            Some(Channel::Requested { patience, .. }) => {
                self.request_deadlines.remove(&(patience.deadline(), number));
            }
            Some(Channel::Offered { .. }) => self.offered = self.offered.saturating_sub(1),
            Some(Channel::Open) => {}
            None => return,
        }
        self.outputs.push_back(Output::Closed { number, reason });
    }

    fn take_offered(&mut self, number: ChannelNumber) -> Result<(String, bool), ChannelError> {
        if !matches!(self.channels.get(&number), Some(Channel::Offered { .. })) {
            return Err(ChannelError::NoSuchChannel(number));
        }
        let Some(Channel::Offered { name, ended }) = self.channels.remove(&number) else {
            return Err(ChannelError::NoSuchChannel(number));
        };
        self.offered = self.offered.saturating_sub(1);
        Ok((name, ended))
    }

    /// The next number that is neither reserved nor in use, unless there are too many channels.
    fn free_number(&mut self) -> Option<ChannelNumber> {
        if self.channels.len() >= self.limits.channels {
            return None;
        }
        for _ in 0..=u16::MAX {
            let number = ChannelNumber(self.next_number);
            self.next_number = self.next_number.wrapping_add(1);
            if !number.is_reserved() && !self.channels.contains_key(&number) {
                return Some(number);
            }
        }
        None
    }

    fn end(&mut self, reason: ShutdownReason) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.beacon_deadline = None;
        self.asked.clear();
        self.request_deadlines.clear();
        self.offered = 0;
        let closed = std::mem::take(&mut self.channels).into_keys();
        let reason_of_channels = CloseReason::Socket(reason);
        self.outputs.extend(closed.map(|number| Output::Closed { number, reason: reason_of_channels }));
        self.outputs.push_back(Output::Shutdown(reason));
    }

    fn transmit_state(&mut self, name: String, number: ChannelNumber, state: ChannelState) {
        self.transmit_control(&ControlMessage::Channel { name, number, state });
    }

    fn transmit_control(&mut self, message: &ControlMessage) {
        self.transmit_frame(message.channel(), &message.encode());
    }

    fn transmit_frame(&mut self, channel: ChannelNumber, data: &[u8]) {
        let mut out = Vec::new();
        frame::write_frame(channel, data, &mut out);
        self.outputs.push_back(Output::Transmit(out));
    }
}
