//! The profiles of an account: the owner's own one, told to contacts, fellow members and own devices; and theirs.
//!
//! ```text
//!   owner: set ──► profile.vcf, durable ──► account: name, requests ──► every linked device, once each edition
//!   channel:  …/profile.vcf ──► read within limits ──► parsed, picture made anew ──► profiles/<person>.vcf, event
//!             profile.vcf   ──► from an own device: newer than ours? ──► profile.vcf
//!             …/<person>.vcf ─► given to own devices, our own one to members
//! ```

mod actor;
mod channels;
pub mod messages;
mod outgoing;
pub mod picture;
pub(crate) mod store;

pub use actor::{ProfilesActor, ProfilesConfig};

#[cfg(test)]
mod tests;
