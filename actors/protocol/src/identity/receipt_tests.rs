use super::super::ethereum::EthereumKey;
use super::super::testing::{account_key_b, data, device_key_b, key};
use super::*;
use crate::dht::content::Content;
use crate::dht::value::ValueId;
use crate::ids::{AccountId, sha256};
use crate::msgpack::Value as Object;

fn recorded() -> SignedReceipt {
    SignedReceipt {
        text: String::from_utf8(data!("spec/identity/receipt.json").to_vec()).unwrap(),
        signature: data!("spec/identity/receipt.signature").to_vec(),
    }
}

fn address() -> EthereumAddress {
    let secret = hex::decode("c930ad7069dc28f3e48ae8def00f626ca37f7404008410263ce49082877327c5").unwrap();
    EthereumKey::from_bytes(&secret.try_into().unwrap()).unwrap().address()
}

/// A receipt of account B whose text is `text`, with a right signature.
fn signed(text: &str) -> SignedReceipt {
    SignedReceipt { text: text.to_owned(), signature: account_key_b().sign(text.as_bytes()).unwrap() }
}

fn check(receipt: &SignedReceipt) -> Result<Receipt, ReceiptError> {
    receipt.check(account_key_b().public(), device_key_b().public())
}

/// The receipt of device B with this announcement in it.
fn with(announcement: &Value) -> SignedReceipt {
    let device = device_key_b().public().device_short_id();
    SignedReceipt::with_announcement(&account_key_b(), device, address(), announcement).unwrap()
}

#[test]
fn the_recorded_receipt_is_accepted() {
    let receipt = check(&recorded()).unwrap();
    assert_eq!(receipt.ethereum_address, "4ccd83aec0a66b72a21bc1473744cc43957eb11e");
    let packed = receipt.announcement.encode();
    assert_eq!(packed.len(), 1696);
    let digest = hex::encode(sha256(&packed));
    assert_eq!(digest, "19de70cf6a9d22f1474efa1feb06d26661268a1b258dc44a8cf956b1362cf7d4");
    let to_sign = receipt.announcement.as_signed().unwrap().to_sign();
    let digest = hex::encode(sha256(&to_sign));
    assert_eq!(
        (to_sign.len(), &*digest),
        (1162, "334887efb6dd72e1be4c02b239f8ede33f1732cf58c4bc9e714541c2bc36f7b4")
    );
}

#[test]
fn a_receipt_is_made_byte_for_byte_as_recorded() {
    // The older release gave no priority; everything else is the same.
    let announcement = Announcement::issue(&account_key_b(), device_key_b().public()).unwrap();
    assert_eq!(with(&announcement.with_priority(0)), recorded());
}

#[test]
fn a_made_receipt_is_accepted_and_announces_with_priority() {
    let made = SignedReceipt::issue(&account_key_b(), device_key_b().public(), address()).unwrap();
    let receipt = check(&made).unwrap();
    assert_eq!((receipt.announcement.id, receipt.announcement.priority), (ValueId::NONE, 1));
    assert!(made.text.len() <= 2425 + 4);
}

#[test]
fn an_altered_or_foreign_receipt_is_refused() {
    let mut altered = recorded();
    altered.text = altered.text.replacen("4ccd", "5ccd", 1);
    assert_eq!(check(&altered), Err(ReceiptError::Signature));
    let mut altered = recorded();
    altered.signature[0] ^= 1;
    assert_eq!(check(&altered), Err(ReceiptError::Signature));
    let stranger = key(data!("vectors/newest/accounts/alice/ring_device.key"));
    assert_eq!(recorded().check(stranger.public(), device_key_b().public()), Err(ReceiptError::Signature));
    let other = recorded().check(account_key_b().public(), stranger.public());
    assert_eq!(other, Err(ReceiptError::OtherDevice("6353c00c2d711c98010945118043f6ce2cbb3e33".into())));
    let zeros = "0".repeat(40);
    let other = recorded().text.replacen("80eeb21d7e704d9da4e4a51d01a686f5587a9127", &zeros, 1);
    assert_eq!(check(&signed(&other)), Err(ReceiptError::OtherAccount(zeros)));
}

#[test]
fn a_signed_text_that_is_no_receipt_is_refused() {
    for text in ["", "[]", "{}", r#"{"id":1,"dev":"","announce":""}"#] {
        assert_eq!(check(&signed(text)), Err(ReceiptError::Malformed), "{text}");
    }
    let start = recorded().text.split("\"announce\"").next().unwrap().to_owned();
    let announce = |text: &str| check(&signed(&format!("{start}\"announce\":\"{text}\"}}")));
    assert_eq!(announce("*"), Err(ReceiptError::Malformed));
    assert!(matches!(announce(""), Err(ReceiptError::Value(_))));
    assert!(matches!(announce("gA=="), Err(ReceiptError::Value(ValueError::Missing("id")))));
    let long = format!("{start}\"announce\":\"{}\"}}", "A".repeat(MAX_RECEIPT));
    assert_eq!(check(&signed(&long)), Err(ReceiptError::TooLong(long.len())));
}

#[test]
fn the_announcement_inside_must_be_of_this_account_and_device() {
    let (account, device) = (account_key_b(), device_key_b());
    let foreign = Announcement::issue(&device, device.public()).unwrap();
    let expected = AnnouncementError::OtherAccount {
        expected: account.public().account_id(),
        found: device.public().account_id(),
    };
    assert_eq!(check(&with(&foreign)), Err(expected.into()));

    let other = Announcement::issue(&account, account.public()).unwrap();
    let wrong_device = Err(ReceiptError::OtherAnnouncement(device.public().device_id()));
    assert_eq!(check(&with(&other)), wrong_device);

    let sign = |entries: Vec<(&str, Object)>, kind| {
        let content = Content::new(kind, Object::map(entries).encode()).sign(&account, 0).unwrap();
        Value::signed(ValueId::NONE, content)
    };
    let dev = || ("dev", Object::binary(device.public().device_short_id().as_bytes()));
    let pk = |key: &PrivateKey| ("pk", Object::binary(key.public().der()));
    assert_eq!(check(&with(&sign(vec![dev()], 0))), wrong_device, "the key is needed");
    let error = |entries, kind| check(&with(&sign(entries, kind))).unwrap_err();
    assert_eq!(error(vec![dev(), pk(&device)], 3), AnnouncementError::OtherValue.into());
    assert_eq!(error(vec![pk(&device)], 0), AnnouncementError::Malformed.into());
    assert_eq!(error(vec![dev(), ("pk", Object::Nil)], 0), AnnouncementError::Malformed.into());
    assert_eq!(error(vec![dev(), pk(&account)], 0), AnnouncementError::Mismatch.into());
    let unsigned = Value::plain(ValueId::NONE, Content::new(0, Vec::new()));
    assert_eq!(check(&with(&unsigned)), Err(AnnouncementError::OtherValue.into()));

    let mut packed = Announcement::issue(&account, device.public()).unwrap().encode();
    // The last bytes are the signature and then the priority.
    let last = packed.len() - 10;
    packed[last] ^= 1;
    let forged = Value::decode(&packed).unwrap();
    assert_eq!(check(&with(&forged)), Err(AnnouncementError::Signature.into()));
}

#[test]
fn announcements_that_real_daemons_put_are_read_for_their_account_only() {
    let mut read = 0;
    for (name, packed) in crate::dht::golden::packed_values() {
        let value = Value::decode(&packed).unwrap();
        let Some(signed) = value.as_signed().filter(|signed| signed.to().is_none()) else { continue };
        let account = signed.owner().account_id();
        let announcement = Announcement::from_value(&value, account).unwrap();
        assert!(announcement.key.is_some_and(|key| key.device_short_id() == announcement.device), "{name}");
        let expected = AccountId([1; 20]);
        let other = Announcement::from_value(&value, expected);
        assert_eq!(other, Err(AnnouncementError::OtherAccount { expected, found: account }));
        read += 1;
    }
    assert!(read >= 3);
}

#[test]
fn an_announcement_without_key_is_read_for_the_older_release() {
    let (account, device) = (account_key_b(), device_key_b().public().device_short_id());
    let data = Object::map([("dev", Object::binary(device.as_bytes()))]).encode();
    let value = Value::signed(ValueId(5), Content::new(0, data).sign(&account, 0).unwrap());
    let read = Announcement::from_value(&value, account.public().account_id());
    assert_eq!(read, Ok(Announcement { device, key: None }));
}
