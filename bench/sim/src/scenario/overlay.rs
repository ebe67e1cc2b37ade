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
    /// Kademlia: messages go from bucket to bucket, and ids are looked up.
    Kademlia(Kademlia),
    /// HyParView keeps the links, Plumtree the tree in them.
    HyParView(HyParView),
    /// The mesh of GossipSub v1.1.
    GossipSub(GossipSub),
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
            Self::Kademlia(it) => format!("Kademlia k={}", it.k),
            Self::HyParView(_) => "HyParView + Plumtree".to_owned(),
            Self::GossipSub(_) => "GossipSub v1.1 mesh".to_owned(),
        }
    }
}

/// How the routing table of swarms is set. The defaults are what Skep ships.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drt {
    /// Whether nodes keep to what is known of the reference where Skep differs: who fails is dialled again
    /// at the next event, and every node tells two strangers of each message, not its author alone.
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

/// How HyParView and Plumtree are set. The defaults are those of the papers for ten thousand nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HyParView {
    /// Links of a node.
    pub active: usize,
    /// Other nodes that it remembers.
    pub passive: usize,
    /// Steps of a newcomer's walk until it is taken in.
    pub active_walk: u8,
    /// Steps left of it when it is remembered.
    pub passive_walk: u8,
    /// Time between two exchanges of remembered nodes, in seconds.
    pub shuffle_s: f64,
    /// How long a node waits for a message that it was told of before it asks for it, in milliseconds.
    pub graft_ms: f64,
}

impl Default for HyParView {
    fn default() -> Self {
        Self { active: 5, passive: 30, active_walk: 6, passive_walk: 3, shuffle_s: 10.0, graft_ms: 500.0 }
    }
}

/// How GossipSub is set. The defaults are those of its specification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GossipSub {
    /// Links of the mesh that a node wants.
    pub d: usize,
    /// With fewer it looks for more.
    pub d_low: usize,
    /// With more it gives some up.
    pub d_high: usize,
    /// Nodes that are told in every beat what there is.
    pub d_lazy: usize,
    /// Links of any kind that a node has, out of which the mesh is made.
    pub peers: usize,
    /// Time between two beats, in seconds.
    pub heartbeat_s: f64,
    /// Beats for which messages are told and kept: told, kept.
    pub history: [u8; 2],
    /// Whether an author sends to all its links, not to the mesh alone.
    pub flood_publish: bool,
    /// The share of links beside the mesh that are told in every beat, if that is more than `d_lazy`.
    pub gossip_factor: f64,
}

impl Default for GossipSub {
    fn default() -> Self {
        Self {
            d: 6,
            d_low: 4,
            d_high: 12,
            d_lazy: 6,
            peers: 20,
            heartbeat_s: 1.0,
            history: [3, 5],
            flood_publish: true,
            gossip_factor: 0.25,
        }
    }
}
