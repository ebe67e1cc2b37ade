//! `skep-sim`: simulates the overlays of swarms.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use skep_sim::error::{Result, SimError};
use skep_sim::scenario::Scenario;
use skep_sim::sweep::Sweep;
use skep_sim::{again, compare, measure, output};

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
    /// Run every combination of some entries with some seeds; what is there already is not run again
    Sweep {
        /// The scenario
        file: PathBuf,
        /// An entry and its values, as `nodes=100,1000`; may be repeated
        #[arg(long, value_name = "ENTRY=VALUE,VALUE")]
        vary: Vec<String>,
        /// The seeds, as `1..10`, both ends included
        #[arg(long, value_name = "FIRST..LAST", default_value = "1..10", value_parser = seeds)]
        seeds: std::ops::RangeInclusive<u64>,
        /// The folder of all runs
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// Runs at the same time; as many as there are cores if it is left out
        #[arg(long)]
        threads: Option<usize>,
        /// Run one part of so many, as `0/8`; the folders of all parts put together are the whole
        #[arg(long, value_name = "PART/PARTS", default_value = "0/1", value_parser = part)]
        part: (usize, usize),
        /// Print a job for a cluster that runs as many parts as `--part` says, and run nothing
        #[arg(long, value_enum)]
        emit: Option<Cluster>,
    },
    /// Lay runs, or the folders of sweeps, side by side
    Compare {
        /// The folders
        #[arg(required = true)]
        folders: Vec<PathBuf>,
    },
    /// Run what a folder holds once more and say whether all files come out the same
    Replay {
        /// The folder of a run
        folder: PathBuf,
    },
    /// Make a failing scenario smaller as long as it fails, and print it
    Shrink {
        /// The scenario
        file: PathBuf,
        /// The seed with which it fails
        #[arg(long)]
        seed: Option<u64>,
        /// When it fails, as `delivery_ratio<1`
        #[arg(long, value_name = "NUMBER<BOUND")]
        fails: String,
    },
    /// Measure how fast this program is; writes target/bench/sim.json
    Bench {
        /// Where the scenarios lie
        #[arg(long, default_value = "bench/scenarios")]
        scenarios: PathBuf,
        /// Where the results go
        #[arg(long, default_value_os_t = measure::default_file())]
        out: PathBuf,
        /// Measure only these, by name
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Run a scenario and print what that took, as JSON
    #[command(hide = true)]
    Measure {
        /// The scenario
        file: PathBuf,
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

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Cluster {
    /// A job array of Slurm
    Slurm,
    /// An indexed job of Kubernetes
    Kubernetes,
}

fn seeds(text: &str) -> std::result::Result<std::ops::RangeInclusive<u64>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let seed = |text: &str| text.parse().map_err(|_| format!("{text:?} is no seed"));
    let (first, last): (u64, u64) = (seed(first)?, seed(last)?);
    if first <= last { Ok(first..=last) } else { Err(format!("{last} is before {first}")) }
}

fn part(text: &str) -> std::result::Result<(usize, usize), String> {
    let wrong = || format!("{text:?} is no part, as 0/8");
    let (part, parts) = text.split_once('/').ok_or_else(wrong)?;
    let (part, parts): (usize, usize) =
        (part.parse().map_err(|_| wrong())?, parts.parse().map_err(|_| wrong())?);
    if part < parts {
        Ok((part, parts))
    } else {
        Err(format!("of {parts} parts the last is {}/{parts}", parts.saturating_sub(1)))
    }
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
            Self::Sweep { file, vary, seeds, out, threads, part, emit } => {
                sweep(&Sweep { file, vary, seeds, out, part }, threads, emit)
            }
            Self::Compare { folders } => {
                let groups =
                    folders.iter().map(|folder| compare::group(folder)).collect::<Result<Vec<_>>>()?;
                print!("{}", compare::table(&groups));
                Ok(())
            }
            Self::Replay { folder } => {
                again::replay(&folder)?;
                println!("{}: every file comes out the same", folder.display());
                Ok(())
            }
            Self::Shrink { file, seed, fails } => {
                let scenario = Scenario::read(&file)?;
                let failure = again::Failure::parse(&fails)?;
                let seed = seed.unwrap_or(scenario.seed);
                let small = again::shrink(&scenario, seed, &failure, &|step| eprintln!("{step}"))?;
                print!("# fails with seed {seed}: {fails}\n{}", small.to_toml());
                Ok(())
            }
            Self::Bench { scenarios, out, only } => {
                measure::run(&scenarios, &out, &only, &|line| eprintln!("{line}"))?;
                println!("written to {}", out.display());
                Ok(())
            }
            Self::Measure { file } => {
                let measured = serde_json::to_string(&measure::measure(&file)?);
                println!("{}", measured.map_err(|error| SimError::Option(error.to_string()))?);
                Ok(())
            }
            Self::Check { files } => files.iter().try_for_each(|file| {
                let scenario = Scenario::read(file)?;
                skep_sim::check(&scenario)?;
                println!(
                    "{}: {}, {} nodes, {} s",
                    file.display(),
                    scenario.overlay.name(),
                    scenario.all_nodes(),
                    scenario.duration_s
                );
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
    for name in [
        "delivery_ratio",
        "latency_p50_ms",
        "latency_p99_ms",
        "hops_mean",
        "redundancy",
        "degree_mean",
        "components",
    ] {
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

fn sweep(sweep: &Sweep, threads: Option<usize>, emit: Option<Cluster>) -> Result<()> {
    let (_, parts) = sweep.part;
    match emit {
        Some(Cluster::Slurm) => print!("{}", sweep.slurm(parts)),
        Some(Cluster::Kubernetes) => print!("{}", sweep.kubernetes(parts)),
        None => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let bar =
                if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
            let outcome = sweep.run(threads.unwrap_or(cores), &|done, all| {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            });
            bar.finish_and_clear();
            outcome?;
            println!("{}", sweep.out.display());
        }
    }
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
