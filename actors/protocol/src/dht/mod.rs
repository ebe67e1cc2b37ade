//! What the DHT carries and the rules for carrying it (`spec: dht`).
//!
//! ```text
//!   content   the application's bytes; signed; verified
//!   cipher    a signed content closed for one device
//!   value     one of these with an id: what is put at a key
//!   instant   messages of 2023 that were put at a key
//!   key       which key is used for what
//!   kind      lifetimes, who may store and who may edit
//!   edition   what an owner replaced
//!   filter    which values of a key are wanted
//!   store     the values a node keeps for others          listeners       whom it tells of changes
//!   announce  the values a node keeps alive elsewhere     subscriptions   the keys it listens at
//!   opendht   how OpenDHT's nodes speak
//! ```
//!
//! How values travel between nodes is not decided here, but in `opendht` and in the network of
//! `skep-actors`.

pub mod announce;
pub mod cipher;
pub mod content;
pub mod filter;
pub mod instant;
pub mod key;
pub mod kind;
pub mod listeners;
pub mod opendht;
pub mod store;
pub mod subscriptions;
pub mod value;

mod edition;
mod sources;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
pub(crate) mod golden;
