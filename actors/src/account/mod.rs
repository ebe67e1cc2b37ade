//! Accounts: one actor for each, parent of all that serves one person.
//!
//! ```text
//!   account ──► directory      which devices a person has
//!           ├─► links ──► peer for each device
//!           └─► conversation for each swarm
//! ```
//!
//! The account knows the contacts, the requests and the records of the conversations, and writes
//! them to its folder before it answers.

mod actor;
pub mod identity;
mod invitations;
mod leaving;
pub mod messages;
mod names;
mod reach;
mod requests;
mod rooms;
mod state;
mod sweep;
mod views;

pub use actor::{AccountActor, AccountConfig};

#[cfg(test)]
mod tests;
