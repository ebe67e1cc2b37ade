//! Child processes that never outlive this one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Failure, PATIENCE, Place, Result, usage};

/// How often its end is looked for.
const POLL: Duration = Duration::from_millis(5);

/// What of this process' environment a child sees; whatever else the caller's shell says, of a node
/// of its own for instance, must not reach it.
const INHERITED: [&str; 3] = ["PATH", "RUST_BACKTRACE", "SKEP_LOG_FILTER"];

/// A running child, killed when dropped; should this process be killed, the kernel kills it.
///
/// The kernel ties a child to the *thread* that started it, so start children from a thread that
/// stays. A child has a process group of its own: an interrupt on the terminal reaches this process
/// only, which then ends its children in order.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program at a place, with these `variables` in its environment; what it prints is added
    /// to the file `log`.
    ///
    /// # Errors
    /// [`Failure::File`] when the log cannot be written or the program not be started.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        place: &Place,
        program: &Path,
        arguments: &[A],
        variables: &[(&str, String)],
        log: &Path,
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log).map_err(Failure::file(log))?;
        let errors = output.try_clone().map_err(Failure::file(log))?;
        let mut command = child(place, program, arguments, variables);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(Failure::file(program))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Kills it, so that it can do nothing more.
    pub fn kill(&mut self) {
        // Once it was waited for, this does nothing: its id may be somebody else's by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Stops it where it is, as a system does that has no time for it; it cannot do anything about that.
    pub fn halt(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::halt`].
    pub fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Interrupts it, as Ctrl-C does.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    fn signal(&mut self, signal: Signal) {
        // Once it was waited for, its number may be another's.
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It fails only if the process has ended, which is then what was wanted.
            let _ = kill_process(pid, signal);
        }
    }

    /// Its memory that is in use now, in bytes.
    ///
    /// # Errors
    /// [`Failure::File`] when the system does not tell.
    pub fn resident(&self) -> Result<usize> {
        usage::resident(self.child.id())
    }

    /// The most memory it has used so far, in bytes.
    ///
    /// # Errors
    /// [`Failure::File`] when the system does not tell.
    pub fn peak(&self) -> Result<usize> {
        usage::peak(self.child.id())
    }

    /// The processor time it has used so far.
    ///
    /// # Errors
    /// [`Failure::File`] when the system does not tell.
    pub fn processor_time(&self) -> Result<Duration> {
        usage::processor_time(self.child.id())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Failure::Timeout`] after [`PATIENCE`].
    pub async fn end(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
        let (node, expected) = (self.name.clone(), "its end".to_owned());
        Err(Failure::Timeout { node, expected, within: PATIENCE })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The command of a child at a place, with these `variables` in its environment: see [`Process`].
pub(crate) fn child<A: AsRef<OsStr>>(
    place: &Place,
    program: &Path,
    arguments: &[A],
    variables: &[(&str, String)],
) -> Command {
    let mut command = place.command("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments).env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(variables.iter().map(|(name, value)| (name, value))).process_group(0);
    command
}

/// Lines of a log that are shown when a test fails.
const LOG_TAIL: usize = 60;

/// Variable of the environment that names a folder in which the logs of failed tests are kept whole.
const KEPT_LOGS: &str = "SKEP_TEST_LOGS";

/// When a test has failed, shows what a node printed last beside it, and keeps all of it where
/// [`KEPT_LOGS`] says.
#[allow(clippy::print_stderr, reason = "this is where a failed test tells why")]
pub(crate) fn show_log_of_failure(node: &str, log: &Path) {
    if !std::thread::panicking() {
        return;
    }
    let text = fs::read(log).unwrap_or_default();
    if let Some(folder) = std::env::var_os(KEPT_LOGS) {
        let kept = Path::new(&folder).join(format!("{}-{node}.log", std::process::id()));
        if let Err(error) = fs::write(&kept, &text) {
            eprintln!("--- {} could not be written: {error}", kept.display());
        }
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(LOG_TAIL)..).unwrap_or_default().join("\n");
    eprintln!("--- the last that {node} logged:\n{tail}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_child_has_ended_and_saw_only_the_environment_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let (script, variables) = ("env; exec sleep 600", [("GIVEN", "yes".to_owned())]);
        let shell = Path::new("sh");
        let mut process =
            Process::start("child", &Place::loopback(), shell, &["-c", script], &variables, &log).unwrap();
        while !fs::read_to_string(&log).unwrap().contains("GIVEN=yes") {
            std::thread::yield_now();
        }
        assert!(!fs::read_to_string(&log).unwrap().contains("CARGO"), "cargo's variables are not passed on");
        assert!(process.ended().is_none() && process.resident().unwrap() > 0);
        let id = process.child.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}
