//! The processes: a daemon with its bus, and the bootstrap of the daemons.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::bus::{self, Bus};
use super::sound::{self, Listening, SoundServer};
use super::{DAEMON, Signal};
use crate::harness::{DHT_PORT, EventLog, Failure, Place, Process, Result, show_log_of_failure, until};

/// The bootstrap of a network of daemons.
#[derive(Debug)]
pub struct Bootstrap {
    address: String,
    _process: Process,
}

impl Bootstrap {
    /// Starts a `dhtnode`; its log goes into `folder`.
    ///
    /// # Errors
    /// [`Failure::File`] when it cannot be started.
    pub fn start(place: &Place, folder: &Path) -> Result<Self> {
        let port = DHT_PORT.to_string();
        // With -s it serves instead of reading commands.
        let arguments = ["-p", &port, "-s"];
        let (program, log) = (Path::new("dhtnode"), folder.join("dhtnode.log"));
        let process = Process::start("dhtnode", place, program, &arguments, &[], &log)?;
        Ok(Self { address: format!("{}:{DHT_PORT}", place.address), _process: process })
    }

    /// Where others join.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A daemon with its bus. Dropped, both are killed.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    place: Place,
    folder: PathBuf,
    bootstrap: String,
    // In this order, the bus outlives the daemon.
    pub(super) bus: Bus,
    process: Process,
    _bus_process: Process,
    _sound: Option<SoundServer>,
    /// Whether it was started anew because it stood still.
    pub(super) stood_still: bool,
}

impl Daemon {
    /// Starts a daemon with its bus; its files go into a folder of its name below `folder`.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started or does not appear on its bus.
    pub async fn start(place: Place, bootstrap: &Bootstrap, name: &str, folder: &Path) -> Result<Self> {
        Self::begin(place, bootstrap, name, folder, false).await
    }

    /// The same, with a microphone and a loudspeaker. See [`super::no_sound`] for where there can be none.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_sound(
        place: Place,
        bootstrap: &Bootstrap,
        name: &str,
        folder: &Path,
    ) -> Result<Self> {
        Self::begin(place, bootstrap, name, folder, true).await
    }

    async fn begin(
        place: Place,
        bootstrap: &Bootstrap,
        name: &str,
        folder: &Path,
        with_sound: bool,
    ) -> Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
        let (socket, configuration) = (socket(&folder), folder.join("bus.conf"));
        fs::write(&configuration, bus::configuration(&socket)).map_err(Failure::file(&configuration))?;
        let arguments = [format!("--config-file={}", configuration.display()), "--nofork".to_owned()];
        let (program, log) = (Path::new("dbus-daemon"), folder.join("dbus.log"));
        let bus_process = Process::start(name, &place, program, &arguments, &variables(&folder), &log)?;
        // The socket is there a moment before it is listened on.
        let listens = async || Ok(UnixStream::connect(&socket).ok());
        until(name, format!("its bus at {}", socket.display()), listens).await?;
        let sound = if with_sound { Some(SoundServer::start(name, &place, &folder).await?) } else { None };
        let process = launch(name, &place, &folder)?;
        let bus = Bus::connect(name, &socket).await?;
        let (name, bootstrap) = (name.to_owned(), bootstrap.address.clone());
        Ok(Self {
            name,
            place,
            folder,
            bootstrap,
            bus,
            process,
            _bus_process: bus_process,
            _sound: sound,
            stood_still: false,
        })
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it runs.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// What it has told so far.
    #[must_use]
    pub const fn events(&self) -> &EventLog<Signal> {
        self.bus.events()
    }

    /// Begins to record what comes out of its loudspeaker.
    ///
    /// # Errors
    /// [`Failure::File`] when that cannot be.
    pub fn listen(&self) -> Result<Listening> {
        Listening::start(&self.name, &self.place, &self.folder)
    }

    /// The memory its process uses now, in bytes.
    ///
    /// # Errors
    /// [`Failure::File`] when it has ended.
    pub fn resident(&self) -> Result<usize> {
        self.process.resident()
    }

    /// Kills the daemon: it gets no chance to tidy up. Its bus stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it where it is: its connections stay, and nobody answers on them. Calls to it do not return.
    pub fn halt(&mut self) {
        self.process.halt();
    }

    /// Lets it go on after [`Self::halt`].
    pub fn go_on(&mut self) {
        self.process.go_on();
    }

    /// Starts it again on the same data, and waits until it answers. Killed while it wrote, it leaves locks in
    /// its repositories and never takes another commit there, so these are removed, as people have to.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        remove_locks(&self.accounts())?;
        self.process = launch(&self.name, &self.place, &self.folder)?;
        self.bus.answers().await
    }

    /// Where it keeps its accounts, each in a folder of its local name.
    #[must_use]
    pub fn accounts(&self) -> PathBuf {
        self.folder.join("home/.local/share/jami")
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bootstrap it was given, as accounts are told it.
    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        show_log_of_failure(&self.name, &log(&self.folder));
    }
}

fn launch(name: &str, place: &Place, folder: &Path) -> Result<Process> {
    // -c writes the log to the terminal, -p keeps running without clients.
    let arguments = ["-c", "-p"];
    Process::start(name, place, Path::new(DAEMON), &arguments, &variables(folder), &log(folder))
}

/// Removes the locks of git below a folder, if that is there.
fn remove_locks(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Failure::file(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(Failure::file(folder))?.path();
        if path.is_dir() && !path.is_symlink() {
            remove_locks(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(&path).map_err(Failure::file(&path))?;
        }
    }
    Ok(())
}

pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("jamid.log")
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("bus")
}

/// The environment of a daemon and its bus.
pub(super) fn variables(folder: &Path) -> Vec<(&'static str, String)> {
    let below = |path: &str| folder.join(path).display().to_string();
    vec![
        ("HOME", below("home")),
        ("XDG_CONFIG_HOME", below("home/.config")),
        ("XDG_DATA_HOME", below("home/.local/share")),
        ("XDG_CACHE_HOME", below("home/.cache")),
        ("XDG_RUNTIME_DIR", below("")),
        ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", socket(folder).display())),
        // Where none is, this keeps it from starting one.
        ("PULSE_SERVER", format!("unix:{}", sound::socket(folder).display())),
        ("PULSE_COOKIE", below("sound-cookie")),
        ("PULSE_LATENCY_MSEC", "20".to_owned()),
        ("LC_ALL", "C.UTF-8".to_owned()),
    ]
}
