//! What the devices of one account tell each other: one actor for each account (`spec: sync`).
//!
//! ```text
//!   account ──► actor          which own devices there are, which have a link, what the lists are like
//!                 ├─► schedule (core)      who is told what, and when
//!                 └─► channels             one task for each sync channel: reads and writes messages
//!   account ◄── actor          tell them this; this was told by that one
//! ```
//!
//! The lists themselves are the account's, which merges what is told and says what is to be told.

mod actor;
mod channels;
pub mod messages;

pub use actor::{SyncActor, SyncConfig};

#[cfg(test)]
mod tests;
