//! Whole nodes, each a process of its own, as their users have them.
//!
//! ```text
//!   harness    start, ask, watch, kill and restart `skep run` processes
//!     program    where the program is          process  a child that never outlives us
//!     event_log  what a node told              node     a process, its socket and its data folder
//!     person     an account on a node          golden   accounts of real daemons, laid out for a node
//!     network    private namespaces             owner    names that tell whose a thing is
//!   daemon     Debian's `jamid`, driven over D-Bus
//!   live       Skep beside real daemons, and the table of what works between them
//!   demo       jobs played for people who look on, by nodes alone and beside a daemon: `skep-demo`
//! ```
//!
//! The tests themselves are in `tests/nodes`, and those with real daemons in `tests/live` and, for the DHT
//! alone, in `tests/opendht`.

#![forbid(unsafe_code)]

pub mod daemon;
pub mod demo;
pub mod harness;
pub mod live;
