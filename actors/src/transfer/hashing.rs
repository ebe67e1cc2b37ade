//! Whole files are hashed on the pool in steps, so that a file of many gigabytes holds up no other long
//! work, nor the end of the node.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};

use skep_protocol::transfer::{FileHash, FileHasher, Prefix};

use super::disk::OpenFile;
use crate::blocking::{BlockingPool, Lane, PoolError, Share};

/// Bytes hashed before other work has its turn: a tenth of a second.
const STEP: u64 = 32 * 1024 * 1024;

/// Bytes read at once: what a disk likes, and little memory.
const READ: usize = 256 * 1024;

/// Hashes a file that was just opened; none if it was changed meanwhile.
pub(super) async fn hash<E>(
    pool: &BlockingPool,
    share: Share,
    file: OpenFile,
) -> Result<(OpenFile, Option<FileHash>), E>
where
    E: From<io::Error> + From<PoolError>,
{
    let OpenFile { file, stamp } = file;
    let (file, hasher) =
        read::<_, E>(pool, share, file, stamp.size, (FileHasher::default(), FileHasher::update)).await?;
    let check = move || {
        let file = OpenFile { file, stamp };
        file.is_unchanged().map(|unchanged| (file, unchanged.then(|| hasher.finish())))
    };
    Ok(pool.run(share, Lane::Files, check).await??)
}

/// Hashes the first `length` bytes of a partial file.
pub(super) async fn prefix<E>(
    pool: &BlockingPool,
    share: Share,
    file: File,
    length: u64,
) -> Result<(File, Prefix), E>
where
    E: From<io::Error> + From<PoolError>,
{
    read::<_, E>(pool, share, file, length, (Prefix::default(), Prefix::update)).await
}

/// Has the next `length` bytes of a file taken, or as many as there are.
async fn read<T: Send + 'static, E>(
    pool: &BlockingPool,
    share: Share,
    mut file: File,
    mut length: u64,
    (mut taker, take): (T, fn(&mut T, &[u8])),
) -> Result<(File, T), E>
where
    E: From<io::Error> + From<PoolError>,
{
    while length > 0 {
        let step = move || {
            let read = read_step(&mut file, length.min(STEP), |bytes| take(&mut taker, bytes));
            read.map(|read| (file, taker, read))
        };
        let read;
        (file, taker, read) = pool.run(share, Lane::Bulk, step).await??;
        length = if read == 0 { 0 } else { length.saturating_sub(read) };
    }
    Ok((file, taker))
}

/// How many bytes were read; fewer than `most` at the end of the file.
fn read_step(file: &mut File, most: u64, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; READ];
    let mut left = most;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(READ).min(READ);
        match file.read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => {
                take(buffer.get(..read).unwrap_or_default());
                left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(most.saturating_sub(left))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use skep_protocol::transfer::resume_at;

    use super::*;
    use crate::transfer::disk::Place;
    use crate::transfer::messages::TransferError;

    const SHARE: Share = Share(1);

    #[tokio::test]
    async fn a_file_longer_than_a_step_has_the_hash_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let mut content = vec![7; usize::try_from(STEP).unwrap() + 100_000];
        content.extend(b"the end");
        fs::write(&path, &content).unwrap();
        let pool = BlockingPool::new(2);
        let opened = OpenFile::open(&path).unwrap();
        let (_, found) = hash::<TransferError>(&pool, SHARE, opened).await.unwrap();
        assert_eq!(found, Some(FileHash::of(&content)));
    }

    #[tokio::test]
    async fn a_file_that_grows_while_it_is_hashed_has_no_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("growing");
        fs::write(&path, b"one").unwrap();
        let opened = OpenFile::open(&path).unwrap();
        fs::write(&path, b"one and more").unwrap();
        let (_, found) = hash::<TransferError>(&BlockingPool::new(2), SHARE, opened).await.unwrap();
        assert_eq!(found, None);
    }

    #[tokio::test]
    async fn a_sparse_partial_file_of_eight_gigabytes_is_cut_where_a_request_can_begin() {
        // Only its length is looked at here: hashing takes long.
        let folder = tempfile::tempdir().unwrap();
        let conversation = skep_protocol::ids::ConversationId([1; 20]);
        let file = format!("{}_7", "ab".repeat(20)).parse().unwrap();
        let place = Place { data: folder.path().to_owned(), conversation, file, to: None };
        fs::create_dir_all(place.partial().parent().unwrap()).unwrap();
        let size = 8 << 30;
        File::create(place.partial()).unwrap().set_len(size - 1).unwrap();
        let (file, kept) = place.cut_partial(size).unwrap().unwrap();
        assert_eq!(kept, resume_at(size - 1, size));
        assert_eq!(file.metadata().unwrap().len(), kept);
        assert!(kept < 1 << 32);
    }
}
