//! Plays what Skep does; see [`skep_tests::demo`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use skep_tests::demo::Job;

/// Plays what Skep does, with real processes
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    job: Command,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// A bootstrap and three nodes become friends, talk, and one is killed in the middle of it
    Nodes,
    /// Twenty nodes talk in a group while some are killed and, as root, the network is parted and healed
    Group,
    /// One person with three devices: linked, told of each other, a name, a long file, one revoked
    Devices,
    /// Skep and the real daemon become friends on Jami's DHT, talk, and each is killed once; needs root
    Jami,
}

fn main() -> ExitCode {
    match Arguments::parse().job {
        Command::Nodes => Job::Nodes.play(),
        Command::Group => Job::Group.play(),
        Command::Devices => Job::Devices.play(),
        Command::Jami => Job::Jami.play(),
    }
}
