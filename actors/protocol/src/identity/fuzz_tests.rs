//! Fuzz bodies of this room, over recorded certificates, archives, lists and announcements.

use super::testing::{CHAIN_B, RECORDED, account_key_b, device_key_b};
use super::{Announcement, Archive, ArchiveSecret, Certificate, Chain, RevocationList, SignedReceipt, pem};
use crate::dht::golden;
use crate::dht::value::Value;
use crate::testing::{data, text, with_mutations};

fn fuzz_pem(data: &[u8]) {
    let found: usize = pem::blocks(data).flatten().map(|block| block.len()).sum();
    assert!(found <= data.len());
    let _ = Certificate::from_pem(data);
}

fn fuzz_certificate(data: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(data) {
        assert_eq!(certificate.der(), data);
        let _ = format!("{certificate:?}");
    }
}

fn fuzz_chain(data: &[u8]) {
    for chain in [Chain::parse(data), Chain::parse_der(data)].into_iter().flatten() {
        let _ = (chain.verify(RECORDED), format!("{chain:?}"));
        assert_eq!(Chain::parse_der(&chain.to_der()), Ok(chain));
    }
}

fn fuzz_archive(data: &[u8]) {
    let _ = Archive::open(data, ArchiveSecret::None);
    let _ = Archive::open(data, ArchiveSecret::Key(&[1; 32]));
}

fn fuzz_archive_json(data: &[u8]) {
    let _ = Archive::from_json(data).map(|archive| archive.to_json().len());
}

fn fuzz_revocation_list(data: &[u8]) {
    if let Ok(list) = RevocationList::from_der(data) {
        assert_eq!(list.der(), data);
        let _ = (list.number(), list.names(&[1]));
    }
}

fn fuzz_announcement(data: &[u8]) {
    let Ok(value) = Value::decode(data) else { return };
    let Some(signed) = value.as_signed() else { return };
    let _ = Announcement::from_value(&value, signed.owner().account_id());
}

/// A receipt comes from the archive or from another device; here its signature is always right.
fn fuzz_receipt(data: &[u8]) {
    let (account, device) = (account_key_b(), device_key_b());
    let text = String::from_utf8_lossy(data).into_owned();
    let signature = account.sign(text.as_bytes()).unwrap();
    let _ = SignedReceipt { text, signature }.check(account.public(), device.public());
}

#[test]
fn damaged_chains_and_certificates_are_read_or_refused() {
    let chain = Chain::parse(CHAIN_B).unwrap();
    with_mutations(CHAIN_B, 2000, fuzz_pem);
    with_mutations(CHAIN_B, 3000, fuzz_chain);
    with_mutations(&chain.to_der(), 1000, fuzz_chain);
    for certificate in chain.certificates() {
        with_mutations(certificate.der(), 2000, fuzz_certificate);
        with_mutations(certificate.der(), 2000, fuzz_chain);
    }
}

#[test]
fn damaged_archives_are_opened_or_refused() {
    let file = data!("vectors/jami-13.7.0/accounts/alice/archive-after-use-nopassword.gz");
    with_mutations(file, 300, fuzz_archive);
    let (archive, _) = Archive::open(file, ArchiveSecret::None).unwrap();
    with_mutations(archive.to_json().as_bytes(), 300, fuzz_archive_json);
}

#[test]
fn damaged_revocation_lists_are_read_or_refused() {
    let golden = data!("spec/identity/crl.der");
    with_mutations(golden, 3000, fuzz_revocation_list);
}

#[test]
fn damaged_announcements_are_read_or_refused() {
    for (_, packed) in golden::packed_values() {
        with_mutations(&packed, 10, fuzz_announcement);
    }
}

#[test]
fn damaged_receipts_are_read_or_refused() {
    with_mutations(text!("spec/identity/receipt.json").as_bytes(), 200, fuzz_receipt);
}
