//! Links to peer devices (`spec: connection`).
//!
//! ```text
//!   account ──► links (one for each account) ──► peer (one for each device)
//!                 ▲ connection requests            │ attempts: candidates, DHT, ICE, TLS
//!                 │ and answers                    │ connections: multiplexed channels
//!                DHT ◄─────────────────────────────┘
//! ```

mod attempt;
pub(crate) mod channel;
mod connection;
mod device;
pub(crate) mod dialect;
mod hearing;
pub(crate) mod line;
mod links;
pub mod messages;
pub mod transport;

#[cfg(test)]
mod tests;

pub use attempt::LinkConfig;
pub use links::{Internal, LinksActor, LinksConfig, PeerTold};
