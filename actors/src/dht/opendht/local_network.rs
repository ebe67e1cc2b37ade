//! The sockets by which nodes in the local network are found (`spec: dht 9`).
//!
//! ```text
//!   239.192.0.1:8888, [ff08::101]:8888
//!        │                              the group's socket: what everybody in the network sends.
//!        ├─► queries                    Shared with other programs on this machine.
//!        └─► announcements
//!
//!   any port ──► query, announcement    the node's own socket: it asks, and hears the answers.
//!        └─◄ announcements              They come to the port that asked, so none are lost to others.
//! ```
//!
//! The group's socket is bound to the group's address, so that nothing sent to this machine alone, from
//! wherever, gets an answer there. The system lets no packet for a group leave the local network.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::net::sockopt::{
    set_ip_add_membership_with_ifindex, set_ip_drop_membership_with_ifindex,
    set_ip_multicast_if_with_ifindex, set_ipv6_add_membership, set_ipv6_drop_membership,
    set_ipv6_multicast_if, set_ipv6_v6only, set_socket_reuseaddr,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, ipproto, sendto, socket_with};
use skep_protocol::dht::opendht::compact::Contact;
use skep_protocol::dht::opendht::discovery::{Discovery, GROUPS, MAX_PACKET, PORT};
use skep_protocol::dht::opendht::local_network::{Heard, LocalNetwork as Core, Way};
use skep_protocol::dht::opendht::packet::NetworkId;
use skep_protocol::ids::NodeId;
use skep_protocol::time::Moment;
use tokio::net::UdpSocket;

/// Interfaces on which the groups are joined: less than the twenty groups that the system lets a socket
/// join, and more than a machine has in local networks.
const MAX_INTERFACES: usize = 16;

/// Packets taken from one socket before others are served.
const BATCH: usize = 32;

/// The local network of one node.
#[derive(Debug)]
pub(super) struct LocalNetwork {
    core: Core,
    channels: Vec<Channel>,
    buffer: Vec<u8>,
    /// Whether it was said that there is no such network.
    lamented: bool,
}

/// The part of one address family.
#[derive(Debug)]
struct Channel {
    /// Where nodes of the DHT reach this one.
    node: SocketAddr,
    group: IpAddr,
    /// Without it, nodes are found that were there before, but do not find this one.
    shared: Option<UdpSocket>,
    own: UdpSocket,
    /// The interfaces on which the node is reached: there the group is asked.
    interfaces: Vec<u32>,
    /// Those on which the group was joined.
    joined: BTreeSet<u32>,
}

impl LocalNetwork {
    /// Joins the groups for a node with these UDP addresses. What does not work is left out.
    ///
    /// Must be called within a tokio runtime.
    pub(super) fn open(id: NodeId, network: NetworkId, addresses: &[SocketAddr]) -> Self {
        let mut channels = Vec::new();
        for node in addresses {
            match Channel::open(*node) {
                Ok(channel) => channels.push(channel),
                Err(error) => tracing::warn!(%node, %error, "no socket for the local network"),
            }
        }
        let core = Core::new(id, network);
        let mut local = Self { core, channels, buffer: vec![0; MAX_PACKET], lamented: false };
        local.join();
        local
    }

    /// The machine got another network: its groups are joined as well, and asked.
    pub(super) fn network_changed(&mut self) {
        self.join();
        self.core.network_changed();
    }

    fn join(&mut self) {
        self.channels.iter_mut().for_each(Channel::join);
        let reached = self.channels.iter().any(|channel| !channel.interfaces.is_empty());
        if !reached && !self.lamented {
            self.lamented = true;
            tracing::warn!("this machine is in no network with multicast: nodes nearby are not looked for");
        }
    }

    /// Asks the groups, if it is time to. `connected` is whether any node answers.
    pub(super) fn work(&mut self, now: Moment, connected: bool) {
        if self.core.poll(now, connected) {
            for channel in &self.channels {
                channel.ask(&self.core.announcement(channel.node.port()));
            }
        }
    }

    /// When there is something to do, if nothing comes.
    pub(super) const fn next_deadline(&self) -> Option<Moment> {
        self.core.next_deadline()
    }

    /// Waits until a packet may be there. Waits for ever if there is no socket.
    pub(super) async fn readable(&self) {
        let sockets = self.channels.iter().flat_map(|channel| channel.shared.iter().chain([&channel.own]));
        let ready: Vec<_> = sockets.map(|socket| Box::pin(socket.readable())).collect();
        if ready.is_empty() {
            return std::future::pending().await;
        }
        if let (Err(error), ..) = futures::future::select_all(ready).await {
            // No system does this to a healthy socket.
            tracing::error!(%error, "a socket of the local network fails");
        }
    }

    /// Takes packets that are there, some at most; answers queries. Returns the nodes that were found.
    pub(super) fn receive(&mut self, now: Moment) -> Vec<Contact> {
        let Self { core, channels, buffer, .. } = self;
        let mut found = Vec::new();
        for channel in channels {
            let shared = channel.shared.iter().map(|socket| (socket, Way::Group));
            for (socket, way) in shared.chain([(&channel.own, Way::Alone)]) {
                receive(socket, buffer, |from, bytes| match core.receive(now, from, way, bytes) {
                    Heard::Node(node) => found.push(node),
                    Heard::Query => channel.send(&core.announcement(channel.node.port()), from),
                    Heard::Nothing => {}
                });
            }
        }
        found
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8], mut take: impl FnMut(SocketAddr, &[u8])) {
    for _ in 0..BATCH {
        match socket.try_recv_from(buffer) {
            Ok((length, from)) => take(from, buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // What the system tells of a packet sent before.
            Err(error) => tracing::trace!(%error, "a packet of the local network could not be received"),
        }
    }
}

impl Channel {
    fn open(node: SocketAddr) -> io::Result<Self> {
        let [ipv4, ipv6] = GROUPS;
        let group = if node.is_ipv4() { ipv4 } else { ipv6 };
        let shared = open(SocketAddr::new(group, PORT), true);
        if let Err(error) = &shared {
            tracing::warn!(%group, %error, "who comes into the local network later does not find this node");
        }
        let own = open(SocketAddr::new(node.ip(), 0), false)?;
        Ok(Self { node, group, shared: shared.ok(), own, interfaces: Vec::new(), joined: BTreeSet::new() })
    }

    /// Joins the group on every interface on which the node is reached, and leaves it on the others:
    /// also where an interface is gone, its group counts among those that a socket may join.
    fn join(&mut self) {
        self.interfaces = interfaces(self.node.ip());
        let left: Vec<u32> = self.joined.iter().filter(|it| !self.interfaces.contains(it)).copied().collect();
        for interface in left {
            self.joined.remove(&interface);
            if let Err(error) = self.leave_group(interface) {
                tracing::debug!(interface, group = %self.group, %error, "a group cannot be left");
            }
        }
        for interface in &self.interfaces {
            if self.joined.contains(interface) {
                continue;
            }
            match self.join_group(*interface) {
                Ok(()) | Err(rustix::io::Errno::ADDRINUSE) => {
                    self.joined.insert(*interface);
                }
                // Others are found all the same.
                Err(error) => {
                    tracing::debug!(interface, group = %self.group, %error, "a group cannot be joined");
                }
            }
        }
    }

    fn join_group(&self, interface: u32) -> rustix::io::Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        match self.group {
            IpAddr::V4(group) => {
                set_ip_add_membership_with_ifindex(shared, &group, &Ipv4Addr::UNSPECIFIED, interface)
            }
            IpAddr::V6(group) => set_ipv6_add_membership(shared, &group, interface),
        }
    }

    fn leave_group(&self, interface: u32) -> rustix::io::Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        match self.group {
            IpAddr::V4(group) => {
                set_ip_drop_membership_with_ifindex(shared, &group, &Ipv4Addr::UNSPECIFIED, interface)
            }
            IpAddr::V6(group) => set_ipv6_drop_membership(shared, &group, interface),
        }
    }

    /// Asks who is there and says that this node is, on every interface.
    fn ask(&self, announcement: &[u8]) {
        for interface in &self.interfaces {
            let chosen = match self.group {
                IpAddr::V4(group) => {
                    set_ip_multicast_if_with_ifindex(&self.own, &group, &Ipv4Addr::UNSPECIFIED, *interface)
                }
                IpAddr::V6(_) => set_ipv6_multicast_if(&self.own, *interface),
            };
            if chosen.is_ok() {
                for packet in [&Discovery::Query.encode(), announcement] {
                    self.send(packet, SocketAddr::new(self.group, PORT));
                }
            }
        }
    }

    /// Sends a packet. What cannot be sent now is lost, like what the network loses.
    fn send(&self, packet: &[u8], to: SocketAddr) {
        // Past the runtime, which does not know yet whether a socket just opened has room.
        if let Err(error) = sendto(&self.own, packet, SendFlags::empty(), &to) {
            tracing::debug!(%to, %error, "a packet could not be sent in the local network");
        }
    }
}

/// The interfaces on which `address` is one of this machine's; for that of all, those with any network.
fn interfaces(address: IpAddr) -> Vec<u32> {
    let mut found = BTreeSet::new();
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let reached = if address.is_unspecified() {
            !interface.is_loopback() && interface.ip().is_ipv4() == address.is_ipv4()
        } else {
            // The whole of 127.0.0.0/8 is one address.
            interface.ip() == address || (interface.is_loopback() && address.is_loopback())
        };
        if let (true, Some(index)) = (reached, interface.index) {
            found.insert(index);
        }
    }
    found.into_iter().take(MAX_INTERFACES).collect()
}

fn open(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    if shared {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel of a node on loopback.
    fn channel() -> Channel {
        Channel::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 4222))).unwrap()
    }

    #[tokio::test]
    async fn where_the_group_cannot_be_joined_it_is_asked_all_the_same() {
        let mut channel = channel();
        let shared = channel.shared.as_ref().unwrap();
        let loopback = interfaces(channel.node.ip());
        // As many other groups as the system lets a socket join.
        let full = (1..=u8::MAX).any(|number| {
            let group = Ipv4Addr::new(239, 192, 1, number);
            let any = Ipv4Addr::UNSPECIFIED;
            set_ip_add_membership_with_ifindex(shared, &group, &any, loopback[0]).is_err()
        });
        channel.join();
        assert_eq!((channel.joined.is_empty(), channel.interfaces), (full, loopback));
    }

    #[tokio::test]
    async fn the_group_is_left_where_the_node_is_not_reached_any_more() {
        let mut channel = channel();
        channel.join();
        let loopback = channel.interfaces[0];
        assert_eq!(channel.join_group(loopback), Err(rustix::io::Errno::ADDRINUSE));
        // An address that no machine has.
        channel.node = SocketAddr::from(([192, 0, 2, 1], 4222));
        channel.join();
        assert!(channel.joined.is_empty() && channel.interfaces.is_empty());
        assert_eq!(channel.join_group(loopback), Ok(()), "it was left");
    }
}
