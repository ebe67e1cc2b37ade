//! Serving a channel: the server session and the packs it needs.
//!
//! [`Serve`] advances by whatever bytes arrived and produces a bounded piece of a pack each time,
//! so that an actor can send at the speed of its channel. A step takes milliseconds, unless
//! [`Serve::is_heavy`] says before it that it takes long.

use bytes::Bytes;
use skep_protocol::ids::CommitId;
use skep_protocol::swarm::git::upload::{UploadClose, UploadOutput, UploadSession};

use super::{PackStream, Repository, RepositoryError};

/// Bytes of a pack produced in one step before the driver sends them.
const STEP_BYTES: usize = 256 * 1024;

/// Commits looked up in a step that takes milliseconds: some times as many as peers of ours name.
const QUICK_HAVES: usize = 256;

/// What happened while serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The peer was sent everything up to this commit.
    Sent(CommitId),
    /// The peer has this commit, which is our head.
    UpToDate(CommitId),
}

impl Served {
    /// The commit that the peer has now (`spec: swarm 13`).
    #[must_use]
    pub const fn commit(self) -> CommitId {
        match self {
            Self::Sent(commit) | Self::UpToDate(commit) => commit,
        }
    }
}

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The peer broke the protocol, or asked for what it may not have.
    #[error(transparent)]
    Session(#[from] UploadClose),
    /// The repository could not answer.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// What to do after a step.
#[derive(Debug, Default)]
pub struct ServeStep {
    /// Send these, in this order.
    pub send: Vec<Bytes>,
    /// Tell these once everything was sent.
    pub served: Vec<Served>,
    /// Advance again with no bytes once everything was sent: there is more to do.
    pub more: bool,
}

/// The server of one channel.
#[derive(Debug, Default)]
pub struct Serve {
    session: UploadSession,
    pack: Option<PackStream>,
    /// What the next step begins with.
    heavy: Option<Heavy>,
}

/// Questions whose answer takes up to seconds.
#[derive(Debug)]
enum Heavy {
    FindCommon(Vec<CommitId>),
    BuildPack { want: CommitId, common: Vec<CommitId> },
}

impl Serve {
    /// Takes bytes of the channel, or none to go on. After an error close the channel.
    ///
    /// # Errors
    /// [`ServeError`]: what the peer did wrong, or why the repository cannot answer.
    pub fn advance(&mut self, repository: &Repository, bytes: &[u8]) -> Result<ServeStep, ServeError> {
        self.session.receive(bytes);
        let mut step = ServeStep::default();
        self.answer_heavy(repository)?;
        let mut produced = 0;
        loop {
            while let Some(output) = self.session.poll() {
                self.answer(repository, output, &mut step)?;
            }
            if self.heavy.is_some() {
                step.more = true;
                return Ok(step);
            }
            let Some(pack) = &mut self.pack else { return Ok(step) };
            if produced >= STEP_BYTES {
                step.more = true;
                return Ok(step);
            }
            if let Some(bytes) = pack.next_bytes(repository)? {
                produced += bytes.len();
                self.session.pack_bytes(&bytes);
            } else {
                self.pack = None;
                self.session.pack_end();
            }
        }
    }

    /// Whether the next step may take seconds: it looks at much of the history.
    #[must_use]
    pub const fn is_heavy(&self) -> bool {
        self.heavy.is_some()
    }

    /// Whether no session is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.session.is_idle()
    }

    fn answer(
        &mut self,
        repository: &Repository,
        output: UploadOutput,
        step: &mut ServeStep,
    ) -> Result<(), ServeError> {
        match output {
            UploadOutput::Send(bytes) => step.send.push(bytes),
            UploadOutput::NeedAdvertisement => match repository.advertise()? {
                Some(told) => self.session.advertise(told.head, &told.references),
                None => self.session.fail(),
            },
            UploadOutput::FindCommon(haves) => {
                let few = haves.len() <= QUICK_HAVES;
                self.heavy = Some(Heavy::FindCommon(haves));
                if few {
                    self.answer_heavy(repository)?;
                }
            }
            UploadOutput::BuildPack { want, common } => {
                self.pack = repository.short_pack_stream(want, &common)?;
                if self.pack.is_none() {
                    self.heavy = Some(Heavy::BuildPack { want, common });
                }
            }
            UploadOutput::Finished { want } => step.served.push(Served::Sent(want)),
            UploadOutput::UpToDate { head } => step.served.push(Served::UpToDate(head)),
            UploadOutput::Close(reason) => return Err(reason.into()),
        }
        Ok(())
    }

    fn answer_heavy(&mut self, repository: &Repository) -> Result<(), ServeError> {
        match self.heavy.take() {
            Some(Heavy::FindCommon(haves)) => {
                let mut common = Vec::new();
                for have in haves {
                    if repository.contains(have.into())? {
                        common.push(have);
                    }
                }
                self.session.common(&common);
            }
            Some(Heavy::BuildPack { want, common }) => {
                self.pack = Some(repository.pack_stream(want, &common)?);
            }
            None => {}
        }
        Ok(())
    }
}
