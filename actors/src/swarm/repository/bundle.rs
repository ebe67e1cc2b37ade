//! Importing a git bundle: a whole repository in one file.
//!
//! ```text
//!   # v2 git bundle
//!   <40 hex> refs/heads/main
//!   <40 hex> HEAD
//!                              an empty line, then a pack
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use skep_protocol::ids::CommitId;

use super::durable::{self, at};
use super::{Repository, RepositoryError, Result};

/// Longest header line in bytes.
const MAX_LINE: u64 = 4096;

/// Most header lines.
const MAX_LINES: usize = 10_000;

/// Bytes of the pack read at a time.
const READ_BUFFER: usize = 64 * 1024;

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
