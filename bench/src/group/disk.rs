//! What a message takes on the disk, once the repository has packed its objects.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use skep_actors::swarm::repository::{Consolidation, Repository, consolidate};
use skep_protocol::swarm::object::NewObject;

use crate::history::SyntheticHistory;
use crate::{BenchError, Result};

/// Messages written.
pub(crate) const MESSAGES: usize = 5000;

/// Objects that come before the repository packs them: a few more than it leaves alone.
const PACKED_AT_ONCE: usize = 150;

/// Bytes of a block, as the system counts them.
const BLOCK: u64 = 512;

/// What the messages of a conversation take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Economy {
    /// Bytes of disk for each message, the whole repository included.
    pub(crate) packed: f64,
    /// The same, of one that packs nothing.
    pub(crate) loose: f64,
    /// Files of the packed repository.
    pub(crate) files: u64,
}

/// Writes a conversation as a node does, a few objects at a time, into repositories below `folder`.
pub(crate) fn measure(folder: &Path) -> Result<Economy> {
    let history = SyntheticHistory::group(0, MESSAGES)?;
    let objects = history.objects.iter();
    let objects: Vec<NewObject> =
        objects.map(|(kind, id, content)| NewObject { kind, id, content: content.clone() }).collect();
    // Each part is large enough to be packed.
    let part = objects.len().div_ceil((objects.len() / PACKED_AT_ONCE).max(1));
    let mut usages = Vec::new();
    for (name, packs) in [("packed", true), ("loose", false)] {
        let path = folder.join(name);
        let repository = RefCell::new(Repository::create(&path).map_err(BenchError::conversation)?);
        for part in objects.chunks(part) {
            repository.borrow().write_objects(part).map_err(BenchError::conversation)?;
            if packs && consolidate(&repository).map_err(BenchError::conversation)? != Consolidation::Done {
                return Err(BenchError::conversation(io::Error::other("nothing was packed")));
            }
        }
        repository.into_inner().move_main(None, history.head()).map_err(BenchError::conversation)?;
        usages.push(usage(&path)?);
    }
    let [(packed, files), (loose, _)] = usages[..] else {
        return Err(BenchError::conversation(io::Error::other("no repository")));
    };
    let each = |bytes: u64| {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        bytes / f64::from(u32::try_from(MESSAGES).unwrap_or(u32::MAX))
    };
    Ok(Economy { packed: each(packed), loose: each(loose), files })
}

/// The disk that a folder takes with everything in it, in bytes, and how many files that are.
fn usage(folder: &Path) -> Result<(u64, u64)> {
    let failed = || BenchError::file(folder);
    let (mut bytes, mut files) = (0, 0);
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let metadata = entry.metadata().map_err(failed())?;
        bytes += metadata.blocks() * BLOCK;
        if metadata.is_dir() {
            let (below, count) = usage(&entry.path())?;
            bytes += below;
            files += count;
        } else {
            files += 1;
        }
    }
    Ok((bytes, files))
}
