//! The commit that offers a file: checked on the way in, made right on the way out (`spec:
//! file-transfer 1`).

use super::digest::FileHash;
use super::name::{FileId, is_tid};
use super::safe_name::safe_name;
use crate::ids::CommitId;
use crate::swarm::message::FileOffer;

/// Largest number that names an offer: JavaScript keeps all up to here exactly.
pub const MAX_TID: u64 = 1 << 53;

/// Largest file, in bytes: the reference counts with 63 bits.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// A file that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedFile {
    /// Its id.
    pub id: FileId,
    /// The hash of its content.
    pub hash: FileHash,
    /// Its length in bytes; 0 also stands for one that is not known.
    pub size: u64,
    /// A name to save and show it under: safe, whatever the sender wrote.
    pub name: String,
}

/// Why a file that is on offer cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Number or name cannot be part of a file id.
    #[error("the offer has a number or name that no request can carry; it has to be sent again")]
    Id,
    /// The hash is none.
    #[error("the offer has no valid SHA3-512 hash, so the file could never be verified")]
    Hash,
    /// The length is beyond all bounds.
    #[error("the offer names a length of {0} bytes, more than any file has")]
    Size(u64),
}

impl OfferedFile {
    /// What a commit offers.
    ///
    /// # Errors
    /// [`OfferError`] when nobody could answer a request for it, or nobody verify the answer.
    pub fn read(commit: CommitId, offer: &FileOffer) -> Result<Self, OfferError> {
        let id = FileId::new(commit, &offer.tid, &offer.display_name).map_err(|_| OfferError::Id)?;
        let hash = offer.sha3sum.parse().map_err(|_| OfferError::Hash)?;
        if offer.total_size > MAX_SIZE {
            return Err(OfferError::Size(offer.total_size));
        }
        Ok(Self { id, hash, size: offer.total_size, name: safe_name(&offer.display_name) })
    }
}

impl OfferedFile {
    /// Whether the file is empty: a length of 0 alone may also mean that the length is not known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0 && self.hash == FileHash::of(b"")
    }
}

/// The offer of a file. `name` is its name on disk, without folders; `random` names the offer.
#[must_use]
pub fn offer(
    name: &str,
    hash: FileHash,
    size: u64,
    random: [u8; 8],
    reply_to: Option<CommitId>,
) -> FileOffer {
    let tid = u64::from_le_bytes(random) % MAX_TID + 1;
    let tid = tid.to_string();
    debug_assert!(is_tid(&tid));
    FileOffer { display_name: safe_name(name), sha3sum: hash.to_string(), tid, total_size: size, reply_to }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::message::{CommitMessage, Content};

    const COMMIT: CommitId = CommitId([7; 20]);

    fn good() -> FileOffer {
        offer("a.png", FileHash::of(b"x"), 1, [3; 8], None)
    }

    #[test]
    fn the_offer_of_a_real_daemon_is_read() {
        let message = CommitMessage::parse(
            br#"{"displayName":"golden-file.bin","sha3sum":"211422b1a25ce80f19a0d29df3f4b3adffea6d2711d52e9dce019c98f81ca160597eb068014f7c9aaef984de313eff097e90069d89d1fca701515f4cc401ae97","tid":"6333261840635","totalSize":"128000","type":"application/data-transfer+json"}"#,
        );
        let Content::File(offer) = message.unwrap().content() else { panic!("no offer") };
        let commit = "3ff9d879f8baffad4b0e470214827054931eb92b".parse().unwrap();
        let file = OfferedFile::read(commit, &offer).unwrap();
        assert_eq!(file.id.as_str(), "3ff9d879f8baffad4b0e470214827054931eb92b_6333261840635.bin");
        assert_eq!((file.size, file.name.as_str()), (128_000, "golden-file.bin"));
    }

    #[test]
    fn offers_that_nobody_could_verify_or_request_are_refused() {
        let read = |offer: FileOffer| OfferedFile::read(COMMIT, &offer);
        for sha3sum in ["", "ab", &"AB".repeat(64)] {
            assert_eq!(read(FileOffer { sha3sum: sha3sum.to_owned(), ..good() }), Err(OfferError::Hash));
        }
        for tid in ["", "-1", "12345678901234567", "../../x", "1/2"] {
            assert_eq!(read(FileOffer { tid: tid.to_owned(), ..good() }), Err(OfferError::Id), "{tid}");
        }
        for display_name in ["a./../x", "a.\0", "a.b\\c"] {
            let offer = FileOffer { display_name: display_name.to_owned(), ..good() };
            assert_eq!(read(offer), Err(OfferError::Id), "{display_name:?}");
        }
        assert_eq!(
            read(FileOffer { total_size: u64::MAX, ..good() }),
            Err(OfferError::Size(u64::MAX)),
            "no disk has that"
        );
    }

    #[test]
    fn an_offer_of_negative_or_no_length_is_none() {
        for size in [r#""-1""#, r#""x""#, "7", "null"] {
            let text = format!(
                r#"{{"displayName":"a","sha3sum":"","tid":"7","totalSize":{size},"type":"application/data-transfer+json"}}"#
            );
            assert_eq!(CommitMessage::parse(text.as_bytes()).unwrap().content(), Content::Other, "{size}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_offered_can_be_requested(name in any::<String>(), size in 0..=MAX_SIZE, random: [u8; 8]) {
            let made = offer(&name, FileHash::of(b"x"), size, random, None);
            let bytes = CommitMessage::from_content(&Content::File(made.clone())).unwrap().to_bytes();
            prop_assert_eq!(CommitMessage::parse(&bytes).unwrap().content(), Content::File(made.clone()));
            let file = OfferedFile::read(COMMIT, &made).unwrap();
            prop_assert_eq!(file.size, size);
            prop_assert_eq!(file.name, made.display_name);
            let tid: u64 = made.tid.parse().unwrap();
            prop_assert!((1..=MAX_TID).contains(&tid));
        }
    }
}
