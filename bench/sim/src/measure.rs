//! How fast the simulator is: each scenario in a process of its own, so that its memory is its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Result, SimError};
use crate::output;
use crate::scenario::Scenario;

/// What one run took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Time, in seconds.
    pub seconds: f64,
    /// The most memory that the process had, in bytes; 0 where the system does not tell.
    pub memory: u64,
    /// Events handled.
    pub events: u64,
    /// Messages sent in the simulation.
    pub sent: u64,
    /// The share of deliveries that came about; 1 when nothing was written.
    pub delivered: f64,
    /// Parts of the network at the end.
    pub components: f64,
}

/// A line of the file of results.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: &'static str,
    value: Option<f64>,
    unit: &'static str,
    n: usize,
    p50: Option<f64>,
    p99: Option<f64>,
    peer: Option<f64>,
    conditions: String,
}

/// Runs a scenario here and tells what it took.
///
/// # Errors
/// When it cannot be run.
pub fn measure(file: &Path) -> Result<Measured> {
    let scenario = Scenario::read(file)?;
    let began = Instant::now();
    let outcome = crate::run(&scenario, scenario.seed)?;
    let number = |name: &str, otherwise| outcome.summary.get(name).copied().unwrap_or(otherwise);
    Ok(Measured {
        seconds: began.elapsed().as_secs_f64(),
        memory: peak_memory(),
        events: outcome.events,
        sent: outcome.sent,
        delivered: number("delivery_ratio", 1.0),
        components: number("components", 0.0),
    })
}

/// The most memory that this process had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

/// Measures what is wanted (all if that is nothing), and writes the results.
///
/// # Errors
/// When the scenarios cannot be run, or the file cannot be written.
pub fn run(scenarios: &Path, file: &Path, only: &[String], say: &dyn Fn(&str)) -> Result<()> {
    let wanted =
        |names: &[&str]| only.is_empty() || names.iter().any(|name| only.iter().any(|it| it == name));
    let mut rows = Vec::new();
    let one = |name: &str| -> Result<Measured> {
        say(&format!("{name} runs"));
        apart(&scenarios.join(name))
    };
    let conditions = |it: &Measured, file: &str| {
        format!(
            "bench/scenarios/{file}, one core (load average before: {}); {} events of {:.0} ns each, {} messages; \
             delivered {:.4}, {} components",
            load(),
            it.events,
            it.seconds * 1e9 / it.events.max(1) as f64,
            it.sent,
            it.delivered,
            it.components
        )
    };
    let gigabytes = |it: &Measured| it.memory as f64 / 1e9;
    if wanted(&["small_scenario"]) {
        let it = one("small.toml")?;
        rows.push(row("small_scenario", it.seconds, "s", conditions(&it, "small.toml")));
    }
    if wanted(&["messages_per_second"]) {
        let it = one("busy.toml")?;
        rows.push(row(
            "messages_per_second",
            it.sent as f64 / it.seconds,
            "1/s",
            conditions(&it, "busy.toml"),
        ));
    }
    if wanted(&["converge_100k", "memory_100k"]) {
        let it = one("large.toml")?;
        rows.push(row("converge_100k", it.seconds, "s", conditions(&it, "large.toml")));
        rows.push(row("memory_100k", gigabytes(&it), "GB", conditions(&it, "large.toml")));
    }
    if wanted(&["memory_1m"]) {
        let it = one("routing-million.toml")?;
        rows.push(row("memory_1m", gigabytes(&it), "GB", conditions(&it, "routing-million.toml")));
    }
    for row in &rows {
        say(&format!(
            "{:<20} {:>14.3} {:<4} {}",
            row.name,
            row.value.unwrap_or_default(),
            row.unit,
            row.conditions
        ));
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(SimError::file(folder))?;
    }
    output::put_whole(file, &output::pretty(&rows)?)
}

fn row(name: &'static str, value: f64, unit: &'static str, conditions: String) -> Row {
    Row { name, value: Some(value), unit, n: 1, p50: Some(value), p99: None, peer: None, conditions }
}

/// Measures in a process of its own.
fn apart(file: &Path) -> Result<Measured> {
    let program = std::env::current_exe().map_err(SimError::file(Path::new("this program")))?;
    let output =
        Command::new(&program).arg("measure").arg(file).output().map_err(SimError::file(&program))?;
    if !output.status.success() {
        return Err(SimError::Option(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| {
        SimError::Option(format!("{} said nothing that is a result: {error}", file.display()))
    })
}

/// How many processes wanted to run at the same time over the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Where the results go.
#[must_use]
pub fn default_file() -> PathBuf {
    PathBuf::from("target/bench/sim.json")
}
