//! The actors of Skep: one folder for each kind, thin over the cores of `skep-protocol`.
//!
//! ```text
//!   dht             publishes, finds and listens; one for the node        (core: dht)
//!   account         one person: contacts, requests, conversations         (contact, sync, profile)
//!    ├─ directory   which devices a person has, and their certificates    (identity)
//!    ├─ peer        links to devices: ICE, TLS, multiplexed channels      (link)
//!    ├─ sync        what its own devices tell each other                  (sync)
//!    ├─ call        sound between two people                              (call, sdp, rtp)
//!    ├─ profile     the owner's own one, told to others, and theirs       (profile)
//!    ├─ transfer    files offered, fetched and served                     (transfer)
//!    └─ swarm       one conversation over its repository                  (swarm)
//!
//!   names           asks name servers, and is one                       (names)
//!   sip             accounts at SIP servers                             (sip)
//!
//!   supervision     starts, watches and restarts all of them: ports, mailboxes, panics, the tree
//!   blocking        the pool for git, disk and RSA
//!   storage         small files that survive crashes
//!   event           what a node tells its owner, for all accounts
//!   interfaces      whether this machine got another network
//! ```
//!
//! In each folder `messages` is what others may ask and are told, and `actor` is mailbox, timers and
//! input and output around a core.

#![forbid(unsafe_code)]

pub mod account;
pub mod blocking;
pub mod call;
pub mod dht;
pub mod directory;
pub mod event;
mod interfaces;
pub mod linking;
pub mod names;
pub mod peer;
pub mod profile;
#[cfg(test)]
mod recorded;
pub mod sip;
pub mod storage;
pub mod supervision;
pub mod swarm;
pub mod sync;
pub mod transfer;
#[cfg(test)]
mod virtual_time;
