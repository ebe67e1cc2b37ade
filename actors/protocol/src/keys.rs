//! RSA keys as Jami uses them: PKCS#8 private keys, SubjectPublicKeyInfo public keys, PKCS#1 v1.5
//! signatures with SHA-512 and PKCS#1 v1.5 encryption (`spec: identity 1, dht 3.2-3.3`).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    self, ECDSA_P384_SHA384_ASN1, KeyPair, ParsedPublicKey, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use zeroize::Zeroizing;

use crate::ids::{AccountId, DeviceId, DeviceShortId, sha1, sha256};

/// Largest public key read, in bytes of DER; an RSA-16384 key is half of it.
pub const MAX_PUBLIC_KEY: usize = 4096;

/// What was wrong with a key or with what was done with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are not an RSA key in the expected form.
    #[error("not an RSA key in PKCS#8 or SubjectPublicKeyInfo form")]
    Malformed,
    /// The signature does not belong to the data and the key.
    #[error("the signature does not verify")]
    BadSignature,
    /// Encryption failed, usually because the key is too small.
    #[error("the key cannot encrypt this")]
    Encrypt,
    /// The cipher text was not made for this key, or was altered.
    #[error("the cipher text does not open with this key")]
    Decrypt,
}

/// A public RSA key, kept as its DER SubjectPublicKeyInfo. Of an authority it may be a P-384 key, too,
/// which does no more than verify certificates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(Arc<[u8]>);

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo; checks that it is RSA.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] when it is not, or when it is longer than [`MAX_PUBLIC_KEY`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_PUBLIC_KEY || PublicEncryptingKey::from_der(der).is_err() {
            return Err(KeyError::Malformed);
        }
        Ok(Self(der.into()))
    }

    /// The key of a self-signed authority: RSA, or as today's daemons make it for a device that has no
    /// account yet, on the curve P-384 (`spec: identity 6`).
    ///
    /// # Errors
    /// As [`Self::from_der`].
    pub fn of_authority(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() <= MAX_PUBLIC_KEY && ParsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, der).is_ok() {
            return Ok(Self(der.into()));
        }
        Self::from_der(der)
    }

    /// Whether it is an RSA key, as those of accounts and devices have to be.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        PublicEncryptingKey::from_der(&self.0).is_ok()
    }

    /// The DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-1 of the DER, meant as a person.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        AccountId(sha1(&self.0))
    }

    /// SHA-1 of the DER, meant as a device.
    #[must_use]
    pub fn device_short_id(&self) -> DeviceShortId {
        DeviceShortId(sha1(&self.0))
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        DeviceId(sha256(&self.0))
    }

    /// Checks an RSASSA-PKCS1-v1_5 SHA-512 signature; keys of 2048 to 8192 bits are accepted.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`] when it does not verify.
    pub fn verify(&self, data: &[u8], signed: &[u8]) -> Result<(), KeyError> {
        UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA512, &*self.0)
            .verify(data, signed)
            .map_err(|_| KeyError::BadSignature)
    }

    /// Length of the modulus, which is the length of every cipher text block, in bytes.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] cannot happen for a value made by [`PublicKey::from_der`].
    pub fn modulus_length(&self) -> Result<usize, KeyError> {
        Ok(PublicEncryptingKey::from_der(&self.0).map_err(|_| KeyError::Malformed)?.key_size_bytes())
    }

    /// RSAES-PKCS1-v1_5 encryption of at most [`Self::modulus_length`] − 11 bytes.
    ///
    /// # Errors
    /// [`KeyError::Encrypt`] when the text is too long for the key.
    pub fn encrypt_block(&self, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = PublicEncryptingKey::from_der(&self.0).map_err(|_| KeyError::Malformed)?;
        let key = Pkcs1PublicEncryptingKey::new(key).map_err(|_| KeyError::Encrypt)?;
        let mut cipher = vec![0; key.ciphertext_size()];
        let length = key.encrypt(plain, &mut cipher).map_err(|_| KeyError::Encrypt)?.len();
        cipher.truncate(length);
        Ok(cipher)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", self.device_short_id())
    }
}

/// A private RSA key. Its `Debug` shows nothing but the public part; its text is wiped on drop.
#[derive(Clone)]
pub struct PrivateKey {
    inner: Arc<PrivateKeyInner>,
}

struct PrivateKeyInner {
    pkcs8: Zeroizing<Vec<u8>>,
    signer: RsaKeyPair,
    public: PublicKey,
}

const PEM_HEADER: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_FOOTER: &str = "-----END PRIVATE KEY-----";

impl PrivateKey {
    /// From unencrypted PKCS#8 DER.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] when it is not an RSA key of 2048 to 8192 bits.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let signer = RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::Malformed)?;
        let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            signer.public_key().as_der().map_err(|_| KeyError::Malformed)?;
        let public = PublicKey::from_der(public.as_ref())?;
        Ok(Self { inner: Arc::new(PrivateKeyInner { pkcs8: Zeroizing::new(der.to_vec()), signer, public }) })
    }

    /// From PKCS#8 PEM; text before the header is skipped.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] when there is no such block in it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let start = pem.find(PEM_HEADER).ok_or(KeyError::Malformed)? + PEM_HEADER.len();
        let body = pem.get(start..).ok_or(KeyError::Malformed)?;
        let body =
            body.get(..body.find(PEM_FOOTER).ok_or(KeyError::Malformed)?).ok_or(KeyError::Malformed)?;
        let text: Zeroizing<String> =
            Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        let der = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
        Self::from_pkcs8(&Zeroizing::new(der.map_err(|_| KeyError::Malformed)?))
    }

    /// The PKCS#8 DER.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.inner.pkcs8
    }

    /// PKCS#8 PEM with lines of 64 characters and a final newline.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(self.pkcs8()));
        let mut pem = Zeroizing::new(String::with_capacity(text.len() + text.len() / 64 + 64));
        pem.push_str(PEM_HEADER);
        pem.push('\n');
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str(PEM_FOOTER);
        pem.push('\n');
        pem
    }

    /// The public part.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.inner.public
    }

    /// RSASSA-PKCS1-v1_5 with SHA-512. The result is deterministic. An RSA-4096 signature takes
    /// about two milliseconds, so actors call this on the blocking pool.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] if the provider refuses the key, which no loaded key does.
    pub fn sign(&self, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signed = vec![0; self.inner.signer.public_modulus_len()];
        self.inner
            .signer
            .sign(&signature::RSA_PKCS1_SHA512, &SystemRandom::new(), data, &mut signed)
            .map_err(|_| KeyError::Malformed)?;
        Ok(signed)
    }

    /// Opens one RSAES-PKCS1-v1_5 block.
    ///
    /// # Errors
    /// [`KeyError::Decrypt`] when it was not made for this key.
    pub fn decrypt_block(&self, cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = PrivateDecryptingKey::from_pkcs8(self.pkcs8()).map_err(|_| KeyError::Malformed)?;
        let key = Pkcs1PrivateDecryptingKey::new(key).map_err(|_| KeyError::Malformed)?;
        let mut plain = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key.decrypt(cipher, &mut plain).map_err(|_| KeyError::Decrypt)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey(of {})", self.public().device_short_id())
    }
}
