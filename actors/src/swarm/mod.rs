//! Conversations: one actor for each swarm.

pub mod messages;
pub mod repository;
