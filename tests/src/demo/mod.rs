//! The main job: a bootstrap and three nodes, each a process of its own on loopback.
//!
//! ```text
//!   A  an account and a conversation that a real daemon made        bootstrap ── A
//!   B  a new account, friend of A and of C                              │   ╲  ╱ │
//!   C  a new account                                                    C ── B ──┘
//! ```

mod report;
mod story;
mod transcript;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::harness::run;
use report::Report;

/// Exit code when somebody interrupts, as shells have it.
const INTERRUPTED: u8 = 130;

/// Plays the main job; exits with 0 only if every check held.
#[must_use]
#[allow(clippy::print_stderr, reason = "this is where a program says why it failed")]
pub fn main() -> ExitCode {
    let place = match tempfile::Builder::new().prefix("skep-demo-").tempdir() {
        Ok(place) => place,
        Err(error) => {
            eprintln!("skep-demo: no temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::begin();
    let played = run(async {
        tokio::select! {
            played = story::play(&mut report, place.path()) => Some(played),
            () = interrupted() => None,
        }
    });
    let Some(played) = played else {
        eprintln!("skep-demo: interrupted; every node was ended");
        return ExitCode::from(INTERRUPTED);
    };
    if let Err(failure) = &played {
        report.fail(failure);
        let kept = place.keep();
        report.say(&format!("the nodes' logs are kept in {}", kept.display()));
    }
    report.table();
    if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn interrupted() {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}
