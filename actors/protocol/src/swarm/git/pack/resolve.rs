//! Turns the entries of a scanned pack into objects: deltas are applied to their bases, which are
//! walked from the whole objects upwards so that only one chain is in memory at a time.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use super::super::super::object::{NewObject, ObjectKind, object_id};
use super::{EntryKind, PackError, PackLimit, PackLimits, PackTable, delta};
use crate::ids::ObjectId;

/// Where the bytes of a scanned pack can be read again.
pub trait PackSource {
    /// Fills the beginning of `buffer` from `offset` on; returns how many bytes, 0 at the end.
    ///
    /// # Errors
    /// When the store fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize>;
}

impl PackSource for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), from.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }
}

/// Looks up objects that the pack itself does not hold, as bases of a thin pack.
pub type FindBase<'a> = dyn FnMut(ObjectId) -> Option<(ObjectKind, Bytes)> + 'a;

/// Receives every object as it is resolved.
pub type Deliver<'a> = dyn FnMut(NewObject) + 'a;

/// Bytes read from the source at a time.
const READ_BUFFER: usize = 16 * 1024;

/// All objects of a pack, in memory.
#[cfg(test)]
pub(in crate::swarm::git) fn read_small_pack(
    pack: &[u8],
    limits: PackLimits,
    find_base: &mut FindBase<'_>,
) -> Result<Vec<NewObject>, PackError> {
    let table = super::scan::scan(pack, limits)?;
    let mut objects = Vec::with_capacity(table.entries.len());
    resolve(&table, pack, limits, find_base, Some(&mut |object| objects.push(object)))?;
    Ok(objects)
}

/// The id of every entry, in the order of the table; `deliver`, if given, gets every object, in
/// whichever order they resolve.
///
/// # Errors
/// When the pack is broken, passes a limit, or builds upon an object that `find_base` lacks, or when the
/// source fails.
pub fn resolve<S: PackSource + ?Sized>(
    table: &PackTable,
    source: &S,
    limits: PackLimits,
    find_base: &mut FindBase<'_>,
    deliver: Option<&mut Deliver<'_>>,
) -> Result<Vec<ObjectId>, PackError> {
    let mut resolver = Resolver::new(table, source, limits, deliver);
    resolver.roots()?;
    resolver.external(find_base)?;
    resolver.finish()
}

struct Resolver<'a, 'd, S: ?Sized> {
    table: &'a PackTable,
    source: &'a S,
    limits: PackLimits,
    deliver: Option<&'a mut Deliver<'d>>,
    ids: Vec<Option<ObjectId>>,
    /// Deltas waiting for the entry they are upon.
    by_entry: HashMap<u32, Vec<u32>>,
    /// Deltas waiting for the object they are upon.
    by_id: HashMap<ObjectId, Vec<u32>>,
}

/// One object of the chain being walked and the deltas upon it that are left.
struct Link {
    data: Bytes,
    waiting: Vec<u32>,
}

impl<'a, 'd, S: PackSource + ?Sized> Resolver<'a, 'd, S> {
    fn new(
        table: &'a PackTable,
        source: &'a S,
        limits: PackLimits,
        deliver: Option<&'a mut Deliver<'d>>,
    ) -> Self {
        let mut by_entry: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut by_id: HashMap<ObjectId, Vec<u32>> = HashMap::new();
        for (index, entry) in (0_u32..).zip(&table.entries) {
            match entry.kind {
                EntryKind::Whole(_) => {}
                EntryKind::OffsetDelta(base) => by_entry.entry(base).or_default().push(index),
                EntryKind::ReferenceDelta(base) => by_id.entry(base).or_default().push(index),
            }
        }
        let ids = table.entries.iter().map(|entry| entry.id).collect();
        Self { table, source, limits, deliver, ids, by_entry, by_id }
    }

    /// Walks up from every whole object of the pack.
    fn roots(&mut self) -> Result<(), PackError> {
        for (index, entry) in (0_u32..).zip(&self.table.entries) {
            let (EntryKind::Whole(kind), Some(id)) = (entry.kind, entry.id) else { continue };
            let waiting = self.waiting_for(Some(index), id);
            if waiting.is_empty() && self.deliver.is_none() {
                continue;
            }
            let data = self.inflate(index)?;
            self.hand_over(kind, id, &data);
            if !waiting.is_empty() {
                self.chain(kind, Link { data, waiting })?;
            }
        }
        Ok(())
    }

    /// Walks up from the bases that the pack does not hold.
    fn external(&mut self, find_base: &mut FindBase<'_>) -> Result<(), PackError> {
        let missing: BTreeSet<ObjectId> = self.by_id.keys().copied().collect();
        for id in missing {
            if !self.by_id.contains_key(&id) {
                continue;
            }
            if let Some((kind, data)) = find_base(id) {
                let waiting = self.waiting_for(None, id);
                self.chain(kind, Link { data, waiting })?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<ObjectId>, PackError> {
        let mut seen = BTreeSet::new();
        let mut ids = Vec::with_capacity(self.ids.len());
        for (id, entry) in self.ids.iter().zip(&self.table.entries) {
            let Some(id) = *id else {
                return Err(match entry.kind.named_base() {
                    Some(base) => PackError::MissingBase(base),
                    None => PackError::Entry { offset: entry.offset, what: "its base has no base" },
                });
            };
            if !seen.insert(id) {
                return Err(PackError::Duplicate(id));
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// Resolves everything that builds upon `root`, depth first.
    fn chain(&mut self, kind: ObjectKind, root: Link) -> Result<(), PackError> {
        let mut bytes = length(&root.data);
        let mut links = vec![root];
        while let Some(link) = links.last_mut() {
            let Some(index) = link.waiting.pop() else {
                bytes = bytes.saturating_sub(length(&link.data));
                links.pop();
                continue;
            };
            let delta = inflate(self.table, self.source, index)?;
            let data = delta::apply(&link.data, &delta, self.limits.object_bytes)
                .map_err(|what| PackError::Entry { offset: self.offset(index), what })?;
            let id = ObjectId(object_id(kind, &data)?);
            let data = Bytes::from(data);
            if let Some(slot) = usize::try_from(index).ok().and_then(|index| self.ids.get_mut(index)) {
                *slot = Some(id);
            }
            let depth = u32::try_from(links.len()).unwrap_or(u32::MAX);
            if depth > self.limits.delta_depth {
                return Err(PackError::Limit(PackLimit::DeltaDepth));
            }
            let waiting = self.waiting_for(Some(index), id);
            self.hand_over(kind, id, &data);
            if waiting.is_empty() {
                continue;
            }
            bytes = bytes.saturating_add(length(&data));
            if bytes > self.limits.chain_bytes {
                return Err(PackError::Limit(PackLimit::ChainBytes));
            }
            links.push(Link { data, waiting });
        }
        Ok(())
    }

    /// Takes the deltas that wait for this object.
    fn waiting_for(&mut self, index: Option<u32>, id: ObjectId) -> Vec<u32> {
        let mut waiting = index.and_then(|index| self.by_entry.remove(&index)).unwrap_or_default();
        waiting.extend(self.by_id.remove(&id).unwrap_or_default());
        waiting
    }

    fn hand_over(&mut self, kind: ObjectKind, id: ObjectId, content: &Bytes) {
        if let Some(deliver) = &mut self.deliver {
            deliver(NewObject { kind, id: id.0, content: content.clone() });
        }
    }

    fn inflate(&self, index: u32) -> Result<Bytes, PackError> {
        inflate(self.table, self.source, index).map(Bytes::from)
    }

    fn offset(&self, index: u32) -> u64 {
        usize::try_from(index).ok().and_then(|index| self.table.entries.get(index)).map_or(0, |e| e.offset)
    }
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

/// Reads the data of an entry again; its size was checked by the scan.
fn inflate<S: PackSource + ?Sized>(table: &PackTable, source: &S, index: u32) -> Result<Vec<u8>, PackError> {
    let entry = usize::try_from(index).ok().and_then(|index| table.entries.get(index));
    let Some(entry) = entry else { return Err(PackError::Truncated) };
    let broken = |what| PackError::Entry { offset: entry.offset, what };
    let size = usize::try_from(entry.size).map_err(|_| PackError::Limit(PackLimit::ObjectBytes))?;
    // One byte more, so that the end of the stream is reached within the buffer.
    let mut data = vec![0; size + 1];
    let mut inflater = Decompress::new(true);
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let filled = source.read_at(entry.data_offset + inflater.total_in(), &mut buffer)?;
        let input = buffer.get(..filled).unwrap_or_default();
        let done = usize::try_from(inflater.total_out()).unwrap_or(usize::MAX);
        let before = inflater.total_in();
        let output = data.get_mut(done..).unwrap_or_default();
        let status = inflater
            .decompress(input, output, FlushDecompress::None)
            .map_err(|_| broken("its data do not inflate"))?;
        if status == Status::StreamEnd {
            break;
        }
        if inflater.total_in() == before {
            return Err(broken("its data do not inflate"));
        }
    }
    if inflater.total_out() != entry.size {
        return Err(broken("its data changed since they were scanned"));
    }
    data.truncate(size);
    Ok(data)
}
