//! The log of registrations on disk: appended to, forced to disk, cut to what is whole.
//!
//! All functions block.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use skep_protocol::names::{LogError, MAX_LOG, NameRegistry, new_log};

use crate::storage::{force_folder, make_folder};

/// Name of the log in its folder.
const FILE: &str = "names.log";

/// Why the names cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system says no.
    #[error("{path}: {error}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What it says.
        #[source]
        error: io::Error,
    },
    /// Another server has it.
    #[error("{0} belongs to another name server that is running; stop that one, or name another folder")]
    Locked(PathBuf),
    /// The log is damaged, or none.
    #[error("{path}: {error}")]
    Log {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: LogError,
    },
}

/// The log, open and locked.
#[derive(Debug)]
pub struct NameStore {
    file: File,
    /// Length of what is whole; a record that could not be written does not count.
    length: u64,
    /// Whether what could not be written is still there.
    is_torn: bool,
}

impl NameStore {
    /// Opens the log in a folder, or makes one, and reads it. A torn tail is cut off.
    ///
    /// # Errors
    /// Why the names cannot be served.
    pub fn open(folder: &Path) -> Result<(Self, NameRegistry), StoreError> {
        let path = folder.join(FILE);
        let disk = |error| StoreError::Disk { path: path.clone(), error };
        make_folder(folder).map_err(disk)?;
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        let mut file = file.map_err(disk)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::Locked(path)),
            Err(error) => return Err(disk(error.into())),
        }
        let mut log = Vec::new();
        let bound = u64::try_from(MAX_LOG).unwrap_or(u64::MAX).saturating_add(1);
        (&mut file).take(bound).read_to_end(&mut log).map_err(disk)?;
        let (registry, whole) =
            NameRegistry::open(&log).map_err(|error| StoreError::Log { path: path.clone(), error })?;
        if whole < log.len() {
            tracing::warn!(path = %path.display(), bytes = log.len() - whole, "a torn registration is cut off");
        }
        let mut store =
            Self { file, length: u64::try_from(whole).unwrap_or(u64::MAX), is_torn: whole < log.len() };
        store.mend().map_err(disk)?;
        if whole == 0 {
            store.append(new_log()).map_err(disk)?;
            force_folder(folder).map_err(disk)?;
        }
        Ok((store, registry))
    }

    /// Appends to the log and forces it to disk. If that fails nothing of it stays.
    ///
    /// # Errors
    /// What the system says.
    pub fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.mend()?;
        self.is_torn = true;
        self.file.write_all(record)?;
        self.file.sync_data()?;
        self.length = self.length.saturating_add(u64::try_from(record.len()).unwrap_or(u64::MAX));
        self.is_torn = false;
        Ok(())
    }

    /// Cuts off what is not whole.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.file.sync_data()?;
            self.is_torn = false;
        }
        Ok(())
    }
}
