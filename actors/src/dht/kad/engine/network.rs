//! What libp2p tells the engine, and whom the engine dials.

use std::collections::BTreeSet;
use std::net::IpAddr;

use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{Event as WireEvent, Message};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify};
use libp2p_kad as kad;
use libp2p_kad::{GetClosestPeersError, PeerInfo, QueryResult};
use rand::Rng as _;

use super::super::address_book::{Attempt, Contact};
use super::super::behaviour::{BehaviourEvent, KAD_PROTOCOL};
use super::super::config::{BootstrapAddress, ip_address};
use super::super::wire::{PROTOCOL, Request, Response};
use super::Engine;

/// Most addresses taken of what a peer says about itself.
const MAX_ADDRESSES: usize = 8;

/// Most addresses taken of one host name.
const MAX_RESOLVED: usize = 4;

/// Most of our own addresses remembered, as others see them.
const MAX_OBSERVED: usize = 16;

impl Engine {
    pub(super) fn attempt(&mut self, attempt: Attempt) {
        match &attempt.contact {
            Contact::Bootstrap(BootstrapAddress::Host(host, port)) => {
                let (host, port, contact) = (host.clone(), *port, attempt.contact);
                self.resolving.spawn(async move { (contact, resolve(&host, port).await) });
            }
            Contact::Bootstrap(BootstrapAddress::Multiaddr(address)) => {
                let address = address.clone();
                self.dial(attempt.contact, vec![address]);
            }
            Contact::Peer(_) => self.dial(attempt.contact, attempt.addresses),
        }
    }

    /// Dials a peer at all of its addresses, a bootstrap node at the first that is not in use.
    pub(super) fn dial(&mut self, contact: Contact, addresses: Vec<Multiaddr>) {
        let options = match (&contact, addresses.first()) {
            (_, None) => None,
            (Contact::Peer(peer), _) => Some(
                DialOpts::peer_id(*peer)
                    .addresses(addresses)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .build(),
            ),
            (Contact::Bootstrap(_), Some(_)) => {
                let choice = self.random.random_range(0..addresses.len());
                addresses.get(choice).cloned().map(DialOpts::from)
            }
        };
        let Some(options) = options else { return self.dial_failed(&contact) };
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => drop(self.attempts.insert(connection, contact)),
            Err(_) => self.dial_failed(&contact),
        }
    }

    pub(super) fn dial_failed(&mut self, contact: &Contact) {
        let jitter = self.random.random();
        self.book.failed(contact, self.now(), jitter);
    }

    pub(super) fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Wire(event)) => self.wire(event),
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.kademlia(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => self.identified(peer_id, &info),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.disconnected(peer_id),
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.not_connected(connection_id, peer_id, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => tracing::info!(%address, "the DHT listens"),
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "the DHT cannot accept a connection");
            }
            _ => {}
        }
    }

    pub(super) fn connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let contact = self.attempts.remove(&connection);
        self.book.connected(peer, contact.as_ref(), self.now());
        let mut remote = endpoint.get_remote_address().clone();
        if matches!(remote.iter().last(), Some(Protocol::P2p(_))) {
            remote.pop();
        }
        if endpoint.is_dialer() {
            self.remotes.insert(peer, (remote, true));
        } else {
            self.remotes.entry(peer).or_insert((remote, false));
        }
    }

    pub(super) fn not_connected(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        let Some(contact) = self.attempts.remove(&connection) else { return };
        tracing::debug!(?contact, %error, "a DHT node was not reached");
        match (error, peer) {
            (DialError::LocalPeerId { .. }, _) => self.book.forget(&contact),
            (_, Some(peer)) if self.swarm.is_connected(&peer) => {
                self.book.connected(peer, Some(&contact), self.now());
            }
            _ => self.dial_failed(&contact),
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        let (now, jitter) = (self.now(), self.random.random());
        self.remotes.remove(&peer);
        self.observed.retain(|_, peers| {
            peers.remove(&peer);
            !peers.is_empty()
        });
        self.core.disconnected(now, peer);
        self.book.disconnected(peer, now, jitter);
    }

    pub(super) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let speaks = |name| info.protocols.contains(&name);
        if !self.swarm.is_connected(&peer) || !speaks(PROTOCOL) || !speaks(KAD_PROTOCOL) {
            return;
        }
        let remote = self.remotes.get(&peer).cloned();
        let near = remote.as_ref().is_none_or(|(remote, _)| is_loopback(remote));
        let stated = info.listen_addrs.iter().take(MAX_ADDRESSES);
        let usable = stated.filter(|address| is_dialable(address) && (near || !is_loopback(address)));
        let seen = remote.and_then(|(remote, dialled)| match dialled {
            true => Some(remote),
            false => seen_at(&remote, &info.listen_addrs),
        });
        let addresses: BTreeSet<Multiaddr> = usable.cloned().chain(seen).collect();
        for address in addresses {
            self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
            self.swarm.add_peer_address(peer, address.clone());
            self.book.learn(peer, address);
        }
        let now = self.now();
        self.book.connected(peer, None, now);
        let room =
            |address: &IpAddr| self.observed.len() < MAX_OBSERVED || self.observed.contains_key(address);
        if let Some(address) = ip_of(&info.observed_addr).filter(room) {
            self.observed.entry(address).or_default().insert(peer);
        }
        self.core.connected(now, peer);
    }

    pub(super) fn wire(&mut self, event: WireEvent<Request, Response>) {
        let now = self.now();
        match event {
            WireEvent::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let response = self.core.asked(now, peer, request);
                // If the connection is gone, nobody waits for the response.
                drop(self.swarm.behaviour_mut().wire.send_response(channel, response));
            }
            WireEvent::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(request) = self.requests.remove(&request_id) {
                    self.core.answered(now, request, Some(response));
                }
            }
            WireEvent::OutboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "a DHT node did not answer");
                if let Some(request) = self.requests.remove(&request_id) {
                    self.core.answered(now, request, None);
                }
            }
            WireEvent::InboundFailure { .. } | WireEvent::ResponseSent { .. } => {}
        }
    }

    pub(super) fn kademlia(&mut self, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed {
            id,
            result: QueryResult::GetClosestPeers(result),
            step,
            ..
        } = event
        else {
            return;
        };
        if !step.last {
            return;
        }
        let Some(key) = self.searches.remove(&id) else { return };
        let found: Vec<PeerInfo> = match result {
            Ok(found) => found.peers,
            Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        for peer in &found {
            for address in peer.addrs.iter().take(MAX_ADDRESSES) {
                self.swarm.add_peer_address(peer.peer_id, address.clone());
            }
        }
        self.core.search_ended(self.now(), key, found.into_iter().map(|peer| peer.peer_id).collect());
    }
}

/// The addresses of a host; none when the name does not resolve.
async fn resolve(host: &str, port: u16) -> Vec<Multiaddr> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => addresses.take(MAX_RESOLVED).map(|one| ip_address(one.ip(), one.port())).collect(),
        Err(error) => {
            tracing::debug!(host, %error, "the name of a bootstrap node does not resolve");
            Vec::new()
        }
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(address) => Some(IpAddr::V4(address)),
        Protocol::Ip6(address) => Some(IpAddr::V6(address)),
        _ => None,
    })
}

fn is_loopback(address: &Multiaddr) -> bool {
    ip_of(address).is_none_or(|address| address.is_loopback())
}

fn is_dialable(address: &Multiaddr) -> bool {
    ip_of(address).is_none_or(|address| !address.is_unspecified() && !address.is_multicast())
}

/// Where a peer behind a port mapping may be reached: at the address it comes from and the port it
/// listens on.
fn seen_at(remote: &Multiaddr, listening: &[Multiaddr]) -> Option<Multiaddr> {
    let port = listening.iter().find_map(|address| {
        address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
    });
    Some(ip_address(ip_of(remote)?, port?))
}
