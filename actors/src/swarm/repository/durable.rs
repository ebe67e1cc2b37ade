//! Files and folders that are on disk when a function returns.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{RepositoryError, Result};
use crate::storage;

/// Beginning of the names of files being written; git uses and removes the same.
pub(super) const TEMPORARY: &str = "tmp_";

/// The folder for what is not part of the repository yet.
pub(super) const QUARANTINE: &str = "quarantine";

/// Puts the path into an error of the system.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> RepositoryError + '_ {
    move |source| RepositoryError::Io { path: path.to_owned(), source }
}

/// The path with an ending added to its last part.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

pub(super) fn force_folder(folder: &Path) -> Result<()> {
    storage::force_folder(folder).map_err(at(folder))
}

/// Renames and forces the new name to disk.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(at(from))?;
    to.parent().map_or(Ok(()), force_folder)
}

/// Removes a folder and all in it, if it is there.
pub(super) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file, if it is there.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Makes a folder, if it is not there, and none above it: what was erased does not come back.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Makes a file that must not exist yet.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Writes a temporary file and forces its content to disk.
pub(super) fn write_temporary(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| {
        // What was written in part must not stay on a disk that is full.
        let _ = fs::remove_file(path);
        at(path)(error)
    })
}

/// Names of the files in a folder; none if the folder is not there.
pub(super) fn file_names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(at(folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes what a crash left: what was fetched and not admitted, unfinished files, locks, packs whose
/// index was not put in place yet, and indices without a pack.
pub(super) fn remove_leftovers(repository: &Path) -> Result<()> {
    remove_folder(&repository.join(QUARANTINE))?;
    let objects = repository.join("objects");
    let packs = objects.join("pack");
    let heads = repository.join("refs").join("heads");
    for folder in file_names(&objects)? {
        let folder = objects.join(folder);
        if folder.is_dir() {
            remove_matching(&folder, |name| name.starts_with(TEMPORARY))?;
        }
    }
    remove_matching(&objects, |name| name.starts_with(TEMPORARY))?;
    remove_matching(&heads, |name| name.ends_with(".lock"))?;
    let names = file_names(&packs)?;
    let without = |name: &str, ending: &str, other: &str| {
        name.strip_suffix(ending).is_some_and(|stem| !names.contains(&format!("{stem}{other}")))
    };
    remove_matching(&packs, |name| without(name, ".pack", ".idx") || without(name, ".idx", ".pack"))
}

fn remove_matching(folder: &Path, matches: impl Fn(&str) -> bool) -> Result<()> {
    for name in file_names(folder)? {
        if matches(&name) {
            remove_file(&folder.join(name))?;
        }
    }
    Ok(())
}
