//! Names: asking name servers, and being one (`spec: name-server`).
//!
//! ```text
//!   actor        the node's one client: cache, retries (core: names::NameClient)
//!    └─ fetch    one request over TCP or TLS, one answer
//!
//!   server       connections in, answers out (core: names::NameRegistry)
//!    └─ store    the log of registrations on disk
//! ```

mod actor;
mod authorities;
mod fetch;
mod server;
mod store;
#[cfg(test)]
mod tests;

pub use actor::{NameActor, NameConfig, NameMessage};
pub use authorities::{AuthoritiesError, system_authorities};
pub use server::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, NameServer};
pub use store::{NameStore, StoreError};
