//! SIP: over a `sip` channel between devices (`spec: calls 2`), and with a registrar, for SIP accounts
//! (RFC 3261, 3428, 3581, 5626).
//!
//! ```text
//!   stream     takes whole messages out of the bytes of a channel, a connection or a datagram
//!   response   answers to requests
//!   instant    the messages that Jami of 2023 sends as MESSAGE requests outside of any dialog
//!
//!   address    whom an account is, and whom it writes to
//!   fields     the inside of header values
//!   digest     answers to challenges
//!   agent      a SIP account: registers, stays registered, sends and takes messages
//! ```
//!
//! Releases since November 2024 use the channel for calls only and send messages over `msg:` channels
//! (see `link::message`). Lines and first lines are the business of `ezk-sip-types`.

pub mod address;
pub mod agent;
pub mod digest;
mod fields;
pub mod instant;
mod response;
pub mod stream;

#[cfg(test)]
mod fuzz_tests;
