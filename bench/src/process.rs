//! Child processes that never outlive this one.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{field, kibibytes};
use crate::network::Place;
use crate::{BenchError, Result};

/// How long a child may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// How often its end is looked for.
const POLL: Duration = Duration::from_millis(10);

/// A running child. Dropping it ends it; and should this process be killed, the kernel ends it.
///
/// The kernel ties a child to the *thread* that started it, so start children from a thread that
/// stays, such as the main one.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` at `place`, with `variables` beside `PATH` as its whole environment; what it
    /// prints goes to the file `log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        place: &Place,
        program: &Path,
        arguments: &[A],
        variables: &[(&str, String)],
        log: &Path,
    ) -> Result<Self> {
        let output = File::create(log).map_err(BenchError::file(log))?;
        let errors = output.try_clone().map_err(BenchError::file(log))?;
        let mut command = place.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(BenchError::file(program))?;
        Ok(Self { child })
    }

    /// Memory in use, in megabytes of 1,000,000 bytes; zero when it has ended.
    pub(crate) fn resident_megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kibibytes = u32::try_from(kibibytes(&field(&status, "VmRSS"))).unwrap_or(u32::MAX);
        f64::from(kibibytes) * 1024.0 / 1e6
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn end(&mut self) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        if !self.is_running() || kill_process(pid, Signal::TERM).is_err() {
            return;
        }
        let latest = Instant::now() + GRACE;
        while self.is_running() && Instant::now() < latest {
            std::thread::sleep(POLL);
        }
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let said = |output: &[u8]| String::from_utf8_lossy(output).trim().to_owned();
    let output = command.stdin(Stdio::null()).output();
    let failed = |output: String| BenchError::Command { command: format!("{command:?}"), output };
    match output {
        Ok(output) if output.status.success() => Ok(said(&output.stdout)),
        Ok(output) => Err(failed(said(&output.stderr))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Where a program is, if it is installed: on the `PATH`, or at an absolute path.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    #[test]
    fn a_dropped_child_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let place = Network::loopback().place("node").unwrap();
        let log = folder.path().join("log");
        let mut process = Process::start(&place, Path::new("sleep"), &["600"], &[], &log).unwrap();
        assert!(process.is_running());
        let id = process.child.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn a_failed_command_says_what_it_printed() {
        let error = run(Command::new("sh").args(["-c", "echo oh no >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("failed: oh no"), "{error}");
        assert_eq!(run(Command::new("echo").arg("fine")).unwrap(), "fine");
    }
}
