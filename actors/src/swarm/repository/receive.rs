//! Taking in a peer's pack.
//!
//! ```text
//!   bytes -> scan within limits -+- small: kept in memory -> resolved -> few: held in memory
//!                                |                                    -> many: a pack of our own
//!                                +- large: a file of its own -> resolved -> indexed
//! ```
//!
//! All of it ends in a [`Quarantine`].

use std::path::PathBuf;

use skep_protocol::ids::ObjectId;
use skep_protocol::swarm::git::pack::resolve::resolve;
use skep_protocol::swarm::git::pack::scan::PackScanner;
use skep_protocol::swarm::git::pack::write::WrittenEntry;
use skep_protocol::swarm::git::pack::{PackLimits, PackTable};
use skep_protocol::swarm::object::NewObject;

use super::quarantine::{Access, Held, Quarantine};
use super::staging::{NewPack, PackFile, StagedPack};
use super::{Repository, Result};

/// Most objects of a pack that become files of their own; each takes a fraction of a millisecond to
/// force to disk, so this is some tens of milliseconds.
const MAX_EXPLODED: usize = 64;

/// A pack being received.
#[derive(Debug)]
pub struct PackReceiver {
    scanner: PackScanner,
    repository: PathBuf,
    spool: Spool,
}

#[derive(Debug)]
enum Spool {
    Memory(Vec<u8>),
    File(PackFile),
}

impl Repository {
    /// Starts receiving a pack. Dropping the receiver forgets it.
    #[must_use]
    pub fn receive_pack(&self) -> PackReceiver {
        PackReceiver {
            scanner: PackScanner::new(PackLimits::FETCH),
            repository: self.path().to_owned(),
            spool: Spool::Memory(Vec::new()),
        }
    }
}

impl PackReceiver {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`RepositoryError::Pack`](super::RepositoryError::Pack) when the pack is broken or passes a
    /// limit, or what the system says.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<()> {
        self.scanner.feed(bytes)?;
        match &mut self.spool {
            Spool::Memory(memory) => {
                memory.extend_from_slice(bytes);
                if length(memory) > PackLimits::SMALL.pack_bytes {
                    let mut file = PackFile::create(&self.repository)?;
                    file.write(memory)?;
                    self.spool = Spool::File(file);
                }
                Ok(())
            }
            Spool::File(file) => file.write(bytes),
        }
    }

    /// Makes the objects of a pack that was received whole readable. That may take minutes; the
    /// repository is held for an instant of them.
    ///
    /// # Errors
    /// [`RepositoryError::Pack`](super::RepositoryError::Pack) when the pack is cut off, broken, passes
    /// a limit or builds upon objects that are not here; or what the system says.
    pub fn store(self, repository: &impl Access) -> Result<Quarantine> {
        let table = self.scanner.finish()?;
        let (view, known) = repository.access(|repository| (repository.view(), repository.head()));
        let held = match self.spool {
            Spool::Memory(bytes) if table.total_bytes <= PackLimits::SMALL.total_bytes => {
                hold_small(&table, &bytes, &view)?
            }
            Spool::Memory(bytes) => {
                let mut file = PackFile::create(&self.repository)?;
                file.write(&bytes)?;
                Held::Pack(index(&table, file)?)
            }
            Spool::File(file) => Held::Pack(index(&table, file)?),
        };
        Quarantine::new(table.entries.len(), known?, view, held)
    }
}

fn hold_small(table: &PackTable, bytes: &[u8], view: &Repository) -> Result<Held> {
    let mut objects = Vec::with_capacity(table.entries.len());
    resolve(
        table,
        bytes,
        PackLimits::SMALL,
        &mut |id| view.find(id).ok().flatten(),
        Some(&mut |object| objects.push(object)),
    )?;
    let mut missing = Vec::with_capacity(objects.len());
    for object in objects {
        if !view.contains(ObjectId(object.id))? {
            missing.push(object);
        }
    }
    let objects: Vec<NewObject> = missing;
    if objects.len() <= MAX_EXPLODED {
        return Ok(Held::Memory(objects));
    }
    let mut new = NewPack::create(view, objects.len())?;
    for object in &objects {
        new.add(view, object)?;
    }
    Ok(Held::Pack(new.finish(view)?))
}

fn index(table: &PackTable, file: PackFile) -> Result<StagedPack> {
    let ids = resolve(table, &file, PackLimits::FETCH, &mut |_| None, None)?;
    let entries = ids
        .into_iter()
        .zip(&table.entries)
        .map(|(id, entry)| (id, WrittenEntry { offset: entry.offset, crc32: entry.crc32 }));
    file.finish(entries.collect(), table.checksum)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
