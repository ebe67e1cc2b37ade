//! What every byte between two nodes passes: MessagePack and the frames of the multiplexed socket.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skep_protocol::link::mux::frame::{ChannelNumber, FrameReader, write_data};
use skep_protocol::msgpack::{Value, decode_all};

/// Bytes of a piece of a pack, as a git channel sends it.
const PIECE: usize = 65_000;

/// A map as most messages are: a few short keys, ids and a number.
fn announcement() -> Value {
    Value::map([
        ("type", Value::text("application/im-gitmessage-id")),
        ("id", Value::text("0123456789abcdef0123456789abcdef01234567")),
        ("device", Value::text("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")),
        ("commit", Value::binary(&[0x5a; 20])),
    ])
}

fn message_pack(criterion: &mut Criterion) {
    let value = announcement();
    let bytes = value.encode();
    let mut group = criterion.benchmark_group("msgpack");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(&value).encode()));
    group.bench_function("decode", |bencher| bencher.iter(|| decode_all(black_box(&bytes))));
    group.finish();
}

fn mux_frames(criterion: &mut Criterion) {
    let data = vec![0x5a; PIECE];
    let mut bytes = Vec::new();
    write_data(ChannelNumber(7), &data, &mut bytes);
    let mut group = criterion.benchmark_group("mux");
    group.throughput(Throughput::Bytes(PIECE as u64));
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::with_capacity(PIECE + 64);
            write_data(ChannelNumber(7), black_box(&data), &mut out);
            out
        });
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut reader = FrameReader::default();
            let mut input = black_box(&bytes[..]);
            let mut read = 0;
            while let Ok(Some(frame)) = reader.next(&mut input) {
                read += frame.data.len();
            }
            read
        });
    });
    group.finish();
}

criterion_group!(benches, message_pack, mux_frames);
criterion_main!(benches);
