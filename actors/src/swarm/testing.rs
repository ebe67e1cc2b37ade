//! What tests of conversations need: somebody who makes them, with a recorded key.

use std::sync::Arc;

use super::founder::Founder;
use crate::recorded::{NOW, Recorded};

/// Alice, on her device.
pub(super) fn founder() -> Founder {
    let identity = Recorded::new("newest", "alice").identity();
    Founder { identity: Arc::new(identity), name: "Alice".to_owned(), now: NOW }
}
