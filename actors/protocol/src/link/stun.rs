//! STUN messages (RFC 8489) as ICE uses them on the TCP path (`spec: connection 4.3, 4.6`).
//!
//! ```text
//!   0      2        4        8                   20
//!   | type | length | cookie | transaction id     | attributes, each padded to four bytes ...
//! ```
//!
//! A message is kept as received: attributes in order, padding bytes and all, so that it encodes to
//! the very bytes it came from and its integrity can be checked at any time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;

/// Most attributes of a message that is read; ICE uses eight.
pub const MAX_ATTRIBUTES: usize = 64;

/// Type of a Binding request.
pub const BINDING_REQUEST: u16 = 0x0001;
/// Type of a Binding indication.
pub const BINDING_INDICATION: u16 = 0x0011;
/// Type of a Binding success response.
pub const BINDING_SUCCESS: u16 = 0x0101;
/// Type of a Binding error response.
pub const BINDING_ERROR: u16 = 0x0111;

/// `<remote ufrag>:<local ufrag>` as the sender of a check sees them.
pub const USERNAME: u16 = 0x0006;
/// HMAC-SHA1 over all that precedes it.
pub const MESSAGE_INTEGRITY: u16 = 0x0008;
/// Code and reason of an error response.
pub const ERROR_CODE: u16 = 0x0009;
/// The address the request was seen to come from.
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Priority of the peer-reflexive candidate a check may reveal.
pub const PRIORITY: u16 = 0x0024;
/// The controlling side nominates the pair.
pub const USE_CANDIDATE: u16 = 0x0025;
/// Name of the sender's software.
pub const SOFTWARE: u16 = 0x8022;
/// CRC over all that precedes it.
pub const FINGERPRINT: u16 = 0x8028;
/// The sender is controlled; value is its tie breaker.
pub const ICE_CONTROLLED: u16 = 0x8029;
/// The sender controls; value is its tie breaker.
pub const ICE_CONTROLLING: u16 = 0x802a;

const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const ATTRIBUTE_HEADER: usize = 4;
const INTEGRITY_LENGTH: usize = 20;
const FINGERPRINT_LENGTH: usize = 4;
/// What the CRC is combined with, so that other protocols' CRC differ.
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// Ties a response to its request.
pub type TransactionId = [u8; 12];

/// What is wrong with a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StunError {
    /// Not the form of a STUN message.
    #[error("not a STUN message: wrong first bits, cookie or length; treat the frame as data")]
    NotStun,
    /// An attribute does not end within the message, or there are too many.
    #[error("the attributes of the STUN message are damaged; drop it")]
    Attributes,
    /// An attribute that is needed is not there.
    #[error("the STUN message lacks attribute {0:#06x}; drop it")]
    Missing(u16),
    /// The value of an attribute has not the form it must have.
    #[error("attribute {0:#06x} of the STUN message is malformed; drop the message")]
    Malformed(u16),
    /// MESSAGE-INTEGRITY was not made with the password.
    #[error("the STUN message was not made with our password; answer 401 or drop it")]
    Integrity,
    /// FINGERPRINT does not fit the bytes.
    #[error("the fingerprint of the STUN message is wrong; drop it")]
    Fingerprint,
}

/// One attribute of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its type.
    pub kind: u16,
    /// Its value without padding.
    pub value: Vec<u8>,
    /// The bytes that pad the value to a multiple of four; zeros when we write them.
    padding: Vec<u8>,
}

impl Attribute {
    /// An attribute padded with zeros.
    #[must_use]
    pub fn new(kind: u16, value: impl Into<Vec<u8>>) -> Self {
        let value = value.into();
        let padding = vec![0; padding_of(value.len())];
        Self { kind, value, padding }
    }

    fn encoded_length(&self) -> usize {
        ATTRIBUTE_HEADER + self.value.len() + self.padding.len()
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#06x}={}", self.kind, hex::encode(&self.value))
    }
}

/// A STUN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Method and class, for example [`BINDING_REQUEST`].
    pub kind: u16,
    /// Ties a response to its request.
    pub transaction: TransactionId,
    /// Attributes in the order of the message.
    attributes: Vec<Attribute>,
}

/// Whether a frame has the form of a STUN message: first two bits, cookie and length are right.
#[must_use]
pub fn looks_like_stun(frame: &[u8]) -> bool {
    header(frame).is_some()
}

/// Type, announced length and transaction of a frame in the form of a STUN message.
fn header(frame: &[u8]) -> Option<(u16, TransactionId, &[u8])> {
    let (header, attributes) = frame.split_first_chunk::<HEADER>()?;
    let [k0, k1, l0, l1, c0, c1, c2, c3, transaction @ ..] = header;
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let fits = *k0 < 0x40
        && length == attributes.len()
        && length.is_multiple_of(4)
        && u32::from_be_bytes([*c0, *c1, *c2, *c3]) == COOKIE;
    fits.then_some((u16::from_be_bytes([*k0, *k1]), *transaction, attributes))
}

impl Message {
    /// A message without attributes.
    #[must_use]
    pub const fn new(kind: u16, transaction: TransactionId) -> Self {
        Self { kind, transaction, attributes: Vec::new() }
    }

    /// What each side sends every 20 to 24 seconds to keep the path open: a Binding indication with a
    /// fingerprint and nothing else.
    #[must_use]
    pub fn binding_indication(transaction: TransactionId) -> Self {
        let mut message = Self::new(BINDING_INDICATION, transaction);
        message.add_fingerprint();
        message
    }

    /// The answer to a Binding request that came from `source`, made with our own password.
    #[must_use]
    pub fn binding_success(
        transaction: TransactionId,
        source: SocketAddr,
        software: &str,
        password: &str,
    ) -> Self {
        let mut message = Self::new(BINDING_SUCCESS, transaction);
        message.push(Attribute::new(XOR_MAPPED_ADDRESS, xor_address(source, &transaction)));
        message.push(Attribute::new(SOFTWARE, software));
        message.add_integrity(password);
        message.add_fingerprint();
        message
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no STUN message, or its attributes do not add up.
    pub fn decode(frame: &[u8]) -> Result<Self, StunError> {
        let (kind, transaction, mut rest) = header(frame).ok_or(StunError::NotStun)?;
        let mut attributes = Vec::new();
        while !rest.is_empty() {
            let (attribute, after) = split_attribute(rest).ok_or(StunError::Attributes)?;
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(StunError::Attributes);
            }
            attributes.push(attribute);
            rest = after;
        }
        Ok(Self { kind, transaction, attributes })
    }

    /// The bytes of the message, without frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = self.attributes.iter().map(Attribute::encoded_length).sum();
        self.encode_front(self.attributes.len(), length)
    }

    /// All attributes, in order.
    #[must_use]
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Value of the first attribute of this kind. What follows MESSAGE-INTEGRITY is not protected and
    /// therefore not seen, except FINGERPRINT (RFC 8489 14.5).
    #[must_use]
    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        let index = self.position(kind)?;
        let hidden = self.position(MESSAGE_INTEGRITY).is_some_and(|integrity| integrity < index);
        if hidden && kind != FINGERPRINT {
            return None;
        }
        self.attributes.get(index).map(|attribute| &attribute.value[..])
    }

    /// The address in XOR-MAPPED-ADDRESS.
    ///
    /// # Errors
    /// When there is none, or it is malformed.
    pub fn mapped_address(&self) -> Result<SocketAddr, StunError> {
        let value = self.get(XOR_MAPPED_ADDRESS).ok_or(StunError::Missing(XOR_MAPPED_ADDRESS))?;
        unxor_address(value, &self.transaction).ok_or(StunError::Malformed(XOR_MAPPED_ADDRESS))
    }

    /// Appends an attribute; integrity and fingerprint come after all others.
    pub fn push(&mut self, attribute: Attribute) {
        self.attributes.push(attribute);
    }

    /// Appends MESSAGE-INTEGRITY, made with a short-term password.
    pub fn add_integrity(&mut self, password: &str) {
        let covered = self.covered_by(self.attributes.len(), INTEGRITY_LENGTH);
        let tag = hmac::sign(&integrity_key(password), &covered);
        self.push(Attribute::new(MESSAGE_INTEGRITY, tag.as_ref()));
    }

    /// Appends FINGERPRINT.
    pub fn add_fingerprint(&mut self) {
        let fingerprint = self.fingerprint(self.attributes.len());
        self.push(Attribute::new(FINGERPRINT, fingerprint.to_be_bytes()));
    }

    /// Checks MESSAGE-INTEGRITY, in constant time.
    ///
    /// # Errors
    /// When there is none, or it was made with another password or for other bytes.
    pub fn verify_integrity(&self, password: &str) -> Result<(), StunError> {
        let index = self.position(MESSAGE_INTEGRITY).ok_or(StunError::Missing(MESSAGE_INTEGRITY))?;
        let tag = self.attributes.get(index).map_or(&[][..], |attribute| &attribute.value);
        let covered = self.covered_by(index, INTEGRITY_LENGTH);
        hmac::verify(&integrity_key(password), &covered, tag).map_err(|_| StunError::Integrity)
    }

    /// Checks FINGERPRINT, which must be the last attribute.
    ///
    /// # Errors
    /// When there is none at the end, or it does not fit.
    pub fn verify_fingerprint(&self) -> Result<(), StunError> {
        let missing = StunError::Missing(FINGERPRINT);
        let (last, before) = self.attributes.split_last().ok_or(missing)?;
        if last.kind != FINGERPRINT {
            return Err(missing);
        }
        let fits = last.value == self.fingerprint(before.len()).to_be_bytes();
        fits.then_some(()).ok_or(StunError::Fingerprint)
    }

    fn position(&self, kind: u16) -> Option<usize> {
        self.attributes.iter().position(|attribute| attribute.kind == kind)
    }

    fn fingerprint(&self, index: usize) -> u32 {
        crc32fast::hash(&self.covered_by(index, FINGERPRINT_LENGTH)) ^ FINGERPRINT_MASK
    }

    /// The bytes before attribute `index`, whose value has `value_length` bytes; the header's length
    /// counts that attribute as the last one.
    fn covered_by(&self, index: usize, value_length: usize) -> Vec<u8> {
        let before: usize = self.attributes.iter().take(index).map(Attribute::encoded_length).sum();
        self.encode_front(index, before + ATTRIBUTE_HEADER + value_length)
    }

    /// The header announcing `length`, and the first `count` attributes.
    fn encode_front(&self, count: usize, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + length);
        // Attributes come from messages that fitted, or are a few of our own.
        let two_bytes = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&two_bytes(length));
        out.extend_from_slice(&COOKIE.to_be_bytes());
        out.extend_from_slice(&self.transaction);
        for attribute in self.attributes.iter().take(count) {
            out.extend_from_slice(&attribute.kind.to_be_bytes());
            out.extend_from_slice(&two_bytes(attribute.value.len()));
            out.extend_from_slice(&attribute.value);
            out.extend_from_slice(&attribute.padding);
        }
        out
    }
}

const fn padding_of(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

fn split_attribute(bytes: &[u8]) -> Option<(Attribute, &[u8])> {
    let ([k0, k1, l0, l1], rest) = bytes.split_first_chunk::<ATTRIBUTE_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let (value, rest) = rest.split_at_checked(length)?;
    let (padding, rest) = rest.split_at_checked(padding_of(length))?;
    let kind = u16::from_be_bytes([*k0, *k1]);
    Some((Attribute { kind, value: value.to_vec(), padding: padding.to_vec() }, rest))
}

fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// Sixteen bytes to combine an address with: the cookie and the transaction.
fn mask(transaction: &TransactionId) -> u128 {
    transaction.iter().fold(u128::from(COOKIE), |mask, byte| mask << 8 | u128::from(*byte))
}

/// The half of the cookie that ports are combined with.
const PORT_MASK: u16 = (COOKIE >> 16) as u16;

fn xor_address(address: SocketAddr, transaction: &TransactionId) -> Vec<u8> {
    let family = if address.is_ipv4() { 1 } else { 2 };
    let mut out = vec![0, family];
    out.extend_from_slice(&(address.port() ^ PORT_MASK).to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&(u32::from(ip) ^ COOKIE).to_be_bytes()),
        IpAddr::V6(ip) => out.extend_from_slice(&(u128::from(ip) ^ mask(transaction)).to_be_bytes()),
    }
    out
}

fn unxor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let ([_, family, p0, p1], ip) = value.split_first_chunk()?;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(u32::from_be_bytes(ip.try_into().ok()?) ^ COOKIE)),
        2 => IpAddr::V6(Ipv6Addr::from(u128::from_be_bytes(ip.try_into().ok()?) ^ mask(transaction))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([*p0, *p1]) ^ PORT_MASK))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::link::golden;
    use crate::link::ice_text::IceText;
    use crate::link::request::PeerRequest;

    /// Password of every session of the recordings, by user fragment.
    fn passwords() -> BTreeMap<String, String> {
        golden::peer_requests()
            .iter()
            .map(|recorded| PeerRequest::decode(&recorded.data).unwrap())
            .map(|request| IceText::parse(&request.ice_text).unwrap().credentials)
            .map(|credentials| (credentials.ufrag, credentials.password))
            .collect()
    }

    #[test]
    fn recorded_messages_encode_to_the_bytes_they_came_from() {
        let recorded = golden::stun_messages();
        assert!(recorded.len() > 200);
        for message in recorded {
            let decoded = Message::decode(&message.bytes).unwrap();
            assert_eq!(decoded.encode(), message.bytes);
            decoded.verify_fingerprint().unwrap();
        }
    }

    #[test]
    fn recorded_checks_verify_with_the_passwords_sent_through_the_dht() {
        let passwords = passwords();
        let mut open = BTreeMap::new();
        let mut verified = 0;
        for recorded in golden::stun_messages() {
            let message = Message::decode(&recorded.bytes).unwrap();
            if let Some(name) = message.get(USERNAME) {
                let name = std::str::from_utf8(name).unwrap();
                let password = passwords[name.split(':').next().unwrap()].clone();
                open.insert(message.transaction, password);
            }
            if message.kind != BINDING_INDICATION {
                // A response is made with the password of the request it answers.
                message.verify_integrity(&open[&message.transaction]).unwrap();
                assert_eq!(message.verify_integrity("another password"), Err(StunError::Integrity));
                verified += 1;
            }
        }
        assert!(verified > 180);
    }

    #[test]
    fn our_responses_and_keepalives_equal_the_recorded_ones() {
        let passwords = passwords();
        let mut open = BTreeMap::new();
        for recorded in golden::stun_messages() {
            let message = Message::decode(&recorded.bytes).unwrap();
            match message.kind {
                BINDING_REQUEST => {
                    let name = std::str::from_utf8(message.get(USERNAME).unwrap()).unwrap();
                    open.insert(message.transaction, passwords[name.split(':').next().unwrap()].clone());
                }
                BINDING_SUCCESS => {
                    assert_eq!(message.mapped_address().unwrap(), recorded.destination);
                    let software = std::str::from_utf8(message.get(SOFTWARE).unwrap()).unwrap();
                    let password = &open[&message.transaction];
                    let ours = Message::binding_success(
                        message.transaction,
                        recorded.destination,
                        software,
                        password,
                    );
                    assert_eq!(ours.encode(), recorded.bytes);
                }
                kind => {
                    assert_eq!(kind, BINDING_INDICATION);
                    assert_eq!(Message::binding_indication(message.transaction).encode(), recorded.bytes);
                }
            }
        }
    }

    #[test]
    fn addresses_survive_both_families() {
        for address in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let address: SocketAddr = address.parse().unwrap();
            let message = Message::binding_success([9; 12], address, "", "secret");
            assert_eq!(message.mapped_address(), Ok(address));
        }
        let mut message = Message::new(BINDING_SUCCESS, [0; 12]);
        assert_eq!(message.mapped_address(), Err(StunError::Missing(XOR_MAPPED_ADDRESS)));
        message.push(Attribute::new(XOR_MAPPED_ADDRESS, [0, 2, 0, 0, 1, 2, 3, 4]));
        assert_eq!(message.mapped_address(), Err(StunError::Malformed(XOR_MAPPED_ADDRESS)));
    }

    #[test]
    fn attributes_behind_the_integrity_are_not_seen() {
        let mut message = Message::new(BINDING_REQUEST, [1; 12]);
        message.add_integrity("secret");
        message.push(Attribute::new(USE_CANDIDATE, []));
        message.add_fingerprint();
        assert_eq!(message.get(USE_CANDIDATE), None);
        assert!(message.get(FINGERPRINT).is_some() && message.get(MESSAGE_INTEGRITY).is_some());
        message.verify_integrity("secret").unwrap();
    }

    #[test]
    fn damage_is_noticed() {
        let good = Message::binding_success([3; 12], "10.0.0.1:1".parse().unwrap(), "x", "secret").encode();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x01;
            let noticed = Message::decode(&bad).and_then(|message| {
                message.verify_fingerprint()?;
                message.verify_integrity("secret")
            });
            assert!(noticed.is_err(), "byte {index}");
        }
        assert_eq!(Message::decode(&good[..good.len() - 4]), Err(StunError::NotStun));
        let mut crowded = Message::new(BINDING_REQUEST, [0; 12]);
        (0..=MAX_ATTRIBUTES).for_each(|_| crowded.push(Attribute::new(USE_CANDIDATE, [])));
        assert_eq!(Message::decode(&crowded.encode()), Err(StunError::Attributes));
    }

    proptest! {
        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(
            index in 0..250_usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let recorded = golden::stun_messages();
            let mut bytes = recorded[index % recorded.len()].bytes.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [bytes, noise] {
                if let Ok(message) = Message::decode(&bytes) {
                    prop_assert_eq!(message.encode(), bytes);
                    let _ = (message.mapped_address(), message.verify_integrity("x"));
                }
            }
        }
    }
}
