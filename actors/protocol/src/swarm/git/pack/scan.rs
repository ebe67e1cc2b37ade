//! Reads a pack once, front to back, in whatever portions it arrives, and keeps nothing but a table.
//!
//! The scan inflates every entry through a small buffer and checks every limit before it spends
//! anything, so a hostile pack costs at most what [`PackLimits`] allows. The caller stores the
//! bytes meanwhile if it needs them for [`super::resolve`].

use aws_lc_rs::digest;
use flate2::{Decompress, FlushDecompress, Status};

use super::entry::{self, EntryHeader, Stored};
use super::hash::ObjectHasher;
use super::{EntryKind, PackEntry, PackError, PackLimit, PackLimits, PackTable, delta};
use crate::ids::ObjectId;

/// Bytes of the beginning: `PACK`, version, number of objects.
const HEADER_LENGTH: usize = 12;

/// Bytes of the checksum at the end.
const TRAILER_LENGTH: usize = 20;

/// Bytes inflated at a time.
const INFLATE_BUFFER: usize = 32 * 1024;

/// Objects of a pack that may be as small as they like.
const TINY_OBJECTS: usize = 16 * 1024;

/// Bytes that the objects of a pack with more than those take on average at least. The signature alone takes
/// 500 of a commit; and what is remembered of each object until the pack is complete takes 84, so that peers
/// who send slowly cannot fill the memory with a tenth of it.
const AVERAGE_LENGTH: u64 = 64;

#[derive(Debug)]
enum Stage {
    Header,
    EntryHeader,
    Data(Box<Current>),
    Trailer,
    Done,
}

/// The entry whose data are being inflated.
#[derive(Debug)]
struct Current {
    entry: PackEntry,
    depth: u32,
    produced: u64,
    crc: crc32fast::Hasher,
    /// Of a whole object.
    hasher: Option<ObjectHasher>,
    /// The beginning of a delta.
    delta_start: Vec<u8>,
}

/// A scan under way.
pub struct PackScanner {
    limits: PackLimits,
    stage: Stage,
    /// Bytes of a header or trailer that is not whole yet.
    pending: Vec<u8>,
    position: u64,
    expected: u32,
    entries: Vec<PackEntry>,
    /// For each entry, how many deltas are known to lie below it.
    depths: Vec<u32>,
    total: u64,
    checksum: digest::Context,
    inflater: Decompress,
    buffer: Vec<u8>,
    trailer: [u8; TRAILER_LENGTH],
}

impl std::fmt::Debug for PackScanner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PackScanner")
            .field("stage", &self.stage)
            .field("position", &self.position)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl PackScanner {
    /// Starts at the first byte of a pack.
    #[must_use]
    pub fn new(limits: PackLimits) -> Self {
        Self {
            limits,
            stage: Stage::Header,
            pending: Vec::new(),
            position: 0,
            expected: 0,
            entries: Vec::new(),
            depths: Vec::new(),
            total: 0,
            checksum: digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            inflater: Decompress::new(true),
            buffer: vec![0; INFLATE_BUFFER],
            trailer: [0; TRAILER_LENGTH],
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the pack is broken or passes a limit; do not go on then.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.position.saturating_add(length) > self.limits.pack_bytes {
            return Err(PackError::Limit(PackLimit::PackBytes));
        }
        while !bytes.is_empty() {
            let used = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Header => self.header(bytes)?,
                Stage::EntryHeader => self.entry_header(bytes)?,
                Stage::Data(current) => self.data(current, bytes)?,
                Stage::Trailer => self.trailer(bytes)?,
                Stage::Done => return Err(PackError::TrailingBytes),
            };
            self.position += u64::try_from(used).unwrap_or(u64::MAX);
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether the last byte of the pack was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// The table, if the pack is complete.
    ///
    /// # Errors
    /// When bytes are missing or the checksum is wrong.
    pub fn finish(self) -> Result<PackTable, PackError> {
        if !self.is_complete() {
            return Err(PackError::Truncated);
        }
        if self.checksum.finish().as_ref() != self.trailer {
            return Err(PackError::Checksum);
        }
        Ok(PackTable { entries: self.entries, checksum: self.trailer, total_bytes: self.total })
    }

    /// Moves bytes into `pending` until it has `length`; returns how many were taken.
    fn gather(&mut self, bytes: &[u8], length: usize) -> usize {
        let used = bytes.len().min(length.saturating_sub(self.pending.len()));
        self.pending.extend_from_slice(bytes.get(..used).unwrap_or_default());
        used
    }

    fn header(&mut self, bytes: &[u8]) -> Result<usize, PackError> {
        let used = self.gather(bytes, HEADER_LENGTH);
        let [b'P', b'A', b'C', b'K', v0, v1, v2, v3, n0, n1, n2, n3] = *self.pending.as_slice() else {
            // Fail at the first wrong byte rather than wait for more.
            let seen = self.pending.get(..4).unwrap_or(&self.pending);
            if !b"PACK".starts_with(seen) {
                return Err(PackError::NotAPack);
            }
            self.stage = Stage::Header;
            return Ok(used);
        };
        if !matches!(u32::from_be_bytes([v0, v1, v2, v3]), 2 | 3) {
            return Err(PackError::NotAPack);
        }
        self.expected = u32::from_be_bytes([n0, n1, n2, n3]);
        if self.expected > self.limits.objects {
            return Err(PackError::Limit(PackLimit::Objects));
        }
        self.checksum.update(&self.pending);
        self.pending.clear();
        self.stage = self.next_entry();
        Ok(used)
    }

    fn next_entry(&self) -> Stage {
        let seen = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        if seen < self.expected { Stage::EntryHeader } else { Stage::Trailer }
    }

    fn entry_header(&mut self, bytes: &[u8]) -> Result<usize, PackError> {
        let before = u64::try_from(self.pending.len()).unwrap_or_default();
        let offset = self.position - before;
        for (index, byte) in bytes.iter().enumerate() {
            self.pending.push(*byte);
            let header = entry::parse(&self.pending).map_err(|what| PackError::Entry { offset, what })?;
            if let Some(header) = header {
                let current = self.start_entry(offset, header)?;
                self.pending.clear();
                self.stage = Stage::Data(current);
                return Ok(index + 1);
            }
        }
        self.stage = Stage::EntryHeader;
        Ok(bytes.len())
    }

    fn start_entry(&mut self, offset: u64, header: EntryHeader) -> Result<Box<Current>, PackError> {
        let EntryHeader { stored, size } = header;
        let seen = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        if self.entries.len() > TINY_OBJECTS && offset < seen.saturating_mul(AVERAGE_LENGTH) {
            return Err(PackError::Limit(PackLimit::Objects));
        }
        self.spend(size)?;
        let (kind, depth) = match stored {
            Stored::Whole(kind) => (EntryKind::Whole(kind), 0),
            Stored::ReferenceDelta(id) => (EntryKind::ReferenceDelta(id), 1),
            Stored::OffsetDelta(distance) => {
                let index = offset
                    .checked_sub(distance)
                    .and_then(|base| self.entries.binary_search_by_key(&base, |entry| entry.offset).ok())
                    .ok_or(PackError::Entry { offset, what: "its base is no earlier entry" })?;
                let below = self.depths.get(index).copied().unwrap_or_default();
                let index = u32::try_from(index).map_err(|_| PackError::Limit(PackLimit::Objects))?;
                (EntryKind::OffsetDelta(index), below.saturating_add(1))
            }
        };
        if depth > self.limits.delta_depth {
            return Err(PackError::Limit(PackLimit::DeltaDepth));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.pending);
        self.checksum.update(&self.pending);
        self.inflater.reset(true);
        let header_length = u64::try_from(self.pending.len()).unwrap_or_default();
        let hasher = match kind {
            EntryKind::Whole(kind) => Some(ObjectHasher::new(kind, size)),
            _ => None,
        };
        let entry = PackEntry { offset, data_offset: offset + header_length, size, crc32: 0, kind, id: None };
        Ok(Box::new(Current { entry, depth, produced: 0, crc, hasher, delta_start: Vec::new() }))
    }

    /// Counts an object of `size` bytes against the limits.
    fn spend(&mut self, size: u64) -> Result<(), PackError> {
        if size > self.limits.object_bytes {
            return Err(PackError::Limit(PackLimit::ObjectBytes));
        }
        self.total = self.total.saturating_add(size);
        if self.total > self.limits.total_bytes {
            return Err(PackError::Limit(PackLimit::TotalBytes));
        }
        Ok(())
    }

    fn data(&mut self, mut current: Box<Current>, bytes: &[u8]) -> Result<usize, PackError> {
        let offset = current.entry.offset;
        let broken = |what| PackError::Entry { offset, what };
        let mut used = 0;
        loop {
            let input = bytes.get(used..).unwrap_or_default();
            let (in_before, out_before) = (self.inflater.total_in(), self.inflater.total_out());
            let status = self
                .inflater
                .decompress(input, &mut self.buffer, FlushDecompress::None)
                .map_err(|_| broken("its data do not inflate"))?;
            let consumed = usize::try_from(self.inflater.total_in() - in_before).unwrap_or(usize::MAX);
            let produced = usize::try_from(self.inflater.total_out() - out_before).unwrap_or(usize::MAX);
            current.take(self.buffer.get(..produced).unwrap_or_default());
            let taken = input.get(..consumed).unwrap_or_default();
            current.crc.update(taken);
            self.checksum.update(taken);
            used += consumed;
            if current.produced > current.entry.size {
                return Err(broken("it inflates to more than it declares"));
            }
            if status == Status::StreamEnd {
                if current.produced != current.entry.size {
                    return Err(broken("it inflates to less than it declares"));
                }
                self.end_entry(*current)?;
                return Ok(used);
            }
            if used == bytes.len() && produced < self.buffer.len() {
                self.stage = Stage::Data(current);
                return Ok(used);
            }
            if consumed == 0 && produced == 0 {
                return Err(broken("its data do not inflate"));
            }
        }
    }

    fn end_entry(&mut self, current: Current) -> Result<(), PackError> {
        let Current { mut entry, depth, crc, hasher, delta_start, .. } = current;
        entry.crc32 = crc.finalize();
        if let Some(hasher) = hasher {
            entry.id = Some(hasher.finish()?);
        } else {
            let (sizes, _) =
                delta::sizes(&delta_start).map_err(|what| PackError::Entry { offset: entry.offset, what })?;
            if sizes.base > self.limits.object_bytes {
                return Err(PackError::Limit(PackLimit::ObjectBytes));
            }
            self.spend(sizes.result)?;
        }
        self.entries.push(entry);
        self.depths.push(depth);
        self.stage = self.next_entry();
        Ok(())
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<usize, PackError> {
        let used = self.gather(bytes, TRAILER_LENGTH);
        self.stage = match <[u8; TRAILER_LENGTH]>::try_from(self.pending.as_slice()) {
            Ok(trailer) => {
                self.trailer = trailer;
                Stage::Done
            }
            Err(_) => Stage::Trailer,
        };
        Ok(used)
    }
}

impl Current {
    fn take(&mut self, data: &[u8]) {
        self.produced += u64::try_from(data.len()).unwrap_or(u64::MAX);
        match &mut self.hasher {
            Some(hasher) => hasher.update(data),
            None => {
                let room = delta::MAX_SIZES_LENGTH.saturating_sub(self.delta_start.len());
                self.delta_start.extend(data.iter().take(room));
            }
        }
    }
}

/// Scans a pack that is in memory.
#[cfg(test)]
pub(in crate::swarm::git) fn scan(bytes: &[u8], limits: PackLimits) -> Result<PackTable, PackError> {
    let mut scanner = PackScanner::new(limits);
    scanner.feed(bytes)?;
    scanner.finish()
}

impl EntryKind {
    /// The id of the base, if the entry is a delta that names it.
    pub(super) const fn named_base(self) -> Option<ObjectId> {
        match self {
            Self::ReferenceDelta(id) => Some(id),
            _ => None,
        }
    }
}
