//! Which overlay, and how it is set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which overlay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OverlayKind {
    /// The routing table of swarms: the code that Skep ships.
    Drt(Drt),
    /// Everybody has a link with everybody.
    FullMesh(Flooding),
    /// A random graph in which all have as many links, made once and not mended.
    Regular(Regular),
    /// HyParView, and Plumtree over it.
    #[serde(rename = "hyparview")]
    HyParView(HyParView),
    /// The mesh of GossipSub v1.1.
    #[serde(rename = "gossipsub")]
    GossipSub(GossipSub),
    /// Kademlia: messages go from bucket to bucket, and ids are looked up.
    Kademlia(Kademlia),
}

impl Default for OverlayKind {
    fn default() -> Self {
        Self::Drt(Drt::default())
    }
}

impl OverlayKind {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Drt(drt) => drt.name(),
            Self::FullMesh(_) => "full mesh".to_owned(),
            Self::Regular(it) => format!("random {}-regular", it.degree),
            Self::HyParView(it) => format!("HyParView {} with Plumtree", it.active),
            Self::GossipSub(it) => format!("GossipSub D={}", it.degree),
            Self::Kademlia(it) => format!("Kademlia k={}", it.k),
        }
    }
}

/// How the routing table of swarms is set. The defaults are what Skep ships.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drt {
    /// Whether nodes dial as the reference is known to: who failed is dialled again at every event and by no
    /// clock. Skep waits longer each time, and dials by the clock while it has few links.
    pub as_specified: bool,
    /// Links wanted in every bucket.
    pub bucket_size: usize,
    /// Time between two questions for nodes that each node asks one of its links, in seconds; 0 for none,
    /// as today.
    pub refresh_s: f64,
}

impl Default for Drt {
    fn default() -> Self {
        Self { as_specified: false, bucket_size: 2, refresh_s: 0.0 }
    }
}

impl Drt {
    fn name(&self) -> String {
        let who = if self.as_specified { "DRT as specified" } else { "DRT of Skep" };
        let bucket = if self.bucket_size == 2 { String::new() } else { format!(", b={}", self.bucket_size) };
        let refresh =
            if self.refresh_s > 0.0 { format!(", refresh {} s", self.refresh_s) } else { String::new() };
        format!("{who}{bucket}{refresh}")
    }
}

/// A mesh of all has nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flooding {}

/// How a random regular graph is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Regular {
    /// Links of each node.
    pub degree: usize,
}

impl Default for Regular {
    fn default() -> Self {
        Self { degree: 8 }
    }
}

/// How HyParView is set; the defaults are those of the paper's experiments with ten thousand nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HyParView {
    /// Links of each node at most.
    pub active: usize,
    /// Ids that each keeps for when one fails.
    pub passive: usize,
    /// Time between two shuffles of a node, in seconds.
    pub shuffle_s: f64,
}

impl Default for HyParView {
    fn default() -> Self {
        Self { active: 5, passive: 30, shuffle_s: 10.0 }
    }
}

/// How GossipSub is set; the defaults are those of its specification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GossipSub {
    /// Links of the mesh that are wanted of each node.
    pub degree: usize,
    /// With fewer, more are made.
    pub degree_low: usize,
    /// With more, some are let go.
    pub degree_high: usize,
    /// To how many others a heartbeat tells what there is, at least.
    pub degree_lazy: usize,
    /// Time between two heartbeats of a node, in seconds.
    pub heartbeat_s: f64,
    /// Connections of each node at least, of which some are in the mesh.
    pub connections: usize,
    /// Whether an author sends to all connections and not to the mesh only.
    pub flood_publish: bool,
}

impl Default for GossipSub {
    fn default() -> Self {
        Self {
            degree: 6,
            degree_low: 4,
            degree_high: 12,
            degree_lazy: 6,
            heartbeat_s: 1.0,
            connections: 20,
            flood_publish: true,
        }
    }
}

/// How Kademlia is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kademlia {
    /// Contacts in every bucket, and closest nodes that a look-up finds.
    pub k: usize,
    /// Questions under way at once in a look-up.
    pub alpha: usize,
    /// In how many nodes of each bucket a message is handed on.
    pub fanout: usize,
}

impl Default for Kademlia {
    fn default() -> Self {
        Self { k: 20, alpha: 3, fanout: 1 }
    }
}
