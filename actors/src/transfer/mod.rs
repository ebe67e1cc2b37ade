//! Files of an account's conversations: offered, fetched and served (core: `skep_protocol::transfer`).
//!
//! ```text
//!   owner ──fetch──► actor ──asks──► links ──channel──► fetching ──► pool: hash and write
//!                      │ which device, when: Wanted                       └► whole: verified, forced to
//!                      │                                                     disk, renamed
//!   peer ──channel──► account ──► actor ──► serving ──► conversation: may they, what did the commit say?
//!                                              └──► pool: hash once, read ──► channel
//! ```
//!
//! One actor for an account decides; each transfer is a future of it, with files in the hands of the
//! blocking pool. A file appears under its name only when it is whole and has the hash of its commit.

mod actor;
mod disk;
mod fetching;
mod hashing;
mod here;
pub mod messages;
mod serving;
mod wishes;

#[cfg(test)]
mod tests;

pub use actor::{TransfersActor, TransfersConfig};
