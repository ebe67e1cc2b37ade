//! Fetching over a channel: the client session, the pack it brings and the checks it needs.
//!
//! [`Fetch`] advances by whatever bytes arrived and never waits, so an actor can read its channel
//! and hand each piece to the blocking pool.

use std::collections::HashSet;

use bytes::Bytes;
use skep_protocol::ids::{CommitId, ConversationId, DeviceId};
use skep_protocol::swarm::git::download::{
    DownloadError, DownloadOutput, DownloadSession, MAX_FETCH_BYTES, MAX_HAVES,
};

use super::{PackReceiver, Received, Repository, RepositoryError};

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// We have the peer's head.
    UpToDate {
        /// The peer's head.
        head: CommitId,
    },
    /// Commits that are complete and on disk, but not validated and in no history: validate them
    /// and move `main`, or [`Repository::discard`] them.
    New {
        /// The peer's head.
        head: CommitId,
        /// What we lacked, parents before children.
        commits: Vec<CommitId>,
        /// For discarding.
        received: Received,
    },
}

/// Why a fetch failed; the history is as before, and what was received is gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The peer broke the protocol, sent too much or vanished.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The pack was refused, or the repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The peer serves a head that was refused before; nothing was fetched.
    #[error("the history up to {0} was refused before")]
    RefusedBefore(CommitId),
    /// The channel failed.
    #[error("the channel of a fetch failed: {0}")]
    Channel(#[from] std::io::Error),
}

/// What to do after a step.
#[derive(Debug, Default)]
pub struct FetchStep {
    /// Send these, in this order.
    pub send: Vec<Bytes>,
    /// The result, when the fetch is over. The channel can serve the next one.
    pub done: Option<Fetched>,
}

/// A fetch that advances by received bytes.
#[derive(Debug)]
pub struct Fetch {
    session: DownloadSession,
    head: Option<CommitId>,
    haves: Vec<CommitId>,
    receiver: Option<PackReceiver>,
    refused: HashSet<CommitId>,
}

impl Fetch {
    /// Starts fetching `conversation` from the device `server`. Advance it once with no bytes to get
    /// the request.
    #[must_use]
    pub fn new(conversation: ConversationId, server: DeviceId) -> Self {
        Self::with_limit(conversation, server, MAX_FETCH_BYTES)
    }

    /// As [`Self::new`], with a smaller limit in bytes.
    #[must_use]
    pub fn with_limit(conversation: ConversationId, server: DeviceId, limit: u64) -> Self {
        let session = DownloadSession::with_limit(conversation, server, limit);
        Self { session, head: None, haves: Vec::new(), receiver: None, refused: HashSet::new() }
    }

    /// Takes bytes of the channel. After an error the fetch is over: close the channel.
    ///
    /// # Errors
    /// [`FetchError`]; nothing of the fetch is left then.
    pub fn advance(&mut self, repository: &mut Repository, bytes: &[u8]) -> Result<FetchStep, FetchError> {
        self.session.receive(bytes)?;
        let mut step = FetchStep::default();
        while let Some(output) = self.session.poll()? {
            match output {
                DownloadOutput::Send(bytes) => step.send.push(bytes),
                DownloadOutput::Head(head) => self.decide(repository, head)?,
                DownloadOutput::Pack(bytes) => {
                    self.receiver.get_or_insert_with(|| repository.receive_pack()).receive(&bytes)?;
                }
                DownloadOutput::Finished => step.done = Some(self.finish(repository)?),
            }
        }
        Ok(step)
    }

    /// The channel closed.
    ///
    /// # Errors
    /// [`DownloadError::Vanished`] when the fetch was not complete.
    pub fn closed(&mut self) -> Result<(), FetchError> {
        Ok(self.session.closed()?)
    }

    /// The same, ending at once when the peer serves one of these heads.
    #[must_use]
    pub fn refusing(mut self, heads: HashSet<CommitId>) -> Self {
        self.refused = heads;
        self
    }

    fn decide(&mut self, repository: &Repository, head: CommitId) -> Result<(), FetchError> {
        if self.refused.contains(&head) {
            return Err(FetchError::RefusedBefore(head));
        }
        self.head = Some(head);
        let ours = repository.head()?;
        if let Some(ours) = ours {
            // An object of that name may be left from a fetch that failed, so only the history counts.
            if repository.contains(head.into()) && repository.is_ancestor(head, ours)? {
                self.session.up_to_date();
                return Ok(());
            }
            self.haves = repository.newest_commits(ours, MAX_HAVES)?;
        }
        self.session.want(head, &self.haves);
        Ok(())
    }

    fn finish(&mut self, repository: &mut Repository) -> Result<Fetched, FetchError> {
        let head = self.head.ok_or(DownloadError::NoHead)?;
        let Some(receiver) = self.receiver.take() else {
            return match repository.head()? {
                Some(ours) if repository.contains(head.into()) && repository.is_ancestor(head, ours)? => {
                    Ok(Fetched::UpToDate { head })
                }
                _ => Err(DownloadError::Vanished.into()),
            };
        };
        let received = repository.store_pack(receiver)?;
        let known = repository.head()?;
        match repository.check_connected(head, known.as_slice()) {
            Ok(commits) => Ok(Fetched::New { head, commits, received }),
            Err(error) => {
                repository.discard(received)?;
                Err(error.into())
            }
        }
    }
}
