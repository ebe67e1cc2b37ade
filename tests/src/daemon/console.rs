//! A program that takes commands by the line and prints lines.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use crate::harness::{Failure, PATIENCE, Place, Result, child};

/// Lines that wait to be read; what comes beyond waits in the program.
const LINES: usize = 1024;

/// A running program, killed when dropped.
#[derive(Debug)]
pub(super) struct Console {
    program: PathBuf,
    child: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Console {
    /// Starts a program at a place.
    ///
    /// # Errors
    /// [`Failure::File`] when it cannot be started.
    pub(super) fn start(place: &Place, program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::from(child(place, program, arguments, &[]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().map_err(Failure::file(program))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::Expected(format!("a console of {}", program.display())));
        };
        let (sender, lines) = mpsc::channel(LINES);
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { program: program.to_owned(), child, input, lines })
    }

    /// The number of its process.
    ///
    /// # Errors
    /// [`Failure`] when it has ended.
    pub(super) fn process(&self) -> Result<u32> {
        self.child.id().ok_or_else(|| Failure::Expected(format!("{} to run", self.program.display())))
    }

    /// Passes over the lines that wait to be read.
    pub(super) fn skip_waiting(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// Types a line.
    ///
    /// # Errors
    /// [`Failure::File`] when the program has ended.
    pub(super) async fn command(&mut self, line: &str) -> Result<()> {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await.map_err(Failure::file(&self.program))
    }

    /// Reads lines until `find` finds something in one, for [`PATIENCE`] at most.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when it does not, or the program ends before.
    pub(super) async fn until<T>(&mut self, expected: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.within(PATIENCE, find).await.ok_or_else(|| Failure::Timeout {
            node: self.program.display().to_string(),
            expected: expected.to_owned(),
            within: PATIENCE,
        })
    }

    /// As [`Self::until`], but `None` if there is nothing within this time.
    pub(super) async fn within<T>(&mut self, time: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let search = async {
            loop {
                if let Some(found) = find(&self.lines.recv().await?) {
                    return Some(found);
                }
            }
        };
        tokio::time::timeout(time, search).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::run;

    #[test]
    fn a_console_sees_no_environment_of_ours_and_has_a_process_group_of_its_own() {
        run(async {
            // The fifth word of it is the process group.
            let script = "env; cut -d ' ' -f 5 /proc/$$/stat; echo done $$; exec cat";
            let mut console = Console::start(&Place::loopback(), Path::new("sh"), &["-c", script]).unwrap();
            let mut seen = Vec::new();
            loop {
                let line = console.until("a line", |line| Some(line.to_owned())).await.unwrap();
                if let Some(id) = line.strip_prefix("done ") {
                    assert_eq!(seen.last().map(|group: &String| group.trim()), Some(id));
                    break;
                }
                seen.push(line);
            }
            assert!(!seen.iter().any(|line| line.starts_with("CARGO")), "{seen:?}");
        });
    }

    #[test]
    fn what_was_not_read_can_be_passed_over() {
        run(async {
            let mut console = Console::start(&Place::loopback(), Path::new("cat"), &[]).unwrap();
            console.command("late").await.unwrap();
            while console.lines.is_empty() {
                tokio::task::yield_now().await;
            }
            console.skip_waiting();
            console.command("next").await.unwrap();
            assert_eq!(console.until("a line", |line| Some(line.to_owned())).await.unwrap(), "next");
        });
    }
}
