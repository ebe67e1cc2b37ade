//! Packs: how objects travel and how they are kept in bulk.
//!
//! ```text
//!   bytes, any portions -> scan::PackScanner -> table of entries, limits kept, checksum right
//!                                                  |
//!                          resolve (deltas against their bases) -> ids, objects
//!   objects -> write::PackWriter -> bytes;  ids and offsets -> index::index_bytes
//!   objects that are alike -> similar::DeltaBase -> deltas
//! ```
//!
//! Every number in a pack is chosen by a peer. [`PackLimits`] bounds what following them may cost.

mod delta;
mod entry;
mod hash;
pub mod index;
pub mod resolve;
pub mod scan;
pub mod similar;
pub mod write;

use super::super::object::{ObjectError, ObjectKind};
use crate::ids::ObjectId;

/// What a pack may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Bytes of the pack itself.
    pub pack_bytes: u64,
    /// Number of objects.
    pub objects: u32,
    /// Bytes of one object, inflated or rebuilt from deltas.
    pub object_bytes: u64,
    /// Bytes of all objects together, inflated and rebuilt.
    pub total_bytes: u64,
    /// How many deltas may lie on top of each other.
    pub delta_depth: u32,
    /// Bytes of all objects of one chain of deltas, as they are in memory together.
    pub chain_bytes: u64,
}

impl PackLimits {
    /// For a fetch from a peer: 256 MiB as the protocol says (spec: swarm 15), and around it what a
    /// conversation never needs but a node can bear. git itself stacks at most 50 deltas, older
    /// ones 250.
    pub const FETCH: Self = Self {
        pack_bytes: 256 * 1024 * 1024,
        objects: 1_000_000,
        object_bytes: 32 * 1024 * 1024,
        total_bytes: 1024 * 1024 * 1024,
        delta_depth: 250,
        chain_bytes: 128 * 1024 * 1024,
    };

    /// For a pack resolved wholly in memory, which is how the everyday fetch of a few messages goes.
    pub const SMALL: Self =
        Self { pack_bytes: 2 * 1024 * 1024, total_bytes: 32 * 1024 * 1024, ..Self::FETCH };
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackLimit {
    /// [`PackLimits::pack_bytes`]
    PackBytes,
    /// [`PackLimits::objects`]
    Objects,
    /// [`PackLimits::object_bytes`]
    ObjectBytes,
    /// [`PackLimits::total_bytes`]
    TotalBytes,
    /// [`PackLimits::delta_depth`]
    DeltaDepth,
    /// [`PackLimits::chain_bytes`]
    ChainBytes,
}

impl std::fmt::Display for PackLimit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::PackBytes => "size of a pack",
            Self::Objects => "number of objects",
            Self::ObjectBytes => "size of one object",
            Self::TotalBytes => "size of all objects",
            Self::DeltaDepth => "depth of deltas",
            Self::ChainBytes => "size of a chain of deltas",
        })
    }
}

/// A pack that is refused as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// It asks for more than it may cost.
    #[error("the pack passes the limit on the {0}; refuse it")]
    Limit(PackLimit),
    /// It does not begin like a pack of version 2 or 3.
    #[error("these bytes are not a pack of a known version; refuse them")]
    NotAPack,
    /// It ends too early.
    #[error("the pack is cut off; fetch again")]
    Truncated,
    /// Bytes follow its end.
    #[error("bytes follow the end of the pack; refuse it")]
    TrailingBytes,
    /// Its checksum is another.
    #[error("the checksum of the pack is wrong; fetch again")]
    Checksum,
    /// An entry that cannot be read.
    #[error("the pack entry at byte {offset} is broken ({what}); refuse the pack")]
    Entry {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A delta whose base is nowhere.
    #[error("the pack builds upon object {0}, which is missing; refuse it")]
    MissingBase(ObjectId),
    /// The same object twice.
    #[error("the pack holds object {0} twice; refuse it")]
    Duplicate(ObjectId),
    /// An object that nobody may keep, such as a collision attack.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The stored pack could not be read back.
    #[error("a stored pack could not be read: {0}")]
    Read(#[from] std::io::Error),
}

/// How an entry stores its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Whole.
    Whole(ObjectKind),
    /// As a delta upon the entry with this position in the table.
    OffsetDelta(u32),
    /// As a delta upon the object with this id.
    ReferenceDelta(ObjectId),
}

/// One entry of a scanned pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// Where it begins.
    pub offset: u64,
    /// Where its compressed data begin.
    pub data_offset: u64,
    /// Bytes of its data once inflated: the object, or the delta.
    pub size: u64,
    /// CRC-32 of its bytes, as an index records it.
    pub crc32: u32,
    /// How it stores its object.
    pub kind: EntryKind,
    /// The id, known at once for whole objects.
    pub id: Option<ObjectId>,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackTable {
    /// All entries in the order of the pack.
    pub entries: Vec<PackEntry>,
    /// SHA-1 of the pack.
    pub checksum: [u8; 20],
    /// Bytes of all objects together, as declared and limited.
    pub total_bytes: u64,
}

#[cfg(test)]
mod tests;
