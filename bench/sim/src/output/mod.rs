//! What a run leaves behind: one folder, which appears under its name when it is whole.
//!
//! ```text
//!   params.json     the whole scenario, with every default
//!   scenario.toml   the same, to run it again
//!   latency.csv, trace.csv    the tables that it names, if it does
//!   seed, version   what else it follows from
//!   summary.json    what came of it, by name
//!   series.csv      how things stood at times
//!   messages.csv    how each message spread
//!   degrees.csv     how many nodes have how many neighbours
//!   graph.graphml, events.jsonl    if the scenario wants them
//!   plots/*.svg, report.html       to look at
//! ```

mod graphml;
mod plot;
mod report;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub use self::plot::{Line, Plot};
use crate::error::{Result, SimError};
use crate::scenario::Scenario;
use crate::world::{Outcome, Row, Summary};

/// Which version of this program ran.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names of the files.
const PARAMS: &str = "params.json";
const SUMMARY: &str = "summary.json";
const SCENARIO: &str = "scenario.toml";
const SEED: &str = "seed";
const VERSION_FILE: &str = "version";

fn version() -> String {
    format!("skep-sim {VERSION}\n")
}

/// Writes all that came of a run into a new folder.
///
/// # Errors
/// When the folder is there already, or something cannot be written; nothing stays then.
pub fn write(folder: &Path, scenario: &Scenario, outcome: &Outcome) -> Result<()> {
    let tables = scenario.tables()?;
    let scenario = &scenario.kept(outcome.seed);
    whole(folder, |at| {
        let file = |name: &str, text: &str| put(&at.join(name), text);
        file(PARAMS, &pretty(scenario)?)?;
        file(SCENARIO, &scenario.to_toml())?;
        tables.iter().try_for_each(|(name, text)| file(name, text))?;
        file(SEED, &format!("{}\n", outcome.seed))?;
        file(VERSION_FILE, &version())?;
        file(SUMMARY, &pretty(&outcome.summary)?)?;
        file("series.csv", &series(&outcome.rows)?)?;
        file("messages.csv", &messages(outcome))?;
        file("degrees.csv", &degrees(outcome))?;
        if scenario.metrics.graph {
            file("graph.graphml", &graphml::write(outcome))?;
        }
        if let Some(journal) = &outcome.journal {
            file("events.jsonl", journal)?;
        }
        let plots = report::plots(outcome);
        make_folder(&at.join("plots"))?;
        for (name, plot) in &plots {
            put(&at.join("plots").join(format!("{name}.svg")), &plot.to_svg())?;
        }
        file("report.html", &report::html(scenario, outcome, &plots))
    })
}

/// Makes a folder that appears under its name when `fill` has filled it, and not at all when that fails.
///
/// # Errors
/// When the folder is there already, or something cannot be written.
pub fn whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Err(SimError::Exists(folder.to_owned()));
    }
    let unfinished = unfinished(folder);
    // What an interrupted run has left.
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(SimError::file(&unfinished))?;
    }
    make_folder(&unfinished)?;
    let filled =
        fill(&unfinished).and_then(|()| std::fs::rename(&unfinished, folder).map_err(SimError::file(folder)));
    if filled.is_err() {
        // The first error is the one to tell of.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    filled
}

/// Where a folder is until it is whole: no two programs that write it are in each other's way.
fn unfinished(folder: &Path) -> PathBuf {
    beside(folder, "unfinished")
}

/// A hidden name beside a file or folder that is this process's own.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.{what}", std::process::id()))
}

/// Writes a file that appears under its name, or takes the place of an older one, when it is whole.
pub(crate) fn put_whole(file: &Path, text: &str) -> Result<()> {
    let unfinished = beside(file, "unfinished");
    let written = put(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, file).map_err(SimError::file(file)));
    if written.is_err() {
        // The first error is the one to tell of.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

/// Whether a folder holds the run of this scenario with this seed by this version; an error names what
/// differs.
///
/// # Errors
/// When it holds another run, or none that is finished.
pub fn holds(folder: &Path, scenario: &Scenario, seed: u64) -> Result<()> {
    let kept = scenario.kept(seed);
    let mut expected = scenario.tables()?;
    expected.extend([(PARAMS, pretty(&kept)?), (SEED, format!("{seed}\n")), (VERSION_FILE, version())]);
    for (name, text) in expected {
        let there = std::fs::read_to_string(folder.join(name)).map_err(|error| SimError::NoRun {
            folder: folder.to_owned(),
            what: format!("{name}: {error}"),
        })?;
        if there != text {
            return Err(SimError::Differs(format!(
                "{} differs from what would be run now: choose another folder for the sweep, or remove this one",
                folder.join(name).display()
            )));
        }
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(SimError::file(folder))
}

pub(crate) fn put(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(SimError::file(file))
}

/// JSON for people and programs.
pub(crate) fn pretty(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| SimError::Option(format!("cannot be written as JSON: {error}")))
}

fn series(rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        let value = serde_json::to_value(row);
        let value = value.map_err(|error| SimError::Option(format!("a row cannot be written: {error}")))?;
        let Some(cells) = value.as_object() else { continue };
        if text.is_empty() {
            text.push_str(&cells.keys().map(String::as_str).collect::<Vec<_>>().join(","));
            text.push('\n');
        }
        text.push_str(&cells.values().map(ToString::to_string).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    Ok(text)
}

fn messages(outcome: &Outcome) -> String {
    let mut text = "written_s,delivered_share,last_ms,received_per_node\n".to_owned();
    for [written, share, last, received] in &outcome.messages {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{written},{share},{last},{received}");
    }
    text
}

fn degrees(outcome: &Outcome) -> String {
    let mut text = "degree,nodes\n".to_owned();
    for (degree, nodes) in &outcome.degrees {
        let _ = writeln!(text, "{degree},{nodes}");
    }
    text
}

/// A run as its folder tells it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where.
    pub folder: PathBuf,
    /// What was simulated.
    pub scenario: Scenario,
    /// From which seed.
    pub seed: u64,
    /// What came of it.
    pub summary: Summary,
}

/// Reads the folder of a finished run.
///
/// # Errors
/// When it holds none.
pub fn read(folder: &Path) -> Result<Stored> {
    let missing = |what: String| SimError::NoRun { folder: folder.to_owned(), what };
    let text = |name: &str| {
        std::fs::read_to_string(folder.join(name)).map_err(|error| missing(format!("{name}: {error}")))
    };
    let scenario = Scenario::parse(&text(SCENARIO)?, &folder.join(SCENARIO))?;
    let summary = serde_json::from_str(&text(SUMMARY)?);
    let seed = text(SEED)?.trim().parse();
    Ok(Stored {
        folder: folder.to_owned(),
        scenario,
        seed: seed.map_err(|_| missing(format!("{SEED} is no number")))?,
        summary: summary.map_err(|error| missing(format!("{SUMMARY}: {error}")))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_when_it_is_whole_and_never_over_another() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        let fails = whole(&folder, |at| {
            put(&at.join("half"), "x")?;
            Err(SimError::Option("the disk is full".to_owned()))
        });
        assert!(fails.is_err() && std::fs::read_dir(place.path()).unwrap().next().is_none());
        // One that was interrupted is in nobody's way.
        make_folder(&unfinished(&folder).join("left")).unwrap();
        whole(&folder, |at| put(&at.join("all"), "x")).unwrap();
        assert!(folder.join("all").exists() && !folder.join("left").exists());
        assert!(matches!(whole(&folder, |_| Ok(())), Err(SimError::Exists(_))));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
