//! Signed contents closed for one device (`spec: dht 3.3`).
//!
//! ```text
//!   short:  RSA(plain)                       one block, as long as the modulus
//!   long:   RSA(AES key) | iv (12) | AES-GCM(plain) | tag (16)
//! ```
//!
//! `plain` is the packed map `{ body, sig }` of a content signed *for that device*. Whoever opens it
//! checks the signature and that it is meant for him, so that nobody can pass on a message to a
//! third one as if its author had sent it there.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::dht::content::{self, BodyContent, SignedContent, VerifiedContent};
use crate::dht::value::{MAX_VALUE_SIZE, ValueError};
use crate::ids::DeviceShortId;
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::msgpack;

/// Length of the AES-GCM initialisation vector in bytes.
pub const IV_LENGTH: usize = 12;

/// Length of the AES-GCM tag in bytes.
pub const TAG_LENGTH: usize = 16;

/// Bytes of an RSA block that PKCS#1 v1.5 padding takes at least.
const RSA_PADDING: usize = 11;

/// Why a content could not be closed for a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// The content was signed for everybody or for another device: sign it for the recipient first.
    #[error("the content is not signed for device {recipient}, so that device would refuse it")]
    NotSignedFor {
        /// The device it was to be encrypted to.
        recipient: DeviceShortId,
    },
    /// The provider refused the key or the text.
    #[error("encryption to the device failed: {0}")]
    Key(#[from] KeyError),
    /// The result is larger than a value may be.
    #[error("the encrypted content of {size} bytes is larger than the DHT carries")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
}

/// Why an encrypted value was not accepted. All of them mean: drop it silently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than one RSA block or than block, vector and tag together.
    #[error("the cipher text is too short")]
    TooShort,
    /// It was not made for this key, or was altered.
    #[error("the cipher text does not open: {0}")]
    Key(#[from] KeyError),
    /// What it holds is not a content.
    #[error("the opened text is no content: {0}")]
    Content(#[from] ValueError),
    /// What it holds is not signed.
    #[error("the opened content is not signed")]
    Unsigned,
    /// It was signed for somebody else, or for everybody.
    #[error("the opened content is signed for another device")]
    NotForUs,
}

/// Closes `signed` for the device whose key is `recipient`.
///
/// `key` and `iv` must be fresh random bytes each time; they are unused when the content is short
/// enough to be encrypted by RSA alone.
///
/// # Errors
/// When the content is not signed for that device or is too large.
pub fn encrypt(
    signed: &VerifiedContent,
    recipient: &PublicKey,
    key: &[u8; 32],
    iv: [u8; IV_LENGTH],
) -> Result<Vec<u8>, EncryptError> {
    let device = recipient.device_short_id();
    if signed.to() != Some(device) {
        return Err(EncryptError::NotSignedFor { recipient: device });
    }
    let mut plain = signed.body().encode();
    // Keys read by this crate have 2048 bits or more, so a block always holds a whole AES-256 key.
    if plain.len() <= recipient.modulus_length()?.saturating_sub(RSA_PADDING) {
        return Ok(recipient.encrypt_block(&plain)?);
    }
    let mut cipher = recipient.encrypt_block(key)?;
    cipher.extend_from_slice(&iv);
    let sealing = aes_gcm(key)?;
    sealing
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::empty(), &mut plain)
        .map_err(|_| KeyError::Encrypt)?;
    cipher.append(&mut plain);
    if cipher.len() > MAX_VALUE_SIZE {
        return Err(EncryptError::TooLarge { size: cipher.len() });
    }
    Ok(cipher)
}

/// Opens what was closed for the device that holds `key`, and checks who signed it and for whom.
///
/// # Errors
/// In every case of doubt; the value is then to be dropped without an answer.
pub fn open(cipher: &[u8], key: &PrivateKey) -> Result<VerifiedContent, OpenError> {
    let plain = decrypt(cipher, key)?;
    let body = msgpack::decode_all(&plain).map_err(ValueError::Decode)?;
    let BodyContent::Signed(signed) = content::read_body(&body)? else {
        return Err(OpenError::Unsigned);
    };
    accept(signed, key.public().device_short_id())
}

fn accept(signed: SignedContent, device: DeviceShortId) -> Result<VerifiedContent, OpenError> {
    if signed.to() != Some(device) {
        return Err(OpenError::NotForUs);
    }
    Ok(signed.verify()?)
}

fn decrypt(cipher: &[u8], key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let block_length = key.public().modulus_length()?;
    let (block, rest) = cipher.split_at_checked(block_length).ok_or(OpenError::TooShort)?;
    let opened = key.decrypt_block(block)?;
    if rest.is_empty() {
        return Ok(opened);
    }
    let (iv, sealed) = rest.split_at_checked(IV_LENGTH).ok_or(OpenError::TooShort)?;
    if sealed.len() < TAG_LENGTH {
        return Err(OpenError::TooShort);
    }
    let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| OpenError::TooShort)?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let length =
        aes_gcm(&opened)?.open_in_place(nonce, Aad::empty(), &mut text).map_err(|_| KeyError::Decrypt)?.len();
    text.truncate(length);
    Ok(text)
}

/// Senders with small RSA keys use shorter AES keys, so all three lengths are read.
fn aes_gcm(key: &[u8]) -> Result<LessSafeKey, KeyError> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        32 => &AES_256_GCM,
        _ => return Err(KeyError::Decrypt),
    };
    Ok(LessSafeKey::new(UnboundKey::new(algorithm, key).map_err(|_| KeyError::Decrypt)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::content::Content;
    use crate::dht::golden;
    use crate::dht::value::{Body, Value};
    use crate::ids::sha256;

    fn content(length: usize) -> Content {
        Content::new(4, vec![7; length])
    }

    fn for_device_b(length: usize) -> VerifiedContent {
        let to = golden::device_b().public().device_short_id();
        content(length).sign_for(golden::throw_away_key(), 0, to).unwrap()
    }

    #[test]
    fn the_recorded_trust_request_opens_and_closes_to_the_same_bytes() {
        // (spec: contacts V2, V3)
        let cipher = golden::trust_request();
        let opened = open(&cipher, golden::device_b()).unwrap();
        let plain = opened.body().encode();
        let digest = hex::encode(sha256(&plain));
        assert_eq!(digest, "86a685c158c8742d835a8c0ed8ac240c1700059c5db3d1b26a80b223af2ec04e");
        assert_eq!(opened.content().type_number, 4);
        assert_eq!(opened.owner().device_short_id().to_hex(), "9a47c99acbdbd0d77b492aee4bf151beac77418b");

        let mut key = [0; 32];
        hex::decode_to_slice("c6ca7fbbbfc5b5e8e32c0363e4d197970345ec90bb60b33963813862f0444ff7", &mut key)
            .unwrap();
        let mut iv = [0; IV_LENGTH];
        hex::decode_to_slice("b392d6dc432c94f71596a6d2", &mut iv).unwrap();
        let closed = encrypt(&opened, golden::device_b().public(), &key, iv).unwrap();
        // Only the RSA block is different each time.
        assert_eq!(closed.get(512..), cipher.get(512..));
        assert_eq!(open(&closed, golden::device_b()).unwrap(), opened);
    }

    #[test]
    fn every_recorded_encrypted_value_opens_with_its_key() {
        let mut opened = 0;
        for recorded in golden::jami_13_7() {
            let Some(owner) = recorded.decrypted_with else { continue };
            let key = golden::jami_13_7_key(owner.split(' ').next().unwrap());
            let value = Value::decode(&hex::decode(recorded.packed_value).unwrap()).unwrap();
            let Body::Encrypted(cipher) = value.body else { panic!("{}", recorded.key_is) };
            let content = open(&cipher, &key).unwrap();
            assert_eq!(Some(hex::encode(content.body().encode())), recorded.decrypted);
            opened += 1;
        }
        assert!(opened >= 5);
    }

    #[test]
    fn the_newest_recorded_values_open_to_what_was_signed() {
        let lines = golden::newest();
        let keys = golden::newest_keys();
        let mut opened = 0;
        for pair in lines.windows(2) {
            let [plain, put] = pair else { continue };
            if plain.kind != "plain" || put.kind != "put" {
                continue;
            }
            let plain = Value::decode(&hex::decode(&plain.packed).unwrap()).unwrap();
            let put = Value::decode(&hex::decode(&put.packed).unwrap()).unwrap();
            let Body::Encrypted(cipher) = put.body else { panic!() };
            let to = plain.as_signed().unwrap().to();
            let key = keys.iter().find(|key| Some(key.public().device_short_id()) == to).unwrap();
            assert_eq!(plain.body, Body::Signed(open(&cipher, key).unwrap().into_signed()));
            opened += 1;
        }
        assert_eq!(opened, 4);
    }

    #[test]
    fn a_short_content_is_one_rsa_block_and_a_long_one_grows_by_the_recorded_amount() {
        // With a 4096-bit key: n > 501 gives n + 540 (spec: dht 3.3). A signature alone takes 256
        // bytes and an owner 294, so only a key larger than the signer's gets the short form.
        let public = golden::device_b().public();
        let long = for_device_b(1000);
        let cipher = encrypt(&long, public, &[1; 32], [2; IV_LENGTH]).unwrap();
        assert_eq!(cipher.len(), long.body().encode().len() + 540);

        let block = public.encrypt_block(b"\x80").unwrap();
        assert_eq!(block.len(), 512);
        assert_eq!(open(&block, golden::device_b()), Err(OpenError::Content(ValueError::Missing("body"))));
    }

    #[test]
    fn shorter_aes_keys_are_read() {
        let signed = for_device_b(10);
        for length in [16, 24] {
            let secret = vec![3; length];
            let mut text = signed.body().encode();
            let nonce = Nonce::assume_unique_for_key([4; IV_LENGTH]);
            aes_gcm(&secret).unwrap().seal_in_place_append_tag(nonce, Aad::empty(), &mut text).unwrap();
            let mut cipher = golden::device_b().public().encrypt_block(&secret).unwrap();
            cipher.extend([4; IV_LENGTH]);
            cipher.extend(text);
            assert_eq!(open(&cipher, golden::device_b()), Ok(signed.clone()));
        }
    }

    #[test]
    fn a_content_for_another_device_is_neither_closed_nor_accepted() {
        let public = golden::device_b().public();
        let everybody = content(1).sign(golden::throw_away_key(), 0).unwrap();
        let error = encrypt(&everybody, public, &[1; 32], [2; IV_LENGTH]).unwrap_err();
        assert_eq!(error, EncryptError::NotSignedFor { recipient: public.device_short_id() });

        for signed in [everybody.into_signed(), {
            let to = golden::throw_away_key().public().device_short_id();
            content(1).sign_for(golden::throw_away_key(), 0, to).unwrap().into_signed()
        }] {
            assert_eq!(accept(signed, public.device_short_id()), Err(OpenError::NotForUs));
        }
    }

    #[test]
    fn damaged_and_cut_cipher_texts_do_not_open() {
        let cipher =
            encrypt(&for_device_b(50), golden::device_b().public(), &[1; 32], [2; IV_LENGTH]).unwrap();
        for at in [0, 511, 512, 523, 524, cipher.len() - 1] {
            let mut damaged = cipher.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged, golden::device_b()).is_err(), "byte {at}");
            assert!(open(&cipher[..at], golden::device_b()).is_err(), "cut at {at}");
        }
        assert_eq!(open(&[], golden::device_b()), Err(OpenError::TooShort));
        assert_eq!(open(&cipher[..530], golden::device_b()), Err(OpenError::TooShort));
    }

    #[test]
    fn a_content_too_large_once_encrypted_is_refused() {
        let error = encrypt(&for_device_b(65_000), golden::device_b().public(), &[1; 32], [2; IV_LENGTH]);
        assert!(matches!(error, Err(EncryptError::TooLarge { .. })));
    }
}
