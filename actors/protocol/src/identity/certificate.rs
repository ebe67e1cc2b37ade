//! One X.509 certificate: its DER and the few facts that Jami uses (`spec: identity 2`).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA384,
    OID_USERID,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, X509Name};

use super::chain::MAX_CHAIN_BYTES;
use super::pem;
use crate::ids::{AccountId, DeviceId, DeviceShortId};
use crate::keys::{KeyError, PublicKey};
use crate::time::UnixMillis;

/// Largest certificate read, in bytes of DER. One with RSA-16384 keys needs about five thousand.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

/// Why some bytes are not a certificate of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Longer than [`MAX_CERTIFICATE`], or text longer than [`MAX_CHAIN_BYTES`].
    #[error("the certificate of {0} bytes is longer than any of use")]
    TooLong(usize),
    /// Not the DER of an X.509 certificate, or something follows it.
    #[error("this is not an X.509 certificate")]
    Malformed,
    /// No certificate block, or one that does not end or is not base64.
    #[error("there is no complete certificate block in this PEM text")]
    Pem,
    /// The key in it is not an RSA key of acceptable size, nor that of an authority on P-384.
    #[error("the certificate holds no RSA key of at least 2048 bits")]
    Key(#[from] KeyError),
}

/// A parsed certificate. Cloning is cheap. Nothing is verified by parsing.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

struct Facts {
    der: Vec<u8>,
    serial: Vec<u8>,
    public_key: PublicKey,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    subject_uid: Option<String>,
    issuer_uid: Option<String>,
    not_before: UnixMillis,
    not_after: UnixMillis,
    authority: Authority,
    signed: Signed,
}

/// What the extensions say about signing other certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Authority {
    is_ca: bool,
    path_length: Option<u32>,
    may_sign_certificates: bool,
}

/// A signed structure: its bytes, how it was signed, and the signature.
pub(super) struct Signed {
    pub(super) bytes: Vec<u8>,
    pub(super) method: Option<SignatureMethod>,
    pub(super) signature: Vec<u8>,
}

/// How certificates and revocation lists may be signed: RSASSA-PKCS1-v1_5, and ECDSA by an authority on
/// P-384. SHA-1 and MD5 are not among the digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureMethod {
    RsaSha256,
    RsaSha384,
    RsaSha512,
    EcdsaSha384,
}

impl SignatureMethod {
    /// That of a signature algorithm, if both mentions of it agree and it is acceptable.
    pub(super) fn of(inner: &AlgorithmIdentifier<'_>, outer: &AlgorithmIdentifier<'_>) -> Option<Self> {
        if inner != outer {
            return None;
        }
        [
            (OID_PKCS1_SHA256WITHRSA, Self::RsaSha256),
            (OID_PKCS1_SHA384WITHRSA, Self::RsaSha384),
            (OID_PKCS1_SHA512WITHRSA, Self::RsaSha512),
            (OID_SIG_ECDSA_WITH_SHA384, Self::EcdsaSha384),
        ]
        .into_iter()
        .find_map(|(oid, method)| (oid == inner.algorithm).then_some(method))
    }

    fn algorithm(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaSha384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::EcdsaSha384 => &ECDSA_P384_SHA384_ASN1,
        }
    }
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureFault {
    /// None of [`SignatureMethod`].
    WeakAlgorithm,
    /// It does not verify, the key is of another kind, or has fewer than 2048 or more than 8192 bits.
    DoesNotVerify,
}

impl Signed {
    pub(super) fn verify(&self, key: &PublicKey) -> Result<(), SignatureFault> {
        let method = self.method.ok_or(SignatureFault::WeakAlgorithm)?;
        UnparsedPublicKey::new(method.algorithm(), key.der())
            .verify(&self.bytes, &self.signature)
            .map_err(|_| SignatureFault::DoesNotVerify)
    }
}

impl Certificate {
    /// From DER, with nothing after it. Negative serial numbers, absent and unknown extensions are
    /// accepted, because Jami's certificates have them.
    ///
    /// # Errors
    /// [`CertificateError`] when it is too long, not a certificate, or of no key that is accepted.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLong(der.len()));
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let tbs = &parsed.tbs_certificate;
        let authority = Authority::of(&parsed)?;
        let is_top = authority.is_ca && tbs.subject.as_raw() == tbs.issuer.as_raw();
        let read_key = if is_top { PublicKey::of_authority } else { PublicKey::from_der };
        Ok(Self(Arc::new(Facts {
            der: der.to_vec(),
            serial: parsed.raw_serial().to_vec(),
            public_key: read_key(tbs.subject_pki.raw)?,
            subject: tbs.subject.as_raw().to_vec(),
            issuer: tbs.issuer.as_raw().to_vec(),
            subject_uid: uid(&tbs.subject),
            issuer_uid: uid(&tbs.issuer),
            not_before: UnixMillis::from_seconds(tbs.validity.not_before.timestamp()),
            not_after: UnixMillis::from_seconds(tbs.validity.not_after.timestamp()),
            authority,
            signed: Signed {
                bytes: tbs.as_ref().to_vec(),
                method: SignatureMethod::of(&tbs.signature, &parsed.signature_algorithm),
                signature: parsed.signature_value.data.to_vec(),
            },
        })))
    }

    /// The first of several DER certificates one behind the other, and the bytes behind it.
    ///
    /// # Errors
    /// As [`Self::from_der`].
    pub(super) fn split_der(bytes: &[u8]) -> Result<(Self, &[u8]), CertificateError> {
        let (rest, _) = X509Certificate::from_der(bytes).map_err(|_| CertificateError::Malformed)?;
        let first = bytes.len().checked_sub(rest.len()).and_then(|length| bytes.get(..length));
        Ok((Self::from_der(first.ok_or(CertificateError::Malformed)?)?, rest))
    }

    /// From the first certificate block of a PEM text; bytes before it are skipped.
    ///
    /// # Errors
    /// [`CertificateError::Pem`] when there is no whole block, else as [`Self::from_der`];
    /// [`CertificateError::TooLong`] when the text is longer than a whole chain may be.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        if text.len() > MAX_CHAIN_BYTES {
            return Err(CertificateError::TooLong(text.len()));
        }
        Self::from_der(&pem::blocks(text).next().flatten().ok_or(CertificateError::Pem)?)
    }

    /// The DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// One PEM block with a final newline.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(self.der())
    }

    /// The key it certifies.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// Short id of the key, meant as a person.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        self.public_key().account_id()
    }

    /// Long id of the key, meant as a device.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.public_key().device_id()
    }

    /// Short id of the key, meant as a device.
    #[must_use]
    pub fn device_short_id(&self) -> DeviceShortId {
        self.public_key().device_short_id()
    }

    /// The content bytes of the serial number: big-endian two's complement, so it may be negative.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The `UID` in the subject name, a claim that nothing but the swarm rules look at.
    #[must_use]
    pub fn subject_uid(&self) -> Option<&str> {
        self.0.subject_uid.as_deref()
    }

    /// The `UID` in the issuer name; for a device, the account it claims to belong to.
    #[must_use]
    pub fn issuer_uid(&self) -> Option<&str> {
        self.0.issuer_uid.as_deref()
    }

    /// First moment of validity.
    #[must_use]
    pub fn not_before(&self) -> UnixMillis {
        self.0.not_before
    }

    /// Last second of validity.
    #[must_use]
    pub fn not_after(&self) -> UnixMillis {
        self.0.not_after
    }

    /// Whether the basic constraints say that it is an authority.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.authority.is_ca
    }

    /// Whether subject and issuer are the same name.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.0.subject == self.0.issuer
    }

    /// Whether `now` is within the validity, both ends included, to the second.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixMillis) -> bool {
        (self.0.not_before.seconds()..=self.0.not_after.seconds()).contains(&now.seconds())
    }

    /// Whether `issuer` has the name this certificate gives for its issuer, and signed it.
    #[must_use]
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        self.names_as_issuer(issuer) && self.verify_signature(issuer).is_ok()
    }

    pub(super) fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.0.issuer == issuer.0.subject
    }

    pub(super) fn verify_signature(&self, issuer: &Self) -> Result<(), SignatureFault> {
        self.0.signed.verify(issuer.public_key())
    }

    /// Whether this certificate may be the issuer of one that has `authorities_below` other issuers
    /// between itself and the end of the chain.
    pub(super) fn may_issue(&self, authorities_below: usize) -> bool {
        let authority = self.0.authority;
        let deep_enough = authority
            .path_length
            .is_none_or(|allowed| usize::try_from(allowed).is_ok_and(|allowed| authorities_below <= allowed));
        authority.is_ca && authority.may_sign_certificates && deep_enough
    }

    /// DER of the subject name.
    pub(super) fn subject_name(&self) -> &[u8] {
        &self.0.subject
    }
}

impl Authority {
    fn of(certificate: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let constraints = certificate.basic_constraints().map_err(|_| CertificateError::Malformed)?;
        let usage = certificate.key_usage().map_err(|_| CertificateError::Malformed)?;
        Ok(Self {
            is_ca: constraints.as_ref().is_some_and(|constraints| constraints.value.ca),
            path_length: constraints.and_then(|constraints| constraints.value.path_len_constraint),
            may_sign_certificates: usage.is_none_or(|usage| usage.value.key_cert_sign()),
        })
    }
}

fn uid(name: &X509Name<'_>) -> Option<String> {
    name.iter_by_oid(&OID_USERID).next()?.as_str().ok().map(str::to_owned)
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("key", self.public_key())
            .field("issuer_uid", &self.issuer_uid())
            .field("is_ca", &self.is_ca())
            .finish_non_exhaustive()
    }
}
