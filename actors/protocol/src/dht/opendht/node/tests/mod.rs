//! What nodes do together, in virtual time.

mod abuse;
mod basics;
mod endurance;
mod forgery;
mod hostile;
mod pushes;
mod recorded;

use std::time::Duration;

use super::simulation::{Weather, World, address, contact, data, found, id, value};
use crate::ids::DhtKey;

const MINUTE: u64 = 60;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key() -> DhtKey {
    DhtKey::of_text("a key")
}
