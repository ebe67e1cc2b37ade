//! The id of an object that arrives in pieces.

use sha1_checked::{Digest, Sha1};

use super::super::super::object::{ObjectError, ObjectKind};
use crate::ids::ObjectId;

/// Computes the id of an object as its content is inflated.
#[derive(Clone, Debug)]
pub(super) struct ObjectHasher {
    sha1: Sha1,
}

impl ObjectHasher {
    /// Starts an object of `size` bytes.
    pub(super) fn new(kind: ObjectKind, size: u64) -> Self {
        let mut sha1 = Sha1::new();
        sha1.update(format!("{} {size}\0", kind.word()));
        Self { sha1 }
    }

    /// The next piece of the content.
    pub(super) fn update(&mut self, data: &[u8]) {
        self.sha1.update(data);
    }

    /// The id, unless the content is a collision attack.
    pub(super) fn finish(self) -> Result<ObjectId, ObjectError> {
        let result = self.sha1.try_finalize();
        if result.has_collision() {
            return Err(ObjectError::Collision);
        }
        Ok(ObjectId((*result.hash()).into()))
    }
}
