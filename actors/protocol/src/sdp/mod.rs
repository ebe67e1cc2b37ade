//! Session descriptions: what each side of a call sends, takes, and where (`spec: calls 5`; RFC 8866, 3264,
//! 4568).
//!
//! ```text
//!   description    a description as types
//!   read           bytes to a description; forgiving in lines, strict in what an answer is counted by
//!   write          a description to the bytes that the reference writes
//!   codec          the codecs there are, and how they are named
//!   crypto         keys of SRTP (`a=crypto`)
//!   offer          offers and answers out of what this side has
//!   agreed         what two descriptions agree on
//! ```
//!
//! The codec is ours, and not that of `ezk-sdp-types`, which comes with the SIP messages: that refuses the
//! whole description for one line it cannot read, where a candidate of a kind yet unknown must cost that
//! candidate only; it takes any number of lines; and it writes lines in an order of its own, while what
//! daemons read has been seen in one order only.

mod agreed;
mod codec;
mod crypto;
mod description;
mod offer;
mod read;
mod write;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod offer_tests;
#[cfg(test)]
mod recorded_tests;

pub use agreed::{Agreed, Carrier, NotAgreed, agreed, carrier};
pub use codec::{Codec, DTMF_EVENTS, DTMF_PAYLOAD, FIRST_DYNAMIC};
pub use crypto::{Crypto, SrtpKey, Suite};
pub use description::{
    Candidate, Component, Description, Direction, Format, Media, MediaKind, Origin, Profile, RtpMap,
};
pub use offer::{LocalMedia, LocalStream, answer, offer};
pub use read::{
    MAX_CANDIDATES, MAX_COMPONENT, MAX_DESCRIPTION, MAX_FORMATS, MAX_LINE, MAX_LINES, MAX_MEDIA, SdpError,
};
