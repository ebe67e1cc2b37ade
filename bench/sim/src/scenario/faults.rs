//! What happens to many nodes at once, and who means harm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to many nodes at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Nodes vanish without a word.
    Crash {
        /// When, in seconds.
        at_s: f64,
        /// Which share of all.
        share: f64,
        /// After how long they are back, in seconds; 0 for never.
        #[serde(default)]
        back_after_s: f64,
    },
    /// All nodes of a region vanish without a word.
    RegionalFailure {
        /// When, in seconds.
        at_s: f64,
        /// Which region, from 0 on.
        region: usize,
        /// After how long they are back, in seconds; 0 for never.
        #[serde(default)]
        back_after_s: f64,
    },
    /// Nodes that were not there before come within a short time.
    FlashCrowd {
        /// When the first comes, in seconds.
        at_s: f64,
        /// How many.
        nodes: usize,
        /// Until the last of them comes, in seconds.
        over_s: f64,
    },
    /// The network falls into two parts, which do not reach each other.
    Partition {
        /// When, in seconds.
        at_s: f64,
        /// When it is whole again, in seconds.
        heal_s: f64,
        /// Which share of the nodes is on one side.
        share: f64,
        /// The share of nodes that notice when it is whole again, as those whose own connection changes do.
        #[serde(default = "whole")]
        noticed: f64,
    },
}

const fn whole() -> f64 {
    1.0
}

/// Who means harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// How.
    pub how: AttackKind,
    /// How many nodes attack. They are members, and besides the others.
    pub nodes: usize,
    /// When they come, in seconds; before everybody else when 0.
    #[serde(default)]
    pub at_s: f64,
}

/// How harm is done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttackKind {
    /// They have ids next to the victim's, link with it as soon as they come, tell others of nobody but each
    /// other, and pass nothing on.
    Eclipse {
        /// The victim.
        #[serde(default)]
        victim: usize,
        /// How many first bits their ids share with the victim's.
        #[serde(default = "ground_bits")]
        ground_bits: u32,
    },
    /// They have ids like everybody's, link with whom they can, tell of nobody but each other, and pass
    /// nothing on: an eclipse of all.
    EclipseAll,
    /// They have ids in one half, quarter and so on of all ids, and pass nothing on.
    Sybil {
        /// How many first bits their ids share.
        #[serde(default = "ground_bits")]
        ground_bits: u32,
    },
    /// They behave, but pass nothing on.
    Censor,
    /// They are online before everybody else, and pass nothing on: whoever comes knows hardly anybody else.
    ColdBoot,
    /// They behave until this time, and pass nothing on from then.
    CovertFlash {
        /// When, in seconds.
        turn_s: f64,
    },
    /// They pass on everything, but late.
    Slow {
        /// How much later, in milliseconds.
        delay_ms: f64,
    },
}

const fn ground_bits() -> u32 {
    16
}
