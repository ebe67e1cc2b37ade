//! Fuzz bodies of this room: names of channels and what commits offer.

use super::{FileId, OfferedFile, TransferName, safe_name};
use crate::ids::CommitId;
use crate::swarm::message::{CommitMessage, Content};
use crate::testing::with_mutations;

const OFFER: &[u8] = br#"{"displayName":"golden-file.bin","sha3sum":"211422b1a25ce80f19a0d29df3f4b3adffea6d2711d52e9dce019c98f81ca160597eb068014f7c9aaef984de313eff097e90069d89d1fca701515f4cc401ae97","tid":"6333261840635","totalSize":"128000","type":"application/data-transfer+json"}"#;

fn fuzz_transfer_name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(name) = TransferName::parse(&text) {
        assert_eq!(TransferName::parse(&name.to_string()).as_ref(), Ok(&name));
    }
    if let Ok(id) = text.parse::<FileId>() {
        assert_eq!(id.as_str(), text);
        assert!(!text.contains(['/', '\\', '\0']) && !text.starts_with('.'));
    }
}

fn fuzz_offer(data: &[u8]) {
    let Ok(message) = CommitMessage::parse(data) else { return };
    let Content::File(offer) = message.content() else { return };
    if let Ok(file) = OfferedFile::read(CommitId([1; 20]), &offer) {
        assert_eq!(file.hash.to_string(), offer.sha3sum);
        assert_eq!(safe_name(&file.name), file.name);
    }
}

fn fuzz_safe_name(data: &[u8]) {
    let safe = safe_name(&String::from_utf8_lossy(data));
    assert_eq!(safe_name(&safe), safe);
    assert!(!safe.is_empty() && !safe.contains(['/', '\\', '\0']) && !safe.starts_with('.'));
}

#[test]
fn damaged_names_of_transfers_are_read_or_refused() {
    let conversation = "0237426a15a050a06868d6636d6edc6e6f185951";
    let file = "3ff9d879f8baffad4b0e470214827054931eb92b_6333261840635.bin";
    let profile = "profile.vcf?sha3=f40f388654dd7239f45118e4bb37c9fbf8a49f32ff5e27514680ae50d9a28fb04da70502e05b91b7fb65decc971730fca283741534fc533b52f3c2ff145f722e&modified=18446744069067231398";
    for name in [
        file.to_owned(),
        profile.to_owned(),
        format!("{conversation}/x/{profile}"),
        format!("{conversation}/profile/b08c67bcb7b83cdffbf33f0f4a68c82095c9790c.vcf"),
        format!("{conversation}/x/{file}?start=100&end=0"),
    ] {
        with_mutations(name.as_bytes(), 500, fuzz_transfer_name);
    }
}

#[test]
fn damaged_offers_are_read_or_refused() {
    with_mutations(OFFER, 1000, fuzz_offer);
}

#[test]
fn damaged_display_names_are_made_safe() {
    for name in ["../../.ssh/authorized_keys", "C:\\CON.txt", "gpj.\u{202e}exe", "a\0b/..", "写真 (1).JPEG"]
    {
        with_mutations(name.as_bytes(), 500, fuzz_safe_name);
    }
}
