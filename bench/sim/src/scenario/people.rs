//! Who comes and goes, sleeps, writes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who comes and goes. A node that comes back is the same device, and remembers nobody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Churn {
    /// Nobody.
    #[default]
    None,
    /// Nodes are online and offline in turn, for times drawn anew.
    Sessions {
        /// How long a node stays online.
        online: Span,
        /// How long it stays away.
        offline: Span,
        /// From when on, in seconds; all are online until then.
        #[serde(default)]
        start_s: f64,
        /// Until when, in seconds; 0 for the end.
        #[serde(default)]
        stop_s: f64,
        /// The share of those that take part in it.
        #[serde(default = "whole")]
        share: f64,
        /// The share of departures that are told to the others.
        #[serde(default)]
        graceful: f64,
    },
    /// Nodes are online once in every period, each at its own time of it.
    Diurnal {
        /// Length of a day, in seconds.
        period_s: f64,
        /// Which share of it a node is online.
        online: f64,
        /// Over which share of it the nodes' mornings are spread: the nearer to 0, the more come at once.
        spread: f64,
        /// From when on, in seconds.
        #[serde(default)]
        start_s: f64,
        /// The share of departures that are told to the others.
        #[serde(default)]
        graceful: f64,
    },
    /// As somebody recorded it: lines `seconds,node,up` or `seconds,node,down`, in order of time.
    Trace {
        /// Beside the scenario.
        file: PathBuf,
        /// The share of departures that are told to the others.
        #[serde(default)]
        graceful: f64,
    },
}

const fn whole() -> f64 {
    1.0
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Span {
    /// Always as long.
    Constant {
        /// In seconds.
        s: f64,
    },
    /// Exponential.
    Exponential {
        /// In seconds.
        mean_s: f64,
    },
    /// Weibull.
    Weibull {
        /// In seconds.
        scale_s: f64,
        /// Less than 1 for a long tail.
        shape: f64,
    },
    /// Log-normal.
    LogNormal {
        /// In seconds.
        median_s: f64,
        /// The deviation of its logarithm.
        sigma: f64,
    },
    /// Pareto.
    Pareto {
        /// In seconds.
        min_s: f64,
        /// The smaller, the longer the tail.
        shape: f64,
    },
}

/// Mobile devices: online for a while now and then, and when a message wakes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mobiles {
    /// Their share of the nodes.
    pub share: f64,
    /// Time between two times that one wakes by itself, in seconds.
    pub period_s: f64,
    /// For how long it stays awake, in seconds.
    pub awake_s: f64,
    /// How long it takes to wake one through the makers of phones, in milliseconds.
    pub push_ms: f64,
    /// From when on they sleep, in seconds.
    pub start_s: f64,
}

impl Default for Mobiles {
    fn default() -> Self {
        Self { share: 0.0, period_s: 900.0, awake_s: 30.0, push_ms: 1500.0, start_s: 60.0 }
    }
}

/// Who writes what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// How many messages are written.
    pub messages: usize,
    /// When the first is written, in seconds.
    pub start_s: f64,
    /// How many are written in a second on average.
    pub rate_s: f64,
    /// Whether they come at random times; at regular ones otherwise.
    pub poisson: bool,
    /// Who writes them.
    pub senders: Senders,
    /// How large they are, in bytes.
    pub size: Sizes,
    /// How often something goes there and back until a message is fetched from who has it.
    pub fetch_round_trips: f64,
    /// What fetching takes beside, in milliseconds: the disk, checking signatures.
    pub fetch_ms: f64,
    /// How many ids are looked up in a second, by overlays that can.
    pub lookups_s: f64,
    /// When the first id is looked up, in seconds.
    pub lookups_start_s: f64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            messages: 10,
            start_s: 60.0,
            rate_s: 1.0,
            poisson: true,
            senders: Senders::Uniform,
            size: Sizes::Constant { bytes: 1000 },
            fetch_round_trips: 1.5,
            fetch_ms: 5.0,
            lookups_s: 0.0,
            lookups_start_s: 60.0,
        }
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Senders {
    /// Everybody as often.
    Uniform,
    /// Few write most: the n-th node as often as 1 / n to this power.
    Zipf {
        /// The power.
        exponent: f64,
    },
    /// One node writes all.
    One {
        /// Which, from 0 on.
        node: usize,
    },
}

/// How large messages are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sizes {
    /// All as large.
    Constant {
        /// How large.
        bytes: u32,
    },
    /// Log-normal.
    LogNormal {
        /// The median.
        median_bytes: f64,
        /// The deviation of its logarithm.
        sigma: f64,
    },
}
