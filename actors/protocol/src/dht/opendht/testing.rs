//! Times, keys and nodes for tests.

use std::time::Duration;

use super::nodes::{Family, NodeKey};
use crate::ids::{DhtKey, NodeId};
use crate::time::Moment;

pub(super) fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

pub(super) fn key() -> DhtKey {
    DhtKey::of_text("a key")
}

pub(super) fn node(number: u8) -> NodeKey {
    NodeKey { family: Family::V4, id: NodeId([number; 20]) }
}
