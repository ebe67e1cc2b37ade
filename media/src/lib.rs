//! Media of calls and conferences: the heart of the mixer, which is pure, so that samples go in and come out; and with
//! the feature `gstreamer` the pipelines of calls.
//!
//! ```text
//!   frames of 20 ms ──► loudest: who is heard ──► mix: the sum of those, once
//!                                                   ├─ for all who listen
//!                                                   └─ less the own voice, for each who is heard
//! ```
//!
//! A thousand listeners cost one sum; only who speaks costs more.

#![forbid(unsafe_code)]

mod loudest;
mod mix;
#[cfg(feature = "gstreamer")]
pub mod pipelines;
pub mod tone;

pub use loudest::{HOLD, Loudest, MAX_MIXED, QUIET, Speaker, loudness};
pub use mix::{Mix, saturated};
