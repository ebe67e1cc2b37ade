//! The directory of an account: which devices a person has, and their certificates.
//!
//! Found on the DHT (`spec: contacts 1`), kept in memory and on disk. A look-up that is under way
//! is shared by all who ask for the same device.

mod actor;
pub mod messages;

pub use actor::{DirectoryActor, DirectoryConfig};
