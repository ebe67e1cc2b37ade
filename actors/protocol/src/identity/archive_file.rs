//! The file around an archive's JSON: compressed, or compressed and encrypted (`spec: identity 4.2`).
//!
//! ```text
//!   no password   gzip(JSON)
//!   password      salt(16) ‖ iv(12) ‖ AES-256-GCM(zlib(JSON)) ‖ tag(16)
//!                 key = SHA-256(Argon2i(password, salt))
//! ```

use std::fmt;
use std::io::{Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use zeroize::Zeroizing;

use crate::ids::sha256;

/// Largest archive file read, in bytes. Real ones have some fifteen thousand; contacts and
/// conversations add some hundred bytes each.
pub const MAX_ARCHIVE_FILE: usize = 8 * 1024 * 1024;

/// Largest JSON text that an archive may unpack to, in bytes.
pub const MAX_ARCHIVE_JSON: usize = 32 * 1024 * 1024;

/// Length of the salt, in bytes.
const SALT: usize = 16;

/// Memory that key stretching needs, in KiB.
const ARGON2_MEMORY: u32 = 65_536;

/// Passes of key stretching.
const ARGON2_PASSES: u32 = 16;

/// What an unprotected file, or an unprotected file wrapped once more by a web server, starts with.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Why an archive file cannot be opened or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveFileError {
    /// More bytes than [`MAX_ARCHIVE_FILE`].
    #[error("the archive has {0} bytes, more than {MAX_ARCHIVE_FILE}")]
    TooLong(usize),
    /// It unpacks to more than [`MAX_ARCHIVE_JSON`] bytes.
    #[error("the archive unpacks to more than {MAX_ARCHIVE_JSON} bytes")]
    TooLongUnpacked,
    /// Shorter than an encrypted archive can be.
    #[error("the archive is cut off: it has only {0} bytes")]
    Truncated(usize),
    /// The authentication tag does not fit.
    #[error("the password or key is wrong, or the archive was modified")]
    DoesNotOpen,
    /// The compressed data is damaged.
    #[error("the compressed data in the archive is damaged")]
    Damaged,
    /// Key stretching failed, for want of memory.
    #[error("the password could not be turned into a key: {0}")]
    Stretching(String),
}

/// What opens an archive file.
#[derive(Clone, Copy)]
pub enum ArchiveSecret<'a> {
    /// Nothing: the archive is only compressed.
    None,
    /// A password, scheme `password`.
    Password(&'a str),
    /// The key itself, scheme `key`.
    Key(&'a [u8; 32]),
}

impl fmt::Debug for ArchiveSecret<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password(…)",
            Self::Key(_) => "Key(…)",
        })
    }
}

/// A key that archives are encrypted with, stretched from a password and a salt. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// Stretches a password: 64 MiB of memory and about a second of processor time.
    pub(crate) fn stretch(password: &str, salt: &[u8]) -> Result<Self, ArchiveFileError> {
        let failed = |error: argon2::Error| ArchiveFileError::Stretching(error.to_string());
        let parameters = Params::new(ARGON2_MEMORY, ARGON2_PASSES, 1, Some(32)).map_err(failed)?;
        let mut stretched = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2i, Version::V0x13, parameters)
            .hash_password_into(password.as_bytes(), salt, stretched.as_mut())
            .map_err(failed)?;
        Ok(Self(Zeroizing::new(sha256(stretched.as_ref()))))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `iv ‖ AES-256-GCM(zlib(JSON)) ‖ tag`. The nonce (`iv`) must never have been used with this key.
    pub(crate) fn seal(&self, json: &[u8], nonce: [u8; NONCE_LEN]) -> Result<Vec<u8>, ArchiveFileError> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        let mut sealed =
            encoder.write_all(json).and_then(|()| encoder.finish()).map_err(|_| ArchiveFileError::Damaged)?;
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .map_err(|_| ArchiveFileError::TooLong(json.len()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// The JSON text in what was sealed; it may be compressed in the form of gzip, too.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, ArchiveFileError> {
        let truncated = ArchiveFileError::Truncated(sealed.len());
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(truncated)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let length = self
            .cipher()?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut plain)
            .map_err(|_| ArchiveFileError::DoesNotOpen)?
            .len();
        plain.truncate(length);
        if plain.starts_with(&GZIP) {
            inflate(GzDecoder::new(plain.as_slice()))
        } else {
            inflate(ZlibDecoder::new(plain.as_slice()))
        }
    }

    fn cipher(&self) -> Result<LessSafeKey, ArchiveFileError> {
        let key =
            UnboundKey::new(&AES_256_GCM, self.as_bytes()).map_err(|_| ArchiveFileError::DoesNotOpen)?;
        Ok(LessSafeKey::new(key))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealingKey(…)")
    }
}

/// The key of a protected archive, with the salt that is stored in front of it. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct ArchiveKey {
    key: SealingKey,
    salt: [u8; SALT],
}

impl ArchiveKey {
    /// Stretches a password. Takes 64 MiB of memory and about a second of processor time, so it
    /// belongs on the blocking pool.
    ///
    /// # Errors
    /// [`ArchiveFileError::Stretching`] when the password has more than 2³² bytes.
    pub fn from_password(password: &str, salt: [u8; SALT]) -> Result<Self, ArchiveFileError> {
        Ok(Self { key: SealingKey::stretch(password, &salt)?, salt })
    }

    /// A key that was kept or handed over, for a file with this salt.
    #[must_use]
    pub fn from_bytes(key: [u8; 32], salt: [u8; SALT]) -> Self {
        Self { key: SealingKey(Zeroizing::new(key)), salt }
    }

    /// The key, for the scheme `key`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The key as the scheme `key` writes it.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.key.as_bytes()))
    }

    /// The salt. It stays the same when an archive is written again, even under a new password.
    #[must_use]
    pub const fn salt(&self) -> [u8; SALT] {
        self.salt
    }
}

impl fmt::Debug for ArchiveKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ArchiveKey(…)")
    }
}

/// The JSON text in a file, and the key if there is one.
pub(super) fn unpack(
    file: &[u8],
    secret: ArchiveSecret<'_>,
) -> Result<(Zeroizing<Vec<u8>>, Option<ArchiveKey>), ArchiveFileError> {
    if file.len() > MAX_ARCHIVE_FILE {
        return Err(ArchiveFileError::TooLong(file.len()));
    }
    // A web server may have added a layer around either form. Where a protected file happens to
    // start like that, it does not unpack and is taken as it is.
    let unwrapped = match (file.starts_with(&GZIP).then(|| inflate(GzDecoder::new(file))), secret) {
        (None, _) => None,
        (Some(Err(_)), ArchiveSecret::Password(_) | ArchiveSecret::Key(_)) => None,
        (Some(content), _) => Some(content?),
    };
    let content = unwrapped.as_ref().map_or(file, |content| content.as_slice());
    let key = match secret {
        ArchiveSecret::None => {
            let text = if content.starts_with(&GZIP) {
                inflate(GzDecoder::new(content))?
            } else {
                Zeroizing::new(content.to_vec())
            };
            return Ok((text, None));
        }
        ArchiveSecret::Password(password) => ArchiveKey::from_password(password, salt(content)?)?,
        ArchiveSecret::Key(key) => ArchiveKey::from_bytes(*key, salt(content)?),
    };
    let text = key.key.open(content.get(SALT..).unwrap_or_default())?;
    Ok((text, Some(key)))
}

/// An unprotected file.
pub(super) fn pack(json: &[u8]) -> Result<Vec<u8>, ArchiveFileError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(json).and_then(|()| encoder.finish()).map_err(|_| ArchiveFileError::Damaged)
}

/// A protected file. The nonce must never have been used with this key.
pub(super) fn pack_protected(
    json: &[u8],
    key: &ArchiveKey,
    nonce: [u8; NONCE_LEN],
) -> Result<Vec<u8>, ArchiveFileError> {
    Ok([key.salt.as_slice(), &key.key.seal(json, nonce)?].concat())
}

fn salt(file: &[u8]) -> Result<[u8; SALT], ArchiveFileError> {
    let salt = file.first_chunk::<SALT>().filter(|_| file.len() > SALT + NONCE_LEN + AES_256_GCM.tag_len());
    salt.copied().ok_or(ArchiveFileError::Truncated(file.len()))
}

fn inflate(packed: impl Read) -> Result<Zeroizing<Vec<u8>>, ArchiveFileError> {
    let mut text = Zeroizing::new(Vec::new());
    let limit = u64::try_from(MAX_ARCHIVE_JSON).unwrap_or(u64::MAX).saturating_add(1);
    packed.take(limit).read_to_end(&mut text).map_err(|_| ArchiveFileError::Damaged)?;
    if text.len() > MAX_ARCHIVE_JSON {
        return Err(ArchiveFileError::TooLongUnpacked);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT_V6: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const FILE_V7: &str = "000102030405060708090a0b0c0d0e0f202122232425262728292a2b\
        52e3d4c7d9eee9a434333f850ec48aeb1bb189c619d6e524b5a08348e5e5c02e82";
    const KEY_V6: &str = "c0cafece83476c98ed3b3ae166344f76ebea80a0bdaaf0751870651e13d617a3";

    fn key_v6() -> ArchiveKey {
        ArchiveKey::from_bytes(hex::decode(KEY_V6).unwrap().try_into().unwrap(), SALT_V6)
    }

    #[test]
    fn passwords_are_stretched_as_specified() {
        assert_eq!(ArchiveKey::from_password("password", SALT_V6).unwrap(), key_v6());
        let salt = hex::decode("cdde918539274e169e09fdb9035726a6").unwrap().try_into().unwrap();
        let key = ArchiveKey::from_password("correct horse", salt).unwrap();
        assert_eq!(
            hex::encode(key.as_bytes()),
            "9e446ab75d278c7e2cbc9b28b3c7cbdaf84481aeb8d78cfca6c26936bda6ea5f"
        );
        assert_eq!(STANDARD.decode(key.to_base64().as_bytes()).unwrap(), key.as_bytes());
    }

    #[test]
    fn the_specified_file_is_read_and_written() {
        let file = hex::decode(FILE_V7).unwrap();
        let (json, key) = unpack(&file, ArchiveSecret::Key(key_v6().as_bytes())).unwrap();
        assert_eq!(json.as_slice(), br#"{"k":"v"}"#);
        assert_eq!(key, Some(key_v6()));
        let iv = hex::decode("202122232425262728292a2b").unwrap().try_into().unwrap();
        let written = pack_protected(br#"{"k":"v"}"#, &key_v6(), iv).unwrap();
        assert_eq!(hex::encode(written), FILE_V7);
    }

    #[test]
    fn gzip_inside_of_the_encryption_is_read_too() {
        let mut sealed = pack(b"{}").unwrap();
        let key = key_v6();
        key.key
            .cipher()
            .unwrap()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key([9; 12]), Aad::empty(), &mut sealed)
            .unwrap();
        let file = [key.salt.as_slice(), &[9; 12], &sealed].concat();
        assert_eq!(unpack(&file, ArchiveSecret::Key(key.as_bytes())).unwrap().0.as_slice(), b"{}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_text_survives_both_forms(json: Vec<u8>, key: [u8; 32], salt: [u8; 16], iv: [u8; 12]) {
            // What starts like gzip would be taken for a second layer.
            prop_assume!(!json.starts_with(&GZIP));
            let plain = unpack(&pack(&json).unwrap(), ArchiveSecret::None).unwrap();
            prop_assert_eq!(plain.0.as_slice(), json.as_slice());
            let file = pack_protected(&json, &ArchiveKey::from_bytes(key, salt), iv).unwrap();
            let opened = unpack(&file, ArchiveSecret::Key(&key)).unwrap();
            prop_assert_eq!(opened.0.as_slice(), json.as_slice());
            prop_assert_eq!(opened.1.unwrap().salt(), salt);
        }
    }
}
