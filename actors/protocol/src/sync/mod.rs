//! What an account remembers of its conversations beside their histories, on disk and between its
//! own devices (`spec: sync`).
//!
//! ```text
//!   conversation, request, status, preferences, devices      what is remembered, and how two editions
//!                                                            become one: in any order the same
//!   message      what own devices tell each other
//!   receive      what a message changes here
//!   tell         what is told to a device that comes: everything, in messages of a frame each
//!   schedule     which device is told what, and when
//! ```

mod conversation;
mod devices;
mod file_time;
mod message;
mod preferences;
mod receive;
mod request;
mod schedule;
mod status;
mod tell;

pub use conversation::{
    ConversationRecord, ConversationRecords, ConversationStanding, MAX_CONVERSATIONS, MAX_CONVERSATIONS_FILE,
    MAX_RECORD_MEMBERS, Merged, RecordsError,
};
pub use devices::{
    DevicesError, KnownDevice, KnownDevices, MAX_DEVICE_NAME, MAX_DEVICES, MAX_DEVICES_FILE, device_name,
};
pub use file_time::FileTime;
pub use message::{MAX_SYNC_MESSAGE, SyncError, SyncMessage, SyncReader, Texts, ToldDevice};
pub use preferences::{MAX_PREFERENCE_NAME, MAX_PREFERENCE_VALUE, MAX_PREFERENCES, Preferences};
pub use receive::{AccountTables, Received, SyncEffect};
pub use request::{
    ConversationRequest, ConversationRequests, MAX_REQUEST_BYTES, MAX_REQUEST_BYTES_EACH, MAX_REQUESTS,
    MAX_REQUESTS_EACH, MAX_REQUESTS_FILE, MergedRequest, RecordedRequest, RequestsError,
};
pub use schedule::{
    CHANGES_WAIT, CHANGES_WAIT_AT_MOST, CONTACTS_SPACING, DETAILS_WAIT, Detail, ListChange, ListDigests,
    MAX_CHANNELS_EACH, MAX_DETAILS, MAX_VERSIONS_FILE, SyncAction, SyncChannel, SyncSchedule, SyncVersions,
    VersionsError,
};
pub use status::{
    MAX_STATUS_FILE, MAX_STATUS_MEMBERS, Marker, MarkerKind, MemberStatus, MessageStatus, StatusError,
};
pub use tell::{MAX_TOLD_MESSAGE, MAX_TOLD_REQUESTS, Telling, preferences_told, status_told};

#[cfg(test)]
mod convergence_tests;
#[cfg(test)]
mod testing;
