//! Calls: SIP dialogs between devices over `sip` channels, and through the servers of SIP accounts
//! (`spec: calls`; RFC 3261, 3264, 3515, 3891).
//!
//! ```text
//!   ends        what stands in the headers of a dialog
//!   about       what a message is about, before its dialog is known
//!   abilities   what the other side can do, by what it says of itself
//!   control     what is said in INFO: key frames, mute, recording, voice, pressed keys
//!   parts       what is said in MESSAGE: texts, the state of a conference, orders
//!   leg         one dialog with one device, from INVITE to BYE
//!   outgoing    a call to all devices of a person, of which one wins
//!   streams     what a change of media takes: an INFO, an offer, a new ICE session
//!   state       the states of a call that clients are shown
//!   rules       who gives way, how many may ring, what is written into the history
//! ```
//!
//! Nothing here carries media: `sdp` says what is agreed, and whoever drives a leg acts on it.

mod abilities;
mod about;
mod control;
mod ends;
mod leg;
mod outgoing;
mod parts;
mod rules;
mod state;
mod streams;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod leg_tests;
#[cfg(test)]
mod outgoing_tests;
#[cfg(test)]
mod played;
#[cfg(test)]
mod recorded_tests;

pub use abilities::{Abilities, Version};
pub use about::{About, about, answer_outside, call_of};
pub use control::{Control, KeyPress, MAX_CONTROL};
pub use ends::{ALLOW, Ends, SUBJECT};
pub use leg::{
    Action, End, HELD_MESSAGES, LONGEST_ANSWER, Leg, LegError, MAX_MESSAGE, MAX_REQUESTS, MAX_RINGING,
    RING_TIME, Refusal, Refused, Replaces, TRYING_AFTER,
};
pub use outgoing::{CallEnd, Dialled, LegNumber, MAX_LEGS, OutgoingCall};
pub use parts::{MAX_PARTS, Part, parts_of, write_parts};
pub use rules::{
    MAX_RENEWALS, MAX_RINGING_CALLS, MAX_RINGING_PER_PEER, RENEWAL_PAUSE, Renewals, RingingCalls, gives_way,
    history,
};
pub use state::{CallState, Connection};
pub use streams::{Change, MAX_STREAMS, Source, Stream, Streams, Taken, Takes};
