use super::super::issue::{IssuedAt, SerialNumber, issue_account, issue_ca, issue_device};
use super::super::testing::{CHAIN_B, RECORDED, Sequence, account_key_b, data, device_key_b, devices, key};
use super::*;

fn chain_b() -> Chain {
    Chain::parse(CHAIN_B).unwrap()
}

fn at(serial: u64) -> IssuedAt {
    IssuedAt { now: RECORDED, serial: SerialNumber::from_random(serial) }
}

#[test]
fn the_specified_ids_are_computed() {
    let chain = chain_b();
    let certificates: Vec<_> = chain.certificates().collect();
    let ids = [
        (
            "6353c00c2d711c98010945118043f6ce2cbb3e33",
            "d91f1be6b4a8672a459ea245b7530f71fde1a59ab96246ea50fb99a576970f9b",
        ),
        (
            "80eeb21d7e704d9da4e4a51d01a686f5587a9127",
            "74c258cee189ae4fb622664058ad2ab84d8e540da39d4f554f99d1557d1d2b97",
        ),
        (
            "d500bf7e86961e1fb99dc8e986936625960a7d66",
            "aa9787fab998eba9232b24cb3c56fa4d2f7aca5d3fc06644c92168eb03d6c3f0",
        ),
    ];
    assert_eq!(certificates.len(), ids.len());
    for (certificate, (short, long)) in certificates.iter().zip(ids) {
        assert_eq!(certificate.account_id().to_hex(), short);
        assert_eq!(certificate.device_id().to_hex(), long);
        assert_eq!(certificate.subject_uid(), Some(short));
    }
    assert_eq!(certificates[0].issuer_uid(), Some(ids[1].0));
    assert!(!certificates[0].is_ca() && certificates[1].is_ca() && certificates[2].is_ca());
    assert!(!certificates[1].is_self_issued() && certificates[2].is_self_issued());
    assert_eq!(certificates[0].not_before(), UnixMillis::from_seconds(1_795_339_135));
    assert_eq!(certificates[0].not_after(), UnixMillis::from_seconds(1_795_339_135 + 3650 * 86400));
}

#[test]
fn negative_serial_numbers_are_kept_as_they_are() {
    assert_eq!(hex::encode(chain_b().leaf().serial()), "b40f24f63007276c");
}

#[test]
fn a_device_without_account_is_believed_by_its_authority_on_p384() {
    let chain = Chain::parse(data!("spec/identity/temporary-chain.pem")).unwrap();
    let verified = chain.verify(RECORDED).unwrap();
    assert_eq!(verified.chain().issuers().len(), 2);
    assert!(verified.account().public_key().is_rsa());
    let authority = chain.issuers()[1].clone();
    assert!(!authority.public_key().is_rsa() && authority.is_issued_by(&authority));
    assert_eq!(Chain::parse(chain.to_pem().as_bytes()), Ok(chain.clone()));
    // Such a key does nothing else.
    assert!(authority.public_key().verify(b"", b"").is_err());
    assert!(authority.public_key().encrypt_block(b"").is_err());
    assert!(authority.public_key().modulus_length().is_err());

    // With one bit of the signature of the account's certificate turned.
    let account = chain.issuers()[0].clone();
    let mut der = account.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let forged = Certificate::from_der(&der).unwrap();
    let forged = Chain::new(chain.leaf().clone(), vec![forged, authority]).unwrap();
    assert_eq!(forged.verify(RECORDED), Err(ChainError::BadSignature { position: 1 }));
}

#[test]
fn no_account_has_a_key_on_a_curve() {
    let chain = Chain::parse(data!("spec/identity/device-of-ec-authority.pem")).unwrap();
    let error = CertificateError::Key(KeyError::Malformed);
    assert_eq!(chain.verify(RECORDED), Err(ChainError::Certificate { position: 1, error }));
}

#[test]
fn every_recorded_device_is_believed() {
    for device in devices() {
        let chain = Chain::parse(device.chain).unwrap();
        let verified = chain.verify(RECORDED).unwrap();
        assert_eq!(verified.account_id().to_hex(), device.account_id, "{}", device.name);
        assert_eq!(verified.device_id().to_hex(), device.device_id, "{}", device.name);
        assert_eq!(chain.account_id(), Some(verified.account_id()));
        verified.check_own(key(device.key).public(), verified.account_id()).unwrap();
        assert_eq!(chain.to_pem().as_bytes(), device.chain, "{}", device.name);
    }
}

#[test]
fn text_before_the_blocks_is_skipped_and_lone_der_is_read() {
    let text = [b"\0binary\xff, then text\n", CHAIN_B].concat();
    assert_eq!(Chain::parse(&text).unwrap(), chain_b());
    let leaf = chain_b().leaf().clone();
    assert_eq!(Chain::parse(leaf.der()).unwrap().leaf(), &leaf);
    assert_eq!(Certificate::from_pem(&text).unwrap(), leaf);
    assert_eq!(Certificate::from_pem(leaf.der()), Err(CertificateError::Pem));
}

#[test]
fn a_list_out_of_order_is_refused() {
    let Chain { leaf, issuers } = chain_b();
    let (account, ca) = (&issuers[0], &issuers[1]);
    for (order, position) in [([account, &leaf, ca], 0), ([&leaf, ca, account], 0), ([ca, account, &leaf], 0)]
    {
        let pem: String = order.iter().map(|certificate| certificate.to_pem()).collect();
        assert_eq!(Chain::parse(pem.as_bytes()), Err(ChainError::NotInIssuingOrder { position }));
    }
    let skipped = leaf.to_pem() + &ca.to_pem();
    assert_eq!(Chain::parse(skipped.as_bytes()), Err(ChainError::NotInIssuingOrder { position: 0 }));
}

#[test]
fn a_device_without_issuer_belongs_to_no_account() {
    let alone = Chain::parse(chain_b().leaf().der()).unwrap();
    assert_eq!(alone.account_id(), None);
    assert_eq!(alone.verify(RECORDED), Err(ChainError::NoIssuer));
    let self_signed = issue_ca(&device_key_b(), at(1)).unwrap();
    assert_eq!(Chain::new(self_signed, Vec::new()).unwrap().verify(RECORDED), Err(ChainError::NoIssuer));
}

#[test]
fn a_chain_may_end_at_the_account() {
    let Chain { leaf, mut issuers } = chain_b();
    issuers.truncate(1);
    let verified = Chain::new(leaf, issuers).unwrap().verify(RECORDED).unwrap();
    assert_eq!(verified.account_id(), account_key_b().public().account_id());
}

#[test]
fn dates_are_checked_to_the_second() {
    let first = chain_b().leaf().not_before();
    let last = chain_b().issuers()[1].not_after();
    assert!(chain_b().verify(first).is_ok());
    assert!(chain_b().verify(UnixMillis(last.0 + 999)).is_ok());
    let early = chain_b().verify(UnixMillis(first.0 - 1));
    assert_eq!(early, Err(ChainError::NotYetValid { position: 0, not_before: first }));
    let late = chain_b().verify(UnixMillis(last.0 + 1000));
    assert_eq!(late, Err(ChainError::Expired { position: 2, not_after: last }));
}

#[test]
fn a_signature_of_another_key_is_refused() {
    let own = chain_b();
    let impostor_key = device_key_b();
    let ca = issue_ca(&impostor_key, at(5)).unwrap();
    // The name is the account's, the key is not.
    let renamed = own.issuers()[0].subject_name();
    let forged = replace(ca.der(), ca.subject_name(), renamed);
    let forged = Certificate::from_der(&forged).unwrap();
    let chain = Chain::new(own.leaf().clone(), vec![forged]).unwrap();
    assert_eq!(chain.verify(RECORDED), Err(ChainError::BadSignature { position: 0 }));
    assert!(!own.leaf().is_issued_by(&chain.issuers()[0]));
    assert!(own.leaf().is_issued_by(&own.issuers()[0]));
}

/// `bytes` with every `old` replaced by a `new` that is not shorter than it can hold; lengths in
/// the DER are set anew for the outermost two elements.
fn replace(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    use super::super::der::{SEQUENCE, element};
    let mut bytes = Vec::new();
    let mut rest = &der[8..];
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    // The signature part: an algorithm of 15 bytes and a bit string of 517 for RSA-4096.
    let (content_rest, tail) = rest.split_at(rest.len() - 15 - 517);
    bytes.extend_from_slice(content_rest);
    element(SEQUENCE, &[&element(SEQUENCE, &[&bytes]), tail])
}

#[test]
fn an_altered_certificate_is_refused() {
    let own = chain_b();
    // The serial number is at a known place: version 5 bytes after the two headers of four.
    let mut der = own.leaf().der().to_vec();
    der[20] ^= 1;
    let altered = Certificate::from_der(&der).unwrap();
    assert_ne!(altered.serial(), own.leaf().serial());
    let chain = Chain::new(altered, own.issuers().to_vec()).unwrap();
    assert_eq!(chain.verify(RECORDED), Err(ChainError::BadSignature { position: 0 }));
}

#[test]
fn a_weak_signature_algorithm_is_refused() {
    let own = chain_b();
    // sha1WithRSAEncryption differs from sha384WithRSAEncryption in the last arc only.
    let sha384 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
    for (arc, both) in [(5, true), (4, true), (13, false)] {
        let mut der = own.leaf().der().to_vec();
        let places: Vec<_> = (0..der.len() - 9).filter(|at| der[*at..*at + 9] == sha384).collect();
        assert_eq!(places.len(), 2);
        der[places[1] + 8] = arc;
        if both {
            der[places[0] + 8] = arc;
        }
        let chain = Chain::new(Certificate::from_der(&der).unwrap(), own.issuers().to_vec()).unwrap();
        assert_eq!(chain.verify(RECORDED), Err(ChainError::WeakSignature { position: 0 }));
    }
}

#[test]
fn a_device_cannot_issue_devices() {
    let own = chain_b();
    let device = own.leaf();
    let other = key(data!("vectors/newest/accounts/alice/ring_device.key"));
    let below = issue_device(other.public(), device, &device_key_b(), at(9)).unwrap();
    let chain = Chain::new(below, own.certificates().cloned().collect()).unwrap();
    assert_eq!(chain.verify(RECORDED), Err(ChainError::NotAnAuthority { position: 1 }));
}

#[test]
fn size_and_number_are_limited() {
    let own = chain_b();
    assert_eq!(Chain::parse(&vec![b'x'; MAX_CHAIN_BYTES + 1]), Err(ChainError::TooLong(MAX_CHAIN_BYTES + 1)));
    let ca = own.issuers()[1].to_pem();
    let four = own.to_pem() + &ca;
    assert_eq!(Chain::parse(four.as_bytes()).unwrap().issuers().len(), 3);
    for more in [1, 3] {
        let text = four.clone() + &ca.repeat(more);
        assert_eq!(Chain::parse(text.as_bytes()), Err(ChainError::TooManyCertificates));
    }
}

#[test]
fn damaged_blocks_are_reported_with_their_position() {
    let text = String::from_utf8(CHAIN_B.to_vec()).unwrap();
    let pem = |position| Err(ChainError::Certificate { position, error: CertificateError::Pem });
    assert_eq!(Chain::parse(&text.as_bytes()[..text.len() - 10]), pem(2));
    assert_eq!(Chain::parse(text.replacen("MII", "M*I", 1).as_bytes()), pem(0));
    let malformed = ChainError::Certificate { position: 0, error: CertificateError::Malformed };
    assert_eq!(Chain::parse(b"no certificate at all"), Err(malformed.clone()));
    assert_eq!(Chain::parse(b""), Err(malformed));
    let trailing = [chain_b().leaf().der(), b"\0"].concat();
    assert_eq!(Certificate::from_der(&trailing), Err(CertificateError::Malformed));
    let long = vec![0x30; super::super::MAX_CERTIFICATE + 1];
    assert_eq!(Certificate::from_der(&long), Err(CertificateError::TooLong(long.len())));
}

#[test]
fn our_own_device_must_have_our_key_and_account() {
    let verified = chain_b().verify(RECORDED).unwrap();
    let account = verified.account_id();
    assert_eq!(verified.check_own(device_key_b().public(), account), Ok(()));
    assert_eq!(verified.check_own(account_key_b().public(), account), Err(ChainError::OtherKey));
    let other = AccountId([7; 20]);
    let wrong = Err(ChainError::OtherAccount { expected: other, found: account });
    assert_eq!(verified.check_own(device_key_b().public(), other), wrong);
}

#[test]
fn a_new_account_gets_certificates_that_form_a_chain() {
    let (ca_key, account_key, device_key) =
        (key(data!("vectors/newest/accounts/alice/ring_device.key")), account_key_b(), device_key_b());
    let ca = issue_ca(&ca_key, at(u64::MAX)).unwrap();
    let account = issue_account(account_key.public(), &ca, &ca_key, at(2)).unwrap();
    let device = issue_device(device_key.public(), &account, &account_key, at(3)).unwrap();
    let chain = Chain::new(device, vec![account, ca]).unwrap();
    let chain = Chain::parse(chain.to_pem().as_bytes()).unwrap();
    let verified = chain.verify(RECORDED).unwrap();
    assert_eq!(verified.account_id(), account_key.public().account_id());
    assert!(chain.issuers()[1].is_issued_by(&chain.issuers()[1]));
    assert_eq!(hex::encode(chain.issuers()[1].serial()), "7fffffffffffffff");
}

#[test]
fn a_chain_with_a_bit_changed_in_every_certificate_is_not_believed() {
    let mut sequence = Sequence(77);
    let chain = chain_b();
    for _ in 0..2000 {
        let pem: String = chain
            .certificates()
            .map(|certificate| {
                let mut der = certificate.der().to_vec();
                let at = sequence.below(der.len());
                der[at] ^= 1 << sequence.below(8);
                pem::encode(&der)
            })
            .collect();
        let believed = Chain::parse(pem.as_bytes()).is_ok_and(|chain| chain.verify(RECORDED).is_ok());
        assert!(!believed);
    }
}

#[test]
fn chains_of_der_one_behind_the_other_are_read_and_written() {
    for device in devices() {
        let chain = Chain::parse(device.chain).unwrap();
        assert_eq!(Chain::parse_der(&chain.to_der()).unwrap(), chain, "{}", device.name);
    }
    let der = chain_b().to_der();
    assert!(matches!(Chain::parse_der(&[]), Err(ChainError::Certificate { position: 0, .. })));
    let cut = Chain::parse_der(&der[..der.len() - 1]);
    assert!(matches!(cut, Err(ChainError::Certificate { position: 2, .. })));
    let twice = [&der[..], &der].concat();
    assert_eq!(Chain::parse_der(&twice), Err(ChainError::TooManyCertificates));
    assert_eq!(
        Chain::parse_der(&vec![0; MAX_CHAIN_BYTES + 1]),
        Err(ChainError::TooLong(MAX_CHAIN_BYTES + 1))
    );
}
