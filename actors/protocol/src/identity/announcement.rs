//! What a device puts at its account id to say that it exists: a value signed by the account, with
//! the device's ids in it (`spec: identity 3, contacts 1 and 6`).

use crate::dht::content::Content;
use crate::dht::kind::ValueKind;
use crate::dht::value::{Value, ValueId};
use crate::ids::{AccountId, DeviceShortId};
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::msgpack::{self, Value as Object};

/// Priority of announcements for push notifications: 1 is normal.
const PRIORITY: u32 = 1;

/// Why a value is not the announcement of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Not a signed value of type 0.
    #[error("the value is no announcement: it is not signed, or of another type")]
    OtherValue,
    /// Signed by another account.
    #[error("the announcement is signed by account {found}, not by {expected}")]
    OtherAccount {
        /// Whose it should be.
        expected: AccountId,
        /// Whose it is.
        found: AccountId,
    },
    /// The signature does not verify.
    #[error("the signature of the announcement is wrong")]
    Signature,
    /// The data does not name a device.
    #[error("the announcement names no device")]
    Malformed,
    /// The short id is not the one of the key.
    #[error("the announcement gives a key and a short id that do not belong together")]
    Mismatch,
}

/// A device that an account announced; the signature was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The device's short id.
    pub device: DeviceShortId,
    /// The device's key; the older release may leave it out.
    pub key: Option<PublicKey>,
}

impl Announcement {
    /// Makes the value that announces a device, still without an id.
    ///
    /// # Errors
    /// [`KeyError`] when the account key does not sign.
    pub fn issue(account_key: &PrivateKey, device: &PublicKey) -> Result<Value, KeyError> {
        let data = Object::map([
            ("dev", Object::binary(device.device_short_id().as_bytes())),
            ("pk", Object::binary(device.der())),
        ]);
        let content = Content::new(ValueKind::UserData.type_number(), data.encode()).sign(account_key, 0)?;
        Ok(Value::signed(ValueId::NONE, content).with_priority(PRIORITY))
    }

    /// Reads an announcement found at, or stored for, `account`.
    ///
    /// # Errors
    /// [`AnnouncementError`] says why the value is to be skipped.
    pub fn from_value(value: &Value, account: AccountId) -> Result<Self, AnnouncementError> {
        let signed = value.as_signed().ok_or(AnnouncementError::OtherValue)?;
        if signed.content().type_number != ValueKind::UserData.type_number() {
            return Err(AnnouncementError::OtherValue);
        }
        let found = signed.owner().account_id();
        if found != account {
            return Err(AnnouncementError::OtherAccount { expected: account, found });
        }
        signed.check().map_err(|_| AnnouncementError::Signature)?;
        Self::from_data(&signed.content().data)
    }

    fn from_data(data: &[u8]) -> Result<Self, AnnouncementError> {
        let data = msgpack::decode_all(data).map_err(|_| AnnouncementError::Malformed)?;
        let device = data.get("dev").and_then(Object::as_binary).and_then(DeviceShortId::from_bytes);
        let device = device.ok_or(AnnouncementError::Malformed)?;
        let key = match data.get("pk") {
            None => None,
            Some(key) => {
                let der = key.as_binary().ok_or(AnnouncementError::Malformed)?;
                Some(PublicKey::from_der(der).map_err(|_| AnnouncementError::Malformed)?)
            }
        };
        if key.as_ref().is_some_and(|key| key.device_short_id() != device) {
            return Err(AnnouncementError::Mismatch);
        }
        Ok(Self { device, key })
    }
}
