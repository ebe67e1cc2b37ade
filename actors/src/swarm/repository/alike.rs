//! Which objects of a pack are alike, so that they are stored as what they add to one of them.
//!
//! Of what one device wrote, all commits name it twice; of the folders of members, each has most entries
//! of the others. The first of its kind in a pack is stored whole and the rest upon it, so that reading an
//! object never takes more than two.

use std::collections::HashMap;

use skep_protocol::swarm::git::pack::similar::DeltaBase;
use skep_protocol::swarm::git::pack::write::WrittenEntry;
use skep_protocol::swarm::object::{NewObject, ObjectKind};

/// Most bytes of objects that others build upon, for one pack; their search tables take three times as
/// much.
const MAX_BASES: usize = 1024 * 1024;

/// Longest object that is looked at, in bytes: a folder of a thousand members.
const MAX_OBJECT: usize = 64 * 1024;

/// The first object of each kind.
#[derive(Default)]
pub(super) struct Alike {
    bases: HashMap<(ObjectKind, Vec<u8>), (WrittenEntry, DeltaBase)>,
    bytes: usize,
}

impl Alike {
    /// The object as a delta upon one that was learnt, if there is one and it helps.
    pub(super) fn delta(&self, object: &NewObject) -> Option<(WrittenEntry, Vec<u8>)> {
        let (base, search) = self.bases.get(&kind(object)?)?;
        Some((*base, search.delta_to(&object.content)?))
    }

    /// Remembers an object that was written whole, if it is the first of its kind.
    pub(super) fn learn(&mut self, object: &NewObject, entry: WrittenEntry) {
        let length = object.content.len();
        let Some(kind) = kind(object) else { return };
        if self.bytes + length <= MAX_BASES && !self.bases.contains_key(&kind) {
            self.bytes += length;
            self.bases.insert(kind, (entry, DeltaBase::new(object.content.clone())));
        }
    }
}

/// What objects that are alike have in common: the author of a commit, the first name in a folder.
fn kind(object: &NewObject) -> Option<(ObjectKind, Vec<u8>)> {
    let content: &[u8] = &object.content;
    if content.len() > MAX_OBJECT {
        return None;
    }
    let name = match object.kind {
        ObjectKind::Commit => {
            let line = content.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"author "))?;
            line.split_inclusive(|byte| *byte == b'>').next()?
        }
        ObjectKind::Tree => content.split(|byte| *byte == 0).next()?,
        ObjectKind::Blob => return None,
    };
    Some((object.kind, name.to_vec()))
}
