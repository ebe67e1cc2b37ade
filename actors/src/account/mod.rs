//! Accounts: one actor for each, parent of all that serves one person.
//!
//! ```text
//!   account ──► directory      which devices a person has
//!           ├─► links ──► peer for each device
//!           ├─► sync           what its own devices tell each other
//!           ├─► profiles       the owner's own one, and those of others
//!           └─► conversation for each swarm
//! ```
//!
//! The account knows the contacts, the requests and the records of the conversations, and writes
//! them to its folder before it answers. What links another device to it is in [`crate::linking`].

mod actor;
mod banning;
mod calls;
mod devices;
pub mod identity;
mod invitations;
mod leaving;
mod linked;
mod linking;
pub mod messages;
mod names;
mod network;
mod profiles;
mod reach;
mod requests;
mod rooms;
mod saving;
mod starting;
mod state;
mod sweep;
mod syncing;
mod transfers;
mod views;

pub use actor::{AccountActor, AccountConfig};

#[cfg(test)]
mod tests;
