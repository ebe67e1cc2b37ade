//! The messages of a `swarm://` channel (`spec: drt 3`): MessagePack maps, one after the other.
//!
//! ```text
//!   { v, is_mobile, self_mobile_info, request | response | cert_request | cert_response }
//!                                       FIND      FOUND
//! ```
//!
//! Each release writes more than the one before; all read all. We write the newest, and older ones
//! so that what they recorded comes out as it went in.

use super::lease::{Lease, WrongType};
use crate::identity::MAX_CHAIN_BYTES;
use crate::ids::DeviceId;
use crate::msgpack::{DecodeError, Value};

/// Most ids of nodes taken from one message; the reference sends two.
pub const MAX_NODES: usize = 128;

/// Most records of mobile devices taken from, or put into, one message.
pub const MAX_MOBILE_INFOS: usize = 128;

/// Most certificates asked for in one message.
pub const MAX_CERTIFICATE_IDS: usize = 16;

/// Largest certificate chain taken or sent, in bytes.
pub const MAX_CERTIFICATE: usize = MAX_CHAIN_BYTES;

/// Largest reply of certificates, in bytes.
pub const MAX_CERTIFICATE_REPLY: usize = 256 * 1024;

const FIND: u64 = 1;
const FOUND: u64 = 2;

/// What a message was that is none: close the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not MessagePack, or too much of it.
    #[error("the swarm channel carries no message: {0}; close it")]
    Encoding(#[from] DecodeError),
    /// Something has another type than it should.
    #[error("{0} of a message on the swarm channel has the wrong type; close the channel")]
    WrongType(&'static str),
}

/// Which messages the sender understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Of 2023: mobile devices are believed unsigned.
    One,
    /// Eleven days of 2026: records of mobile devices carry a certificate.
    Two,
    /// Leases and certificate requests. Unknown later ones are taken for this.
    Three,
}

impl Version {
    const fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Unsigned(0 | 1) | Value::Negative(_) => Some(Self::One),
            Value::Unsigned(2) => Some(Self::Two),
            Value::Unsigned(_) => Some(Self::Three),
            _ => None,
        }
    }

    const fn number(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// That a device is mobile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MobileInfo {
    /// The device.
    pub device: DeviceId,
    /// Its word for it; absent from older releases.
    pub lease: Option<Box<Lease>>,
}

impl MobileInfo {
    /// The map that is sent and stored, in the form of version 3.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let lease = self.lease.as_ref().map_or(Value::Nil, |lease| lease.to_value());
        Value::map([("id", Value::binary(self.device.as_bytes())), ("lease", lease)])
    }

    /// Reads the map, in the form of either version.
    ///
    /// # Errors
    /// When something in it has the wrong type.
    pub fn from_value(value: &Value) -> Result<Self, MessageError> {
        let wrong = MessageError::WrongType("the record of a mobile device");
        let device = value.get("id").and_then(id).ok_or(wrong)?;
        let lease = optional(value, "lease", |lease| {
            Lease::from_value(lease).map_err(|WrongType| MessageError::WrongType("the lease"))
        })?;
        Ok(Self { device, lease: lease.flatten().map(Box::new) })
    }
}

/// The nodes somebody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Connected devices, closest to the target first.
    pub nodes: Vec<DeviceId>,
    /// Mobile devices without a lease.
    pub mobile_nodes: Vec<DeviceId>,
    /// Mobile devices; absent from version 1.
    pub mobile_infos: Vec<MobileInfo>,
}

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Which devices are close to the target?
    Find {
        /// How many are wanted; negative ones are read as zero.
        count: u64,
        /// The target.
        target: DeviceId,
    },
    /// These are.
    Found(Found),
    /// What are the certificates of these devices?
    CertificateRequest(Vec<DeviceId>),
    /// These: chains of concatenated DER, leaf first.
    CertificateResponse(Vec<Vec<u8>>),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the sender understands, which also tells the form of the message.
    pub version: Version,
    /// Whether the sender says it is mobile.
    pub is_mobile: bool,
    /// The sender's own word for that.
    pub self_mobile_info: Option<MobileInfo>,
    /// What it is for; absent when it is for something we do not know.
    pub body: Option<Body>,
}

impl Message {
    /// Reads a message; ignores what it does not know and what exceeds the bounds.
    ///
    /// # Errors
    /// When something has the wrong type.
    pub fn from_value(value: &Value) -> Result<Self, MessageError> {
        value.as_map().ok_or(MessageError::WrongType("the whole"))?;
        let version = match value.get("v") {
            None => Version::One,
            Some(version) => Version::from_value(version).ok_or(MessageError::WrongType("the version"))?,
        };
        let is_mobile = match value.get("is_mobile") {
            None => false,
            Some(flag) => flag.as_bool().ok_or(MessageError::WrongType("the mobile flag"))?,
        };
        let self_mobile_info = optional(value, "self_mobile_info", MobileInfo::from_value)?;
        let bodies = [
            optional(value, "cert_request", certificate_request)?,
            optional(value, "cert_response", certificate_response)?,
            optional(value, "request", request)?.flatten(),
            optional(value, "response", response)?.flatten(),
        ];
        Ok(Self { version, is_mobile, self_mobile_info, body: bodies.into_iter().flatten().next() })
    }

    /// The bytes of this message, in the form of its version.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (mut request, mut response) = (Value::Nil, Value::Nil);
        let (mut cert_request, mut cert_response) = (Value::Nil, Value::Nil);
        match &self.body {
            Some(Body::Find { count, target }) => {
                request = Value::map([
                    ("q", FIND.into()),
                    ("num", (*count).into()),
                    ("nodeId", Value::binary(target.as_bytes())),
                ]);
            }
            Some(Body::Found(found)) => response = found.to_value(self.version),
            Some(Body::CertificateRequest(devices)) => {
                cert_request = Value::map([("ids", ids_to_value(devices))]);
            }
            Some(Body::CertificateResponse(chains)) => {
                let chains = chains.iter().map(|chain| Value::binary(chain)).collect();
                cert_response = Value::map([("certificates", Value::Array(chains))]);
            }
            None => {}
        }
        let version = ("v", Value::from(self.version.number()));
        let is_mobile = ("is_mobile", Value::from(self.is_mobile));
        if self.version < Version::Three {
            return Value::map([version, is_mobile, ("request", request), ("response", response)]).encode();
        }
        let own = self.self_mobile_info.as_ref().map_or(Value::Nil, MobileInfo::to_value);
        Value::map([
            version,
            is_mobile,
            ("self_mobile_info", own),
            ("request", request),
            ("response", response),
            ("cert_request", cert_request),
            ("cert_response", cert_response),
        ])
        .encode()
    }
}

impl Found {
    fn to_value(&self, version: Version) -> Value {
        let mut entries = vec![
            ("q", FOUND.into()),
            ("nodes", ids_to_value(&self.nodes)),
            ("mobile_nodes", ids_to_value(&self.mobile_nodes)),
        ];
        let infos = |write: fn(&MobileInfo) -> Value| {
            ("mobile_node_infos", Value::Array(self.mobile_infos.iter().map(write).collect()))
        };
        match version {
            Version::One => {}
            Version::Two => entries.push(infos(|info| {
                let device = Value::binary(info.device.as_bytes());
                Value::map([("id", device), ("certificate", Value::binary(&[]))])
            })),
            Version::Three => entries.push(infos(MobileInfo::to_value)),
        }
        Value::map(entries)
    }
}

/// Puts chains into a reply within its bounds; those that do not fit are left out, and will be looked
/// for elsewhere (`spec: drt 1`).
#[must_use]
pub fn fit_certificates(chains: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut room = MAX_CERTIFICATE_REPLY;
    let fits = |chain: &Vec<u8>| {
        let left = room.checked_sub(chain.len()).filter(|_| chain.len() <= MAX_CERTIFICATE);
        room = left.unwrap_or(room);
        left.is_some()
    };
    chains.into_iter().take(MAX_CERTIFICATE_IDS).filter(fits).collect()
}

/// An entry that may be absent or nil.
fn optional<T>(
    value: &Value,
    key: &str,
    read: impl FnOnce(&Value) -> Result<T, MessageError>,
) -> Result<Option<T>, MessageError> {
    value.get(key).filter(|entry| **entry != Value::Nil).map(read).transpose()
}

fn request(value: &Value) -> Result<Option<Body>, MessageError> {
    let wrong = MessageError::WrongType("the request");
    value.as_map().ok_or(wrong)?;
    let kind = optional(value, "q", |kind| kind.as_unsigned().ok_or(wrong))?;
    let count = optional(value, "num", |count| match count {
        Value::Unsigned(count) => Ok(*count),
        Value::Negative(_) => Ok(0),
        _ => Err(wrong),
    })?;
    let target = optional(value, "nodeId", |target| id(target).ok_or(wrong))?;
    let target = target.unwrap_or(DeviceId([0; DeviceId::LENGTH]));
    Ok((kind == Some(FIND)).then_some(Body::Find { count: count.unwrap_or(0), target }))
}

fn response(value: &Value) -> Result<Option<Body>, MessageError> {
    let wrong = MessageError::WrongType("the response");
    value.as_map().ok_or(wrong)?;
    let kind = optional(value, "q", |kind| kind.as_unsigned().ok_or(wrong))?;
    let list = |key, limit| optional(value, key, |list| ids(list, limit).ok_or(wrong));
    let infos = optional(value, "mobile_node_infos", |infos| {
        let infos = infos.as_array().ok_or(wrong)?.iter().take(MAX_MOBILE_INFOS);
        infos.map(MobileInfo::from_value).collect::<Result<Vec<_>, _>>()
    })?;
    let found = Found {
        nodes: list("nodes", MAX_NODES)?.unwrap_or_default(),
        mobile_nodes: list("mobile_nodes", MAX_MOBILE_INFOS)?.unwrap_or_default(),
        mobile_infos: infos.unwrap_or_default(),
    };
    Ok((kind == Some(FOUND)).then_some(Body::Found(found)))
}

fn certificate_request(value: &Value) -> Result<Body, MessageError> {
    let wrong = MessageError::WrongType("the certificate request");
    value.as_map().ok_or(wrong)?;
    let devices = optional(value, "ids", |list| ids(list, MAX_CERTIFICATE_IDS).ok_or(wrong))?;
    Ok(Body::CertificateRequest(devices.unwrap_or_default()))
}

fn certificate_response(value: &Value) -> Result<Body, MessageError> {
    let wrong = MessageError::WrongType("the certificate response");
    value.as_map().ok_or(wrong)?;
    let chains = optional(value, "certificates", |list| {
        let list = list.as_array().ok_or(wrong)?.iter().take(MAX_CERTIFICATE_IDS);
        list.map(|chain| chain.as_binary().map(<[u8]>::to_vec).ok_or(wrong)).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Body::CertificateResponse(fit_certificates(chains.unwrap_or_default())))
}

fn id(value: &Value) -> Option<DeviceId> {
    DeviceId::from_bytes(value.as_binary()?)
}

/// The first `limit` ids of a list; `None` when one of them is none.
fn ids(list: &Value, limit: usize) -> Option<Vec<DeviceId>> {
    list.as_array()?.iter().take(limit).map(id).collect()
}

fn ids_to_value(devices: &[DeviceId]) -> Value {
    Value::Array(devices.iter().map(|device| Value::binary(device.as_bytes())).collect())
}
