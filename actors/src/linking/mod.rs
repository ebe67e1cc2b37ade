//! How a node becomes a device of an account that other devices have (`spec: identity 5 and 6`).
//!
//! ```text
//!   actor    a device of the account lets it in over a channel     messages: what the owner sees of it
//!   pin      the archive is on the DHT, under a PIN that the owner was shown
//! ```
//!
//! The side that has the account is the account's own actor.

mod actor;
pub mod messages;
mod pin;

use std::time::Duration;

pub use actor::{LinkingActor, LinkingConfig};
pub use pin::import_by_pin;

use crate::supervision::Environment;

/// Time for what asks other nodes of the DHT, some of which may not answer.
pub(crate) const DHT_DEADLINE: Duration = Duration::from_secs(60);

/// A random number below 2^32.
pub(crate) fn random_number(environment: &Environment) -> u32 {
    let mut bytes = [0; 4];
    environment.fill_random(&mut bytes);
    u32::from_be_bytes(bytes)
}
