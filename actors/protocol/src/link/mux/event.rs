//! What a multiplexed socket tells its owner, and why things end (`spec: connection 7.2-7.5`).

use super::frame::{ChannelNumber, FrameError};
#[cfg(doc)]
use super::socket::Multiplex;
use super::socket::{BEACON_TIMEOUT, MAX_NAME};
use crate::time::Moment;

/// What this side was when the connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It asked for the connection: ICE controlled, TLS server, channels from 0x8000.
    Requester,
    /// It was asked: ICE controlling, TLS client, channels from 1.
    Responder,
}

/// How long a channel request may stay unanswered, and what follows then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until then; then this channel is given up, and an answer that comes later means nothing.
    Channel(Moment),
    /// Until then; then the whole socket is shut down, as for `sip` (`spec: connection 2.5`).
    Socket(Moment),
}

impl Patience {
    /// Until when.
    #[must_use]
    pub const fn deadline(self) -> Moment {
        let (Self::Channel(deadline) | Self::Socket(deadline)) = self;
        deadline
    }
}

/// Why a channel is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// We closed it.
    Local,
    /// The peer closed it: all it had to say was said.
    EndOfChannel,
    /// The peer did not answer our request in time.
    Unanswered,
    /// The whole socket ended.
    Socket(ShutdownReason),
}

impl CloseReason {
    /// Whether a reader is to be told "end of file"; otherwise the stream broke off.
    #[must_use]
    pub const fn is_end_of_file(self) -> bool {
        match self {
            Self::Local | Self::EndOfChannel => true,
            Self::Unanswered => false,
            Self::Socket(reason) => matches!(reason, ShutdownReason::EndOfStream),
        }
    }
}

/// Why a socket is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownReason {
    /// We shut it down.
    #[error("this side closed the socket")]
    Local,
    /// The peer ended the TLS session in order.
    #[error("the peer closed the socket")]
    EndOfStream,
    /// The connection broke.
    #[error("the connection under the socket broke")]
    TransportFailed,
    /// A beacon stayed unanswered for [`BEACON_TIMEOUT`].
    #[error("the peer gave no sign of life in {} s", BEACON_TIMEOUT.as_secs())]
    BeaconUnanswered,
    /// A request with [`Patience::Socket`] stayed unanswered.
    #[error("the peer did not answer the request for channel {0} in time")]
    RequestUnanswered(ChannelNumber),
    /// The peer's bytes cannot be read on.
    #[error("the socket cannot be read on: {0}")]
    Unreadable(#[from] FrameError),
}

/// Why an application cannot do something with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The name is longer than [`MAX_NAME`].
    #[error("a channel name has at most {MAX_NAME} bytes")]
    NameTooLong,
    /// The socket holds as many channels as it may.
    #[error("the socket has too many channels; close some first")]
    TooManyChannels,
    /// There is no channel of this number in the state needed.
    #[error("channel {0} is not in a state for this; it may have been closed")]
    NoSuchChannel(ChannelNumber),
    /// The socket has ended.
    #[error("the socket has ended; use another")]
    SocketEnded,
}

/// What the socket wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes into the TLS session.
    Transmit(Vec<u8>),
    /// The peer wants a channel: [`Multiplex::accept`] or [`Multiplex::decline`] it.
    ChannelRequested {
        /// Its number.
        number: ChannelNumber,
        /// What it is for.
        name: String,
    },
    /// The peer gave the channel we asked for.
    Opened(ChannelNumber),
    /// The peer refused the channel we asked for; its number is free again.
    Declined(ChannelNumber),
    /// The next bytes of a channel.
    Data {
        /// Its number.
        number: ChannelNumber,
        /// Never empty.
        bytes: Vec<u8>,
    },
    /// A channel is no more; its number is free again.
    Closed {
        /// Its number.
        number: ChannelNumber,
        /// Why.
        reason: CloseReason,
    },
    /// The peer told its version for the first time; 1 is the highest there is.
    PeerVersion(u64),
    /// The peer answered our beacon.
    BeaconAnswered,
    /// The peer answered our oldest mark: all that was sent before it has arrived.
    MarkAnswered,
    /// The socket is no more: close the TLS session. Nothing follows.
    Shutdown(ShutdownReason),
}
