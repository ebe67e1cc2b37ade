//! Whether there is room for a file: decided before a byte is written.

/// Free space of a disk that files never take, in bytes: histories have to be written too.
pub const RESERVE: u64 = 256 * 1024 * 1024;

/// Most bytes of a file whose offer does not say how long it is. No sender of ours or the reference leaves
/// that out; so much is kept free for each while it is waited for.
pub const MAX_UNKNOWN: u64 = 64 * 1024 * 1024;

/// The room for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Longest file that is fetched, in bytes.
    pub largest: u64,
    /// Most bytes that fetched files of the account may take together.
    pub quota: u64,
    /// Bytes that they take, partial ones included.
    pub used: u64,
    /// Bytes that transfers which run, or are about to, have still to write.
    pub promised: u64,
    /// Free bytes of the disk.
    pub free: u64,
}

/// Why a file is not fetched now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoom {
    /// Larger than the owner wants.
    #[error("the file has {size} bytes, more than the {largest} a file may have here")]
    TooLarge {
        /// Its length.
        size: u64,
        /// The longest there may be.
        largest: u64,
    },
    /// The owner's files take all that they may.
    #[error(
        "the file needs {needed} more bytes, but the files of this account may only take {left} more; delete some"
    )]
    Quota {
        /// How many it needs.
        needed: u64,
        /// How many are left.
        left: u64,
    },
    /// The disk is full.
    #[error("the file needs {needed} more bytes, but only {left} of the disk can be used; make room")]
    Disk {
        /// How many it needs.
        needed: u64,
        /// How many can be used.
        left: u64,
    },
}

impl Room {
    /// Whether a file can be fetched of which `here` bytes are here (and counted as used). Answers with
    /// how many bytes are to be promised to it: all that are missing, or what fits for a file of unknown
    /// length.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn admit(&self, size: u64, here: u64) -> Result<u64, NoRoom> {
        if size > self.largest {
            return Err(NoRoom::TooLarge { size, largest: self.largest });
        }
        let quota = self.quota.saturating_sub(self.used).saturating_sub(self.promised);
        let disk = self.free.saturating_sub(RESERVE).saturating_sub(self.promised);
        if size == 0 {
            return Ok(MAX_UNKNOWN.min(self.largest).min(quota).min(disk));
        }
        let needed = size.saturating_sub(here);
        if needed > quota {
            return Err(NoRoom::Quota { needed, left: quota });
        }
        if needed > disk {
            return Err(NoRoom::Disk { needed, left: disk });
        }
        Ok(needed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: Room = Room { largest: 1000, quota: 5000, used: 1000, promised: 500, free: RESERVE + 2000 };

    #[test]
    fn a_file_that_fits_is_promised_what_is_missing() {
        assert_eq!(ROOM.admit(1000, 0), Ok(1000));
        assert_eq!(ROOM.admit(1000, 400), Ok(600));
        assert_eq!(ROOM.admit(0, 0), Ok(1000), "of unknown length: what fits");
        let wide = Room { largest: u64::MAX, quota: u64::MAX, free: u64::MAX, ..ROOM };
        assert_eq!(wide.admit(0, 0), Ok(MAX_UNKNOWN), "but not the whole disk");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        assert_eq!(ROOM.admit(1001, 1001), Err(NoRoom::TooLarge { size: 1001, largest: 1000 }));
        let full = Room { used: 4000, ..ROOM };
        assert_eq!(full.admit(501, 0), Err(NoRoom::Quota { needed: 501, left: 500 }));
        assert_eq!(full.admit(500, 0), Ok(500));
        let small = Room { free: RESERVE + 700, ..ROOM };
        assert_eq!(small.admit(201, 0), Err(NoRoom::Disk { needed: 201, left: 200 }));
        assert_eq!(Room { free: 0, ..ROOM }.admit(1, 0), Err(NoRoom::Disk { needed: 1, left: 0 }));
        assert_eq!(Room { free: 0, ..ROOM }.admit(9, 9), Ok(0), "all is here, only its name is missing");
    }

    proptest! {
        #[test]
        fn what_is_promised_is_always_there(
            sizes in prop::collection::vec(0u64..3000, 1..20), quota: u64, used: u64, free: u64,
        ) {
            let mut room = Room { largest: 2500, quota, used, promised: 0, free };
            for size in sizes {
                if let Ok(promised) = room.admit(size, 0) {
                    room.promised += promised;
                }
            }
            prop_assert!(room.promised == 0 || room.promised <= free.saturating_sub(RESERVE));
            prop_assert!(room.promised <= quota.saturating_sub(used));
        }
    }
}
