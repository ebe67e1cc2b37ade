//! Packs that are right, and packs made to hurt.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::super::super::object::{NewObject, ObjectKind, object_id};
use super::resolve::{read_small_pack, resolve};
use super::scan::{PackScanner, scan};
use super::write::PackWriter;
use super::{PackError, PackLimit, PackLimits, index};
use crate::ids::{ObjectId, sha1};

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn number(mut value: u64, first_bits: u32, kind: u8) -> Vec<u8> {
    let mut out = vec![kind << 4 | u8::try_from(value & ((1 << first_bits) - 1)).unwrap()];
    value >>= first_bits;
    while value > 0 {
        *out.last_mut().unwrap() |= 0x80;
        out.push(u8::try_from(value & 0x7f).unwrap());
        value >>= 7;
    }
    out
}

/// An entry that claims `size` bytes.
fn entry(kind: u8, size: usize, base: &[u8], data: &[u8]) -> Vec<u8> {
    [number(size as u64, 4, kind), base.to_vec(), zlib(data)].concat()
}

fn pack(count: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"PACK\0\0\0\x02".to_vec();
    out.extend(count.to_be_bytes());
    out.extend(entries.concat());
    let checksum = sha1(&out);
    out.extend(checksum);
    out
}

fn delta(base: usize, result: usize, instructions: &[u8]) -> Vec<u8> {
    [number(base as u64, 7, 0), number(result as u64, 7, 0), instructions.to_vec()].concat()
}

/// An entry that inserts one byte before nothing: copies all of a short base and adds `byte`.
fn grow(base_id: ObjectId, base: &[u8], byte: u8) -> Vec<u8> {
    let delta = delta(base.len(), base.len() + 1, &[0x90, u8::try_from(base.len()).unwrap(), 1, byte]);
    entry(7, delta.len(), base_id.as_bytes(), &delta)
}

fn blob(data: &[u8]) -> ObjectId {
    ObjectId(object_id(ObjectKind::Blob, data).unwrap())
}

fn read(bytes: &[u8]) -> Result<Vec<NewObject>, PackError> {
    read_small_pack(bytes, PackLimits::SMALL, &mut |_| None)
}

fn write(objects: &[(ObjectKind, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PackWriter::new(u32::try_from(objects.len()).unwrap(), &mut out);
    for (kind, data) in objects {
        writer.object(*kind, data, &mut out).unwrap();
    }
    writer.finish(&mut out).unwrap();
    out
}

#[test]
fn deltas_resolve_upon_earlier_later_and_outside_objects() {
    let base = b"hello world";
    let whole = entry(3, base.len(), &[], base);
    let one = grow(blob(base), base, b'!');
    let two = grow(blob(b"hello world!"), b"hello world!", b'?');
    // Forward references: each delta comes before its base.
    let objects = read(&pack(3, &[two.clone(), one.clone(), whole.clone()])).unwrap();
    let mut contents: Vec<_> = objects.iter().map(|object| object.content.as_ref()).collect();
    contents.sort_unstable();
    assert_eq!(contents, [&b"hello world"[..], b"hello world!", b"hello world!?"]);
    // Thin: the base is outside.
    let thin = pack(2, &[two, one.clone()]);
    assert!(matches!(read(&thin), Err(PackError::MissingBase(_))));
    let mut find = |id| (id == blob(base)).then(|| (ObjectKind::Blob, Bytes::from_static(base)));
    assert_eq!(read_small_pack(&thin, PackLimits::SMALL, &mut find).unwrap().len(), 2);
    // Offset delta: the distance back is the length of the entry before.
    let distance = u8::try_from(whole.len()).unwrap();
    let delta = delta(11, 12, &[0x90, 11, 1, b'!']);
    let offset = entry(6, delta.len(), &[distance], &delta);
    let objects = read(&pack(2, &[whole, offset])).unwrap();
    assert_eq!(objects[1].content.as_ref(), b"hello world!");
}

#[test]
fn a_huge_inflated_size_is_refused_before_it_is_inflated() {
    let zeros = vec![0; 17 * 1024 * 1024];
    let honest = pack(1, &[entry(3, zeros.len(), &[], &zeros)]);
    assert!(honest.len() < 20_000);
    let limits = PackLimits { object_bytes: 16 * 1024 * 1024, ..PackLimits::SMALL };
    assert!(matches!(scan(&honest, limits), Err(PackError::Limit(PackLimit::ObjectBytes))));
    let lying = pack(1, &[entry(3, 10, &[], &zeros)]);
    assert!(matches!(read(&lying), Err(PackError::Entry { .. })));
    let short = pack(1, &[entry(3, 10, &[], b"abc")]);
    assert!(matches!(read(&short), Err(PackError::Entry { .. })));
    let half = vec![0; 12 * 1024 * 1024];
    let many: Vec<_> = (0..3).map(|_| entry(3, half.len(), &[], &half)).collect();
    assert!(matches!(read(&pack(3, &many)), Err(PackError::Limit(PackLimit::TotalBytes))));
}

#[test]
fn too_many_objects_are_refused_at_the_header() {
    let mut scanner = PackScanner::new(PackLimits::SMALL);
    let result = scanner.feed(b"PACK\0\0\0\x02\xff\xff\xff\xff");
    assert!(matches!(result, Err(PackError::Limit(PackLimit::Objects))));
}

#[test]
fn a_table_that_would_outgrow_its_pack_is_refused_while_it_is_received() {
    let mut scanner = PackScanner::new(PackLimits::FETCH);
    let empty = entry(3, 0, &[], b"");
    scanner.feed(&pack(1_000_000, &[])[..12]).unwrap();
    let fed = (0..1_000_000).take_while(|_| scanner.feed(&empty).is_ok()).count();
    assert_eq!(fed, 16 * 1024 + 1);
    let signed: Vec<u8> =
        (0..600_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let signed = entry(3, 600, &[], &signed);
    let mut scanner = PackScanner::new(PackLimits::FETCH);
    scanner.feed(&pack(100_000, &[])[..12]).unwrap();
    for _ in 0..20_000 {
        scanner.feed(&signed).unwrap();
    }
}

#[test]
fn deep_chains_are_refused_whether_by_offset_or_by_id() {
    let mut limits = PackLimits::SMALL;
    limits.delta_depth = 20;
    let chain = |deltas: usize| {
        let mut data = b"x".to_vec();
        let mut entries = vec![entry(3, 1, &[], &data)];
        for _ in 0..deltas {
            entries.push(grow(blob(&data), &data, b'x'));
            data.push(b'x');
        }
        pack(u32::try_from(deltas + 1).unwrap(), &entries)
    };
    assert_eq!(read_small_pack(&chain(20), limits, &mut |_| None).unwrap().len(), 21);
    let deep = read_small_pack(&chain(21), limits, &mut |_| None);
    assert!(matches!(deep, Err(PackError::Limit(PackLimit::DeltaDepth))));

    let mut entries = vec![entry(3, 1, &[], b"x")];
    for size in 1..=21 {
        let distance = u8::try_from(entries[entries.len() - 1].len()).unwrap();
        let delta = delta(size, size + 1, &[0x90, u8::try_from(size).unwrap(), 1, b'x']);
        entries.push(entry(6, delta.len(), &[distance], &delta));
    }
    let deep = scan(&pack(22, &entries), limits);
    assert!(matches!(deep, Err(PackError::Limit(PackLimit::DeltaDepth))));
    limits.delta_depth = 21;
    limits.chain_bytes = 100;
    let heavy = read_small_pack(&pack(22, &entries), limits, &mut |_| None);
    assert!(matches!(heavy, Err(PackError::Limit(PackLimit::ChainBytes))));
}

#[test]
fn a_delta_that_lies_about_its_result_is_refused() {
    let whole = entry(3, 11, &[], b"hello world");
    for (result, instructions) in [(50, vec![0x90, 11]), (5, vec![0x90, 11])] {
        let delta = delta(11, result, &instructions);
        let bytes = pack(2, &[whole.clone(), entry(7, delta.len(), blob(b"hello world").as_bytes(), &delta)]);
        assert!(matches!(read(&bytes), Err(PackError::Entry { .. })), "{result}");
    }
    let huge = delta(11, usize::MAX >> 9, &[0x90, 11]);
    let bytes = pack(2, &[whole, entry(7, huge.len(), blob(b"hello world").as_bytes(), &huge)]);
    assert!(matches!(read(&bytes), Err(PackError::Limit(PackLimit::ObjectBytes))));
}

#[test]
fn deltas_upon_each_other_or_themselves_have_no_base() {
    let one = entry(7, 4, &[1; 20], &delta(1, 1, &[1, b'x']));
    let two = entry(7, 4, &[2; 20], &delta(1, 1, &[1, b'x']));
    assert!(matches!(read(&pack(2, &[one, two])), Err(PackError::MissingBase(_))));
    let myself = entry(6, 4, &[0], &delta(1, 1, &[1, b'x']));
    assert!(matches!(read(&pack(1, &[myself])), Err(PackError::Entry { .. })));
}

#[test]
fn truncated_extended_and_altered_packs_are_refused() {
    let whole = write(&[(ObjectKind::Blob, b"some text".to_vec()), (ObjectKind::Tree, Vec::new())]);
    assert_eq!(read(&whole).unwrap().len(), 2);
    for cut in 0..whole.len() {
        assert!(matches!(read(&whole[..cut]), Err(PackError::Truncated)), "{cut}");
    }
    assert!(matches!(read(&[&whole[..], b"x"].concat()), Err(PackError::TrailingBytes)));
    for position in 0..whole.len() {
        let mut altered = whole.clone();
        altered[position] ^= 0x10;
        assert!(read(&altered).is_err(), "{position}");
    }
    let mut wrong_sum = whole.clone();
    *wrong_sum.last_mut().unwrap() ^= 1;
    assert!(matches!(read(&wrong_sum), Err(PackError::Checksum)));
    assert!(matches!(read(b"GARBAGE"), Err(PackError::NotAPack)));
}

#[test]
fn the_same_object_twice_and_tags_are_refused() {
    let twice = write(&[(ObjectKind::Blob, b"a".to_vec()), (ObjectKind::Blob, b"a".to_vec())]);
    assert!(matches!(read(&twice), Err(PackError::Duplicate(_))));
    assert!(matches!(read(&pack(1, &[entry(4, 1, &[], b"t")])), Err(PackError::Entry { .. })));
}

#[test]
fn a_writer_insists_on_the_announced_number_of_objects() {
    let mut out = Vec::new();
    let mut writer = PackWriter::new(1, &mut out);
    writer.object(ObjectKind::Blob, b"a", &mut out).unwrap();
    assert!(writer.object(ObjectKind::Blob, b"b", &mut out).is_err());
    assert!(PackWriter::new(1, &mut out).finish(&mut out).is_err());
}

#[test]
fn an_index_counts_and_sorts_its_ids_and_keeps_long_offsets() {
    let at = |offset| super::write::WrittenEntry { offset, crc32: 7 };
    let ids = [ObjectId([9; 20]), ObjectId([1; 20]), ObjectId([0xff; 20])];
    let bytes = index::index_bytes(vec![(ids[0], at(12)), (ids[1], at(1 << 33)), (ids[2], at(99))], [5; 20]);
    let fan = |first: usize| u32::from_be_bytes(bytes[8 + first * 4..][..4].try_into().unwrap());
    assert_eq!((fan(0), fan(1), fan(8), fan(9), fan(254), fan(255)), (0, 1, 1, 2, 2, 3));
    assert_eq!(bytes[1032..1052], [1; 20]);
    assert_eq!(bytes.len(), 8 + 1024 + 3 * 28 + 8 + 40);
    assert_eq!(bytes[1032 + 60 + 12..][..4], [0x80, 0, 0, 0]);
}

#[test]
fn what_the_scan_tells_matches_what_the_writer_told() {
    let objects = [(ObjectKind::Commit, b"c".repeat(70_000)), (ObjectKind::Tree, Vec::new())];
    let mut out = Vec::new();
    let mut writer = PackWriter::new(2, &mut out);
    let told: Vec<_> =
        objects.iter().map(|(kind, data)| writer.object(*kind, data, &mut out).unwrap()).collect();
    writer.finish(&mut out).unwrap();
    let table = scan(&out, PackLimits::FETCH).unwrap();
    for (entry, told) in table.entries.iter().zip(&told) {
        assert_eq!((entry.offset, entry.crc32), (told.offset, told.crc32));
    }
    let ids = resolve(&table, out.as_slice(), PackLimits::FETCH, &mut |_| None, None).unwrap();
    assert_eq!(Some(ids[0]), table.entries[0].id);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn packs_survive_however_they_are_split(
        data in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..2000), 0..6),
        step in 1_usize..3000,
    ) {
        let objects: Vec<_> = data.into_iter().map(|data| (ObjectKind::Blob, data)).collect();
        let bytes = write(&objects);
        let mut scanner = PackScanner::new(PackLimits::SMALL);
        for piece in bytes.chunks(step) {
            scanner.feed(piece).unwrap();
        }
        prop_assert_eq!(scanner.finish().unwrap(), scan(&bytes, PackLimits::SMALL).unwrap());
        let read: Vec<_> = read(&bytes).unwrap().into_iter().map(|object| object.content.to_vec()).collect();
        prop_assert_eq!(read, objects.into_iter().map(|(_, data)| data).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0_u32..9) {
        let _ = read(&bytes);
        let _ = read(&pack(count, &[bytes]));
    }
}
