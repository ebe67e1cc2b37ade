//! The actors of Skep: supervision, and one folder for each actor kind.

#![forbid(unsafe_code)]

pub mod account;
pub mod blocking;
pub mod dht;
pub mod directory;
pub mod event;
pub mod peer;
pub mod storage;
pub mod supervision;
pub mod swarm;
