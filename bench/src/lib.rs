//! What `skep-bench` measures, and how.
//!
//! ```text
//!   node          the `node` command: which measurement runs when, and on what
//!   messenger     two talking nodes, of either kind, and the times they take
//!     skep        a `skep run` process, driven over its control socket
//!     daemon      Debian's `jamid`, driven over D-Bus
//!   conversation  long conversations in this process: open, validate, clone
//!   history       the synthetic conversation these use
//!   network       private namespaces joined by a bridge; process: children that never outlive us
//!   statistics, report, machine    numbers, the table and the JSON file
//! ```
//!
//! Both kinds of node go through the same `messenger` scenario, so their numbers mean the same.

mod conversation;
mod daemon;
mod error;
mod event_log;
pub mod history;
mod machine;
mod messenger;
mod network;
pub mod node;
mod process;
mod report;
mod skep;
mod statistics;

pub use error::{BenchError, Result};
