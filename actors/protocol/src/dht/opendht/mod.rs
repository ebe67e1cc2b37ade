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
//!   discovery  finding nodes and people in the same local network
//! ```
//!
//! Everything is written as OpenDHT 4 writes it and read as generously as it reads: of OpenDHT 2
//! (2023) it differs by the user agent, by error texts, and by a token in replies to `listen`.

pub mod compact;
pub mod discovery;
pub mod fields;
pub mod packet;
pub mod parts;
pub mod query;
pub mod rate;
pub mod token;

#[cfg(test)]
mod bad_input_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod golden_tests;
