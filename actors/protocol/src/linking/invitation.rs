//! What a new device shows for the owner to give to another one (`spec: identity 6`).

use std::fmt;
use std::str::FromStr;

use crate::ids::DeviceId;
use crate::link::channel_name::ChannelName;

/// What the text begins with.
const SCHEME: &str = "jami-auth://";

/// Digits of a code.
const CODE_DIGITS: usize = 6;

/// Why a text is no invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvitationError {
    /// It begins otherwise.
    #[error("this is not what a new device shows: it begins with {SCHEME}")]
    Scheme,
    /// What follows is no device id.
    #[error("the id of the new device has to be 64 hexadecimal digits; copy the whole text")]
    Device,
    /// The code is none.
    #[error("the code behind the id has to be six digits; copy the whole text")]
    Code,
}

/// The code that a new device shows, from 100000 to 999999. Who opens a channel to it has to know that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkCode(u32);

impl LinkCode {
    /// From a random number, drawn by the caller.
    #[must_use]
    pub const fn from_random(number: u32) -> Self {
        Self(100_000 + number % 900_000)
    }

    /// The channel that has this code.
    #[must_use]
    pub fn channel(self) -> ChannelName {
        ChannelName::Auth { code: self.to_string() }
    }
}

impl FromStr for LinkCode {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let is_code = text.len() == CODE_DIGITS && text.bytes().all(|digit| digit.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_code && *number >= 100_000);
        number.map(Self).ok_or(InvitationError::Code)
    }
}

impl fmt::Display for LinkCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl fmt::Debug for LinkCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LinkCode(…)")
    }
}

/// The text `jami-auth://<device>/<code>`, which is also what the QR code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInvitation {
    /// The temporary device that the new one is until it is linked.
    pub device: DeviceId,
    /// Its code.
    pub code: LinkCode,
}

impl FromStr for LinkInvitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or(InvitationError::Scheme)?;
        let (device, rest) = rest.split_once('/').ok_or(InvitationError::Device)?;
        let device: DeviceId = device.parse().map_err(|_| InvitationError::Device)?;
        if device.0 == [0; DeviceId::LENGTH] {
            return Err(InvitationError::Device);
        }
        // What follows another slash is for later releases.
        let code = rest.split_once('/').map_or(rest, |(code, _)| code).parse()?;
        Ok(Self { device, code })
    }
}

impl fmt::Display for LinkInvitation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}/{}", self.device, self.code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::with_mutations;

    fn fuzz_invitation(data: &[u8]) {
        if let Ok(text) = std::str::from_utf8(data)
            && let Ok(invitation) = text.parse::<LinkInvitation>()
        {
            assert_eq!(invitation.to_string().parse(), Ok(invitation));
        }
    }

    #[test]
    fn the_text_is_read_also_with_what_later_releases_may_add() {
        let text = format!("jami-auth://{}/730897", "ab".repeat(32));
        let invitation: LinkInvitation = text.parse().unwrap();
        assert_eq!(invitation.device, DeviceId([0xab; 32]));
        assert_eq!(invitation.code.channel().to_string(), "auth:730897");
        assert_eq!(invitation.to_string(), text);
        for tail in ["/", "/x=y", "/1/2", "\n"] {
            assert_eq!(format!(" {text}{tail}").parse(), Ok(invitation), "{tail:?}");
        }
        assert!(!format!("{invitation:?}").contains("730897"));
        with_mutations(text.as_bytes(), 2000, fuzz_invitation);
    }

    #[test]
    fn malformed_texts_are_refused_with_the_reason() {
        use InvitationError::{Code, Device, Scheme};
        let device = "ab".repeat(32);
        for (text, error) in [
            (String::new(), Scheme),
            (format!("jami://{device}/730897"), Scheme),
            (format!("jami-auth://{device}"), Device),
            (format!("jami-auth://{}/730897", &device[1..]), Device),
            (format!("jami-auth://{device}0/730897"), Device),
            (format!("jami-auth://{}/730897", "g".repeat(64)), Device),
            (format!("jami-auth://{}/730897", "0".repeat(64)), Device),
            (format!("jami-auth://{device}/"), Code),
            (format!("jami-auth://{device}/73089"), Code),
            (format!("jami-auth://{device}/7308970"), Code),
            (format!("jami-auth://{device}/+30897"), Code),
            (format!("jami-auth://{device}/030897"), Code),
            (format!("jami-auth://{device}/73089x/730897"), Code),
        ] {
            assert_eq!(text.parse::<LinkInvitation>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_random_number_makes_a_code_of_six_digits(number: u32, device: [u8; 32]) {
            prop_assume!(device != [0; 32]);
            let invitation = LinkInvitation { device: DeviceId(device), code: LinkCode::from_random(number) };
            prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
        }
    }
}
