//! What an account remembers of its conversations beside their histories, on disk and between its
//! own devices (`spec: sync`).

mod conversation;
mod file_time;
mod request;
mod status;

pub use conversation::{
    ConversationRecord, ConversationRecords, MAX_CONVERSATIONS, MAX_CONVERSATIONS_FILE, RecordsError,
};
pub use file_time::FileTime;
pub use request::{
    ConversationRequest, ConversationRequests, MAX_REQUEST_BYTES, MAX_REQUEST_BYTES_EACH, MAX_REQUESTS,
    MAX_REQUESTS_EACH, MAX_REQUESTS_FILE, RecordedRequest, RequestsError,
};
pub use status::{
    MAX_STATUS_FILE, MAX_STATUS_MEMBERS, Marker, MarkerKind, MemberStatus, MessageStatus, StatusError,
};
