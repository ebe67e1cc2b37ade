//! Media of calls and conferences: the heart of the mixer, which is pure, so that samples go in and come out; and with
//! the feature `gstreamer` the pipelines of calls.
//!
//! ```text
//!   frames of 20 ms ──► loudest: who is heard ──► mix: the sum of those, once
//!                                                   ├─ for all who listen
//!                                                   └─ less the own voice, for each who is heard
//!   room: packets in, packets out, by one clock for all rooms
//! ```
//!
//! A thousand listeners cost one sum and one encoding; only who speaks costs more.

#![forbid(unsafe_code)]

mod loudest;
mod mix;
pub mod opus;
#[cfg(feature = "gstreamer")]
pub mod pipelines;
pub mod room;
pub mod tone;

pub use loudest::{HOLD, Loudest, MAX_MIXED, QUIET, Speaker, loudness};
pub use mix::{Mix, saturated};
