//! The results: a table for people, a JSON file for programs.

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::statistics::Samples;
use crate::{BenchError, Result};

/// Is told what is being done.
pub type Progress = fn(&str);

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The table.
    pub table: String,
    /// Whether everything that can be measured here was.
    pub complete: bool,
    /// Where the numbers are as JSON.
    pub file: PathBuf,
}

/// What a number has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Not more than what the real daemon needs.
    AsDaemon,
    /// Nothing; it is measured beside.
    None,
}

impl Target {
    /// Nobody knows without the real daemon's value, where that is the target.
    fn is_met(self, value: f64, peer: Option<f64>) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
            Self::AsDaemon => peer.map(|peer| value <= peer),
            Self::None => Some(true),
        }
    }
}

/// What is measured: its name in the JSON file, its unit and its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
    /// What the 99th percentile has to be.
    pub(crate) p99: Target,
}

impl Quantity {
    /// A quantity whose value has a target.
    pub(crate) const fn new(name: &'static str, unit: &'static str, target: Target) -> Self {
        Self { name, unit, target, p99: Target::None }
    }
}

/// The names of what is to be measured; none at all for everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'r>(pub(crate) &'r [String]);

impl Wanted<'_> {
    /// Whether any of these is.
    pub(crate) fn any(self, quantities: &[Quantity]) -> bool {
        self.0.is_empty() || quantities.iter().any(|quantity| self.0.iter().any(|name| name == quantity.name))
    }
}

/// What the real daemon did under the same conditions.
#[derive(Clone, Debug)]
pub(crate) enum Peer<T> {
    /// It was measured.
    Measured(T),
    /// It cannot run here, for this reason.
    Absent(String),
    /// It failed, or did not get done, for this reason.
    Failed(String),
}

impl<T> Peer<T> {
    /// A part of what was measured.
    pub(crate) fn map<U>(&self, part: impl FnOnce(&T) -> U) -> Peer<U> {
        match self {
            Self::Measured(all) => Peer::Measured(part(all)),
            Self::Absent(reason) => Peer::Absent(reason.clone()),
            Self::Failed(reason) => Peer::Failed(reason.clone()),
        }
    }
}

/// One measured quantity.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    name: &'static str,
    /// `None` when it was not measured; the conditions say why.
    value: Option<f64>,
    unit: &'static str,
    n: usize,
    p50: Option<f64>,
    p99: Option<f64>,
    /// The real daemon's value; when there is none, the conditions say why.
    peer: Option<f64>,
    conditions: String,
    #[serde(skip)]
    peer_failed: bool,
    #[serde(skip)]
    quantity: Quantity,
    #[serde(skip)]
    failed: bool,
}

impl Measurement {
    /// Of these samples; the value is their median.
    pub(crate) fn new(quantity: Quantity, samples: &Samples, conditions: impl Into<String>) -> Self {
        Self {
            name: quantity.name,
            value: samples.median(),
            unit: quantity.unit,
            n: samples.count(),
            p50: samples.median(),
            p99: samples.percentile(99),
            peer: None,
            conditions: conditions.into(),
            peer_failed: false,
            quantity,
            failed: false,
        }
    }

    /// Not measured, for this reason.
    pub(crate) fn skipped(quantity: Quantity, reason: impl std::fmt::Display) -> Self {
        Self::new(quantity, &Samples::default(), format!("not measured: {reason}"))
    }

    /// Could not be measured because of an error.
    pub(crate) fn failed(quantity: Quantity, error: &BenchError) -> Self {
        Self { failed: true, ..Self::new(quantity, &Samples::default(), format!("failed: {error}")) }
    }

    /// An error ended the measurement early, or kept it from beginning.
    pub(crate) fn spoiled(mut self, error: &BenchError) -> Self {
        self.failed = true;
        self.conditions.push_str(&format!("; FAILED after {} samples: {error}", self.n));
        self
    }

    /// What went wrong meanwhile, if anything did.
    pub(crate) fn with_failures(mut self, failures: &[String]) -> Self {
        if let Some(first) = failures.first() {
            self.failed = true;
            self.conditions.push_str(&format!("; FAILED {} times, first: {first}", failures.len()));
        }
        self
    }

    /// Beside it, what the real daemon did under the same conditions.
    pub(crate) fn beside(mut self, peer: &Peer<Samples>) -> Self {
        match peer {
            Peer::Measured(samples) => self.peer = samples.median(),
            Peer::Absent(reason) => {
                self.conditions.push_str(&format!("; the real daemon was not measured: {reason}"));
            }
            Peer::Failed(reason) => {
                self.peer_failed = true;
                self.conditions.push_str(&format!("; the real daemon FAILED: {reason}"));
            }
        }
        self
    }

    /// How many times better than the real daemon.
    fn advantage(&self) -> Option<f64> {
        let (value, peer) = self.value.zip(self.peer)?;
        let ratio =
            if matches!(self.quantity.target, Target::AtLeast(_)) { value / peer } else { peer / value };
        ratio.is_finite().then_some(ratio)
    }

    fn verdict(&self) -> &'static str {
        let Quantity { target, p99, .. } = self.quantity;
        if target == Target::None {
            return "";
        }
        let met = |target: Target, value: Option<f64>| target.is_met(value?, self.peer);
        match met(target, self.value).zip(met(p99, self.p99)) {
            Some((true, true)) => "met",
            Some(_) => "missed",
            None => "-",
        }
    }
}

/// The results of a command.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// What the real daemon is, or why there is none.
    pub(crate) peer: String,
    pub(crate) measurements: Vec<Measurement>,
}

impl Report {
    /// Ends a run: keeps of `measurements` what was `wanted`, writes it to `file`, and shows it.
    pub(crate) fn conclude(
        mut measurements: Vec<Measurement>,
        wanted: Wanted<'_>,
        peer: String,
        file: PathBuf,
        earlier: Vec<Earlier>,
    ) -> Result<Outcome> {
        measurements.retain(|measured| wanted.any(&[measured.quantity]));
        let complete = !measurements.iter().any(|measured| measured.failed);
        let report = Self { machine: Machine::this(), peer, measurements };
        report.write(&file, earlier)?;
        Ok(Outcome { table: report.table(), complete, file })
    }

    /// The table, with the machine above it and the conditions below.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_header(["", "Skep", "p99", "target", "", "real daemon", "times better", "n"]);
        for measured in &self.measurements {
            let Quantity { target, p99, .. } = measured.quantity;
            table.add_row([
                format!("{} ({})", measured.name, measured.unit),
                show(measured.value),
                show(measured.p99),
                show_targets(target, p99),
                measured.verdict().to_owned(),
                if measured.peer_failed { "failed".to_owned() } else { show(measured.peer) },
                show(measured.advantage()),
                measured.n.to_string(),
            ]);
        }
        for column in [1, 2, 3, 5, 6, 7] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let Self { machine, peer, measurements } = self;
        let conditions: String = measurements
            .iter()
            .map(|measured| format!("  {}: {}\n", measured.name, measured.conditions))
            .collect();
        format!("{machine}\nreal daemon: {peer}\n{table}\n{conditions}")
    }

    /// Writes the JSON file, making its folder if need be. The `earlier` results of quantities that this
    /// report does not have stay in it, marked as such.
    pub(crate) fn write(&self, path: &Path, earlier: Vec<Earlier>) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
        }
        let is_new = |kept: &Earlier| self.measurements.iter().all(|measured| measured.name != kept.name);
        let rows: Vec<Row<'_>> = self
            .measurements
            .iter()
            .map(Row::New)
            .chain(earlier.into_iter().filter(is_new).map(|kept| Row::Kept(kept.marked())))
            .collect();
        let mut text =
            serde_json::to_string_pretty(&rows).map_err(|error| BenchError::file(path)(error.into()))?;
        text.push('\n');
        std::fs::write(path, text).map_err(BenchError::file(path))
    }
}

/// A row of the JSON file.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row<'m> {
    New(&'m Measurement),
    Kept(Earlier),
}

/// A result that an earlier run wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Earlier {
    name: String,
    value: Option<f64>,
    unit: String,
    n: usize,
    p50: Option<f64>,
    p99: Option<f64>,
    peer: Option<f64>,
    conditions: String,
}

/// How a result that was kept is marked.
const KEPT: &str = "from an earlier run; ";

impl Earlier {
    /// The results in a file; none if there is no file.
    pub(crate) fn read(path: &Path) -> Result<Vec<Self>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(BenchError::file(path)(error)),
        };
        serde_json::from_slice(&text)
            .map_err(|problem| BenchError::Results { path: path.to_owned(), problem })
    }

    fn marked(mut self) -> Self {
        if !self.conditions.starts_with(KEPT) {
            self.conditions.insert_str(0, KEPT);
        }
        self
    }
}

fn show(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn show_targets(target: Target, p99: Target) -> String {
    match (show_target(target), show_target(p99)) {
        (target, None) => target.unwrap_or_default(),
        (target, Some(p99)) => format!("{}, p99 {p99}", target.unwrap_or_default()),
    }
}

fn show_target(target: Target) -> Option<String> {
    match target {
        Target::AtMost(most) => Some(format!("≤ {most}")),
        Target::AtLeast(least) => Some(format!("≥ {least}")),
        Target::AsDaemon => Some("≤ daemon".to_owned()),
        Target::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Quantity =
        Quantity { name: "latency", unit: "ms", target: Target::AtMost(10.0), p99: Target::AtMost(30.0) };
    const SPEED: Quantity = Quantity::new("speed", "1/s", Target::AtLeast(2000.0));

    fn report() -> Report {
        let samples: Samples = (1..=8).map(f64::from).collect();
        let slow = Peer::Measured(std::iter::once(80.0).collect());
        Report {
            machine: Machine::this(),
            peer: "none".to_owned(),
            measurements: vec![
                Measurement::new(LATENCY, &samples, "two nodes").beside(&slow),
                Measurement::skipped(SPEED, "no root"),
            ],
        }
    }

    #[test]
    fn the_file_has_what_the_benchmarks_promise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench/node.json");
        report().write(&path, Vec::new()).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let expected = serde_json::json!([
            { "name": "latency", "value": 4.0, "unit": "ms", "n": 8, "p50": 4.0, "p99": 8.0, "peer": 80.0,
              "conditions": "two nodes" },
            { "name": "speed", "value": null, "unit": "1/s", "n": 0, "p50": null, "p99": null, "peer": null,
              "conditions": "not measured: no root" },
        ]);
        assert_eq!(read, expected);
    }

    #[test]
    fn the_table_says_what_was_met_and_how_much_better_it_is() {
        let table = report().table();
        let row = table.lines().find(|line| line.contains("latency (ms)")).unwrap();
        for cell in ["4.00", "8.00", "≤ 10, p99 ≤ 30", "met", "80.0", "20.0"] {
            assert!(row.contains(cell), "{cell} in {row}");
        }
        assert!(table.contains("speed: not measured: no root"));
    }

    #[test]
    fn results_of_other_quantities_stay_in_the_file_and_say_that_they_are_older() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.json");
        assert!(Earlier::read(&path).unwrap().is_empty());
        report().write(&path, Vec::new()).unwrap();
        for _ in 0..2 {
            let speed: Samples = std::iter::once(3000.0).collect();
            let measurements = vec![Measurement::new(SPEED, &speed, "as root")];
            let part = Report { measurements, ..report() };
            part.write(&path, Earlier::read(&path).unwrap()).unwrap();
            let all = Earlier::read(&path).unwrap();
            let told: Vec<(&str, &str)> =
                all.iter().map(|row| (row.name.as_str(), row.conditions.as_str())).collect();
            assert_eq!(told, [("speed", "as root"), ("latency", "from an earlier run; two nodes")]);
            assert_eq!((all[0].value, all[1].value), (Some(3000.0), Some(4.0)));
        }
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(Earlier::read(&path), Err(BenchError::Results { .. })));
    }

    #[test]
    fn a_real_daemon_that_failed_is_told_of_in_the_table_and_in_the_conditions() {
        let samples: Samples = std::iter::once(4.0).collect();
        let failed = Peer::<()>::Failed("no burst".to_owned()).map(|()| Samples::default());
        let absent = Peer::Absent("no root".to_owned());
        let mut report = report();
        report.measurements = vec![
            Measurement::new(LATENCY, &samples, "two nodes").beside(&failed),
            Measurement::new(SPEED, &samples, "one node").beside(&absent),
        ];
        let table = report.table();
        let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap();
        assert!(row("latency (ms)").contains("failed") && !row("speed (1/s)").contains("failed"), "{table}");
        let told: Vec<_> = report.measurements.iter().map(|row| (row.peer, &*row.conditions)).collect();
        let expected = [
            (None, "two nodes; the real daemon FAILED: no burst"),
            (None, "one node; the real daemon was not measured: no root"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_daemon_can_be_the_target_if_it_was_measured() {
        let quantity = Quantity::new("get", "ms", Target::AsDaemon);
        let measured = |value: f64| Measurement::new(quantity, &std::iter::once(value).collect(), "");
        let daemon = Peer::Measured(std::iter::once(5.0).collect());
        assert_eq!(measured(5.0).beside(&daemon).verdict(), "met");
        assert_eq!(measured(6.0).beside(&daemon).verdict(), "missed");
        assert_eq!(measured(6.0).beside(&Peer::Absent("no root".to_owned())).verdict(), "-");
        assert_eq!(show_targets(quantity.target, quantity.p99), "≤ daemon");
    }

    #[test]
    fn a_target_is_missed_by_its_high_percentile_too() {
        let samples: Samples = [1.0, 1.0, 31.0].into_iter().collect();
        assert_eq!(Measurement::new(LATENCY, &samples, "").verdict(), "missed");
        let samples: Samples = [1999.0].into_iter().collect();
        assert_eq!(Measurement::new(SPEED, &samples, "").verdict(), "missed");
    }
}
