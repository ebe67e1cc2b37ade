//! Revocation lists: which device certificates an account has withdrawn (`spec: identity 7`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use x509_parser::oid_registry::OID_X509_EXT_CRL_NUMBER;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{Certificate, SignatureMethod, Signed};
use super::der;
use crate::dht::content::Content;
use crate::dht::kind::ValueKind;
use crate::dht::value::{Value, ValueId};
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::msgpack::{self, Value as Object};
use crate::time::UnixMillis;

/// Largest list read, in bytes: what fits into one DHT value. About two thousand entries.
pub const MAX_REVOCATION_LIST: usize = 64 * 1024;

/// AlgorithmIdentifier of sha512WithRSAEncryption.
const SHA512_WITH_RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d, 0x05, 0x00];

/// OBJECT IDENTIFIER of the extension CRL Number.
const CRL_NUMBER: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x14];

/// Priority of the values for push notifications: 1 is normal.
const PRIORITY: u32 = 1;

/// Why a revocation list cannot be read or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Longer than [`MAX_REVOCATION_LIST`].
    #[error("the revocation list has {0} bytes, more than {MAX_REVOCATION_LIST}")]
    TooLong(usize),
    /// Not the DER of a revocation list, or something follows it.
    #[error("this is not a revocation list")]
    Malformed,
    /// The key is not the one of the account's certificate.
    #[error("the key that should sign the revocation list is not the account's")]
    OtherKey,
    /// A time lies outside of what a certificate can express.
    #[error("the time {0} cannot be written into a revocation list")]
    Time(UnixMillis),
    /// Signing failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A parsed revocation list. Nothing is verified by parsing: ask [`Self::is_signed_by`].
#[derive(Clone)]
pub struct RevocationList {
    der: Vec<u8>,
    issuer: Vec<u8>,
    number: Vec<u8>,
    entries: Vec<Entry>,
    signed: Arc<Signed>,
}

/// One revoked certificate.
#[derive(Clone)]
struct Entry {
    /// Content bytes of the serial number.
    serial: Vec<u8>,
    date: UnixMillis,
}

impl RevocationList {
    /// From DER, with nothing after it. Negative serial and list numbers are accepted.
    ///
    /// # Errors
    /// [`RevocationError`] when it is too long or not a revocation list.
    pub fn from_der(bytes: &[u8]) -> Result<Self, RevocationError> {
        if bytes.len() > MAX_REVOCATION_LIST {
            return Err(RevocationError::TooLong(bytes.len()));
        }
        let (rest, parsed) =
            CertificateRevocationList::from_der(bytes).map_err(|_| RevocationError::Malformed)?;
        if !rest.is_empty() {
            return Err(RevocationError::Malformed);
        }
        let list = &parsed.tbs_cert_list;
        let entries = list.revoked_certificates.iter().map(|entry| Entry {
            serial: entry.raw_serial().to_vec(),
            date: UnixMillis::from_seconds(entry.revocation_date.timestamp()),
        });
        Ok(Self {
            der: bytes.to_vec(),
            issuer: list.issuer.as_raw().to_vec(),
            number: number(&parsed),
            entries: entries.collect(),
            signed: Arc::new(Signed {
                bytes: list.as_ref().to_vec(),
                method: SignatureMethod::of(&list.signature, &parsed.signature_algorithm),
                signature: parsed.signature_value.data.to_vec(),
            }),
        })
    }

    /// Makes the next list of an account: the entries of `previous` and one for `revoked`, dated
    /// `now`, valid as long as the account's certificate. `first_number` is drawn at random and
    /// used when there is no previous list.
    ///
    /// # Errors
    /// [`RevocationError::OtherKey`] when `key` is not the key of `account`;
    /// [`RevocationError::TooLong`] when the list would not fit into one DHT value.
    pub fn revoke(
        account: &Certificate,
        key: &PrivateKey,
        previous: Option<&Self>,
        revoked: &Certificate,
        now: UnixMillis,
        first_number: u64,
    ) -> Result<Self, RevocationError> {
        Self::revoke_after(account, key, previous.as_slice(), revoked, now, first_number)
    }

    /// The same with the entries of several lists, which were made apart from each other; the number
    /// follows that of the first.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub fn revoke_after(
        account: &Certificate,
        key: &PrivateKey,
        previous: &[&Self],
        revoked: &Certificate,
        now: UnixMillis,
        first_number: u64,
    ) -> Result<Self, RevocationError> {
        if key.public() != account.public_key() {
            return Err(RevocationError::OtherKey);
        }
        let time = |at| der::time(at).ok_or(RevocationError::Time(at));
        let mut entries: Vec<Entry> = Vec::new();
        let mut serials = BTreeSet::new();
        let revoked = Entry { serial: revoked.serial().to_vec(), date: now };
        for entry in previous.iter().flat_map(|list| &list.entries).chain([&revoked]) {
            if serials.insert(&*entry.serial) {
                entries.push(entry.clone());
            }
        }
        let entries = entries.iter().map(|entry| {
            let serial = der::element(der::INTEGER, &[&entry.serial]);
            Ok(der::element(der::SEQUENCE, &[&serial, &time(entry.date)?]))
        });
        let entries = entries.collect::<Result<Vec<_>, RevocationError>>()?.concat();
        let number = previous.first().map_or(first_number >> 1, |list| list.next_number());
        let number = der::element(der::OCTET_STRING, &[&der::unsigned(number)]);
        let number = der::element(der::SEQUENCE, &[&CRL_NUMBER, &number]);
        let list = der::element(
            der::SEQUENCE,
            &[
                &der::unsigned(1),
                &SHA512_WITH_RSA,
                account.subject_name(),
                &time(now)?,
                &time(account.not_after())?,
                &der::element(der::SEQUENCE, &[&entries]),
                &der::element(der::CONTEXT_0, &[&der::element(der::SEQUENCE, &[&number])]),
            ],
        );
        let signature = der::element(der::BIT_STRING, &[&[0], &key.sign(&list)?]);
        Self::from_der(&der::element(der::SEQUENCE, &[&list, &SHA512_WITH_RSA, &signature]))
    }

    /// Reads the list in a value found at the account id. It is still to be asked whose it is.
    ///
    /// # Errors
    /// [`RevocationError`] when the value holds something else, which is to be skipped.
    pub fn from_value(value: &Value) -> Result<Self, RevocationError> {
        let content = value.content().ok_or(RevocationError::Malformed)?;
        let data = msgpack::decode_all(&content.data).map_err(|_| RevocationError::Malformed)?;
        Self::from_der(data.as_binary().ok_or(RevocationError::Malformed)?)
    }

    /// The value that every device of the account puts at the account id; unsigned, as the list
    /// itself is signed.
    #[must_use]
    pub fn to_value(&self, id: ValueId) -> Value {
        let data = Object::binary(&self.der).encode();
        Value::plain(id, Content::new(ValueKind::UserData.type_number(), data)).with_priority(PRIORITY)
    }

    /// The DER, as it goes into the archive.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// How many certificates are on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is on the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The content bytes of the list's number; it may be negative, and empty when there is none.
    #[must_use]
    pub fn number(&self) -> &[u8] {
        &self.number
    }

    /// Whether a certificate with this serial number (content bytes) is on the list.
    #[must_use]
    pub fn names(&self, serial: &[u8]) -> bool {
        self.entries.iter().any(|entry| entry.serial == serial)
    }

    /// The serial numbers on the list, as content bytes.
    pub fn serials(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| entry.serial.as_slice())
    }

    /// Whether `issuer` has the name on the list and signed it.
    #[must_use]
    pub fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.issuer == issuer.subject_name() && self.is_signed_with(issuer.public_key())
    }

    /// Whether the signature is of this key.
    #[must_use]
    pub fn is_signed_with(&self, key: &PublicKey) -> bool {
        self.signed.verify(key).is_ok()
    }

    /// The number after this list's, kept to 63 bits so that it is never negative. The older
    /// releases' negative numbers continue from their bits.
    fn next_number(&self) -> u64 {
        let start = self.number.len().saturating_sub(size_of::<u64>());
        let bits = self.number.iter().skip(start).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        bits.wrapping_add(1) & (u64::MAX >> 1)
    }
}

impl PartialEq for RevocationList {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for RevocationList {}

impl fmt::Debug for RevocationList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RevocationList").field("entries", &self.len()).finish_non_exhaustive()
    }
}

/// Content bytes of the list's number. Read from the extension itself, because the parser's own
/// form forgets the sign.
fn number(list: &CertificateRevocationList<'_>) -> Vec<u8> {
    let extension = list.extensions().iter().find(|extension| extension.oid == OID_X509_EXT_CRL_NUMBER);
    match extension.map(|extension| extension.value) {
        Some([der::INTEGER, length, number @ ..]) if usize::from(*length) == number.len() => number.to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "revocation_tests.rs"]
mod tests;
