//! Who somebody is: keys, certificates, receipts, the account archive and revocation
//! (`spec: identity 1-4, 7`).
//!
//! ```text
//!   CA key ──signs──▶ CA certificate
//!      └────signs──▶ account certificate      account id = SHA-1 of the account key
//!                        └──signs──▶ device certificate   device id = SHA-256 of the device key
//!                        └──signs──▶ receipt (announcement inside), revocation list
//!
//!   archive = everything but the device: what a new device needs to issue itself a certificate
//!
//!   pem, certificate, chain        reading certificates, and who is behind a chain
//!   issue, der                     making certificates
//!   announcement, receipt          that a device exists: on the DHT, and kept by the device
//!   revocation                     that a device exists no more
//!   archive, archive_file          what is in the archive; how it is packed and protected
//!   archive_update                 bringing it up to date; revoking a device with it
//!   device                         a device's own identity: new, from an archive, from disk
//!   ethereum                       the key that signs for names
//! ```
//!
//! RSA operations take about two milliseconds and opening a protected archive about a second, so
//! actors call those functions on the blocking pool.

mod announcement;
mod archive;
mod archive_file;
mod archive_update;
mod certificate;
mod chain;
mod der;
mod device;
mod ethereum;
mod issue;
mod pem;
mod receipt;
mod revocation;
mod revoked_devices;

pub use announcement::{Announcement, AnnouncementError};
pub use archive::{Archive, ArchiveError, MAX_ENTRIES};
pub(crate) use archive_file::SealingKey;
pub use archive_file::{ArchiveFileError, ArchiveKey, ArchiveSecret, MAX_ARCHIVE_FILE, MAX_ARCHIVE_JSON};
pub use archive_update::RevokeError;
pub use certificate::{Certificate, CertificateError, MAX_CERTIFICATE};
pub use chain::{Chain, ChainError, MAX_CHAIN_BYTES, MAX_CHAIN_LENGTH, VerifiedChain};
pub use device::{AccountKeys, DeviceIdentity, EnrolError, IdentityError};
pub use ethereum::{EthereumAddress, EthereumKey};
pub use issue::{IssueError, IssuedAt, SerialNumber, issue_account, issue_ca, issue_device};
pub use receipt::{MAX_RECEIPT, Receipt, ReceiptError, SignedReceipt};
pub use revocation::{MAX_REVOCATION_LIST, RevocationError, RevocationList};
pub use revoked_devices::{ListRefused, MAX_LISTS_EACH, RevokedDevices};

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod testing;
