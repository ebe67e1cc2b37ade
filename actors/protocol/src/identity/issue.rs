//! Making the certificates of a new account or a new device (`spec: identity 2`).
//!
//! They are written element by element, because they must be byte for byte what the other
//! implementations write, and because the issuer's name is copied as it stands from a certificate
//! that may come from elsewhere.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA384, RsaKeyPair};

use super::certificate::{Certificate, CertificateError};
use super::der;
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::time::UnixMillis;

/// How long every certificate is valid.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// `[0] INTEGER 2`: version 3.
const VERSION_3: [u8; 5] = [0xa0, 0x03, 0x02, 0x01, 0x02];

/// AlgorithmIdentifier of sha384WithRSAEncryption.
const SHA384_WITH_RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c, 0x05, 0x00];

/// OBJECT IDENTIFIER of the common name.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

/// OBJECT IDENTIFIER of `UID`, 0.9.2342.19200300.100.1.1.
const USER_ID: [u8; 12] = [0x06, 0x0a, 0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01];

/// OBJECT IDENTIFIER of the extension subjectKeyIdentifier.
const SUBJECT_KEY_IDENTIFIER: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x0e];

/// The critical extension basicConstraints that says: an authority, without limit.
const IS_AUTHORITY: [u8; 17] =
    [0x30, 0x0f, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x05, 0x30, 0x03, 0x01, 0x01, 0xff];

/// The critical extension keyUsage with keyCertSign and cRLSign.
const SIGNS_CERTIFICATES_AND_LISTS: [u8; 16] =
    [0x30, 0x0e, 0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x01, 0x06];

/// Why a certificate could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The time, or ten years after it, cannot be written into a certificate.
    #[error("a certificate cannot be valid from {0}; check the clock")]
    Time(UnixMillis),
    /// The issuer's key is not the key of its certificate.
    #[error("the issuer's key does not belong to the issuer's certificate")]
    OtherKey,
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What was made cannot be read back.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A serial number: positive, up to 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialNumber(u64);

impl SerialNumber {
    /// From random bits, drawn by the caller; the highest is not used.
    #[must_use]
    pub const fn from_random(bits: u64) -> Self {
        let number = bits & (u64::MAX >> 1);
        Self(if number == 0 { 1 } else { number })
    }
}

/// When a certificate is issued and under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuedAt {
    /// Beginning of the validity, cut to the second; the end is 10 × 365 days later.
    pub now: UnixMillis,
    /// The serial number.
    pub serial: SerialNumber,
}

/// Who signs: the key and the DER of the name.
struct Signer<'a> {
    key: &'a PrivateKey,
    name: &'a [u8],
}

/// Makes the self-signed certificate of an authority.
///
/// # Errors
/// [`IssueError::Time`] for a time outside of the years 1950 to 9989.
pub fn issue_ca(key: &PrivateKey, at: IssuedAt) -> Result<Certificate, IssueError> {
    let name = name("Jami CA", key.public());
    sign(&Signer { key, name: &name }, &name, key.public(), Some(authority_extensions(key.public())), at)
}

/// Makes the certificate of an account, issued by an authority.
///
/// # Errors
/// [`IssueError::OtherKey`] when `ca_key` is not the key of `ca`; else as [`issue_ca`].
pub fn issue_account(
    account: &PublicKey,
    ca: &Certificate,
    ca_key: &PrivateKey,
    at: IssuedAt,
) -> Result<Certificate, IssueError> {
    let signer = Signer::of(ca, ca_key)?;
    sign(&signer, &name("Jami", account), account, Some(authority_extensions(account)), at)
}

/// Makes the certificate of a device, issued by an account. It has no extensions.
///
/// # Errors
/// [`IssueError::OtherKey`] when `account_key` is not the key of `account`; else as [`issue_ca`].
pub fn issue_device(
    device: &PublicKey,
    account: &Certificate,
    account_key: &PrivateKey,
    at: IssuedAt,
) -> Result<Certificate, IssueError> {
    sign(&Signer::of(account, account_key)?, &name("Jami device", device), device, None, at)
}

impl<'a> Signer<'a> {
    fn of(certificate: &'a Certificate, key: &'a PrivateKey) -> Result<Self, IssueError> {
        if certificate.public_key() != key.public() {
            return Err(IssueError::OtherKey);
        }
        Ok(Self { key, name: certificate.subject_name() })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-384, which only certificates use.
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        let pair = RsaKeyPair::from_pkcs8(self.key.pkcs8()).map_err(|_| KeyError::Malformed)?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA384, &SystemRandom::new(), data, &mut signature)
            .map_err(|_| KeyError::Malformed)?;
        Ok(signature)
    }
}

fn sign(
    signer: &Signer<'_>,
    subject: &[u8],
    key: &PublicKey,
    extensions: Option<Vec<u8>>,
    at: IssuedAt,
) -> Result<Certificate, IssueError> {
    let time = |time| der::time(time).ok_or(IssueError::Time(at.now));
    let validity = der::element(der::SEQUENCE, &[&time(at.now)?, &time(at.now.plus(VALIDITY))?]);
    let content = der::element(
        der::SEQUENCE,
        &[
            &VERSION_3,
            &der::unsigned(at.serial.0),
            &SHA384_WITH_RSA,
            signer.name,
            &validity,
            subject,
            key.der(),
            &extensions.unwrap_or_default(),
        ],
    );
    let signature = der::element(der::BIT_STRING, &[&[0], &signer.sign(&content)?]);
    let certificate = der::element(der::SEQUENCE, &[&content, &SHA384_WITH_RSA, &signature]);
    Ok(Certificate::from_der(&certificate)?)
}

/// The DER of a name: CN, then UID with the short id of the key.
fn name(common_name: &str, key: &PublicKey) -> Vec<u8> {
    let part = |kind: &[u8], text: &str| {
        let value = der::element(der::PRINTABLE_STRING, &[text.as_bytes()]);
        der::element(der::SET, &[&der::element(der::SEQUENCE, &[kind, &value])])
    };
    let user_id = part(&USER_ID, &key.account_id().to_hex());
    der::element(der::SEQUENCE, &[&part(&COMMON_NAME, common_name), &user_id])
}

fn authority_extensions(key: &PublicKey) -> Vec<u8> {
    let identifier = der::element(der::OCTET_STRING, &[key.account_id().as_bytes()]);
    let identifier = der::element(der::OCTET_STRING, &[&identifier]);
    let identifier = der::element(der::SEQUENCE, &[&SUBJECT_KEY_IDENTIFIER, &identifier]);
    let list = der::element(der::SEQUENCE, &[&identifier, &IS_AUTHORITY, &SIGNS_CERTIFICATES_AND_LISTS]);
    der::element(der::CONTEXT_3, &[&list])
}

#[cfg(test)]
#[path = "issue_tests.rs"]
mod tests;
