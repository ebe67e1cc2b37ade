//! Why a commit is refused. Verdicts depend on nothing but the commit, its ancestors and what it
//! edits, so they are the same on every device and on every day. Almost all of them are final; see
//! [`Refusal::is_final`].

use super::diff::ReadError;
use super::layout::TreePath;
use super::message::{MessageError, Mode};
use super::object::{ObjectError, SourceError};
use crate::ids::{AccountId, CommitId, DeviceId};

/// Why a commit has no place in the conversation (`spec: swarm 7`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The commit or one of its trees is malformed.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Something it refers to is not there.
    #[error("object {0} is missing")]
    Missing(String),
    /// Something it refers to is longer than allowed, in bytes.
    #[error("an object is longer than {0} bytes")]
    TooLong(usize),
    /// A folder no conversation has.
    #[error("it records a folder that no conversation has")]
    Folder,
    /// A file no conversation has.
    #[error("the file {0:?} has no place in a conversation")]
    UnknownPath(String),
    /// It changes more files than any honest commit.
    #[error("it changes too many files")]
    TooManyChanges,
    /// The message is not JSON with a type.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// No readable `signature` header.
    #[error("it is not signed")]
    NoSignature,
    /// The signature is not that of the author device over this commit.
    #[error("its signature is not that of device {0}")]
    BadSignature(DeviceId),
    /// The author's e-mail is no device id.
    #[error("its author is not a device")]
    AuthorIsNoDevice,
    /// It has no parent and is not the first commit of this conversation.
    #[error("it begins another history")]
    ForeignRoot,
    /// More than two parents.
    #[error("it has {0} parents")]
    TooManyParents(usize),
    /// The first commit has no known mode.
    #[error("the conversation has no known mode")]
    UnknownMode,
    /// The tree does not hold the certificate of the author device.
    #[error("device {0} has no certificate in the conversation")]
    UnknownDevice(DeviceId),
    /// The author device was banned.
    #[error("device {0} is banned")]
    BannedDevice(DeviceId),
    /// The author device belongs to somebody who is no member.
    #[error("{0} is not a member")]
    NotMember(AccountId),
    /// Only an admin may do this.
    #[error("{0} is not an admin")]
    NotAdmin(AccountId),
    /// A file that should be a certificate is none.
    #[error("{0} is not a certificate")]
    NotCertificate(TreePath),
    /// A certificate that does not belong where it is, or not to whom it should.
    #[error("{0} is a certificate of somebody else")]
    ForeignCertificate(TreePath),
    /// A certificate had expired when the commit was made.
    #[error("{0} had expired")]
    Expired(TreePath),
    /// The commit changes a file its kind may not change, or not in this way.
    #[error("a {kind} commit may not change {path} so")]
    UnexpectedChange {
        /// What kind of commit it is.
        kind: &'static str,
        /// The file.
        path: TreePath,
    },
    /// A file that must change did not.
    #[error("a {kind} commit must change {path}")]
    ExpectedChange {
        /// What kind of commit it is.
        kind: &'static str,
        /// The file.
        path: TreePath,
    },
    /// `uri` is no id, or not of the right kind.
    #[error("its uri is malformed")]
    MalformedTarget,
    /// `action` is not a known word.
    #[error("its action is unknown")]
    UnknownAction,
    /// A vote adds no vote, or two.
    #[error("it must add exactly one vote")]
    NotOneVote,
    /// The target of the commit may not be treated so: oneself, a stranger, a banned person.
    #[error("its target may not be treated so")]
    WrongTarget,
    /// A ban or unban without enough votes of admins.
    #[error("it has {votes} votes of {admins} admins")]
    NotEnoughVotes {
        /// Votes of admins it counts.
        votes: usize,
        /// How many admins there were.
        admins: usize,
    },
    /// A ban or unban that moves nobody.
    #[error("it neither bans nor unbans anybody")]
    NobodyBanned,
    /// The edited commit cannot be edited, or `edit` is no id.
    #[error("it edits {0:?}, which cannot be edited")]
    NotEditable(Option<CommitId>),
    /// The edited commit is not here.
    #[error("it edits {0}, which is not here")]
    EditedIsMissing(CommitId),
    /// The edited commit is by somebody else.
    #[error("it edits a message of somebody else")]
    ForeignEdit,
    /// This kind of commit does not belong in a conversation of this mode.
    #[error("a {kind} commit does not belong in a conversation of mode {mode:?}")]
    WrongMode {
        /// What kind of commit it is.
        kind: &'static str,
        /// The conversation's mode.
        mode: Mode,
    },
    /// A merge leaves a ban out that one of its sides has and nobody lifted.
    #[error("the merge drops {0}")]
    MergeDropsBan(TreePath),
    /// A merge changed something by itself.
    #[error("the merge itself changes {0:?}")]
    MergeChanges(String),
    /// Merges of this history leave lifted bans out so often, each time reaching back so far, that
    /// finding out whether they may takes more steps than any honest history does.
    #[error("its history merges forks from before lifted bans too often")]
    TooManyForks,
}

impl Refusal {
    /// Whether it stays refused whatever else arrives, so that it need not be asked for again. Not
    /// so when something is missing: another peer may have it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Missing(_) | Self::EditedIsMissing(_))
    }
}

/// A commit that could not be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidationError {
    /// It is refused; for ever if [`ValidationError::is_final`].
    #[error("commit {commit} is refused: {refusal}")]
    Refused {
        /// Which commit.
        commit: CommitId,
        /// Why.
        refusal: Refusal,
    },
    /// The store failed; says nothing about the commit, so try again.
    #[error("commit {commit} could not be read")]
    Store {
        /// Which commit.
        commit: CommitId,
        /// What went wrong.
        #[source]
        error: SourceError,
    },
}

impl ValidationError {
    /// Whether the commit stays refused for ever: [`Refusal::is_final`], and not a store that failed.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => refusal.is_final(),
            Self::Store { .. } => false,
        }
    }
}

/// What a rule finds: a refusal, or a store that failed.
#[derive(Debug)]
pub(super) enum Problem {
    Refused(Refusal),
    Store(SourceError),
}

impl Problem {
    pub(super) fn at(self, commit: CommitId) -> ValidationError {
        match self {
            Self::Refused(refusal) => ValidationError::Refused { commit, refusal },
            Self::Store(error) => ValidationError::Store { commit, error },
        }
    }
}

/// Result of a rule.
pub(super) type Verdict<T = ()> = Result<T, Problem>;

impl<R: Into<Refusal>> From<R> for Problem {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<ValidationError> for Problem {
    fn from(error: ValidationError) -> Self {
        match error {
            ValidationError::Refused { refusal, .. } => Self::Refused(refusal),
            ValidationError::Store { error, .. } => Self::Store(error),
        }
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::TooLong { limit } => Self::Refused(Refusal::TooLong(limit)),
            store @ SourceError::Store(_) => Self::Store(store),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        Self::Refused(match error {
            ReadError::Missing(id) => Refusal::Missing(id),
            ReadError::Object(error) => Refusal::Object(error),
            ReadError::Folder => Refusal::Folder,
            ReadError::UnknownPath(path) => Refusal::UnknownPath(path),
            ReadError::TooManyChanges => Refusal::TooManyChanges,
            ReadError::Source(error) => return error.into(),
        })
    }
}

/// Fails with `refusal` unless `condition` holds.
pub(super) fn require(condition: bool, refusal: impl FnOnce() -> Refusal) -> Verdict {
    if condition { Ok(()) } else { Err(Problem::Refused(refusal())) }
}
