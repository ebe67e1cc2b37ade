//! Profiles that come over channels: whole and as announced, or not at all (`spec: profiles 4.3 and 9`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::path::{Announced, ProfileDigest};
use super::{MAX_PROFILE, is_complete};
use crate::ids::{AccountId, DeviceId};

/// Profiles that may come at one time, of all devices; with [`MAX_PROFILE`] the memory they may take.
pub const MAX_RECEPTIONS: usize = 16;

/// Who sends, and whose profile: there is one reception of that at a time.
pub type ReceptionKey = (DeviceId, AccountId);

/// Why a profile is not taken. The old one stays, and the channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceptionError {
    /// The same is coming already.
    #[error("the device is sending this profile already; close the second channel")]
    Twice,
    /// [`MAX_RECEPTIONS`] are coming.
    #[error("{MAX_RECEPTIONS} profiles are coming already; close the channel")]
    TooMany,
    /// Longer than [`MAX_PROFILE`].
    #[error("the profile has more than {MAX_PROFILE} bytes; stop reading, and close the channel")]
    TooLong,
    /// Nothing came: the sender has none.
    #[error("the device has no such profile")]
    Empty,
    /// It ends without the end of a vCard, and nobody said what it is to be.
    #[error("the profile was cut off on its way")]
    CutOff,
    /// It is not what was announced.
    #[error("the profile is not the one that was announced")]
    Different,
}

#[derive(Debug)]
struct Reception {
    announced: Announced,
    file: Vec<u8>,
}

/// All profiles that are coming to an account.
#[derive(Debug, Default)]
pub struct Receptions(BTreeMap<ReceptionKey, Reception>);

impl Receptions {
    /// A channel is open.
    ///
    /// # Errors
    /// Why to close it at once.
    pub fn begin(&mut self, key: ReceptionKey, announced: Announced) -> Result<(), ReceptionError> {
        let count = self.0.len();
        match self.0.entry(key) {
            Entry::Occupied(_) => Err(ReceptionError::Twice),
            Entry::Vacant(_) if count >= MAX_RECEPTIONS => Err(ReceptionError::TooMany),
            Entry::Vacant(place) => {
                place.insert(Reception { announced, file: Vec::new() });
                Ok(())
            }
        }
    }

    /// Bytes have come. What comes for a channel that was closed is ignored.
    ///
    /// # Errors
    /// [`ReceptionError::TooLong`]: nothing of it is kept.
    pub fn data(&mut self, key: ReceptionKey, bytes: &[u8]) -> Result<(), ReceptionError> {
        let Some(reception) = self.0.get_mut(&key) else { return Ok(()) };
        if bytes.len() > MAX_PROFILE.saturating_sub(reception.file.len()) {
            self.0.remove(&key);
            return Err(ReceptionError::TooLong);
        }
        reception.file.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether somebody's profile is coming, from whomever, or came and is not [abandoned](Self::abandon) yet.
    #[must_use]
    pub fn is_coming(&self, owner: AccountId) -> bool {
        self.0.keys().any(|(_, coming)| *coming == owner)
    }

    /// The channel has ended: the file, if it is good. It keeps its place until it is [abandoned](Self::abandon), for
    /// it takes memory until it is written.
    ///
    /// # Errors
    /// Why it is not.
    pub fn end(&mut self, key: ReceptionKey) -> Result<Vec<u8>, ReceptionError> {
        let Some(reception) = self.0.get_mut(&key) else { return Err(ReceptionError::Empty) };
        let file = std::mem::take(&mut reception.file);
        match reception.announced {
            _ if file.is_empty() => Err(ReceptionError::Empty),
            Announced::Digest(digest) if ProfileDigest::of(&file) == digest => Ok(file),
            Announced::Digest(_) | Announced::Nonsense => Err(ReceptionError::Different),
            Announced::Nothing if is_complete(&file) => Ok(file),
            Announced::Nothing => Err(ReceptionError::CutOff),
        }
    }

    /// The profile is written, the channel broke, or nobody wants it any more.
    pub fn abandon(&mut self, key: ReceptionKey) {
        self.0.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: ReceptionKey = (DeviceId([1; 32]), AccountId([2; 20]));
    const FILE: &[u8] = b"BEGIN:VCARD\nFN:Alice\nEND:VCARD";

    fn receive(announced: Announced, pieces: &[&[u8]]) -> Result<Vec<u8>, ReceptionError> {
        let mut receptions = Receptions::default();
        receptions.begin(KEY, announced)?;
        for piece in pieces {
            receptions.data(KEY, piece)?;
        }
        receptions.end(KEY)
    }

    #[test]
    fn a_profile_comes_in_pieces_and_is_checked_at_its_end() {
        let digest = Announced::Digest(ProfileDigest::of(FILE));
        for announced in [digest, Announced::Nothing] {
            assert_eq!(receive(announced, &[&FILE[..5], b"", &FILE[5..]]), Ok(FILE.to_vec()));
        }
        assert_eq!(receive(digest, &[FILE, b"\n"]), Err(ReceptionError::Different));
        assert_eq!(receive(digest, &[&FILE[..10]]), Err(ReceptionError::Different));
        assert_eq!(receive(Announced::Nonsense, &[FILE]), Err(ReceptionError::Different));
        assert_eq!(receive(Announced::Nothing, &[&FILE[..FILE.len() - 1]]), Err(ReceptionError::CutOff));
    }

    #[test]
    fn a_profile_has_its_place_until_it_is_written() {
        let mut receptions = Receptions::default();
        receptions.begin(KEY, Announced::Nothing).unwrap();
        receptions.data(KEY, FILE).unwrap();
        assert_eq!(receptions.end(KEY), Ok(FILE.to_vec()));
        assert_eq!(receptions.begin(KEY, Announced::Nothing), Err(ReceptionError::Twice));
        assert!(receptions.is_coming(KEY.1) && !receptions.is_coming(AccountId([3; 20])));
        receptions.abandon(KEY);
        assert!(!receptions.is_coming(KEY.1));
        assert_eq!(receptions.begin(KEY, Announced::Nothing), Ok(()));
    }

    #[test]
    fn a_channel_closed_without_data_is_no_empty_profile() {
        for announced in [Announced::Nothing, Announced::Digest(ProfileDigest::of(b""))] {
            assert_eq!(receive(announced, &[]), Err(ReceptionError::Empty));
        }
    }

    #[test]
    fn a_profile_of_a_hundred_megabytes_is_given_up_at_the_limit() {
        let mut receptions = Receptions::default();
        receptions.begin(KEY, Announced::Nothing).unwrap();
        let piece = vec![b'x'; 65_535];
        let taken = (0..1600).take_while(|_| receptions.data(KEY, &piece).is_ok()).count();
        assert_eq!(taken, MAX_PROFILE / piece.len());
        assert_eq!(receptions.data(KEY, &piece), Ok(()), "ignored, for the channel is to be closed");
        assert!(receptions.0.is_empty());
        assert_eq!(receptions.end(KEY), Err(ReceptionError::Empty));
    }

    #[test]
    fn one_profile_comes_at_a_time_from_each_device_and_few_in_all() {
        let mut receptions = Receptions::default();
        for number in 0..MAX_RECEPTIONS {
            let device = DeviceId([u8::try_from(number).unwrap(); 32]);
            assert_eq!(receptions.begin((device, KEY.1), Announced::Nothing), Ok(()));
            assert_eq!(receptions.begin((device, KEY.1), Announced::Nothing), Err(ReceptionError::Twice));
        }
        let more = (DeviceId([99; 32]), KEY.1);
        assert_eq!(receptions.begin(more, Announced::Nothing), Err(ReceptionError::TooMany));
        receptions.abandon((DeviceId([0; 32]), KEY.1));
        assert_eq!(receptions.begin(more, Announced::Nothing), Ok(()));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(file in prop::collection::vec(any::<u8>(), 1..2000), size in 1..500_usize) {
            let announced = Announced::Digest(ProfileDigest::of(&file));
            let pieces: Vec<&[u8]> = file.chunks(size).collect();
            prop_assert_eq!(receive(announced, &pieces), Ok(file.clone()));
        }
    }
}
