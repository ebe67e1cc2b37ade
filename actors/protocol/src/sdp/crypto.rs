//! Keys of SRTP in descriptions (`spec: calls 5.6`; RFC 4568).

use std::fmt;

use base64::Engine as _;
use zeroize::Zeroizing;

/// The only tag that is written.
const TAG: &str = "1";

/// A master key of 16 bytes and a master salt of 14. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKey(Zeroizing<[u8; Self::LENGTH]>);

impl SrtpKey {
    /// Length in bytes, key and salt.
    pub const LENGTH: usize = 30;

    /// From random bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The 16 bytes of the key and the 14 of the salt.
    #[must_use]
    pub fn parts(&self) -> ([u8; 16], [u8; 14]) {
        let (mut key, mut salt) = ([0; 16], [0; 14]);
        key.copy_from_slice(&self.0[..16]);
        salt.copy_from_slice(&self.0[16..]);
        (key, salt)
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SrtpKey(..)")
    }
}

/// How packets are encrypted and signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES in counter mode, and ten bytes of HMAC-SHA1.
    AesCm128HmacSha1_80,
    /// The same with four bytes.
    AesCm128HmacSha1_32,
}

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Bytes that it adds to a packet.
    #[must_use]
    pub const fn tag_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
        }
    }
}

/// What somebody encrypts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// How.
    pub suite: Suite,
    /// With which key.
    pub key: SrtpKey,
}

impl Crypto {
    /// What we encrypt with.
    #[must_use]
    pub const fn new(key: SrtpKey) -> Self {
        Self { suite: Suite::AesCm128HmacSha1_80, key }
    }

    /// Reads the value of a `crypto` attribute: `Err` if its suite is unknown, so that the next line may
    /// count; `Ok(None)` if it is known and the key is not good.
    pub(super) fn read(value: &str) -> Result<Option<Self>, UnknownSuite> {
        let mut tokens = value.split_ascii_whitespace();
        let _tag = tokens.next();
        let name = tokens.next().ok_or(UnknownSuite)?;
        let known = [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];
        let suite = known.into_iter().find(|suite| suite.name() == name).ok_or(UnknownSuite)?;
        let key = || {
            let inline = tokens.next()?.strip_prefix("inline:")?;
            // Behind it a lifetime and the number of a key may stand, of which nobody makes use.
            let text = inline.split('|').next()?;
            let bytes = Zeroizing::new(base64::engine::general_purpose::STANDARD.decode(text).ok()?);
            let bytes: [u8; SrtpKey::LENGTH] = bytes.as_slice().try_into().ok()?;
            Some(SrtpKey::new(bytes))
        };
        Ok({ key }().map(|key| Self { suite, key }))
    }

    /// The value of the attribute.
    pub(super) fn value(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(*self.key.0));
        Zeroizing::new(format!("{TAG} {} inline:{}", self.suite.name(), *key))
    }
}

/// The suite of a line is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownSuite;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "PziwAI5SvdGCMsBBpGe7xrpz/Bov+R7uSuKfGCeb";

    #[test]
    fn keys_are_read_with_and_without_lifetime_and_written_without() {
        let plain = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let crypto = Crypto::read(&plain).unwrap().unwrap();
        assert_eq!(*crypto.value(), plain);
        let lifetime = format!("7 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4 UNENCRYPTED_SRTCP");
        assert_eq!(Crypto::read(&lifetime).unwrap().unwrap(), crypto);
    }

    #[test]
    fn a_key_of_the_wrong_length_is_none_and_an_unknown_suite_lets_the_next_line_count() {
        for bad in ["", "inline:", "inline:AAAA", "AAAA", &format!("inline:{KEY}AAAA")] {
            assert_eq!(Crypto::read(&format!("1 AES_CM_128_HMAC_SHA1_32 {bad}")), Ok(None), "{bad}");
        }
        for unknown in ["", "1", "1 F8_128_HMAC_SHA1_80 inline:x", "1 AEAD_AES_128_GCM inline:x"] {
            assert_eq!(Crypto::read(unknown), Err(UnknownSuite), "{unknown}");
        }
    }

    #[test]
    fn keys_do_not_show_themselves() {
        let crypto = Crypto::new(SrtpKey::new([0x41; 30]));
        assert!(!format!("{crypto:?}").contains("65"));
    }
}
