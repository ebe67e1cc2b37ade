//! One clock for all rooms: a thread that mixes every room that does not rest, each 20 ms, and sleeps while
//! all of them do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use super::{Codecs, Inlet, Outlet, Room, RoomFull, locked};
use crate::loudest::Speaker;

/// Length of a frame.
const STEP: Duration = Duration::from_millis(20);

/// Who is later than this begins anew, and does not hurry after the time: listeners would drop it anyway.
const TOO_LATE: Duration = Duration::from_millis(100);

/// Wakes the clock for a room.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// Whether the room is mixed.
    awake: AtomicBool,
    clock: Option<Arc<Clock>>,
}

impl Bell {
    pub(super) fn ring(&self) {
        if !self.awake.swap(true, Ordering::AcqRel)
            && let Some(clock) = &self.clock
        {
            *locked(&clock.rung) = true;
            clock.wake.notify_one();
        }
    }
}

/// How well the clock keeps the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// How often it mixed.
    pub ticks: u64,
    /// How often it was not done when it had to begin again.
    pub missed: u64,
    /// The most it ever was behind the time when it was done, in microseconds.
    pub latest_us: u64,
    /// What all mixing took, in microseconds.
    pub busy_us: u64,
}

/// A room and what wakes it, as long as they are there.
type Known = (Weak<Mutex<Room>>, Weak<Bell>);

#[derive(Debug, Default)]
struct Clock {
    rooms: Mutex<Vec<Known>>,
    rung: Mutex<bool>,
    wake: Condvar,
    stopped: AtomicBool,
    ticks: AtomicU64,
    missed: AtomicU64,
    latest_us: AtomicU64,
    busy_us: AtomicU64,
}

impl Clock {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        *locked(&self.rung) = true;
        self.wake.notify_one();
    }

    /// The rooms that do not rest; those that are gone are forgotten.
    fn awake(&self) -> Vec<(Arc<Mutex<Room>>, Arc<Bell>)> {
        let mut rooms = locked(&self.rooms);
        rooms.retain(|(room, _)| room.strong_count() > 0);
        let both = |(room, bell): &Known| Some((room.upgrade()?, bell.upgrade()?));
        rooms.iter().filter_map(both).filter(|(_, bell)| bell.awake.load(Ordering::Acquire)).collect()
    }

    fn run(&self) {
        let mut due = Instant::now();
        while !self.stopped.load(Ordering::Acquire) {
            let rooms = self.awake();
            if rooms.is_empty() {
                let rung = locked(&self.rung);
                let mut rung = self
                    .wake
                    .wait_while(rung, |rung| !*rung)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                *rung = false;
                drop(rung);
                due = Instant::now();
                continue;
            }
            due += STEP;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let begun = Instant::now();
            for (room, bell) in rooms {
                let mut room = locked(&room);
                room.tick();
                if room.rests() {
                    bell.awake.store(false, Ordering::Release);
                }
            }
            self.count(begun, due);
            if due.elapsed() > TOO_LATE {
                due = Instant::now();
            }
        }
    }

    fn count(&self, begun: Instant, due: Instant) {
        let micros = |passed: Duration| u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        self.ticks.fetch_add(1, Ordering::Relaxed);
        self.busy_us.fetch_add(micros(begun.elapsed()), Ordering::Relaxed);
        self.latest_us.fetch_max(micros(due.elapsed()), Ordering::Relaxed);
        if due.elapsed() > STEP {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// All rooms of a program, and their clock.
#[derive(Debug)]
pub struct Mixer {
    codecs: Arc<dyn Codecs>,
    clock: Arc<Clock>,
}

impl Mixer {
    /// Without rooms.
    ///
    /// # Errors
    /// In words, when there are no codecs, or can be no thread for the clock.
    pub fn start(codecs: Arc<dyn Codecs>) -> Result<Self, String> {
        codecs.decoder()?;
        codecs.encoder()?;
        let clock = Arc::new(Clock::default());
        let keeps = Arc::clone(&clock);
        let thread = std::thread::Builder::new().name("rooms".to_owned());
        thread.spawn(move || keeps.run()).map_err(|error| error.to_string())?;
        Ok(Self { codecs, clock })
    }

    /// A new room. It is gone with the last handle to it.
    #[must_use]
    pub fn room(&self) -> MixerRoom {
        let bell = Arc::new(Bell { awake: AtomicBool::new(false), clock: Some(Arc::clone(&self.clock)) });
        let room = Arc::new(Mutex::new(Room::with_bell(Arc::clone(&self.codecs), Arc::clone(&bell))));
        locked(&self.clock.rooms).push((Arc::downgrade(&room), Arc::downgrade(&bell)));
        MixerRoom(room)
    }

    /// How well the time is kept.
    #[must_use]
    pub fn ticks(&self) -> Ticks {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Clock { ticks, missed, latest_us, busy_us, .. } = &*self.clock;
        Ticks { ticks: read(ticks), missed: read(missed), latest_us: read(latest_us), busy_us: read(busy_us) }
    }
}

impl Drop for Mixer {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

/// A room that the clock keeps going.
#[derive(Clone, Debug)]
pub struct MixerRoom(Arc<Mutex<Room>>);

impl MixerRoom {
    /// See [`Room::join`].
    ///
    /// # Errors
    /// [`RoomFull`].
    pub fn join(&self, speaker: Speaker, outlet: Option<Outlet>) -> Result<Inlet, RoomFull> {
        locked(&self.0).join(speaker, outlet)
    }

    /// See [`Room::leave`].
    pub fn leave(&self, speaker: Speaker) {
        locked(&self.0).leave(speaker);
    }

    /// Who may be heard: these, and nobody else.
    pub fn set_audible(&self, audible: &[Speaker]) {
        let mut room = locked(&self.0);
        let all: Vec<Speaker> = room.seats.keys().copied().collect();
        for speaker in all {
            room.set_audible(speaker, audible.contains(&speaker));
        }
    }

    /// Who is heard now.
    #[must_use]
    pub fn heard(&self) -> Vec<Speaker> {
        locked(&self.0).heard().collect()
    }

    /// What went wrong since the last time this was asked: those concerned hear silence.
    #[must_use]
    pub fn take_trouble(&self) -> Option<String> {
        locked(&self.0).take_trouble()
    }
}
