//! Values that have no room in one datagram: cut into parts, and put together again
//! (`spec: dht 4`).
//!
//! ```text
//!   values: [3102]                                  the message with sizes instead of values
//!   p: { 0: { o: 0,    d: 1280 bytes } }            then its parts, in this order
//!   p: { 0: { o: 1280, d: 1280 bytes } }
//!   p: { 0: { o: 2560, d:  542 bytes } }
//! ```
//!
//! Parts find their message by the sender's address and the transaction. They may come in any order,
//! and before the message itself, whose sender may long have sent all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::packet::{Header, Packet, TransactionId};
use crate::dht::value::{MAX_PACKED_VALUE, Value};
use crate::msgpack::Value as Object;
use crate::time::Moment;

/// Values of this many packed bytes or more are sent in parts.
pub const INLINE_BYTES: usize = 600;

/// This many values or more are sent in parts.
pub const INLINE_VALUES: usize = 50;

/// Most bytes of a value in one part.
pub const PART_BYTES: usize = 1280;

/// How many packed bytes of values one `update` carries, unless a single value has more.
pub const UPDATE_BYTES: usize = 56 * 1024;

/// How long after its first datagram a message is given up.
pub const LIFETIME: Duration = Duration::from_secs(10);

/// How long after its last part a message is given up.
pub const PAUSE: Duration = Duration::from_secs(3);

/// Most bytes in parts of one message that are kept before the message itself comes.
pub const EARLY_BYTES: usize = 122_912;

/// Most parts of one message that are kept before the message itself comes.
pub const EARLY_PARTS: usize = 98;

/// Memory of all messages under way in bytes, each part counted with [`PART_OVERHEAD`].
pub const MAX_BYTES: usize = 16 << 20;

/// Memory of the messages of one IP address under way, counted likewise: sixteen of the largest
/// values.
pub const MAX_BYTES_PER_IP: usize = 2 << 20;

/// What a part or a message takes in memory beside its data, in bytes, about.
pub const PART_OVERHEAD: usize = 128;

/// A piece of a packed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The value's number in its message.
    pub value: usize,
    /// Where the piece begins, in bytes.
    pub offset: usize,
    /// The piece.
    pub data: Vec<u8>,
}

/// How the values of a message travel.
pub(super) enum Carriage {
    /// In the message.
    Inline(Vec<Object>),
    /// In parts, packed.
    Parts(Vec<Vec<u8>>),
}

impl Carriage {
    pub(super) fn of(values: &[Arc<Value>]) -> Self {
        let mut packed = Vec::with_capacity(values.len());
        packed.extend(values.iter().map(|value| value.encode()));
        if values.len() < INLINE_VALUES && packed.iter().map(Vec::len).sum::<usize>() < INLINE_BYTES {
            Self::Inline(values.iter().map(|value| value.to_object()).collect())
        } else {
            Self::Parts(packed)
        }
    }

    /// What stands for the values in the message.
    pub(super) fn object(&self) -> Object {
        match self {
            Self::Inline(objects) => Object::Array(objects.clone()),
            Self::Parts(packed) => {
                let size = |packed: &Vec<u8>| Object::from(u64::try_from(packed.len()).unwrap_or(u64::MAX));
                Object::Array(packed.iter().map(size).collect())
            }
        }
    }
}

/// Cuts packed values.
pub(super) fn cut(packed: &[Vec<u8>]) -> impl Iterator<Item = Part> {
    packed.iter().enumerate().flat_map(|(value, bytes)| {
        let pieces = bytes.chunks(PART_BYTES).enumerate();
        pieces.map(move |(number, data)| Part { value, offset: number * PART_BYTES, data: data.to_vec() })
    })
}

/// Splits values for several messages of at most [`UPDATE_BYTES`], or one value, each.
#[must_use]
pub fn batches(values: Vec<Arc<Value>>) -> Vec<Vec<Arc<Value>>> {
    let mut batches: Vec<Vec<Arc<Value>>> = Vec::new();
    let mut room = 0;
    for value in values {
        let bytes = value.encode().len();
        match batches.last_mut() {
            Some(batch) if bytes <= room => batch.push(value),
            _ => {
                batches.push(vec![value]);
                room = UPDATE_BYTES;
            }
        }
        room = room.saturating_sub(bytes);
    }
    batches
}

/// Why parts or a message are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// The message is open already, as when a request is sent again.
    #[error("the parts of this message are being collected already")]
    Open,
    /// The part belongs to no value of its message, or goes beyond its end.
    #[error("the part is outside of its value")]
    Outside,
    /// The part overlaps another one.
    #[error("the part overlaps another")]
    Overlap,
    /// An empty part.
    #[error("the part is empty")]
    Empty,
    /// Too much waits for its message, or of this address, or in all.
    #[error("too many parts are waiting")]
    TooMany,
}

type Key = (SocketAddr, TransactionId);

/// Messages under way, by sender and transaction.
#[derive(Debug, Default)]
pub struct Reassembly {
    open: BTreeMap<Key, Assembly>,
    deadlines: BTreeSet<(Moment, Key)>,
    bytes: usize,
    bytes_by_ip: BTreeMap<std::net::IpAddr, usize>,
}

#[derive(Debug)]
struct Assembly {
    /// Absent until it comes.
    header: Option<Header>,
    /// The pieces by value and offset. No two overlap.
    pieces: BTreeMap<(usize, usize), Vec<u8>>,
    /// Bytes in the pieces.
    received: usize,
    /// Memory it is charged with.
    charged: usize,
    end: Moment,
    deadline: Moment,
}

impl Assembly {
    fn new(now: Moment) -> Self {
        let end = now.plus(LIFETIME);
        Self { header: None, pieces: BTreeMap::new(), received: 0, charged: 0, end, deadline: end }
    }

    /// Checks a part against the sizes, if known, and the other parts.
    fn check(&self, part: &Part) -> Result<(), PartError> {
        let end = part.offset.checked_add(part.data.len()).ok_or(PartError::Outside)?;
        if part.data.is_empty() {
            return Err(PartError::Empty);
        }
        let size = match &self.header {
            Some(header) => {
                let at = header.sizes.binary_search_by_key(&part.value, |(number, _)| *number);
                at.ok().and_then(|at| header.sizes.get(at)).map_or(0, |(_, size)| *size)
            }
            None => MAX_PACKED_VALUE,
        };
        if end > size {
            return Err(PartError::Outside);
        }
        let before = self.pieces.range(..(part.value, end)).next_back();
        let overlaps = before.is_some_and(|((value, offset), data)| {
            *value == part.value && offset.saturating_add(data.len()) > part.offset
        });
        if overlaps { Err(PartError::Overlap) } else { Ok(()) }
    }

    fn is_complete(&self) -> bool {
        let announced = |header: &Header| header.sizes.iter().map(|(_, size)| *size).sum::<usize>();
        self.header.as_ref().is_some_and(|header| self.received == announced(header))
    }

    /// The message with those of its values that can be read.
    fn finish(self) -> Option<Packet> {
        let mut packed: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for ((value, _), data) in self.pieces {
            packed.entry(value).or_default().extend(data);
        }
        let mut packet = self.header?.packet;
        let values = packed.into_values().filter_map(|packed| Value::decode(&packed).ok());
        packet.values_mut()?.extend(values.map(Arc::new));
        Some(packet)
    }
}

impl Reassembly {
    /// Whether parts of this message are awaited or kept: others count as requests in the limits
    /// (`spec: dht 2.4`).
    #[must_use]
    pub fn is_open(&self, source: SocketAddr, transaction: TransactionId) -> bool {
        self.open.contains_key(&(source, transaction))
    }

    /// Takes a message whose values follow. Returns it if they came before.
    ///
    /// # Errors
    /// When it is not kept.
    pub fn open(
        &mut self,
        now: Moment,
        source: SocketAddr,
        header: Header,
    ) -> Result<Option<Packet>, PartError> {
        let key = (source, header.packet.transaction);
        let overhead = PART_OVERHEAD.saturating_mul(header.sizes.len().saturating_add(1));
        if self.open.get(&key).is_some_and(|assembly| assembly.header.is_some()) {
            return Err(PartError::Open);
        }
        let mut assembly = self.take(key).unwrap_or_else(|| Assembly::new(now));
        let early = std::mem::take(&mut assembly.pieces);
        (assembly.received, assembly.charged) = (0, 0);
        assembly.header = Some(header);
        self.insert(key, assembly, overhead)?;
        for ((value, offset), data) in early {
            // What does not fit was sent by somebody else, or for another message.
            let _ = self.add_one(now, key, Part { value, offset, data });
        }
        Ok(self.finish(key))
    }

    /// Takes parts. Returns the message that they complete.
    ///
    /// # Errors
    /// About the first part that is not kept, unless the others complete the message. It is still
    /// awaited otherwise.
    pub fn add(
        &mut self,
        now: Moment,
        source: SocketAddr,
        transaction: TransactionId,
        parts: Vec<Part>,
    ) -> Result<Option<Packet>, PartError> {
        let key = (source, transaction);
        let mut outcome = Ok(None);
        for part in parts {
            outcome = outcome.and(self.add_one(now, key, part).map(|()| None));
        }
        self.finish(key).map_or(outcome, |packet| Ok(Some(packet)))
    }

    fn add_one(&mut self, now: Moment, key: Key, part: Part) -> Result<(), PartError> {
        match self.open.get(&key) {
            Some(assembly) => {
                assembly.check(&part)?;
                let early = assembly.header.is_none();
                let bytes = assembly.received.saturating_add(part.data.len());
                if early && (bytes > EARLY_BYTES || assembly.pieces.len() >= EARLY_PARTS) {
                    return Err(PartError::TooMany);
                }
            }
            None => Assembly::new(now).check(&part)?,
        }
        let cost = part.data.len().saturating_add(PART_OVERHEAD);
        self.check_room(key, cost)?;
        let mut assembly = self.take(key).unwrap_or_else(|| Assembly::new(now));
        assembly.received = assembly.received.saturating_add(part.data.len());
        assembly.pieces.insert((part.value, part.offset), part.data);
        if assembly.header.is_some() {
            assembly.deadline = assembly.end.min(now.plus(PAUSE));
        }
        self.insert(key, assembly, cost)
    }

    /// Gives up what has waited too long.
    pub fn expire(&mut self, now: Moment) {
        while let Some(&(deadline, key)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            self.take(key);
        }
    }

    /// When to [give up](Self::expire) the next message.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Messages under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no message is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn finish(&mut self, key: Key) -> Option<Packet> {
        if self.open.get(&key).is_some_and(Assembly::is_complete) { self.take(key)?.finish() } else { None }
    }

    fn check_room(&self, key: Key, cost: usize) -> Result<(), PartError> {
        let of_ip = self.bytes_by_ip.get(&key.0.ip()).copied().unwrap_or_default();
        let fits =
            self.bytes.saturating_add(cost) <= MAX_BYTES && of_ip.saturating_add(cost) <= MAX_BYTES_PER_IP;
        if fits { Ok(()) } else { Err(PartError::TooMany) }
    }

    /// Keeps a message that costs this much more than before.
    fn insert(&mut self, key: Key, mut assembly: Assembly, cost: usize) -> Result<(), PartError> {
        assembly.charged = assembly.charged.saturating_add(cost);
        self.check_room(key, assembly.charged)?;
        self.bytes = self.bytes.saturating_add(assembly.charged);
        let of_ip = self.bytes_by_ip.entry(key.0.ip()).or_default();
        *of_ip = of_ip.saturating_add(assembly.charged);
        self.deadlines.insert((assembly.deadline, key));
        self.open.insert(key, assembly);
        Ok(())
    }

    fn take(&mut self, key: Key) -> Option<Assembly> {
        let assembly = self.open.remove(&key)?;
        self.deadlines.remove(&(assembly.deadline, key));
        self.bytes = self.bytes.saturating_sub(assembly.charged);
        if let Some(of_ip) = self.bytes_by_ip.get_mut(&key.0.ip()) {
            *of_ip = of_ip.saturating_sub(assembly.charged);
            if *of_ip == 0 {
                self.bytes_by_ip.remove(&key.0.ip());
            }
        }
        Some(assembly)
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
