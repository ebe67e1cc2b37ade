//! Other programs: the one under test, and those of the system.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Failure, Result};

/// An example of the embedding library, built beside the program.
///
/// # Errors
/// [`Failure::NoProgram`] when it is not there.
pub fn example(name: &str) -> Result<PathBuf> {
    let path = program()?.with_file_name("examples").join(name);
    if path.is_file() { Ok(path) } else { Err(Failure::NoProgram(path)) }
}

/// The program under test: `SKEP_BIN`, or `skep` in the folder where this program, or the test that
/// runs, was built.
///
/// # Errors
/// [`Failure::NoProgram`] when it is not there.
pub fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("SKEP_BIN").map(PathBuf::from) {
        return if named.is_file() { Ok(named) } else { Err(Failure::NoProgram(named)) };
    }
    let own = std::env::current_exe().map_err(Failure::file("this program".as_ref()))?;
    // Tests are one folder below programs.
    let beside = own.with_file_name("skep");
    let above = own.parent().map(|folder| folder.with_file_name("skep"));
    let found = [Some(beside.clone()), above].into_iter().flatten().find(|path| path.is_file());
    found.ok_or(Failure::NoProgram(beside))
}

/// Where a program is, if it is installed: on the `PATH`, or at an absolute path.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// [`Failure::Command`] when it cannot be run or fails.
pub fn run_to_end(command: &mut Command) -> Result<String> {
    let said = |output: &[u8]| String::from_utf8_lossy(output).trim().to_owned();
    let output = command.stdin(Stdio::null()).output();
    let failed = |output: String| Failure::Command { command: format!("{command:?}"), output };
    match output {
        Ok(output) if output.status.success() => Ok(said(&output.stdout)),
        Ok(output) => Err(failed(said(&output.stderr))),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_says_what_it_printed() {
        let error = run_to_end(Command::new("sh").args(["-c", "echo oh no >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("failed: oh no"), "{error}");
        assert_eq!(run_to_end(Command::new("echo").arg("fine")).unwrap(), "fine");
    }
}
