//! The DHT over libp2p: Kademlia finds the nodes close to a key, a protocol of our own talks to them.
//!
//! ```text
//!   DhtMessage ──► Engine ──► Core: publishing, retrieving, listening, serving
//!                    │          │ which peers?   vicinity (connected peers, look-ups)
//!                    │          ▼
//!                    │        Store Get Listen Notify Ping …      wire, outbox, budget
//!                    ▼
//!                  libp2p: TCP, noise, yamux, identify, Kademlia  behaviour
//!                    ▲
//!                  whom to dial again                             address book
//! ```
//!
//! **Why values are not Kademlia records.** libp2p-kad keeps one record a key, tells the publisher
//! only that it was taken, carries 16 KiB, and has no push. The Jami network has many values a key,
//! each with a lifetime and edit rules of its own, values of 64 KiB, storing nodes that refuse, and
//! listeners. An envelope record of all values of a key would be read, merged and rewritten by each
//! of several publishers at once, and every change of one small value would carry the others with
//! it. So Kademlia does what it is good at, routing and looking up, and `/skep/dht/1` stores each
//! value by itself at the closest nodes: the node that keeps a value merges it by the rules of
//! [`skep_protocol::dht::store`], answers whether it does, and tells its listeners in the same
//! turn. A put, a get or a push is one round trip on a connection that is open already.
//!
//! **Small networks.** Every node is connected with every other and keeps every value; no look-up
//! is made. A peer that comes or goes is known at once from its connection: what it should keep is
//! sent to it again, and what it should tell is asked of it again, since it may have lost all.
//!
//! **Idle.** Connections stay open and are not pinged; one small request every 30 s, to the peer
//! heard of longest ago, finds those that died silently and is what [`Health::reachable`] rests on.
//!
//! A bootstrap node is this engine and nothing else.
//!
//! [`Health::reachable`]: crate::dht::messages::Health::reachable

mod address_book;
mod behaviour;
mod budget;
pub mod config;
mod core;
mod engine;
mod listening;
mod network;
mod outbox;
mod publishing;
mod retrieving;
mod serving;
mod vicinity;
pub mod wire;

#[cfg(test)]
mod core_tests;
#[cfg(test)]
mod engine_tests;

pub use engine::Engine;
pub use network::KadNetwork;
