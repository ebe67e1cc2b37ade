use super::super::archive::Archive;
use super::super::archive_file::ArchiveSecret;
use super::super::chain::{Chain, ChainError};
use super::super::testing::{CHAIN_B, RECORDED, account_key_b, data, device_key_b};
use super::*;

const RECORDED_LIST: &[u8] = data!("spec/identity/crl.der");

fn chain_b() -> Chain {
    Chain::parse(CHAIN_B).unwrap()
}

/// A list of account B that names its device.
fn list_b() -> RevocationList {
    let chain = chain_b();
    RevocationList::revoke(&chain.issuers()[0], &account_key_b(), None, chain.leaf(), RECORDED, 8).unwrap()
}

#[test]
fn the_specified_list_is_read_and_its_signature_holds() {
    let list = RevocationList::from_der(RECORDED_LIST).unwrap();
    assert!(list.names(&hex::decode("74b614af5fc24a15").unwrap()));
    assert!(!list.names(&hex::decode("74b614af5fc24a16").unwrap()));
    assert_eq!(list.len(), 1);
    assert_eq!(list.number(), (-7_700_053_388_336_357_668_i64).to_be_bytes());
    let key = PublicKey::from_der(data!("spec/identity/crl-account-key.der")).unwrap();
    assert_eq!(key.account_id().to_hex(), "30e629015fcb780a18681348f8b8c4853f01c13f");
    assert!(list.is_signed_with(&key));
    assert!(!list.is_signed_with(account_key_b().public()));
    assert_eq!(list.der(), RECORDED_LIST);
}

#[test]
fn a_list_with_negative_serials_is_read() {
    // The serial of the second device of this recording is negative.
    let second = Chain::parse(data!("vectors/jami-13.7.0/accounts/alice2/ring_device.crt")).unwrap();
    let file = data!("vectors/jami-13.7.0/accounts/alice/archive-after-use-nopassword.gz");
    let archive = Archive::open(file, ArchiveSecret::None).unwrap().0;
    let list = archive.revocation_list.unwrap();
    assert_eq!(second.leaf().serial()[0] & 0x80, 0x80);
    assert!(list.names(second.leaf().serial()));
    assert!(list.is_signed_by(&second.issuers()[0]));
}

#[test]
fn a_made_list_revokes_the_device_and_nobody_else() {
    let list = list_b();
    assert!(list.is_signed_by(&chain_b().issuers()[0]));
    assert_eq!(RevocationList::from_der(list.der()).unwrap(), list);
    let device = chain_b().verify(RECORDED).unwrap();
    assert_eq!(device.check_not_revoked([&list]), Err(ChainError::Revoked { position: 0 }));
    let stranger = Chain::parse(data!("vectors/newest/accounts/alice/ring_device.crt")).unwrap();
    let stranger = stranger.verify(RECORDED).unwrap();
    assert_eq!(
        stranger.check_not_revoked([&list, &RevocationList::from_der(RECORDED_LIST).unwrap()]),
        Ok(())
    );
}

#[test]
fn a_list_of_another_signer_does_not_count() {
    let chain = chain_b();
    let device = chain.verify(RECORDED).unwrap();
    let mut der = list_b().der().to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    let forged = RevocationList::from_der(&der).unwrap();
    assert!(forged.names(chain.leaf().serial()));
    assert_eq!(device.check_not_revoked([&forged]), Ok(()));
    let refused =
        RevocationList::revoke(&chain.issuers()[0], &device_key_b(), None, chain.leaf(), RECORDED, 8);
    assert_eq!(refused, Err(RevocationError::OtherKey));
}

#[test]
fn the_next_list_keeps_the_entries_and_counts_on() {
    let chain = chain_b();
    let account = &chain.issuers()[0];
    let first = list_b();
    assert_eq!(first.number(), [4]);
    let other = Chain::parse(data!("vectors/newest/accounts/bob/ring_device.crt")).unwrap();
    let next = |previous: &RevocationList, revoked: &Certificate| {
        RevocationList::revoke(account, &account_key_b(), Some(previous), revoked, RECORDED, 0).unwrap()
    };
    let second = next(&first, other.leaf());
    assert_eq!((second.len(), second.number()), (2, [5].as_slice()));
    assert!(second.names(chain.leaf().serial()) && second.names(other.leaf().serial()));
    let third = next(&second, other.leaf());
    assert_eq!((third.len(), third.number()), (2, [6].as_slice()), "nobody is listed twice");
    // A negative number of an older release goes on as a positive one.
    let old = RevocationList::from_der(RECORDED_LIST).unwrap();
    assert_eq!(hex::encode(next(&old, chain.leaf()).number()), "1523ea3d6cab1edd");
}

/// The list that the newest release put on the DHT, in the value it put.
fn newest_value() -> Value {
    let lines = std::str::from_utf8(data!("vectors/newest/dht/alice.jsonl")).unwrap().lines();
    let values = lines.filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        Value::decode(&hex::decode(line["packed"].as_str()?).unwrap()).ok()
    });
    values.into_iter().find(|value| RevocationList::from_value(value).is_ok()).unwrap()
}

#[test]
fn a_made_list_is_byte_for_byte_what_the_newest_release_put() {
    let archive = data!("vectors/newest/accounts/alice-nopassword.gz");
    let archive = Archive::open(archive, ArchiveSecret::None).unwrap().0;
    let account = archive.account_chain.unwrap().leaf().clone();
    let revoked = Chain::parse(data!("vectors/newest/accounts/alice2/ring_device.crt")).unwrap();
    let at = UnixMillis::from_seconds(1_795_343_902);
    let number = 0x179e_e374_9484_a134_u64 << 1;
    let made =
        RevocationList::revoke(&account, &archive.account_key, None, revoked.leaf(), at, number).unwrap();

    let value = newest_value();
    assert_eq!(RevocationList::from_value(&value), Ok(made.clone()));
    assert_eq!(made.to_value(value.id), value);
}

#[test]
fn a_value_with_something_else_holds_no_list() {
    let value = |data: Vec<u8>| Value::plain(ValueId(1), Content::new(0, data));
    let others = [value(Vec::new()), value(RECORDED_LIST.to_vec()), value(vec![0xc0])];
    for other in others.into_iter().chain([Value::encrypted(ValueId(1), vec![1; 600])]) {
        assert_eq!(RevocationList::from_value(&other), Err(RevocationError::Malformed));
    }
}

#[test]
fn sizes_are_limited_and_other_bytes_refused() {
    let long = vec![0x30; MAX_REVOCATION_LIST + 1];
    assert_eq!(RevocationList::from_der(&long), Err(RevocationError::TooLong(long.len())));
    let trailing = [RECORDED_LIST, &[0]].concat();
    assert_eq!(RevocationList::from_der(&trailing), Err(RevocationError::Malformed));
    assert_eq!(RevocationList::from_der(chain_b().leaf().der()), Err(RevocationError::Malformed));
    assert_eq!(RevocationList::from_der(&[]), Err(RevocationError::Malformed));
}
