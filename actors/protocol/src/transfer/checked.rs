//! Hashes of our own files, remembered while the files stay as they are, so that a peer that asks a
//! thousand times costs one hash (`spec: file-transfer 4`).

use std::collections::{BTreeMap, VecDeque};

use super::digest::FileHash;
use super::name::FileId;

/// Files whose hashes are remembered: about 300 bytes each.
pub const MAX_CHECKED: usize = 4096;

/// By what it shows that a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Its length in bytes.
    pub size: u64,
    /// When its content changed, in nanoseconds by the system's clock.
    pub modified: i128,
    /// When anything of it changed, which cannot be set at will.
    pub changed: i128,
    /// Which file it is: the number of its node.
    pub node: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct CheckedFiles {
    known: BTreeMap<FileId, (FileStamp, FileHash)>,
    order: VecDeque<FileId>,
}

impl CheckedFiles {
    /// The hash of a file, if it was computed since the file changed last.
    #[must_use]
    pub fn get(&self, file: &FileId, stamp: FileStamp) -> Option<FileHash> {
        self.known.get(file).filter(|known| known.0 == stamp).map(|known| known.1)
    }

    /// Remembers a hash. `stamp` is how the file was before it was read.
    pub fn remember(&mut self, file: FileId, stamp: FileStamp, hash: FileHash) {
        if self.known.insert(file.clone(), (stamp, hash)).is_some() {
            return;
        }
        self.order.push_back(file);
        if self.order.len() > MAX_CHECKED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CommitId;

    const STAMP: FileStamp = FileStamp { size: 3, modified: 5, changed: 5, node: 7 };

    #[test]
    fn a_hash_holds_until_the_file_changes() {
        let file = FileId::new(CommitId([1; 20]), "7", "a").unwrap();
        let mut checked = CheckedFiles::default();
        assert_eq!(checked.get(&file, STAMP), None);
        checked.remember(file.clone(), STAMP, FileHash::of(b"abc"));
        assert_eq!(checked.get(&file, STAMP), Some(FileHash::of(b"abc")));
        for stamp in [
            FileStamp { size: 4, ..STAMP },
            FileStamp { modified: 6, ..STAMP },
            FileStamp { changed: 6, ..STAMP },
            FileStamp { node: 8, ..STAMP },
        ] {
            assert_eq!(checked.get(&file, stamp), None, "{stamp:?}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut checked = CheckedFiles::default();
        let file = |number: usize| FileId::new(CommitId([1; 20]), &number.to_string(), "a").unwrap();
        for number in 0..=MAX_CHECKED {
            checked.remember(file(number), STAMP, FileHash::of(b"abc"));
            checked.remember(file(number), STAMP, FileHash::of(b"abc"));
        }
        assert_eq!(checked.get(&file(0), STAMP), None);
        assert!(checked.get(&file(1), STAMP).is_some());
        assert_eq!((checked.known.len(), checked.order.len()), (MAX_CHECKED, MAX_CHECKED));
    }
}
