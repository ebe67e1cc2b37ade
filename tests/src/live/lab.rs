//! A private network with a bootstrap `dhtnode`, into which daemons and nodes of Skep are put.
//!
//! ```text
//!   hub 10.78.0.1 ──┬── dhtnode .2 ──┬── jamid ──┬── skep run ── …     a namespace each
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Direction, Feature, Trial};
use crate::daemon::{Bootstrap, Daemon, daemon_version, no_daemons};
use crate::harness::{Failure, Network, NodeSetup, Owner, Place, Result};

/// The laboratory. Dropped, it leaves nothing; drop what runs in it first.
#[derive(Debug)]
pub struct Lab {
    bootstrap: Bootstrap,
    network: Network,
    folder: PathBuf,
    /// The folder, if it is to be deleted.
    _own: Option<TempDir>,
}

impl Lab {
    /// A laboratory of one's own. None where there can be none, after one line that says why.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be set up although it should.
    #[allow(clippy::print_stderr, reason = "whoever reads the output should know that it was skipped")]
    pub fn open() -> Result<Option<Self>> {
        if let Some(obstacle) = no_daemons() {
            eprintln!("skipped, no real daemon can run here: {obstacle}");
            return Ok(None);
        }
        let own = folder()?;
        let lab = Self::open_in(own.path())?;
        Ok(Some(Self { _own: Some(own), ..lab }))
    }

    /// A laboratory that keeps its files in this folder, which stays. See [`no_daemons`] for where there
    /// can be none.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be set up.
    pub fn open_in(folder: &Path) -> Result<Self> {
        let mut network = Network::private()?;
        let bootstrap = Bootstrap::start(&network.place("dhtnode")?, folder)?;
        Ok(Self { bootstrap, network, folder: folder.to_owned(), _own: None })
    }

    /// The folder of everything that runs here.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where DHT nodes join the network: the `dhtnode`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        self.bootstrap.address()
    }

    /// Starts a daemon at a place of its own.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn daemon(&mut self, name: &str) -> Result<Daemon> {
        Daemon::start(self.network.place(name)?, &self.bootstrap, name, &self.folder).await
    }

    /// The same with a microphone and a loudspeaker.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn daemon_with_sound(&mut self, name: &str) -> Result<Daemon> {
        Daemon::start_with_sound(self.network.place(name)?, &self.bootstrap, name, &self.folder).await
    }

    /// A place for something else.
    ///
    /// # Errors
    /// [`Failure`] when there is none left.
    pub fn place(&mut self, name: &str) -> Result<Place> {
        self.network.place(name)
    }

    /// A node of Skep at a place of its own, to be started.
    ///
    /// # Errors
    /// [`Failure`] when there is no place left.
    pub fn skep(&mut self, name: &str) -> Result<NodeSetup> {
        Ok(NodeSetup::new(name, &self.folder).at(self.network.place(name)?))
    }

    /// A node of Skep on Jami's DHT at a place of its own, to be started.
    ///
    /// # Errors
    /// [`Failure`] when there is no place left.
    pub fn skep_on_opendht(&mut self, name: &str) -> Result<NodeSetup> {
        Ok(self.skep(name)?.on("opendht").joining(self.bootstrap.address()))
    }

    /// Parts these places from all others, the `dhtnode` too.
    ///
    /// # Errors
    /// [`Failure::Command`].
    pub fn part(&self, places: &[&Place]) -> Result<()> {
        self.network.part(places.iter().copied()).map(drop)
    }

    /// Joins them to the others again.
    ///
    /// # Errors
    /// [`Failure::Command`].
    pub fn heal(&self, places: &[&Place]) -> Result<()> {
        self.network.heal(places.iter().copied())
    }

    /// Writes a file into the folder of the laboratory.
    ///
    /// # Errors
    /// [`Failure::File`].
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(Failure::file(&path))?;
        Ok(path)
    }

    /// Begins to try a feature with the daemon that is installed.
    pub fn attempt(&self, feature: Feature, direction: Direction) -> Trial {
        Trial::begin(feature, direction, daemon_version())
    }
}

/// A folder for everything that runs in a laboratory. First deletes those of processes that were killed.
fn folder() -> Result<TempDir> {
    let temporary = std::env::temp_dir();
    let failed = |problem| Failure::file(&temporary)(problem);
    for entry in fs::read_dir(&temporary).map_err(failed)?.flatten() {
        if Owner::of(&entry.file_name().to_string_lossy()).is_some_and(|owner| !owner.is_alive()) {
            // Another process may just be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let prefix = Owner::this()?.name("live-");
    tempfile::Builder::new().prefix(&prefix).tempdir_in(&temporary).map_err(failed)
}
