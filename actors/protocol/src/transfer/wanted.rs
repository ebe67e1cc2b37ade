//! One file that the owner wants: which device is asked, and when nobody is asked any more (`spec:
//! file-transfer 3, 5`).
//!
//! ```text
//!   devices in turn ──ask──► open ──► running ──► complete
//!      ▲   │ silent: another beside it   │ silent, broken
//!      │   └ declined: the next          ▼
//!      └── pause, longer each round ◄── all were asked; after the last pause only who comes up is asked
//! ```
//!
//! Every request may cost a holder a hash of the whole file, so few devices are asked at once. One that
//! delivered what is not the file is not asked again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::receiving::Verdict;
use crate::ids::DeviceId;
use crate::time::Moment;

/// Devices that are asked in turn, for each file.
pub const MAX_HOLDERS: usize = 256;

/// How long a device that sends may take for [`FLOOR`] bytes: the system needs less to see that a link is
/// gone, if it sees it at all.
pub const STALL: Duration = Duration::from_secs(60);

/// Bytes a device has to send within [`STALL`]. Who is slower makes way for the others; what came is gone
/// on with, so that an honest one on a poor line loses little.
pub const FLOOR: u64 = 512 * 1024;

/// Devices asked at once: one that hashes a large file first is not waited for alone.
const MAX_ASKED: usize = 4;

/// How long one device may think before another is asked beside it.
const HEDGE: Duration = Duration::from_secs(5);

/// The pauses between rounds. The first is for an author who has announced a file and not put it there
/// yet. After the last one only events lead to requests.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

/// Pause between looks whether there is room by now.
const LAST_PAUSE: Duration = Duration::from_secs(600);

/// New bytes that make a transfer worth going on with as if for the first time.
const PROGRESS: u64 = 64 * 1024;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// All devices that may have it, in the order they are asked.
    holders: VecDeque<DeviceId>,
    /// Those to be asked in this round.
    queue: VecDeque<DeviceId>,
    /// Those that have not answered, and when they were asked.
    asked: BTreeMap<DeviceId, Moment>,
    running: Option<Running>,
    /// Those that delivered something else.
    worthless: BTreeSet<DeviceId>,
    rounds: usize,
    pause_until: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    device: DeviceId,
    /// When it had sent enough last.
    heard: Moment,
    /// How many bytes have come since.
    since: u64,
}

/// What becomes of a channel that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// The transfer runs over it.
    Use,
    /// Another one runs: it is closed.
    Close,
}

impl Wanted {
    /// Adds devices that may have the file, in the order in which they are to be asked. Those beyond
    /// [`MAX_HOLDERS`] are asked when they come up.
    pub fn learn(&mut self, devices: impl IntoIterator<Item = DeviceId>) {
        for device in devices {
            if self.holders.len() < MAX_HOLDERS && !self.holders.contains(&device) {
                self.holders.push_back(device);
                self.queue.push_back(device);
            }
        }
    }

    /// A device of a member has come up, or was just fetched from: it is asked next.
    pub fn reachable(&mut self, device: DeviceId) {
        if !self.holders.contains(&device) {
            if self.holders.len() >= MAX_HOLDERS {
                self.holders.pop_back();
            }
            self.holders.push_front(device);
        }
        self.queue.retain(|queued| *queued != device);
        if self.may_ask(device) {
            self.queue.push_front(device);
        }
    }

    /// Asks everybody anew, without a pause: the owner wants it.
    pub fn retry(&mut self) {
        self.rounds = 0;
        self.pause_until = None;
        self.worthless.clear();
        self.refill();
    }

    /// A device is no member's any more.
    pub fn forget(&mut self, device: DeviceId) {
        self.holders.retain(|holder| *holder != device);
        self.queue.retain(|queued| *queued != device);
    }

    /// Asks nobody for a while: there is no room for the file. Nobody tells when there is, so it is looked
    /// again and again.
    pub fn postpone(&mut self, now: Moment) {
        self.queue.clear();
        let pause = PAUSES.get(self.rounds).unwrap_or(&LAST_PAUSE);
        self.rounds = PAUSES.len().min(self.rounds.saturating_add(1));
        self.pause_until = Some(now.plus(*pause));
    }

    /// Whether [`Self::next`] has a device to ask now.
    pub fn is_due(&mut self, now: Moment) -> bool {
        self.pace(now);
        self.running.is_none()
            && !self.queue.is_empty()
            && self.asked.len() < MAX_ASKED
            && self.last_asked().is_none_or(|asked| asked.plus(HEDGE) <= now)
    }

    /// The device to ask now, if one is to be asked. To be called again until there is none.
    pub fn next(&mut self, now: Moment) -> Option<DeviceId> {
        if !self.is_due(now) {
            return None;
        }
        let device = self.queue.pop_front()?;
        self.asked.insert(device, now);
        Some(device)
    }

    /// When to call [`Self::next`] or [`Self::stalled`], if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        if let Some(running) = self.running {
            return Some(running.heard.plus(STALL));
        }
        if self.queue.is_empty() {
            return self.pause_until.filter(|_| self.asked.is_empty());
        }
        if self.asked.len() >= MAX_ASKED {
            return None;
        }
        Some(self.last_asked().map_or(Moment::default(), |asked| asked.plus(HEDGE)))
    }

    /// A device that was asked has opened the channel.
    pub fn opened(&mut self, device: DeviceId, now: Moment) -> Chance {
        let was_asked = self.asked.remove(&device).is_some();
        if self.running.is_some() || !was_asked {
            return Chance::Close;
        }
        self.running = Some(Running { device, heard: now, since: 0 });
        Chance::Use
    }

    /// A device that was asked has declined, or could not be reached.
    pub fn refused(&mut self, device: DeviceId) {
        self.asked.remove(&device);
    }

    /// So many bytes have come.
    pub fn heard(&mut self, bytes: u64, now: Moment) {
        if let Some(running) = &mut self.running {
            running.since = running.since.saturating_add(bytes);
            if running.since >= FLOOR {
                *running = Running { heard: now, since: 0, ..*running };
            }
        }
    }

    /// The device that sends too slowly, or not at all: its channel is to be closed.
    #[must_use]
    pub fn stalled(&self, now: Moment) -> Option<DeviceId> {
        self.running.filter(|running| running.heard.plus(STALL) <= now).map(|running| running.device)
    }

    /// The transfer has ended, not with the whole file.
    pub fn ended(&mut self, verdict: Verdict) {
        let Some(running) = self.running.take() else { return };
        match verdict {
            Verdict::Worthless(_) => {
                self.worthless.insert(running.device);
                self.queue.retain(|queued| *queued != running.device);
            }
            Verdict::Incomplete { new } => {
                if new < FLOOR {
                    self.stand_back(running.device);
                }
                if new >= PROGRESS {
                    self.rounds = 0;
                    self.pause_until = None;
                }
            }
            Verdict::Complete => {}
        }
    }

    /// The transfer has ended, and what came of several devices, or was here before, is not the file.
    /// Nobody knows who was wrong: all are asked anew.
    pub fn mixed(&mut self) {
        self.running = None;
        self.rounds = 0;
        self.pause_until = None;
        self.refill();
    }

    /// A device that brought little is asked after the others from then on.
    fn stand_back(&mut self, device: DeviceId) {
        if let Some(at) = self.holders.iter().position(|holder| *holder == device)
            && let Some(device) = self.holders.remove(at)
        {
            self.holders.push_back(device);
        }
    }

    /// Whether a device was asked or sends.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.running.is_some() || !self.asked.is_empty()
    }

    fn last_asked(&self) -> Option<Moment> {
        self.asked.values().max().copied()
    }

    /// Begins a pause when all were asked, and a round when the pause is over.
    fn pace(&mut self, now: Moment) {
        if self.is_active() || !self.queue.is_empty() {
            return;
        }
        match self.pause_until {
            Some(until) if until <= now => {
                self.pause_until = None;
                self.refill();
            }
            Some(_) => {}
            None => {
                let is_left = self.holders.iter().any(|holder| !self.worthless.contains(holder));
                if let Some(pause) = PAUSES.get(self.rounds).filter(|_| is_left) {
                    self.rounds += 1;
                    self.pause_until = Some(now.plus(*pause));
                }
            }
        }
    }

    fn refill(&mut self) {
        self.queue = self.holders.iter().copied().filter(|holder| self.may_ask(*holder)).collect();
    }

    /// Whether a device may be asked: it has not been yet, and has not delivered something else.
    fn may_ask(&self, device: DeviceId) -> bool {
        !self.worthless.contains(&device) && !self.asked.contains_key(&device)
    }
}

#[cfg(test)]
#[path = "wanted_tests.rs"]
mod tests;
