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

use super::{Access, PackReceiver, Quarantine, Repository, RepositoryError, is_in_history};

/// What a fetch brought.
#[derive(Debug)]
pub enum Fetched {
    /// We have the peer's head.
    UpToDate {
        /// The peer's head.
        head: CommitId,
    },
    /// There is something new: [`FetchedPack::store`] it.
    New(FetchedPack),
}

/// A pack that was received whole and that nobody has looked into.
#[derive(Debug)]
pub struct FetchedPack {
    head: CommitId,
    receiver: Box<PackReceiver>,
}

/// Commits that are complete, but not validated and in no history: validate them,
/// [`Repository::admit`] the quarantine and move `main`, or drop it.
#[derive(Debug)]
pub struct NewCommits {
    /// The peer's head.
    pub head: CommitId,
    /// What we lacked, parents before children.
    pub commits: Vec<CommitId>,
    /// Where they are.
    pub quarantine: Quarantine,
}

impl FetchedPack {
    /// The peer's head.
    #[must_use]
    pub fn head(&self) -> CommitId {
        self.head
    }

    /// Makes the pack readable, checks that it is complete and forgets what is not needed. That may take
    /// minutes; the repository is held for an instant of them.
    ///
    /// # Errors
    /// When the pack is refused, lacks something, or the repository fails; nothing of it is left then.
    pub fn store(self, repository: &impl Access) -> Result<NewCommits, RepositoryError> {
        let mut quarantine = self.receiver.store(repository)?;
        let commits = quarantine.keep_needed(self.head)?;
        Ok(NewCommits { head: self.head, commits, quarantine })
    }
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
        Self { session, head: None, receiver: None, refused: HashSet::new() }
    }

    /// Takes bytes of the channel. After an error the fetch is over: close the channel.
    ///
    /// # Errors
    /// [`FetchError`]; nothing of the fetch is left then.
    pub fn advance(&mut self, repository: &impl Access, bytes: &[u8]) -> Result<FetchStep, FetchError> {
        self.session.receive(bytes)?;
        let mut step = FetchStep::default();
        while let Some(output) = self.session.poll()? {
            match output {
                DownloadOutput::Send(bytes) => step.send.push(bytes),
                DownloadOutput::Head(head) => self.decide(repository, head)?,
                DownloadOutput::Pack(bytes) => {
                    let begin = || repository.access(Repository::receive_pack);
                    self.receiver.get_or_insert_with(begin).receive(&bytes)?;
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

    /// What was received so far. It may be a file, which goes with it; the fetch is over then.
    pub fn take_received(&mut self) -> Option<PackReceiver> {
        self.receiver.take()
    }

    fn decide(&mut self, repository: &impl Access, head: CommitId) -> Result<(), FetchError> {
        if self.refused.contains(&head) {
            return Err(FetchError::RefusedBefore(head));
        }
        self.head = Some(head);
        if is_in_history(repository, head)? {
            self.session.up_to_date();
            return Ok(());
        }
        let haves = repository.access(|repository| match repository.head()? {
            Some(ours) => repository.newest_commits(ours, MAX_HAVES),
            None => Ok(Vec::new()),
        })?;
        self.session.want(head, &haves);
        Ok(())
    }

    fn finish(&mut self, repository: &impl Access) -> Result<Fetched, FetchError> {
        let head = self.head.ok_or(DownloadError::NoHead)?;
        if let Some(receiver) = self.receiver.take() {
            return Ok(Fetched::New(FetchedPack { head, receiver: Box::new(receiver) }));
        }
        if is_in_history(repository, head)? {
            Ok(Fetched::UpToDate { head })
        } else {
            Err(DownloadError::Vanished.into())
        }
    }
}
