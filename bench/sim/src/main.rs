//! `skep-sim`: simulates the overlays of swarms.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use skep_sim::error::{Result, SimError};
use skep_sim::output;
use skep_sim::scenario::Scenario;

/// Simulates the overlays of swarms: the code that Skep ships, and others, on the same workloads.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario and write what comes of it into a new folder
    Run {
        /// The scenario
        file: PathBuf,
        /// What everything follows from; the scenario's own seed if it is left out
        #[arg(long)]
        seed: Option<u64>,
        /// The folder, which must not be there yet
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// Set an entry of the scenario, as `nodes=500` or `overlay.refresh_s=60`; may be repeated
        #[arg(long, value_name = "ENTRY=VALUE")]
        set: Vec<String>,
    },
    /// Say whether files are scenarios, and what is wrong with those that are not
    Check {
        /// The scenarios
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print what a scenario may hold, as JSON Schema
    Schema,
    /// Print a scenario with every default
    Defaults,
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skep-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Run { file, seed, out, set } => run(&file, seed, &out, &set),
            Self::Check { files } => files.iter().try_for_each(|file| {
                let scenario = Scenario::read(file)?;
                println!("{}: {}, {} nodes, {} s", file.display(), scenario.overlay.name(), scenario.all_nodes(), scenario.duration_s);
                Ok(())
            }),
            Self::Schema => {
                println!("{:#}", Scenario::schema());
                Ok(())
            }
            Self::Defaults => {
                print!("{}", Scenario::default().to_toml());
                Ok(())
            }
        }
    }
}

fn run(file: &Path, seed: Option<u64>, out: &Path, set: &[String]) -> Result<()> {
    // Before the work, not after it.
    if out.exists() {
        return Err(SimError::Exists(out.to_owned()));
    }
    let scenario = Scenario::read_with(file, set)?;
    let seed = seed.unwrap_or(scenario.seed);
    let bar = progress_bar(scenario.duration_s);
    let began = Instant::now();
    let outcome = skep_sim::run_with(&scenario, seed, &mut |at, events| {
        bar.set_position(at.seconds() as u64);
        bar.set_message(format!("{events} events"));
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    let took = began.elapsed().as_secs_f64();
    output::write(out, &scenario, &outcome)?;
    for name in ["delivery_ratio", "latency_p50_ms", "latency_p99_ms", "hops_mean", "redundancy", "degree_mean", "components"] {
        if let Some(value) = outcome.summary.get(name) {
            println!("{name:<16} {value:.3}");
        }
    }
    println!(
        "{} events in {took:.2} s, {:.0} ns each; {:.0} messages/s; {} bytes a node",
        outcome.events,
        took * 1e9 / (outcome.events.max(1) as f64),
        outcome.sent as f64 / took,
        outcome.memory / scenario.all_nodes(),
    );
    println!("{}", out.join("report.html").display());
    Ok(())
}

fn progress_bar(seconds: f64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s of the network  {msg}  {elapsed}");
    let bar = ProgressBar::new(seconds as u64);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
