//! What the mixer costs: a frame of 20 ms, 48 kHz, two channels.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use skep_media::{Loudest, Mix, Speaker, loudness};

/// Samples of a frame.
const FRAME: usize = 1920;

fn frame(seed: u32) -> Vec<i16> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        i16::from_le_bytes([state.to_le_bytes()[0], state.to_le_bytes()[1]])
    };
    (0..FRAME).map(|_| next()).collect()
}

fn mix(criterion: &mut Criterion) {
    let frames: Vec<Vec<i16>> = (1..=6).map(frame).collect();
    let mut out = vec![0; FRAME];
    let mut mix = Mix::new(FRAME);
    criterion.bench_function("add a frame", |bench| bench.iter(|| mix.add(black_box(&frames[0]))));
    criterion.bench_function("sum without the own frame", |bench| {
        bench.iter(|| mix.without(black_box(&frames[0]), black_box(&mut out)));
    });
    criterion.bench_function("six speakers and everybody else", |bench| {
        bench.iter(|| {
            mix.clear();
            frames.iter().for_each(|frame| mix.add(frame));
            mix.whole(&mut out);
            frames.iter().for_each(|frame| mix.without(frame, black_box(&mut out)));
        });
    });
    criterion.bench_function("how loud a frame is", |bench| bench.iter(|| loudness(black_box(&frames[0]))));
    let many: Vec<(Speaker, u64)> = (0..1000).map(|it| (Speaker(it), u64::from(it % 7) * 1_000)).collect();
    let mut loudest = Loudest::new(5);
    criterion
        .bench_function("the loudest of a thousand", |bench| bench.iter(|| loudest.tick(black_box(&many))));
}

criterion_group!(benches, mix);
criterion_main!(benches);
