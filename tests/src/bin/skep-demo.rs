//! Plays the main job; see [`skep_tests::demo`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    skep_tests::demo::main()
}
