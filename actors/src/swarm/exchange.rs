//! The work of a conversation that waits for peers: fetching, cloning and serving over git channels.
//!
//! These are futures of the conversation actor. They wait for the channel here and hand what came to
//! the blocking pool, so a silent peer costs a future and a timer, never a thread.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{Either, select};
use skep_protocol::ids::{CommitId, ConversationId, DeviceId};
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::swarm::git::download::DownloadError;
use skep_protocol::swarm::git::packet_line::FLUSH;
use skep_protocol::time::UnixMillis;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::founder::Founder;
use super::replica::{Moved, Replica, ReplicaError, refusal};
use super::repository::fetch::{Fetch, FetchError, FetchStep, Fetched, FetchedPack};
use super::repository::serve::{Serve, Served};
use super::repository::{Repository, RepositoryError};
use super::standing::Standing;
use crate::blocking::{BlockingPool, Lane, PoolError, Share, Then};
use crate::peer::messages::{Channel, ChannelEnd, ChannelOffer, LinkError, LinksMessage};
use crate::supervision::{Outlet, Port};

/// How long opening a git channel may take: a new link over the DHT, and the TLS handshake.
const OPEN: Duration = Duration::from_secs(60);

/// Longest silence of a server in the middle of a fetch, and longest time it may take to read what it
/// is asked.
const SILENCE: Duration = Duration::from_secs(30);

/// Longest silence of a server over a channel that was kept open since the last fetch. Daemons of 2023
/// sometimes serve a channel no more and do not say so; a new one is opened then. They look at what
/// came every half second.
const SILENCE_OF_KEPT: Duration = Duration::from_secs(3);

/// Longest time for one whole fetch: 256 MiB over a slow line.
const FETCH: Duration = Duration::from_secs(3600);

/// Longest time a client may take to read what it asked for, and to go on in the middle of a session: one
/// that waits for us while we wait for it sees only then that it has to begin anew.
const SERVE_STALL: Duration = Duration::from_secs(60);

/// How a fetch went.
pub(super) enum Outcome {
    /// The channel can be used again, if there is one; what the fetch changed, if anything.
    Done(Option<Channel>, Option<Box<Moved>>),
    /// It has come from somebody else meanwhile; the device was not asked.
    Here,
    Failed(Failure),
    NoChannel(LinkError),
}

/// A fetch that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: ReplicaError,
    /// The head that was served, if it came so far.
    pub(super) head: Option<CommitId>,
}

impl Failure {
    /// Whether the same head would fail again.
    pub(super) fn is_final(&self) -> bool {
        refusal(&self.error).is_some()
            || matches!(self.error, ReplicaError::Fetch(FetchError::RefusedBefore(_)))
    }
}

impl From<ReplicaError> for Failure {
    fn from(error: ReplicaError) -> Self {
        Self { error, head: None }
    }
}

/// One fetch into a copy that is here.
pub(super) struct FetchJob {
    pub(super) replica: Arc<Replica>,
    pub(super) conversation: ConversationId,
    pub(super) device: DeviceId,
    pub(super) commit: Option<CommitId>,
    pub(super) links: Port<LinksMessage>,
    pub(super) pool: BlockingPool,
    pub(super) share: Share,
    pub(super) refused: HashSet<CommitId>,
    pub(super) now: UnixMillis,
}

impl FetchJob {
    /// Fetches over the channel given, or over a new one if that turns out to be dead.
    pub(super) async fn run(self, channel: Option<Channel>) -> Outcome {
        if let Some(channel) = channel {
            tracing::debug!(device = %self.device.short(), channel = channel.sender.number, "a fetch over a kept channel");
            match self.fetch(channel, SILENCE_OF_KEPT).await {
                Ok((channel, moved)) => return Outcome::Done(channel, moved),
                Err(Failure { error: ReplicaError::Fetch(FetchError::Download(_)), .. }) => {}
                Err(failure) => return Outcome::Failed(failure),
            }
        }
        // Over a channel the first step looks; before one is opened it is worth a look of its own.
        if self.is_here().await {
            return Outcome::Here;
        }
        let channel = match open_git(&self.links, self.device, self.conversation).await {
            Ok(channel) => channel,
            Err(error) => return Outcome::NoChannel(error),
        };
        tracing::debug!(device = %self.device.short(), channel = channel.sender.number, "a fetch over a new channel");
        match self.fetch(channel, SILENCE).await {
            Ok((channel, moved)) => Outcome::Done(channel, moved),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Whether what was announced has come from somebody else meanwhile.
    async fn is_here(&self) -> bool {
        let Some(commit) = self.commit else { return false };
        let replica = Arc::clone(&self.replica);
        let has = self.pool.run(self.share, Lane::Quick, move || replica.has(commit)).await;
        matches!(has, Ok(Ok(true)))
    }

    /// Fetches over a channel. `patience` is how long the server may be silent before its first word. The channel
    /// comes back if it can be used again.
    async fn fetch(&self, mut channel: Channel, patience: Duration) -> Result<Ended, Failure> {
        let mut fetch = Fetch::new(self.conversation, self.device).refusing(self.refused.clone());
        // The request says nothing of what is on the disk.
        let request = self.replica.fetch_step(&mut fetch, &[]).map_err(ReplicaError::from)?;
        send_all(&channel, request.send).await?;
        let mut receiving = Receiving::new(fetch, &self.pool, self.share);
        let deadline = Instant::now() + FETCH;
        let mut patience = patience;
        loop {
            let until = deadline.min(Instant::now() + patience);
            let bytes = receive(&mut channel, until).await?;
            patience = SILENCE;
            let (last_word, said) = oneshot::channel();
            let step = self.pool.run_then(self.share, self.step(receiving, bytes, last_word));
            // Told while what came is still being validated, which may take minutes.
            let say = Box::pin(async move {
                let is_free = match said.await {
                    Ok(parts) => say_last_word(&channel, parts).await,
                    Err(_) => true,
                };
                (channel, is_free)
            });
            let (stepped, mut say) = match select(pin!(step), say).await {
                Either::Left((stepped, say)) => (stepped, Either::Left(say)),
                Either::Right((said, step)) => (step.await, Either::Right(std::future::ready(said))),
            };
            let stepped = match stepped.map_err(busy).map_err(Failure::from).and_then(|stepped| stepped) {
                Ok(stepped) => stepped,
                Err(error) => {
                    // The last word is told whatever comes of it.
                    tokio::spawn(say);
                    return Err(error);
                }
            };
            match stepped {
                Stepped::More(send, back) => {
                    (channel, _) = say.await;
                    receiving = *back;
                    send_all(&channel, send).await?;
                }
                Stepped::UpToDate(send) => {
                    (channel, _) = say.await;
                    let is_free = say_last_word(&channel, send).await;
                    return Ok((is_free.then_some(channel), None));
                }
                Stepped::Integrated(moved) => {
                    let Some((channel, is_free)) = (&mut say).now_or_never() else {
                        // Whoever is slow to take our last word keeps nobody from what it sent.
                        tokio::spawn(say);
                        return Ok((None, moved));
                    };
                    return Ok((is_free.then_some(channel), moved));
                }
            }
        }
    }

    /// One step of a fetch, and the integration of what it brought when it is the last. Of that step, what is to be
    /// sent is told before.
    fn step(
        &self,
        mut receiving: Receiving,
        bytes: Bytes,
        last_word: oneshot::Sender<Vec<Bytes>>,
    ) -> impl FnOnce() -> Then<Result<Stepped, Failure>, Integration> + Send + use<> {
        let (replica, now) = (Arc::clone(&self.replica), self.now);
        move || {
            let step = replica.fetch_step(&mut receiving.fetch, &bytes);
            let send = match receiving.keep(step) {
                Ok(send) => send,
                Err(error) => return Then::Done(Err(ReplicaError::from(error).into())),
            };
            match receiving.done.take() {
                None => Then::Done(Ok(Stepped::More(send, Box::new(receiving)))),
                Some(Fetched::UpToDate { .. }) => Then::Done(Ok(Stepped::UpToDate(send))),
                Some(Fetched::New(pack)) => {
                    let _ = last_word.send(send);
                    Then::Bulk(Box::new(move || integrate(&replica, pack, now)))
                }
            }
        }
    }
}

/// Takes in what a fetch brought, unless the same has come from somebody else while it waited.
fn integrate(replica: &Replica, pack: FetchedPack, now: UnixMillis) -> Result<Stepped, Failure> {
    let head = pack.head();
    let failed = |error| Failure { error, head: Some(head) };
    if replica.has(head).map_err(failed)? {
        return Ok(Stepped::Integrated(None));
    }
    let moved = replica.integrate(pack, now).map_err(failed)?;
    Ok(Stepped::Integrated(moved.map(Box::new)))
}

/// The channel of a fetch that ended, if it can be used again, and what it changed.
type Ended = (Option<Channel>, Option<Box<Moved>>);

type Integration = Box<dyn FnOnce() -> Result<Stepped, Failure> + Send>;

/// What a step of a fetch came to.
enum Stepped {
    /// It goes on when this is sent.
    More(Vec<Bytes>, Box<Receiving>),
    /// There was nothing new; the last word.
    UpToDate(Vec<Bytes>),
    /// What came was taken in; what that changed.
    Integrated(Option<Box<Moved>>),
}

/// A fetch between its steps. What it received may be files; however it ends, they are removed on the
/// pool, and its actor does not wait for the disk.
#[derive(Debug)]
struct Receiving {
    fetch: Fetch,
    /// What it brought.
    done: Option<Fetched>,
    pool: BlockingPool,
    share: Share,
}

impl Receiving {
    fn new(fetch: Fetch, pool: &BlockingPool, share: Share) -> Self {
        Self { fetch, done: None, pool: pool.clone(), share }
    }

    /// Keeps what a step brought, and hands on what it wants sent.
    fn keep(&mut self, step: Result<FetchStep, FetchError>) -> Result<Vec<Bytes>, FetchError> {
        let FetchStep { send, done } = step?;
        self.done = done;
        Ok(send)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let left = (self.fetch.take_received(), self.done.take());
        // At the end of the process there is no pool any more.
        if matches!(left, (None, None)) || Handle::try_current().is_err() {
            return;
        }
        self.pool.drop_later(self.share, left);
    }
}

/// Why a conversation could not be cloned from a device.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloneError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
}

impl CloneError {
    /// Whether the history was refused, as against not received.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Replica(ReplicaError::Invalid(_) | ReplicaError::NotMember))
    }
}

/// Ending of the folder of a clone that is not validated yet.
pub(crate) const CLONE: &str = "clone";

static NEXT_CLONE: AtomicU64 = AtomicU64::new(0);

/// Erases what earlier tries to clone a conversation have left beside its folder.
fn erase_clones(folder: &Path) -> Result<(), RepositoryError> {
    let parent = folder.parent().unwrap_or(folder);
    let failed = |source| RepositoryError::Io { path: parent.to_owned(), source };
    for entry in fs::read_dir(parent).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let of_this = path.file_stem().map(Path::new).and_then(Path::file_stem) == folder.file_name();
        if of_this && path.extension().is_some_and(|ending| ending == CLONE) {
            Repository::erase(&path)?;
        }
    }
    Ok(())
}

/// One try to clone a conversation from a device.
pub(super) struct CloneJob {
    pub(super) conversation: ConversationId,
    pub(super) device: DeviceId,
    pub(super) folder: PathBuf,
    pub(super) founder: Founder,
    pub(super) links: Port<LinksMessage>,
    pub(super) pool: BlockingPool,
    pub(super) share: Share,
}

impl CloneJob {
    pub(super) async fn run(self) -> Result<(Arc<Replica>, Standing, Channel), CloneError> {
        let mut channel = open_git(&self.links, self.device, self.conversation).await?;
        // A name of its own: what an actor that failed was cloning may still be on the pool.
        let number = NEXT_CLONE.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.with_extension(format!("{number}.{CLONE}"));
        let create = {
            let (folder, unfinished) = (self.folder.clone(), unfinished.clone());
            move || erase_clones(&folder).and_then(|()| Repository::create(&unfinished))
        };
        let mut repository =
            run(&self.pool, self.share, Lane::Quick, create).await?.map_err(ReplicaError::from)?;
        let fetch = Fetch::new(self.conversation, self.device);
        let mut receiving = Receiving::new(fetch, &self.pool, self.share);
        let mut bytes = Bytes::new();
        let deadline = Instant::now() + FETCH;
        let pack = loop {
            let received = bytes;
            let step = move || {
                let step = receiving.fetch.advance(&repository, &received);
                (receiving.keep(step), receiving, repository)
            };
            let (send, receiving_back, repository_back) =
                run(&self.pool, self.share, Lane::Bulk, step).await?;
            (receiving, repository) = (receiving_back, repository_back);
            let send = send.map_err(ReplicaError::from)?;
            let done = receiving.done.take();
            match send_all(&channel, send).await {
                Err(error) if done.is_none() => return Err(error.into()),
                _ => {}
            }
            match done {
                Some(Fetched::New(pack)) => break pack,
                // Nothing is not up to date with anything.
                Some(Fetched::UpToDate { .. }) => return Err(ReplicaError::Empty.into()),
                None => {
                    let until = deadline.min(Instant::now() + SILENCE);
                    bytes = receive(&mut channel, until).await?;
                }
            }
        };
        let (id, folder, founder) = (self.conversation, self.folder, self.founder);
        let adopt = move || {
            let head = pack.head();
            let stored = pack.store(&repository).and_then(|new| repository.admit(new.quarantine));
            let adopted = stored
                .map_err(|error| FetchError::from(error).into())
                .and_then(|()| Replica::adopt(id, repository, head, &folder, &founder));
            if adopted.is_err() {
                let _ = Repository::erase(&unfinished);
            }
            adopted
        };
        let (replica, standing) = run(&self.pool, self.share, Lane::Bulk, adopt).await??;
        Ok((replica, standing, channel))
    }
}

async fn open_git(
    links: &Port<LinksMessage>,
    device: DeviceId,
    conversation: ConversationId,
) -> Result<Channel, LinkError> {
    let name = ChannelName::Git { device, conversation }.to_string();
    let open = |reply| LinksMessage::Open { device, name, deadline: OPEN, reply };
    // A little longer, so that the links tell the reason.
    match links.ask(OPEN + Duration::from_secs(5), open).await {
        Ok(opened) => opened,
        Err(_) => Err(LinkError::Lost(device)),
    }
}

async fn run<T: Send + 'static>(
    pool: &BlockingPool,
    share: Share,
    lane: Lane,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReplicaError> {
    pool.run(share, lane, job).await.map_err(busy)
}

fn busy(error: PoolError) -> ReplicaError {
    FetchError::Channel(std::io::Error::other(error.to_string())).into()
}

/// Sends what a step of a fetch wants sent.
async fn send_all(channel: &Channel, parts: Vec<Bytes>) -> Result<(), ReplicaError> {
    for part in parts {
        send(channel, part).await?;
    }
    Ok(())
}

/// Ends a session. A server that has sent everything may be gone before our last word. Whether the channel can be used
/// again: if all was sent, and that was the end alone, as a server that was asked for more may answer.
async fn say_last_word(channel: &Channel, parts: Vec<Bytes>) -> bool {
    let is_plain = matches!(&parts[..], [end] if end == FLUSH);
    send_all(channel, parts).await.is_ok() && is_plain
}

async fn send(channel: &Channel, part: Bytes) -> Result<(), ReplicaError> {
    match tokio::time::timeout(SILENCE, channel.sender.send(part)).await {
        Ok(sent) => sent.map_err(vanished),
        Err(_) => Err(vanished(ChannelEnd::Lost)),
    }
}

async fn receive(channel: &mut Channel, until: Instant) -> Result<Bytes, ReplicaError> {
    match tokio::time::timeout_at(until, channel.receiver.receive()).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(end)) => Err(vanished(end)),
        Err(_) => Err(vanished(ChannelEnd::Lost)),
    }
}

fn vanished(_: ChannelEnd) -> ReplicaError {
    FetchError::Download(DownloadError::Vanished).into()
}

/// Serves one channel until the peer closes it, and tells which commits the peer has then: those it
/// said it has, and those it was sent before it went on or closed the channel in order. `idle` says since
/// when the peer asks for nothing.
pub(super) async fn serve(
    offer: ChannelOffer,
    replica: Arc<Replica>,
    pool: BlockingPool,
    share: Share,
    told: Outlet<Served>,
    idle: watch::Sender<Option<Instant>>,
) {
    let device = offer.device;
    let Ok(mut channel) = offer.accept().await else { return };
    let number = channel.sender.number;
    tracing::debug!(device = %device.short(), channel = number, "a git channel is served");
    let mut serve = Serve::default();
    let mut sent = None;
    loop {
        idle.send_replace(Some(Instant::now()));
        let received = if serve.is_idle() {
            channel.receiver.receive().await
        } else {
            let going_on = tokio::time::timeout(SERVE_STALL, channel.receiver.receive()).await;
            going_on.unwrap_or(Err(ChannelEnd::Lost))
        };
        idle.send_replace(None);
        if !matches!(received, Err(ChannelEnd::Lost))
            && let Some(commit) = sent.take()
            && told.send(Served::Sent(commit)).await.is_err()
        {
            return;
        }
        let mut bytes = match received {
            Ok(bytes) => bytes,
            Err(end) => {
                tracing::debug!(device = %device.short(), channel = number, ?end, "a git channel has ended");
                return;
            }
        };
        tracing::trace!(device = %device.short(), channel = number, bytes = bytes.len(), "a git request");
        loop {
            let (copy, received) = (Arc::clone(&replica), bytes);
            let lane = if serve.is_heavy() { Lane::Bulk } else { Lane::Quick };
            let step = move || {
                let step = copy.serve_step(&mut serve, &received);
                (step, serve)
            };
            let Ok((step, back)) = pool.run(share, lane, step).await else { return };
            serve = back;
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    tracing::debug!(device = %device.short(), channel = number, %error, "a git session was ended");
                    return;
                }
            };
            for part in step.send {
                tracing::trace!(device = %device.short(), channel = number, bytes = part.len(), "a git answer");
                let sent = tokio::time::timeout(SERVE_STALL, channel.sender.send(part)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            for served in step.served {
                match served {
                    Served::Sent(commit) => sent = Some(commit),
                    Served::UpToDate(_) => {
                        if told.send(served).await.is_err() {
                            return;
                        }
                    }
                }
            }
            if !step.more {
                break;
            }
            bytes = Bytes::new();
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
