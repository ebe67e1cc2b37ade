//! The receipt: a text, signed by the account key, that lets a device say it is one of the
//! account's without having that key (`spec: identity 3`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::announcement::{Announcement, AnnouncementError};
use super::ethereum::EthereumAddress;
use crate::dht::value::{Value, ValueError};
use crate::ids::{AccountId, DeviceId, DeviceShortId};
use crate::keys::{KeyError, PrivateKey, PublicKey};

/// Longest receipt read, in bytes: the largest DHT value in base64 and the rest of the text. Real
/// ones have 2425.
pub const MAX_RECEIPT: usize = 96 * 1024;

/// Why a receipt makes an identity unusable. The account then needs its archive again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Longer than [`MAX_RECEIPT`].
    #[error("the receipt has {0} bytes, more than {MAX_RECEIPT}")]
    TooLong(usize),
    /// The account did not sign this text.
    #[error("the receipt is not signed by the account: open the archive to make a new one")]
    Signature,
    /// Not JSON, or without one of its entries.
    #[error("the receipt is signed but cannot be read: open the archive to make a new one")]
    Malformed,
    /// For another account.
    #[error("the receipt is for account {0:?}, not for this one: open the archive to make a new one")]
    OtherAccount(String),
    /// For another device.
    #[error("the receipt is for device {0:?}, not for this one: open the archive to make a new one")]
    OtherDevice(String),
    /// The announcement inside is no value.
    #[error("the announcement in the receipt cannot be read: {0}")]
    Value(#[from] ValueError),
    /// The announcement inside is not one of this account.
    #[error("the announcement in the receipt is of no use: {0}")]
    Announcement(#[from] AnnouncementError),
    /// The announcement inside lacks the device's key, or is for another device.
    #[error("the announcement in the receipt is not for device {0}: open the archive to make a new one")]
    OtherAnnouncement(DeviceId),
}

/// A receipt as it is stored: the text and the signature over its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The text, one line of JSON.
    pub text: String,
    /// RSASSA-PKCS1-v1_5 with SHA-512 by the account key.
    pub signature: Vec<u8>,
}

/// A receipt that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Address that owns the account's registered name, as the text gives it; not checked.
    pub ethereum_address: String,
    /// The value to put at the account id each time the device comes online, under a new id.
    pub announcement: Value,
}

/// The text of a receipt.
#[derive(Deserialize)]
struct Text {
    id: String,
    dev: String,
    #[serde(default)]
    eth: String,
    announce: String,
}

impl SignedReceipt {
    /// Makes the receipt of a device. Two signatures: some five milliseconds.
    ///
    /// # Errors
    /// [`KeyError`] when the account key does not sign.
    pub fn issue(
        account_key: &PrivateKey,
        device: &PublicKey,
        ethereum_address: EthereumAddress,
    ) -> Result<Self, KeyError> {
        Self::with_announcement(
            account_key,
            device.device_short_id(),
            ethereum_address,
            &Announcement::issue(account_key, device)?,
        )
    }

    fn with_announcement(
        account_key: &PrivateKey,
        device: DeviceShortId,
        ethereum_address: EthereumAddress,
        announcement: &Value,
    ) -> Result<Self, KeyError> {
        let account = account_key.public().account_id();
        let announcement = STANDARD.encode(announcement.encode());
        let text = format!(
            r#"{{"id":"{account}","dev":"{device}","eth":"{ethereum_address}","announce":"{announcement}"}}"#
        );
        let signature = account_key.sign(text.as_bytes())?;
        Ok(Self { text, signature })
    }

    /// Checks a stored receipt against the key of the account's certificate and our device key.
    ///
    /// # Errors
    /// [`ReceiptError`] says what does not fit.
    pub fn check(&self, account: &PublicKey, device: &PublicKey) -> Result<Receipt, ReceiptError> {
        if self.text.len() > MAX_RECEIPT {
            return Err(ReceiptError::TooLong(self.text.len()));
        }
        account.verify(self.text.as_bytes(), &self.signature).map_err(|_| ReceiptError::Signature)?;
        let text: Text = serde_json::from_str(&self.text).map_err(|_| ReceiptError::Malformed)?;
        if text.dev.parse() != Ok(device.device_short_id()) {
            return Err(ReceiptError::OtherDevice(text.dev));
        }
        let account = account.account_id();
        if text.id.parse::<AccountId>() != Ok(account) {
            return Err(ReceiptError::OtherAccount(text.id));
        }
        let announcement = STANDARD.decode(text.announce).map_err(|_| ReceiptError::Malformed)?;
        let announcement = Value::decode(&announcement)?;
        if Announcement::from_value(&announcement, account)?.key.as_ref() != Some(device) {
            return Err(ReceiptError::OtherAnnouncement(device.device_id()));
        }
        Ok(Receipt { ethereum_address: text.eth, announcement })
    }
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
