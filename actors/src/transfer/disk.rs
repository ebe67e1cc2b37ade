//! Files on the disk: partial ones, whole ones, and those that are served. Everything here blocks.
//!
//! ```text
//!   conversation_data/<conversation>/<file id>        whole, or a link to where it is
//!   conversation_data/<conversation>/<file id>.tmp    partial
//!   <the owner's folder>/.<file id>.tmp               partial, of a file that is saved there
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Advice, CWD, FlockOperation, OFlags, RenameFlags, fadvise, flock, renameat_with, statvfs};
use rustix::io::Errno;
use skep_protocol::ids::ConversationId;
use skep_protocol::transfer::{FileId, FileStamp, numbered, resume_at};

use crate::storage::{force_folder, make_folder};

/// Names tried before one is given up that is taken.
const MAX_NUMBER: u32 = 1000;

/// Ending of a partial file.
const PARTIAL: &str = "tmp";

/// Where one file belongs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `conversation_data`.
    pub(super) data: PathBuf,
    pub(super) conversation: ConversationId,
    pub(super) file: FileId,
    /// The folder of the owner's choice, and the name there.
    pub(super) to: Option<(PathBuf, String)>,
}

impl Place {
    /// Where it is served from: the file, or a link to it.
    pub(super) fn kept(&self) -> PathBuf {
        self.data.join(self.conversation.to_hex()).join(self.file.as_str())
    }

    pub(super) fn partial(&self) -> PathBuf {
        match &self.to {
            Some((folder, _)) => folder.join(format!(".{}.{PARTIAL}", self.file)),
            None => self.data.join(self.conversation.to_hex()).join(format!("{}.{PARTIAL}", self.file)),
        }
    }

    /// Cuts the partial file to what can be gone on with: the file, which is at its beginning, and how
    /// much is left. None if there is none.
    pub(super) fn cut_partial(&self, size: u64) -> io::Result<Option<(File, u64)>> {
        let file =
            match OpenOptions::new().read(true).write(true).custom_flags(no_links()).open(self.partial()) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
        take(&file)?;
        let length = file.metadata()?.len();
        let keep = resume_at(length, size);
        if keep < length {
            file.set_len(keep)?;
        }
        Ok(Some((file, keep)))
    }

    /// Opens the partial file to add to its `length` bytes, if it is as it was left.
    pub(super) fn open_partial(&self, length: u64, left: Option<FileStamp>) -> io::Result<File> {
        let path = self.partial();
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let options = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_links())
            .open(path);
        let mut file = options?;
        take(&file)?;
        if length > 0 && stamp(&file)? != left {
            return Err(io::Error::other("the partial file was changed by others; it is read anew"));
        }
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(file)
    }

    /// Gives the partial file, which is whole and verified, its name. Nothing is replaced that others
    /// put there. Returns where it is.
    pub(super) fn finish(&self, file: &File) -> io::Result<PathBuf> {
        file.sync_all()?;
        let (partial, kept) = (self.partial(), self.kept());
        // Somebody may have put another one there, or nothing.
        let (there, ours) = (fs::symlink_metadata(&partial)?, file.metadata()?);
        if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
            return Err(io::Error::other("the partial file was replaced by others; it is fetched anew"));
        }
        let Some((folder, name)) = &self.to else {
            fs::rename(partial, &kept)?;
            kept.parent().map_or(Ok(()), force_folder)?;
            return Ok(kept);
        };
        let path = rename_to_free(&partial, folder, name)?;
        force_folder(folder)?;
        self.link(&path)?;
        Ok(path)
    }

    /// Has a file that stands elsewhere served from here.
    pub(super) fn link(&self, path: &Path) -> io::Result<()> {
        let kept = self.kept();
        if let Some(folder) = kept.parent() {
            make_folder(folder)?;
        }
        match fs::remove_file(&kept) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(path, &kept)?;
        kept.parent().map_or(Ok(()), force_folder)
    }

    /// Removes what came so far.
    pub(super) fn discard(&self) -> io::Result<()> {
        remove_if_there(&self.partial()).map(|_| ())
    }

    /// Removes the file, or the link to it; says whether there was one.
    pub(super) fn remove(&self) -> io::Result<bool> {
        remove_if_there(&self.kept())
    }
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), force_folder).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes sure that no other transfer writes a partial file, of another account for example. What is taken
/// is free again when the file is closed.
fn take(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(io::Error::new(
            ErrorKind::WouldBlock,
            "another transfer writes the partial file; it is waited for",
        )),
        // Some network disks know no locks.
        Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens nothing that somebody else linked to a place of ours.
fn no_links() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

fn rename_to_free(from: &Path, folder: &Path, name: &str) -> io::Result<PathBuf> {
    for number in 1..=MAX_NUMBER {
        let path = folder.join(numbered(name, number));
        match renameat_with(CWD, from, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(path),
            Err(Errno::EXIST) => {}
            // Network disks and such know no renaming that spares what is there: the name is taken first.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match OpenOptions::new().write(true).create_new(true).open(&path) {
                    Ok(_) => return fs::rename(from, &path).map(|()| path),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// A file that can be read, and how it was when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) stamp: FileStamp,
}

impl OpenFile {
    /// Opens a regular file, following links.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe must not wait for somebody to write to it.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
        let stamp =
            stamp(&file)?.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it is no regular file"))?;
        Ok(Self { file, stamp })
    }

    /// Whether it is as it was when it was opened.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        Ok(stamp(&self.file)? == Some(self.stamp))
    }

    /// Reads up to `length` bytes from `offset`.
    pub(super) fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; length];
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(buffer.into())
    }
}

/// How a file is now; none if it is no regular one.
pub(super) fn stamp(file: &File) -> io::Result<Option<FileStamp>> {
    let metadata = file.metadata()?;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Ok(metadata.is_file().then(|| FileStamp {
        size: metadata.len(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        node: metadata.ino(),
    }))
}

/// Writes what came, in order.
pub(super) fn write_all(file: &mut File, parts: &[Bytes]) -> io::Result<()> {
    parts.iter().try_for_each(|part| file.write_all(part))
}

/// Has the system begin to write what stands there. Left to itself it waits until much has gathered, and whoever
/// then forces something small to the disk, as every message does, waits for all of it.
pub(super) fn begin_to_write(file: &File, offset: u64, length: u64) {
    // That it need not be kept in memory is what is said for that, and true. Nothing depends on it.
    if let Err(error) = fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed) {
        tracing::trace!(%error, "the system takes no advice on a file");
    }
}

/// Length of a regular file; nothing for one that was renamed or removed meanwhile.
fn length_of(entry: &fs::DirEntry) -> io::Result<u64> {
    match entry.metadata() {
        Ok(metadata) => Ok(if metadata.is_file() { metadata.len() } else { 0 }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Bytes that the fetched files under `data` take, and those that are free on the disk of `folder`.
pub(super) fn space(data: &Path, folder: &Path) -> io::Result<(u64, u64)> {
    let mut used: u64 = 0;
    make_folder(data)?;
    for conversation in fs::read_dir(data)? {
        let conversation = conversation?.path();
        if !conversation.is_dir() {
            continue;
        }
        for entry in fs::read_dir(conversation)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().map(|name| name.strip_suffix(".tmp").unwrap_or(name));
            // Links count nothing: they do not belong to the account.
            if name.is_some_and(|name| name.parse::<FileId>().is_ok()) {
                used = used.saturating_add(length_of(&entry)?);
            }
        }
    }
    let disk = statvfs(folder)?;
    Ok((used, disk.f_bavail.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &Path) -> Place {
        let file = format!("{}_7", "ab".repeat(20)).parse().unwrap();
        Place { data: folder.to_owned(), conversation: ConversationId([1; 20]), file, to: None }
    }

    #[test]
    fn two_transfers_cannot_write_the_same_partial_file() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let first = place.open_partial(0, None).unwrap();
        assert_eq!(place.open_partial(0, None).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(place.cut_partial(10).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(first);
        place.open_partial(0, None).unwrap();
    }

    #[test]
    fn a_partial_file_that_was_replaced_does_not_get_the_name_of_the_one_that_was_verified() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let verified = place.open_partial(0, None).unwrap();
        place.discard().unwrap();
        place.finish(&verified).unwrap_err();
        let other = place.open_partial(0, None).unwrap();
        place.finish(&verified).unwrap_err();
        assert!(!place.kept().exists());
        assert_eq!(place.finish(&other).unwrap(), place.kept());
    }

    #[test]
    fn a_partial_file_is_gone_on_with_only_as_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let mut file = place.open_partial(0, None).unwrap();
        write_all(&mut file, &[Bytes::from_static(b"content")]).unwrap();
        let left = stamp(&file).unwrap();
        drop(file);
        drop(place.open_partial(7, left).unwrap());
        place.discard().unwrap();
        place.open_partial(7, left).unwrap_err();
    }
}
