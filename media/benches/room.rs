//! What 20 ms of a room cost: a listener, a talker, and Opus itself.

#![expect(clippy::expect_used, reason = "a bench without codecs cannot go on")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use skep_media::Speaker;
use skep_media::opus::{FRAME, SILENCE};
use skep_media::pipelines::GstOpus;
use skep_media::room::{Codecs, Inlet, Outlet, Room};

/// Two seconds of a voice: a tone that comes and goes, with noise on it.
fn voice(hertz: f64) -> Vec<Vec<u8>> {
    let mut encoder = GstOpus.encoder().expect("opusenc");
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 16) / 65_536.0 - 0.5
    };
    let frame = |frame: usize| -> Vec<i16> {
        let sample = |at: usize| {
            let time = f64::from(u32::try_from(frame * FRAME + at).unwrap_or(0)) / 48_000.0;
            let turn = std::f64::consts::TAU * time;
            let loud = 4000.0 * (1.0 + (3.0 * turn).sin());
            #[expect(clippy::cast_possible_truncation, reason = "in the range of samples")]
            let sample = (loud * ((hertz * turn).sin() + 0.3 * noise())) as i16;
            sample
        };
        (0..FRAME).map(sample).collect()
    };
    let mut frame = frame;
    (0..100).filter_map(|at| encoder.encode(&frame(at))).collect()
}

struct Party {
    room: Room,
    talkers: Vec<(Inlet, Vec<Vec<u8>>)>,
    listeners: Vec<Inlet>,
    number: u16,
}

impl Party {
    fn new(talkers: u32, listeners: u32) -> Self {
        let mut room = Room::new(Arc::new(GstOpus));
        let mut join = |number| {
            let outlet: Outlet = Box::new(|payload| _ = black_box(payload));
            room.join(Speaker(number), Some(outlet)).expect("a seat")
        };
        let talkers = (0..talkers).map(|it| (join(it), voice(200.0 + 50.0 * f64::from(it)))).collect();
        let listeners = (100..100 + listeners).map(&mut join).collect();
        let mut party = Self { room, talkers, listeners, number: 0 };
        (0..50).for_each(|_| party.frame());
        party
    }

    fn frame(&mut self) {
        for (inlet, packets) in &self.talkers {
            inlet.packet(self.number, &packets[usize::from(self.number) % packets.len()]);
        }
        for inlet in &self.listeners {
            inlet.packet(self.number, &SILENCE);
        }
        self.number = self.number.wrapping_add(1);
        self.room.tick();
    }
}

fn rooms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a frame of a room");
    for (talkers, listeners) in
        [(0, 1000), (1, 3), (1, 10), (1, 100), (1, 1000), (2, 100), (3, 100), (3, 300), (3, 1000), (5, 100)]
    {
        let mut party = Party::new(talkers, listeners);
        let name = BenchmarkId::new("talkers and listeners", format!("{talkers}, {listeners}"));
        group.bench_function(name, |bench| bench.iter(|| party.frame()));
    }
    group.finish();
    let packets = voice(300.0);
    let mut decoder = GstOpus.decoder().expect("opusdec");
    let (mut at, mut out) = (0, Vec::new());
    criterion.bench_function("decode a frame", |bench| {
        bench.iter(|| {
            out.clear();
            decoder.decode(Some(&packets[at % packets.len()]), &mut out);
            at += 1;
        });
    });
    let frame: Vec<i16> = out.iter().copied().chain(std::iter::repeat(0)).take(FRAME).collect();
    let mut encoder = GstOpus.encoder().expect("opusenc");
    criterion.bench_function("encode a frame", |bench| bench.iter(|| encoder.encode(black_box(&frame))));
}

criterion_group!(benches, rooms);
criterion_main!(benches);
