//! A certificate with its issuers, leaf first, and the rules for believing it (`spec: identity 2.1,
//! contacts 5`).
//!
//! ```text
//!   bytes ──parse──▶ Chain ──verify(now)──▶ VerifiedChain ──check_not_revoked──▶ a device to talk to
//!                    in issuing order       signatures, dates, authorities
//! ```
//!
//! The top certificate is trusted as it stands, for anybody can make one: what is established is
//! only that the account whose id is the digest of the issuer's key owns the device.

use super::certificate::{Certificate, CertificateError, SignatureFault};
use super::pem;
use super::revocation::RevocationList;
use crate::ids::{AccountId, DeviceId};
use crate::keys::{KeyError, PublicKey};
use crate::time::UnixMillis;

/// Most certificates in a chain. Jami's have three; an organisation may add one.
pub const MAX_CHAIN_LENGTH: usize = 4;

/// Largest chain read, in bytes. Four RSA-4096 certificates in PEM have less than eight thousand.
pub const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// Why a chain is not believed. Positions count from the leaf, which is 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// More bytes than [`MAX_CHAIN_BYTES`].
    #[error("the certificate chain has {0} bytes, more than {MAX_CHAIN_BYTES}")]
    TooLong(usize),
    /// More certificates than [`MAX_CHAIN_LENGTH`].
    #[error("the certificate chain has more than {MAX_CHAIN_LENGTH} certificates")]
    TooManyCertificates,
    /// One of the certificates cannot be read.
    #[error("certificate {position} of the chain is of no use: {error}")]
    Certificate {
        /// Which one.
        position: usize,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// A certificate is not followed by its issuer.
    #[error("certificate {position} of the chain is not followed by its issuer")]
    NotInIssuingOrder {
        /// The one whose issuer is missing.
        position: usize,
    },
    /// The leaf stands alone, so it belongs to no account.
    #[error("the device certificate comes without its issuer, so it belongs to no account")]
    NoIssuer,
    /// Signed with something weaker than RSA with SHA-256 or ECDSA on P-384.
    #[error("certificate {position} of the chain is signed with an algorithm that is not accepted")]
    WeakSignature {
        /// Which one.
        position: usize,
    },
    /// The signature is not the issuer's.
    #[error("certificate {position} of the chain is not signed by its issuer")]
    BadSignature {
        /// Which one.
        position: usize,
    },
    /// The validity has not begun.
    #[error("certificate {position} of the chain is valid from {not_before} only; check the clock")]
    NotYetValid {
        /// Which one.
        position: usize,
        /// When it begins.
        not_before: UnixMillis,
    },
    /// The validity is over.
    #[error("certificate {position} of the chain expired at {not_after}")]
    Expired {
        /// Which one.
        position: usize,
        /// When it ended.
        not_after: UnixMillis,
    },
    /// An issuer has no right to issue.
    #[error("certificate {position} of the chain is not an authority, yet it issues")]
    NotAnAuthority {
        /// Which one.
        position: usize,
    },
    /// The certificate is on a revocation list of its issuer.
    #[error("certificate {position} of the chain was revoked by its issuer")]
    Revoked {
        /// Which one.
        position: usize,
    },
    /// The private key at hand is not the one that the leaf certifies.
    #[error("the device certificate belongs to another key: open the archive to make a new device")]
    OtherKey,
    /// The chain belongs to another account.
    #[error("the device belongs to account {found}, not to {expected}")]
    OtherAccount {
        /// The account it should belong to.
        expected: AccountId,
        /// The account it belongs to.
        found: AccountId,
    },
}

/// Certificates in issuing order, leaf first; at least one. Only the names are compared yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    issuers: Vec<Certificate>,
}

/// A chain whose signatures, dates and authorities are right. It has at least one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    chain: Chain,
    account: Certificate,
}

impl Chain {
    /// A chain of parsed certificates.
    ///
    /// # Errors
    /// When they are too many or not in issuing order.
    pub fn new(leaf: Certificate, issuers: Vec<Certificate>) -> Result<Self, ChainError> {
        if issuers.len() >= MAX_CHAIN_LENGTH {
            return Err(ChainError::TooManyCertificates);
        }
        let mut lower = &leaf;
        for (position, issuer) in issuers.iter().enumerate() {
            if !lower.names_as_issuer(issuer) {
                return Err(ChainError::NotInIssuingOrder { position });
            }
            lower = issuer;
        }
        Ok(Self { leaf, issuers })
    }

    /// From a PEM list, leaf first, with anything before the blocks skipped; or, where there is no
    /// PEM, from the DER of one certificate.
    ///
    /// # Errors
    /// [`ChainError`] says which certificate was wrong and how.
    pub fn parse(bytes: &[u8]) -> Result<Self, ChainError> {
        if bytes.len() > MAX_CHAIN_BYTES {
            return Err(ChainError::TooLong(bytes.len()));
        }
        let wrong = |position| move |error| ChainError::Certificate { position, error };
        let mut blocks = pem::blocks(bytes).enumerate().map(|(position, block)| {
            let certificate = block.ok_or(CertificateError::Pem).and_then(|der| Certificate::from_der(&der));
            certificate.map_err(wrong(position))
        });
        let Some(leaf) = blocks.next() else {
            return Self::new(Certificate::from_der(bytes).map_err(wrong(0))?, Vec::new());
        };
        // One too many is taken, so that `new` sees and refuses it.
        Self::new(leaf?, blocks.take(MAX_CHAIN_LENGTH).collect::<Result<_, _>>()?)
    }

    /// From DER certificates one behind the other, leaf first, as the overlay of a conversation carries
    /// them (`spec: drt 3`).
    ///
    /// # Errors
    /// [`ChainError`] says which certificate was wrong and how.
    pub fn parse_der(bytes: &[u8]) -> Result<Self, ChainError> {
        if bytes.len() > MAX_CHAIN_BYTES {
            return Err(ChainError::TooLong(bytes.len()));
        }
        let mut certificates = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() || certificates.is_empty() {
            if certificates.len() >= MAX_CHAIN_LENGTH {
                return Err(ChainError::TooManyCertificates);
            }
            let position = certificates.len();
            let (first, tail) =
                Certificate::split_der(rest).map_err(|error| ChainError::Certificate { position, error })?;
            certificates.push(first);
            rest = tail;
        }
        let leaf = certificates.remove(0);
        Self::new(leaf, certificates)
    }

    /// The DER of all certificates one behind the other, leaf first: the way back from
    /// [`Self::parse_der`].
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        self.certificates().flat_map(Certificate::der).copied().collect()
    }

    /// The lowest certificate: a device's in a device chain, an account's in an archive.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The issuers of the leaf, from the direct one to the top.
    #[must_use]
    pub fn issuers(&self) -> &[Certificate] {
        &self.issuers
    }

    /// All certificates, leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.issuers)
    }

    /// The short ids by which certificates are allowed and banned, leaf first.
    pub fn short_ids(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.certificates().map(Certificate::account_id)
    }

    /// The account that a device chain claims: the short id of the direct issuer.
    #[must_use]
    pub fn account_id(&self) -> Option<AccountId> {
        self.issuers.first().map(Certificate::account_id)
    }

    /// PEM blocks, leaf first, each with a final newline.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.certificates().map(Certificate::to_pem).collect()
    }

    /// Checks signatures, dates and authorities up to the top, which is trusted as it stands.
    ///
    /// # Errors
    /// The first fault met, going up from the leaf.
    pub fn verify(&self, now: UnixMillis) -> Result<VerifiedChain, ChainError> {
        let account = self.issuers.first().ok_or(ChainError::NoIssuer)?.clone();
        for (position, certificate) in [&self.leaf, &account].into_iter().enumerate() {
            if !certificate.public_key().is_rsa() {
                return Err(ChainError::Certificate { position, error: KeyError::Malformed.into() });
            }
        }
        check_dates(&self.leaf, 0, now)?;
        let mut lower = &self.leaf;
        for (position, issuer) in self.issuers.iter().enumerate() {
            check_issued(lower, position, issuer)?;
            check_dates(issuer, position + 1, now)?;
            lower = issuer;
        }
        Ok(VerifiedChain { chain: self.clone(), account })
    }
}

/// Checks that `issuer` had the right to issue `lower`, which is at `position`, and did.
fn check_issued(lower: &Certificate, position: usize, issuer: &Certificate) -> Result<(), ChainError> {
    // The leaf is no issuer, so the number of issuers below this one is the position of the lower.
    if !issuer.may_issue(position) {
        return Err(ChainError::NotAnAuthority { position: position + 1 });
    }
    lower.verify_signature(issuer).map_err(|fault| match fault {
        SignatureFault::WeakAlgorithm => ChainError::WeakSignature { position },
        SignatureFault::DoesNotVerify => ChainError::BadSignature { position },
    })
}

fn check_dates(certificate: &Certificate, position: usize, now: UnixMillis) -> Result<(), ChainError> {
    if certificate.is_valid_at(now) {
        Ok(())
    } else if now.seconds() < certificate.not_before().seconds() {
        Err(ChainError::NotYetValid { position, not_before: certificate.not_before() })
    } else {
        Err(ChainError::Expired { position, not_after: certificate.not_after() })
    }
}

impl VerifiedChain {
    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The device's certificate.
    #[must_use]
    pub fn device(&self) -> &Certificate {
        &self.chain.leaf
    }

    /// The device's id.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.device().device_id()
    }

    /// The account's certificate, which issued the device's.
    #[must_use]
    pub fn account(&self) -> &Certificate {
        &self.account
    }

    /// The account that the device belongs to.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        self.account.account_id()
    }

    /// Refuses the chain if one of its certificates is on a list that its issuer signed; lists of
    /// others, and lists with wrong signatures, do not count.
    ///
    /// # Errors
    /// [`ChainError::Revoked`].
    pub fn check_not_revoked<'l>(
        &self,
        lists: impl IntoIterator<Item = &'l RevocationList>,
    ) -> Result<(), ChainError> {
        for list in lists {
            for (position, (lower, issuer)) in self.chain.certificates().zip(&self.chain.issuers).enumerate()
            {
                // The cheap question first: most lists name none of these certificates.
                if list.names(lower.serial()) && list.is_signed_by(issuer) {
                    return Err(ChainError::Revoked { position });
                }
            }
        }
        Ok(())
    }

    /// Checks that this is our own device: its key is `key` and its account is `account`.
    ///
    /// # Errors
    /// [`ChainError::OtherKey`] or [`ChainError::OtherAccount`].
    pub fn check_own(&self, key: &PublicKey, account: AccountId) -> Result<(), ChainError> {
        if self.device().public_key() != key {
            return Err(ChainError::OtherKey);
        }
        let found = self.account_id();
        if found != account {
            return Err(ChainError::OtherAccount { expected: account, found });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
