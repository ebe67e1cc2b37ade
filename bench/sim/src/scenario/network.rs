//! What links are like.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What links are like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// How long anything takes from one node to another, one way. Each pair of nodes has its own time.
    pub latency: Latency,
    /// By how much more a single message takes at most, as a share of that.
    pub jitter: f64,
    /// The share of messages that is lost. Links send again, after a wait; what is sent without one is gone.
    pub loss: f64,
    /// What a node sends at most, in bits a second; 0 for as much as it likes.
    pub upload_bits_s: f64,
    /// What making a link takes beside its ways, in milliseconds.
    pub setup_ms: f64,
    /// How often a message goes there and back until a link is made.
    pub setup_round_trips: f64,
    /// The share of requests for a link that fail.
    pub connect_failure: f64,
    /// After how long a node learns that no link comes about, in milliseconds.
    pub connect_timeout_ms: f64,
    /// The share of nodes behind an address translator.
    pub nat_share: f64,
    /// The share of pairs of nodes that are both behind one and never get a link.
    pub nat_failure: f64,
    /// How long a link lasts on average until it breaks by itself, in seconds; 0 for ever.
    pub link_life_s: f64,
    /// After how long a node learns that the other end of a link has vanished, in milliseconds.
    pub detection_ms: f64,
    /// Into how many regions nodes are dealt out, in turn. A matrix of latencies says how many it has.
    pub regions: usize,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency: Latency::Uniform { min_ms: 20.0, max_ms: 80.0 },
            jitter: 0.0,
            loss: 0.0,
            upload_bits_s: 0.0,
            setup_ms: 0.0,
            setup_round_trips: 0.0,
            connect_failure: 0.0,
            connect_timeout_ms: 2000.0,
            nat_share: 0.0,
            nat_failure: 0.3,
            link_life_s: 0.0,
            detection_ms: 2000.0,
            regions: 1,
        }
    }
}

/// How long anything takes one way between two nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Latency {
    /// Always as long.
    Constant {
        /// In milliseconds.
        ms: f64,
    },
    /// Anything between two times.
    Uniform {
        /// In milliseconds.
        min_ms: f64,
        /// In milliseconds.
        max_ms: f64,
    },
    /// Log-normal.
    LogNormal {
        /// In milliseconds.
        median_ms: f64,
        /// The deviation of its logarithm.
        sigma: f64,
    },
    /// Pareto.
    Pareto {
        /// In milliseconds.
        min_ms: f64,
        /// The smaller, the longer the tail; more than 1.
        shape: f64,
    },
    /// As measured between regions: a square of milliseconds, one row a line, separated by commas.
    Matrix {
        /// Beside the scenario.
        file: PathBuf,
    },
}
