//! A mobile device's signed word that it is mobile in a conversation until a date (`spec: drt 3, 8`).
//!
//! ```text
//!   statement ──sign(device key)──▶ lease ──check──▶ well formed, of a member, current
//!                                     └──verify(chain)──▶ really this device's
//! ```

use std::time::Duration;

use crate::identity::VerifiedChain;
use crate::ids::{AccountId, ConversationId, DeviceId};
use crate::keys::{KeyError, PrivateKey};
use crate::msgpack::Value;
use crate::time::UnixMillis;

/// The only format there is.
pub const FORMAT_VERSION: u64 = 1;

/// Longest time a lease may be for, in seconds: 30 days.
pub const MAX_DURATION: i64 = 30 * 24 * 60 * 60;

/// A lease with less than this left is renewed, in seconds: 14 days.
pub const RENEWAL_THRESHOLD: i64 = 14 * 24 * 60 * 60;

/// How far in the future a lease may be issued, for clocks that differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Longest signature, in bytes: twice that of an RSA-4096 key.
pub const MAX_SIGNATURE: usize = 1024;

/// Longest text read as a conversation's id, in bytes; ours have 40.
pub const MAX_CONVERSATION_ID: usize = 128;

/// Why a lease is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It is for another conversation.
    #[error("the lease of device {0} is for another conversation")]
    OtherConversation(DeviceId),
    /// It was announced under another device's id.
    #[error("the lease of device {0} was announced as that of another device")]
    OtherDevice(DeviceId),
    /// No signature, or one longer than [`MAX_SIGNATURE`].
    #[error("the lease of device {0} has a signature of {1} bytes")]
    SignatureSize(DeviceId, usize),
    /// The account is not an active member.
    #[error("account {1}, for which device {0} has a lease, is no active member")]
    NotMember(DeviceId, AccountId),
    /// Issued too far in the future.
    #[error("the lease of device {0} is issued in the future; a clock is wrong")]
    NotYetIssued(DeviceId),
    /// The time is over.
    #[error("the lease of device {0} is over")]
    Expired(DeviceId),
    /// It ends before it begins, or lasts longer than [`MAX_DURATION`].
    #[error("the lease of device {0} is for a time that cannot be")]
    Duration(DeviceId),
    /// The certificate is of another device or account.
    #[error("the certificate is not that of device {0} and its account")]
    OtherCertificate(DeviceId),
    /// It outlives the device's certificate.
    #[error("the lease of device {0} outlives the certificate")]
    OutlivesCertificate(DeviceId),
    /// The signature is not the device's.
    #[error("the lease of device {0} is not signed by it")]
    BadSignature(DeviceId),
}

/// What a device signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The conversation.
    pub conversation: ConversationId,
    /// The account that the device belongs to.
    pub issuer: AccountId,
    /// The device.
    pub device: DeviceId,
    /// When, in seconds since the epoch.
    pub issued_at: i64,
    /// Until when, in seconds since the epoch.
    pub expires_at: i64,
}

impl Statement {
    /// What a mobile device says of itself now: for [`MAX_DURATION`], or until its certificate ends.
    #[must_use]
    pub fn own(conversation: ConversationId, chain: &VerifiedChain, now: UnixMillis) -> Self {
        let issued_at = now.seconds();
        let certificate_end = chain.device().not_after().seconds();
        Self {
            conversation,
            issuer: chain.account_id(),
            device: chain.device_id(),
            issued_at,
            expires_at: issued_at.saturating_add(MAX_DURATION).min(certificate_end),
        }
    }

    /// The canonical bytes that are signed.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Value::Array(vec![
            "DRT-MOBILE".into(),
            FORMAT_VERSION.into(),
            self.conversation.to_hex().as_str().into(),
            Value::binary(self.issuer.as_bytes()),
            self.device.to_hex().as_str().into(),
            self.issued_at.into(),
            self.expires_at.into(),
        ])
        .encode()
    }

    /// The lease. Takes about two milliseconds, so actors call this on the blocking pool.
    ///
    /// # Errors
    /// If the provider refuses the key, which no loaded key does.
    pub fn sign(self, device_key: &PrivateKey) -> Result<Lease, KeyError> {
        let signature = device_key.sign(&self.signed_bytes())?.into();
        Ok(Lease { statement: self, signature })
    }
}

/// A statement with its signature, not necessarily a good one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is said.
    pub statement: Statement,
    /// By whom.
    pub signature: Box<[u8]>,
}

/// That a lease could not be read at all: something in it has the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongType;

impl Lease {
    /// The map that is sent.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let statement = &self.statement;
        Value::map([
            ("format_version", FORMAT_VERSION.into()),
            ("conversation_id", statement.conversation.to_hex().as_str().into()),
            ("issuer_id", Value::binary(statement.issuer.as_bytes())),
            ("device_id", Value::binary(statement.device.as_bytes())),
            ("issued_at", statement.issued_at.into()),
            ("expires_at", statement.expires_at.into()),
            ("signature", Value::binary(&self.signature)),
        ])
    }

    /// Reads the map; `None` when the types are right but it is none of the format we know.
    pub(super) fn from_value(value: &Value) -> Result<Option<Self>, WrongType> {
        value.as_map().ok_or(WrongType)?;
        let format = field(value, "format_version", Value::as_unsigned)?;
        let conversation = field(value, "conversation_id", Value::as_text)?;
        let issuer = field(value, "issuer_id", |id| AccountId::from_bytes(id.as_binary()?))?;
        let device = field(value, "device_id", |id| DeviceId::from_bytes(id.as_binary()?))?;
        let issued_at = field(value, "issued_at", Value::as_signed)?;
        let expires_at = field(value, "expires_at", Value::as_signed)?;
        let signature = field(value, "signature", Value::as_binary)?;
        let conversation = conversation.filter(|text| text.len() <= MAX_CONVERSATION_ID);
        let conversation = conversation.and_then(|text| text.parse().ok());
        if format != Some(FORMAT_VERSION) {
            return Ok(None);
        }
        let (Some(conversation), Some(issuer), Some(device)) = (conversation, issuer, device) else {
            return Ok(None);
        };
        let (Some(issued_at), Some(expires_at), Some(signature)) = (issued_at, expires_at, signature) else {
            return Ok(None);
        };
        let statement = Statement { conversation, issuer, device, issued_at, expires_at };
        Ok(Some(Self { statement, signature: signature.into() }))
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.statement.device
    }

    /// Whether it is not over yet.
    #[must_use]
    pub const fn is_current(&self, now: UnixMillis) -> bool {
        self.statement.expires_at > now.seconds()
    }

    /// Whether this says something newer than `other`.
    #[must_use]
    pub const fn is_newer_than(&self, other: &Self) -> bool {
        self.statement.issued_at > other.statement.issued_at
    }

    /// Checks everything that needs no certificate (`spec: drt 8`, steps 1 to 3).
    ///
    /// # Errors
    /// Says why the lease is ignored.
    pub fn check(
        &self,
        conversation: ConversationId,
        announced: DeviceId,
        now: UnixMillis,
        is_active_member: impl FnOnce(AccountId) -> bool,
    ) -> Result<(), LeaseError> {
        let said = &self.statement;
        let device = said.device;
        if said.conversation != conversation {
            return Err(LeaseError::OtherConversation(device));
        }
        if device != announced {
            return Err(LeaseError::OtherDevice(device));
        }
        if self.signature.is_empty() || self.signature.len() > MAX_SIGNATURE {
            return Err(LeaseError::SignatureSize(device, self.signature.len()));
        }
        if said.issued_at > now.plus(MAX_CLOCK_SKEW).seconds() {
            return Err(LeaseError::NotYetIssued(device));
        }
        if !self.is_current(now) {
            return Err(LeaseError::Expired(device));
        }
        let duration = said.expires_at.checked_sub(said.issued_at);
        if !duration.is_some_and(|duration| (1..=MAX_DURATION).contains(&duration)) {
            return Err(LeaseError::Duration(device));
        }
        if !is_active_member(said.issuer) {
            return Err(LeaseError::NotMember(device, said.issuer));
        }
        Ok(())
    }

    /// Checks that the device whose chain this is signed it (`spec: drt 8`, step 5).
    ///
    /// # Errors
    /// Says why the lease is ignored.
    pub fn verify(&self, chain: &VerifiedChain) -> Result<(), LeaseError> {
        let said = &self.statement;
        if chain.device_id() != said.device || chain.account_id() != said.issuer {
            return Err(LeaseError::OtherCertificate(said.device));
        }
        if said.expires_at > chain.device().not_after().seconds() {
            return Err(LeaseError::OutlivesCertificate(said.device));
        }
        let key = chain.device().public_key();
        key.verify(&said.signed_bytes(), &self.signature).map_err(|_| LeaseError::BadSignature(said.device))
    }
}

/// An entry that may be absent.
fn field<'v, T>(
    value: &'v Value,
    key: &str,
    read: impl Fn(&'v Value) -> Option<T>,
) -> Result<Option<T>, WrongType> {
    value.get(key).map(|field| read(field).ok_or(WrongType)).transpose()
}
