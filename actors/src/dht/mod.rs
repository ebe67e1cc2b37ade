//! The DHT: publishing, finding and listening for all accounts of a node.
//!
//! ```text
//!   messages       what others ask and are told, whatever network is below
//!   envelope       values that one device may read: signed by us, closed for it
//!   actor          keeps the engine of a network running; memory is what outlives it
//!   network        what can be below: one of
//!   kad            Kademlia, and a protocol of our own for values
//!   opendht        the protocol of Jami's nodes
//!   both           both of them at once
//!   host_address   where a node to join through is
//! ```

mod actor;
mod both;
pub mod envelope;
mod host_address;
pub mod kad;
mod memory;
pub mod messages;
pub mod network;
pub mod opendht;
mod subscribers;

pub use actor::DhtActor;
pub use both::BothNetworks;
pub use host_address::{HostAddress, NoHostAddress};
pub use memory::DhtMemory;
