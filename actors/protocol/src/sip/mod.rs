//! SIP over a `sip` channel (`spec: calls 2`).
//!
//! ```text
//!   stream     takes whole messages out of the bytes of a channel
//!   instant    the messages that Jami of 2023 sends as MESSAGE requests outside of any dialog
//! ```
//!
//! Releases since November 2024 use the channel for calls only and send messages over `msg:` channels
//! (see `link::message`). The grammar is the business of `ezk-sip-types`.

pub mod instant;
pub mod stream;

#[cfg(test)]
mod fuzz_tests;
