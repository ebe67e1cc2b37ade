//! What the tests of this room share: recorded messages.

use serde::Deserialize;

use crate::testing::recorded_lines;

/// The releases that were recorded, and how many parts their messages have.
pub(super) const RECORDED_SYNC: [(&str, usize); 3] = [("jami-13.7.0", 4), ("jami-13.11.0", 5), ("newest", 6)];

/// One message of a recorded channel; each was one frame.
#[derive(Deserialize)]
pub(super) struct RecordedSync {
    /// Who sent it: `alice` or `alice2`, the device that was linked.
    pub(super) from: String,
    /// Hexadecimal.
    pub(super) data: String,
}

impl RecordedSync {
    pub(super) fn bytes(&self) -> Vec<u8> {
        hex::decode(&self.data).unwrap()
    }
}

/// The messages that the two devices of a recording exchanged.
pub(super) fn recorded_sync(release: &str) -> Vec<RecordedSync> {
    recorded_lines(&format!("{release}/sync.jsonl.gz"))
}
