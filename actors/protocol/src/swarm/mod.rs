//! Conversations: git repositories whose every commit is checked (`spec: swarm`).
//!
//! ```text
//!   object     commits and trees as bytes, ids, where they are read from
//!   message    what a commit says: JSON in and out
//!   layout     which file means what; members and roles of a tree
//!   diff       what changed between two trees
//! ```

pub mod diff;
pub mod layout;
pub mod message;
pub mod object;

#[cfg(test)]
mod golden;
