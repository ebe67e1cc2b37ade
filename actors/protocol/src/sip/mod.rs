//! SIP: over a `sip` channel between devices (`spec: calls 2`), and with a registrar, for SIP accounts
//! (RFC 3261, 3428, 3581, 5626).
//!
//! ```text
//!   stream     takes whole messages out of the bytes of a channel, a connection or a datagram
//!   response   answers to requests
//!   token      what nobody can guess
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
pub(crate) mod fields;
pub mod instant;
pub(crate) mod response;
pub mod stream;
pub(crate) mod token;

#[cfg(test)]
mod fuzz_tests;
