//! The multiplexed socket: numbered and named channels over the one byte stream inside TLS
//! (`spec: connection 7`).
//!
//! ```text
//!   frame     [ channel, data ] in MessagePack, one after the other
//!   control   what channels 0 and 65535 say: request, accept, decline; version, beacon
//!   socket    Multiplex, the state machine over both
//! ```

pub mod control;
pub mod frame;
pub mod socket;

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod socket_tests;

pub use frame::ChannelNumber;
pub use socket::{CloseReason, Limits, Multiplex, Output, Role, ShutdownReason};
