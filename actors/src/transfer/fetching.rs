//! One transfer to this device: what comes over a channel is hashed and written on the pool while the
//! next comes, and judged at the end.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use skep_protocol::transfer::{FileStamp, Flaw, Prefix, Receiving, Verdict};
use tokio::sync::watch;

use super::disk::{Place, begin_to_write, stamp, write_all};
use crate::blocking::{BlockingPool, Lane, PoolError, Share};
use crate::peer::messages::Channel;

/// Bytes handed to the pool at once: it takes a few milliseconds to hash and write them. As many come
/// meanwhile.
const BATCH: usize = 512 * 1024;

/// Bytes after which the system is told to begin to write them: the disk is busy all the time then, and never
/// with much at once.
const STRETCH: u64 = 8 * 1024 * 1024;

/// A transfer that is about to run.
pub(super) struct Fetching {
    pub(super) channel: Channel,
    pub(super) place: Place,
    pub(super) receiving: Receiving,
    /// How the partial file was left.
    pub(super) left: Option<FileStamp>,
    pub(super) pool: BlockingPool,
    pub(super) share: Share,
    /// Told how many bytes are here.
    pub(super) position: Arc<AtomicU64>,
    /// Ends the transfer when it is dropped.
    pub(super) stop: watch::Receiver<()>,
}

/// How a transfer ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The file is whole, verified, and here.
    Complete(PathBuf),
    /// What came is kept, to go on from.
    Incomplete { new: u64, prefix: Prefix, stamp: Option<FileStamp> },
    /// What came was thrown away.
    Worthless(Flaw),
    /// The disk refused, or the pool.
    Failed(String),
}

struct Writing {
    file: File,
    receiving: Receiving,
    place: Place,
    /// Up to where the system was told to write.
    begun: u64,
}

/// What came over the channel until there was enough, or no more to come.
#[derive(Default)]
struct Gathered {
    parts: Vec<Bytes>,
    length: usize,
    last: bool,
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    TooLong(#[from] skep_protocol::transfer::TooLong),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Fetching {
    pub(super) async fn run(mut self) -> Ended {
        match self.transfer().await {
            Ok(ended) => ended,
            Err(error) => Ended::Failed(error.to_string()),
        }
    }

    async fn transfer(&mut self) -> Result<Ended, PoolError> {
        let (place, receiving, left) = (self.place.clone(), self.receiving.clone(), self.left);
        let open = move || {
            let file = place.open_partial(receiving.position(), left)?;
            let begun = receiving.position();
            Ok::<_, io::Error>(Writing { file, receiving, place, begun })
        };
        let mut writing = match self.pool.run(self.share, Lane::Files, open).await? {
            Ok(writing) => writing,
            Err(error) => return Ok(Ended::Failed(error.to_string())),
        };
        let mut came = Gathered { last: writing.receiving.is_full(), ..Gathered::default() };
        loop {
            let Gathered { parts, length, last } = came;
            let position = writing.receiving.position();
            let after = position.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            // When all is here that was offered, nobody waits for the sender to close.
            let last = last || writing.receiving.would_be_full(after);
            let write = self.pool.run(self.share, Lane::Files, move || writing.write(&parts));
            let (written, next) = if last {
                (write.await?, None)
            } else {
                let (channel, stop) = (&mut self.channel, &mut self.stop);
                let (written, next) = futures::join!(write, gather(channel, stop));
                (written?, Some(next))
            };
            let error = match written {
                (back, Ok(())) => {
                    writing = back;
                    None
                }
                (back, Err(error)) => {
                    writing = back;
                    Some(error)
                }
            };
            self.position.store(writing.receiving.position(), Ordering::Relaxed);
            match (error, next) {
                (Some(WriteError::TooLong(_)), _) => return self.throw_away(writing, Flaw::TooLong).await,
                (Some(WriteError::Io(error)), _) => return Ok(Ended::Failed(error.to_string())),
                (None, Some(next)) => came = next,
                (None, None) => return self.judge(writing).await,
            }
        }
    }

    async fn judge(&self, writing: Writing) -> Result<Ended, PoolError> {
        let prefix = writing.receiving.so_far().clone();
        let Writing { file, receiving, place, .. } = writing;
        match receiving.end() {
            Verdict::Complete => {
                let finish = move || place.finish(&file);
                Ok(match self.pool.run(self.share, Lane::Bulk, finish).await? {
                    Ok(path) => Ended::Complete(path),
                    Err(error) => Ended::Failed(error.to_string()),
                })
            }
            Verdict::Incomplete { new } => {
                let look = move || stamp(&file);
                Ok(match self.pool.run(self.share, Lane::Files, look).await? {
                    Ok(stamp) => Ended::Incomplete { new, prefix, stamp },
                    Err(error) => Ended::Failed(error.to_string()),
                })
            }
            Verdict::Worthless(flaw) => self.discard(place, flaw).await,
        }
    }

    async fn throw_away(&self, writing: Writing, flaw: Flaw) -> Result<Ended, PoolError> {
        self.discard(writing.place, flaw).await
    }

    async fn discard(&self, place: Place, flaw: Flaw) -> Result<Ended, PoolError> {
        Ok(match self.pool.run(self.share, Lane::Files, move || place.discard()).await? {
            Ok(()) => Ended::Worthless(flaw),
            Err(error) => Ended::Failed(error.to_string()),
        })
    }
}

impl Writing {
    fn write(mut self, parts: &[Bytes]) -> (Self, Result<(), WriteError>) {
        let taken = parts.iter().try_for_each(|part| self.receiving.receive(part));
        let written = taken.map_err(WriteError::from).and_then(|()| Ok(write_all(&mut self.file, parts)?));
        let length = self.receiving.position().saturating_sub(self.begun);
        if written.is_ok() && length >= STRETCH {
            begin_to_write(&self.file, self.begun, length);
            self.begun = self.receiving.position();
        }
        (self, written)
    }
}

/// Takes what comes until it is enough, or nothing waits.
async fn gather(channel: &mut Channel, stop: &mut watch::Receiver<()>) -> Gathered {
    let mut gathered = Gathered::default();
    while gathered.length < BATCH {
        let received = if gathered.parts.is_empty() {
            tokio::select! {
                received = channel.receiver.receive() => Some(received),
                _ = stop.changed() => None,
            }
        } else {
            match channel.receiver.receive().now_or_never() {
                Some(received) => Some(received),
                None => return gathered,
            }
        };
        match received {
            Some(Ok(bytes)) => {
                gathered.length = gathered.length.saturating_add(bytes.len());
                gathered.parts.push(bytes);
            }
            Some(Err(_)) | None => {
                gathered.last = true;
                return gathered;
            }
        }
    }
    gathered
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use skep_protocol::ids::{CommitId, ConversationId};
    use skep_protocol::transfer::{FileHash, OfferedFile, offer};

    use super::*;

    #[test]
    fn a_disk_that_is_full_half_way_ends_the_transfer_with_the_reason() {
        let content = [7; 1000];
        let offer = offer("a", FileHash::of(&content), 1000, [0; 8], None);
        let file = OfferedFile::read(CommitId([1; 20]), &offer).unwrap();
        let place = Place {
            data: "unused".into(),
            conversation: ConversationId([1; 20]),
            file: file.id.clone(),
            to: None,
        };
        let receiving = Receiving::new(&file, Prefix::default(), 0);
        // A device that takes nothing.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (_, written) =
            Writing { file: full, receiving, place, begun: 0 }.write(&[Bytes::copy_from_slice(&content)]);
        let Err(WriteError::Io(error)) = written else { panic!("it was written") };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
