//! Whole nodes as processes: they talk, are killed, meet broken files, full disks and silent peers.
//!
//! Accounts come from the golden vectors, so that no keys have to be made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod accounts;
mod alone;
mod calls;
mod command_line;
#[cfg(feature = "media")]
mod conferences;
mod contacts;
mod crash;
mod crowd;
mod device;
mod disk;
mod echo_bot;
mod files;
mod follow;
mod groups;
mod linking;
mod names;
mod overlay;
mod own_devices;
mod played;
mod presence;
mod profiles;
mod read_me;
mod removal;
mod settings;
mod silent;
mod sip;
mod states;
mod talk;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use skep_tests::harness::{Golden, NodeSetup, Person, Result, program};
use tempfile::TempDir;

/// The arguments that say which node to speak to.
fn client_of(data: &Path) -> Vec<OsString> {
    vec!["--data-dir".into(), data.into()]
}

/// Runs a command without a terminal, as cron and other programs do.
fn skep(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(program().unwrap()).args(client_of(data)).args(words);
    for variable in ["SKEP_CONFIG", "SKEP_DATA_DIR", "SKEP_SOCKET", "SKEP_ACCOUNT"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).output().unwrap()
}

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
