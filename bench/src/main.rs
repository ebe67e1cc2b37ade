//! `skep-bench`: measures Skep, beside the real daemon where it is installed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use skep_bench::{BenchError, Progress, devices, dht, file, group, node};
use tokio::signal::unix::{SignalKind, signal};

/// Measures Skep, beside the real daemon where it is installed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Nodes that talk, nodes at rest, and long conversations; writes target/bench/node.json
    Node(node::Options),
    /// A new device of an account with many contacts and conversations; writes target/bench/devices.json
    Devices(devices::Options),
    /// Nodes on Jami's DHT, half of them real; writes target/bench/dht.json
    Dht(dht::Options),
    /// A large file between two nodes; writes target/bench/file.json
    File(file::Options),
    /// Groups of many processes, a group of a thousand, and what groups cost; writes target/bench/group.json
    Group(group::Options),
}

/// Exit code of an interrupted program: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

// One thread, so that children started by it live as long as the program.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let progress: Progress = |line| eprintln!("{line}");
    let measured = async {
        match command {
            Command::Node(options) => node::run(&options, progress).await,
            Command::Devices(options) => devices::run(options, progress).await,
            Command::Dht(options) => dht::run(&options, progress).await,
            Command::File(options) => file::run(options, progress).await,
            Command::Group(options) => group::run(&options, progress).await,
        }
    };
    // Dropping the run ends its children and deletes its namespaces.
    let result = tokio::select! {
        result = measured => result,
        () = stopped() => Err(BenchError::Interrupted),
    };
    match result {
        Ok(outcome) => {
            println!("{}written to {}", outcome.table, outcome.file.display());
            if outcome.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(BenchError::Interrupted) => {
            eprintln!("skep-bench: interrupted");
            // What computes on another thread has nothing to clean up and would be waited for.
            std::process::exit(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("skep-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until the user or the system wants the program to end.
async fn stopped() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => (),
        _ = terminate.recv() => (),
    }
}
