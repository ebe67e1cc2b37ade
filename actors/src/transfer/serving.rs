//! One transfer from this device: whoever asks is checked, then the file, and then it is sent as fast as
//! the link takes it (`spec: file-transfer 4, 5`).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use skep_protocol::transfer::{CheckedFiles, FileRequest, MAX_BLOCK, OfferError, OfferedFile, Sending};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::disk::{OpenFile, Place};
use super::hashing;
use crate::blocking::{BlockingPool, Lane, PoolError, Share};
use crate::peer::messages::{Channel, ChannelEnd, ChannelOffer, ChannelSender};
use crate::supervision::{AskError, Port};
use crate::swarm::messages::{ConversationError, ConversationMessage};

/// How long a conversation may take to say what a commit offers.
const ASK: Duration = Duration::from_secs(15);

/// Longest time a peer may take to make room for the next block. Who is served for less than that is not
/// yet slow.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// Longest time a peer may take for a megabyte: a bad mobile line needs it, who takes longer holds a place
/// for nothing.
const SLOWEST: Duration = Duration::from_secs(180);

/// The turn of files that peers wait for to be hashed: one at a time, so that none is hashed twice and the
/// owner's own files have room beside them.
pub(super) type Checking = Arc<tokio::sync::Mutex<()>>;

/// A request that is about to be served.
pub(super) struct Serving {
    pub(super) offer: ChannelOffer,
    pub(super) request: FileRequest,
    pub(super) room: Port<ConversationMessage>,
    pub(super) place: Place,
    pub(super) checked: Arc<Mutex<CheckedFiles>>,
    pub(super) checking: Checking,
    pub(super) pool: BlockingPool,
    pub(super) share: Share,
    /// Told how far it is, and how long the file is.
    pub(super) progress: Arc<Progress>,
}

/// How far a transfer from here is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) position: AtomicU64,
    pub(super) size: AtomicU64,
    /// Its name, once the conversation has said it.
    pub(super) name: OnceLock<String>,
    /// Where it began, and when.
    began: OnceLock<(u64, Instant)>,
    /// Whether nothing more is to be sent.
    stopped: watch::Sender<bool>,
}

impl Progress {
    /// Ends the transfer.
    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Bytes sent so far.
    pub(super) fn sent(&self) -> u64 {
        let start = self.began.get().map_or(0, |(start, _)| *start);
        self.position.load(Ordering::Relaxed).saturating_sub(start)
    }

    /// Time since the peer was accepted.
    pub(super) fn time(&self) -> Option<Duration> {
        self.began.get().map(|(_, since)| since.elapsed())
    }
}

/// Why a request was not served, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Offer(#[from] OfferError),
    #[error("the commit offers another file")]
    OtherFile,
    #[error("the file is not here, or not as it was offered")]
    NotHere,
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Channel(#[from] ChannelEnd),
    #[error("the peer does not read")]
    Stalled,
    #[error("the conversation has gone, the peer is not in it any more, or others had no place")]
    Stopped,
    #[error("the peer does not wait any more")]
    Gone,
}

impl Serving {
    /// Serves it. Until the file is found to be as it was offered, the channel is not accepted.
    pub(super) async fn run(self) -> Result<(), ServeError> {
        let progress = Arc::clone(&self.progress);
        let mut stopped = progress.stopped.subscribe();
        tokio::select! {
            served = self.serve() => served,
            _ = stopped.wait_for(|stopped| *stopped) => Err(ServeError::Stopped),
        }
    }

    async fn serve(mut self) -> Result<(), ServeError> {
        let (asker, commit) = ((self.offer.account, self.offer.device), self.request.file.commit());
        let ask = |reply| ConversationMessage::File { message: commit, asker: Some(asker), reply };
        let offered = self.room.ask(ASK, ask).await??;
        let offered = OfferedFile::read(commit, &offered.offer)?;
        if offered.id != self.request.file {
            return Err(ServeError::OtherFile);
        }
        let _ = self.progress.name.set(offered.name.clone());
        let file = tokio::select! {
            file = open_checked(&self.place, &self.checked, &self.checking, &offered, &self.pool, self.share) => {
                file?
            }
            () = self.offer.accept.closed() => return Err(ServeError::Gone),
        };
        let mut sending = Sending::new(self.request.range, file.stamp.size);
        self.progress.size.store(file.stamp.size, Ordering::Relaxed);
        self.progress.position.store(sending.position(), Ordering::Relaxed);
        let file = Arc::new(file);
        let Channel { sender, receiver: _receiver, .. } = self.offer.accept().await?;
        let _ = self.progress.began.set((sending.position(), Instant::now()));
        let sender = sender.yielding();
        while let Some((offset, length)) = sending.next() {
            let file = Arc::clone(&file);
            let read = move || file.read_at(offset, length);
            let bytes = self.pool.run(self.share, Lane::Files, read).await??;
            sending.read(bytes.len());
            timeout(SLOWEST, send(&sender, bytes)).await.map_err(|_| ServeError::Stalled)??;
            self.progress.position.store(sending.position(), Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn send(sender: &ChannelSender, mut bytes: Bytes) -> Result<(), ServeError> {
    while !bytes.is_empty() {
        let block = bytes.split_to(bytes.len().min(MAX_BLOCK));
        timeout(STALL, sender.send(block)).await.map_err(|_| ServeError::Stalled)??;
    }
    Ok(())
}

/// Opens the file and makes sure that it is what was offered, which takes long for one that was not hashed
/// since it was changed.
async fn open_checked(
    place: &Place,
    checked: &Mutex<CheckedFiles>,
    checking: &Checking,
    offered: &OfferedFile,
    pool: &BlockingPool,
    share: Share,
) -> Result<OpenFile, ServeError> {
    let kept = place.kept();
    let file = match pool.run(share, Lane::Files, move || OpenFile::open(&kept)).await? {
        Ok(file) => file,
        Err(error) => {
            tracing::trace!(file = %place.file, %error, "a file that is asked for cannot be opened");
            return Err(ServeError::NotHere);
        }
    };
    if offered.size != 0 && offered.size != file.stamp.size {
        return Err(ServeError::NotHere);
    }
    let known = || checked.lock().unwrap_or_else(PoisonError::into_inner).get(&offered.id, file.stamp);
    let judge = |hash| if hash == offered.hash { Ok(()) } else { Err(ServeError::NotHere) };
    if let Some(hash) = known() {
        return judge(hash).map(|()| file);
    }
    let _turn = checking.lock().await;
    // Somebody before may have asked for the same.
    if let Some(hash) = known() {
        return judge(hash).map(|()| file);
    }
    let (file, hash) = hashing::hash::<ServeError>(pool, share, file).await?;
    let hash = hash.ok_or(ServeError::NotHere)?;
    checked.lock().unwrap_or_else(PoisonError::into_inner).remember(offered.id.clone(), file.stamp, hash);
    judge(hash).map(|()| file)
}
