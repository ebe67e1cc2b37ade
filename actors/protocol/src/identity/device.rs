//! What a device is to its account: made from the archive once, loaded at every start
//! (`spec: identity 2.1, 3, 4.3`).
//!
//! ```text
//!   Archive::create ─┐
//!   Archive::open  ──┴─▶ Archive::enrol(new device key) ─▶ DeviceIdentity ─▶ stored on the device
//!                                                               ▲
//!                        chain, key, receipt as stored ──load───┘   any fault: the archive again
//! ```

use super::announcement::Announcement;
use super::archive::Archive;
use super::certificate::Certificate;
use super::chain::{Chain, ChainError, VerifiedChain};
use super::ethereum::{EthereumAddress, EthereumKey};
use super::issue::{IssueError, IssuedAt, SerialNumber, issue_account, issue_ca, issue_device};
use super::receipt::{ReceiptError, SignedReceipt};
use super::revocation::RevocationList;
use crate::dht::value::{Value, ValueId};
use crate::ids::{AccountId, DeviceId};
use crate::keys::{KeyError, PrivateKey};
use crate::time::UnixMillis;

/// Address in the receipt of an account whose archive has no Ethereum key: it owns no name.
const NO_ADDRESS: EthereumAddress = EthereumAddress([0; 20]);

/// Why a stored identity cannot be used. The account then asks for its archive again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificates are wrong, expired or revoked, or not of this key.
    #[error("the device's certificates are of no use: {0}")]
    Chain(#[from] ChainError),
    /// The receipt is wrong.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

/// Why an archive does not make a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The account's certificates are missing, expired, not authorities, or of another key.
    #[error("the certificates in the archive are of no use; renew them with the key of the authority")]
    NeedsRenewal,
    /// Renewal needs the authority's key, which managed accounts do not have.
    #[error("the archive has no authority key, so the account cannot be renewed here")]
    NoAuthorityKey,
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The certificates do not form a chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The receipt could not be signed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A device of an account, all checks passed.
#[derive(Clone, Debug)]
pub struct DeviceIdentity {
    chain: VerifiedChain,
    key: PrivateKey,
    receipt: SignedReceipt,
    announcement: Value,
}

impl DeviceIdentity {
    /// Checks what is stored on the device. `revoked` holds the account's revocation lists.
    ///
    /// # Errors
    /// [`IdentityError`] when anything does not fit.
    pub fn load(
        chain: &Chain,
        key: PrivateKey,
        receipt: SignedReceipt,
        revoked: &[RevocationList],
        now: UnixMillis,
    ) -> Result<Self, IdentityError> {
        let chain = chain.verify(now)?;
        chain.check_own(key.public(), chain.account_id())?;
        chain.check_not_revoked(revoked)?;
        let announcement = receipt.check(chain.account().public_key(), key.public())?.announcement;
        Ok(Self { chain, key, receipt, announcement })
    }

    /// The device's certificate and its issuers.
    #[must_use]
    pub fn chain(&self) -> &VerifiedChain {
        &self.chain
    }

    /// The device's private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The receipt, to be stored.
    #[must_use]
    pub fn receipt(&self) -> &SignedReceipt {
        &self.receipt
    }

    /// The account it belongs to.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        self.chain.account_id()
    }

    /// Its id.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.chain.device_id()
    }

    /// The value to put at the account id when the device comes online, under a newly drawn id.
    #[must_use]
    pub fn announcement(&self, id: ValueId) -> Value {
        Value { id, ..self.announcement.clone() }
    }
}

/// The keys of a new account.
#[derive(Clone, Debug)]
pub struct AccountKeys {
    /// Key of the account's own authority.
    pub ca: PrivateKey,
    /// Key of the account.
    pub account: PrivateKey,
    /// Key that will own its registered name.
    pub ethereum: EthereumKey,
}

impl Archive {
    /// The archive of a new account.
    ///
    /// # Errors
    /// [`EnrolError::Issue`] when `now` cannot be written into a certificate.
    pub fn create(
        keys: AccountKeys,
        now: UnixMillis,
        serials: [SerialNumber; 2],
    ) -> Result<Self, EnrolError> {
        let mut archive = Self::new(keys.account, None);
        archive.ca_key = Some(keys.ca);
        archive.ethereum_key = Some(keys.ethereum);
        archive.renew(now, serials)?;
        Ok(archive)
    }

    /// Issues the account's certificates anew, with the same keys: the account id stays.
    ///
    /// # Errors
    /// [`EnrolError::NoAuthorityKey`], or [`EnrolError::Issue`] when `now` cannot be written.
    pub fn renew(&mut self, now: UnixMillis, serials: [SerialNumber; 2]) -> Result<(), EnrolError> {
        let ca_key = self.ca_key.as_ref().ok_or(EnrolError::NoAuthorityKey)?;
        let [ca, account] = serials.map(|serial| IssuedAt { now, serial });
        let ca = issue_ca(ca_key, ca)?;
        let account = issue_account(self.account_key.public(), &ca, ca_key, account)?;
        self.account_chain = Some(Chain::new(account, vec![ca])?);
        Ok(())
    }

    /// Makes a device of the account. Three signatures: some seven milliseconds.
    ///
    /// # Errors
    /// [`EnrolError::NeedsRenewal`] when the account's certificates would not be believed.
    pub fn enrol(&self, device_key: PrivateKey, at: IssuedAt) -> Result<DeviceIdentity, EnrolError> {
        let account = self.account_chain.as_ref().ok_or(EnrolError::NeedsRenewal)?;
        if account.leaf().public_key() != self.account_key.public() {
            return Err(EnrolError::NeedsRenewal);
        }
        let device = issue_device(device_key.public(), account.leaf(), &self.account_key, at)?;
        let issuers = account.certificates().map(Certificate::clone).collect();
        let chain = Chain::new(device, issuers)?.verify(at.now).map_err(|_| EnrolError::NeedsRenewal)?;
        let address = self.ethereum_key.as_ref().map_or(NO_ADDRESS, EthereumKey::address);
        let receipt = SignedReceipt::issue(&self.account_key, device_key.public(), address)?;
        let announcement = Announcement::issue(&self.account_key, device_key.public())?;
        Ok(DeviceIdentity { chain, key: device_key, receipt, announcement })
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
