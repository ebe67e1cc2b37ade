//! Links to peer devices.

mod channel;
pub mod messages;
pub mod transport;
