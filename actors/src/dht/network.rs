//! The networks that can carry the DHT.

use std::fmt;

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::messages::{DhtError, DhtMessage};
use crate::supervision::Environment;

/// What a network can be told apart by, and how its engine is started.
///
pub trait Network: Clone + fmt::Debug + Send + Sync + Unpin + 'static {
    /// Whether an address to join through is one of this network.
    ///
    /// # Errors
    /// [`DhtError::Address`].
    fn check_address(&self, address: &str) -> Result<(), DhtError>;

    /// Opens its ports. Called within a tokio runtime.
    ///
    /// # Errors
    /// When it cannot; it is tried again later.
    fn open(&self, start: EngineStart) -> Result<Running, NetworkError>;
}

/// What an engine gets from its actor.
#[derive(Debug)]
pub struct EngineStart {
    /// Clock and randomness.
    pub environment: Environment,
    /// Nodes to join through besides those of the configuration.
    pub bootstrap: Vec<String>,
}

/// An engine that has opened its ports.
pub struct Running {
    /// Where it takes messages.
    pub messages: mpsc::Sender<DhtMessage>,
    /// To be driven. When the channel closes, it writes what it wants to remember and ends.
    pub engine: LocalBoxFuture<'static, ()>,
}

impl fmt::Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Running")
    }
}

/// Messages on their way to an engine; more wait in the mailbox of its actor.
const QUEUE: usize = 64;

/// The channel of an engine.
pub(super) fn queue() -> (mpsc::Sender<DhtMessage>, mpsc::Receiver<DhtMessage>) {
    mpsc::channel(QUEUE)
}

/// Why an engine does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkError(pub String);
