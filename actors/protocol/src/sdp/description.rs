//! A session description as types.

use std::net::IpAddr;

use super::codec::Codec;
use super::crypto::Crypto;
use crate::link::ice_text::{CandidateKind, Credentials};

/// Seconds from 1900 to 1970: session ids count from the former (`spec: calls 5.1`).
const NTP_OFFSET: u64 = 2_208_988_800;

/// All that one side says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Who describes, and which version of it this is.
    pub origin: Origin,
    /// A text; of daemons `Call ID` and a number.
    pub name: String,
    /// Where media without an address of their own go.
    pub address: Option<IpAddr>,
    /// Credentials of the one ICE session for all media. They are written at session level, and read at
    /// either: the first found count.
    pub ice: Option<Credentials>,
    /// One for each `m=` line, in their order, which never changes during a call.
    pub media: Vec<Media>,
}

/// Who describes (`o=`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A name of the machine.
    pub user: String,
    /// Number of the session.
    pub session: u64,
    /// Grows with each description that its sender makes in one call.
    pub version: u64,
    /// The machine's address.
    pub address: IpAddr,
}

impl Origin {
    /// That of a call that begins at this second since 1970.
    #[must_use]
    pub fn at(user: &str, seconds: u64, version: u64, address: IpAddr) -> Self {
        let user: String = user.chars().filter(|letter| letter.is_ascii_graphic()).take(64).collect();
        let user = if user.is_empty() { "-".to_owned() } else { user };
        Self { user, session: seconds.saturating_add(NTP_OFFSET), version, address }
    }
}

/// One `m=` line and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// What it carries.
    pub kind: MediaKind,
    /// Where its RTP goes; 0 means that it is refused or removed.
    pub port: u16,
    /// How it is carried.
    pub profile: Profile,
    /// What may be sent to its sender, the best first.
    pub formats: Vec<Format>,
    /// An address of its own.
    pub address: Option<IpAddr>,
    /// Where RTCP goes, if not to the port after that of RTP.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// Whether RTCP may go where RTP goes. Never so between daemons.
    pub rtcp_mux: bool,
    /// Which way it flows, if that is said.
    pub direction: Option<Direction>,
    /// The key its sender encrypts with: of the first line whose suite is known, if that line is good.
    pub crypto: Option<Crypto>,
    /// Where its sender may be reached.
    pub candidates: Vec<Candidate>,
}

impl Media {
    /// Whether it is in use.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.port != 0
    }

    /// The direction; both ways if none is said.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction.unwrap_or(Direction::Both)
    }

    /// The first format that is this codec.
    #[must_use]
    pub fn format_of(&self, codec: Codec) -> Option<&Format> {
        self.formats.iter().find(|format| format.codec() == Some(codec))
    }
}

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
    /// Something else, which is refused.
    Other(String),
}

impl MediaKind {
    /// The word in the `m=` line.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Other(word) => word,
        }
    }
}

/// How media are carried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// RTP in the clear.
    Avp,
    /// SRTP.
    Savp,
    /// Something else, which is refused.
    Other(String),
}

impl Profile {
    /// The word in the `m=` line.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Savp => "RTP/SAVP",
            Self::Other(word) => word,
        }
    }
}

/// Which way media flow, seen by who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    Both,
    /// To the other side only.
    Send,
    /// From the other side only.
    Receive,
    /// Not at all.
    Neither,
}

impl Direction {
    /// The attribute.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Both => "sendrecv",
            Self::Send => "sendonly",
            Self::Receive => "recvonly",
            Self::Neither => "inactive",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Both, Self::Send, Self::Receive, Self::Neither].into_iter().find(|it| it.word() == word)
    }

    const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::Both,
            (true, false) => Self::Send,
            (false, true) => Self::Receive,
            (false, false) => Self::Neither,
        }
    }

    /// Whether its sender sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::Both | Self::Send)
    }

    /// Whether its sender receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::Both | Self::Receive)
    }

    /// The same, seen from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// What is left of it where `other` must agree, too.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self::of(self.sends() && other.sends(), self.receives() && other.receives())
    }
}

/// One format of an `m=` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// As it stands in the line: of RTP a number.
    pub name: String,
    /// What it stands for.
    pub map: Option<RtpMap>,
    /// Its parameters.
    pub parameters: Option<String>,
}

impl Format {
    /// The number in RTP packets.
    #[must_use]
    pub fn payload(&self) -> Option<u8> {
        self.name.parse().ok().filter(|payload| *payload < 128)
    }

    /// The codec, if we know it.
    #[must_use]
    pub fn codec(&self) -> Option<Codec> {
        match &self.map {
            Some(map) => Codec::of(map),
            None => Codec::of_static_payload(self.payload()?),
        }
    }
}

/// `opus/48000/2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    /// Name of the encoding.
    pub encoding: String,
    /// Ticks a second.
    pub clock: u32,
    /// What stands behind it; for sound the number of channels.
    pub channels: Option<u8>,
}

/// Which of the two paths of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Media.
    Rtp,
    /// Reports.
    Rtcp,
}

/// Where one side may be reached, by UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Equal for candidates whose checks succeed or fail alike.
    pub foundation: String,
    /// Number of the path. Daemons count on from stream to stream; others begin at 1 in each.
    pub number: u8,
    /// The higher the better.
    pub priority: u32,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// How the address was learnt.
    pub kind: CandidateKind,
}

impl Candidate {
    /// Which path it is for: in either way of counting, odd numbers are RTP.
    #[must_use]
    pub const fn component(&self) -> Component {
        if self.number % 2 == 1 { Component::Rtp } else { Component::Rtcp }
    }
}
