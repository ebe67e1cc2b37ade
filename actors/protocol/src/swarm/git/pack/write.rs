//! Writes packs object by object. What is sent has no deltas: what is new in a conversation is small and
//! already unlike what came before. What is kept may have some, upon objects that the caller takes for
//! alike.

use aws_lc_rs::digest;

use super::super::super::object::ObjectKind;
use super::super::deflate::deflate;
use super::entry;

/// Where an object went, as an index needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenEntry {
    /// Where its entry begins.
    pub offset: u64,
    /// CRC-32 of its entry.
    pub crc32: u32,
}

/// A pack being written. Every call appends bytes to send or store.
pub struct PackWriter {
    checksum: digest::Context,
    position: u64,
    left: u32,
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PackWriter")
            .field("position", &self.position)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// More or fewer objects were given than announced; the pack would be invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pack was given another number of objects than announced; start it again")]
pub struct CountError;

impl PackWriter {
    /// Begins a pack of exactly `objects` objects.
    #[must_use]
    pub fn new(objects: u32, out: &mut Vec<u8>) -> Self {
        let mut header = [0; 12];
        header[..4].copy_from_slice(b"PACK");
        header[4..8].copy_from_slice(&2_u32.to_be_bytes());
        header[8..].copy_from_slice(&objects.to_be_bytes());
        let mut checksum = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        checksum.update(&header);
        out.extend_from_slice(&header);
        Self { checksum, position: 12, left: objects }
    }

    /// Appends an object.
    ///
    /// # Errors
    /// When all announced objects were written already.
    pub fn object(
        &mut self,
        kind: ObjectKind,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<WrittenEntry, CountError> {
        let mut header = Vec::new();
        entry::encode(kind, length(data), &mut header);
        self.entry(header, data, out)
    }

    /// Appends an object as its delta upon one that was written before; see [`super::similar`].
    ///
    /// # Errors
    /// When all announced objects were written already.
    pub fn delta(
        &mut self,
        base: WrittenEntry,
        delta: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<WrittenEntry, CountError> {
        let mut header = Vec::new();
        entry::encode_delta(self.position.saturating_sub(base.offset), length(delta), &mut header);
        self.entry(header, delta, out)
    }

    fn entry(&mut self, header: Vec<u8>, data: &[u8], out: &mut Vec<u8>) -> Result<WrittenEntry, CountError> {
        self.left = self.left.checked_sub(1).ok_or(CountError)?;
        let bytes = deflate(header, &[data]);
        let written = WrittenEntry { offset: self.position, crc32: crc32fast::hash(&bytes) };
        self.checksum.update(&bytes);
        self.position += length(&bytes);
        out.extend_from_slice(&bytes);
        Ok(written)
    }

    /// Appends the checksum that ends the pack, and returns it.
    ///
    /// # Errors
    /// When announced objects are missing.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<[u8; 20], CountError> {
        if self.left > 0 {
            return Err(CountError);
        }
        let mut checksum = [0; 20];
        checksum.copy_from_slice(self.checksum.finish().as_ref());
        out.extend_from_slice(&checksum);
        Ok(checksum)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
