//! Simulates the overlays of swarms in virtual time: the code that Skep ships, and others on the same
//! workloads.
//!
//! ```text
//!   scenario     what is simulated: a TOML file
//!   overlay      what an overlay is: one trait; overlays: those there are, one file each
//!   world        nodes, the network between them, and what the scenario does to them
//!   queue, time, chance    what happens when, and where chance comes from
//!   graph, histogram       what is measured
//!   compare, sweep, again    many runs: side by side, over a grid, once more
//!   measure      how fast this is
//!   output       the folder that a run leaves behind
//! ```
//!
//! A run follows from the scenario and the seed alone, to the last byte of what it writes, on any machine.
//!
//! ```
//! let mut scenario = skep_sim::scenario::Scenario::default();
//! scenario.nodes = 50;
//! let outcome = skep_sim::run(&scenario, 7)?;
//! assert_eq!(outcome.summary["delivery_ratio"], 1.0);
//! # Ok::<(), skep_sim::error::SimError>(())
//! ```

pub mod again;
pub mod chance;
pub mod compare;
pub mod error;
pub mod graph;
pub mod histogram;
pub mod measure;
pub mod output;
pub mod overlay;
pub mod overlays;
pub mod queue;
pub mod scenario;
pub mod statistics;
pub mod sweep;
pub mod time;
mod world;

#[cfg(test)]
mod tests;

/// The examples of the documents.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod read_me {}

use error::Result;
use overlay::Overlay;
pub use world::{Healing, Net, Outcome, Progress, Row, Summary};

use crate::scenario::{OverlayKind, Scenario};

/// Whether a scenario could be run: the tables that it names, too, are read and looked at.
///
/// # Errors
/// When the scenario contradicts itself, or a file that it names cannot be read or is not what it should be.
pub fn check(scenario: &Scenario) -> Result<()> {
    scenario.check()?;
    world::check_tables(scenario)
}

/// Runs a scenario with the overlay that it names.
///
/// # Errors
/// When the scenario contradicts itself, or a file that it names cannot be read or is not what it should be.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Outcome> {
    run_with(scenario, seed, &mut |_, _| {})
}

/// Runs a scenario with the overlay that it names, and tells how far it is.
///
/// # Errors
/// As [`run`].
pub fn run_with(scenario: &Scenario, seed: u64, progress: Progress<'_>) -> Result<Outcome> {
    match &scenario.overlay {
        OverlayKind::Drt(_) => run_overlay::<overlays::drt::Drt>(scenario, seed, progress),
        OverlayKind::FullMesh(_) => run_overlay::<overlays::full_mesh::FullMesh>(scenario, seed, progress),
        OverlayKind::Regular(_) => run_overlay::<overlays::regular::Regular>(scenario, seed, progress),
        OverlayKind::HyParView(_) => run_overlay::<overlays::hyparview::HyParView>(scenario, seed, progress),
        OverlayKind::GossipSub(_) => run_overlay::<overlays::gossipsub::GossipSub>(scenario, seed, progress),
        OverlayKind::Kademlia(_) => run_overlay::<overlays::kademlia::Kademlia>(scenario, seed, progress),
    }
}

/// Runs a scenario with any overlay, whatever it names.
///
/// # Errors
/// As [`run`].
pub fn run_overlay<O: Overlay>(scenario: &Scenario, seed: u64, progress: Progress<'_>) -> Result<Outcome> {
    scenario.check()?;
    Ok(world::World::<O>::new(scenario, seed)?.run(progress))
}
