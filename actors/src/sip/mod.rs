//! SIP accounts: registered at servers of others, beside those of Jami (core: `sip::agent`).
//!
//! ```text
//!   hub        all SIP accounts of a node: made, listed, removed; starts one account actor for each
//!    └─ account    mailbox, timers and the path to the server around the core
//!        └─ path       one socket to the server: UDP, TCP or TLS
//!   stored     what an account is, on disk
//!   messages   what others may ask
//! ```

mod account;
mod hub;
pub mod messages;
mod path;
mod stored;
#[cfg(test)]
mod tests;

pub use hub::{MAX_SIP_ACCOUNTS, SipConfig, SipHub};
