//! The libp2p part: how nodes connect, learn each other's addresses and find who is close to a key.
//!
//! Kademlia carries no values here (see [`super`]): its record store stays empty and whatever
//! others put into it is dropped. Identify tells which protocols a peer speaks and where it
//! listens; without it the routing table would know the bootstrap node alone.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{PeerId, StreamProtocol, Swarm, identify, noise, tcp, yamux};
use libp2p_kad as kad;
use libp2p_kad::store::MemoryStore;

use super::config::ConfigError;
use super::wire::{PROTOCOL, WireCodec};

/// Kademlia's protocol name: our own, so that the tables never fill with nodes of other networks.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/skep/kad/1");

/// What identify calls the family of protocols.
const FAMILY: &str = "skep/1";

/// How often the routing table is refreshed by look-ups: rarely, since each new peer starts one too.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// How often a peer is asked anew who it is; address changes are pushed at once.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// How long a connection without traffic is kept: longer than listeners take to renew, so that the
/// connections in use never close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(11 * 60);

/// How long a request to a peer may take: a few round trips over a poor line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting, encrypting and multiplexing may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Most connections: about 70 KB each, so 9 MB when full; a small network needs a handful.
const MAX_CONNECTIONS: u32 = 128;

/// Most connections accepted from others, so that some room is left to dial.
const MAX_INCOMING: u32 = 96;

/// Most connections being set up, in either direction.
const MAX_PENDING: u32 = 32;

/// Most connections with one peer: two nodes that dial each other at once make two.
const MAX_PER_PEER: u32 = 2;

/// Most requests of one connection at work in either direction.
const MAX_STREAMS: usize = 64;

/// The protocols of a node.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) wire: request_response::Behaviour<WireCodec>,
}

impl Behaviour {
    fn new(keypair: &Keypair) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_established(Some(MAX_CONNECTIONS))
            .with_max_established_incoming(Some(MAX_INCOMING))
            .with_max_established_per_peer(Some(MAX_PER_PEER))
            .with_max_pending_incoming(Some(MAX_PENDING))
            .with_max_pending_outgoing(Some(MAX_PENDING));
        let identify = identify::Config::new(FAMILY.to_owned(), keypair.public())
            .with_agent_version(concat!("skep/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_interval(IDENTIFY_INTERVAL)
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        let wire = request_response::Config::default()
            .with_request_timeout(REQUEST_TIMEOUT)
            .with_max_concurrent_streams(MAX_STREAMS);
        Self {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            kad: kademlia(keypair.public().to_peer_id()),
            wire: request_response::Behaviour::new([(PROTOCOL, ProtocolSupport::Full)], wire),
        }
    }
}

fn kademlia(local: PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_query_timeout(LOOKUP_TIMEOUT)
        // The engine does it every [`REFRESH_INTERVAL`] if it knows anybody; Kademlia would try in any
        // case, and complain.
        .set_periodic_bootstrap_interval(None)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_kbucket_inserts(kad::BucketInserts::Manual);
    let mut kademlia = kad::Behaviour::with_config(local, MemoryStore::new(local), config);
    kademlia.set_mode(Some(kad::Mode::Server));
    kademlia
}

/// Encrypted, multiplexed connections.
pub(super) type Transport = Boxed<(PeerId, StreamMuxerBox)>;

/// Puts encryption and multiplexing on top of plain connections.
pub(super) fn secured<T>(base: T, keypair: &Keypair) -> Result<Transport, ConfigError>
where
    T: libp2p::Transport + Send + Unpin + 'static,
    T::Output: futures::AsyncRead + futures::AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    let noise = noise::Config::new(keypair).map_err(|error| ConfigError::Noise(error.to_string()))?;
    Ok(base
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(CONNECT_TIMEOUT)
        .boxed())
}

/// Connections over TCP.
pub(super) fn tcp_transport(keypair: &Keypair) -> Result<Transport, ConfigError> {
    secured(tcp::tokio::Transport::new(tcp::Config::default()), keypair)
}

/// The node's swarm over these connections.
pub(super) fn swarm(keypair: &Keypair, transport: Transport) -> Swarm<Behaviour> {
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_dial_concurrency_factor(NonZeroU8::MIN.saturating_add(3))
        .with_notify_handler_buffer_size(NonZeroUsize::MIN.saturating_add(15));
    Swarm::new(transport, Behaviour::new(keypair), keypair.public().to_peer_id(), config)
}
