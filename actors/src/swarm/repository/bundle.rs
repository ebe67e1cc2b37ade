//! Importing and exporting a git bundle: a whole repository in one file.
//!
//! ```text
//!   # v2 git bundle
//!   <40 hex> refs/heads/main
//!   <40 hex> HEAD
//!                              an empty line, then a pack
//! ```

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use skep_protocol::ids::CommitId;

use super::durable::{self, at};
use super::{Access, Repository, RepositoryError, Result};

/// Ending of a bundle that is being written.
const UNFINISHED: &str = "tmp";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Longest header line in bytes.
const MAX_LINE: u64 = 4096;

/// Most header lines.
const MAX_LINES: usize = 10_000;

/// Bytes of the pack read at a time.
const READ_BUFFER: usize = 64 * 1024;

/// Writes the whole history of `main` to the new file `path`, which appears whole or not at all and is
/// readable by the owner alone. The repository is held for an instant only. Returns the head and the
/// length of the file in bytes.
///
/// # Errors
/// [`RepositoryError::AlreadyExists`] when there is something at `path`, [`RepositoryError::Empty`], or
/// what the system says; no file is left then.
pub fn export_bundle(repository: &impl Access, path: &Path) -> Result<(CommitId, u64)> {
    let (head, view) =
        repository.access(|repository| repository.head().map(|head| (head, repository.view())))?;
    let head = head.ok_or_else(|| RepositoryError::Empty(view.path().to_owned()))?;
    if fs::symlink_metadata(path).is_ok() {
        return Err(RepositoryError::AlreadyExists(path.to_owned()));
    }
    // A name of its own: somebody else may be writing to the same place.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unfinished = durable::beside(path, &format!("{}-{number}.{UNFINISHED}", std::process::id()));
    let written = view.write_bundle(head, &unfinished).and_then(|length| {
        durable::rename(&unfinished, path)?;
        Ok((head, length))
    });
    if written.is_err() {
        durable::remove_file(&unfinished)?;
    }
    written
}

impl Repository {
    /// Makes a repository at the free place `path` from the bundle file `bundle`. Its commits are
    /// complete but not validated.
    ///
    /// # Errors
    /// [`RepositoryError::Bundle`] when the file is none, or needs or lacks commits;
    /// [`RepositoryError::Pack`] when its pack is refused. No repository is left then.
    pub fn import_bundle(bundle: &Path, path: &Path) -> Result<Self> {
        let unfinished = durable::beside(path, "import");
        durable::remove_folder(&unfinished)?;
        let imported = Self::create(&unfinished).and_then(|repository| repository.fill(bundle));
        match imported {
            Ok(repository) => repository.move_to(path),
            Err(error) => {
                durable::remove_folder(&unfinished)?;
                Err(error)
            }
        }
    }

    fn write_bundle(&self, head: CommitId, path: &Path) -> Result<u64> {
        let mut file = durable::create_file(path).map_err(at(path))?;
        let header = format!("# v2 git bundle\n{head} refs/heads/main\n{head} HEAD\n\n");
        file.write_all(header.as_bytes()).map_err(at(path))?;
        let mut pack = self.pack_stream(head, &[])?;
        while let Some(bytes) = pack.next_bytes(self)? {
            file.write_all(&bytes).map_err(at(path))?;
        }
        file.sync_all().map_err(at(path))?;
        Ok(file.metadata().map_err(at(path))?.len())
    }

    fn fill(mut self, bundle: &Path) -> Result<Self> {
        let file = File::open(bundle).map_err(at(bundle))?;
        let mut reader = BufReader::with_capacity(READ_BUFFER, file);
        let head = read_header(&mut reader, bundle)?;
        let mut receiver = self.receive_pack();
        loop {
            let bytes = reader.fill_buf().map_err(at(bundle))?;
            if bytes.is_empty() {
                break;
            }
            receiver.receive(bytes)?;
            let used = bytes.len();
            reader.consume(used);
        }
        let mut quarantine = receiver.store(&self)?;
        quarantine.keep_needed(head)?;
        self.admit(quarantine)?;
        self.move_main(None, head)?;
        Ok(self)
    }
}

/// Reads up to the pack; returns the commit of `main`.
fn read_header(reader: &mut impl BufRead, path: &Path) -> Result<CommitId> {
    let refuse = |what| RepositoryError::Bundle { path: path.to_owned(), what };
    let mut head = None;
    for number in 0..MAX_LINES {
        let mut line = Vec::new();
        reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(at(path))?;
        let line = line.strip_suffix(b"\n").ok_or_else(|| refuse("its header is cut off"))?;
        let line = std::str::from_utf8(line).map_err(|_| refuse("its header is no text"))?;
        match line {
            "# v2 git bundle" | "# v3 git bundle" if number == 0 => {}
            _ if number == 0 => return Err(refuse("it does not begin like one")),
            "" => return head.ok_or_else(|| refuse("it has no branch main")),
            "@object-format=sha1" => {}
            _ if line.starts_with('@') => return Err(refuse("it needs an unknown extension")),
            _ if line.starts_with('-') => return Err(refuse("it is not a whole repository")),
            _ => {
                if let Some((id, "refs/heads/main")) = line.split_once(' ') {
                    head = Some(id.parse().map_err(|_| refuse("its branch main is no commit"))?);
                }
            }
        }
    }
    Err(refuse("its header has too many lines"))
}
