//! Taking in a peer's pack.
//!
//! ```text
//!   bytes -> scan within limits -+- small: kept in memory -> resolved -> few: loose objects
//!                                |                                    -> many: a pack of our own
//!                                +- large: a temporary file -> resolved -> renamed into place
//! ```
//!
//! What was taken in is in the object store but in no history: `main` moves only after validation.
//! If that fails, [`Repository::discard`] takes it out again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use skep_protocol::ids::{CommitId, ObjectId};
use skep_protocol::swarm::git::pack::index::index_bytes;
use skep_protocol::swarm::git::pack::resolve::{PackSource, resolve};
use skep_protocol::swarm::git::pack::scan::PackScanner;
use skep_protocol::swarm::git::pack::write::{PackWriter, WrittenEntry};
use skep_protocol::swarm::git::pack::{PackLimits, PackTable};
use skep_protocol::swarm::object::NewObject;

use super::durable::{self, TEMPORARY, at};
use super::{Repository, RepositoryError, Result};

/// Most objects of a pack that become files of their own; each takes a fraction of a millisecond to
/// force to disk, so this is some tens of milliseconds.
const MAX_EXPLODED: usize = 64;

/// A pack being received.
#[derive(Debug)]
pub struct PackReceiver {
    scanner: PackScanner,
    folder: PathBuf,
    spool: Spool,
}

#[derive(Debug)]
enum Spool {
    Memory(Vec<u8>),
    File(TemporaryFile),
}

/// What a pack brought.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "discard it if it turns out to be unwanted"]
pub struct Received {
    /// Objects of the pack, new or not.
    pub objects: usize,
    /// New objects that became files of their own.
    loose: Vec<ObjectId>,
    /// Name, without ending, of the pack that was added.
    pack: Option<String>,
    /// The head when it was received.
    head: Option<CommitId>,
}

impl PackReceiver {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`RepositoryError::Pack`] when the pack is broken or passes a limit, or what the system says.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<()> {
        self.scanner.feed(bytes)?;
        match &mut self.spool {
            Spool::Memory(memory) => {
                memory.extend_from_slice(bytes);
                if length(memory) > PackLimits::SMALL.pack_bytes {
                    let mut file = TemporaryFile::create(&self.folder)?;
                    file.write(memory)?;
                    self.spool = Spool::File(file);
                }
                Ok(())
            }
            Spool::File(file) => file.write(bytes),
        }
    }
}

impl Repository {
    /// Starts receiving a pack. Dropping the receiver forgets it.
    #[must_use]
    pub fn receive_pack(&self) -> PackReceiver {
        PackReceiver {
            scanner: PackScanner::new(PackLimits::FETCH),
            folder: self.pack_folder(),
            spool: Spool::Memory(Vec::new()),
        }
    }

    /// Stores a pack that was received whole; when it returns, its objects are on disk.
    ///
    /// # Errors
    /// [`RepositoryError::Pack`] when the pack is cut off, broken, passes a limit or builds upon
    /// objects that are not here; or what the system says. Nothing is stored then.
    pub fn store_pack(&mut self, receiver: PackReceiver) -> Result<Received> {
        let table = receiver.scanner.finish()?;
        let head = self.head()?;
        let objects = table.entries.len();
        let (loose, pack) = match receiver.spool {
            Spool::Memory(bytes) if table.total_bytes <= PackLimits::SMALL.total_bytes => {
                self.store_small(&table, &bytes)?
            }
            Spool::Memory(bytes) => {
                let mut file = TemporaryFile::create(&self.pack_folder())?;
                file.write(&bytes)?;
                (Vec::new(), self.store_large(&table, file)?)
            }
            Spool::File(file) => (Vec::new(), self.store_large(&table, file)?),
        };
        self.unsettled += 1;
        Ok(Received { objects, loose, pack, head })
    }

    /// Takes what a pack brought for good: `main` has it, or nobody minds it.
    ///
    /// # Errors
    /// What the system says while packs refused meanwhile are taken out.
    pub fn keep(&mut self, _: Received) -> Result<()> {
        self.settle()
    }

    /// Takes out again what a pack brought, except what the history has come to need meanwhile. As
    /// long as other packs are being validated it waits for their end: they may have brought the
    /// same objects, which were stored only once.
    ///
    /// # Errors
    /// What the system says; some objects may stay then, unused.
    pub fn discard(&mut self, received: Received) -> Result<()> {
        self.doomed.push(received);
        self.settle()
    }

    fn settle(&mut self) -> Result<()> {
        self.unsettled = self.unsettled.saturating_sub(1);
        if self.unsettled == 0 {
            for received in std::mem::take(&mut self.doomed) {
                self.take_out(received)?;
            }
        }
        Ok(())
    }

    fn take_out(&mut self, received: Received) -> Result<()> {
        let needed = self.needed_since(received.head)?;
        for id in received.loose.iter().filter(|id| !needed.contains(id)) {
            durable::remove_file(&self.loose_path(*id))?;
        }
        if let Some(stem) = &received.pack {
            let mut kept = Vec::new();
            for id in &needed {
                if let Some((kind, content)) = self.find(*id)? {
                    kept.push(NewObject { kind, id: id.0, content });
                }
            }
            self.remove_pack(stem)?;
            self.reload()?;
            self.write_objects(&kept)?;
        }
        self.reload()
    }

    /// The objects of the commits that `main` got since `head`.
    fn needed_since(&self, head: Option<CommitId>) -> Result<HashSet<ObjectId>> {
        let mut needed = HashSet::new();
        if let Some(now) = self.head()?
            && Some(now) != head
        {
            let history = self.new_history(now, head.as_slice())?;
            needed.extend(history.commits.iter().map(|step| ObjectId::from(step.id)));
            needed.extend(self.new_objects(&history)?.into_iter().map(|(id, _)| id));
        }
        Ok(needed)
    }

    fn store_small(&mut self, table: &PackTable, bytes: &[u8]) -> Result<(Vec<ObjectId>, Option<String>)> {
        let mut objects = Vec::with_capacity(table.entries.len());
        resolve(
            table,
            bytes,
            PackLimits::SMALL,
            &mut |id| self.find(id).ok().flatten(),
            Some(&mut |object| objects.push(object)),
        )?;
        objects.retain(|object: &NewObject| !self.contains(ObjectId(object.id)));
        if objects.len() <= MAX_EXPLODED {
            return Ok((self.write_objects(&objects)?, None));
        }
        let mut new = NewPack::create(self, objects.len())?;
        for object in &objects {
            new.add(self, object)?;
        }
        Ok((Vec::new(), new.finish(self)?.if_new()))
    }

    fn store_large(&mut self, table: &PackTable, mut file: TemporaryFile) -> Result<Option<String>> {
        let ids = resolve(table, &file, PackLimits::FETCH, &mut |_| None, None)?;
        let entries = ids
            .into_iter()
            .zip(&table.entries)
            .map(|(id, entry)| (id, WrittenEntry { offset: entry.offset, crc32: entry.crc32 }));
        file.force()?;
        Ok(self.add_pack(file, entries.collect(), table.checksum)?.if_new())
    }

    /// Puts a written and forced pack into place, its index last, as that makes it visible.
    pub(super) fn add_pack(
        &mut self,
        file: TemporaryFile,
        entries: Vec<(ObjectId, WrittenEntry)>,
        checksum: [u8; 20],
    ) -> Result<AddedPack> {
        let stem = format!("pack-{}", ObjectId(checksum));
        let folder = self.pack_folder();
        let index = folder.join(format!("{stem}.idx"));
        if index.exists() {
            return Ok(AddedPack { stem, new: false });
        }
        let pack = folder.join(format!("{stem}.pack"));
        let temporary = folder.join(format!("{TEMPORARY}idx_{stem}"));
        let placed = durable::write_temporary(&temporary, &index_bytes(entries, checksum))
            .and_then(|()| file.keep_as(&pack))
            .and_then(|()| durable::rename(&temporary, &index));
        if placed.is_err() && !index.exists() {
            durable::remove_file(&temporary)?;
            durable::remove_file(&pack)?;
        }
        placed?;
        self.reload()?;
        Ok(AddedPack { stem, new: true })
    }

    /// Removes a pack, its index first, so that no index is ever without its pack.
    pub(super) fn remove_pack(&self, stem: &str) -> Result<()> {
        for ending in ["idx", "pack"] {
            durable::remove_file(&self.pack_folder().join(format!("{stem}.{ending}")))?;
        }
        durable::force_folder(&self.pack_folder())
    }
}

/// A pack that is in place.
pub(super) struct AddedPack {
    /// Its name without ending.
    pub(super) stem: String,
    /// Whether it was not there before.
    new: bool,
}

impl AddedPack {
    fn if_new(self) -> Option<String> {
        self.new.then_some(self.stem)
    }
}

/// A pack of our own being written to disk.
pub(super) struct NewPack {
    file: TemporaryFile,
    writer: PackWriter,
    entries: HashMap<ObjectId, WrittenEntry>,
}

impl NewPack {
    pub(super) fn create(repository: &Repository, objects: usize) -> Result<Self> {
        let objects = u32::try_from(objects)
            .map_err(|_| RepositoryError::TooMany { what: "objects", limit: u32::MAX as usize })?;
        let mut header = Vec::new();
        let writer = PackWriter::new(objects, &mut header);
        let mut file = TemporaryFile::create(&repository.pack_folder())?;
        file.write(&header)?;
        Ok(Self { file, writer, entries: HashMap::new() })
    }

    pub(super) fn add(&mut self, repository: &Repository, object: &NewObject) -> Result<()> {
        let mut bytes = Vec::new();
        let entry = self
            .writer
            .object(object.kind, &object.content, &mut bytes)
            .map_err(|error| repository.store_error(&error))?;
        self.entries.insert(ObjectId(object.id), entry);
        self.file.write(&bytes)
    }

    pub(super) fn finish(mut self, repository: &mut Repository) -> Result<AddedPack> {
        let mut trailer = Vec::new();
        let checksum = self.writer.finish(&mut trailer).map_err(|error| repository.store_error(&error))?;
        self.file.write(&trailer)?;
        self.file.force()?;
        repository.add_pack(self.file, self.entries.into_iter().collect(), checksum)
    }
}

/// A file that disappears unless it is kept.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    file: File,
    path: Option<PathBuf>,
}

impl TemporaryFile {
    fn create(folder: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{TEMPORARY}pack_{}_{number}", std::process::id()));
        let file = durable::create_file(&path).map_err(at(&path))?;
        Ok(Self { file, path: Some(path) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        self.file.write_all(bytes).map_err(at(path))
    }

    fn force(&mut self) -> Result<()> {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        self.file.sync_all().map_err(at(path))
    }

    fn keep_as(mut self, path: &Path) -> Result<()> {
        if let Some(temporary) = &self.path {
            durable::rename(temporary, path)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If it cannot be removed now, opening the repository removes it.
            let _ = fs::remove_file(path);
        }
    }
}

impl PackSource for TemporaryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
