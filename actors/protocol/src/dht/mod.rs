//! What the DHT carries and the rules for carrying it (`spec: dht`).
//!
//! ```text
//!   content   the application's bytes; signed; verified
//!   cipher    a signed content closed for one device
//!   value     one of these with an id: what is put at a key
//!   key       which key is used for what
//!   kind      lifetimes, who may store and who may edit
//! ```
//!
//! How values travel between nodes is not decided here.

pub mod cipher;
pub mod content;
pub mod key;
pub mod kind;
pub mod value;

#[cfg(test)]
mod golden;
