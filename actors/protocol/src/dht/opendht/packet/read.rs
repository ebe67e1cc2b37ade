//! Reads single entries of a message: absent is `None`, wrong is an error.

use std::net::IpAddr;

use super::{Dropped, TransactionId, Want};
use crate::dht::opendht::token::Token;
use crate::dht::value::ValueId;
use crate::msgpack::Value as Object;

type Entry<T> = Result<Option<T>, Dropped>;

/// Number of IPv4 among address families, everywhere.
pub(super) const FAMILY_IPV4: u64 = 2;

/// Number of IPv6 as Linux has it: what is written.
pub(super) const FAMILY_IPV6: u64 = 10;

/// Numbers of IPv6 that are read: of Linux, Windows, FreeBSD and macOS, because nodes write that of
/// their own system.
const FAMILIES_IPV6: [u64; 4] = [FAMILY_IPV6, 23, 28, 30];

/// Reads the entry `name` of a map by `read`.
pub(super) fn entry<'o, T>(
    map: &'o Object,
    name: &'static str,
    read: impl FnOnce(&'o Object) -> Option<T>,
) -> Entry<T> {
    map.get(name).map(|object| read(object).ok_or(Dropped::Entry(name))).transpose()
}

pub(super) fn unsigned(map: &Object, name: &'static str) -> Entry<u64> {
    entry(map, name, Object::as_unsigned)
}

pub(super) fn unsigned_32(map: &Object, name: &'static str) -> Entry<u32> {
    entry(map, name, |object| u32::try_from(object.as_unsigned()?).ok())
}

/// Twenty bytes.
pub(super) fn hash(map: &Object, name: &'static str) -> Entry<[u8; 20]> {
    entry(map, name, |object| object.as_binary()?.try_into().ok())
}

/// A number, or the same as four bytes, big-endian.
pub(super) fn transaction(map: &Object) -> Result<TransactionId, Dropped> {
    let read = |object: &Object| match object {
        Object::Unsigned(number) => u32::try_from(*number).ok(),
        Object::Binary(bytes) | Object::Text(bytes) => {
            Some(u32::from_be_bytes(bytes.as_slice().try_into().ok()?))
        }
        _ => None,
    };
    Ok(TransactionId(entry(map, "t", read)?.unwrap_or_default()))
}

/// Bytes, or the same as a list of numbers. One that is too long counts as none.
pub(super) fn token(map: &Object) -> Result<Option<Token>, Dropped> {
    let read = |object: &Object| match object {
        Object::Binary(bytes) => Some(Token::new(bytes)),
        Object::Array(items) if items.len() > Token::MAX_LENGTH => Some(None),
        Object::Array(items) => {
            let byte = |item: &Object| u8::try_from(item.as_unsigned()?).ok();
            Some(Token::new(&items.iter().map(byte).collect::<Option<Vec<u8>>>()?))
        }
        _ => None,
    };
    Ok(entry(map, "token", read)?.flatten())
}

/// An address without port.
pub(super) fn address(map: &Object) -> Entry<IpAddr> {
    entry(map, "sa", |object| {
        let bytes = object.as_binary()?;
        let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|ip| ip.to_canonical())
    })
}

pub(super) fn want(map: &Object) -> Entry<Want> {
    entry(map, "w", |object| {
        let families: Vec<u64> = object.as_array()?.iter().map(Object::as_unsigned).collect::<Option<_>>()?;
        Some(Want {
            ipv4: families.contains(&FAMILY_IPV4),
            ipv6: families.iter().any(|family| FAMILIES_IPV6.contains(family)),
        })
    })
}

pub(super) fn value_ids(map: &Object, name: &'static str) -> Entry<Vec<ValueId>> {
    entry(map, name, |object| {
        object.as_array()?.iter().map(|id| id.as_unsigned().map(ValueId)).collect::<Option<_>>()
    })
}
