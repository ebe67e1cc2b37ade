//! Runs side by side: means over seeds, and whether they differ by more than chance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Result, SimError};
use crate::output::{self, Stored};
use crate::statistics::Mean;

/// Deepest folder in a sweep that is looked into.
const MAX_DEPTH: usize = 4;

/// Runs of one kind.
#[derive(Clone, Debug)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// Its runs.
    pub runs: Vec<Stored>,
}

/// Reads a folder: one run, or all runs in it.
///
/// # Errors
/// When it holds none, or one that cannot be read.
pub fn group(folder: &Path) -> Result<Group> {
    let mut folders = Vec::new();
    find(folder, 0, &mut folders)?;
    folders.sort();
    let runs = folders.iter().map(|folder| output::read(folder)).collect::<Result<Vec<_>>>()?;
    if runs.is_empty() {
        return Err(SimError::NoRun { folder: folder.to_owned(), what: "no summary.json in it".to_owned() });
    }
    Ok(Group { name: folder.display().to_string(), runs })
}

fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join("summary.json").is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(SimError::file(folder))? {
        let path = entry.map_err(SimError::file(folder))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !is_hidden && depth < MAX_DEPTH {
            find(&path, depth + 1, found)?;
        }
    }
    Ok(())
}

impl Group {
    /// The mean of each number over its runs.
    #[must_use]
    pub fn means(&self) -> BTreeMap<String, Mean> {
        let mut numbers: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, value) in self.runs.iter().flat_map(|run| &run.summary) {
            numbers.entry(name.clone()).or_default().push(*value);
        }
        numbers.into_iter().filter_map(|(name, values)| Some((name, Mean::of(&values)?))).collect()
    }
}

/// A table for people: every number of every group; beside those after the first, how likely they differ
/// so much by chance.
#[must_use]
pub fn table(groups: &[Group]) -> String {
    let means: Vec<BTreeMap<String, Mean>> = groups.iter().map(Group::means).collect();
    let names: std::collections::BTreeSet<&String> = means.iter().flat_map(BTreeMap::keys).collect();
    let mut text = String::new();
    for (place, group) in groups.iter().enumerate() {
        // Writing to a string does not fail.
        let overlay = group.runs.first().map(|run| run.scenario.overlay.name()).unwrap_or_default();
        let _ = writeln!(text, "[{}] {}: {overlay}, {} runs", place + 1, group.name, group.runs.len());
    }
    let _ = write!(text, "\n{:<34}", "mean ± 95 % interval");
    for place in 1..=groups.len() {
        let _ = write!(text, "{:>26}", format!("[{place}]"));
    }
    text.push('\n');
    for name in names {
        let _ = write!(text, "{name:<34}");
        for group in &means {
            let cell = group.get(name).map_or("-".to_owned(), |mean| {
                let interval = mean.interval().map(|it| format!(" ± {it:.3}")).unwrap_or_default();
                let first = means.first().and_then(|first| first.get(name)).filter(|first| *first != mean);
                let chance = first.and_then(|first| mean.chance(first)).filter(|chance| *chance < 0.05);
                let mark = chance.map_or("", |chance| if chance < 0.001 { " **" } else { " *" });
                format!("{:.3}{interval}{mark}", mean.mean)
            });
            let _ = write!(text, "{cell:>26}");
        }
        text.push('\n');
    }
    text + "\n*: differs from [1] by chance in less than one of 20 such experiments; **: of 1000 (Welch's test,\n\
            each number by itself: among many, some differ by chance)\n"
}
