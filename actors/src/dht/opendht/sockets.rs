//! The UDP sockets of a node: one for each address family.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::Poll;

use rustix::net::sockopt::{set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};
use skep_protocol::dht::opendht::packet::MAX_DATAGRAM;
use tokio::net::UdpSocket;

/// Room for datagrams at the system, in bytes, as far as it allows: the largest value comes and goes
/// in fifty datagrams at once.
const SYSTEM_BUFFER: usize = 4 << 20;

/// Datagrams taken from one socket before others are served.
const BATCH: usize = 64;

/// A socket of one family, which is known without asking the system.
#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    ipv4: bool,
}

impl Socket {
    const fn is_for(&self, to: &SocketAddr) -> bool {
        self.ipv4 == to.is_ipv4()
    }
}

/// Up to one socket of each family.
#[derive(Debug)]
pub(super) struct Sockets {
    sockets: Vec<Socket>,
    buffer: Vec<u8>,
}

impl Sockets {
    /// Opens a socket for the first address of each family. If a port is taken, another is used. A
    /// family that the system does not have is left out, unless nothing would remain.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the system says, when no socket could be opened.
    pub(super) fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let first = |ipv4| addresses.iter().find(|address| address.is_ipv4() == ipv4);
        let mut sockets = Vec::new();
        let mut failure = None;
        for address in [first(true), first(false)].into_iter().flatten() {
            match open_or_any_port(*address) {
                Ok(socket) => sockets.push(Socket { socket, ipv4: address.is_ipv4() }),
                Err(error) => {
                    tracing::warn!(%address, %error, "OpenDHT cannot be spoken there");
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if sockets.is_empty() => Err(error),
            _ => Ok(Self { sockets, buffer: vec![0; MAX_DATAGRAM] }),
        }
    }

    /// The addresses listened on.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|each| each.socket.local_addr().ok()).collect()
    }

    /// Waits until a datagram may be there.
    pub(super) async fn readable(&self) {
        if let Err(error) = poll_fn(|context| any(&self.sockets, |each| each.poll_recv_ready(context))).await
        {
            // No system does this to a healthy socket.
            tracing::error!(%error, "a socket of OpenDHT fails");
        }
    }

    /// Waits until [`Self::send`] may succeed for this address.
    pub(super) async fn writable(&self, to: &SocketAddr) {
        let Some(found) = self.sockets.iter().find(|each| each.is_for(to)) else { return };
        // Sending will tell what is wrong with it.
        let _ = poll_fn(|context| found.socket.poll_send_ready(context)).await;
    }

    /// Hands over datagrams that are there, some at most.
    pub(super) fn receive(&mut self, mut take: impl FnMut(SocketAddr, &[u8])) {
        for Socket { socket, .. } in &self.sockets {
            for _ in 0..BATCH {
                match socket.try_recv_from(&mut self.buffer) {
                    Ok((length, from)) => take(from, self.buffer.get(..length).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What the system tells of a datagram sent before.
                    Err(error) => tracing::trace!(%error, "a datagram could not be received"),
                }
            }
        }
    }

    /// Sends a datagram; tells whether there was room. What the system refuses is lost, like what the
    /// network loses.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(found) = self.sockets.iter().find(|each| each.is_for(&to)) else { return true };
        match found.socket.try_send_to(bytes, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::trace!(%to, %error, "a datagram could not be sent");
                true
            }
            Ok(_) => true,
        }
    }
}

/// Whether any of them is ready; all are looked at, so that each wakes the task.
fn any(sockets: &[Socket], mut poll: impl FnMut(&UdpSocket) -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    sockets.iter().fold(Poll::Pending, |ready, each| {
        let this = poll(&each.socket);
        if ready.is_ready() { ready } else { this }
    })
}

fn open_or_any_port(address: SocketAddr) -> io::Result<UdpSocket> {
    match open(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() != 0 => {
            tracing::warn!(%address, "the port is taken; OpenDHT takes any other");
            open(SocketAddr::new(address.ip(), 0))
        }
        opened => opened,
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    // The system gives less if it is set up so.
    let _ = set_socket_recv_buffer_size(&socket, SYSTEM_BUFFER);
    let _ = set_socket_send_buffer_size(&socket, SYSTEM_BUFFER);
    bind(&socket, &address)?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_families_share_a_port_and_a_taken_one_is_replaced() {
        let first = Sockets::open(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let taken = first.addresses()[0];
        let second = Sockets::open(&[taken]).unwrap();
        assert_ne!(second.addresses()[0].port(), taken.port());
        let any = Sockets::open(&["0.0.0.0:0".parse().unwrap()]).unwrap().addresses()[0];
        let both = Sockets::open(&[any, SocketAddr::new([0_u16; 8].into(), any.port())]).unwrap();
        assert!(both.addresses().iter().all(|address| address.port() == any.port()));
    }

    #[tokio::test]
    async fn datagrams_come_with_their_sender() {
        let one = Sockets::open(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let mut other = Sockets::open(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        one.writable(&other.addresses()[0]).await;
        assert!(one.send(other.addresses()[0], b"hello"));
        other.readable().await;
        let mut received = Vec::new();
        other.receive(|from, bytes| received.push((from, bytes.to_vec())));
        assert_eq!(received, [(one.addresses()[0], b"hello".to_vec())]);
        assert!(one.send("[::1]:9".parse().unwrap(), b"nowhere"));
    }
}
