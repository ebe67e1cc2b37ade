//! Whom an account knows, and how people come to know each other (`spec: contacts`).
//!
//! ```text
//!   A                                                B
//!   contact: active            request --DHT-->      pending request      (requests, pending)
//!   keeps the payload (resend)                       accepts: contact, confirmed
//!   contact: confirmed         <--DHT-- confirmation
//!
//!   message    the request and the confirmation on the wire
//!   record     one contact and how records of own devices merge
//!   list       all records of an account, and their file
//!   pending    requests that wait for the user, and their file
//!   requests   what a received request changes
//!   resend     requests to repeat when the other one comes online
//!   trust      whose devices may talk to us
//!   banned_devices   single devices that may not
//!   presence   which devices of a contact are there
//! ```

mod banned_devices;
mod list;
mod message;
mod pending;
mod presence;
mod record;
mod requests;
mod resend;
mod trust;

pub use banned_devices::{BannedDevice, BannedDevices, MAX_BANNED_DEVICES_FILE};
pub use list::{Change, ContactList, ListError, MAX_CONTACTS, MAX_CONTACTS_FILE, Standing};
pub use message::{MAX_PAYLOAD, MAX_REQUEST, MessageError, TrustRequestMessage};
pub use pending::{
    MAX_PENDING, MAX_PENDING_BYTES, MAX_PENDING_FILE, PendingError, PendingRequest, PendingRequests, Recorded,
};
pub use presence::{
    CHANGE_SPACING, MAX_ANNOUNCED_DEVICES, MAX_ANNOUNCEMENTS_PER_DEVICE, MAX_CHANGES_AT_ONCE, MAX_TRACKED,
    Presence, PresenceChange, PresenceState,
};
pub use record::Contact;
pub(crate) use record::json_time;
pub(crate) use requests::is_for_known_conversation;
pub use requests::{Action, IgnoreReason, Incoming, MAX_INVITE_SKEW, receive, receive_synced};
pub use resend::{
    ANSWER_SPACING, AnswerPace, FIRST_WAIT, LONGEST_WAIT, MAX_OUTGOING, MAX_OUTGOING_FILE, OutgoingError,
    OutgoingRequest, OutgoingRequests,
};
pub use trust::{Audience, Denial, MAX_MANUAL_STATUSES, TrustError, TrustStatus, TrustTable, admit};

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
