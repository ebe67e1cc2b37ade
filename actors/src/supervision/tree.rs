//! The supervision tree as anyone may see it: who is there, how busy, how often restarted.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;

use super::mailbox::{Control, ControlLane};
use super::panics;

/// Number of an actor, unique within the process and kept across its restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ActorId(pub u64);

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// Not yet started.
    Starting,
    /// Handling messages.
    Running,
    /// Failed, and waiting to be made anew.
    Restarting,
    /// Emptying its mailbox before it ends.
    Stopping,
}

impl fmt::Display for ActorState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
        })
    }
}

/// One actor as the tree shows it. Times are totals since the node started.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ActorRow {
    /// Its number.
    pub id: ActorId,
    /// The number of its parent; none for the root.
    pub parent: Option<ActorId>,
    /// Levels above it; 0 for the root.
    pub depth: usize,
    /// Its kind: `"dht"`, `"account"`.
    pub kind: &'static str,
    /// Its name among its siblings.
    pub name: String,
    /// What it is doing.
    pub state: ActorState,
    /// Messages waiting in its mailbox.
    pub mailbox: usize,
    /// Room in its mailbox.
    pub capacity: usize,
    /// Futures of its own under way.
    pub tasks: usize,
    /// Turns taken.
    pub turns: u64,
    /// Microseconds spent in turns.
    pub busy_us: u64,
    /// Microseconds of its longest turn.
    pub longest_turn_us: u64,
    /// Microseconds that messages waited in its mailbox, summed.
    pub waited_us: u64,
    /// Messages refused because the mailbox was full.
    pub rejected: u64,
    /// Old messages thrown away for newer ones.
    pub dropped: u64,
    /// Messages merged into one that waited already.
    pub coalesced: u64,
    /// How often it was made anew.
    pub restarts: u64,
}

/// The counters of one actor; its mailbox, its host and the tree share it.
pub(super) struct ActorCell {
    pub(super) id: ActorId,
    pub(super) parent: Option<ActorId>,
    pub(super) kind: &'static str,
    pub(super) name: String,
    parent_path: String,
    capacity: usize,
    state: AtomicU8,
    depth: AtomicUsize,
    pub(super) tasks: AtomicUsize,
    turns: AtomicU64,
    busy: AtomicU64,
    longest: AtomicU64,
    waited: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    coalesced: AtomicU64,
    restarts: AtomicU64,
    lane: OnceLock<Arc<dyn ControlLane>>,
}

impl ActorCell {
    pub(super) fn path(&self) -> String {
        if self.parent_path.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.parent_path, self.name)
        }
    }

    pub(super) fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn state(&self) -> ActorState {
        match self.state.load(Ordering::Relaxed) {
            0 => ActorState::Starting,
            1 => ActorState::Running,
            2 => ActorState::Restarting,
            _ => ActorState::Stopping,
        }
    }

    pub(super) fn set_depth(&self, depth: usize) {
        self.depth.store(depth, Ordering::Relaxed);
    }

    pub(super) fn count_turn(&self, took: Duration) {
        let took = micros(took);
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(took, Ordering::Relaxed);
        self.longest.fetch_max(took, Ordering::Relaxed);
    }

    pub(super) fn count_wait(&self, waited: Duration) {
        self.waited.fetch_add(micros(waited), Ordering::Relaxed);
    }

    pub(super) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_coalesced(&self) {
        self.coalesced.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    fn row(&self, depth: usize) -> ActorRow {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ActorRow {
            id: self.id,
            parent: self.parent,
            depth,
            kind: self.kind,
            name: self.name.clone(),
            state: self.state(),
            mailbox: self.depth.load(Ordering::Relaxed),
            capacity: self.capacity,
            tasks: self.tasks.load(Ordering::Relaxed),
            turns: read(&self.turns),
            busy_us: read(&self.busy),
            longest_turn_us: read(&self.longest),
            waited_us: read(&self.waited),
            rejected: read(&self.rejected),
            dropped: read(&self.dropped),
            coalesced: read(&self.coalesced),
            restarts: read(&self.restarts),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// All living actors of one root. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tree {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cells: DashMap<ActorId, Arc<ActorCell>>,
    next: AtomicU64,
}

impl Tree {
    pub(super) fn enter(
        &self,
        parent: Option<&ActorCell>,
        kind: &'static str,
        name: String,
        capacity: usize,
    ) -> Arc<ActorCell> {
        let id = ActorId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let cell = Arc::new(ActorCell {
            id,
            parent: parent.map(|parent| parent.id),
            kind,
            name,
            parent_path: parent.map(ActorCell::path).unwrap_or_default(),
            capacity,
            state: AtomicU8::new(ActorState::Starting as u8),
            depth: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            coalesced: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            lane: OnceLock::new(),
        });
        self.shared.cells.insert(id, Arc::clone(&cell));
        cell
    }

    pub(super) fn connect(cell: &ActorCell, lane: Arc<dyn ControlLane>) {
        // Set once, right after the cell was made.
        let _ = cell.lane.set(lane);
    }

    pub(super) fn leave(&self, id: ActorId) {
        self.shared.cells.remove(&id);
    }

    /// Every living actor, each parent before its children, children oldest first.
    #[must_use]
    pub fn rows(&self) -> Vec<ActorRow> {
        let mut cells: Vec<_> = self.shared.cells.iter().map(|entry| Arc::clone(entry.value())).collect();
        cells.sort_by_key(|cell| std::cmp::Reverse(cell.id));
        let mut rows = Vec::with_capacity(cells.len());
        let mut pending: Vec<(usize, Arc<ActorCell>)> =
            cells.iter().filter(|cell| cell.parent.is_none()).map(|cell| (0, Arc::clone(cell))).collect();
        let mut children: std::collections::HashMap<ActorId, Vec<Arc<ActorCell>>> = Default::default();
        for cell in cells {
            if let Some(parent) = cell.parent {
                children.entry(parent).or_default().push(cell);
            }
        }
        while let Some((depth, cell)) = pending.pop() {
            rows.push(cell.row(depth));
            let below = children.remove(&cell.id).unwrap_or_default();
            pending.extend(below.into_iter().map(|child| (depth + 1, child)));
        }
        rows
    }

    /// Actors alive and futures under way, to show that nothing leaks.
    #[must_use]
    pub fn alive(&self) -> (usize, usize) {
        let tasks = self.shared.cells.iter().map(|entry| entry.tasks.load(Ordering::Relaxed)).sum();
        (self.shared.cells.len(), tasks)
    }

    /// Panics seen in this process since the hook was installed.
    #[must_use]
    pub fn panics(&self) -> u64 {
        panics::panic_count()
    }

    /// Makes an actor panic in its next turn, to test that the node survives it. Returns whether
    /// there is such an actor.
    #[must_use]
    pub fn inject_panic(&self, id: ActorId) -> bool {
        let lane = self.shared.cells.get(&id).and_then(|cell| cell.lane.get().cloned());
        lane.map(|lane| lane.control(Control::Panic)).is_some()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tree({} actors)", self.shared.cells.len())
    }
}
