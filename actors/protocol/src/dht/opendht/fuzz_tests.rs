//! Fuzz bodies of this room, over the packets of the specification and of real daemons.

use super::discovery::Discovery;
use super::golden_tests::{READER, recorded, source, specified};
use super::packet::{Datagram, Packet};
use super::parts::Reassembly;
use crate::testing::with_mutations;
use crate::time::Moment;

/// What was read is read again from its own writing.
fn assert_survives(packet: &Packet) {
    let mut reassembly = Reassembly::default();
    let mut whole = None;
    for datagram in packet.encode() {
        match Datagram::decode(&datagram, &source(), &READER).unwrap() {
            Datagram::Whole(packet) => whole = Some(packet),
            Datagram::Header(header) => {
                whole = reassembly.open(Moment::default(), source(), header).unwrap();
            }
            Datagram::Parts { transaction, parts } => {
                whole = reassembly.add(Moment::default(), source(), transaction, parts).unwrap();
            }
        }
    }
    assert_eq!(whole.as_ref(), Some(packet));
    assert!(reassembly.is_empty());
}

fn fuzz_packet(data: &[u8]) {
    match Datagram::decode(data, &source(), &READER) {
        Ok(Datagram::Whole(packet)) => assert_survives(&packet),
        Ok(Datagram::Header(header)) => assert!(!header.sizes.is_empty()),
        Ok(Datagram::Parts { .. }) | Err(_) => {}
    }
}

/// Datagrams as they come, one after the other, from one address.
fn fuzz_reassembly(datagrams: &[Vec<u8>]) {
    let mut reassembly = Reassembly::default();
    let now = Moment::default();
    for datagram in datagrams {
        match Datagram::decode(datagram, &source(), &READER) {
            Ok(Datagram::Header(header)) => drop(reassembly.open(now, source(), header)),
            Ok(Datagram::Parts { transaction, parts }) => {
                drop(reassembly.add(now, source(), transaction, parts));
            }
            Ok(Datagram::Whole(_)) | Err(_) => {}
        }
    }
    if let Some(deadline) = reassembly.next_deadline() {
        reassembly.expire(deadline.plus(super::parts::LIFETIME));
    }
    assert!(reassembly.is_empty());
}

fn fuzz_discovery(data: &[u8]) {
    if let Some(packet) = Discovery::decode(data) {
        assert_eq!(Discovery::decode(&packet.encode()), Some(packet));
    }
}

#[test]
fn damaged_packets_are_read_or_refused() {
    for (_, packet) in specified() {
        with_mutations(&packet, 200, fuzz_packet);
    }
    for (_, packet) in recorded() {
        with_mutations(&packet, 10, fuzz_packet);
    }
}

#[test]
fn damaged_parts_leave_nothing_behind() {
    let mut datagrams = Vec::new();
    for (_, packet) in recorded() {
        with_mutations(&packet, 3, |data| datagrams.push(data.to_vec()));
    }
    fuzz_reassembly(&datagrams);
    datagrams.reverse();
    fuzz_reassembly(&datagrams);
}

#[test]
fn damaged_discovery_packets_are_read_or_refused() {
    let answer = "82a364687493c4140ff6d486b2f3877683f7a17c8ba34cb2ebb5c33bcdb23b00a46a616d6992c41430e62901\
                  5fcb780a18681348f8b8c4853f01c13fa6557365722041";
    with_mutations(&hex::decode(answer).unwrap(), 1000, fuzz_discovery);
}
