//! What an account remembers of its conversations beside their histories, on disk and between its
//! own devices (`spec: sync`).

mod conversation;

pub use conversation::{
    ConversationRecord, ConversationRecords, MAX_CONVERSATIONS, MAX_CONVERSATIONS_FILE, RecordsError,
};
