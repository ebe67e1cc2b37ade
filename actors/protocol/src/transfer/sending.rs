//! Serving a file: which bytes are read next, and how many requests are served at once (`spec:
//! file-transfer 5, 7`).

use std::collections::BTreeMap;

use super::name::ByteRange;
use crate::ids::AccountId;

/// Most bytes written at once, as the reference does.
pub const MAX_BLOCK: usize = 65_535;

/// Bytes read at once: enough to keep the link busy, and little memory.
pub const MAX_READ: usize = 16 * MAX_BLOCK;

/// Files served at once to one person, on all devices: they want a few at a time, and each costs a hash and
/// a buffer.
pub const MAX_SENDING_EACH: usize = 16;

/// Files served at once by an account.
pub const MAX_SENDING: usize = 64;

/// A request that is being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    position: u64,
    end: u64,
}

impl Sending {
    /// Serves a range of a file that is `size` bytes long. A range that begins beyond the end is empty.
    #[must_use]
    pub const fn new(range: ByteRange, size: u64) -> Self {
        let end = if range.end == 0 || range.end > size { size } else { range.end };
        Self { position: range.start, end }
    }

    /// The offset and number of the bytes to be read and sent next; none when all is sent.
    #[must_use]
    pub fn next(&self) -> Option<(u64, usize)> {
        let left = self.end.saturating_sub(self.position);
        let length = usize::try_from(left).unwrap_or(MAX_READ).min(MAX_READ);
        (length > 0).then_some((self.position, length))
    }

    /// So many bytes were read. None at all means that the file has become shorter: the transfer ends.
    pub fn read(&mut self, length: usize) {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if length == 0 {
            self.end = self.position;
        }
        self.position = self.position.saturating_add(length);
    }

    /// How many bytes were read, from wherever it began to where it stands.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }
}

/// The places for files that are served at once.
#[derive(Clone, Debug, Default)]
pub struct SendingPlaces {
    taken: BTreeMap<AccountId, usize>,
}

impl SendingPlaces {
    /// Takes a place for somebody. False if they, or all, have too many; the request is declined then, and
    /// asked again.
    pub fn take(&mut self, person: AccountId) -> bool {
        let each = self.taken.get(&person).copied().unwrap_or(0);
        if each >= MAX_SENDING_EACH || self.in_use() >= MAX_SENDING {
            return false;
        }
        self.taken.insert(person, each + 1);
        true
    }

    /// Gives a place back.
    pub fn free(&mut self, person: AccountId) {
        if let Some(taken) = self.taken.get_mut(&person) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.taken.remove(&person);
            }
        }
    }

    fn in_use(&self) -> usize {
        self.taken.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_beyond_the_end_is_closed_at_once() {
        for start in [10, 11, u64::MAX] {
            assert_eq!(Sending::new(ByteRange { start, end: 0 }, 10).next(), None);
        }
        assert_eq!(Sending::new(ByteRange::default(), 0).next(), None, "an empty file");
    }

    #[test]
    fn offsets_beyond_32_bits_are_honoured() {
        let start = 5 << 32;
        let sending = Sending::new(ByteRange { start, end: start + 3 }, u64::MAX);
        assert_eq!(sending.next(), Some((start, 3)));
    }

    #[test]
    fn a_file_that_was_cut_meanwhile_ends_the_transfer() {
        let mut sending = Sending::new(ByteRange::default(), 100);
        sending.read(40);
        sending.read(0);
        assert_eq!((sending.next(), sending.position()), (None, 40));
    }

    #[test]
    fn one_person_cannot_take_all_places() {
        let mut places = SendingPlaces::default();
        let person = |number| AccountId([number; 20]);
        assert_eq!((0..40).filter(|_| places.take(person(0))).count(), MAX_SENDING_EACH);
        let all =
            (1..80).flat_map(|number| [number; 2]).filter(|number| places.take(person(*number))).count();
        assert_eq!(all, MAX_SENDING - MAX_SENDING_EACH);
        places.free(person(0));
        assert!(places.take(person(100)));
        assert_eq!(places.in_use(), MAX_SENDING);
        places.free(person(101));
        assert_eq!(places.in_use(), MAX_SENDING, "who has none gives none back");
    }

    const MANY: u64 = 5 * MAX_READ as u64;

    proptest! {
        #[test]
        fn all_bytes_of_a_range_are_read_once_and_in_order(
            size in 0..MANY, start in 0..MANY, end in 0..MANY, short in 10_000usize..100_000,
        ) {
            let mut sending = Sending::new(ByteRange { start, end }, size);
            let mut at = start;
            while let Some((offset, length)) = sending.next() {
                prop_assert_eq!(offset, at);
                prop_assert!(length <= MAX_READ);
                let got = length.min(short);
                sending.read(got);
                at += got as u64;
            }
            let end = if end == 0 { size } else { end.min(size) };
            prop_assert_eq!(at, end.max(start));
        }
    }
}
