//! The sound server of a daemon: a microphone with a tone, and a loudspeaker that can be listened to.
//!
//! ```text
//!   sine ──► sink mic ──monitor──► daemon ──► sink speaker ──monitor──► parec ──► file
//! ```
//!
//! The microphone is the monitor of a sink: sources of PulseAudio that make sound themselves deliver it in blocks of
//! seconds, of which daemons drop the most.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::process::variables;
use crate::harness::{Failure, Place, Process, Result, find_program, until};

/// The tone that a daemon's microphone hears, in hertz.
pub const DAEMON_TONE: u32 = 440;

/// Samples a second of what is recorded.
pub const DAEMON_RATE: u32 = 48_000;

/// Why daemons have no sound here; `None` if they can have it.
#[must_use]
pub fn no_sound() -> Option<&'static str> {
    let found = ["pulseaudio", "parec"].iter().all(|name| find_program(name).is_some());
    (!found).then_some("not installed (apt-get install pulseaudio pulseaudio-utils)")
}

/// Where the server of a daemon listens.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("sound")
}

/// A sound server. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct SoundServer {
    _process: Process,
}

impl SoundServer {
    /// Starts the server of a daemon at a place, and waits until it listens.
    pub(super) async fn start(name: &str, place: &Place, folder: &Path) -> Result<Self> {
        let (socket, script) = (socket(folder), folder.join("sound.pa"));
        let lines = format!(
            "load-module module-native-protocol-unix socket={} auth-anonymous=1\n\
             load-module module-null-sink sink_name=speaker rate={DAEMON_RATE}\n\
             load-module module-null-sink sink_name=mic rate={DAEMON_RATE}\n\
             load-module module-sine sink=mic frequency={DAEMON_TONE}\n\
             set-default-sink speaker\nset-default-source mic.monitor\n",
            socket.display()
        );
        fs::write(&script, lines).map_err(Failure::file(&script))?;
        let script = script.display().to_string();
        let arguments = [
            "-n",
            "--daemonize=no",
            "--use-pid-file=no",
            "--exit-idle-time=-1",
            "--disable-shm=yes",
            "--high-priority=no",
            "--realtime=no",
            "-F",
            &script,
        ];
        let (program, log) = (Path::new("pulseaudio"), folder.join("sound.log"));
        let process = Process::start(name, place, program, &arguments, &variables(folder), &log)?;
        let listens = async || Ok(UnixStream::connect(&socket).ok());
        until(name, format!("its sound server at {}", socket.display()), listens).await?;
        Ok(Self { _process: process })
    }
}

/// What is heard from a daemon's loudspeaker is written into a file, until this is dropped.
#[derive(Debug)]
pub struct Listening {
    file: PathBuf,
    _process: Process,
}

impl Listening {
    pub(super) fn start(name: &str, place: &Place, folder: &Path) -> Result<Self> {
        let file = folder.join("heard.raw");
        let (rate, path) = (format!("--rate={DAEMON_RATE}"), file.display().to_string());
        let arguments = [
            "--device=speaker.monitor",
            "--format=s16le",
            "--channels=1",
            &rate,
            "--latency-msec=20",
            "--raw",
            &path,
        ];
        let (program, log) = (Path::new("parec"), folder.join("parec.log"));
        let process = Process::start(name, place, program, &arguments, &variables(folder), &log)?;
        Ok(Self { file, _process: process })
    }

    /// The samples so far.
    #[must_use]
    pub fn samples(&self) -> Vec<i16> {
        let bytes = fs::read(&self.file).unwrap_or_default();
        bytes.chunks_exact(2).filter_map(|two| Some(i16::from_le_bytes(two.try_into().ok()?))).collect()
    }
}
