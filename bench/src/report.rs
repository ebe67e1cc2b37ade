//! The results: a table for people, a JSON file for programs.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::machine::Machine;
use crate::statistics::Samples;
use crate::{BenchError, Result};

/// What a number has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Nothing; it is measured beside.
    None,
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::None => true,
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
    /// The real daemon's value.
    peer: Option<f64>,
    conditions: String,
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

    /// Beside it, what the real daemon did under the same conditions.
    pub(crate) fn beside(mut self, peer: &Samples) -> Self {
        self.peer = peer.median();
        self
    }

    /// What it is about.
    pub(crate) const fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// Whether an error prevented it.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
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
        match (self.value, self.p99) {
            _ if target == Target::None => "",
            (Some(value), Some(high)) if target.is_met(value) && p99.is_met(high) => "met",
            (Some(_), _) => "missed",
            (None, _) => "-",
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
                show(measured.peer),
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

    /// Writes the JSON file, making its folder if need be.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
        }
        let mut text = serde_json::to_string_pretty(&self.measurements)
            .map_err(|error| BenchError::file(path)(error.into()))?;
        text.push('\n');
        std::fs::write(path, text).map_err(BenchError::file(path))
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
        let slow: Samples = std::iter::once(80.0).collect();
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
        report().write(&path).unwrap();
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
    fn a_target_is_missed_by_its_high_percentile_too() {
        let samples: Samples = [1.0, 1.0, 31.0].into_iter().collect();
        assert_eq!(Measurement::new(LATENCY, &samples, "").verdict(), "missed");
        let samples: Samples = [1999.0].into_iter().collect();
        assert_eq!(Measurement::new(SPEED, &samples, "").verdict(), "missed");
    }
}
