//! Where this device may be reached: listening sockets, and the candidates that announce them
//! (`spec: connection 3, 4.2`); and which of the peer's candidates are worth dialling.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::sockopt::set_ipv6_v6only;
use skep_protocol::link::ice_text::{Candidate, CandidateKind, TcpType, Transport};
use tokio::net::{TcpListener, TcpSocket};

/// Most interface addresses announced. Each makes two candidates, and a peer that has to trim the
/// list keeps eight host candidates at least.
const MAX_LOCAL_ADDRESSES: usize = 8;
/// Connections the kernel may hold for each listening socket before they are accepted.
const LISTEN_BACKLOG: u32 = 128;

/// One listening socket for each address family, on a port the system chose. A family that the host
/// does not have is left out.
#[derive(Debug)]
pub(super) struct Listeners {
    v4: Option<TcpListener>,
    v6: Option<TcpListener>,
}

impl Listeners {
    /// Opens them on every interface.
    ///
    /// # Errors
    /// When neither family can be listened on.
    pub(super) fn open() -> io::Result<Self> {
        match (listen(Ipv4Addr::UNSPECIFIED.into()), listen(Ipv6Addr::UNSPECIFIED.into())) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self { v4: v4.ok(), v6: v6.ok() }),
        }
    }

    /// The sockets themselves.
    pub(super) fn into_sockets(self) -> impl Iterator<Item = TcpListener> {
        self.v4.into_iter().chain(self.v6)
    }

    /// A passive and an active host candidate for each of `addresses` that is listened on.
    pub(super) fn candidates(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for address in addresses {
            let Some(port) = self.port(address) else { continue };
            let position = u16::try_from(candidates.len()).unwrap_or(u16::MAX);
            let host = CandidateKind::Host;
            candidates.push(Candidate::passive(host, address, address, port, position));
            candidates.push(Candidate::active(host, address, address, position.saturating_add(1)));
        }
        candidates
    }

    fn port(&self, address: IpAddr) -> Option<u16> {
        let listener = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        Some(listener.as_ref()?.local_addr().ok()?.port())
    }
}

fn listen(address: IpAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        // Otherwise the two sockets would contend for IPv4 connections.
        set_ipv6_v6only(&socket, true)?;
        socket
    };
    socket.bind(SocketAddr::new(address, 0))?;
    socket.listen(LISTEN_BACKLOG)
}

/// The addresses of the interfaces that are worth announcing, at most [`MAX_LOCAL_ADDRESSES`].
///
/// # Errors
/// When the system does not tell its interfaces.
pub(super) fn local_addresses(include_loopback: bool) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let address = interface.ip();
        if may_announce(address, include_loopback) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // Loopback last: it is there for demonstrations, and others are better candidates.
    addresses.sort_by_key(|address| address.is_loopback());
    addresses.truncate(MAX_LOCAL_ADDRESSES);
    Ok(addresses)
}

pub(crate) fn may_announce(address: IpAddr, include_loopback: bool) -> bool {
    let link_local = match address {
        IpAddr::V4(_) => false,
        // Of no use to the peer, whose candidates carry no scope.
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_unspecified() && !link_local && (include_loopback || !address.is_loopback())
}

/// Where a passive candidate of the peer can be dialled; `None` for candidates that cannot be, and
/// for loopback addresses unless they are wanted, because a peer has no business with what listens
/// there.
pub(super) fn dial_address(candidate: &Candidate, include_loopback: bool) -> Option<SocketAddr> {
    let address = candidate.address.to_canonical();
    let passive = candidate.transport == Transport::Tcp(TcpType::Passive);
    let unicast = !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST);
    let dialled = passive && unicast && candidate.port != 0 && may_announce(address, include_loopback);
    dialled.then_some(SocketAddr::new(address, candidate.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(address: &str, port: u16) -> Candidate {
        let address = address.parse().unwrap();
        Candidate::passive(CandidateKind::Host, address, address, port, 0)
    }

    #[tokio::test]
    async fn each_announced_address_has_a_passive_and_an_active_candidate() {
        let listeners = Listeners::open().unwrap();
        let addresses = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let lines: Vec<_> = listeners.candidates(addresses).iter().map(ToString::to_string).collect();
        let port = listeners.port(addresses[0]).unwrap();
        assert_eq!(
            lines,
            [
                format!("Hc0000201 1 TCP 2130706431 192.0.2.1 {port} typ host tcptype passive"),
                "Hc0000201 1 TCP 2130706175 192.0.2.1 9 typ host tcptype active".to_owned(),
                format!("Hc0000202 1 TCP 2130705919 192.0.2.2 {port} typ host tcptype passive"),
                "Hc0000202 1 TCP 2130705663 192.0.2.2 9 typ host tcptype active".to_owned(),
            ]
        );
    }

    #[test]
    fn loopback_is_announced_only_on_request() {
        assert!(local_addresses(false).unwrap().iter().all(|address| !address.is_loopback()));
        assert!(local_addresses(true).unwrap().iter().any(IpAddr::is_loopback));
    }

    #[test]
    fn addresses_that_are_no_hosts_are_not_dialled() {
        for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1"] {
            assert_eq!(dial_address(&candidate(address, 80), true), None, "{address}");
        }
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(dial_address(&candidate(loopback, 80), false), None, "{loopback}");
            assert!(dial_address(&candidate(loopback, 80), true).is_some(), "{loopback}");
        }
        assert_eq!(dial_address(&candidate("192.0.2.1", 0), true), None);
        let active = Candidate::active(CandidateKind::Host, [192, 0, 2, 1].into(), [192, 0, 2, 1].into(), 0);
        assert_eq!(dial_address(&active, true), None);
        assert_eq!(dial_address(&candidate("192.0.2.1", 80), false), Some(([192, 0, 2, 1], 80).into()));
    }
}
