use super::super::archive::Archive;
use super::super::archive_file::ArchiveSecret;
use super::super::chain::Chain;
use super::super::testing::{CHAIN_B, account_key_b, data, device_key_b};
use super::*;

fn serial_of(certificate: &Certificate) -> SerialNumber {
    let bytes = certificate.serial().iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    SerialNumber::from_random(bytes)
}

fn at(certificate: &Certificate) -> IssuedAt {
    IssuedAt { now: certificate.not_before(), serial: serial_of(certificate) }
}

#[test]
fn an_issued_account_is_byte_for_byte_what_the_newest_release_wrote() {
    let file = data!("vectors/newest/accounts/alice-nopassword.gz");
    let (archive, _) = Archive::open(file, ArchiveSecret::None).unwrap();
    let device = Chain::parse(data!("vectors/newest/accounts/alice/ring_device.crt")).unwrap();
    let [account, ca] = device.issuers() else { panic!("three certificates") };
    let ca_key = archive.ca_key.as_ref().unwrap();

    assert_eq!(&issue_ca(ca_key, at(ca)).unwrap(), ca);
    assert_eq!(&issue_account(archive.account_key.public(), ca, ca_key, at(account)).unwrap(), account);
    let made = issue_device(device.leaf().public_key(), account, &archive.account_key, at(device.leaf()));
    assert_eq!(&made.unwrap(), device.leaf());
}

#[test]
fn the_issuer_must_have_the_key() {
    let chain = Chain::parse(CHAIN_B).unwrap();
    let (account, wrong) = (&chain.issuers()[0], device_key_b());
    let at = IssuedAt { now: UnixMillis(0), serial: SerialNumber::from_random(1) };
    assert_eq!(issue_device(wrong.public(), account, &wrong, at), Err(IssueError::OtherKey));
    assert_eq!(issue_account(wrong.public(), account, &wrong, at), Err(IssueError::OtherKey));
}

#[test]
fn a_time_that_no_certificate_can_say_is_refused() {
    for now in [UnixMillis(i64::MIN), UnixMillis(i64::MAX), UnixMillis::from_seconds(253_402_300_799)] {
        let at = IssuedAt { now, serial: SerialNumber::from_random(0) };
        assert_eq!(issue_ca(&account_key_b(), at), Err(IssueError::Time(now)));
    }
}

#[test]
fn serial_numbers_are_positive() {
    let now = UnixMillis::from_seconds(1_795_339_135);
    for (bits, content) in [(0, "01"), (1 << 63, "01"), (0x80, "0080"), (u64::MAX, "7fffffffffffffff")] {
        let made = issue_ca(&account_key_b(), IssuedAt { now, serial: SerialNumber::from_random(bits) });
        assert_eq!(hex::encode(made.unwrap().serial()), content);
    }
}
