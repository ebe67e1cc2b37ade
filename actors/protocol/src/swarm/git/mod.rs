//! What two members say to each other on a `git://` channel (spec: swarm 9.2), and what they send.
//!
//! ```text
//!   channel bytes -> packet_line -> upload::UploadSession     we serve
//!                               \-> download::DownloadSession we fetch
//!   pack/      the objects themselves: scanning, resolving, writing and indexing packs
//! ```
//!
//! Nothing here reads or writes by itself: whoever owns the channel and the repository drives the
//! sessions with bytes and answers their questions.

pub mod deflate;
pub mod download;
pub mod pack;
pub mod packet_line;
pub mod upload;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod golden;
