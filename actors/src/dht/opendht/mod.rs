//! The DHT that Jami's nodes are on: OpenDHT's protocol over UDP.
//!
//! ```text
//!   DhtMessage ──► Engine ──► OpenDhtNode of the protocol crate: who asks whom, keeps and tells what
//!                    │ ▲
//!                    ▼ │ datagrams, time
//!                  sockets         one for IPv4 and one for IPv6
//!                  bootstrap       names to join through, looked up off the engine's thread
//!                  known_nodes     the file of nodes that were good
//!                  local_network   nodes nearby, found by multicast
//! ```

mod bootstrap;
mod engine;
mod known_nodes;
mod local_network;
mod network;
mod sockets;

#[cfg(test)]
mod engine_tests;

pub use network::{OpenDhtNetwork, node_id};
