//! What others may ask of the DHT, and what it tells. Nothing here knows how it is carried, so that
//! the actor over Kademlia and one that speaks OpenDHT's protocol are interchangeable.

use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skep_protocol::dht::value::{Fingerprint, Value, ValueId};
use skep_protocol::ids::DhtKey;

use crate::supervision::{ActorId, Message, Outlet, Policy, Reply};

/// A request to the DHT.
#[derive(Debug)]
pub enum DhtMessage {
    /// Publish a value. Answered as soon as most of the nodes that should keep it do.
    Put {
        /// Where.
        key: DhtKey,
        /// What; it must have an id.
        value: Value,
        /// Keep it alive until [`Self::CancelPut`], on whichever nodes come and go. After an error
        /// [`DhtError::Alone`] or [`DhtError::NoAnswer`] it is still delivered when that becomes
        /// possible.
        permanent: bool,
        /// The outcome.
        reply: Reply<Result<PutReport, DhtError>>,
    },
    /// Stop publishing a value. The nodes that keep it let it expire.
    CancelPut {
        /// Where.
        key: DhtKey,
        /// Which.
        id: ValueId,
    },
    /// Ask for the values at a key.
    Get {
        /// Where.
        key: DhtKey,
        /// The values of all nodes, each once.
        reply: Reply<Result<Found, DhtError>>,
    },
    /// Tell of the values at a key, those of now and those to come.
    Listen {
        /// A [new](ListenId::unique) name for it, with which it is cancelled.
        id: ListenId,
        /// Where.
        key: DhtKey,
        /// Where to tell. When nobody is there any more, the listening is cancelled.
        outlet: Outlet<ListenEvent>,
    },
    /// End a listening.
    Cancel {
        /// Which.
        id: ListenId,
    },
    /// Ask how the DHT is.
    Health {
        /// The state now.
        reply: Reply<Health>,
    },
    /// Join through one more node.
    AddBootstrap {
        /// `host`, `host:port` or an address in the notation of the network below.
        address: String,
        /// Whether it is an address.
        reply: Reply<Result<(), DhtError>>,
    },
}

impl Message for DhtMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::CancelPut { .. } => "cancel_put",
            Self::Get { .. } => "get",
            Self::Listen { .. } => "listen",
            Self::Cancel { .. } => "cancel",
            Self::Health { .. } => "health",
            Self::AddBootstrap { .. } => "add_bootstrap",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Health { .. } => Policy::Reject,
            _ => Policy::Wait,
        }
    }
}

/// Names a listening of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenId(u64);

impl ListenId {
    /// A name not used before.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(2, Ordering::Relaxed))
    }

    /// The name of an actor's only listening at a key: the same after the actor was restarted, which
    /// then cancels what is left of the one before.
    #[must_use]
    pub fn of(listener: ActorId, key: DhtKey) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        (listener, key).hash(&mut hasher);
        Self(hasher.finish() | 1)
    }
}

/// What a listener is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenEvent {
    /// New values, and edited ones under the id they had. Their signatures, if any, are good.
    Values(Vec<Arc<Value>>),
    /// Values that no node keeps any more. After an edit it names the edition before.
    Expired(Vec<Fingerprint>),
    /// Too many keys are listened at already: nothing will be told.
    Refused(DhtError),
}

/// A successful put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutReport {
    /// How many other nodes keep the value by now.
    pub stored: usize,
}

/// What a get found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The values, by ascending id.
    pub values: Vec<Value>,
    /// How many other nodes answered.
    pub answered: usize,
}

/// How the DHT is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether another node answered recently. Listening on a port alone is not enough.
    pub reachable: bool,
    /// Connected nodes.
    pub peers: usize,
    /// Nodes in the routing table.
    pub known: usize,
    /// How long ago the last answer of another node came.
    pub last_answer: Option<Duration>,
    /// This node's id in the network below.
    pub node_id: String,
    /// Addresses listened on, in the notation of the network below.
    pub listening: Vec<String>,
    /// Our own addresses as other nodes see them, the one seen by most first.
    pub observed: Vec<IpAddr>,
    /// Values kept, for others and of our own.
    pub stored_values: usize,
    /// Other nodes' listenings served.
    pub listeners: usize,
    /// Values published by this node.
    pub published: usize,
    /// Keys this node listens at.
    pub listening_keys: usize,
}

/// Why a node refuses to keep a value or a listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The value breaks the rules of its type: its signature is bad, or it edits what it must not.
    Policy,
    /// The node has no room.
    Full,
    /// We asked too often.
    TooOften,
    /// Any other.
    Other,
}

/// Why the DHT could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DhtError {
    /// No other node is known.
    #[error("no other DHT node was reachable for {waited:?}; check the bootstrap nodes and the network")]
    Alone {
        /// How long was waited.
        waited: Duration,
    },
    /// Nodes are known and none answered.
    #[error("none of {asked} DHT nodes answered; try again when the network is better")]
    NoAnswer {
        /// How many were asked.
        asked: usize,
    },
    /// All nodes that answered refused.
    #[error("the DHT nodes refused the value: {reason:?}")]
    Refused {
        /// Why the last one did.
        reason: RefusalReason,
    },
    /// Our own rules forbid the value, so that no other node was asked.
    #[error("the value cannot be put: {0}")]
    Value(String),
    /// A limit of this node.
    #[error("this node has reached its limit of {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A newer put with the same key and id took its place.
    #[error("another value was put under the same key and id before this one was delivered")]
    Superseded,
    /// Cancelled by [`DhtMessage::CancelPut`].
    #[error("the put was cancelled before it was delivered")]
    Cancelled,
    /// Not an address.
    #[error("{0}")]
    Address(String),
    /// The DHT is ending.
    #[error("the DHT of this node has stopped")]
    Stopped,
}

/// Names an operation under way, between the actor and its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);
