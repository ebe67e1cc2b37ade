//! How two devices come to talk, and how they share one connection (`spec: connection`).
//!
//! ```text
//!   request, ice_text     what goes through the DHT: who wants a connection, and where each side listens
//!   attempt, dial         one attempt step by step; all attempts, sockets and waiting channels
//!   framing, stun         the TCP path: length-prefixed frames of STUN messages and of TLS bytes
//!   bulk_window           how much of a file may be under way beside messages
//!   mux/                  inside TLS: numbered and named channels over one stream
//!   channel_name          what a channel is for, told by its name
//!   message, objects      the messages of a `msg:` channel; MessagePack in streams
//! ```

pub mod attempt;
pub mod bulk_window;
pub mod channel_name;
pub mod dial;
pub mod framing;
pub mod ice_text;
pub mod message;
pub mod mux;
pub mod objects;
pub mod request;
pub mod stun;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod two_nodes_tests;
