//! Pipelines of GStreamer, one a module, each with its graph.
//!
//! ```text
//!   send       a source of sound to packets
//!   receive    packets to where sound goes
//!   codec      Opus by itself, for rooms
//!   read       a file to samples, to look at what was heard
//!   elements   which elements there are, and which packages have those that are not
//! ```
//!
//! What goes wrong in a pipeline is told once and ends it, and nothing else.

mod codec;
mod elements;
mod read;
mod receive;
mod send;

pub use codec::GstOpus;
pub use elements::SoundError;
pub use read::read_sound;
pub use receive::{Receiving, SoundTo, check_output};
pub use send::{Packets, Sending, SoundFrom, check_source};

/// Samples a second, of all sound here.
pub const RATE: u32 = 48_000;

/// Told once when a pipeline breaks.
pub type OnFailure = Box<dyn Fn(String) + Send + Sync>;
