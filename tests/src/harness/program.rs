//! Where the program under test is.

use std::path::PathBuf;

use super::{Failure, Result};

/// `SKEP_BIN`, or `skep` in the folder where this program, or the test that runs, was built.
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
