//! How a new device becomes one of an account's: over a channel with a device that is one already, or by
//! a PIN and the DHT, as releases of 2023 do (`spec: identity 5 and 6`).
//!
//! ```text
//!   new device                                             source: has the account
//!   shows jami-auth://<device>/<code>  ···· the owner ···▶ is given that
//!        ◀────────────── connection, channel `auth:<code>` ──────────────
//!   {}                         ──▶    asks the owner: this device?
//!   asks for the password      ◀──    {authScheme}
//!   {password}                 ──▶    opens its archive with it
//!   device key, certificate,   ◀──    {accData}: keys and settings; contacts and conversations follow
//!   receipt                           by sync
//!
//!   invitation      what the new device shows, as text and QR code
//!   message         what goes over the channel
//!   new_device      the one side, source the other
//!   pin             the archive on the DHT under a PIN
//! ```
//!
//! Opening an archive and stretching a PIN take about a second, so callers do that on the blocking pool
//! and tell the outcome.

use std::time::Duration;

use crate::identity::ArchiveError;
use crate::ids::AccountId;

mod invitation;
mod message;
mod new_device;
mod pin;
mod source;

pub use invitation::{InvitationError, LinkCode, LinkInvitation};
pub use message::{LinkScheme, MAX_LINK_MESSAGE, MAX_PASSWORD};
pub use new_device::{MAX_WRONG_CODES, NewDevice, NewDeviceAction};
pub use pin::{MAX_VALUES_TRIED, PIN_SLOT, Pin, PinError, PinKey, PinOutcome, PinSearch};
pub use source::{MAX_PASSWORDS, Source, SourceAction};

/// How long the channel may be open, from its beginning.
pub const LINK_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Why a device was not linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// It took longer than [`LINK_TIMEOUT`].
    #[error("linking took longer than five minutes; begin anew on the new device")]
    TimedOut,
    /// The owner cancelled it here.
    #[error("linking was cancelled")]
    Cancelled,
    /// The owner cancelled it on the other device.
    #[error("linking was cancelled on the other device")]
    CancelledByPeer,
    /// The other device gave up waiting.
    #[error("the other device has waited too long; begin anew on the new device")]
    TimedOutAtPeer,
    /// The channel was closed before the end.
    #[error("the connection with the other device ended before it was linked; begin anew")]
    Closed,
    /// The password was wrong as often as it may be.
    #[error("the password was wrong {MAX_PASSWORDS} times; begin anew on the new device")]
    WrongPasswords,
    /// Others have tried codes.
    #[error("somebody tried {MAX_WRONG_CODES} wrong codes; show a new one")]
    WrongCodes,
    /// What came is no message, or not the one expected.
    #[error("the other device does not follow the protocol of linking")]
    Protocol,
    /// The account data cannot be used.
    #[error("the account that the other device sent cannot be used: {0}")]
    Archive(#[from] ArchiveError),
    /// The account data are another account's than the device that sent them.
    #[error("the other device belongs to {device}, but sent the account {sent}")]
    OtherAccount {
        /// Whose device it is.
        device: AccountId,
        /// Whose account it sent.
        sent: AccountId,
    },
}

#[cfg(test)]
mod tests;
