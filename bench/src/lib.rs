//! What `skep-bench` measures, and how.
//!
//! ```text
//!   node          the `node` command: which measurement runs when, and on what
//!   devices       the `devices` command: linking a device to a large account
//!   dht           the `dht` command: Skep on Jami's DHT, among nodes of both kinds
//!   file          the `file` command: a large file between two nodes
//!   group         the `group` command: groups of many processes, and of a thousand members in this one
//!   messenger     two talking nodes, of either kind, and the times they take
//!     skep        a `skep run` process
//!     daemon      Debian's `jamid`
//!   conversation  long conversations in this process: open, validate, clone
//!   history       the synthetic conversations these use
//!   year          a year of a busy group: on disk, opened, cloned
//!   local_first   sends while others are silent or send much
//!   statistics, report, machine    numbers, the table and the JSON file
//! ```
//!
//! The nodes, their processes and their network are those of the tests (`skep_tests::harness`). Both kinds
//! of node go through the same `messenger` scenario, so their numbers mean the same.

mod conversation;
mod daemon;
pub mod devices;
pub mod dht;
mod error;
pub mod file;
pub mod group;
pub mod history;
mod local_first;
mod machine;
mod messenger;
pub mod node;
mod report;
mod skep;
mod statistics;
mod year;

pub use error::{BenchError, Result};
pub use report::{Outcome, Progress};
