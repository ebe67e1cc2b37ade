//! The multiplexed socket: numbered and named channels over the one byte stream inside TLS
//! (`spec: connection 7`).
//!
//! ```text
//!   frame     [ channel, data ] in MessagePack, one after the other
//!   control   what channels 0 and 65535 say: request, accept, decline; version, beacon
//!   socket    Multiplex, the state machine over both
//!   event     what it tells its owner
//! ```

pub mod control;
pub mod event;
pub mod frame;
pub mod socket;

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod socket_tests;

pub use event::{ChannelError, CloseReason, Output, Patience, Role, ShutdownReason};
pub use frame::ChannelNumber;
pub use socket::{Limits, Multiplex};
