//! What goes with the tests; see [`Command`].

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use skep_tests::live::{FeatureTable, TableError, results_file};

/// What goes with the tests.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts what the live tests found to work into the read-me
    Features {
        /// The read-me
        #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"))]
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let Arguments { command: Command::Features { file } } = Arguments::parse();
    match put_features(&file) {
        Ok(()) => {
            println!("written to {}", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("skep-tests: {error}");
            ExitCode::FAILURE
        }
    }
}

fn put_features(path: &Path) -> Result<(), TableError> {
    let failed = |problem| TableError::File { path: path.to_owned(), problem };
    let table = FeatureTable::read(&results_file())?;
    let read_me = fs::read_to_string(path).map_err(failed)?;
    fs::write(path, table.put_into(&read_me)?).map_err(failed)
}
