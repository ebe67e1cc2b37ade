//! Where everybody lies among the ids, and how each stands to us (`spec: drt 2`).
//!
//! The reference keeps a list of buckets, of which only the one that holds the own id ever splits. So
//! the list follows from the own id and from how often it split:
//!
//! ```text
//!   own id 101…, split three times
//!
//!   bucket      0            1            2            3 (own)
//!   ids     0…           11…          100…         101…
//!   shared bits with us: 0, 1, 2, and three or more
//! ```
//!
//! All nodes lie in one list sorted by id, in which every bucket is a slice; a split moves nothing.

use std::cmp::Ordering;
use std::num::NonZeroU8;
use std::ops::Range;
use std::time::Duration;

use crate::ids::DeviceId;
use crate::time::Moment;

/// Links wanted in every bucket: the size of a bucket.
pub const BUCKET_SIZE: usize = 2;

/// Most ids remembered in one bucket that are not connected. Two links are wanted there; the others
/// are for when those fail.
pub const MAX_KNOWN_PER_BUCKET: usize = 128;

/// Most ids remembered in all that are not connected: 40 KiB.
pub const MAX_KNOWN: usize = 1024;

/// Most devices connected in one bucket: those in half of a group of hundreds that all dial the one who
/// invited them.
pub const MAX_CONNECTED_PER_BUCKET: usize = 256;

/// The wait after the first failed dial of a node; every further failure doubles it.
pub const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Longest wait before a node may be dialled again.
pub const LONGEST_RETRY: Duration = Duration::from_hours(1);

const CONNECTED: u8 = 1;
const KNOWN: u8 = 1 << 1;
const CONNECTING: u8 = 1 << 2;
const MOBILE: u8 = 1 << 3;
/// Connected, and mobile by its own word.
const SAYS_MOBILE: u8 = 1 << 4;
/// Was connected once, so it exists and is allowed.
const PROVED: u8 = 1 << 5;

const LISTED: u8 = CONNECTED | KNOWN | CONNECTING | MOBILE;

#[derive(Clone, Copy, Debug)]
struct Node {
    id: DeviceId,
    state: u8,
    /// Dials that failed since one succeeded.
    failures: u8,
    /// Before this it is not dialled again, in seconds since the node's start.
    retry_at: u32,
}

impl Node {
    const fn is(&self, state: u8) -> bool {
        self.state & state != 0
    }
}

/// One node of a table, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The device.
    pub id: DeviceId,
    /// The bucket it lies in.
    pub bucket: usize,
    /// Whether a channel to it is open.
    pub connected: bool,
    /// Whether it is heard of only.
    pub known: bool,
    /// Whether a channel to it is asked for.
    pub connecting: bool,
    /// Whether it is mobile, and not connected or connected and mobile by its own word.
    pub mobile: bool,
}

/// What a simulation may vary. The default is what every device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Links wanted in every bucket: with none, the own bucket would split for ever and nobody be dialled.
    pub bucket_size: NonZeroU8,
    /// Whether a node that could not be reached is dialled again only after a wait, and then by the clock,
    /// too. Without, every event dials it again, and nothing else does, as the reference has it.
    pub waits: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { bucket_size: NonZeroU8::MIN.saturating_add(BUCKET_SIZE as u8 - 1), waits: true }
    }
}

/// The table.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    own: DeviceId,
    rules: Rules,
    /// How often the own bucket split.
    splits: u16,
    /// Sorted by id; each is in at least one of the four sets.
    nodes: Vec<Node>,
}

impl RoutingTable {
    /// An empty table of the device `own`.
    #[must_use]
    pub fn new(own: DeviceId) -> Self {
        Self::with_rules(own, Rules::default())
    }

    /// An empty table that is kept by other rules.
    #[must_use]
    pub const fn with_rules(own: DeviceId, rules: Rules) -> Self {
        Self { own, rules, splits: 0, nodes: Vec::new() }
    }

    /// By which rules it is kept.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        self.rules
    }

    /// Whose table this is.
    #[must_use]
    pub const fn own(&self) -> DeviceId {
        self.own
    }

    /// How many buckets there are.
    #[must_use]
    pub fn bucket_count(&self) -> usize {
        usize::from(self.splits) + 1
    }

    /// The bucket whose interval contains `id`; the own bucket is the last.
    #[must_use]
    pub fn bucket_of(&self, id: &DeviceId) -> usize {
        shared_bits(&self.own, id).min(usize::from(self.splits))
    }

    /// Every node and how it stands, by id.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView> + '_ {
        self.nodes.iter().map(|node| NodeView {
            id: node.id,
            bucket: self.bucket_of(&node.id),
            connected: node.is(CONNECTED),
            known: node.is(KNOWN),
            connecting: node.is(CONNECTING),
            mobile: node.is(MOBILE | SAYS_MOBILE),
        })
    }

    /// The connected nodes, by id.
    pub fn connected(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.with(CONNECTED)
    }

    /// The mobile nodes that are not connected, by id.
    pub fn mobile(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.with(MOBILE)
    }

    /// Whether a channel to `id` is open.
    #[must_use]
    pub fn is_connected(&self, id: &DeviceId) -> bool {
        self.get(id).is_some_and(|node| node.is(CONNECTED))
    }

    /// Whether channels to `count` nodes are open.
    #[must_use]
    pub fn has_links(&self, count: usize) -> bool {
        self.connected().take(count).count() >= count
    }

    /// Whether a channel to anybody is open.
    #[must_use]
    pub fn has_connected(&self) -> bool {
        self.nodes.iter().any(|node| node.is(CONNECTED))
    }

    /// Whether a channel to anybody is asked for.
    #[must_use]
    pub fn has_connecting(&self) -> bool {
        self.nodes.iter().any(|node| node.is(CONNECTING))
    }

    /// How many nodes are connected, connecting or known.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.nodes.iter().filter(|node| node.is(CONNECTED | CONNECTING | KNOWN)).count()
    }

    /// The `count` connected nodes closest to `target`, which is not among them.
    #[must_use]
    pub fn closest(&self, target: &DeviceId, count: usize) -> Vec<DeviceId> {
        let mut nodes: Vec<DeviceId> = self.connected().filter(|id| id != target).collect();
        nodes.sort_by(|a, b| compare_distance(target, a, b));
        nodes.truncate(count);
        nodes
    }

    /// The mobile nodes of the bucket that contains `target`.
    pub fn mobile_beside(&self, target: &DeviceId) -> impl Iterator<Item = DeviceId> + '_ {
        let bucket = self.nodes.get(self.range(self.bucket_of(target))).unwrap_or_default();
        bucket.iter().filter(|node| node.is(MOBILE)).map(|node| node.id)
    }

    /// The known nodes of the bucket that contains `target`.
    pub(super) fn known_beside(&self, target: &DeviceId) -> impl Iterator<Item = DeviceId> + '_ {
        let bucket = self.nodes.get(self.range(self.bucket_of(target))).unwrap_or_default();
        bucket.iter().filter(|node| node.is(KNOWN)).map(|node| node.id)
    }

    /// Whether it is for us to wake `mobile`: fewer than two connected nodes are closer to it
    /// (`spec: drt 8`).
    #[must_use]
    pub fn is_responsible(&self, mobile: &DeviceId) -> bool {
        let closer = |id: &DeviceId| compare_distance(mobile, id, &self.own) == Ordering::Less;
        self.connected().filter(|id| id != mobile && closer(id)).take(BUCKET_SIZE).count() < BUCKET_SIZE
    }

    /// Remembers a node. Returns whether it is new: neither connected, nor asked for, nor known.
    pub fn add_known(&mut self, id: DeviceId) -> bool {
        if id == self.own || self.get(&id).is_some_and(|node| node.is(CONNECTED | CONNECTING | KNOWN)) {
            return false;
        }
        let room = self.make_room(&id);
        if room {
            self.entry(id).state |= KNOWN;
        }
        room
    }

    /// Takes note of a sign that a node is there: it may be dialled at once.
    pub fn forgive(&mut self, id: &DeviceId) {
        if let Some(node) = self.get_mut(id) {
            (node.failures, node.retry_at) = (0, 0);
        }
    }

    /// Takes note that it may have been our own connection that failed.
    pub fn forgive_all(&mut self) {
        self.nodes.iter_mut().for_each(|node| (node.failures, node.retry_at) = (0, 0));
    }

    /// Remembers a mobile node, unless it is connected. Returns whether it now is in the set.
    pub fn add_mobile(&mut self, id: DeviceId) -> bool {
        if id == self.own || self.is_connected(&id) {
            return false;
        }
        let node = self.entry(id);
        node.state = node.state & !KNOWN | MOBILE;
        true
    }

    /// Forgets that a node is mobile.
    pub fn remove_mobile(&mut self, id: &DeviceId) {
        self.clear(id, MOBILE | SAYS_MOBILE);
    }

    /// Notes that a connected node says it is mobile; false if it is not connected.
    pub fn mark_mobile(&mut self, id: &DeviceId) -> bool {
        let node = self.get_mut(id).filter(|node| node.is(CONNECTED));
        node.map(|node| node.state |= SAYS_MOBILE).is_some()
    }

    /// Notes that a channel to a node is asked for; false when one is already, or is open.
    pub fn add_connecting(&mut self, id: DeviceId) -> bool {
        if id == self.own || self.get(&id).is_some_and(|node| node.is(CONNECTED | CONNECTING)) {
            return false;
        }
        let node = self.entry(id);
        node.state = node.state & !KNOWN | CONNECTING;
        true
    }

    /// Whether one more device that dialled us has room in its bucket.
    #[must_use]
    pub fn has_room_for(&self, id: &DeviceId) -> bool {
        let bucket = self.bucket_of(id);
        // The own bucket splits before it is full.
        bucket == usize::from(self.splits)
            || self.count(self.range(bucket), CONNECTED) < MAX_CONNECTED_PER_BUCKET
    }

    /// Notes that a channel to a node is open, and splits the own bucket as far as that needs. A full
    /// bucket that is not the own one takes it all the same. False when it already is connected.
    pub fn add_connected(&mut self, id: DeviceId) -> bool {
        if id == self.own || self.is_connected(&id) {
            return false;
        }
        while self.bucket_of(&id) == usize::from(self.splits)
            && self.count(self.range(usize::from(self.splits)), CONNECTED)
                >= usize::from(self.rules.bucket_size.get())
            && usize::from(self.splits) < DeviceId::LENGTH * 8
        {
            self.splits = self.splits.saturating_add(1);
        }
        let node = self.entry(id);
        let said = if node.is(MOBILE) { SAYS_MOBILE } else { 0 };
        node.state = CONNECTED | PROVED | said;
        true
    }

    /// Notes that the last channel to a node is closed: it is mobile now, if it said so, else known.
    /// `stable` tells whether the channel lived long enough to dial the node again at once.
    pub fn remove_connected(&mut self, id: &DeviceId, stable: bool, now: Moment) {
        let waits = self.rules.waits;
        let Some(node) = self.get_mut(id).filter(|node| node.is(CONNECTED)) else { return };
        let becomes = if node.is(SAYS_MOBILE) { MOBILE } else { KNOWN };
        node.state = PROVED | becomes;
        if stable || !waits {
            (node.failures, node.retry_at) = (0, 0);
        } else {
            node.fail(now);
        }
    }

    /// Notes that no channel to a node came about: it is known again, unless it is mobile. False when
    /// none was asked for.
    pub fn dial_failed(&mut self, id: &DeviceId, now: Moment) -> bool {
        let waits = self.rules.waits;
        let Some(node) = self.get_mut(id).filter(|node| node.is(CONNECTING)) else { return false };
        node.state &= !CONNECTING;
        if !node.is(MOBILE) {
            node.state |= KNOWN;
        }
        if waits {
            node.fail(now);
        }
        true
    }

    /// Forgets a node altogether.
    pub fn remove(&mut self, id: &DeviceId) {
        if let Ok(place) = self.place(id) {
            self.nodes.remove(place);
        }
    }

    /// The buckets that want links: the known nodes of each that may be dialled now, and how many
    /// (`spec: drt 5`).
    pub(super) fn wanting(&self, now: Moment) -> Vec<(Vec<DeviceId>, usize)> {
        let dialable = |(nodes, wanted): (&[Node], usize)| {
            let due = nodes.iter().filter(|node| node.is(KNOWN) && node.is_due(now));
            let known: Vec<DeviceId> = due.map(|node| node.id).collect();
            (!known.is_empty()).then_some((known, wanted))
        };
        self.buckets_wanting().filter_map(dialable).collect()
    }

    /// When the first known node that failed, `failures` times at most, and that a bucket wants may be
    /// dialled again.
    pub(super) fn next_retry(&self, failures: u8) -> Option<Moment> {
        let nodes = self.buckets_wanting().flat_map(|(nodes, _)| nodes);
        let waiting = nodes.filter(|node| node.is(KNOWN) && (1..=failures).contains(&node.failures));
        let at = waiting.map(|node| node.retry_at).min()?;
        Some(Moment(Duration::from_secs(at.into())))
    }

    /// The nodes of every bucket in which links are to be made, and how many.
    fn buckets_wanting(&self) -> impl Iterator<Item = (&[Node], usize)> {
        (0..self.bucket_count()).filter_map(|bucket| {
            let nodes = self.nodes.get(self.range(bucket)).unwrap_or_default();
            let is_own = bucket == usize::from(self.splits);
            let counted = if is_own { CONNECTING } else { CONNECTED | CONNECTING };
            let busy = nodes.iter().filter(|node| node.is(counted)).count();
            let wanted =
                usize::from(self.rules.bucket_size.get()).checked_sub(busy).filter(|wanted| *wanted > 0)?;
            Some((nodes, wanted))
        })
    }

    /// Bytes of memory that the nodes take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    /// Makes room for one more known node in the bucket of `id`, at the cost of one that failed, first of
    /// those never connected. What never failed stays, so that a flood of ids that do not exist displaces
    /// nobody; and what failed often stays, so that hearing of it again does not make it new.
    fn make_room(&mut self, id: &DeviceId) -> bool {
        let bucket = self.range(self.bucket_of(id));
        let in_bucket = self.count(bucket.clone(), KNOWN);
        let crowded = if in_bucket >= MAX_KNOWN_PER_BUCKET {
            bucket
        } else if self.count(0..self.nodes.len(), KNOWN) >= MAX_KNOWN {
            0..self.nodes.len()
        } else {
            return true;
        };
        let nodes = self.nodes.get(crowded.clone()).unwrap_or_default().iter().zip(crowded);
        let failed = nodes.filter(|(node, _)| node.is(KNOWN) && node.failures > 0);
        let worst = failed.min_by_key(|(node, _)| (node.is(PROVED), node.failures)).map(|(node, _)| node.id);
        worst.is_some_and(|worst| {
            self.clear(&worst, KNOWN);
            true
        })
    }

    fn with(&self, state: u8) -> impl Iterator<Item = DeviceId> + '_ {
        self.nodes.iter().filter(move |node| node.is(state)).map(|node| node.id)
    }

    fn count(&self, range: Range<usize>, state: u8) -> usize {
        self.nodes.get(range).unwrap_or_default().iter().filter(|node| node.is(state)).count()
    }

    /// Where the nodes of a bucket lie in the list.
    fn range(&self, bucket: usize) -> Range<usize> {
        if self.splits == 0 {
            return 0..self.nodes.len();
        }
        let (mut lower, mut upper) = (self.own.0, self.own.0);
        let own = bucket >= usize::from(self.splits);
        let fixed = if own { usize::from(self.splits) } else { bucket + 1 };
        for (index, (low, high)) in lower.iter_mut().zip(&mut upper).enumerate() {
            let kept = fixed.saturating_sub(index * 8).min(8);
            let free = u8::try_from(0xff_u16 >> kept).unwrap_or(0);
            if !own && bucket / 8 == index {
                *low ^= 0x80 >> (bucket % 8);
                *high = *low;
            }
            *low &= !free;
            *high |= free;
        }
        let start = self.nodes.partition_point(|node| node.id.0 < lower);
        let end = self.nodes.partition_point(|node| node.id.0 <= upper);
        start..end
    }

    fn place(&self, id: &DeviceId) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.id.cmp(id))
    }

    fn get(&self, id: &DeviceId) -> Option<&Node> {
        self.nodes.get(self.place(id).ok()?)
    }

    fn get_mut(&mut self, id: &DeviceId) -> Option<&mut Node> {
        let place = self.place(id).ok()?;
        self.nodes.get_mut(place)
    }

    /// The node, made if it is not there; the caller puts it into a set.
    fn entry(&mut self, id: DeviceId) -> &mut Node {
        let place = self.place(&id).unwrap_or_else(|place| {
            if self.nodes.len() == self.nodes.capacity() {
                // A quarter more instead of twice as much: tables are many and rarely grow.
                self.nodes.reserve_exact(self.nodes.len() / 4 + 4);
            }
            self.nodes.insert(place, Node { id, state: 0, failures: 0, retry_at: 0 });
            place
        });
        // Found or just inserted there.
        &mut self.nodes[place]
    }

    /// Takes a node out of sets; one in no set any more is forgotten.
    fn clear(&mut self, id: &DeviceId, state: u8) {
        if let Ok(place) = self.place(id)
            && let Some(node) = self.nodes.get_mut(place)
        {
            node.state &= !state;
            if !node.is(LISTED) {
                self.nodes.remove(place);
            }
        }
    }
}

impl Node {
    fn fail(&mut self, now: Moment) {
        let doubled = FIRST_RETRY.saturating_mul(1_u32.checked_shl(self.failures.into()).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let at = now.plus(doubled.min(LONGEST_RETRY)).0.as_secs();
        self.retry_at = u32::try_from(at).unwrap_or(u32::MAX);
    }

    const fn is_due(&self, now: Moment) -> bool {
        now.0.as_secs() >= self.retry_at as u64
    }
}

/// How many bits two ids have in common from the first on.
fn shared_bits(a: &DeviceId, b: &DeviceId) -> usize {
    let mut pairs = a.0.iter().zip(&b.0).map(|(a, b)| a ^ b).enumerate();
    pairs
        .find(|(_, different)| *different != 0)
        .map_or(DeviceId::LENGTH * 8, |(index, different)| index * 8 + different.leading_zeros() as usize)
}

/// Which of two ids is closer to the target by XOR.
pub(super) fn compare_distance(target: &DeviceId, a: &DeviceId, b: &DeviceId) -> Ordering {
    let distance = |id: &DeviceId| -> [u8; DeviceId::LENGTH] {
        let mut distance = id.0;
        distance.iter_mut().zip(&target.0).for_each(|(byte, target)| *byte ^= target);
        distance
    };
    distance(a).cmp(&distance(b))
}
