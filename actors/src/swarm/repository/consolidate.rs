//! Putting many small files into one pack, while others read and write.
//!
//! A message is one or a few loose objects of one disk block each; in a pack it takes a fifth.
//! Packs grow in steps: a new one takes in the smaller ones, so that there are only ever about as
//! many as the history has digits, and every object is rewritten only so often.
//!
//! ```text
//!   begin    repository held    nobody else packs
//!   pack                        a pack of what is loose and of small packs, put in place
//!   adopt    repository held    read from now on; the indexes of the old packs go
//!   remove                      the old packs and the loose objects go
//! ```
//!
//! The repository is held for instants only. What is written meanwhile stays loose. Each step is on
//! disk before the next, so a crash at any instant leaves every object in at least one place, and the
//! first packing after the repository was opened finds what is in two.

use std::borrow::BorrowMut;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use skep_protocol::ids::ObjectId;
use skep_protocol::swarm::object::NewObject;

use super::loose::{loose_ids, loose_path};
use super::object_store::indices;
use super::staging::{NewPack, indexed_ids};
use super::{Repository, RepositoryError, Result, durable, pack_folder};

/// Loose objects that are left alone: half a MiB of disk at one block each.
pub(super) const MAX_LOOSE: usize = 128;

/// Packs that are left alone; a fetch of many messages brings one.
pub(super) const MAX_PACKS: usize = 16;

/// A pack is taken in if it has at most so many times the objects gathered so far.
const GROWTH: usize = 2;

/// What came of consolidating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Consolidation {
    /// Objects were packed.
    Done,
    /// There are few files.
    Nothing,
    /// Objects were packed, but something reads the old files: try again later.
    Viewed,
}

/// A repository that may have several users, each of whom can have it alone for single operations.
pub trait Exclusive {
    /// Uses it alone for one operation.
    fn exclusive<T>(&self, operation: impl FnOnce(&mut Repository) -> T) -> T;
}

/// One that only this thread uses.
impl<R: BorrowMut<Repository>> Exclusive for RefCell<R> {
    fn exclusive<T>(&self, operation: impl FnOnce(&mut Repository) -> T) -> T {
        operation((*RefCell::borrow_mut(self)).borrow_mut())
    }
}

/// Packs loose objects and small packs if there are more than `MAX_LOOSE` or `MAX_PACKS`. That may take
/// minutes; the repository is held for instants of them. Old files stay while what was fetched is being
/// validated, as that reads them.
///
/// # Errors
/// What the system says, or when an object is damaged; nothing is lost then.
pub fn consolidate(repository: &impl Exclusive) -> Result<Consolidation> {
    let Some(packing) = repository.exclusive(|repository| repository.begin_packing()) else {
        return Ok(Consolidation::Nothing);
    };
    let Some(packed) = packing.pack()? else { return Ok(Consolidation::Nothing) };
    let Some(surplus) = repository.exclusive(|repository| repository.adopt_packed(packed))? else {
        return Ok(Consolidation::Viewed);
    };
    surplus.remove(repository)?;
    Ok(Consolidation::Done)
}

/// Whether files may be here all of whose objects are in a pack as well, as a crash can leave them.
/// Shared by a repository and whoever packs it, of whom there is one at a time.
#[derive(Debug)]
pub(super) struct Untidy(AtomicBool);

impl Default for Untidy {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

/// The right to pack.
#[derive(Debug)]
pub(super) struct Packing {
    repository: PathBuf,
    untidy: Arc<Untidy>,
}

/// What is in packs, and in their place, as well as in these files.
#[derive(Debug)]
pub(super) struct Packed(Surplus);

/// Files that nobody reads any more.
#[derive(Debug)]
pub(super) struct Surplus {
    packing: Packing,
    loose: Vec<ObjectId>,
    /// Packs by name, without ending.
    packs: Vec<String>,
}

/// What there is to pack.
struct Files {
    /// Loose objects that are in no pack.
    loose: BTreeSet<ObjectId>,
    /// Loose objects that are in one.
    twice: BTreeSet<ObjectId>,
    /// Packs that have something of their own, smallest first.
    packs: Vec<Pack>,
    /// Packs all of whose objects are in a larger one.
    covered: Vec<String>,
}

/// The name of a pack without ending, and what is in it, in order.
pub(super) type Pack = (String, Vec<ObjectId>);

impl Repository {
    /// Begins to pack; none if somebody does already.
    pub(super) fn begin_packing(&self) -> Option<Packing> {
        let packing = Packing { repository: self.path.clone(), untidy: Arc::clone(&self.untidy) };
        (Arc::strong_count(&self.untidy) == 2).then_some(packing)
    }

    /// Reads from new packs from now on; none if somebody reads the old files still.
    pub(super) fn adopt_packed(&mut self, packed: Packed) -> Result<Option<Surplus>> {
        if self.is_viewed() {
            return Ok(None);
        }
        let Packed(surplus) = packed;
        // Without its index a pack is seen by nobody, so whoever comes next reads from the new ones.
        for stem in &surplus.packs {
            durable::remove_file(&self.pack_folder().join(format!("{stem}.idx")))?;
        }
        self.reload()?;
        Ok(Some(surplus))
    }

    /// The names of all packs and the ids in them, smallest first.
    #[cfg(test)]
    pub(super) fn packs(&self) -> Result<Vec<Pack>> {
        packs(&self.path)
    }
}

impl Packing {
    /// Writes a pack and puts it in its place; none if there is nothing to do.
    pub(super) fn pack(self) -> Result<Option<Packed>> {
        let few = loose_ids(&self.repository)?.len() <= MAX_LOOSE && self.count_packs()? <= MAX_PACKS;
        if few && !self.untidy.0.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Files { loose, twice, packs, covered } = Files::list(&self.repository)?;
        let mut surplus = Surplus { packing: self, loose: twice.into_iter().collect(), packs: covered };
        if loose.len() > MAX_LOOSE || packs.len() > MAX_PACKS {
            surplus.loose.extend(&loose);
            let (gathered, absorbed) = gather(loose, packs);
            let added = write(&surplus.packing.repository, &gathered)?;
            surplus.packs.extend(absorbed.into_iter().filter(|stem| *stem != added));
        }
        if surplus.loose.is_empty() && surplus.packs.is_empty() {
            surplus.packing.untidy.0.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        surplus.packing.untidy.0.store(true, Ordering::Relaxed);
        // Whoever placed what makes files superfluous may have come no further.
        durable::force_folder(&pack_folder(&surplus.packing.repository))?;
        Ok(Some(Packed(surplus)))
    }

    fn count_packs(&self) -> Result<usize> {
        Ok(indices(&self.repository)?.len())
    }
}

impl Surplus {
    /// Removes the files. The repository may go on meanwhile; it is held while packs are removed, for one
    /// of the same objects may come from a peer.
    pub(super) fn remove(self, repository: &impl Exclusive) -> Result<()> {
        let Self { packing, loose, packs } = self;
        let folder = pack_folder(&packing.repository);
        if !packs.is_empty() {
            // No index may ever be without its pack.
            durable::force_folder(&folder)?;
            repository.exclusive(|_| remove_unindexed(&folder, &packs))?;
        }
        for id in loose {
            durable::remove_file(&loose_path(&packing.repository, id))?;
        }
        packing.untidy.0.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Removes those of the packs that nobody sees, as they have no index.
fn remove_unindexed(folder: &Path, packs: &[String]) -> Result<()> {
    for stem in packs {
        if !folder.join(format!("{stem}.idx")).exists() {
            durable::remove_file(&folder.join(format!("{stem}.pack")))?;
        }
    }
    Ok(())
}

impl Files {
    fn list(repository: &Path) -> Result<Self> {
        // What is written or admitted after this is left alone.
        let loose = loose_ids(repository)?;
        let mut packs = packs(repository)?;
        let (twice, loose) = loose.into_iter().partition(|id| packs.iter().any(|pack| has(pack, id)));
        let mut covered = Vec::new();
        for place in (0..packs.len()).rev() {
            let (smaller, larger) = packs.split_at(place + 1);
            let is_covered =
                |pack: &Pack| larger.iter().any(|larger| pack.1.iter().all(|id| has(larger, id)));
            if smaller.last().is_some_and(is_covered) {
                covered.push(packs.remove(place).0);
            }
        }
        Ok(Self { loose, twice, packs, covered })
    }
}

fn has(pack: &Pack, id: &ObjectId) -> bool {
    pack.1.binary_search(id).is_ok()
}

/// Adds small packs to what is loose. Returns all ids and the names of the packs.
fn gather(loose: BTreeSet<ObjectId>, packs: Vec<Pack>) -> (BTreeSet<ObjectId>, Vec<String>) {
    let too_many_packs = packs.len() > MAX_PACKS;
    let (mut gathered, mut absorbed) = (loose, Vec::new());
    for (stem, ids) in packs {
        let few = ids.len() <= gathered.len().saturating_mul(GROWTH);
        // With too many packs at least the two smallest are joined.
        if !few && (!too_many_packs || absorbed.len() >= 2) {
            break;
        }
        gathered.extend(ids);
        absorbed.push(stem);
    }
    (gathered, absorbed)
}

/// Writes a pack of these objects and puts it in its place. Returns its name without ending.
fn write(repository: &Path, ids: &BTreeSet<ObjectId>) -> Result<String> {
    // Opened after the files were listed, so that it sees all of them.
    let reader = Repository::reader(repository)?;
    let mut pack = NewPack::create(&reader, ids.len())?;
    for id in ids {
        let (kind, content) = reader.find(*id)?.ok_or(RepositoryError::MissingObject(*id))?;
        pack.add(&reader, &NewObject { kind, id: id.0, content })?;
    }
    pack.finish(&reader)?.put_in_place(repository)
}

/// The names of all packs and the ids in them, smallest first.
fn packs(repository: &Path) -> Result<Vec<Pack>> {
    let folder = pack_folder(repository);
    let mut packs = Vec::new();
    for name in indices(repository)? {
        if let Some(stem) = name.strip_suffix(".idx") {
            packs.push((stem.to_owned(), indexed_ids(&folder.join(&name))?));
        }
    }
    packs.sort_by_key(|(_, ids)| ids.len());
    Ok(packs)
}
