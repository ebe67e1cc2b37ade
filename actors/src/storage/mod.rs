//! State on disk: small files that are replaced whole, and local snapshots.
//!
//! A file is written beside its place, forced to disk, renamed over it, and the folder is forced to
//! disk too: after a crash at any instant it holds the old content or the new one. All functions
//! block; actors call them on the [`crate::blocking`] pool.

pub mod snapshot;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Ending of files that were being written when the node died; removed by [`sweep`].
const TEMPORARY: &str = "tmp";

/// Makes a folder and those above it, readable by the owner alone.
///
/// # Errors
/// What the system says.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file's content durably; the file is readable by the owner alone.
///
/// # Errors
/// What the system says, for example that the disk is full; the old content is then still there.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_as_of(path, content, None)
}

/// As [`replace`], as if it had been written at `time`.
///
/// # Errors
/// As [`replace`].
pub fn replace_dated(path: &Path, content: &[u8], time: SystemTime) -> io::Result<()> {
    replace_as_of(path, content, Some(time))
}

fn replace_as_of(path: &Path, content: &[u8], time: Option<SystemTime>) -> io::Result<()> {
    let temporary = temporary_name(path);
    let written = write_durably(&temporary, content, time).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What was written in part must not stay on a disk that is full.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    path.parent().map_or(Ok(()), force_folder)
}

/// Reads a file of at most `limit` bytes; none if there is no such file.
///
/// # Errors
/// What the system says, or [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(bound.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() > limit {
        let message = format!("{} is larger than {limit} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Some(content))
}

/// Removes a file durably, if it is there.
///
/// # Errors
/// What the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), force_folder)
}

/// Removes what an interrupted [`replace`] left in a folder.
///
/// # Errors
/// What the system says.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == TEMPORARY) && path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Forces a folder's entries to disk.
///
/// # Errors
/// What the system says.
pub fn force_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn write_durably(path: &Path, content: &[u8], time: Option<SystemTime>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if let Some(time) = time {
        file.set_modified(time)?;
    }
    file.sync_all()
}

fn temporary_name(path: &Path) -> PathBuf {
    /// Told apart, so that two writers of one file do not rename each other's half.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{TEMPORARY}", WRITES.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(read(&path, 10).unwrap(), None);
        replace(&path, &[0; 11]).unwrap();
        assert_eq!(read(&path, 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_a_crash_left_is_swept_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"old").unwrap();
        fs::write(temporary_name(&path), b"half of the n").unwrap();
        sweep(folder.path()).unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_content_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"old").unwrap();
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(replace(&folder.path().join("taken"), b"new").is_err());
        assert!(replace(&folder.path().join("missing/state"), b"new").is_err());
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half written is left");
    }
}
