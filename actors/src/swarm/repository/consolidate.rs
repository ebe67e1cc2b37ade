//! Putting many small files into one pack.
//!
//! A message is one or a few loose objects of one disk block each; in a pack it takes a fifth.
//! Packs grow in steps: a new one takes in the smaller ones, so that there are only ever about as
//! many as the history has digits, and every object is rewritten only so often.

use std::collections::BTreeSet;

use skep_protocol::ids::ObjectId;
use skep_protocol::swarm::object::NewObject;

use super::durable;
use super::staging::{NewPack, indexed_ids};
use super::{Repository, RepositoryError, Result};

/// Loose objects that are left alone: 2 MiB of disk at one block each.
pub(super) const MAX_LOOSE: usize = 512;

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
    /// There are many, but something reads them: try again later.
    Viewed,
}

impl Repository {
    /// Packs loose objects and small packs if there are more than `MAX_LOOSE` or `MAX_PACKS`.
    /// A crash at any instant leaves every object in at least one place. Nothing is done while what
    /// was fetched is being validated, as that reads the files of now.
    ///
    /// # Errors
    /// What the system says, or when an object is damaged; nothing is removed then.
    pub fn consolidate(&mut self) -> Result<Consolidation> {
        let loose = self.loose_ids()?;
        let packs = self.packs()?;
        if loose.len() <= MAX_LOOSE && packs.len() <= MAX_PACKS {
            return Ok(Consolidation::Nothing);
        }
        if self.is_viewed() {
            return Ok(Consolidation::Viewed);
        }
        let too_many_packs = packs.len() > MAX_PACKS;
        let mut gathered: BTreeSet<ObjectId> = loose.iter().copied().collect();
        let mut absorbed = Vec::new();
        for (stem, ids) in packs {
            let few = ids.len() <= gathered.len().saturating_mul(GROWTH);
            // With too many packs at least the two smallest are joined.
            if !few && (!too_many_packs || absorbed.len() >= 2) {
                break;
            }
            gathered.extend(ids);
            absorbed.push(stem);
        }
        let mut pack = NewPack::create(self, gathered.len())?;
        for id in &gathered {
            let (kind, content) = self.find(*id)?.ok_or(RepositoryError::MissingObject(*id))?;
            pack.add(self, &NewObject { kind, id: id.0, content })?;
        }
        let added = self.place(&pack.finish(self)?)?;
        for stem in absorbed.iter().filter(|stem| **stem != added) {
            self.remove_pack(stem)?;
        }
        for id in loose {
            durable::remove_file(&self.loose_path(id))?;
        }
        self.reload()?;
        Ok(Consolidation::Done)
    }

    /// The names of all packs and the ids in them, smallest first.
    pub(super) fn packs(&self) -> Result<Vec<(String, Vec<ObjectId>)>> {
        let mut packs = Vec::new();
        for name in durable::file_names(&self.pack_folder())? {
            if let Some(stem) = name.strip_suffix(".idx") {
                packs.push((stem.to_owned(), indexed_ids(&self.pack_folder().join(&name))?));
            }
        }
        packs.sort_by_key(|(_, ids)| ids.len());
        Ok(packs)
    }
}
