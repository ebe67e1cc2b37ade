//! What can go wrong, and what to do then.

use std::path::{Path, PathBuf};

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The scenario is not one.
    #[error("{}:{line}: {what}", file.display())]
    Scenario {
        /// Which file.
        file: PathBuf,
        /// Where in it, from 1 on; 1 when the place is not known.
        line: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A file that a scenario names is not what it should be.
    #[error("{}:{line}: {what}", file.display())]
    Table {
        /// Which file.
        file: PathBuf,
        /// Where in it, from 1 on.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder for the results is there already.
    #[error("{} is there already; choose another folder, or remove it", .0.display())]
    Exists(PathBuf),
    /// A folder holds no finished run.
    #[error("{} holds no finished run: {what}", folder.display())]
    NoRun {
        /// Which folder.
        folder: PathBuf,
        /// What is missing.
        what: String,
    },
    /// A run could not be repeated.
    #[error("{0}")]
    Differs(String),
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
}

/// What comes of most things here.
pub type Result<T> = std::result::Result<T, SimError>;

impl SimError {
    /// Says of which path an error is.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}
