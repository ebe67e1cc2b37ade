//! Rooms with a codec that says how loud a packet is, and nothing else.

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use super::*;

/// Counts what was made and done.
#[derive(Debug, Default)]
struct Plain {
    decoders: AtomicUsize,
    encoders: AtomicUsize,
    decoded: Arc<AtomicUsize>,
    encoded: Arc<AtomicUsize>,
}

struct Coder(Arc<AtomicUsize>);

/// A packet that is this loud; of a length that says nothing.
fn packet(loud: i16) -> Vec<u8> {
    let mut packet = vec![0xf8; 40];
    packet[1..3].copy_from_slice(&loud.to_be_bytes());
    packet
}

fn loud_of(payload: &[u8]) -> i16 {
    if payload == SILENCE { 0 } else { i16::from_be_bytes([payload[1], payload[2]]) }
}

impl Decoder for Coder {
    fn decode(&mut self, packet: Option<&[u8]>, out: &mut Vec<i16>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let samples = packet.map_or(FRAME, |packet| opus::samples_of(packet).unwrap());
        out.extend(std::iter::repeat_n(packet.map_or(0, loud_of), samples));
    }

    fn reset(&mut self) {}
}

impl Encoder for Coder {
    fn encode(&mut self, frame: &[i16]) -> Option<Vec<u8>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(packet(frame[500]))
    }

    fn reset(&mut self) {}
}

impl Codecs for Plain {
    fn decoder(&self) -> Result<Box<dyn Decoder>, String> {
        self.decoders.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Coder(Arc::clone(&self.decoded))))
    }

    fn encoder(&self) -> Result<Box<dyn Encoder>, String> {
        self.encoders.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Coder(Arc::clone(&self.encoded))))
    }
}

/// A room, and the last that everybody heard.
struct Party {
    codecs: Arc<Plain>,
    room: Room,
    people: Vec<(Inlet, Arc<Mutex<Vec<u8>>>)>,
    number: u16,
}

/// A seat, and what is heard there.
fn seat(room: &mut Room, speaker: u32) -> (Inlet, Arc<Mutex<Vec<u8>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let outlet: Outlet = Box::new(move |payload| *locked(&hears) = payload.to_vec());
    (room.join(Speaker(speaker), Some(outlet)).unwrap(), heard)
}

impl Party {
    fn new(count: u32) -> Self {
        let codecs = Arc::new(Plain::default());
        let mut room = Room::new(Arc::clone(&codecs) as Arc<dyn Codecs>);
        let people = (0..count).map(|speaker| seat(&mut room, speaker)).collect();
        Self { codecs, room, people, number: 65_000 }
    }

    /// So many frames in which these are so loud, and the others silent.
    fn pass(&mut self, frames: u32, loud: &[(usize, i16)]) {
        for _ in 0..frames {
            for (at, (inlet, _)) in self.people.iter().enumerate() {
                match loud.iter().find(|(it, _)| *it == at) {
                    Some((_, loud)) => inlet.packet(self.number, &packet(*loud)),
                    None => inlet.packet(self.number, &SILENCE),
                }
            }
            self.number = self.number.wrapping_add(1);
            self.room.tick();
        }
    }

    fn hears(&self, person: usize) -> i16 {
        loud_of(&locked(&self.people[person].1))
    }

    fn heard(&self) -> Vec<u32> {
        self.room.heard().map(|speaker| speaker.0).collect()
    }
}

#[test]
fn everybody_hears_the_others_and_nobody_himself() {
    let mut party = Party::new(4);
    party.pass(10, &[(0, 1000), (1, 200)]);
    let heard: Vec<i16> = (0..4).map(|person| party.hears(person)).collect();
    assert_eq!(heard, [200, 1000, 1200, 1200]);
    party.pass(40, &[(0, 1000)]);
    let heard: Vec<i16> = (0..4).map(|person| party.hears(person)).collect();
    assert_eq!(heard, [0, 1000, 1000, 1000]);
}

#[test]
fn three_hundred_who_listen_cost_one_encoding_and_no_decoding() {
    let mut party = Party::new(300);
    party.pass(20, &[(7, 1000)]);
    let count = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
    count(&party.codecs.decoded);
    count(&party.codecs.encoded);
    party.pass(100, &[(7, 1000)]);
    assert_eq!((count(&party.codecs.decoded), count(&party.codecs.encoded)), (100, 100));
    party.pass(20, &[(7, 1000), (9, 1000)]);
    count(&party.codecs.encoded);
    party.pass(100, &[(7, 1000), (9, 1000)]);
    assert_eq!(count(&party.codecs.encoded), 300, "for all, and for each who speaks");
}

#[test]
fn of_many_with_open_microphones_only_some_are_decoded_and_each_who_speaks_is_found() {
    let mut party = Party::new(200);
    let quiet: Vec<(usize, i16)> = (0..200).map(|it| (it, 10)).collect();
    party.pass(50, &quiet);
    party.codecs.decoded.store(0, Ordering::Relaxed);
    party.pass(100, &quiet);
    assert!(party.codecs.decoded.load(Ordering::Relaxed) <= 100 * (MAX_DECODED + 2 * KEPT_EXTRA));
    assert!(party.codecs.decoders.load(Ordering::Relaxed) <= MAX_DECODED);
    assert!(party.heard().is_empty());
    let mut loud = quiet;
    loud[150].1 = 5000;
    // Their packets do not tell, so they are listened into in turn: sixteen each three frames.
    party.pass(60, &loud);
    assert_eq!(party.heard(), [150]);
    assert_eq!(party.hears(3), 5000);
    // The other side's word is enough to be looked at at once.
    loud[180].1 = 3000;
    party.people[180].0.speaks(true);
    party.pass(3, &loud);
    assert_eq!(party.heard(), [150, 180]);
}

/// Packets that are decoded at once when somebody is listened into.
const KEPT_EXTRA: usize = 3;

#[test]
fn who_may_not_be_heard_is_not_from_the_next_frame_on() {
    let mut party = Party::new(3);
    let both = [(0, 1000), (1, 200)];
    party.pass(10, &both);
    party.room.set_audible(Speaker(0), false);
    party.pass(1, &both);
    assert_eq!((party.hears(2), party.hears(0), party.heard()), (200, 200, vec![1]));
    party.people[0] = seat(&mut party.room, 0);
    party.pass(5, &both);
    assert_eq!(party.heard(), [1], "nor is who takes the seat again");
    party.room.set_audible(Speaker(0), true);
    party.pass(5, &both);
    assert_eq!(party.hears(2), 1200);
    party.room.leave(Speaker(1));
    party.pass(1, &both);
    assert_eq!((party.hears(2), party.hears(0)), (1000, 0));
}

#[test]
fn a_room_rests_when_nothing_sounds_and_those_who_vanish_do_not_keep_it_up() {
    let mut party = Party::new(3);
    assert!(!party.room.rests());
    party.pass(30, &[(0, 1000)]);
    assert!(!party.room.rests());
    for _ in 0..200 {
        party.room.tick();
    }
    assert!(party.room.rests() && party.heard().is_empty());
    party.pass(1, &[(1, 500)]);
    assert!(!party.room.rests());
    party.pass(100, &[]);
    assert!(party.room.rests());
    party.pass(100, &[(0, 5)]);
    assert!(!party.room.rests(), "an open microphone may be spoken into");
}

#[test]
fn what_is_broken_or_too_much_harms_nobody_else() {
    let mut party = Party::new(3);
    for number in 0..2000_u16 {
        for at in 0..10 {
            party.people[0].0.packet(number.wrapping_mul(10).wrapping_add(at), &packet(700));
        }
        party.people[1].0.packet(number.wrapping_mul(7919), &[0xfb, 63, 1, 2, 3, 4, 5, 6, 7]);
        party.people[1].0.packet(number, &[]);
        party.people[1].0.packet(number, &vec![0xf8; 100_000]);
        party.people[2].0.packet(number, &packet(300));
        party.room.tick();
    }
    assert_eq!(party.hears(2), 700);
    assert_eq!(party.hears(0), 300);
    let came = party.people[0].0.came();
    assert!(came.left_out > 15_000, "{came:?}");
}

#[test]
fn seats_have_a_bound_and_a_seat_can_be_taken_again() {
    let mut room = Room::new(Arc::new(Plain::default()));
    for number in 0..u32::try_from(MAX_SEATS).unwrap() {
        room.join(Speaker(number), None).unwrap();
    }
    assert_eq!(room.join(Speaker(1_000_000), None).unwrap_err(), RoomFull);
    room.join(Speaker(5), None).unwrap();
    assert_eq!(room.len(), MAX_SEATS);
}

#[test]
fn the_clock_stands_still_while_all_rooms_rest_and_goes_when_a_packet_comes() {
    let mixer = Mixer::start(Arc::new(Plain::default())).unwrap();
    let rooms: Vec<MixerRoom> = (0..400).map(|_| mixer.room()).collect();
    let (told, heard) = std::sync::mpsc::sync_channel(100);
    let listener: Outlet = Box::new(move |payload| _ = told.try_send(loud_of(payload)));
    let speaker = rooms[7].join(Speaker(1), None).unwrap();
    rooms[7].join(Speaker(2), Some(listener)).unwrap();
    for number in 0..20 {
        speaker.packet(number, &SILENCE);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(mixer.ticks().ticks, 0);
    let begun = Instant::now();
    let mut number = 20;
    while heard.recv_timeout(Duration::from_millis(20)) != Ok(900) {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is heard");
        speaker.packet(number, &packet(900));
        number += 1;
    }
    assert!(mixer.ticks().ticks > 0);
    assert_eq!(rooms[7].heard(), [Speaker(1)]);
    drop(rooms);
}
