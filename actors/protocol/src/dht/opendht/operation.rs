//! What is asked of a node by its owner, and what it tells.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::nodes::Family;
use crate::dht::announce::TooManyAnnouncements;
use crate::dht::kind::Refusal;
use crate::dht::subscriptions::TooManySubscriptions;
use crate::dht::value::{Fingerprint, Value};
pub use crate::time::Now;

/// Names a put, a get or a listening of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// What a node tells its owner.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A put has an outcome. A permanent value is kept alive after it, or tried again.
    Put {
        /// Which put.
        operation: OperationId,
        /// How many other nodes keep the value by now.
        result: Result<usize, Failure>,
    },
    /// A get has ended.
    Got {
        /// Which get.
        operation: OperationId,
        /// What it found.
        result: Result<Found, Failure>,
    },
    /// A listener is told of values, new or edited. Their signatures, if any, are good.
    Values {
        /// Which listening.
        operation: OperationId,
        /// The values.
        values: Vec<Arc<Value>>,
    },
    /// A listener is told of values that no node keeps any more.
    Expired {
        /// Which listening.
        operation: OperationId,
        /// The values.
        fingerprints: Vec<Fingerprint>,
    },
    /// The connection to one of the two networks changed.
    Status {
        /// Which.
        family: Family,
        /// How it is now.
        status: Status,
    },
}

/// What a get found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The values, by rising id; their signatures, if any, are good.
    pub values: Vec<Arc<Value>>,
    /// How many other nodes answered.
    pub answered: usize,
}

/// How a node is connected to one of the two networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// No node is known.
    #[default]
    Disconnected,
    /// Nodes are known, and none has answered lately.
    Connecting,
    /// Nodes answer.
    Connected,
}

/// Why an operation came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No other node is known.
    #[error("no other DHT node was reachable for {waited:?}")]
    Alone {
        /// How long was waited.
        waited: Duration,
    },
    /// Nodes are known and none answered.
    #[error("none of {asked} DHT nodes answered")]
    NoAnswer {
        /// How many were asked.
        asked: usize,
    },
    /// Another value was put under the same key and id.
    #[error("another value was put under the same key and id")]
    Superseded,
    /// It was cancelled.
    #[error("the put was cancelled")]
    Cancelled,
}

/// Why an operation is not even begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Other nodes would not take the value.
    #[error(transparent)]
    Value(#[from] Refusal),
    /// Too many values are published.
    #[error(transparent)]
    Announcements(#[from] TooManyAnnouncements),
    /// Too many keys are listened at.
    #[error(transparent)]
    Subscriptions(#[from] TooManySubscriptions),
    /// Too many gets are under way.
    #[error("{MAX_GETS} gets are under way already")]
    Gets,
}

/// Gets under way at one time; each may hold values of some megabytes.
pub const MAX_GETS: usize = 1024;

/// How a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Over IPv4.
    pub ipv4: Status,
    /// Over IPv6.
    pub ipv6: Status,
    /// Nodes that answer.
    pub good: usize,
    /// Nodes of the routing tables.
    pub known: usize,
    /// How long ago the last answer came.
    pub last_answer: Option<Duration>,
    /// Our own addresses as other nodes see them, the one seen by most first.
    pub observed: Vec<IpAddr>,
    /// Values kept, for others and of our own.
    pub stored_values: usize,
    /// Bytes kept for others.
    pub stored_bytes: usize,
    /// Other nodes' listenings served.
    pub listeners: usize,
    /// Values published by this node.
    pub published: usize,
    /// Keys this node listens at.
    pub listening_keys: usize,
    /// Searches under way or remembered.
    pub searches: usize,
    /// Requests under way.
    pub requests: usize,
}
