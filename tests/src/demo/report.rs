//! What is told while the job is played, and the table at its end.

#![allow(clippy::print_stdout, reason = "telling people is what this is for")]

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};

/// Progress lines, and what becomes of each step.
#[derive(Debug)]
pub(super) struct Report {
    begun: Instant,
    step: Option<(&'static str, Instant)>,
    rows: Vec<[String; 3]>,
}

impl Report {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), step: None, rows: Vec::new() }
    }

    /// A step begins.
    pub(super) fn step(&mut self, title: &'static str) {
        self.step = Some((title, Instant::now()));
        self.say(&format!("{title} …"));
    }

    /// The step is done.
    pub(super) fn done(&mut self, outcome: &str) {
        self.say(&format!("  {outcome}"));
        self.row(outcome.to_owned());
    }

    /// The step failed.
    pub(super) fn fail(&mut self, failure: &dyn std::fmt::Display) {
        self.say(&format!("  FAILED: {failure}"));
        self.row(format!("FAILED: {failure}"));
    }

    fn row(&mut self, outcome: String) {
        let (title, begun) = self.step.take().unwrap_or(("before the first step", self.begun));
        self.rows.push([title.to_owned(), outcome, seconds(begun.elapsed())]);
    }

    /// A line with the time since the beginning.
    pub(super) fn say(&self, line: &str) {
        println!("[{:>7}] {line}", seconds(self.begun.elapsed()));
    }

    /// A line that belongs to the one before.
    pub(super) fn quote(line: &str) {
        println!("            {line}");
    }

    /// Prints all steps.
    pub(super) fn table(&self) {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(["step", "what happened", "time"]);
        table.add_rows(&self.rows);
        table.add_row(["all of it", "", &seconds(self.begun.elapsed())]);
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{table}");
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
