//! What went otherwise than expected.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep::rpc::client::ClientError;

/// What went otherwise than expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The program under test is not there.
    #[error("there is no program {}; build it in the same profile (cargo build -p skep --bins --examples), or name skep in SKEP_BIN", .0.display())]
    NoProgram(PathBuf),
    /// A file or program could not be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
    /// A program of the system failed.
    #[error("`{command}` failed: {output}")]
    Command {
        /// Its command line.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A network has room for 253 nodes.
    #[error("the network has no free address left: it has room for 253 nodes")]
    NetworkFull,
    /// A golden vector is not what it should be.
    #[error("the golden account {name} cannot be used: {problem}")]
    Golden {
        /// Which.
        name: String,
        /// Why.
        problem: String,
    },
    /// A node answered a request with an error.
    #[error("{node}: expected {request} to be done, but: {problem}")]
    Refused {
        /// Which node.
        node: String,
        /// The method.
        request: &'static str,
        /// What the node said.
        problem: ClientError,
    },
    /// A real daemon could not be spoken to, or answered with an error.
    #[error("{daemon}: expected {request} to be done, but: {problem}")]
    Bus {
        /// Which daemon.
        daemon: String,
        /// The method.
        request: String,
        /// What the bus or the daemon said.
        problem: Box<zbus::Error>,
    },
    /// A node ended that should run.
    #[error("{node}: expected it to run, but it has ended ({status})")]
    Ended {
        /// Which node.
        node: String,
        /// How.
        status: String,
    },
    /// Something did not happen in time.
    #[error("{node}: expected {expected} within {within:?}")]
    Timeout {
        /// Which node.
        node: String,
        /// What.
        expected: String,
        /// In which time.
        within: Duration,
    },
    /// Something is not as it should be.
    #[error("expected {0}")]
    Expected(String),
}

impl Failure {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |problem| Self::File { path: path.to_owned(), problem }
    }

    pub(crate) fn bus(daemon: &str, request: &str) -> impl FnOnce(zbus::Error) -> Self {
        move |problem| Self::Bus {
            daemon: daemon.to_owned(),
            request: request.to_owned(),
            problem: Box::new(problem),
        }
    }

    pub(crate) fn refused(node: &str, request: &'static str) -> impl FnOnce(ClientError) -> Self {
        move |problem| Self::Refused { node: node.to_owned(), request, problem }
    }
}

/// Of a scenario.
pub type Result<T> = std::result::Result<T, Failure>;
