use proptest::prelude::*;

use super::super::issue::{IssuedAt, SerialNumber, issue_device};
use super::super::testing::{CHAIN_B, RECORDED, account_key_b, data, device_key_b, devices};
use super::super::{MAX_ARCHIVE_FILE, MAX_ARCHIVE_JSON};
use super::*;

const AFTER_USE: &[u8] = data!("vectors/jami-13.7.0/accounts/alice/archive-after-use-nopassword.gz");

fn open(file: &[u8]) -> Archive {
    Archive::open(file, ArchiveSecret::None).unwrap().0
}

fn account_of(device: &str) -> String {
    devices().into_iter().find(|known| known.name == device).unwrap().account_id
}

/// An archive of account B as a new account would have it.
fn archive_b() -> Archive {
    let chain = Chain::parse(CHAIN_B).unwrap();
    let [account, ca] = chain.issuers() else { panic!("three certificates") };
    let mut archive =
        Archive::new(account_key_b(), Some(Chain::new(account.clone(), vec![ca.clone()]).unwrap()));
    archive.ethereum_key = EthereumKey::from_bytes(&[7; 32]);
    archive.settings.insert("Account.displayName".into(), "Åsa \"B\"".into());
    archive
}

fn key() -> ArchiveKey {
    ArchiveKey::from_bytes([3; 32], [4; 16])
}

#[test]
fn unprotected_archives_of_all_releases_open() {
    let archives = [
        ("jami-13.7.0/accounts/alice", data!("vectors/jami-13.7.0/accounts/alice/archive-nopassword.gz")),
        ("jami-13.7.0/accounts/alice", AFTER_USE),
        ("jami-13.7.0/accounts/carol", data!("vectors/jami-13.7.0/accounts/carol/archive-nopassword.gz")),
        ("jami-13.11.0/accounts/alice", data!("vectors/jami-13.11.0/accounts/alice/archive-nopassword.gz")),
        (
            "jami-13.11.0/accounts/alice",
            data!("vectors/jami-13.11.0/accounts/alice/archive-after-use-nopassword.gz"),
        ),
        ("jami-13.11.0/accounts/carol", data!("vectors/jami-13.11.0/accounts/carol/archive-nopassword.gz")),
        ("newest/accounts/alice", data!("vectors/newest/accounts/alice-nopassword.gz")),
    ];
    for (device, file) in archives {
        check_recorded(&open(file), device);
    }
}

#[test]
fn protected_archives_of_all_releases_open_with_their_password() {
    let archives = [
        (
            "jami-13.7.0/accounts/bob",
            data!("vectors/jami-13.7.0/accounts/bob/archive-password.gz"),
            "correct horse battery",
        ),
        (
            "jami-13.11.0/accounts/bob",
            data!("vectors/jami-13.11.0/accounts/bob/archive-password.gz"),
            "correct horse battery",
        ),
        ("newest/accounts/bob", data!("vectors/newest/accounts/bob-password.gz"), "lab-password"),
    ];
    for (device, file, password) in archives {
        let (archive, key) = Archive::open(file, ArchiveSecret::Password(password)).unwrap();
        check_recorded(&archive, device);
        let key = key.unwrap();
        assert_eq!(key.salt(), file[..16]);
        let (again, _) = Archive::open(file, ArchiveSecret::Key(key.as_bytes())).unwrap();
        assert_eq!(again.to_json(), archive.to_json());
    }
}

fn check_recorded(archive: &Archive, device: &str) {
    let expected = account_of(device);
    assert_eq!(archive.account_id().to_hex(), expected);
    let chain = archive.account_chain.as_ref().unwrap();
    assert_eq!(chain.leaf().public_key(), archive.account_key.public());
    assert_eq!(chain.issuers()[0].public_key(), archive.ca_key.as_ref().unwrap().public());
    assert!(archive.ethereum_key.is_some());
    assert_eq!(archive.settings["Account.username"], expected);
    let written = Archive::from_json(archive.to_json().as_bytes()).unwrap();
    assert_eq!(written.to_json(), archive.to_json());
}

#[test]
fn contacts_conversations_and_revoked_devices_are_read_and_written_again() {
    let archive = open(AFTER_USE);
    let bob: AccountId = account_of("jami-13.7.0/accounts/bob").parse().unwrap();
    assert_eq!(archive.contacts.len(), 2);
    assert_eq!(archive.contacts[&bob]["confirmed"], true);
    assert!(archive.conversations.len() >= 2);
    let list = archive.revocation_list.as_ref().unwrap();
    assert!(list.is_signed_by(archive.account_chain.as_ref().unwrap().leaf()));
    let second = Chain::parse(data!("vectors/jami-13.7.0/accounts/alice2/ring_device.crt")).unwrap();
    let verified = second.verify(RECORDED).unwrap();
    assert_eq!(
        verified.check_not_revoked([list]),
        Err(super::super::ChainError::Revoked { position: 0 }),
        "the second device was revoked in the recording"
    );

    let again = open(&archive.seal_unprotected().unwrap());
    assert_eq!(again.to_json(), archive.to_json());
    assert_eq!(again.contacts, archive.contacts);
}

#[test]
fn the_private_key_of_another_device_is_not_carried_on() {
    let archive = open(AFTER_USE);
    assert!(!archive.to_json().contains("TLS.privateKeyFile"));
    assert!(!archive.to_json().contains("TLS.certificateFile"));
    assert!(archive.settings.contains_key("TLS.password"));
}

#[test]
fn a_new_device_issued_from_an_archive_belongs_to_the_account() {
    let archive = open(data!("vectors/newest/accounts/alice-nopassword.gz"));
    let account = archive.account_chain.clone().unwrap();
    let at = IssuedAt { now: RECORDED, serial: SerialNumber::from_random(42) };
    let device = issue_device(device_key_b().public(), account.leaf(), &archive.account_key, at).unwrap();
    let issuers = account.certificates().cloned().collect();
    let verified = Chain::new(device, issuers).unwrap().verify(RECORDED).unwrap();
    verified.check_own(device_key_b().public(), archive.account_id()).unwrap();
}

#[test]
fn what_is_exported_opens_by_the_bare_recipe() {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use std::io::Read as _;

    let (salt, iv) = ([0x11; 16], [0x22; 12]);
    let key = ArchiveKey::from_password("pässword", salt).unwrap();
    let file = archive_b().seal(&key, iv).unwrap();

    assert_eq!((&file[..16], &file[16..28]), (salt.as_slice(), iv.as_slice()));
    let parameters = argon2::Params::new(65_536, 16, 1, Some(32)).unwrap();
    let mut stretched = [0; 32];
    argon2::Argon2::new(argon2::Algorithm::Argon2i, argon2::Version::V0x13, parameters)
        .hash_password_into("pässword".as_bytes(), &salt, &mut stretched)
        .unwrap();
    let stretched = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &stretched);
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, stretched.as_ref()).unwrap());
    let mut plain = file[28..].to_vec();
    let plain = cipher.open_in_place(Nonce::assume_unique_for_key(iv), Aad::empty(), &mut plain).unwrap();
    assert_eq!(plain[0], 0x78, "a zlib stream");
    let mut json = String::new();
    flate2::read::ZlibDecoder::new(&*plain).read_to_string(&mut json).unwrap();

    let json: Value = serde_json::from_str(&json).unwrap();
    let pem = STANDARD.decode(json["ringAccountKey"].as_str().unwrap()).unwrap();
    assert_eq!(pem, data!("spec/identity/account.key"));
    let certificates = STANDARD.decode(json["ringAccountCert"].as_str().unwrap()).unwrap();
    assert!(CHAIN_B.ends_with(&certificates));
    assert_eq!(json["Account.displayName"], "Åsa \"B\"");
    assert_eq!(json["ethKey"], STANDARD.encode([7; 32]));
    for absent in ["ringCaKey", "ringAccountCRL", "ringAccountContacts", "conversations"] {
        assert_eq!(json.get(absent), None);
    }
}

#[test]
fn an_unprotected_export_is_gzip_of_sorted_compact_json() {
    use std::io::Read as _;
    let file = archive_b().seal_unprotected().unwrap();
    assert!(file.starts_with(&[0x1f, 0x8b, 0x08]));
    let mut json = String::new();
    flate2::read::GzDecoder::new(file.as_slice()).read_to_string(&mut json).unwrap();
    assert!(json.starts_with(r#"{"Account.displayName":"Åsa \"B\"","ethKey":"BwcH"#), "{}", &json[..80]);
    assert!(json.contains(r#"","ringAccountCert":""#) && json.contains(r#"","ringAccountKey":""#));
}

#[test]
fn a_changed_password_keeps_the_salt() {
    let file = archive_b().seal(&key(), [5; 12]).unwrap();
    let (archive, old) = Archive::open(&file, ArchiveSecret::Key(&[3; 32])).unwrap();
    let new = ArchiveKey::from_password("new", old.unwrap().salt()).unwrap();
    let file = archive.seal(&new, [6; 12]).unwrap();
    assert_eq!(file[..16], key().salt());
    assert!(Archive::open(&file, ArchiveSecret::Key(new.as_bytes())).is_ok());
    let wrong = Archive::open(&file, ArchiveSecret::Key(&[3; 32]));
    assert_eq!(wrong.unwrap_err(), ArchiveError::File(ArchiveFileError::DoesNotOpen));
}

#[test]
fn a_wrong_password_is_told_from_a_file_that_is_cut_off() {
    let file = data!("vectors/newest/accounts/bob-password.gz");
    let wrong = Archive::open(file, ArchiveSecret::Password("lab-passwort"));
    assert_eq!(wrong.unwrap_err(), ArchiveError::File(ArchiveFileError::DoesNotOpen));
    for length in [0, 1, 15, 16, 28, 44] {
        let cut = Archive::open(&file[..length], ArchiveSecret::Key(&[0; 32]));
        assert_eq!(cut.unwrap_err(), ArchiveError::File(ArchiveFileError::Truncated(length)));
    }
    assert_eq!(Archive::open(file, ArchiveSecret::None).unwrap_err(), ArchiveError::NotAnArchive);
}

#[test]
fn a_modified_or_shortened_protected_archive_does_not_open() {
    let file = archive_b().seal(&key(), [5; 12]).unwrap();
    let refused = |bytes: &[u8]| Archive::open(bytes, ArchiveSecret::Key(&[3; 32])).unwrap_err();
    for at in [16, 27, 28, 1000, file.len() - 17, file.len() - 1] {
        let mut modified = file.clone();
        modified[at] ^= 1;
        assert_eq!(refused(&modified), ArchiveError::File(ArchiveFileError::DoesNotOpen), "{at}");
    }
    let shorter = &file[..file.len() - 1];
    assert_eq!(refused(shorter), ArchiveError::File(ArchiveFileError::DoesNotOpen));
}

#[test]
fn a_layer_of_gzip_around_either_form_is_taken_off() {
    let wrap = |bytes: &[u8]| archive_file::pack(bytes).unwrap();
    let id = archive_b().account_id();
    let plain = archive_b().seal_unprotected().unwrap();
    assert_eq!(open(&wrap(&plain)).account_id(), id);
    let three = Archive::open(&wrap(&wrap(&plain)), ArchiveSecret::None);
    assert_eq!(three.unwrap_err(), ArchiveError::NotAnArchive, "only two layers are taken off");
    let protected = wrap(&archive_b().seal(&key(), [5; 12]).unwrap());
    assert_eq!(Archive::open(&protected, ArchiveSecret::Key(&[3; 32])).unwrap().0.account_id(), id);
    let salt = *b"\x1f\x8b\x08 and 12 more!";
    let file = archive_b().seal(&ArchiveKey::from_bytes([3; 32], salt), [5; 12]).unwrap();
    assert!(Archive::open(&file, ArchiveSecret::Key(&[3; 32])).is_ok(), "a salt may look like gzip");
}

#[test]
fn only_the_account_key_is_required() {
    let json = |text: &str| Archive::from_json(text.as_bytes());
    let key = STANDARD.encode(data!("spec/identity/account.key"));
    let archive = json(&format!(r#"{{"ringAccountKey":"{key}"}}"#)).unwrap();
    assert!(archive.account_chain.is_none() && archive.ca_key.is_none() && archive.ethereum_key.is_none());

    assert_eq!(json("{}").unwrap_err(), ArchiveError::NoAccountKey);
    for bad in [r#"{"ringAccountKey":7}"#, r#"{"ringAccountKey":"!"}"#, r#"{"ringAccountKey":"AAAA"}"#] {
        assert_eq!(json(bad).unwrap_err(), ArchiveError::AccountKey(KeyError::Malformed));
    }
    for bad in ["", "[]", "null", "{\"a\":", "no JSON", "\u{0}"] {
        assert_eq!(json(bad).unwrap_err(), ArchiveError::NotAnArchive, "{bad:?}");
    }
    assert_eq!(json(&"[".repeat(1_000_000)).unwrap_err(), ArchiveError::NotAnArchive);
}

#[test]
fn entries_of_the_wrong_kind_are_left_out_and_unknown_ones_kept() {
    let key = STANDARD.encode(data!("spec/identity/account.key"));
    let contact = "80eeb21d7e704d9da4e4a51d01a686f5587a9127";
    let text = format!(
        r#"{{"ringAccountKey":"{key}","ringAccountCert":"AAAA","ringCaKey":[],"ethKey":"AAAA","ringAccountCRL":1,
        "ringAccountContacts":{{"{contact}":{{"added":5,"later":[1]}},"nobody":{{}},"{other}":3}},
        "conversations":7,"conversationsRequests":{{"x":{{}}}},
        "Account.new":"yes","Account.number":5,"future":{{"a":[null]}}}}"#,
        other = "1".repeat(40),
    );
    let archive = Archive::from_json(text.as_bytes()).unwrap();
    assert!(archive.account_chain.is_none() && archive.ca_key.is_none() && archive.ethereum_key.is_none());
    assert!(archive.revocation_list.is_none());
    assert_eq!(archive.contacts.keys().map(AccountId::to_hex).collect::<Vec<_>>(), [contact]);
    assert!(archive.conversations.is_empty() && archive.conversation_requests.is_empty());
    assert_eq!(archive.settings.len(), 1);

    let written: Value = serde_json::from_str(&archive.to_json()).unwrap();
    assert_eq!(written["Account.new"], "yes");
    assert_eq!(written["Account.number"], 5);
    assert_eq!(written["future"]["a"][0], Value::Null);
    assert_eq!(written["ringAccountContacts"][contact]["later"][0], 1);
}

#[test]
fn sizes_are_limited() {
    let long = vec![0; MAX_ARCHIVE_FILE + 1];
    assert_eq!(
        Archive::open(&long, ArchiveSecret::None).unwrap_err(),
        ArchiveError::File(ArchiveFileError::TooLong(long.len()))
    );
    let bomb = archive_file::pack(&vec![b' '; MAX_ARCHIVE_JSON + 1]).unwrap();
    assert!(bomb.len() < 64 * 1024);
    let refused = Archive::open(&bomb, ArchiveSecret::None).unwrap_err();
    assert_eq!(refused, ArchiveError::File(ArchiveFileError::TooLongUnpacked));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let shown = format!("{:?} {:?} {:?}", archive_b(), key(), ArchiveSecret::Password("secret"));
    assert!(!shown.contains("secret") && !shown.contains("BEGIN") && !shown.contains("3, 3"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_setting_survives(settings: BTreeMap<String, String>) {
        let mut archive = archive_b();
        archive.settings = settings;
        let known = [ACCOUNT_KEY, ACCOUNT_CHAIN, ETHEREUM_KEY];
        prop_assume!(!archive.settings.keys().any(|name| known.contains(&name.as_str())));
        let again = Archive::from_json(archive.to_json().as_bytes()).unwrap();
        prop_assert_eq!(again.settings, archive.settings);
    }
}
