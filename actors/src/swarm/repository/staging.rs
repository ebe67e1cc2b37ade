//! Packs under construction: each in a folder of its own, which goes with all in it unless the pack
//! is put in its place. What a crash leaves is removed when the repository is opened.
//!
//! ```text
//!   quarantine/<process>_<number>/HEAD, refs/                what git wants to see in a repository
//!                                /objects/info/alternates    the objects of the repository above
//!                                /objects/pack/              one pack and its index
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use skep_protocol::ids::ObjectId;
use skep_protocol::swarm::git::pack::index::index_bytes;
use skep_protocol::swarm::git::pack::resolve::PackSource;
use skep_protocol::swarm::git::pack::write::{PackWriter, WrittenEntry};
use skep_protocol::swarm::object::NewObject;

use super::alike::Alike;
use super::durable::{self, QUARANTINE, at};
use super::{HEAD, Repository, RepositoryError, Result, pack_folder};
use crate::storage;

/// What a pack is called until its checksum is known.
const UNNAMED: &str = "tmp_pack";

/// Where the objects of the repository are, seen from those of a staging folder.
const ALTERNATES: &[u8] = b"../../../objects\n";

/// Largest index read, in bytes: that of some ten million objects.
const MAX_INDEX: usize = 512 * 1024 * 1024;

/// Bytes of an index before its ids: signature, version, counts.
const INDEX_HEADER: usize = 8 + 256 * 4;

/// A folder that git takes for a repository with all objects of the one above it.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
}

impl Staging {
    fn create(repository: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let quarantine = repository.join(QUARANTINE);
        durable::create_folder(&quarantine)?;
        let path = quarantine.join(format!("{}_{number}", std::process::id()));
        // From here on it is removed again, however far it came.
        let staging = Self { path };
        durable::create_folder(&staging.path)?;
        for folder in ["objects", "objects/info", "objects/pack", "refs"] {
            durable::create_folder(&staging.path.join(folder))?;
        }
        for (name, content) in [("HEAD", HEAD), ("objects/info/alternates", ALTERNATES)] {
            let file = staging.path.join(name);
            fs::write(&file, content).map_err(at(&file))?;
        }
        Ok(staging)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join("objects").join("pack").join(name)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If it cannot be removed now, opening the repository removes it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A pack being written.
#[derive(Debug)]
pub(super) struct PackFile {
    file: File,
    path: PathBuf,
    staging: Staging,
}

impl PackFile {
    /// An empty one, staged in the repository at `repository`.
    pub(super) fn create(repository: &Path) -> Result<Self> {
        let staging = Staging::create(repository)?;
        let path = staging.file(UNNAMED);
        let file = durable::create_file(&path).map_err(at(&path))?;
        Ok(Self { file, path, staging })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(at(&self.path))
    }

    /// Completes the pack by its index; both are on disk then.
    pub(super) fn finish(
        self,
        entries: Vec<(ObjectId, WrittenEntry)>,
        checksum: [u8; 20],
    ) -> Result<StagedPack> {
        self.file.sync_all().map_err(at(&self.path))?;
        let stem = format!("pack-{}", ObjectId(checksum));
        let staged = StagedPack { stem, staging: self.staging };
        fs::rename(&self.path, staged.file("pack")).map_err(at(&self.path))?;
        durable::write_temporary(&staged.file("idx"), &index_bytes(entries, checksum))?;
        Ok(staged)
    }
}

impl PackSource for PackFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

/// A pack with its index, on disk but not in its place.
#[derive(Debug)]
pub(super) struct StagedPack {
    stem: String,
    staging: Staging,
}

impl StagedPack {
    /// What git opens to see the pack and the objects of the repository.
    pub(super) fn folder(&self) -> &Path {
        self.staging.path()
    }

    /// The ids of its objects.
    pub(super) fn ids(&self) -> Result<Vec<ObjectId>> {
        indexed_ids(&self.file("idx"))
    }

    /// Puts the pack into its place, the index last, as that makes it visible. Its name is not forced to
    /// disk yet. Returns it without ending.
    pub(super) fn put_in_place(&self, repository: &Path) -> Result<String> {
        let folder = pack_folder(repository);
        let in_place = |ending| folder.join(format!("{}.{ending}", self.stem));
        let (pack, index) = (in_place("pack"), in_place("idx"));
        if !index.exists() || !pack.exists() {
            let from = self.file("idx");
            let placed = durable::rename(&self.file("pack"), &pack)
                .and_then(|()| fs::rename(&from, &index).map_err(at(&from)));
            if placed.is_err() {
                durable::remove_file(&pack)?;
            }
            placed?;
        }
        Ok(self.stem.clone())
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.staging.file(&format!("{}.{ending}", self.stem))
    }
}

/// The ids in the index of a pack.
pub(super) fn indexed_ids(index: &Path) -> Result<Vec<ObjectId>> {
    let bytes = storage::read(index, MAX_INDEX).map_err(at(index))?.unwrap_or_default();
    let ids = bytes.get(INDEX_HEADER - 4..INDEX_HEADER).and_then(|count| {
        let count = usize::try_from(u32::from_be_bytes(count.try_into().ok()?)).ok()?;
        bytes.get(INDEX_HEADER..)?.get(..count.checked_mul(ObjectId::LENGTH)?)
    });
    let message = || "the index of a pack is cut off".to_owned();
    let ids = ids.ok_or_else(|| RepositoryError::Store { path: index.to_owned(), message: message() })?;
    Ok(ids.chunks_exact(ObjectId::LENGTH).filter_map(ObjectId::from_bytes).collect())
}

impl Repository {
    /// Puts a pack into its place and sees it.
    pub(super) fn place(&mut self, staged: &StagedPack) -> Result<()> {
        self.unforced.borrow_mut().insert(self.pack_folder());
        staged.put_in_place(&self.path)?;
        // Also if it was here: whoever placed it may have come no further.
        self.force_names()?;
        self.reload()
    }
}

/// A pack of our own being written to disk.
pub(super) struct NewPack {
    file: PackFile,
    writer: PackWriter,
    entries: HashMap<ObjectId, WrittenEntry>,
    alike: Alike,
}

impl NewPack {
    pub(super) fn create(repository: &Repository, objects: usize) -> Result<Self> {
        let objects = u32::try_from(objects)
            .map_err(|_| RepositoryError::TooMany { what: "objects", limit: u32::MAX as usize })?;
        let mut header = Vec::new();
        let writer = PackWriter::new(objects, &mut header);
        let mut file = PackFile::create(repository.path())?;
        file.write(&header)?;
        Ok(Self { file, writer, entries: HashMap::new(), alike: Alike::default() })
    }

    pub(super) fn add(&mut self, repository: &Repository, object: &NewObject) -> Result<()> {
        let mut bytes = Vec::new();
        let delta = self.alike.delta(object);
        let entry = match &delta {
            Some((base, delta)) => self.writer.delta(*base, delta, &mut bytes),
            None => self.writer.object(object.kind, &object.content, &mut bytes),
        };
        let entry = entry.map_err(|error| repository.store_error(&error))?;
        if delta.is_none() {
            self.alike.learn(object, entry);
        }
        self.entries.insert(ObjectId(object.id), entry);
        self.file.write(&bytes)
    }

    pub(super) fn finish(mut self, repository: &Repository) -> Result<StagedPack> {
        let mut trailer = Vec::new();
        let checksum = self.writer.finish(&mut trailer).map_err(|error| repository.store_error(&error))?;
        self.file.write(&trailer)?;
        self.file.finish(self.entries.into_iter().collect(), checksum)
    }
}
