//! The hash that names a file's content: SHA3-512 (`spec: file-transfer 1`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

/// Length of SHA3-512 in bytes.
const LENGTH: usize = 64;

/// SHA3-512 of a whole file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileHash(pub [u8; LENGTH]);

/// A text that is not the hash of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a file must be 128 lower-case hexadecimal digits")]
pub struct FileHashError;

impl FileHash {
    /// The hash of these bytes, which are all of the file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = FileHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FileHash({}…)", hex::encode(&self.0[..5]))
    }
}

impl FromStr for FileHash {
    type Err = FileHashError;

    /// Upper-case digits are refused: the reference compares texts, so they would never match.
    fn from_str(text: &str) -> Result<Self, FileHashError> {
        let mut bytes = [0; LENGTH];
        if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(FileHashError);
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| FileHashError)?;
        Ok(Self(bytes))
    }
}

/// Hashes a file piece by piece.
#[derive(Clone)]
pub struct FileHasher(digest::Context);

impl FileHasher {
    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was taken.
    #[must_use]
    pub fn finish(self) -> FileHash {
        let mut hash = [0; LENGTH];
        hash.copy_from_slice(self.0.finish().as_ref());
        FileHash(hash)
    }
}

impl Default for FileHasher {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA3_512))
    }
}

impl fmt::Debug for FileHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FileHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the standard's examples.
    const EMPTY: &str = "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a\
                         615b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26";

    #[test]
    fn the_hash_of_nothing_is_that_of_the_standard() {
        assert_eq!(FileHash::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(FileHash::of(b"")));
    }

    #[test]
    fn pieces_give_the_hash_of_the_whole() {
        let mut hasher = FileHasher::default();
        for piece in [&b"one "[..], b"", b"two"] {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), FileHash::of(b"one two"));
    }

    #[test]
    fn hashes_of_wrong_length_or_in_capitals_are_refused() {
        for text in ["", "ab", &EMPTY[1..], &EMPTY.to_uppercase(), &format!("{EMPTY}00"), &"g".repeat(128)] {
            assert_eq!(text.parse::<FileHash>(), Err(FileHashError), "{text}");
        }
    }
}
