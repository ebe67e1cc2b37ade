//! RTP packets, and how those of calls are protected (`spec: calls 5.6, 6`; RFC 3550, 3711).
//!
//! ```text
//!   packet      what of a packet's header is made use of, by its length fields
//!   srtp        one direction of one stream: seal what is sent, open what comes
//! ```
//!
//! Reports (RTCP) are not protected between daemons, so nothing is here for them.

mod packet;
mod srtp;

#[cfg(test)]
mod srtp_tests;

pub use packet::{MAX_PACKET, RtpHeader, RtpMalformed, SENT_PACKET};
pub use srtp::{Opener, REPLAY_WINDOW, Sealer, SrtpError};
