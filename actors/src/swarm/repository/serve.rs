//! Serving a channel: the server session and the packs it needs.
//!
//! [`Serve`] advances by whatever bytes arrived and produces a bounded piece of a pack each time,
//! so that an actor can send at the speed of its channel. [`serve`] does the waiting itself, for a
//! thread that may.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use skep_protocol::ids::CommitId;
use skep_protocol::swarm::git::upload::{UploadClose, UploadOutput, UploadSession};

use super::{PackStream, Repository, RepositoryError};

/// Bytes read from the channel at a time.
const READ_BUFFER: usize = 16 * 1024;

/// Bytes of a pack produced in one step before the driver sends them.
const STEP_BYTES: usize = 256 * 1024;

/// A channel that can wait.
pub trait Duplex {
    /// Reads at least one byte; 0 when the channel was closed.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after `deadline`, or what the channel says.
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after `deadline`, or what the channel says.
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()>;
}

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
    /// The channel failed.
    #[error("the channel of a git server failed: {0}")]
    Channel(#[from] io::Error),
}

/// What to do after a step.
#[derive(Debug, Default)]
pub struct ServeStep {
    /// Send these, in this order.
    pub send: Vec<Bytes>,
    /// Tell these once everything was sent.
    pub served: Vec<Served>,
    /// Advance again with no bytes once everything was sent: there is more of the pack.
    pub more: bool,
}

/// The server of one channel.
#[derive(Debug, Default)]
pub struct Serve {
    session: UploadSession,
    pack: Option<PackStream>,
}

impl Serve {
    /// Takes bytes of the channel, or none to go on. After an error close the channel.
    ///
    /// # Errors
    /// [`ServeError`]: what the peer did wrong, or why the repository cannot answer.
    pub fn advance(&mut self, repository: &Repository, bytes: &[u8]) -> Result<ServeStep, ServeError> {
        self.session.receive(bytes);
        let mut step = ServeStep::default();
        let mut produced = 0;
        loop {
            while let Some(output) = self.session.poll() {
                self.answer(repository, output, &mut step)?;
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
                let known: Vec<_> =
                    haves.into_iter().filter(|have| repository.contains((*have).into())).collect();
                self.session.common(&known);
            }
            UploadOutput::BuildPack { want, common } => {
                self.pack = Some(repository.pack_stream(want, &common)?);
            }
            UploadOutput::Finished { want } => step.served.push(Served::Sent(want)),
            UploadOutput::UpToDate { head } => step.served.push(Served::UpToDate(head)),
            UploadOutput::Close(reason) => return Err(reason.into()),
        }
        Ok(())
    }
}

/// Serves a channel until the peer closes it, on a thread that may wait; `deadline` gives the end of
/// the wait for each read or write, and `served` is told what the peer has.
///
/// # Errors
/// [`ServeError`]; close the channel then.
pub fn serve(
    repository: &Repository,
    channel: &mut impl Duplex,
    deadline: &mut dyn FnMut() -> Instant,
    served: &mut dyn FnMut(Served),
) -> Result<(), ServeError> {
    let mut serve = Serve::default();
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let filled = channel.read(&mut buffer, deadline())?;
        if filled == 0 {
            return Ok(());
        }
        let mut step = serve.advance(repository, buffer.get(..filled).unwrap_or_default())?;
        loop {
            for bytes in &step.send {
                channel.write(bytes, deadline())?;
            }
            step.served.iter().copied().for_each(&mut *served);
            if !step.more {
                break;
            }
            step = serve.advance(repository, &[])?;
        }
    }
}
