//! What an engine over libp2p is started with.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::Engine;
use super::config::{BootstrapAddress, Clock, ConfigError, EngineConfig, NodeSecret};
use crate::dht::messages::DhtError;
use crate::dht::network::{EngineStart, Network, NetworkError, Running, queue};

/// The network of Skep's own: an [`EngineConfig`] whose clock and seed are the environment's.
#[derive(Clone, Debug)]
pub struct KadNetwork {
    /// Makes the node id.
    pub secret: NodeSecret,
    /// Where to accept connections; port 0 is any free one. If a port is taken, any other is used.
    pub listen: Vec<Multiaddr>,
    /// Nodes to join through.
    pub bootstrap: Vec<BootstrapAddress>,
    /// The file in which good peers are remembered.
    pub known_peers: Option<PathBuf>,
}

impl Network for KadNetwork {
    fn check_address(&self, address: &str) -> Result<(), DhtError> {
        let parsed = address.parse::<BootstrapAddress>();
        parsed.map(drop).map_err(|error| DhtError::Address(error.to_string()))
    }

    fn open(&self, start: EngineStart) -> Result<Running, NetworkError> {
        let EngineStart { environment, bootstrap } = start;
        let seed = environment.random_u64();
        let clock: Clock = Arc::new(move || environment.now());
        let remembered = bootstrap.iter().filter_map(|address| address.parse().ok());
        let mut config = EngineConfig {
            secret: self.secret.clone(),
            listen: self.listen.clone(),
            bootstrap: self.bootstrap.iter().cloned().chain(remembered).collect(),
            known_peers: self.known_peers.clone(),
            clock,
            seed,
        };
        let opened = match open(config.clone()) {
            Err(ConfigError::Listen { address, cause }) => {
                tracing::warn!(address, cause, "the DHT cannot listen there and takes any other port");
                config.listen = config.listen.iter().map(with_any_port).collect();
                open(config)
            }
            opened => opened,
        };
        opened.map_err(|error| NetworkError(error.to_string()))
    }
}

fn open(config: EngineConfig) -> Result<Running, ConfigError> {
    let (sender, messages) = queue();
    Ok(Running { messages: sender, engine: Engine::new(config, messages)?.run().boxed_local() })
}

/// The same address with a port of the system's choice.
fn with_any_port(address: &Multiaddr) -> Multiaddr {
    let parts = address.iter().map(|part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(0),
        part => part,
    });
    parts.collect()
}
