//! The DHT room: [`messages`] is what others see, [`DhtActor`] answers them over Kademlia.

mod actor;
pub mod envelope;
pub mod kad;
mod memory;
pub mod messages;

pub use actor::{DhtActor, DhtConfig};
pub use memory::DhtMemory;
