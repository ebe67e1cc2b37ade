//! Conferences that an account hosts, and those its calls are in (`spec: conference`).
//!
//! ```text
//!   owner ─► calls ─► conference      an actor for each, over the core: who may what, whom to tell what
//!              │         └─ room      mixes; of `skep-media`
//!              └─ call ─► switch      packets of its sound go to its own pipelines, or to a seat of a room
//!   owner's microphone and loudspeaker, a recording: seats of their own    (local)
//! ```
//!
//! A call in a conference is a call as any other: only its sound goes elsewhere. So calls know nothing of
//! conferences but that messages of theirs are for somebody else.

mod actor;
mod hub;
mod local;
pub mod messages;
mod packer;
mod switch;

pub(super) use self::hub::Conferences;
pub(super) use self::switch::Switch;
