//! A room: everybody in it hears the others, and pays for those who speak only.
//!
//! ```text
//!   packets ─► queue, activity     one each; of who is not decoded, the last few packets
//!                └► chosen         all who may be speaking; in large rooms the likeliest, and some in turn
//!                     └► decoder ─► loudest ─► mix ─┬─ whole ─► one encoder ─► all who listen
//!                                                   └─ less own ─► an encoder for each who is heard
//! ```
//!
//! A listener costs no decoding and no encoding: all of them get the same payload. When nobody is heard that
//! payload is constant, and when nothing but silence comes for a while the room rests: it needs no clock until
//! a packet with sound comes ([`Inlet::packet`] tells).
//!
//! Measured (bench `room`, one thread of a virtual machine, 20 ms): a listener 0.05 µs, a talker some 110 µs; three
//! talkers before a thousand listeners 0.44 ms, which is 2 % of the time there is. What sends to them is not in it.
//!
//! Everything is bounded: seats, decoders, encoders, packets that wait. What is broken or does not come is
//! silence of that one, and nothing else.

mod activity;
mod clock;
mod queue;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::clock::{Mixer, MixerRoom, Ticks};
pub use self::queue::Came;

use self::activity::{Activity, SPEAKS};
use self::clock::Bell;
use self::queue::{Next, Queue};
use crate::loudest::{HOLD, Loudest, QUIET, Speaker, loudness};
use crate::mix::Mix;
use crate::opus::{self, FRAME, MAX_SAMPLES, SILENCE};

/// Most seats of a room: more than a machine can send to, and so that a number is a bound.
pub const MAX_SEATS: usize = 4100;

/// Most who are decoded at once: more than three times those who are heard.
pub const MAX_DECODED: usize = 16;

/// How many voices are heard at once. More cannot be understood.
pub const PLACES: usize = 5;

/// Of those who are decoded in a large room, so many are just listened into, in turn.
const PROBES: usize = 4;

/// For so many frames each.
const PROBE: u32 = 3;

/// After so many frames without anything the room rests; and who has sent nothing for as long is silent.
const REST: u32 = 50;

/// Most packets decoded for one frame: eight of 2.5 ms are one.
const MOST_PACKETS: usize = 8;

/// Samples over which a new voice fades in: 5 ms.
const FADE: i32 = 240;

/// Takes a stream's packets and gives samples.
pub trait Decoder: Send {
    /// Decodes a packet, or makes up for one that was lost. What it gives, 48,000 a second, is put behind
    /// `out`; of what is broken nothing.
    fn decode(&mut self, packet: Option<&[u8]>, out: &mut Vec<i16>);

    /// Another stream follows.
    fn reset(&mut self);
}

/// Takes frames of [`FRAME`] samples and gives packets.
pub trait Encoder: Send {
    /// A packet for a frame; `None` if there is none, as when it broke.
    fn encode(&mut self, frame: &[i16]) -> Option<Vec<u8>>;

    /// Another stream follows.
    fn reset(&mut self);
}

/// Makes them.
pub trait Codecs: Debug + Send + Sync {
    /// A new decoder.
    ///
    /// # Errors
    /// In words.
    fn decoder(&self) -> Result<Box<dyn Decoder>, String>;

    /// A new encoder.
    ///
    /// # Errors
    /// In words.
    fn encoder(&self) -> Result<Box<dyn Encoder>, String>;
}

/// Where the packets for one listener go.
pub type Outlet = Box<dyn FnMut(&[u8]) + Send>;

/// There are [`MAX_SEATS`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomFull;

impl std::fmt::Display for RoomFull {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a room has {MAX_SEATS} seats, and all are taken")
    }
}

impl std::error::Error for RoomFull {}

/// What of somebody's packets waits for the room.
#[derive(Debug)]
struct Inbox {
    waiting: Mutex<Waiting>,
    /// Whether it may be heard at all.
    audible: AtomicBool,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: Queue,
    activity: Activity,
    /// Whether anything came since the last frame.
    came: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where somebody's packets come in; from any thread, and without waiting for the mixing of others.
#[derive(Clone, Debug)]
pub struct Inlet(Arc<Inbox>);

impl Inlet {
    /// A packet's number and payload.
    pub fn packet(&self, sequence: u16, payload: &[u8]) {
        if payload.len() > opus::MAX_PAYLOAD {
            return;
        }
        let mut waiting = locked(&self.0.waiting);
        waiting.queue.push(sequence, payload);
        waiting.activity.packet(payload);
        waiting.came = true;
        let sounds = waiting.activity.sounds();
        drop(waiting);
        if sounds && self.0.audible.load(Ordering::Relaxed) {
            self.0.bell.ring();
        }
    }

    /// The other side says that its owner speaks, or does not any more.
    pub fn speaks(&self, speaks: bool) {
        locked(&self.0.waiting).activity.told = speaks;
    }

    /// What became of the packets.
    #[must_use]
    pub fn came(&self) -> Came {
        locked(&self.0.waiting).queue.came()
    }
}

/// Somebody who is decoded.
struct Decoding {
    decoder: Box<dyn Decoder>,
    /// What is decoded and not played.
    samples: Vec<i16>,
    /// The frame of this moment.
    frame: Vec<i16>,
    /// Frames since it was loud.
    quiet: u32,
    /// Frames since it began.
    age: u32,
    /// Whether the last frame made up for something.
    made_up: bool,
}

struct Seat {
    inbox: Arc<Inbox>,
    outlet: Option<Outlet>,
    decoding: Option<Decoding>,
    /// While it is heard.
    encoder: Option<Box<dyn Encoder>>,
    heard: bool,
    /// Frames since a packet came.
    nothing: u32,
}

/// See the module.
pub struct Room {
    codecs: Arc<dyn Codecs>,
    seats: BTreeMap<Speaker, Seat>,
    bell: Arc<Bell>,
    loudest: Loudest,
    mix: Mix,
    whole: Vec<i16>,
    shared: Option<Box<dyn Encoder>>,
    spare_decoders: Vec<Box<dyn Decoder>>,
    spare_encoders: Vec<Box<dyn Encoder>>,
    /// The last one who was listened into.
    probed: Speaker,
    /// Frames since anybody was heard, or might have been.
    quiet: u32,
    /// What went wrong, to be told once.
    trouble: Option<String>,
}

impl Debug for Room {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Room({} seats)", self.seats.len())
    }
}

impl Room {
    /// An empty one, in which [`PLACES`] are heard at once.
    #[must_use]
    pub fn new(codecs: Arc<dyn Codecs>) -> Self {
        Self::with_bell(codecs, Arc::new(Bell::default()))
    }

    fn with_bell(codecs: Arc<dyn Codecs>, bell: Arc<Bell>) -> Self {
        Self {
            codecs,
            seats: BTreeMap::new(),
            bell,
            loudest: Loudest::new(PLACES),
            mix: Mix::new(FRAME),
            whole: vec![0; FRAME],
            shared: None,
            spare_decoders: Vec::new(),
            spare_encoders: Vec::new(),
            probed: Speaker(0),
            quiet: 0,
            trouble: None,
        }
    }

    /// Somebody comes. Without an outlet nothing is sent there. Whoever had the seat is gone; whether the seat may be
    /// heard stays.
    ///
    /// # Errors
    /// [`RoomFull`].
    pub fn join(&mut self, speaker: Speaker, outlet: Option<Outlet>) -> Result<Inlet, RoomFull> {
        let before = self.seats.get(&speaker).map(|seat| seat.inbox.audible.load(Ordering::Relaxed));
        self.leave(speaker);
        if self.seats.len() >= MAX_SEATS {
            return Err(RoomFull);
        }
        let inbox = Inbox {
            waiting: Mutex::default(),
            audible: AtomicBool::new(before.unwrap_or(true)),
            bell: Arc::clone(&self.bell),
        };
        let inbox = Arc::new(inbox);
        let seat = Seat {
            inbox: Arc::clone(&inbox),
            outlet,
            decoding: None,
            encoder: None,
            heard: false,
            nothing: 0,
        };
        self.seats.insert(speaker, seat);
        Ok(Inlet(inbox))
    }

    /// Somebody goes.
    pub fn leave(&mut self, speaker: Speaker) {
        if let Some(mut seat) = self.seats.remove(&speaker) {
            self.loudest.leave(speaker);
            self.stop_decoding(&mut seat);
            self.give_back(seat.encoder.take());
        }
    }

    /// How many seats are taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether somebody may be heard by the others; at first everybody may.
    pub fn set_audible(&mut self, speaker: Speaker, audible: bool) {
        if let Some(seat) = self.seats.get_mut(&speaker) {
            seat.inbox.audible.store(audible, Ordering::Relaxed);
            if !audible {
                self.loudest.leave(speaker);
            }
        }
    }

    /// Who is heard now.
    pub fn heard(&self) -> impl Iterator<Item = Speaker> {
        self.seats.iter().filter(|(_, seat)| seat.heard).map(|(speaker, _)| *speaker)
    }

    /// Whether nothing has been heard for a while, and nothing comes that could be.
    #[must_use]
    pub const fn rests(&self) -> bool {
        self.quiet >= REST
    }

    /// What went wrong since the last time this was asked.
    pub const fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    /// Mixes the next 20 ms, and sends them.
    pub fn tick(&mut self) {
        let sounding = self.sounding();
        let chosen = self.choose(&sounding);
        self.decode(&chosen);
        self.listen();
        self.quiet = if sounding.is_empty() && self.heard().next().is_none() { self.quiet + 1 } else { 0 };
        self.send();
    }

    /// Who may be speaking, and how likely it is.
    fn sounding(&mut self) -> Vec<(Speaker, i64)> {
        let mut sounding = Vec::new();
        for (speaker, seat) in &mut self.seats {
            let mut waiting = locked(&seat.inbox.waiting);
            seat.nothing = if std::mem::take(&mut waiting.came) { 0 } else { seat.nothing + 1 };
            if seat.nothing >= REST {
                waiting.activity.stopped();
            }
            if waiting.activity.sounds() && seat.inbox.audible.load(Ordering::Relaxed) {
                sounding.push((*speaker, waiting.activity.likely()));
            }
        }
        sounding
    }

    /// Who is decoded now. Whoever is heard is.
    fn choose(&mut self, sounding: &[(Speaker, i64)]) -> Vec<Speaker> {
        let mut chosen: Vec<Speaker> = self.loudest.heard().collect();
        let mut add = |speaker: Speaker, most: usize| {
            if chosen.len() < most && !chosen.contains(&speaker) {
                chosen.push(speaker);
            }
        };
        if sounding.len() <= MAX_DECODED - PROBES {
            sounding.iter().for_each(|(speaker, _)| add(*speaker, MAX_DECODED));
            return chosen;
        }
        let loud_of_late = |(speaker, _): &&(Speaker, i64)| {
            let decoding = self.seats.get(speaker).and_then(|seat| seat.decoding.as_ref());
            decoding.is_some_and(|decoding| decoding.quiet < HOLD)
        };
        sounding.iter().filter(loud_of_late).for_each(|(speaker, _)| add(*speaker, MAX_DECODED - PROBES));
        let mut likely: Vec<_> = sounding.iter().filter(|(_, likely)| *likely >= SPEAKS).collect();
        likely.sort_by_key(|(speaker, likely)| (std::cmp::Reverse(*likely), *speaker));
        likely.iter().for_each(|(speaker, _)| add(*speaker, MAX_DECODED - PROBES));
        // Who is being listened into goes on until enough was heard.
        let begun = |(speaker, _): &&(Speaker, i64)| {
            let decoding = self.seats.get(speaker).and_then(|seat| seat.decoding.as_ref());
            decoding.is_some_and(|decoding| decoding.age < PROBE)
        };
        sounding.iter().filter(begun).for_each(|(speaker, _)| add(*speaker, MAX_DECODED));
        let first = sounding.partition_point(|(speaker, _)| *speaker <= self.probed);
        for (speaker, _) in sounding.iter().cycle().skip(first).take(sounding.len()) {
            if chosen.len() >= MAX_DECODED {
                break;
            }
            if !chosen.contains(speaker) {
                chosen.push(*speaker);
                self.probed = *speaker;
            }
        }
        chosen
    }

    fn decode(&mut self, chosen: &[Speaker]) {
        let speakers: Vec<Speaker> =
            self.seats.iter().filter(|(_, seat)| seat.decoding.is_some()).map(|it| *it.0).collect();
        for speaker in speakers.into_iter().filter(|speaker| !chosen.contains(speaker)) {
            if let Some(mut seat) = self.seats.remove(&speaker) {
                self.stop_decoding(&mut seat);
                self.seats.insert(speaker, seat);
            }
        }
        for speaker in chosen {
            if self.seats.get(speaker).is_some_and(|seat| seat.decoding.is_none()) {
                let Some(decoder) = self.new_decoder() else { continue };
                if let Some(seat) = self.seats.get_mut(speaker) {
                    locked(&seat.inbox.waiting).queue.play();
                    seat.decoding = Some(Decoding::new(decoder));
                }
            }
            if let Some(seat) = self.seats.get_mut(speaker)
                && let Some(decoding) = &mut seat.decoding
            {
                decoding.next(&seat.inbox);
            }
        }
    }

    /// Who is heard, and the sum of those.
    fn listen(&mut self) {
        let mut loud = Vec::new();
        for (speaker, seat) in &mut self.seats {
            if let Some(decoding) = &mut seat.decoding
                && seat.inbox.audible.load(Ordering::Relaxed)
            {
                let loudness = loudness(&decoding.frame);
                decoding.quiet = if loudness > QUIET { 0 } else { decoding.quiet.saturating_add(1) };
                loud.push((*speaker, loudness));
            }
        }
        self.loudest.tick(&loud);
        self.mix.clear();
        let mut given_back = Vec::new();
        for (speaker, seat) in &mut self.seats {
            let heard = self.loudest.heard().any(|it| it == *speaker);
            let new = heard && !std::mem::replace(&mut seat.heard, heard);
            match &mut seat.decoding {
                Some(decoding) if heard => {
                    if new {
                        fade_in(&mut decoding.frame);
                    }
                    self.mix.add(&decoding.frame);
                }
                _ => {
                    seat.heard = false;
                    given_back.extend(seat.encoder.take());
                }
            }
        }
        given_back.into_iter().for_each(|encoder| self.give_back(Some(encoder)));
    }

    fn send(&mut self) {
        let heard: Vec<Speaker> = self.heard().collect();
        self.mix.whole(&mut self.whole);
        let whole = if heard.is_empty() { None } else { self.encode_whole() };
        let whole = whole.as_deref().unwrap_or(&SILENCE);
        let mut own = vec![0; FRAME];
        for speaker in &heard {
            let Some(mut seat) = self.seats.remove(speaker) else { continue };
            // Who is heard alone hears nobody.
            if heard.len() > 1
                && let (Some(_), Some(decoding)) = (&seat.outlet, &seat.decoding)
            {
                self.mix.without(&decoding.frame, &mut own);
                if seat.encoder.is_none() {
                    seat.encoder = self.new_encoder();
                }
            }
            let payload =
                seat.encoder.as_mut().filter(|_| heard.len() > 1).and_then(|encoder| encoder.encode(&own));
            if let Some(outlet) = &mut seat.outlet {
                outlet(payload.as_deref().unwrap_or(&SILENCE));
            }
            self.seats.insert(*speaker, seat);
        }
        for seat in self.seats.values_mut().filter(|seat| !seat.heard) {
            if let Some(outlet) = &mut seat.outlet {
                outlet(whole);
            }
        }
    }

    fn encode_whole(&mut self) -> Option<Vec<u8>> {
        if self.shared.is_none() {
            self.shared = self.new_encoder();
        }
        self.shared.as_mut()?.encode(&self.whole)
    }

    fn new_decoder(&mut self) -> Option<Box<dyn Decoder>> {
        self.spare_decoders.pop().or_else(|| {
            let made = self.codecs.decoder();
            made.map_err(|trouble| self.trouble = Some(trouble)).ok()
        })
    }

    fn new_encoder(&mut self) -> Option<Box<dyn Encoder>> {
        self.spare_encoders.pop().or_else(|| {
            let made = self.codecs.encoder();
            made.map_err(|trouble| self.trouble = Some(trouble)).ok()
        })
    }

    fn stop_decoding(&mut self, seat: &mut Seat) {
        if let Some(mut decoding) = seat.decoding.take() {
            locked(&seat.inbox.waiting).queue.rest();
            if self.spare_decoders.len() < MAX_DECODED {
                decoding.decoder.reset();
                self.spare_decoders.push(decoding.decoder);
            }
        }
    }

    fn give_back(&mut self, encoder: Option<Box<dyn Encoder>>) {
        if let Some(mut encoder) = encoder.filter(|_| self.spare_encoders.len() < PLACES) {
            encoder.reset();
            self.spare_encoders.push(encoder);
        }
    }
}

impl Decoding {
    fn new(decoder: Box<dyn Decoder>) -> Self {
        Self {
            decoder,
            samples: Vec::with_capacity(2 * FRAME),
            frame: vec![0; FRAME],
            quiet: HOLD,
            age: 0,
            made_up: true,
        }
    }

    /// Gets the next frame ready.
    fn next(&mut self, inbox: &Inbox) {
        self.age = self.age.saturating_add(1);
        for _ in 0..MOST_PACKETS {
            if self.samples.len() >= FRAME {
                break;
            }
            let next = locked(&inbox.waiting).queue.take();
            match next {
                Next::Packet(payload) => {
                    self.made_up = false;
                    let good = Some(&*payload).filter(|payload| opus::samples_of(payload).is_some());
                    self.decoder.decode(good, &mut self.samples);
                }
                Next::Lost => self.decoder.decode(None, &mut self.samples),
                // What stops does so softly.
                Next::Nothing if !std::mem::replace(&mut self.made_up, true) => {
                    self.decoder.decode(None, &mut self.samples);
                    break;
                }
                Next::Nothing => break,
            }
        }
        self.samples.truncate(MAX_SAMPLES + FRAME);
        let ready = self.samples.len().min(FRAME);
        self.frame.fill(0);
        for (to, from) in self.frame.iter_mut().zip(self.samples.drain(..ready)) {
            *to = from;
        }
    }
}

fn fade_in(frame: &mut [i16]) {
    for (sample, gain) in frame.iter_mut().zip(0..FADE) {
        *sample = i16::try_from(i32::from(*sample) * gain / FADE).unwrap_or(0);
    }
}
