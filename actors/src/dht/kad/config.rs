//! What an engine is started with.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use skep_protocol::time::Moment;

use crate::dht::host_address::{HostAddress, excerpt};

/// Most bootstrap nodes, of the configuration and added later: enough for any list people keep.
pub const MAX_BOOTSTRAP: usize = 32;

/// Longest multiaddress accepted, in bytes: one with a host name and a node id has fewer.
const MAX_MULTIADDRESS: usize = 400;

/// The secret that makes the node's id among the nodes of the DHT; not that of a device.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeSecret(pub [u8; 32]);

impl NodeSecret {
    /// The node id that follows from this secret.
    ///
    /// # Errors
    /// Never for 32 bytes; the signature is that of the key library.
    pub fn peer_id(&self) -> Result<PeerId, ConfigError> {
        Ok(self.keypair()?.public().to_peer_id())
    }

    pub(crate) fn keypair(&self) -> Result<Keypair, ConfigError> {
        Keypair::ed25519_from_bytes(self.0).map_err(|_| ConfigError::Secret)
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NodeSecret(…)")
    }
}

/// Why an engine cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The secret is not an Ed25519 key.
    #[error("the DHT node's secret is not an Ed25519 key; delete its file to get a new one")]
    Secret,
    /// A text that is no address.
    #[error("{text:?} is not a bootstrap address; write host, host:port or a multiaddress")]
    Address {
        /// The beginning of it.
        text: String,
    },
    /// An address cannot be listened on.
    #[error("the DHT cannot listen on {address}: {cause}; choose another port")]
    Listen {
        /// Which.
        address: String,
        /// What the system says.
        cause: String,
    },
    /// Encryption could not be set up.
    #[error("the DHT cannot set up its encryption: {0}")]
    Noise(String),
}

/// A node to join the network through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootstrapAddress {
    /// A host name to be looked up at each attempt, and a port.
    Host(String, u16),
    /// An address in libp2p's notation, with or without a node id.
    Multiaddr(Multiaddr),
}

impl From<HostAddress> for BootstrapAddress {
    fn from(address: HostAddress) -> Self {
        match address {
            HostAddress::Name(host, port) => Self::Host(host, port),
            HostAddress::Address(address) => Self::Multiaddr(ip_address(address.ip(), address.port())),
        }
    }
}

/// The TCP address of libp2p for an IP address and a port.
#[must_use]
pub fn ip_address(address: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(address).with(libp2p::multiaddr::Protocol::Tcp(port))
}

impl FromStr for BootstrapAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let wrong = || ConfigError::Address { text: excerpt(text) };
        if text.starts_with('/') {
            let short = text.len() <= MAX_MULTIADDRESS;
            return text.parse().ok().filter(|_| short).map(Self::Multiaddr).ok_or_else(wrong);
        }
        text.parse::<HostAddress>().map(Self::from).map_err(|_| wrong())
    }
}

impl fmt::Display for BootstrapAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) => write!(formatter, "{host}:{port}"),
            Self::Multiaddr(address) => address.fmt(formatter),
        }
    }
}

/// Tells the time since the node started.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// What an engine is started with.
#[derive(Clone)]
pub struct EngineConfig {
    /// Makes the node id.
    pub secret: NodeSecret,
    /// Where to accept connections; port 0 is any free one.
    pub listen: Vec<Multiaddr>,
    /// Nodes to join through. May be empty for the first node of a network.
    pub bootstrap: Vec<BootstrapAddress>,
    /// The file in which good peers are remembered across restarts.
    pub known_peers: Option<PathBuf>,
    /// Tells the time.
    pub clock: Clock,
    /// Seeds the jitter of redialling; not a secret.
    pub seed: u64,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EngineConfig")
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .field("known_peers", &self.known_peers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_addresses_are_hosts_or_multiaddresses() {
        for (text, expected) in [
            ("bootstrap.jami.net", "bootstrap.jami.net:4222"),
            ("127.0.0.1:7", "/ip4/127.0.0.1/tcp/7"),
            ("::1", "/ip6/::1/tcp/4222"),
            (" /memory/5", "/memory/5"),
        ] {
            assert_eq!(text.parse::<BootstrapAddress>().unwrap().to_string(), expected);
        }
        for text in ["", "host:0", "a b", "/nonsense/1", &format!("/memory/{}", "1".repeat(400))] {
            assert!(text.parse::<BootstrapAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_secret_makes_always_the_same_node_id() {
        let secret = NodeSecret([7; 32]);
        assert_eq!(secret.peer_id(), secret.clone().peer_id());
        assert_ne!(secret.peer_id(), NodeSecret([8; 32]).peer_id());
        assert!(!format!("{secret:?}").contains('7'));
    }
}
