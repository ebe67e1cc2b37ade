//! Value types: how long storing nodes keep a value, what they take and what may replace it
//! (`spec: dht 3.1`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::dht::content::Content;
use crate::dht::value::{Body, Value, ValueError, ValueId};
use crate::identity::Certificate;
use crate::ids::DhtKey;
use crate::keys::{KeyError, PublicKey};
use crate::msgpack::{self, Value as Object};

/// What a storing node knows about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueKind {
    /// Type 0, and every type that nodes do not know: user profiles (9) among them, which no
    /// release registers.
    UserData,
    /// Type 1: a message for a named service.
    Message,
    /// Type 2: the address of a service; the storing node fills in the sender's address.
    IpService,
    /// Type 3: an instant message of 2023.
    InstantMessage,
    /// Type 4: a trust request. Seen by devices only: storing nodes see it encrypted, as user data.
    TrustRequest,
    /// Type 5: connection candidates.
    IceCandidates,
    /// Type 8: the certificate of a device.
    Certificate,
}

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl ValueKind {
    /// The kind behind a type number.
    #[must_use]
    pub const fn of(type_number: u16) -> Self {
        match type_number {
            1 => Self::Message,
            2 => Self::IpService,
            3 => Self::InstantMessage,
            4 => Self::TrustRequest,
            5 => Self::IceCandidates,
            8 => Self::Certificate,
            _ => Self::UserData,
        }
    }

    /// The type number; 0 for [`Self::UserData`].
    #[must_use]
    pub const fn type_number(self) -> u16 {
        match self {
            Self::UserData => 0,
            Self::Message => 1,
            Self::IpService => 2,
            Self::InstantMessage => 3,
            Self::TrustRequest => 4,
            Self::IceCandidates => 5,
            Self::Certificate => 8,
        }
    }

    /// How long a value is kept after it was made or refreshed.
    #[must_use]
    pub const fn lifetime(self) -> Duration {
        match self {
            Self::UserData => MINUTE.saturating_mul(10),
            Self::Message | Self::InstantMessage => MINUTE.saturating_mul(5),
            Self::IpService => MINUTE.saturating_mul(15),
            Self::IceCandidates => MINUTE,
            Self::TrustRequest | Self::Certificate => WEEK,
        }
    }

    /// Whether a signature on a value of this kind is checked, and decides, at storing nodes.
    pub(super) const fn signature_decides(self) -> bool {
        !matches!(self, Self::IpService | Self::Certificate)
    }
}

/// Why a storing node does not take a value. The sender is not told (`spec: dht 2`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A value without an id.
    #[error("a value without an id cannot be stored")]
    NoId,
    /// Too large.
    #[error(transparent)]
    Size(#[from] ValueError),
    /// Signed, but not by its owner.
    #[error("the value is not signed by its owner: {0}")]
    Signature(#[from] KeyError),
    /// A message without the name of a service.
    #[error("the message names no service")]
    NoService,
    /// A service address that is none or has no port, or that comes from nowhere.
    #[error("the service address is none, or its sender has no address")]
    ServiceAddress,
    /// A certificate that does not parse.
    #[error("the certificate does not parse")]
    Certificate,
    /// A certificate at a key of another device.
    #[error("the certificate does not belong to this key")]
    CertificateKey,
    /// There is another value with this id and it may not be replaced by this one.
    #[error("the value with this id may not be replaced by this one")]
    Edit,
    /// The value was made longer ago than its kind lives.
    #[error("the value has expired already")]
    Expired,
    /// Neither free space nor anything to displace was left.
    #[error("no space is left for the value")]
    Full,
}

/// Decides whether `value` may be stored at `key`, and returns it in the form to store.
///
/// `sender` is the address the put came from, where the network has such.
///
/// # Errors
/// The reason not to store it.
pub fn admit(key: DhtKey, value: Value, sender: Option<IpAddr>) -> Result<Value, Refusal> {
    if value.id == ValueId::NONE {
        return Err(Refusal::NoId);
    }
    value.check_size()?;
    let kind = value.kind();
    if let (Some(signed), true) = (value.as_signed(), kind.signature_decides()) {
        signed.check()?;
        return Ok(value);
    }
    match (kind, value.content()) {
        (ValueKind::Message, Some(content)) => check_message(content)?,
        (ValueKind::Certificate, Some(content)) => check_certificate(key, content)?,
        (ValueKind::IpService, Some(_)) => return fill_in_address(value, sender),
        _ => {}
    }
    Ok(value)
}

/// Decides whether `new`, which was admitted, may take the place of `old` with the same id.
///
/// # Errors
/// [`Refusal::Edit`] if not.
pub fn may_replace(old: &Value, new: &Value) -> Result<(), Refusal> {
    let allowed = match old.kind() {
        ValueKind::Certificate => {
            let keys = (certified_key(old), certified_key(new));
            new.kind() == ValueKind::Certificate && matches!(keys, (Some(old), Some(new)) if old == new)
        }
        ValueKind::Message | ValueKind::IpService => false,
        _ if !new.kind().signature_decides() => false,
        _ => match (old.as_signed(), new.as_signed()) {
            (Some(old), Some(new)) if old.owner() == new.owner() => {
                new.sequence() > old.sequence()
                    || (new.sequence() == old.sequence() && new.to_sign() == old.to_sign())
            }
            _ => false,
        },
    };
    if allowed { Ok(()) } else { Err(Refusal::Edit) }
}

/// Data that cannot be read as `[service, bytes]` is accepted, an empty service is not.
fn check_message(content: &Content) -> Result<(), Refusal> {
    let message = msgpack::decode_all(&content.data).ok();
    let service = message.as_ref().and_then(Object::as_array).and_then(|parts| parts.first());
    match service {
        Some(Object::Text(service)) if service.is_empty() => Err(Refusal::NoService),
        _ => Ok(()),
    }
}

fn check_certificate(key: DhtKey, content: &Content) -> Result<(), Refusal> {
    let device = leaf_public_key(&content.data).ok_or(Refusal::Certificate)?;
    let keys =
        [DhtKey::certificate(device.device_id()), DhtKey::legacy_certificate(device.device_short_id())];
    if keys.contains(&key) { Ok(()) } else { Err(Refusal::CertificateKey) }
}

fn certified_key(value: &Value) -> Option<PublicKey> {
    value.content().and_then(|content| leaf_public_key(&content.data))
}

/// The public key of the first certificate in the data of a certificate value: a packed byte string
/// with a chain in PEM, the chain itself, or DER in either place. Its issuers are not read: storing
/// nodes verify nothing, and the temporary authority of a device being linked has no RSA key.
fn leaf_public_key(data: &[u8]) -> Option<PublicKey> {
    let unpacked = msgpack::decode_all(data).ok();
    let inside = unpacked.as_ref().and_then(Object::as_binary).unwrap_or(data);
    let certificate = Certificate::from_pem(data).or_else(|_| Certificate::from_der(inside));
    certificate.ok().map(|certificate| certificate.public_key().clone())
}

/// Family numbers of the socket address in a service value, as Linux writes them.
const FAMILY_IPV4: u16 = 2;
const FAMILY_IPV6: u16 = 10;

fn fill_in_address(value: Value, sender: Option<IpAddr>) -> Result<Value, Refusal> {
    let content = value.content().ok_or(Refusal::ServiceAddress)?;
    let packed = msgpack::decode_all(&content.data).map_err(|_| Refusal::ServiceAddress)?;
    let port = packed.as_binary().and_then(service_port).ok_or(Refusal::ServiceAddress)?;
    let address = SocketAddr::new(sender.ok_or(Refusal::ServiceAddress)?, port);
    let mut content = content.clone();
    content.data = Object::Binary(socket_address(address)).encode();
    // The address is not the one that was signed, so a signature would be wrong from here on.
    Ok(Value { body: Body::Plain(content), ..value })
}

/// Port of a socket address in the memory layout of Linux; never zero.
fn service_port(bytes: &[u8]) -> Option<u16> {
    let family = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
    let length = match family {
        FAMILY_IPV4 => 16,
        FAMILY_IPV6 => 28,
        _ => return None,
    };
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    (bytes.len() >= length && port != 0).then_some(port)
}

fn socket_address(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    let family = if address.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 };
    bytes.extend_from_slice(&family.to_le_bytes());
    bytes.extend_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        IpAddr::V6(ip) => {
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::golden;
    use crate::ids::DeviceId;

    fn key() -> DhtKey {
        DhtKey::of_text("test key")
    }

    fn plain(type_number: u16, data: &[u8]) -> Value {
        Value::plain(ValueId(1), Content::new(type_number, data.to_vec()))
    }

    fn signed(sequence: u16, data: &[u8]) -> Value {
        let content = Content::new(0, data.to_vec()).sign(golden::throw_away_key(), sequence).unwrap();
        Value::signed(ValueId(1), content)
    }

    /// A signed value whose signature is all zeros.
    fn forged(sequence: u16) -> Value {
        let mut packed = signed(sequence, b"forged").encode();
        let length = packed.len();
        packed[length - 256..].fill(0);
        Value::decode(&packed).unwrap()
    }

    #[test]
    fn lifetimes_follow_the_type_and_unknown_types_are_user_data() {
        let minutes = |number| ValueKind::of(number).lifetime().as_secs() / 60;
        let expected = [(0, 10), (1, 5), (2, 15), (3, 5), (4, 10_080), (5, 1), (8, 10_080), (9, 10), (6, 10)];
        for (number, lifetime) in expected {
            assert_eq!(minutes(number), lifetime, "type {number}");
        }
        assert_eq!(Value::encrypted(ValueId(1), vec![1; 600]).kind(), ValueKind::UserData);
    }

    #[test]
    fn values_without_id_or_with_a_bad_signature_are_refused() {
        let mut value = plain(0, b"x");
        value.id = ValueId::NONE;
        assert_eq!(admit(key(), value, None), Err(Refusal::NoId));
        assert_eq!(admit(key(), signed(0, b"x"), None), Ok(signed(0, b"x")));
        assert_eq!(admit(key(), forged(0), None), Err(Refusal::Signature(KeyError::BadSignature)));
    }

    #[test]
    fn a_message_needs_a_service_only_if_it_can_be_read() {
        let message = |service: &str| Object::Array(vec![service.into(), Object::binary(b"x")]).encode();
        assert!(admit(key(), plain(1, &message("im")), None).is_ok());
        assert!(admit(key(), plain(1, b"\xc1"), None).is_ok());
        assert_eq!(admit(key(), plain(1, &message("")), None), Err(Refusal::NoService));
    }

    #[test]
    fn a_service_address_becomes_the_senders_with_the_port_kept() {
        let sent = socket_address("1.2.3.4:5060".parse().unwrap());
        let value = plain(2, &Object::binary(&sent).encode());
        for sender in ["10.77.0.3", "fe80::1"] {
            let sender: IpAddr = sender.parse().unwrap();
            let stored = admit(key(), value.clone(), Some(sender)).unwrap();
            let expected = socket_address(SocketAddr::new(sender, 5060));
            assert_eq!(stored.content().unwrap().data, Object::binary(&expected).encode());
        }
        assert_eq!(admit(key(), value, None), Err(Refusal::ServiceAddress));
        let sender = Some("10.77.0.3".parse().unwrap());
        let no_port = Object::binary(&socket_address("1.2.3.4:0".parse().unwrap())).encode();
        for data in [no_port, Object::binary(&sent[..15]).encode(), b"\xc1".to_vec()] {
            assert_eq!(admit(key(), plain(2, &data), sender), Err(Refusal::ServiceAddress));
        }
    }

    #[test]
    fn a_certificate_is_stored_at_both_of_its_keys_and_nowhere_else() {
        let certificates = golden::certificates();
        assert!(certificates.len() >= 2);
        for (recorded_key, value) in certificates {
            assert_eq!(admit(recorded_key, value.clone(), None), Ok(value.clone()));
            let device = certified_key(&value).unwrap();
            for key in [
                DhtKey::certificate(device.device_id()),
                DhtKey::legacy_certificate(device.device_short_id()),
            ] {
                assert!(admit(key, value.clone(), None).is_ok());
            }
            let other = DhtKey::certificate(DeviceId([1; 32]));
            assert_eq!(admit(other, value, None), Err(Refusal::CertificateKey));
        }
        assert_eq!(admit(key(), plain(8, b"no certificate"), None), Err(Refusal::Certificate));
    }

    #[test]
    fn a_certificate_is_found_in_raw_pem_and_der_too() {
        let (key, value) = golden::certificates().remove(0);
        let data = &value.content().unwrap().data;
        let pem = msgpack::decode_all(data).unwrap().as_binary().unwrap().to_vec();
        let der = Certificate::from_pem(&pem).unwrap().der().to_vec();
        for data in [pem, Object::binary(&der).encode(), der] {
            assert!(admit(key, plain(8, &data), None).is_ok());
        }
    }

    #[test]
    fn only_the_same_device_replaces_its_certificate() {
        let certificates = golden::certificates();
        let (first, second) = (&certificates[0].1, &certificates[1].1);
        assert_eq!(may_replace(first, first), Ok(()));
        assert_eq!(may_replace(first, second), Err(Refusal::Edit));
        assert_eq!(may_replace(first, &signed(1, b"x")), Err(Refusal::Edit));
    }

    #[test]
    fn signed_values_are_replaced_by_later_editions_of_their_owner_only() {
        let old = signed(5, b"five");
        assert_eq!(may_replace(&old, &signed(6, b"six")), Ok(()));
        assert_eq!(may_replace(&old, &signed(5, b"five")), Ok(()));
        assert_eq!(may_replace(&old, &signed(5, b"other")), Err(Refusal::Edit));
        assert_eq!(may_replace(&old, &signed(4, b"four")), Err(Refusal::Edit));
        assert_eq!(may_replace(&old, &plain(0, b"plain")), Err(Refusal::Edit));
        assert_eq!(may_replace(&plain(0, b"plain"), &signed(9, b"nine")), Err(Refusal::Edit));
        let foreign = Content::new(0, b"nine".to_vec()).sign(golden::device_b(), 9).unwrap();
        assert_eq!(may_replace(&old, &Value::signed(ValueId(1), foreign)), Err(Refusal::Edit));
    }

    #[test]
    fn any_certificate_data_is_refused_without_panic() {
        let (key, value) = golden::certificates().remove(0);
        let data = value.content().unwrap().data.clone();
        for at in (0..data.len()).step_by(3) {
            let mut damaged = data.clone();
            damaged[at] ^= 0x55;
            let _ = admit(key, plain(8, &damaged), None);
            let _ = admit(key, plain(8, &data[..at]), None);
        }
    }
}
