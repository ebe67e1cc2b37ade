//! What makes a lease good or bad.

use super::lease::*;
use crate::identity::{Chain, VerifiedChain};
use crate::ids::{AccountId, ConversationId, DeviceId};
use crate::keys::PrivateKey;
use crate::testing::data;
use crate::time::UnixMillis;

/// When the recorded certificates are valid.
pub(super) const RECORDED: UnixMillis = UnixMillis(1_795_350_000_000);

pub(super) const CONVERSATION: ConversationId = ConversationId([0xcd; 20]);

/// A recorded device of the newest daemon: of alice, bob or carla.
pub(super) struct Device {
    pub(super) chain: VerifiedChain,
    pub(super) key: PrivateKey,
}

impl Device {
    pub(super) fn id(&self) -> DeviceId {
        self.chain.device_id()
    }

    pub(super) fn lease(&self, issued: UnixMillis) -> Lease {
        Statement::own(CONVERSATION, &self.chain, issued).sign(&self.key).unwrap()
    }
}

pub(super) fn devices() -> [Device; 3] {
    macro_rules! device {
        ($name:literal) => {{
            let chain = data!("vectors/newest/accounts/", $name, "/ring_device.crt");
            let key = data!("vectors/newest/accounts/", $name, "/ring_device.key");
            Device {
                chain: Chain::parse(chain).unwrap().verify(RECORDED).unwrap(),
                key: PrivateKey::from_pem(std::str::from_utf8(key).unwrap()).unwrap(),
            }
        }};
    }
    [device!("alice"), device!("bob"), device!("carla")]
}

/// Any lease.
pub(super) fn lease() -> Lease {
    let statement = Statement {
        conversation: CONVERSATION,
        issuer: AccountId([2; 20]),
        device: DeviceId([1; 32]),
        issued_at: 1_795_350_000,
        expires_at: 1_795_350_000 + MAX_DURATION,
    };
    Lease { statement, signature: vec![9; 512].into() }
}

fn check(lease: &Lease) -> Result<(), LeaseError> {
    lease.check(CONVERSATION, DeviceId([1; 32]), RECORDED, |account| account == AccountId([2; 20]))
}

fn changed(change: impl FnOnce(&mut Statement)) -> Result<(), LeaseError> {
    let mut lease = lease();
    change(&mut lease.statement);
    check(&lease)
}

#[test]
fn the_signed_bytes_are_the_canonical_array() {
    let bytes = lease().statement.signed_bytes();
    let mut expected = b"\x97\xaaDRT-MOBILE\x01\xd9\x28".to_vec();
    expected.extend("cd".repeat(20).as_bytes());
    expected.extend(b"\xc4\x14");
    expected.extend([2; 20]);
    expected.extend(b"\xd9\x40");
    expected.extend("01".repeat(32).as_bytes());
    expected.extend(b"\xce\x6b\x02\xdd\xf0\xce\x6b\x2a\x6a\xf0");
    assert_eq!(bytes, expected);
}

#[test]
fn the_signed_bytes_do_not_depend_on_the_signature() {
    let other = Lease { signature: vec![1].into(), ..lease() };
    assert_eq!(lease().statement.signed_bytes(), other.statement.signed_bytes());
}

#[test]
fn a_lease_of_a_member_is_accepted_within_its_time() {
    let (device, skew) = (DeviceId([1; 32]), 300);
    assert_eq!(check(&lease()), Ok(()));
    assert_eq!(
        changed(|it| (it.issued_at, it.expires_at) = (it.issued_at + skew, it.expires_at + skew)),
        Ok(())
    );
    assert_eq!(changed(|it| it.issued_at += skew + 1), Err(LeaseError::NotYetIssued(device)));
    assert_eq!(changed(|it| it.expires_at = RECORDED.seconds()), Err(LeaseError::Expired(device)));
    assert_eq!(changed(|it| it.expires_at += 1), Err(LeaseError::Duration(device)));
    assert_eq!(changed(|it| it.expires_at = i64::MAX), Err(LeaseError::Duration(device)));
    let extreme = changed(|it| (it.issued_at, it.expires_at) = (i64::MIN, i64::MAX));
    assert_eq!(extreme, Err(LeaseError::Duration(device)));
    let backwards = changed(|it| (it.issued_at, it.expires_at) = (it.issued_at + 9, it.issued_at + 8));
    assert_eq!(backwards, Err(LeaseError::Duration(device)));
}

#[test]
fn a_lease_for_something_or_somebody_else_is_refused() {
    let device = DeviceId([1; 32]);
    let other = changed(|it| it.conversation = ConversationId([1; 20]));
    assert_eq!(other, Err(LeaseError::OtherConversation(device)));
    let stranger = AccountId([3; 20]);
    assert_eq!(changed(|it| it.issuer = stranger), Err(LeaseError::NotMember(device, stranger)));
    let other = DeviceId([5; 32]);
    assert_eq!(changed(|it| it.device = other), Err(LeaseError::OtherDevice(other)));
    for size in [0, MAX_SIGNATURE + 1] {
        let lease = Lease { signature: vec![0; size].into(), ..lease() };
        assert_eq!(check(&lease), Err(LeaseError::SignatureSize(device, size)));
    }
}

#[test]
fn a_signature_counts_for_the_device_and_the_statement_it_was_made_for() {
    let [alice, bob, _] = devices();
    let lease = alice.lease(RECORDED);
    assert_eq!(lease.verify(&alice.chain), Ok(()));
    assert_eq!(lease.statement.expires_at - lease.statement.issued_at, MAX_DURATION);
    assert_eq!(lease.verify(&bob.chain), Err(LeaseError::OtherCertificate(alice.id())));

    let mut longer = lease.clone();
    longer.statement.expires_at -= 1;
    assert_eq!(longer.verify(&alice.chain), Err(LeaseError::BadSignature(alice.id())));
    let by_bob = lease.statement.sign(&bob.key).unwrap();
    assert_eq!(by_bob.verify(&alice.chain), Err(LeaseError::BadSignature(alice.id())));
}

#[test]
fn a_lease_ends_with_the_certificate_at_the_latest() {
    let [alice, ..] = devices();
    let end = alice.chain.device().not_after().seconds();
    let last_day = UnixMillis::from_seconds(end - 86_400);
    let lease = alice.lease(last_day);
    assert_eq!(lease.statement.expires_at, end);
    assert_eq!(lease.verify(&alice.chain), Ok(()));
    let mut statement = lease.statement;
    statement.expires_at += 1;
    let beyond = statement.sign(&alice.key).unwrap();
    assert_eq!(beyond.verify(&alice.chain), Err(LeaseError::OutlivesCertificate(alice.id())));
}
