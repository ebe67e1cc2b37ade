//! What a device that serves a file sends: counted and hashed as it comes (`spec: file-transfer 5`).

use super::digest::{FileHash, FileHasher};
use super::offer::OfferedFile;

/// Largest offset that a transfer may begin at: others read it as 32 bits (`spec: file-transfer 3`).
pub const MAX_RESUME: u64 = u32::MAX as u64;

/// How many bytes of a partial file can be kept when a transfer goes on. The rest is cut off.
///
/// What is longer than the file is worthless; of what is longer than the largest offset, that much is
/// kept.
#[must_use]
pub fn resume_at(partial: u64, size: u64) -> u64 {
    match size {
        // Of unknown length, or empty.
        0 => 0,
        size if partial > size => 0,
        _ => partial.min(MAX_RESUME),
    }
}

/// The hash of what is here already, read back from the disk.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    hasher: FileHasher,
    length: u64,
}

impl Prefix {
    /// Takes the next bytes of the partial file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length = self.length.saturating_add(length(bytes));
    }

    /// How many bytes were taken.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Whether a request can begin after it: others read offsets of 32 bits.
    #[must_use]
    pub const fn can_be_gone_on_with(&self) -> bool {
        self.length <= MAX_RESUME
    }
}

/// A transfer that is running.
#[derive(Clone, Debug)]
pub struct Receiving {
    expected: FileHash,
    size: u64,
    limit: u64,
    so_far: Prefix,
    came: u64,
}

/// More was sent than was offered, or than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device sends more than the {limit} bytes there may be; what came is thrown away")]
pub struct TooLong {
    /// The most there may be.
    pub limit: u64,
}

/// What is to be done with what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the file: it gets its name.
    Complete,
    /// It is kept, to go on from there; so many bytes are new.
    Incomplete {
        /// How many bytes this transfer brought.
        new: u64,
    },
    /// It is thrown away, and the device that sent all of it is not asked again.
    Worthless(Flaw),
}

/// Why what came is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Longer than it may be.
    TooLong,
    /// Not what the commit names.
    WrongContent,
}

impl Receiving {
    /// A transfer of `file` that goes on after `prefix`. `limit` is the most that may come when the
    /// offer does not say how long the file is.
    #[must_use]
    pub fn new(file: &OfferedFile, prefix: Prefix, limit: u64) -> Self {
        let is_unknown = file.size == 0 && !file.is_empty();
        let limit = if is_unknown { limit } else { file.size };
        Self { expected: file.hash, size: file.size, limit, so_far: prefix, came: 0 }
    }

    /// Takes bytes that came, before they are written to the end of the partial file.
    ///
    /// # Errors
    /// [`TooLong`]: nothing is to be written any more, and the transfer is to be ended.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let more = length(bytes);
        if self.position().checked_add(more).is_none_or(|end| end > self.limit) {
            return Err(TooLong { limit: self.limit });
        }
        self.came = self.came.saturating_add(more);
        self.so_far.update(bytes);
        Ok(())
    }

    /// What is here, to go on from later.
    #[must_use]
    pub const fn so_far(&self) -> &Prefix {
        &self.so_far
    }

    /// How many bytes are here, those of earlier transfers included.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.so_far.length
    }

    /// Whether all is here that was offered: then the channel need not be read on.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.would_be_full(self.so_far.length)
    }

    /// Whether all would be here with so many bytes.
    #[must_use]
    pub const fn would_be_full(&self, position: u64) -> bool {
        self.size != 0 && position >= self.size
    }

    /// The channel has ended, or nothing more is needed.
    #[must_use]
    pub fn end(self) -> Verdict {
        if self.so_far.length < self.size {
            return Verdict::Incomplete { new: self.came };
        }
        if self.so_far.hasher.finish() == self.expected {
            Verdict::Complete
        } else {
            Verdict::Worthless(Flaw::WrongContent)
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::CommitId;
    use crate::transfer::offer;

    /// Far more than the tests send.
    const LIMIT: u64 = 1000;

    fn file(content: &[u8]) -> OfferedFile {
        let offer = offer("a", FileHash::of(content), length(content), [0; 8], None);
        OfferedFile::read(CommitId([1; 20]), &offer).unwrap()
    }

    fn prefix(bytes: &[u8]) -> Prefix {
        let mut prefix = Prefix::default();
        prefix.update(bytes);
        prefix
    }

    #[test]
    fn an_empty_file_is_complete_with_the_close() {
        let mut receiving = Receiving::new(&file(b""), Prefix::default(), LIMIT);
        assert_eq!(receiving.clone().end(), Verdict::Complete);
        assert_eq!(receiving.receive(b"x"), Err(TooLong { limit: 0 }), "nothing belongs to it");
    }

    #[test]
    fn a_file_of_unknown_length_is_judged_by_its_hash_alone_and_bounded() {
        let unknown = OfferedFile { size: 0, ..file(b"content") };
        let mut receiving = Receiving::new(&unknown, Prefix::default(), LIMIT);
        receiving.receive(b"content").unwrap();
        assert!(!receiving.is_full(), "more could come");
        assert_eq!(receiving.clone().end(), Verdict::Complete);
        assert_eq!(receiving.receive(&[0; 994]), Err(TooLong { limit: LIMIT }));
        receiving.receive(&[0; 993]).unwrap();
        assert_eq!(receiving.end(), Verdict::Worthless(Flaw::WrongContent));
    }

    #[test]
    fn other_bytes_of_the_same_length_are_worthless() {
        let mut receiving = Receiving::new(&file(b"content"), Prefix::default(), LIMIT);
        receiving.receive(b"c0ntent").unwrap();
        assert!(receiving.is_full());
        assert_eq!(receiving.end(), Verdict::Worthless(Flaw::WrongContent));
    }

    #[test]
    fn a_partial_file_that_was_damaged_on_the_disk_is_found_out() {
        let mut receiving = Receiving::new(&file(b"content"), prefix(b"cX"), LIMIT);
        receiving.receive(b"ntent").unwrap();
        assert_eq!(receiving.end(), Verdict::Worthless(Flaw::WrongContent));
    }

    #[test]
    fn nothing_beyond_what_was_offered_is_taken() {
        let mut receiving = Receiving::new(&file(b"content"), prefix(b"con"), LIMIT);
        assert_eq!(receiving.receive(b"tent!"), Err(TooLong { limit: 7 }));
        assert_eq!(receiving.position(), 3, "it was not counted either");
    }

    #[test]
    fn what_is_kept_of_a_partial_file_fits_the_file_and_the_request() {
        assert_eq!(resume_at(0, 10), 0);
        assert_eq!(resume_at(4, 10), 4);
        assert_eq!(resume_at(10, 10), 10);
        assert_eq!(resume_at(11, 10), 0, "longer than the file");
        assert_eq!(resume_at(5, 0), 0, "of unknown length");
        let huge = 1 << 33;
        assert_eq!(resume_at(huge - 1, huge), MAX_RESUME, "others read 32 bits");
    }

    #[test]
    fn what_breaks_off_beyond_the_largest_offset_is_not_gone_on_with() {
        let prefix = |length| Prefix { length, ..Prefix::default() };
        assert!(prefix(MAX_RESUME).can_be_gone_on_with());
        assert!(!prefix(MAX_RESUME + 1).can_be_gone_on_with());
    }

    proptest! {
        #[test]
        fn a_file_is_complete_however_it_is_cut_and_wherever_it_is_resumed(
            content in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(0usize..300, 0..6),
        ) {
            let file = file(&content);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.push(content.len());
            cuts.sort_unstable();
            let mut here = 0;
            for cut in cuts {
                let mut receiving = Receiving::new(&file, prefix(&content[..here]), LIMIT);
                for piece in content[here..cut].chunks(7) {
                    receiving.receive(piece).unwrap();
                }
                let new = length(&content[here..cut]);
                here = cut;
                let expected =
                    if here == content.len() { Verdict::Complete } else { Verdict::Incomplete { new } };
                prop_assert_eq!(receiving.end(), expected);
            }
        }
    }
}
