//! What Skep does, played with real processes while one looks on.
//!
//! ```text
//!   nodes       a bootstrap and three nodes of Skep, on loopback
//!   group       a bootstrap and twenty nodes of Skep in a group, on a network that is parted
//!   devices     one person with three devices, on loopback
//!   jami        Skep beside the real daemon, on a private network of Jami's DHT
//!   report      what is told meanwhile, and the table at the end
//!   transcript  a conversation for people
//! ```

mod devices;
mod group;
mod jami;
mod nodes;
mod report;
mod transcript;

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::no_daemons;
use crate::harness::{Result, run};
use report::Report;

/// Exit code when somebody interrupts, as shells have it.
const INTERRUPTED: u8 = 130;

/// What can be played.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    /// The main job: a bootstrap and three nodes.
    Nodes,
    /// A group of twenty. Without root its network cannot be parted.
    Group,
    /// One person with three devices, and a friend.
    Devices,
    /// Skep and the real daemon. Needs root and the daemon.
    Jami,
}

impl Job {
    /// Plays it; exits with 0 only if every check held.
    #[must_use]
    #[allow(clippy::print_stderr, reason = "this is where a program says why it failed")]
    pub fn play(self) -> ExitCode {
        if let Some(obstacle) = self.obstacle() {
            eprintln!("skep-demo: no real daemon can run here: {obstacle}");
            return ExitCode::FAILURE;
        }
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
                played = self.tell(&mut report, place.path()) => Some(played),
                () = interrupted() => None,
            }
        });
        let Some(played) = played else {
            eprintln!("skep-demo: interrupted; every process was ended");
            return ExitCode::from(INTERRUPTED);
        };
        if let Err(failure) = &played {
            report.fail(failure);
            let kept = place.keep();
            report.say(&format!("the logs are kept in {}", kept.display()));
        }
        report.table();
        if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Why it cannot be played here.
    fn obstacle(self) -> Option<String> {
        match self {
            Self::Nodes | Self::Group | Self::Devices => None,
            Self::Jami => no_daemons(),
        }
    }

    /// What it leaves is below `place`.
    async fn tell(self, report: &mut Report, place: &Path) -> Result<()> {
        match self {
            Self::Nodes => nodes::play(report, place).await,
            Self::Group => group::play(report, place).await,
            Self::Devices => devices::play(report, place).await,
            Self::Jami => jami::play(report, place).await,
        }
    }
}

async fn interrupted() {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}
