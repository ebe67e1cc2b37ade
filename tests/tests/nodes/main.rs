//! Whole nodes as processes: they talk, are killed, meet broken files, full disks and silent peers.
//!
//! Accounts come from the golden vectors, so that no keys have to be made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod accounts;
mod alone;
mod contacts;
mod crash;
mod disk;
mod silent;
mod talk;

use skep_tests::harness::{Golden, NodeSetup, Person, Result};
use tempfile::TempDir;

/// Two people on nodes of their own, the first of which the second joins through.
struct Pair {
    alice: Person,
    carol: Person,
    // Last, so that the nodes have ended when their files go.
    place: TempDir,
}

impl Pair {
    async fn start() -> Result<Self> {
        let place = tempfile::tempdir().unwrap();
        let mut alice = Person::start(Golden::ALICE, NodeSetup::new("alice", place.path())).await?;
        let address = alice.node.address().await?;
        let setup = NodeSetup::new("carol", place.path()).joining(&address);
        let mut carol = Person::start(Golden::CAROL, setup).await?;
        // Alone, alice had nobody to announce herself to.
        alice.announced().await?;
        carol.announced().await?;
        Ok(Self { alice, carol, place })
    }
}
