//! Why a command failed, as one line for people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::error::NodeError;
use crate::rpc::client::ClientError;
use crate::rpc::schema::ErrorCode;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was typed cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// A file named on the command line.
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    /// The command was done, and what it found is not good.
    #[error("{0}")]
    Unwell(String),
    /// The terminal or the pipe behind it is gone.
    #[error("the output could not be written: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    pub(crate) fn file(path: &Path, problem: impl ToString) -> Self {
        Self::File { path: path.to_owned(), problem: problem.to_string() }
    }

    /// One line, whatever text of others is in it.
    pub(crate) fn line(&self) -> String {
        let text: Vec<_> = self.to_string().split_whitespace().map(str::to_owned).collect();
        format!("skep: {}", text.join(" "))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Client(ClientError::Refused(error)) if error.code == ErrorCode::InvalidParams.number() => {
                ExitCode::from(2)
            }
            // Whoever closed the pipe has seen enough.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}
