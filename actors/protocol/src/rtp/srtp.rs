//! SRTP with keys out of descriptions (`spec: calls 5.6`; RFC 3711, RFC 4568).
//!
//! ```text
//!   key, salt ──AES──► session key, salt, signing key
//!   packet:  header │ payload ^ AES-CTR(salt, source, index) │ HMAC-SHA1(all before, rollovers)[..10]
//!   index:   rollovers << 16 | sequence number
//! ```
//!
//! There is one state for each direction of a stream, not for each source as RFC 3711 has it: daemons go on
//! counting where they change their source, and that is all they know.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::packet::{MAX_PACKET, RtpHeader, RtpMalformed};
use crate::sdp::Crypto;
#[cfg(test)]
use crate::sdp::Suite;

/// How many packets behind the newest one a packet may come, once: more than two seconds of sound.
pub const REPLAY_WINDOW: u64 = 128;

/// Length of the key that signs, in bytes.
const SIGNING_KEY: usize = 20;

/// What keys are derived for (RFC 3711, 4.3.1).
const LABEL_ENCRYPT: u8 = 0;
const LABEL_SIGN: u8 = 1;
const LABEL_SALT: u8 = 2;

/// Why a packet is dropped. Whoever sends it may be anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// It is no packet.
    #[error(transparent)]
    Malformed(#[from] RtpMalformed),
    /// It is longer than any packet of a call.
    #[error("a packet of {0} bytes is longer than those of calls, which have {MAX_PACKET} at most")]
    TooLong(usize),
    /// It is not signed with the key of this stream, or was changed on its way.
    #[error("a packet is not signed with the key of its stream")]
    Forged,
    /// It was there already, or is too old to tell.
    #[error("a packet came twice, or too late")]
    Repeated,
    /// A packet is to be sent under a number that is used up: that would give its content away.
    #[error("a packet has no greater number than the one sent before it")]
    NumberUsed,
    /// The library refused.
    #[error("the cipher cannot be used")]
    Cipher,
}

/// Keys of one direction.
struct Keys {
    cipher: EncryptingKey,
    salt: [u8; 14],
    sign: hmac::Key,
    tag: usize,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys(..)")
    }
}

impl Keys {
    fn new(crypto: &Crypto) -> Result<Self, SrtpError> {
        let (key, salt) = crypto.key.parts();
        let master = cipher(&key)?;
        let mut derived = Zeroizing::new([0; 50]);
        let (encrypt, rest) = derived.split_at_mut(16);
        let (sign, new_salt) = rest.split_at_mut(SIGNING_KEY);
        for (label, out) in [(LABEL_ENCRYPT, encrypt), (LABEL_SIGN, sign), (LABEL_SALT, new_salt)] {
            let mut counter = [0; 16];
            counter[..14].copy_from_slice(&salt);
            counter[7] ^= label;
            apply(&master, counter, out)?;
        }
        let mut salt = [0; 14];
        salt.copy_from_slice(&derived[36..]);
        Ok(Self {
            cipher: cipher(&derived[..16])?,
            salt,
            sign: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &derived[16..36]),
            tag: crypto.suite.tag_length(),
        })
    }

    /// Encrypts or decrypts a payload; it is the same.
    fn apply(&self, source: u32, index: u64, payload: &mut [u8]) -> Result<(), SrtpError> {
        let mut counter = [0; 16];
        counter[..14].copy_from_slice(&self.salt);
        let with = source.to_be_bytes().into_iter().chain(index.to_be_bytes().into_iter().skip(2));
        for (byte, with) in counter[4..14].iter_mut().zip(with) {
            *byte ^= with;
        }
        apply(&self.cipher, counter, payload)
    }

    fn sign(&self, packet: &[u8], index: u64) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.sign);
        context.update(packet);
        context.update(&rollovers(index).to_be_bytes());
        context.sign()
    }
}

fn cipher(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    UnboundCipherKey::new(&AES_128, key).and_then(EncryptingKey::ctr).map_err(|_| SrtpError::Cipher)
}

fn apply(key: &EncryptingKey, counter: [u8; 16], bytes: &mut [u8]) -> Result<(), SrtpError> {
    let context = EncryptionContext::Iv128(FixedLength::from(counter));
    key.less_safe_encrypt(bytes, context).map(drop).map_err(|_| SrtpError::Cipher)
}

/// How often the numbers have begun anew.
fn rollovers(index: u64) -> u32 {
    u32::try_from(index >> 16 & u64::from(u32::MAX)).unwrap_or_default()
}

/// The index that a number most likely belongs to, after a packet with the index `newest` (RFC 3711, 3.3.1).
fn index_near(newest: u64, sequence: u16) -> u64 {
    let base = newest & !0xffff;
    let index = base | u64::from(sequence);
    if index > newest + 0x8000 {
        index.checked_sub(0x1_0000).unwrap_or(index)
    } else if index + 0x8000 < newest {
        index + 0x1_0000
    } else {
        index
    }
}

/// Protects the packets of one stream that are sent.
#[derive(Debug)]
pub struct Sealer {
    keys: Keys,
    newest: Option<u64>,
}

impl Sealer {
    /// With the key of our own description.
    ///
    /// # Errors
    /// When the cipher cannot be used.
    pub fn new(crypto: &Crypto) -> Result<Self, SrtpError> {
        Ok(Self { keys: Keys::new(crypto)?, newest: None })
    }

    /// Protects a packet. They are to be sealed in the order of their numbers.
    ///
    /// # Errors
    /// [`SrtpError`] when it is none, too long, or has a number that was used.
    pub fn seal(&mut self, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
        if packet.len() + self.keys.tag > MAX_PACKET {
            return Err(SrtpError::TooLong(packet.len()));
        }
        let header = RtpHeader::read(packet, 0)?;
        let index = match self.newest {
            None => u64::from(header.sequence),
            Some(newest) => Some(index_near(newest, header.sequence))
                .filter(|index| *index > newest)
                .ok_or(SrtpError::NumberUsed)?,
        };
        let mut sealed = Vec::with_capacity(packet.len() + self.keys.tag);
        sealed.extend_from_slice(packet);
        let payload = sealed.get_mut(header.length..).ok_or(RtpMalformed)?;
        self.keys.apply(header.source, index, payload)?;
        self.newest = Some(index);
        let tag = self.keys.sign(&sealed, index);
        sealed.extend(tag.as_ref().iter().take(self.keys.tag));
        Ok(sealed)
    }
}

/// Opens the packets of one stream that come.
#[derive(Debug)]
pub struct Opener {
    keys: Keys,
    newest: Option<u64>,
    /// Which of the packets up to the newest one were there; the lowest bit is the newest.
    seen: u128,
}

impl Opener {
    /// With the key of the other side's description.
    ///
    /// # Errors
    /// When the cipher cannot be used.
    pub fn new(crypto: &Crypto) -> Result<Self, SrtpError> {
        Ok(Self { keys: Keys::new(crypto)?, newest: None, seen: 0 })
    }

    /// The packet in the clear, if it is what the other side has sent, and comes for the first time.
    ///
    /// # Errors
    /// [`SrtpError`] when it is to be dropped.
    pub fn open(&mut self, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
        if packet.len() > MAX_PACKET {
            return Err(SrtpError::TooLong(packet.len()));
        }
        let header = RtpHeader::read(packet, self.keys.tag)?;
        let (signed, tag) = packet.split_at(packet.len() - self.keys.tag);
        let is_signed = |index: u64| {
            let expected = self.keys.sign(signed, index);
            let expected = expected.as_ref().get(..self.keys.tag).unwrap_or_default();
            verify_slices_are_equal(expected, tag).is_ok()
        };
        let index = match self.newest {
            Some(newest) => {
                let index = index_near(newest, header.sequence);
                self.check_new(index)?;
                is_signed(index).then_some(index)
            }
            // The numbers may have begun anew before anything came.
            None => {
                let first = u64::from(header.sequence);
                [first, first + 0x1_0000].into_iter().find(|index| is_signed(*index))
            }
        };
        let index = index.ok_or(SrtpError::Forged)?;
        let mut opened = signed.to_vec();
        let payload = opened.get_mut(header.length..).ok_or(RtpMalformed)?;
        self.keys.apply(header.source, index, payload)?;
        self.note(index);
        Ok(opened)
    }

    fn check_new(&self, index: u64) -> Result<(), SrtpError> {
        let behind = self.newest.unwrap_or_default().checked_sub(index);
        let seen = |behind| behind >= REPLAY_WINDOW || self.seen >> behind & 1 == 1;
        if behind.is_some_and(seen) { Err(SrtpError::Repeated) } else { Ok(()) }
    }

    fn note(&mut self, index: u64) {
        let newest = self.newest.unwrap_or(index);
        if let Some(behind) = newest.checked_sub(index) {
            self.seen |= 1_u128.checked_shl(u32::try_from(behind).unwrap_or(u32::MAX)).unwrap_or(0);
            self.newest = Some(newest);
        } else {
            let ahead = u32::try_from(index - newest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = Some(index);
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The keys that come of a master key, to be compared with those of the standard.
    pub(in crate::rtp) fn derived(key: [u8; 16], salt: [u8; 14]) -> (Vec<u8>, [u8; 14]) {
        let mut bytes = [0; 30];
        bytes[..16].copy_from_slice(&key);
        bytes[16..].copy_from_slice(&salt);
        let crypto = Crypto { suite: Suite::AesCm128HmacSha1_80, key: crate::sdp::SrtpKey::new(bytes) };
        let keys = Keys::new(&crypto).unwrap();
        let mut block = vec![0; 16];
        // What the derived cipher makes of the counter 0 shows which key it has.
        apply(&keys.cipher, [0; 16], &mut block).unwrap();
        (block, keys.salt)
    }

    /// What a key makes of nothing.
    pub(in crate::rtp) fn key_stream(key: [u8; 16], salt: [u8; 14], length: usize) -> Vec<u8> {
        let mut counter = [0; 16];
        counter[..14].copy_from_slice(&salt);
        let mut stream = vec![0; length];
        apply(&cipher(&key).unwrap(), counter, &mut stream).unwrap();
        stream
    }
}
