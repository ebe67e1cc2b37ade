//! The packets by which nodes and people in the same local network are found (`spec: dht 9`).
//!
//! ```text
//!   "q"                                                   who is here?
//!   { "dht":  [node id, port, network id],                an answer, also sent unasked
//!     "jami": [account id, display name] }
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::NetworkId;
use crate::ids::{AccountId, NodeId};
use crate::msgpack::{self, Value as Object};

/// UDP port of both groups.
pub const PORT: u16 = 8888;

/// The groups.
pub const GROUPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(239, 192, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xff08, 0, 0, 0, 0, 0, 0, 0x0101))];

/// Largest packet that is read, in bytes.
pub const MAX_PACKET: usize = 2048;

/// Longest display name that is read, in bytes.
pub const MAX_NAME: usize = 256;

/// A packet of the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Who is here? Answered to its sender.
    Query,
    /// Somebody is here.
    Announcement {
        /// A node of the DHT, at the address of the sender.
        node: Option<AnnouncedNode>,
        /// A person.
        person: Option<AnnouncedPerson>,
    },
}

/// A node in the local network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedNode {
    /// Its id.
    pub id: NodeId,
    /// Its UDP port.
    pub port: u16,
    /// Its network: of another one it is of no use.
    pub network: NetworkId,
}

/// A person in the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedPerson {
    /// The account.
    pub account: AccountId,
    /// The name it shows. Anybody may claim any.
    pub name: String,
}

impl Discovery {
    /// Reads a packet; `None` if it is neither. Services that are not known, or whose content is
    /// wrong, are left out.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (object, _) = msgpack::decode(bytes, MAX_PACKET).ok()?;
        match &object {
            Object::Text(query) if query == b"q" => Some(Self::Query),
            Object::Map(_) => Some(Self::Announcement {
                node: object.get("dht").and_then(AnnouncedNode::read),
                person: object.get("jami").and_then(AnnouncedPerson::read),
            }),
            _ => None,
        }
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self::Announcement { node, person } = self else { return Object::text("q").encode() };
        let node = node.as_ref().map(|node| ("dht", node.object()));
        let person = person.as_ref().map(|person| ("jami", person.object()));
        Object::map(node.into_iter().chain(person)).encode()
    }
}

impl AnnouncedNode {
    fn read(object: &Object) -> Option<Self> {
        let [id, port, network, ..] = object.as_array()? else { return None };
        let number = |object: &Object| u32::try_from(object.as_unsigned()?).ok();
        let port = u16::try_from(number(port)?).ok().filter(|port| *port != 0)?;
        Some(Self { id: NodeId::from_bytes(id.as_binary()?)?, port, network: NetworkId(number(network)?) })
    }

    fn object(&self) -> Object {
        let number = |number: u32| Object::from(u64::from(number));
        Object::Array(vec![
            Object::binary(self.id.as_bytes()),
            number(self.port.into()),
            number(self.network.0),
        ])
    }
}

impl AnnouncedPerson {
    fn read(object: &Object) -> Option<Self> {
        let [account, name, ..] = object.as_array()? else { return None };
        let name = name.as_text().filter(|name| name.len() <= MAX_NAME)?;
        Some(Self { account: AccountId::from_bytes(account.as_binary()?)?, name: name.to_owned() })
    }

    fn object(&self) -> Object {
        Object::Array(vec![Object::binary(self.account.as_bytes()), Object::text(&self.name)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_packets_are_read_and_written() {
        // (spec: dht V17)
        let query = [0xa1, 0x71];
        assert_eq!(Discovery::decode(&query), Some(Discovery::Query));
        assert_eq!(Discovery::Query.encode(), query);
        let answer = "82a364687493c4140ff6d486b2f3877683f7a17c8ba34cb2ebb5c33bcdb23b00a46a616d6992c41430e62901\
                      5fcb780a18681348f8b8c4853f01c13fa6557365722041";
        let answer = hex::decode(answer).unwrap();
        let expected = Discovery::Announcement {
            node: Some(AnnouncedNode {
                id: "0ff6d486b2f3877683f7a17c8ba34cb2ebb5c33b".parse().unwrap(),
                port: 45627,
                network: NetworkId(0),
            }),
            person: Some(AnnouncedPerson {
                account: "30e629015fcb780a18681348f8b8c4853f01c13f".parse().unwrap(),
                name: "User A".to_owned(),
            }),
        };
        assert_eq!(expected.encode(), answer);
        assert_eq!(Discovery::decode(&answer), Some(expected));
    }

    #[test]
    fn unknown_and_wrong_services_are_left_out() {
        let id = || Object::binary(&[1; 20]);
        let number = |number: u64| Object::from(number);
        let nothing = Some(Discovery::Announcement { node: None, person: None });
        for node in [
            Object::Nil,
            Object::Array(vec![]),
            Object::Array(vec![id(), number(7)]),
            Object::Array(vec![id(), number(0), number(0)]),
            Object::Array(vec![id(), number(65_536), number(0)]),
            Object::Array(vec![id(), number(7), number(1 << 32)]),
            Object::Array(vec![Object::binary(&[1; 19]), number(7), number(0)]),
        ] {
            let packet = Object::map([("other", Object::Nil), ("dht", node)]).encode();
            assert_eq!(Discovery::decode(&packet), nothing);
        }
        let person = Object::Array(vec![id(), Object::text(&"x".repeat(257))]);
        assert_eq!(Discovery::decode(&Object::map([("jami", person)]).encode()), nothing);
    }

    #[test]
    fn what_is_neither_query_nor_map_is_ignored() {
        for bytes in [b"".as_slice(), b"\xa1x", b"\x01", b"\x90", b"\xc1", &[0x81; 3000]] {
            assert_eq!(Discovery::decode(bytes), None);
        }
    }
}
