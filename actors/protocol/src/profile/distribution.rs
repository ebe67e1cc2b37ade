//! Who has one's own profile as it is now (`spec: profiles 3 and 4.4`).
//!
//! A device gets it when a channel of a conversation or for sync opens, and when it changes; each version
//! once. The reference keeps an empty file for each device that has it; here it is one file.

use std::collections::BTreeSet;

use super::path::ProfileDigest;
use crate::ids::{AccountId, DeviceId};
use crate::msgpack::{self, DecodeError, Value as Object};

/// Devices remembered as having the profile. Others get it once more when they come again.
pub const MAX_RECIPIENTS: usize = 16_384;

/// Largest file, in bytes: a device takes less than 64.
pub const MAX_DISTRIBUTION_FILE: usize = MAX_RECIPIENTS * 64 + 256;

/// Transfers of one's own profile that may be under way.
const MAX_UNDER_WAY: usize = 64;

/// Why a file cannot be read. It is safe to begin anew: everybody gets the profile once more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// Not MessagePack, or too large.
    #[error("the file of who has the profile cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No map, or none with a digest.
    #[error("the file of who has the profile does not say which")]
    NoDigest,
}

/// A device of an account.
pub type Recipient = (AccountId, DeviceId);

/// Who has one's own profile as it is now, and who is getting it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    digest: Option<ProfileDigest>,
    sent: BTreeSet<Recipient>,
    under_way: BTreeSet<Recipient>,
}

impl Distribution {
    /// The profile is now this, or there is none. Says whether that is new: then nobody has it, and one
    /// connected device of each account is to [begin](Self::begin) to get it.
    pub fn profile(&mut self, digest: Option<ProfileDigest>) -> bool {
        let is_new = self.digest != digest;
        if is_new {
            *self = Self { digest, ..Self::default() };
        }
        is_new
    }

    /// What to send to a device, if it does not have it and is not getting it. That counts as under way
    /// until [`Self::finished`] or [`Self::failed`].
    pub fn begin(&mut self, recipient: Recipient) -> Option<ProfileDigest> {
        let digest = self.digest?;
        let is_due = !self.sent.contains(&recipient) && self.under_way.len() < MAX_UNDER_WAY;
        (is_due && self.under_way.insert(recipient)).then_some(digest)
    }

    /// A device has got the version with this digest, which may be no longer the present one.
    pub fn finished(&mut self, recipient: Recipient, digest: ProfileDigest) {
        if self.digest != Some(digest) {
            return;
        }
        self.under_way.remove(&recipient);
        if self.sent.len() >= MAX_RECIPIENTS {
            self.sent.pop_first();
        }
        self.sent.insert(recipient);
    }

    /// A transfer of this version broke: the device gets it the next time.
    pub fn failed(&mut self, recipient: Recipient, digest: ProfileDigest) {
        if self.digest == Some(digest) {
            self.under_way.remove(&recipient);
        }
    }

    /// A contact was removed or added again: its devices get the profile anew.
    pub fn forget(&mut self, account: AccountId) {
        self.sent.retain(|(owner, _)| *owner != account);
    }

    /// Of the devices that are connected, the first of each account.
    #[must_use]
    pub fn one_of_each(connected: impl IntoIterator<Item = Recipient>) -> Vec<Recipient> {
        let mut accounts = BTreeSet::new();
        connected.into_iter().filter(|(account, _)| accounts.insert(*account)).collect()
    }

    /// The file; a file of our own.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let digest = self.digest.map_or(Object::Nil, |digest| Object::binary(&digest.0));
        let sent = self.sent.iter().map(|(account, device)| {
            Object::Array(vec![Object::binary(&account.0), Object::binary(&device.0)])
        });
        Object::map([("sha3", digest), ("sent", Object::Array(sent.collect()))]).encode()
    }

    /// Reads a file. Wrong entries are skipped.
    ///
    /// # Errors
    /// When it does not say which version everybody has.
    pub fn decode(file: &[u8]) -> Result<Self, DistributionError> {
        let (object, _) = msgpack::decode(file, MAX_DISTRIBUTION_FILE)?;
        let digest = match object.get("sha3").ok_or(DistributionError::NoDigest)? {
            Object::Nil => None,
            bytes => {
                let digest = bytes.as_binary().and_then(|digest| digest.try_into().ok());
                Some(ProfileDigest(digest.ok_or(DistributionError::NoDigest)?))
            }
        };
        let read = |recipient: &Object| {
            let [account, device] = recipient.as_array()? else { return None };
            Some((AccountId::from_bytes(account.as_binary()?)?, DeviceId::from_bytes(device.as_binary()?)?))
        };
        let sent = object.get("sent").and_then(Object::as_array).unwrap_or_default();
        let sent = sent.iter().filter_map(read).take(MAX_RECIPIENTS).collect();
        Ok(Self { digest, sent, under_way: BTreeSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOB: Recipient = (AccountId([1; 20]), DeviceId([0x11; 32]));
    const BOBS_PHONE: Recipient = (AccountId([1; 20]), DeviceId([0x12; 32]));
    const CARLA: Recipient = (AccountId([2; 20]), DeviceId([0x21; 32]));

    fn version(number: u8) -> ProfileDigest {
        ProfileDigest::of(&[number])
    }

    fn sending(number: u8) -> Distribution {
        let mut distribution = Distribution::default();
        assert!(distribution.profile(Some(version(number))));
        distribution
    }

    #[test]
    fn each_device_gets_each_version_once() {
        let mut distribution = sending(1);
        for recipient in [BOB, BOBS_PHONE] {
            assert_eq!(distribution.begin(recipient), Some(version(1)));
            assert_eq!(distribution.begin(recipient), None, "it is getting it");
            distribution.finished(recipient, version(1));
            assert_eq!(distribution.begin(recipient), None, "it has it");
        }
        assert!(!distribution.profile(Some(version(1))));
        assert_eq!(distribution.begin(BOB), None);
        assert!(distribution.profile(Some(version(2))));
        assert_eq!(distribution.begin(BOB), Some(version(2)));
    }

    #[test]
    fn a_transfer_that_breaks_is_made_again_and_one_of_an_old_version_counts_for_nothing() {
        let mut distribution = sending(1);
        distribution.begin(BOB);
        distribution.failed(BOB, version(1));
        assert_eq!(distribution.begin(BOB), Some(version(1)));
        distribution.profile(Some(version(2)));
        assert_eq!(distribution.begin(BOB), Some(version(2)));
        distribution.finished(BOB, version(1));
        distribution.failed(BOB, version(1));
        assert_eq!(distribution.begin(BOB), None, "version two is under way");
        distribution.finished(BOB, version(2));
        assert_eq!(distribution.begin(BOB), None);
    }

    #[test]
    fn without_a_profile_nothing_is_sent_and_who_is_forgotten_gets_it_anew() {
        assert_eq!(Distribution::default().begin(BOB), None);
        let mut distribution = sending(1);
        for recipient in [BOB, CARLA] {
            distribution.begin(recipient);
            distribution.finished(recipient, version(1));
        }
        distribution.forget(BOB.0);
        assert_eq!((distribution.begin(BOB), distribution.begin(CARLA)), (Some(version(1)), None));
        assert!(distribution.profile(None));
        assert_eq!(distribution.begin(CARLA), None);
    }

    #[test]
    fn a_change_is_sent_to_one_device_of_each_account() {
        assert_eq!(Distribution::one_of_each([BOB, BOBS_PHONE, CARLA, BOB]), [BOB, CARLA]);
    }

    #[test]
    fn memory_is_bounded_and_forgetful_rather_than_full() {
        let mut distribution = sending(1);
        for number in 0..=MAX_RECIPIENTS {
            let mut device = [0; 32];
            device[..8].copy_from_slice(&number.to_be_bytes());
            let recipient = (AccountId([7; 20]), DeviceId(device));
            distribution.begin(recipient);
            distribution.finished(recipient, version(1));
        }
        assert_eq!(distribution.sent.len(), MAX_RECIPIENTS);
        let file = distribution.encode();
        assert!(file.len() <= MAX_DISTRIBUTION_FILE);
        assert_eq!(Distribution::decode(&file), Ok(distribution));
        let mut distribution = sending(1);
        let begun =
            (0..=255).filter(|number| distribution.begin((AccountId([*number; 20]), BOB.1)).is_some());
        assert_eq!(begun.count(), MAX_UNDER_WAY);
    }

    #[test]
    fn wrong_files_are_refused_and_wrong_entries_skipped() {
        assert!(matches!(Distribution::decode(b""), Err(DistributionError::Decode(_))));
        for object in [Object::Nil, Object::map([]), Object::map([("sha3", Object::binary(b"short"))])] {
            assert_eq!(Distribution::decode(&object.encode()), Err(DistributionError::NoDigest));
        }
        let digest = Object::binary(&version(1).0);
        let object = Object::map([("sha3", digest), ("sent", Object::Array(vec![Object::Nil]))]);
        assert_eq!(Distribution::decode(&object.encode()), Ok(sending(1)));
    }

    proptest! {
        #[test]
        fn who_has_the_profile_survives_the_file(recipients: Vec<([u8; 20], [u8; 32])>) {
            let mut distribution = sending(1);
            for (account, device) in recipients {
                distribution.finished((AccountId(account), DeviceId(device)), version(1));
            }
            prop_assert_eq!(Distribution::decode(&distribution.encode()), Ok(distribution));
        }
    }
}
