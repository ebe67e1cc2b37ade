//! The directory of an account: which devices a person has, their certificates, and which of them
//! the person has revoked.
//!
//! Found on the DHT (`spec: contacts 1, identity 7`), kept in memory and on disk. A look-up that is
//! under way is shared by all who ask for the same device. Devices that were revoked are not listed.

mod actor;
pub mod messages;
mod revocations;

pub(crate) use actor::read_kept;
pub use actor::{DirectoryActor, DirectoryConfig};
pub use revocations::Revocations;
pub(crate) use revocations::write_first;

#[cfg(test)]
mod tests;
