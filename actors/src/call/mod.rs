//! The calls of an account (`spec: calls`).
//!
//! ```text
//!   account ──► calls        which calls there are; finds the one a message is of
//!                 └─ call    one for each: its dialogs, its streams, what becomes of them
//!                      │         over the cores call, sdp, rtp
//!                      ├─ SIP         over `sip` channels of links
//!                      ├─ paths       ICE over UDP, for sound and for reports     (ice)
//!                      └─ carrier     packets between path and media, protected
//!                           └─ media  whoever makes and takes sound; silent without one
//!                └─ conference   calls that are put together, each with an actor of its own
//! ```

mod actor;
mod carrier;
pub mod conference;
mod ice;
pub mod media;
pub mod messages;
pub mod paths;
mod session;
#[cfg(feature = "media")]
mod sound;
#[cfg(test)]
mod tests;

pub use actor::{CallsActor, CallsConfig};
pub use ice::IcePaths;
