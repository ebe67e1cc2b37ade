//! The protocol cores of Skep.
//!
//! Every module here is a pure state machine or a codec: bytes, events and the time go in; bytes,
//! actions and deadlines come out. There is no clock, no socket, no file and no task in this
//! crate, so tests and the simulator drive the very code that ships. The one impure thing is the
//! randomness that RSA padding draws inside the crypto provider.
//!
//! ```text
//!   ids, time, keys, msgpack      what everything shares
//!   identity/                     certificate chain, archive, receipt, revocation
//!   dht/                          values, keys, storage rules, publishing, listening
//!   link/                         connection requests, framing, STUN, multiplexed socket
//!   call/                         calls: dialogs, devices that ring, changes of media
//!   conference/                   conferences at their hosts and guests; calls of conversations
//!   contact/                      trust requests, contact list, whose devices may talk to us, presence
//!   drt/                          the overlay of a conversation's devices: whom to connect to, whom to tell
//!   swarm/                        commits, tree rules, validation, history, git sessions and packs
//!   sync/                         what an account remembers of its conversations; what own devices tell each other
//!   linking/                      how a new device becomes one of an account's
//!   rtp/                          packets of sound and pictures, and how they are protected
//!   sdp/                          what each side of a call sends, takes, and where
//!   sip/                          SIP messages; what Jami of 2023 says over them; accounts at SIP servers
//!   profile/                      vCards of people and conversations
//!   names/                        names instead of ids: client and server
//!   transfer/                     files offered in conversations, and how they get here
//! ```
//!
//! The same room has the same name in `skep-actors`, except that `peer` there drives `link`, and
//! that `account` brings `contact`, `sync` and `profile` together. `FUZZING.md` lists every parser
//! of foreign bytes and what is tried on it.

#![forbid(unsafe_code)]

pub mod call;
pub mod conference;
pub mod contact;
pub mod dht;
pub mod drt;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod link;
pub mod linking;
pub mod msgpack;
pub mod names;
pub mod profile;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod swarm;
pub mod sync;
pub mod time;
pub mod transfer;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod testing;
