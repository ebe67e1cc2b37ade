//! Conversations: one actor for each swarm (`spec: swarm`).
//!
//! ```text
//!   actor ──► router       the overlay: channels to some devices, who is told of commits
//!         ├─► exchange     fetching, cloning and serving: what waits for peers
//!         ├─► preferences  what the owner prefers, here only
//!         └─► replica      one device's copy: writing, taking in, reading
//!               ├─► standing     who takes part, as the tree of the head says
//!               ├─► repository   objects and references on disk, git sessions
//!               └─► timeline     the history as it is shown, loaded as far as needed
//! ```

mod actor;
mod damage;
mod exchange;
mod founder;
pub mod messages;
mod newest;
mod open_copies;
mod preferences;
mod replica;
pub mod repository;
pub mod router;
#[cfg(test)]
mod schedules;
mod shared_repository;
mod standing;
#[cfg(test)]
pub(crate) mod testing;
mod timeline;

use actor::topic;
pub use actor::{ConversationActor, ConversationConfig};
pub(crate) use exchange::CLONE;
pub use founder::Founder;
pub(crate) use founder::{IMPORT, UNFINISHED};
pub use newest::Unreadable;
pub use replica::ReplicaError;
pub(crate) use replica::changed_profile;
pub(crate) use standing::mode_word;
