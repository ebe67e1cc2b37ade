//! The codecs there are, and how they are named (`spec: calls 5.4`).

use super::description::{Format, MediaKind, RtpMap};

/// First number given to codecs of video; the next ones follow in the order of the offer.
pub const FIRST_DYNAMIC: u8 = 96;

/// Number of telephone events.
pub const DTMF_PAYLOAD: u8 = 101;

/// Which telephone events there are: digits, `*`, `#`, A to D.
pub const DTMF_EVENTS: &str = "0-15";

/// A way to write sound or pictures down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// H.265.
    H265,
    /// H.264.
    H264,
    /// VP8.
    Vp8,
    /// Opus, always named as two channels of 48 kHz.
    Opus,
    /// G.722: 16 kHz, though named as 8.
    G722,
    /// A-law.
    Pcma,
    /// µ-law.
    Pcmu,
    /// Not sound, but pressed keys.
    TelephoneEvent,
}

impl Codec {
    /// All of them; of each kind the best first.
    pub const ALL: [Self; 8] = [
        Self::H265,
        Self::H264,
        Self::Vp8,
        Self::Opus,
        Self::G722,
        Self::Pcma,
        Self::Pcmu,
        Self::TelephoneEvent,
    ];

    /// What daemons offer for sound, keys aside.
    pub const USUAL_AUDIO: [Self; 1] = [Self::Opus];

    /// What daemons offer for pictures.
    pub const USUAL_VIDEO: [Self; 2] = [Self::H264, Self::Vp8];

    /// Name, clock, and channels if they are named.
    const fn entry(self) -> (&'static str, u32, Option<u8>) {
        match self {
            Self::H265 => ("H265", 90_000, None),
            Self::H264 => ("H264", 90_000, None),
            Self::Vp8 => ("VP8", 90_000, None),
            Self::Opus => ("opus", 48_000, Some(2)),
            Self::G722 => ("G722", 8_000, None),
            Self::Pcma => ("PCMA", 8_000, None),
            Self::Pcmu => ("PCMU", 8_000, None),
            Self::TelephoneEvent => ("telephone-event", 8_000, None),
        }
    }

    /// What it carries.
    #[must_use]
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::H265 | Self::H264 | Self::Vp8 => MediaKind::Video,
            _ => MediaKind::Audio,
        }
    }

    /// Ticks of its RTP clock a second.
    #[must_use]
    pub const fn clock(self) -> u32 {
        self.entry().1
    }

    /// Its number in an offer, if it always has the same.
    #[must_use]
    pub const fn fixed_payload(self) -> Option<u8> {
        match self {
            Self::H265 | Self::H264 | Self::Vp8 => None,
            Self::Opus => Some(104),
            Self::G722 => Some(9),
            Self::Pcma => Some(8),
            Self::Pcmu => Some(0),
            Self::TelephoneEvent => Some(DTMF_PAYLOAD),
        }
    }

    /// Its parameters in an offer.
    const fn parameters(self) -> Option<&'static str> {
        match self {
            Self::H264 => Some("profile-level-id=428029"),
            Self::TelephoneEvent => Some(DTMF_EVENTS),
            _ => None,
        }
    }

    /// The codec that is named. Daemons know the names in one spelling only; we take any.
    #[must_use]
    pub fn of(map: &RtpMap) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| {
            let (name, clock, channels) = codec.entry();
            // One channel need not be said.
            let same_channels = map.channels.unwrap_or(1) == channels.unwrap_or(1);
            map.encoding.eq_ignore_ascii_case(name) && map.clock == clock && same_channels
        })
    }

    /// The codec of a number that has a meaning without being named (RFC 3551).
    #[must_use]
    pub fn of_static_payload(payload: u8) -> Option<Self> {
        [Self::G722, Self::Pcma, Self::Pcmu].into_iter().find(|it| it.fixed_payload() == Some(payload))
    }

    /// The format with this number.
    #[must_use]
    pub fn format(self, payload: u8) -> Format {
        let (name, clock, channels) = self.entry();
        Format {
            name: payload.to_string(),
            map: Some(RtpMap { encoding: name.to_owned(), clock, channels }),
            parameters: self.parameters().map(str::to_owned),
        }
    }
}
