//! The overlay of one conversation and who is told of its new commits (`spec: drt`): an actor beside
//! the conversation, thin over the core in `skep_protocol::drt`.
//!
//! ```text
//!   conversation ──► members, links, offered channels ──►┌─────────┐──► channels: opened, closed
//!                ──► head is now c, from device d ──────►│ router  │──► links: announcements
//!   channels ──► messages of the overlay ───────────────►└─────────┘──► mobile devices, kept on disk
//!
//!   overlay   the core, and what it is told of members and links: pure
//!   actor     mailbox, timer, what the core wants done
//!   dialling  asking devices for channels, and finding those that were only heard of
//!   channels  one task for each open channel
//!   telling   announcements of new commits on their way to the links
//! ```

mod actor;
mod channels;
mod dialling;
pub mod messages;
pub(super) mod overlay;
mod telling;

pub(super) use actor::{RouterActor, RouterActorConfig};

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
