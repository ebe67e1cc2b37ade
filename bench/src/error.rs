//! Why a benchmark could not be run.

use std::path::PathBuf;
use std::time::Duration;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, BenchError>;

/// Why a benchmark could not be run, or did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// Something that must be installed or built is not there.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A program that was to do something failed.
    #[error("`{command}` failed: {output}")]
    Command {
        /// Its command line.
        command: String,
        /// What it printed.
        output: String,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something did not happen in time.
    #[error("{node}: no {event} within {} s", within.as_secs())]
    Timeout {
        /// The node that was to tell it.
        node: String,
        /// What was expected.
        event: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// A node answered a request with an error, or not in the expected form.
    #[error("{node}: {request}: {problem}")]
    Refused {
        /// The node.
        node: String,
        /// The request.
        request: String,
        /// What was wrong.
        problem: String,
    },
    /// The bus of a daemon failed.
    #[error("D-Bus: {0}")]
    Bus(#[from] zbus::Error),
    /// A synthetic conversation could not be made, read or validated.
    #[error("the synthetic conversation: {0}")]
    Conversation(Box<dyn std::error::Error + Send + Sync>),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// A closure that turns what the system says about `path` into an error.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Wraps whatever the cores say about the synthetic conversation.
    pub(crate) fn conversation(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Conversation(Box::new(error))
    }
}
