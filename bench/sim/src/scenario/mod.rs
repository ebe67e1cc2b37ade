//! What is simulated: a file in TOML, of which every entry has a default.
//!
//! ```text
//!   scenario       this file: nodes, how they come, how long it lasts, what is measured
//!   network        what links are like
//!   people         who comes and goes, sleeps, writes
//!   faults         what happens to many at once, and who means harm
//!   overlay        which overlay, and how it is set
//!   check          what no file can mean, said with the line
//! ```

mod check;
mod faults;
mod network;
mod overlay;
mod people;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::faults::{Attack, AttackKind, Fault};
pub use self::network::{Latency, Network};
pub use self::overlay::{Drt, Flooding, GossipSub, HyParView, Kademlia, OverlayKind, Regular};
pub use self::people::{Churn, Mobiles, Senders, Sizes, Span, Workload};
use crate::error::{Result, SimError};

/// Largest scenario or table read, in bytes: a trace of some million entries.
pub const MAX_FILE: u64 = 256 * 1024 * 1024;

/// What the matrix of latencies is called in the folder of a run.
const MATRIX: &str = "latency.csv";

/// What the trace of who comes and goes is called there.
const TRACE: &str = "trace.csv";

/// A scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Nodes that take part from the beginning.
    pub nodes: usize,
    /// How long it lasts, in seconds.
    pub duration_s: f64,
    /// The seed where the command line has none.
    pub seed: u64,
    /// How nodes come to know others.
    pub bootstrap: Bootstrap,
    /// What links are like.
    pub network: Network,
    /// Who comes and goes.
    pub churn: Churn,
    /// Who sleeps.
    pub mobiles: Mobiles,
    /// Who writes.
    pub workload: Workload,
    /// What happens to many at once.
    pub faults: Vec<Fault>,
    /// Who means harm; nobody if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<Attack>,
    /// Which overlay, and how it is set.
    pub overlay: OverlayKind,
    /// What is measured, and how often.
    pub metrics: Metrics,
    /// Where the files lie that it names.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "unnamed".to_owned(),
            description: String::new(),
            nodes: 100,
            duration_s: 120.0,
            seed: 1,
            bootstrap: Bootstrap::default(),
            network: Network::default(),
            churn: Churn::None,
            mobiles: Mobiles::default(),
            workload: Workload::default(),
            faults: Vec::new(),
            attack: None,
            overlay: OverlayKind::default(),
            metrics: Metrics::default(),
            folder: PathBuf::new(),
        }
    }
}

/// How nodes come to know others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bootstrap {
    /// How many others a node knows when it comes.
    pub contacts: usize,
    /// Which others.
    pub among: Among,
    /// The time between two nodes that come at the beginning, in milliseconds.
    pub interval_ms: f64,
    /// How long a node that has no link any more looks for others, in milliseconds: it is told of members
    /// that are online, as a DHT would.
    pub presence_ms: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { contacts: 2, among: Among::Earlier, interval_ms: 10.0, presence_ms: 2000.0 }
    }
}

/// Whom a node may know when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Among {
    /// Who came before it.
    Earlier,
    /// Anybody, also who comes later.
    All,
}

/// What is measured, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Time between two rows of series.csv, in seconds.
    pub series_every_s: f64,
    /// After what time since it was written a message is judged, in seconds: who was online all that time
    /// is expected to have it.
    pub judge_after_s: f64,
    /// Nodes from which distances are measured; all of them when there are not more.
    pub distance_samples: usize,
    /// Nodes of which it is measured how much their neighbours know each other.
    pub clustering_samples: usize,
    /// Pairs of nodes between which paths are counted that have no node in common.
    pub path_samples: usize,
    /// From when on the traffic of a network at rest is counted, in seconds. Before, it is that of joining.
    pub idle_from_s: f64,
    /// Whether every event is written to events.jsonl.
    pub events: bool,
    /// Whether the graph at the end is written to graph.graphml.
    pub graph: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            series_every_s: 5.0,
            judge_after_s: 20.0,
            distance_samples: 64,
            clustering_samples: 1000,
            path_samples: 20,
            idle_from_s: 30.0,
            events: false,
            graph: false,
        }
    }
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// When the file cannot be read, or is no scenario, or one that nothing can come of.
    pub fn read(file: &Path) -> Result<Self> {
        let text = read_text(file)?;
        Self::parse(&text, file)
    }

    /// Reads a scenario and sets entries of it: `nodes=500`, `overlay.refresh_s=60`.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when an entry cannot be set.
    pub fn read_with(file: &Path, entries: &[String]) -> Result<Self> {
        let text = read_text(file)?;
        if entries.is_empty() {
            return Self::parse(&text, file);
        }
        // What is wrong with the file itself is told with its line.
        Self::parse(&text, file)?;
        let mut table: toml::Table = toml::from_str(&text)
            .map_err(|wrong| SimError::Option(format!("{}: {}", file.display(), wrong.message())))?;
        entries.iter().try_for_each(|entry| set(&mut table, entry))?;
        let text = toml::to_string(&table).unwrap_or_default();
        Self::parse(&text, file).map_err(|wrong| match wrong {
            SimError::Scenario { what, .. } => {
                SimError::Option(format!("{}, with {}: {what}", file.display(), entries.join(" and ")))
            }
            other => other,
        })
    }

    /// Reads a scenario from text; `file` is for messages, and for where the files lie that it names.
    ///
    /// # Errors
    /// When it is no scenario, or one that nothing can come of.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let error = |line, what| SimError::Scenario { file: file.to_owned(), line, what };
        let mut scenario: Self = toml::from_str(text).map_err(|wrong: toml::de::Error| {
            let line = wrong.span().map_or(1, |span| check::line_at(text, span.start));
            error(line, wrong.message().to_owned())
        })?;
        scenario.folder = file.parent().map(Path::to_owned).unwrap_or_default();
        check::check(&scenario)
            .map_err(|wrong| error(check::line_of(text, &wrong.entry), wrong.to_string()))?;
        Ok(scenario)
    }

    /// Whether nothing in it contradicts anything else.
    ///
    /// # Errors
    /// The first contradiction, named by its entry.
    pub fn check(&self) -> Result<()> {
        check::check(self).map_err(|wrong| SimError::Option(wrong.to_string()))
    }

    /// The scenario as a run with this seed keeps it: with that seed, and the tables that it names under
    /// names of their own, beside it.
    #[must_use]
    pub fn kept(&self, seed: u64) -> Self {
        let mut kept = Self { seed, ..self.clone() };
        if let Latency::Matrix { file } = &mut kept.network.latency {
            *file = MATRIX.into();
        }
        if let Churn::Trace { file, .. } = &mut kept.churn {
            *file = TRACE.into();
        }
        kept
    }

    /// The tables that it names: under what name a run keeps each, and its text.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn tables(&self) -> Result<Vec<(&'static str, String)>> {
        let mut tables = Vec::new();
        if let Latency::Matrix { file } = &self.network.latency {
            tables.push((MATRIX, read_text(&self.folder.join(file))?));
        }
        if let Churn::Trace { file, .. } = &self.churn {
            tables.push((TRACE, read_text(&self.folder.join(file))?));
        }
        Ok(tables)
    }

    /// The whole scenario in TOML, with every default.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// What a scenario may hold, as JSON Schema.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// All nodes there ever are: those from the beginning, of flash crowds, and attackers.
    #[must_use]
    pub fn all_nodes(&self) -> usize {
        self.nodes.saturating_add(self.late_nodes()).saturating_add(self.attackers())
    }

    /// Nodes that come in a crowd later.
    #[must_use]
    pub fn late_nodes(&self) -> usize {
        let crowd = |fault: &Fault| if let Fault::FlashCrowd { nodes, .. } = fault { *nodes } else { 0 };
        self.faults.iter().map(crowd).fold(0, usize::saturating_add)
    }

    /// Nodes that mean harm.
    #[must_use]
    pub fn attackers(&self) -> usize {
        self.attack.as_ref().map_or(0, |attack| attack.nodes)
    }
}

/// Sets one entry, `path=value`, in a table.
fn set(table: &mut toml::Table, entry: &str) -> Result<()> {
    let wrong = |what: &str| SimError::Option(format!("{entry:?} cannot be set: {what}"));
    let (path, value) = entry.split_once('=').ok_or_else(|| wrong("write `entry=value`"))?;
    // What is no value of TOML is taken for a text.
    let value: toml::Value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut steps: Vec<&str> = path.trim().split('.').collect();
    let last = steps.pop().filter(|last| !last.is_empty()).ok_or_else(|| wrong("it has no name"))?;
    let mut inner = table;
    for step in steps {
        let next = inner.entry(step).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        inner = next.as_table_mut().ok_or_else(|| wrong("there is no such table"))?;
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

/// The text of a file of bearable size.
pub(crate) fn read_text(file: &Path) -> Result<String> {
    let length = std::fs::metadata(file).map_err(SimError::file(file))?.len();
    if length > MAX_FILE {
        let what = format!("{length} bytes are too many; {MAX_FILE} are read at most");
        return Err(SimError::Table { file: file.to_owned(), line: 1, what });
    }
    std::fs::read_to_string(file).map_err(SimError::file(file))
}

#[cfg(test)]
mod tests;
