//! What is here of a file that is wanted, before anybody is asked for the rest (`spec: file-transfer 3`).

use std::io;
use std::path::PathBuf;

use skep_protocol::ids::DeviceId;
use skep_protocol::transfer::{FileStamp, OfferedFile, Prefix, Receiving, Verdict};

use super::disk::{OpenFile, Place, stamp};
use super::hashing;
use super::messages::TransferError;
use crate::blocking::{BlockingPool, Lane, Share};

/// The beginning of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning {
    pub(super) prefix: Prefix,
    /// How the partial file was left.
    pub(super) stamp: Option<FileStamp>,
    /// The device that sent all of it; none if there were several, or it was here before.
    pub(super) from: Option<DeviceId>,
}

/// What there is of a file.
#[derive(Debug)]
pub(super) enum Here {
    /// All of it, verified, there.
    Whole(PathBuf),
    /// The beginning of it, or nothing; and how much may come where the offer does not say it.
    Part(Beginning, u64),
}

/// The whole file, where it is served from: it was saved, and the wish for it was not taken back before
/// the node ended.
pub(super) async fn whole(
    place: Place,
    file: &OfferedFile,
    pool: &BlockingPool,
    share: Share,
) -> Option<PathBuf> {
    let path = place.kept();
    let named = path.clone();
    let open = pool.run(share, Lane::Files, move || OpenFile::open(&named)).await.ok()?.ok()?;
    if file.size != 0 && file.size != open.stamp.size {
        return None;
    }
    let hashed = hashing::hash::<TransferError>(pool, share, open).await;
    if !matches!(hashed, Ok((_, Some(found))) if found == file.hash) {
        return None;
    }
    pool.run(share, Lane::Files, move || path.canonicalize().unwrap_or(path)).await.ok()
}

/// Looks what is here. `admit` is told its length before it is read, and refuses where there is no room
/// for the rest.
pub(super) async fn look(
    place: Place,
    file: &OfferedFile,
    pool: &BlockingPool,
    share: Share,
    admit: impl AsyncFnOnce(u64) -> Result<u64, TransferError>,
) -> Result<Here, TransferError> {
    if let Some(path) = whole(place.clone(), file, pool, share).await {
        return Ok(Here::Whole(path));
    }
    let (size, cut) = (file.size, place.clone());
    let cut = pool.run(share, Lane::Files, move || cut.cut_partial(size)).await??;
    let Some((partial, length)) = cut else { return Ok(Here::Part(Beginning::default(), admit(0).await?)) };
    let limit = admit(length).await?;
    let (partial, prefix) = hashing::prefix::<TransferError>(pool, share, partial, length).await?;
    let receiving = Receiving::new(file, prefix.clone(), limit);
    if !receiving.is_full() {
        let look = move || stamp(&partial);
        let stamp = pool.run(share, Lane::Files, look).await??;
        return Ok(Here::Part(Beginning { prefix, stamp, from: None }, limit));
    }
    // All of it came, and the node ended before it got its name; or it is damaged.
    let is_good = receiving.end() == Verdict::Complete;
    let name = move || {
        if is_good {
            return place.finish(&partial).map(Here::Whole);
        }
        place.discard()?;
        Ok::<_, io::Error>(Here::Part(Beginning::default(), limit))
    };
    match pool.run(share, Lane::Bulk, name).await?? {
        // What was there is gone: there has to be room for all of it.
        Here::Part(..) => Ok(Here::Part(Beginning::default(), size)),
        whole => Ok(whole),
    }
}
