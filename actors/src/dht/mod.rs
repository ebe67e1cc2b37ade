//! The DHT: publishing, finding and listening for all accounts of a node.
//!
//! ```text
//!   messages    what others ask and are told, whatever network is below
//!   envelope    values that one device may read: signed by us, closed for it
//!   actor       keeps an engine running; memory is what outlives it
//!   kad         the engine: Kademlia, and a protocol of our own for values
//! ```

mod actor;
pub mod envelope;
pub mod kad;
mod memory;
pub mod messages;

pub use actor::{DhtActor, DhtConfig};
pub use memory::DhtMemory;
