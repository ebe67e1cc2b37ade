//! What an engine of OpenDHT is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use futures::FutureExt as _;
use skep_protocol::dht::opendht::packet::NetworkId;
use skep_protocol::ids::{NodeId, sha1};

use super::engine::Engine;
use crate::dht::host_address::HostAddress;
use crate::dht::kad::config::NodeSecret;
use crate::dht::messages::DhtError;
use crate::dht::network::{EngineStart, Network, NetworkError, Running, queue};

/// The network of OpenDHT's nodes, Jami's among them.
#[derive(Clone, Debug)]
pub struct OpenDhtNetwork {
    /// Id of this node.
    pub id: NodeId,
    /// Which network: 0 is the public one.
    pub network: NetworkId,
    /// Where to listen, the first address of each family; port 0 is any free one, and if a port is
    /// taken, any other is used.
    pub listen: Vec<SocketAddr>,
    /// Nodes to join through: `host`, `host:port`, or an address with or without port. May be empty
    /// for the first node of a network.
    pub bootstrap: Vec<String>,
    /// Whether to look for nodes in the local network, and to be found there.
    pub local_discovery: bool,
    /// The file in which good nodes are remembered across restarts.
    pub known_nodes: Option<PathBuf>,
}

/// The id of the node that has this secret: always the same, and tells nothing of the secret.
#[must_use]
pub fn node_id(secret: &NodeSecret) -> NodeId {
    NodeId(sha1(&[b"OpenDHT node ".as_slice(), &secret.0].concat()))
}

impl Network for OpenDhtNetwork {
    fn check_address(&self, address: &str) -> Result<(), DhtError> {
        address.parse::<HostAddress>().map(drop).map_err(|error| DhtError::Address(error.to_string()))
    }

    fn open(&self, start: EngineStart) -> Result<Running, NetworkError> {
        let (sender, messages) = queue();
        Ok(Running { messages: sender, engine: Engine::new(self, start, messages)?.run().boxed_local() })
    }
}
