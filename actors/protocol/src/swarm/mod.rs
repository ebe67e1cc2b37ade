//! Conversations: git repositories whose every commit is checked (`spec: swarm`).
//!
//! ```text
//!   object     commits and trees as bytes, ids, where they are read from
//!   message    what a commit says: JSON in and out
//!   layout     which file means what; members and roles of a tree
//!   diff       what changed between two trees; tree_cache keeps those read before
//!   validate   whether a commit may enter the history; rules/ and refusal belong to it
//!   graph      which commit follows which: order, merge bases
//!   git        what is said on git channels: packet lines, sessions, packs
//!   reconcile  whether two heads need a merge
//!   create     making commits; edit changes trees, merge joins two heads
//!   history    the order of display, with edits and reactions applied
//!   notice     announcements, invitations, read markers, typing
//!   typing     who is shown as typing
//!   votes      which votes are pending
//! ```

pub mod create;
pub mod diff;
pub mod edit;
pub mod git;
pub mod graph;
pub mod history;
pub mod layout;
pub mod merge;
pub mod message;
pub mod notice;
pub mod object;
pub mod reconcile;
pub mod refusal;
mod rules;
mod tree_cache;
pub mod typing;
pub mod validate;
pub mod votes;

#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod create_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod person_tests;
#[cfg(test)]
mod scale_tests;
#[cfg(test)]
mod validate_tests;
#[cfg(test)]
mod voting_tests;
