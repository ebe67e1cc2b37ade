//! Lists of nodes as replies carry them, and the addresses that no node can have
//! (`spec: dht 1, 1.2`).
//!
//! ```text
//!   IPv4:  id (20) | address (4)  | port (2, big-endian)     26 bytes a node
//!   IPv6:  id (20) | address (16) | port (2, big-endian)     38 bytes a node
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::ids::NodeId;

/// Most nodes in one list.
pub const MAX_NODES: usize = 8;

/// A node and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contact {
    /// Its id.
    pub id: NodeId,
    /// Its address; never an IPv4 address mapped to IPv6.
    pub address: SocketAddr,
}

/// The address without the mapping of IPv4 to IPv6 that sockets for both families make.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) if address.is_ipv6() => SocketAddr::new(ip.into(), address.port()),
        _ => address,
    }
}

/// Whether no node can have this address, so that what comes from it is dropped and nothing is sent
/// to it. Loopback and link-local addresses are fine.
#[must_use]
pub fn is_martian(address: &SocketAddr) -> bool {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.octets()[0] >= 224,
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some(),
    };
    ip || address.port() == 0
}

/// A list of nodes, at most the first [`MAX_NODES`]. Nodes of the other family are left out.
pub(super) fn write(nodes: &[Contact], ipv6: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for node in nodes.iter().filter(|node| node.address.is_ipv6() == ipv6).take(MAX_NODES) {
        bytes.extend_from_slice(node.id.as_bytes());
        match node.address.ip() {
            IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
        }
        bytes.extend_from_slice(&node.address.port().to_be_bytes());
    }
    bytes
}

/// Reads a list from `source`: at most [`MAX_NODES`], without `own` id and without martians. A
/// loopback address is the sender's view of its own machine, so the sender's takes its place.
/// `None` if the length is wrong.
pub(super) fn read(bytes: &[u8], ipv6: bool, source: &SocketAddr, own: NodeId) -> Option<Vec<Contact>> {
    let (nodes, rest) = if ipv6 {
        let (nodes, rest) = bytes.as_chunks::<38>();
        (nodes.iter().map(|node| contact::<16>(node, source)).collect::<Vec<_>>(), rest)
    } else {
        let (nodes, rest) = bytes.as_chunks::<26>();
        (nodes.iter().map(|node| contact::<4>(node, source)).collect(), rest)
    };
    if !rest.is_empty() {
        return None;
    }
    let usable = |node: &Contact| node.id != own && node.id.0 != [0; 20] && !is_martian(&node.address);
    Some(nodes.into_iter().flatten().filter(usable).take(MAX_NODES).collect())
}

/// Reads one entry whose address has `N` bytes.
fn contact<const N: usize>(entry: &[u8], source: &SocketAddr) -> Option<Contact> {
    let (id, rest) = entry.split_first_chunk::<20>()?;
    let (ip, port) = rest.split_first_chunk::<N>()?;
    let port = u16::from_be_bytes(port.try_into().ok()?);
    let ip = <[u8; 4]>::try_from(ip.as_slice())
        .map(|ip| IpAddr::V4(Ipv4Addr::from(ip)))
        .or_else(|_| <[u8; 16]>::try_from(ip.as_slice()).map(|ip| IpAddr::V6(Ipv6Addr::from(ip))))
        .ok()?;
    Some(Contact { id: NodeId(*id), address: seen_from(ip, port, source) })
}

/// The address of a listed node as it is for us.
fn seen_from(ip: IpAddr, port: u16, source: &SocketAddr) -> SocketAddr {
    match (ip, source) {
        (ip, _) if ip.is_loopback() && ip.is_ipv4() == source.is_ipv4() => with_port(source, port),
        // A link-local address means something on the sender's link only, which is ours as well if
        // the sender's address is of that kind.
        (IpAddr::V6(ip), SocketAddr::V6(source)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, port, 0, source.scope_id()).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

fn with_port(address: &SocketAddr, port: u16) -> SocketAddr {
    let mut address = *address;
    address.set_port(port);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(id: u8, address: &str) -> Contact {
        Contact { id: NodeId([id; 20]), address: address.parse().unwrap() }
    }

    const OWN: NodeId = NodeId([9; 20]);

    #[test]
    fn lists_of_both_families_survive_their_bytes() {
        let source = "10.0.0.1:4222".parse().unwrap();
        let ipv4 = vec![contact(1, "10.77.0.3:46600"), contact(2, "192.0.2.1:1")];
        let ipv6 = vec![contact(1, "[2001:db8::1]:4222"), contact(3, "[fe80::1]:5")];
        let bytes = write(&ipv4, false);
        assert_eq!(bytes.len(), 52);
        assert_eq!(hex::encode(&bytes[20..26]), "0a4d0003b608");
        assert_eq!(read(&bytes, false, &source, OWN), Some(ipv4.clone()));
        let bytes = write(&ipv6, true);
        assert_eq!(bytes.len(), 76);
        assert_eq!(read(&bytes, true, &source, OWN), Some(ipv6));
        assert!(write(&ipv4, true).is_empty());
    }

    #[test]
    fn a_list_holds_eight_nodes_at_most() {
        let source = "10.0.0.1:4222".parse().unwrap();
        let many: Vec<Contact> = (10..30).map(|id| contact(id, "10.0.0.2:7")).collect();
        let bytes = write(&many, false);
        assert_eq!(bytes.len(), 26 * MAX_NODES);
        let tripled = [bytes.clone(), bytes.clone(), bytes].concat();
        assert_eq!(read(&tripled, false, &source, OWN).unwrap().len(), MAX_NODES);
    }

    #[test]
    fn a_list_of_a_wrong_length_is_none() {
        let source = "10.0.0.1:4222".parse().unwrap();
        for length in [1, 25, 27, 38] {
            assert_eq!(read(&vec![1; length], false, &source, OWN), None, "{length}");
        }
        assert_eq!(read(&[1; 26], true, &source, OWN), None);
    }

    #[test]
    fn ourselves_and_impossible_addresses_are_left_out() {
        let source = "10.0.0.1:4222".parse().unwrap();
        let fine = contact(1, "10.0.0.2:7");
        let wrong = [
            contact(9, "10.0.0.2:7"),
            contact(0, "10.0.0.2:7"),
            contact(2, "0.1.2.3:7"),
            contact(2, "224.0.0.1:7"),
            contact(2, "255.255.255.255:7"),
            contact(2, "10.0.0.2:0"),
        ];
        for wrong in wrong {
            assert_eq!(
                read(&write(&[wrong, fine], false), false, &source, OWN),
                Some(vec![fine]),
                "{wrong:?}"
            );
        }
        for wrong in ["[ff02::1]:7", "[::]:7", "[::ffff:10.0.0.1]:7"] {
            let bytes = write(&[contact(2, wrong)], true);
            assert_eq!(read(&bytes, true, &source, OWN), Some(Vec::new()), "{wrong}");
        }
    }

    #[test]
    fn the_senders_address_takes_the_place_of_loopback() {
        let list = write(&[contact(1, "127.0.0.1:7")], false);
        let far = "192.0.2.5:4222".parse().unwrap();
        assert_eq!(read(&list, false, &far, OWN), Some(vec![contact(1, "192.0.2.5:7")]));
        let near = "127.0.0.1:4222".parse().unwrap();
        assert_eq!(read(&list, false, &near, OWN), Some(vec![contact(1, "127.0.0.1:7")]));
        let list = write(&[contact(1, "[::1]:7")], true);
        let far = "[2001:db8::5]:4222".parse().unwrap();
        assert_eq!(read(&list, true, &far, OWN), Some(vec![contact(1, "[2001:db8::5]:7")]));
    }

    #[test]
    fn a_mapped_address_is_the_address_that_it_maps() {
        let mapped = "[::ffff:10.0.0.1]:7".parse().unwrap();
        assert!(is_martian(&mapped));
        assert_eq!(canonical(mapped), "10.0.0.1:7".parse().unwrap());
        for plain in ["10.0.0.1:7", "[fe80::1%3]:7", "[::1]:7"] {
            let plain = plain.parse().unwrap();
            assert_eq!(canonical(plain), plain);
            assert!(!is_martian(&plain));
        }
    }
}
