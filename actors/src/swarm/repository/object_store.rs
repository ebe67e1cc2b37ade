//! The object store of gix: opened so that what it does not find is not there, and closed while nobody needs
//! it, for an open one costs eighty kilobytes and a file for each pack.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use skep_protocol::ids::ObjectId;

use super::durable::{self, at};
use super::{RepositoryError, Result, git_id, pack_folder};
use crate::swarm::damage::refusal_of_system;

/// The id of no object: looking it up takes a look at all packs.
const NOTHING: ObjectId = ObjectId([0xff; 20]);

/// `EAGAIN`: what the system refused a moment ago it may grant now.
const TRY_AGAIN: i32 = 11;

/// An object store, open or not.
#[derive(Clone, Debug)]
pub(super) struct ObjectStore {
    path: PathBuf,
    git: OnceCell<gix::Repository>,
}

impl ObjectStore {
    /// Opens the store of a repository. It sees what is there now.
    pub(super) fn open(repository: &Path) -> Result<Self> {
        Ok(Self { path: repository.to_owned(), git: OnceCell::from(open_git(repository)?) })
    }

    pub(super) fn is_open(&self) -> bool {
        self.git.get().is_some()
    }

    /// Closes it until it is used again. Whatever was cloned from it stays open.
    pub(super) fn close(&mut self) {
        self.git = OnceCell::new();
    }

    /// gix's view of it; opens it if need be.
    pub(super) fn git(&self) -> Result<&gix::Repository> {
        if let Some(git) = self.git.get() {
            return Ok(git);
        }
        let git = open_git(&self.path)?;
        Ok(self.git.get_or_init(|| git))
    }

    /// Lets it see these objects, too, which are not on disk.
    pub(super) fn show(&mut self, objects: gix::odb::memory::Storage) -> Result<()> {
        self.git()?;
        if let Some(git) = self.git.get_mut() {
            git.objects.set_object_memory(objects);
        }
        Ok(())
    }
}

/// Opens the object store without looking at the environment or at anybody's configuration.
fn open_git(path: &Path) -> Result<gix::Repository> {
    let indices = indices(path)?;
    let options = gix::open::Options::isolated().open_path_as_is(true).with(gix::sec::Trust::Full);
    let mut git = gix::open_opts(path, options).map_err(|error| refused(path, &error))?;
    // The owner alone writes and reloads, so a missing object is missing: do not look again.
    git.objects.refresh_never();
    // An index that cannot be loaded is passed over in silence, and never tried again.
    let _ = git.has_object(git_id(NOTHING));
    let metrics = git.objects.store_ref().metrics();
    let loaded = metrics.open_reachable_indices;
    if loaded < metrics.known_reachable_indices || loaded < indices.len() {
        return Err(why_not_loaded(path, &indices));
    }
    Ok(git)
}

/// The names of the indices of packs, in order; one without its pack says nothing of what is here.
pub(super) fn indices(path: &Path) -> Result<Vec<String>> {
    let mut names = durable::file_names(&pack_folder(path))?;
    let packs: Vec<_> = names.iter().filter(|name| name.ends_with(".pack")).cloned().collect();
    names.retain(|name| {
        name.strip_suffix(".idx").is_some_and(|stem| packs.binary_search(&format!("{stem}.pack")).is_ok())
    });
    Ok(names)
}

/// Whether an index is damaged, or the system has no files or memory left.
fn why_not_loaded(path: &Path, indices: &[String]) -> RepositoryError {
    for name in indices {
        let index = pack_folder(path).join(name);
        if let Err(error) = File::open(&index) {
            return at(&index)(error);
        }
        if let Err(error) = gix::odb::pack::index::File::at(&index, gix::hash::Kind::Sha1) {
            return refused(&index, &error);
        }
    }
    at(path)(io::Error::from_raw_os_error(TRY_AGAIN))
}

fn refused(path: &Path, error: &(dyn std::error::Error + 'static)) -> RepositoryError {
    match refusal_of_system(error).and_then(io::Error::raw_os_error) {
        Some(number) => at(path)(io::Error::from_raw_os_error(number)),
        None => RepositoryError::Store { path: path.to_owned(), message: error.to_string() },
    }
}
