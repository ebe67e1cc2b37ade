//! The protocol of OpenDHT, by which Jami's nodes find each other (`spec: dht`).
//!
//! ```text
//!   datagram ──► packet (decode) ──► whole packet
//!                   │                    ▲
//!                   └─ header, parts ──► parts (put together)
//!
//!   packet     requests, replies, errors and parts as types; to bytes and back
//!   query      which values of a key are wanted, and which fields of them
//!   fields     the answer to a query for fields
//!   compact    lists of nodes; addresses that no node can have
//!   parts      values too large for one datagram: cut up and put together
//!   token      proof that who writes receives at its address
//!   rate       how many requests are answered
//!   discovery  the packets by which nodes and people in the same local network are found
//!   local_network  when they are sent, answered and believed
//! ```
//!
//! A node over these, without input and output, is [`node`]; it consists of
//!
//! ```text
//!   table       the routing table                 nodes      what is known of other nodes
//!   search      the nodes close to a key          requests   what we asked, and have no answer to
//!   publishing  what others keep for us           getting    what we want to know once
//!   listening   what others tell us               serving    what we keep for others and tell them
//!   addresses   who receives what is sent to it   operation  what a node is asked for and tells
//! ```
//!
//! Everything is written as OpenDHT 4 writes it and read as generously as it reads: of OpenDHT 2
//! (2023) it differs by the user agent, by error texts, and by a token in replies to `listen`.

pub mod compact;
pub mod discovery;
pub mod fields;
pub mod local_network;
pub mod node;
pub mod operation;
pub mod packet;
pub mod parts;
pub mod query;
pub mod rate;
pub mod token;

mod addresses;
mod getting;
mod listening;
mod nodes;
mod publishing;
mod random;
mod requests;
mod search;
mod serving;
mod table;

#[cfg(test)]
mod bad_input_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod testing;
