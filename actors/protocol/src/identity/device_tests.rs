use super::super::archive_file::ArchiveSecret;
use super::super::testing::{CHAIN_B, RECORDED, account_key_b, data, device_key_b, key};
use super::*;

const LATER: UnixMillis = UnixMillis(RECORDED.0 + 20 * 365 * 86_400_000);

fn receipt_b() -> SignedReceipt {
    SignedReceipt {
        text: String::from_utf8(data!("spec/identity/receipt.json").to_vec()).unwrap(),
        signature: data!("spec/identity/receipt.signature").to_vec(),
    }
}

fn chain_b() -> Chain {
    Chain::parse(CHAIN_B).unwrap()
}

fn serials() -> [SerialNumber; 2] {
    [1, 2].map(SerialNumber::from_random)
}

fn at(now: UnixMillis) -> IssuedAt {
    IssuedAt { now, serial: SerialNumber::from_random(3) }
}

fn other_key() -> PrivateKey {
    key(data!("vectors/newest/accounts/alice/ring_device.key"))
}

fn new_account() -> Archive {
    let ethereum = EthereumKey::from_bytes(&[7; 32]).unwrap();
    Archive::create(AccountKeys { ca: other_key(), account: account_key_b(), ethereum }, RECORDED, serials())
        .unwrap()
}

#[test]
fn the_recorded_device_is_loaded() {
    let device = DeviceIdentity::load(&chain_b(), device_key_b(), receipt_b(), &[], RECORDED).unwrap();
    assert_eq!(device.account_id().to_hex(), "80eeb21d7e704d9da4e4a51d01a686f5587a9127");
    assert_eq!(device.device_id(), chain_b().leaf().device_id());
    let first = device.announcement(ValueId(1));
    assert_eq!((first.id, &first.body), (ValueId(1), &device.announcement(ValueId(2)).body));
}

#[test]
fn an_identity_that_does_not_fit_together_is_refused() {
    let load = |chain: &Chain, key, receipt| {
        DeviceIdentity::load(chain, key, receipt, &[], RECORDED).map(|_| ()).unwrap_err()
    };
    assert_eq!(load(&chain_b(), other_key(), receipt_b()), ChainError::OtherKey.into());
    let alone = Chain::new(chain_b().leaf().clone(), Vec::new()).unwrap();
    assert_eq!(load(&alone, device_key_b(), receipt_b()), ChainError::NoIssuer.into());
    let stranger = new_account().enrol(other_key(), at(RECORDED)).unwrap();
    let mut foreign = stranger.receipt().clone();
    assert!(matches!(
        load(&chain_b(), device_key_b(), foreign.clone()),
        IdentityError::Receipt(ReceiptError::OtherDevice(_))
    ));
    foreign.signature.clear();
    assert_eq!(load(&chain_b(), device_key_b(), foreign), ReceiptError::Signature.into());
    let expired = DeviceIdentity::load(&chain_b(), device_key_b(), receipt_b(), &[], LATER);
    assert!(matches!(expired, Err(IdentityError::Chain(ChainError::Expired { position: 0, .. }))));
}

#[test]
fn a_revoked_device_is_refused_at_load() {
    let account = chain_b().issuers()[0].clone();
    let list =
        RevocationList::revoke(&account, &account_key_b(), None, chain_b().leaf(), RECORDED, 1).unwrap();
    let refused = DeviceIdentity::load(&chain_b(), device_key_b(), receipt_b(), &[list], RECORDED);
    assert_eq!(refused.map(|_| ()), Err(ChainError::Revoked { position: 0 }.into()));
}

#[test]
fn a_new_account_makes_devices_that_load_again() {
    let archive = new_account();
    let archive = Archive::open(&archive.seal_unprotected().unwrap(), ArchiveSecret::None).unwrap().0;
    let made = archive.enrol(device_key_b(), at(RECORDED)).unwrap();
    assert_eq!(made.account_id(), account_key_b().public().account_id());

    let chain = Chain::parse(made.chain().chain().to_pem().as_bytes()).unwrap();
    let loaded = DeviceIdentity::load(&chain, device_key_b(), made.receipt().clone(), &[], RECORDED).unwrap();
    assert_eq!(loaded.announcement(ValueId(9)), made.announcement(ValueId(9)));
    assert_eq!(loaded.chain(), made.chain());
}

#[test]
fn archives_of_all_releases_make_new_devices() {
    for file in [
        data!("vectors/jami-13.7.0/accounts/alice/archive-after-use-nopassword.gz"),
        data!("vectors/jami-13.11.0/accounts/carol/archive-nopassword.gz"),
        data!("vectors/newest/accounts/alice-nopassword.gz"),
    ] {
        let archive = Archive::open(file, ArchiveSecret::None).unwrap().0;
        let device = archive.enrol(device_key_b(), at(RECORDED)).unwrap();
        assert_eq!(device.account_id(), archive.account_id());
    }
}

#[test]
fn an_expired_or_missing_chain_is_renewed_if_the_authority_is_there() {
    let mut archive = new_account();
    let id = archive.account_id();
    let failed = |archive: &Archive, now| archive.enrol(device_key_b(), at(now)).map(|_| ()).unwrap_err();
    assert_eq!(failed(&archive, LATER), EnrolError::NeedsRenewal);
    archive.renew(LATER, serials()).unwrap();
    assert_eq!(archive.enrol(device_key_b(), at(LATER)).unwrap().account_id(), id);

    archive.account_chain = None;
    assert_eq!(failed(&archive, LATER), EnrolError::NeedsRenewal);
    archive.ca_key = None;
    assert_eq!(archive.renew(LATER, serials()), Err(EnrolError::NoAuthorityKey));
    archive.account_chain = Some(chain_b());
    assert_eq!(failed(&archive, RECORDED), EnrolError::NeedsRenewal, "a chain of another key");
}
