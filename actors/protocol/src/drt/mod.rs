//! The overlay of a conversation's devices, the distributed routing table (`spec: drt`).
//!
//! Every device of a conversation keeps a few `swarm://` channels to others, so that what one says
//! reaches all, hop by hop, with no centre. Which channels those are is decided here:
//!
//! ```text
//!   known ids, sockets ──►┌────────┐──► channels to ask for, to close
//!   channels up and down ►│ router │──► messages: who is close to me? these are
//!   messages, time ──────►└───┬────┘──► connected, disconnected, certificates wanted
//!                             │
//!            table            │   lease, mobiles, parked
//!   where everybody lies among│   devices that sleep, and their word that they do
//!   the ids, who is connected │
//!
//!   message, reader        what goes through a channel
//!   dissemination, telling who is told of a new commit, and that nobody is twice
//!   presence               whom to look for while nobody is connected
//!   budget, random         how much a peer may ask; where choices come from
//!   simulation             many of all that in virtual time, for tests and measurements
//! ```
//!
//! One router serves one conversation on one device. It is small, because a node has thousands of
//! conversations and the simulator hundreds of thousands of nodes.

pub mod budget;
pub mod dissemination;
pub mod lease;
pub mod message;
pub mod mobiles;
pub mod parked;
pub mod presence;
pub mod random;
pub mod reader;
pub mod router;
pub mod simulation;
pub mod table;
pub mod telling;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod played_tests;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod table_tests;
