//! Why a benchmark could not be run.

use std::path::PathBuf;

use skep_tests::harness::Failure;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, BenchError>;

/// Why a benchmark could not be run, or did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A node, or what it needs, did otherwise than expected.
    #[error(transparent)]
    Node(#[from] Failure),
    /// A synthetic conversation could not be made, read or validated.
    #[error("the synthetic conversation: {0}")]
    Conversation(Box<dyn std::error::Error + Send + Sync>),
    /// Earlier results are in a file that cannot be read.
    #[error("{} holds no earlier results that can be kept beside new ones ({problem}); delete it", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: serde_json::Error,
    },
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
