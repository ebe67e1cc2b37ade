//! SRTP with the vectors of the standard, and under what may come over the network.

use super::srtp::testing::{derived, key_stream};
use super::*;
use crate::sdp::{Crypto, SrtpKey, Suite};

fn hex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn crypto(byte: u8) -> Crypto {
    Crypto::new(SrtpKey::new([byte; 30]))
}

fn packet(sequence: u16, source: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 104];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).wrapping_mul(960).to_be_bytes());
    packet.extend(source.to_be_bytes());
    packet.extend(payload);
    packet
}

fn both() -> (Sealer, Opener) {
    (Sealer::new(&crypto(1)).unwrap(), Opener::new(&crypto(1)).unwrap())
}

/// RFC 3711, B.2.
#[test]
fn the_key_stream_is_that_of_the_standard() {
    let stream = key_stream(hex("2b7e151628aed2a6abf7158809cf4f3c"), hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd"), 48);
    assert_eq!(
        hex::encode(stream),
        "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
    );
}

/// RFC 3711, B.3.
#[test]
fn keys_are_derived_as_the_standard_has_it() {
    let (block, salt) = derived(hex("e1f97a0d3e018be0d64fa32c06de4139"), hex("0ec675ad498afeebb6960b3aabe6"));
    assert_eq!(salt, hex("30cbbc08863d8c85d49db34a9ae1"));
    assert_eq!(block, key_stream(hex("c61e7a93744f39ee10734afe3ff7a087"), [0; 14], 16));
}

/// The packet with which implementations of SRTP try themselves.
#[test]
fn a_packet_is_sealed_as_others_seal_it() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
    let crypto = Crypto { suite: Suite::AesCm128HmacSha1_80, key: SrtpKey::new(key) };
    let plain = hex::decode("800f1234decafbadcafebabeabababababababababababababababab").unwrap();
    let sealed = Sealer::new(&crypto).unwrap().seal(&plain).unwrap();
    assert_eq!(
        hex::encode(&sealed),
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"
    );
    assert_eq!(Opener::new(&crypto).unwrap().open(&sealed).unwrap(), plain);
}

#[test]
fn two_hundred_thousand_packets_pass_over_the_ends_of_their_numbers() {
    let (mut sealer, mut opener) = both();
    let mut sequence = 65_000_u16;
    for _ in 0..200_000 {
        let plain = packet(sequence, 7, b"x");
        assert_eq!(opener.open(&sealer.seal(&plain).unwrap()).unwrap(), plain);
        sequence = sequence.wrapping_add(1);
    }
}

#[test]
fn what_is_lost_around_the_end_of_the_numbers_does_not_matter_not_even_at_the_beginning() {
    let (mut sealer, mut opener) = both();
    let sealed: Vec<_> = (0..100_u16)
        .map(|number| sealer.seal(&packet(65_530_u16.wrapping_add(number), 7, b"x")).unwrap())
        .collect();
    // The first that comes is one after the numbers have begun anew.
    assert!(opener.open(&sealed[10]).is_ok());
    assert!(opener.open(&sealed[2]).is_ok(), "one from before");
    assert!(opener.open(&sealed[99]).is_ok());
}

#[test]
fn a_source_that_changes_goes_on_under_the_same_count() {
    let (mut sealer, mut opener) = both();
    for sequence in [65_534, 65_535, 0, 1] {
        opener.open(&sealer.seal(&packet(sequence, 7, b"x")).unwrap()).unwrap();
    }
    let plain = packet(2, 8, b"y");
    assert_eq!(opener.open(&sealer.seal(&plain).unwrap()).unwrap(), plain);
}

#[test]
fn repeated_packets_are_dropped_and_reordered_ones_are_not() {
    let (mut sealer, mut opener) = both();
    let sealed: Vec<_> = (0..200).map(|number| sealer.seal(&packet(number, 7, b"x")).unwrap()).collect();
    for number in [3, 1, 2, 0, 150] {
        assert!(opener.open(&sealed[number]).is_ok());
        assert_eq!(opener.open(&sealed[number]), Err(SrtpError::Repeated));
    }
    assert_eq!(opener.open(&sealed[5]), Err(SrtpError::Repeated), "too late to tell");
    assert!(opener.open(&sealed[23]).is_ok(), "just in time");
    assert!(opener.open(&sealed[199]).is_ok());
    assert_eq!(opener.open(&sealed[150]), Err(SrtpError::Repeated));
}

#[test]
fn what_was_changed_cut_off_or_signed_by_others_is_dropped_and_changes_nothing() {
    let (mut sealer, mut opener) = both();
    let first = sealer.seal(&packet(9, 7, b"hello")).unwrap();
    opener.open(&first).unwrap();
    let sealed = sealer.seal(&packet(10, 7, b"hello")).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x40;
        assert!(opener.open(&changed).is_err(), "byte {at}: source, number, payload, tag");
        assert!(opener.open(&sealed[..at]).is_err());
    }
    let foreign = Sealer::new(&crypto(2)).unwrap().seal(&packet(40_000, 7, b"hello")).unwrap();
    assert_eq!(opener.open(&foreign), Err(SrtpError::Forged));
    assert!(opener.open(&sealed).is_ok());
}

#[test]
fn empty_and_huge_packets_are_no_trouble() {
    let (mut sealer, mut opener) = both();
    let empty = sealer.seal(&packet(1, 7, b"")).unwrap();
    assert_eq!(opener.open(&empty).unwrap(), packet(1, 7, b""));
    let huge = packet(2, 7, &[0; MAX_PACKET]);
    assert!(matches!(sealer.seal(&huge), Err(SrtpError::TooLong(_))));
    assert!(matches!(opener.open(&huge), Err(SrtpError::TooLong(_))));
    assert!(opener.open(b"").is_err());
    assert!(sealer.seal(b"").is_err());
}

#[test]
fn no_number_is_used_twice_for_sending() {
    let (mut sealer, _) = both();
    sealer.seal(&packet(5, 7, b"one")).unwrap();
    for number in [5, 4, 0] {
        assert_eq!(sealer.seal(&packet(number, 7, b"two")), Err(SrtpError::NumberUsed));
    }
    assert!(sealer.seal(&packet(6, 7, b"two")).is_ok());
}

#[test]
fn the_short_tag_is_of_four_bytes() {
    let crypto = Crypto { suite: Suite::AesCm128HmacSha1_32, key: SrtpKey::new([3; 30]) };
    let plain = packet(1, 7, b"hello");
    let sealed = Sealer::new(&crypto).unwrap().seal(&plain).unwrap();
    assert_eq!(sealed.len(), plain.len() + 4);
    assert_eq!(Opener::new(&crypto).unwrap().open(&sealed).unwrap(), plain);
}

proptest::proptest! {
    #[test]
    fn any_bytes_may_come(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let (mut sealer, mut opener) = both();
        let _ = sealer.seal(&bytes);
        proptest::prop_assert!(opener.open(&bytes).is_err());
    }
}
