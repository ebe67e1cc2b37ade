//! Nodes as processes: start, ask, watch, kill, restart.

mod crowd;
mod delay_line;
mod devices;
mod error;
mod event_log;
mod files;
mod golden;
mod group;
mod long_file;
mod name_server;
mod network;
mod newcomer;
mod node;
mod owner;
mod person;
mod process;
mod program;
mod relay;
pub(crate) mod usage;

use std::future::Future;
use std::time::{Duration, Instant};

pub use crowd::{Accounts, Agreement, Arrival, Crowd, Guests, Spread};
pub use delay_line::DelayLine;
pub use error::{Failure, Result};
pub use event_log::{EventLog, Mark};
pub use golden::{Golden, PICTURE, vector};
pub use long_file::{file_hash, long_file};
pub use name_server::NameServer;
pub use network::{DHT_PORT, HUB, Network, Place, no_namespaces};
pub use newcomer::Newcomer;
pub use node::{Node, NodeSetup};
pub(crate) use owner::Owner;
pub use person::{Burst, Person, import_params, same_history};
pub use process::Process;
pub(crate) use process::{child, show_log_of_failure};
pub use program::{example, find_program, program, run_to_end};
pub use relay::{Relay, Weather};

/// How long anything may take before it counts as failed: far longer than it takes on a busy machine,
/// real daemons included.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often something is looked at that no event tells.
const POLL: Duration = Duration::from_millis(20);

/// Looks again and again until something is found.
///
/// # Errors
/// [`Failure::Timeout`] with what was expected after [`PATIENCE`], and what `look` fails with.
pub async fn until<T>(
    node: &str,
    expected: impl Into<String>,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Failure::Timeout { node: node.to_owned(), expected: expected.into(), within: PATIENCE })
}

/// Fails unless `holds`.
///
/// # Errors
/// [`Failure::Expected`] with the text of `expected`.
pub fn check(holds: bool, expected: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Failure::Expected(expected())) }
}

/// Runs a scenario on the thread that calls: children end with the thread that started them.
///
/// # Panics
/// If the system gives no event loop.
#[allow(clippy::expect_used, reason = "nothing can be tested without an event loop")]
pub fn run<T>(scenario: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("an event loop");
    tokio::task::LocalSet::new().block_on(&runtime, scenario)
}
