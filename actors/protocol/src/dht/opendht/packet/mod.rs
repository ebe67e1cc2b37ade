//! What nodes say to each other: one MessagePack map a datagram (`spec: dht 1, 2`).
//!
//! ```text
//!   { a: arguments, q: name, t, y: "q", v }    request
//!   { r: body,               t, y: "r", v }    reply
//!   { e: [code, text], r,    t, y: "e", v }    error
//!   { y: "p", t, p: parts }                    part of values that had no room
//!   { u: body, y: "r", v, t }                  notice to a listener of the first version
//! ```
//!
//! A message whose values have no room in one datagram announces their sizes; it is whole when the
//! parts that follow it are put together by [`parts`](super::parts). [`Packet`] is always a whole
//! one, so that nobody else needs to know of sizes and parts.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::compact::Contact;
use super::fields::FieldTable;
use super::parts::Part;
use super::query::Query;
use super::token::Token;
use crate::dht::value::{Value, ValueId};
use crate::ids::{DhtKey, NodeId};

mod decode;
mod encode;
mod read;

/// Largest datagram, in bytes: what a receiver's buffer holds (`spec: dht 1`).
pub const MAX_DATAGRAM: usize = 64 * 1024;

/// Longest text of an error that is kept, in bytes; texts of known nodes have at most 40.
pub const MAX_ERROR_TEXT: usize = 200;

/// How we call ourselves to other nodes: what OpenDHT has said since mid 2023.
const USER_AGENT: &str = "o2";

/// Number of a request, echoed by its reply; each node counts its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u32);

impl fmt::Debug for TransactionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TransactionId({:08x})", self.0)
    }
}

/// Number by which a listener knows what an `update` is about; unique for (node, key, query).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// Number of a network: nodes of different ones ignore each other. 0 is the public one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

/// Who reads a datagram: decides what is not meant for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Our id. What carries it comes from ourselves.
    pub id: NodeId,
    /// Our network.
    pub network: NetworkId,
}

/// What one datagram holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// A message that is complete.
    Whole(Packet),
    /// A message whose values follow in parts: give it to
    /// [`Reassembly::open`](super::parts::Reassembly::open) if it is expected.
    Header(Header),
    /// Parts of values: give them to [`Reassembly::add`](super::parts::Reassembly::add).
    Parts {
        /// Which message they belong to, together with the sender's address.
        transaction: TransactionId,
        /// The parts; nodes send one in each datagram.
        parts: Vec<Part>,
    },
}

/// A message without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message, with those of its values that came with it.
    pub packet: Packet,
    /// Number and packed size in bytes of each value that follows, by rising number. Sizes beyond
    /// [`MAX_PACKED_VALUE`](crate::dht::value::MAX_PACKED_VALUE) are left out; there is at least one.
    pub sizes: Vec<(usize, usize)>,
}

/// One message between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The network it belongs to.
    pub network: NetworkId,
    /// Whether the sender is a client, which keeps nothing for others.
    pub client: bool,
    /// Number of the request, or of the request that this answers.
    pub transaction: TransactionId,
    /// Id of the sender.
    pub sender: NodeId,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Something is wanted.
    Request(Request),
    /// The answer to a request; or values for a listener of the first version, whose socket id
    /// then is the transaction. Which request it was, its transaction tells.
    Reply(Reply),
    /// The refusal of a request.
    Error(ErrorReply),
    /// News for a listener of the first version, whose socket id is the transaction.
    Notice {
        /// What happened.
        change: Change,
        /// The sender's token.
        token: Option<Token>,
    },
}

/// The all-zero key: what an absent key reads as, and what no value can be put at. A request for
/// it is answered by an error, a search for it like any other.
pub const NO_KEY: DhtKey = DhtKey([0; DhtKey::LENGTH]);

/// A request (`spec: dht 2`). Where a key may be absent it is [`NO_KEY`] then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Are you there?
    Ping,
    /// Who is close to this?
    Find {
        /// A key or a node id.
        target: DhtKey,
        /// Of which families nodes are wanted; those of the packet's own if absent.
        want: Option<Want>,
    },
    /// What is here, and who is close?
    Get {
        /// Where.
        key: DhtKey,
        /// Which values, and what of them.
        query: Query,
        /// As for `find`.
        want: Option<Want>,
    },
    /// Keep these values.
    Put {
        /// Where.
        key: DhtKey,
        /// Those values that could be read.
        values: Vec<Arc<Value>>,
        /// When they were made, in Unix seconds, if that is in the past.
        created: Option<u64>,
        /// From an earlier reply of the receiver.
        token: Option<Token>,
    },
    /// Keep a value that you have for longer.
    Refresh {
        /// Where.
        key: DhtKey,
        /// Which.
        id: ValueId,
        /// From an earlier reply of the receiver.
        token: Option<Token>,
    },
    /// Tell me of values here.
    Listen {
        /// Where.
        key: DhtKey,
        /// Which values.
        query: Query,
        /// What to call this in updates.
        socket: SocketId,
        /// How updates are to come.
        version: ListenVersion,
        /// From an earlier reply of the receiver.
        token: Option<Token>,
    },
    /// News for a listener.
    Update {
        /// Where, if it is told.
        key: Option<DhtKey>,
        /// What the listener calls it.
        socket: SocketId,
        /// What happened.
        change: Change,
        /// When the values were made, in Unix seconds, if that is in the past.
        created: Option<u64>,
        /// The sender's token, for the listener's next request.
        token: Option<Token>,
    },
}

impl Packet {
    /// Where this message carries values, if it is of a kind that does.
    pub(super) fn values_mut(&mut self) -> Option<&mut Vec<Arc<Value>>> {
        match &mut self.body {
            Body::Request(
                Request::Put { values, .. } | Request::Update { change: Change::Values(values), .. },
            ) => Some(values),
            Body::Reply(reply) => Some(&mut reply.values),
            _ => None,
        }
    }
}

impl Request {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Find { .. } => "find",
            Self::Get { .. } => "get",
            Self::Put { .. } => "put",
            Self::Refresh { .. } => "refresh",
            Self::Listen { .. } => "listen",
            Self::Update { .. } => "update",
        }
    }
}

/// How a listener wants its updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenVersion {
    /// As replies and notices. Nodes before 2020; still served.
    Replies,
    /// As `update` requests: version 1 on the wire, and any later one.
    Updates,
}

/// What happened at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Values are there, new or edited.
    Values(Vec<Arc<Value>>),
    /// Values live longer.
    Refreshed(Vec<ValueId>),
    /// Values are gone.
    Expired(Vec<ValueId>),
}

/// Families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// IPv4 nodes.
    pub ipv4: bool,
    /// IPv6 nodes.
    pub ipv6: bool,
}

impl Want {
    /// Both families.
    pub const BOTH: Self = Self { ipv4: true, ipv6: true };

    /// The family of this address.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        Self { ipv4: address.is_ipv4(), ipv6: address.is_ipv6() }
    }
}

/// An answer. What is in it depends on the request, which its sender remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Which value was stored or refreshed: to `put` and `refresh`.
    pub stored: Option<ValueId>,
    /// The address that the request came from, as the replier saw it.
    pub seen: Option<IpAddr>,
    /// Nodes with IPv4 addresses, closest first: to `find` and `get`.
    pub ipv4: Vec<Contact>,
    /// Nodes with IPv6 addresses, closest first: to `find` and `get`.
    pub ipv6: Vec<Contact>,
    /// For later writes: to `find`, `get` and `listen`. Longer ones than
    /// [`Token::MAX_LENGTH`](super::token::Token::MAX_LENGTH) count as none.
    pub token: Option<Token>,
    /// The values: to `get` without selected fields.
    pub values: Vec<Arc<Value>>,
    /// The fields: to `get` with selected fields.
    pub fields: Option<FieldTable>,
}

/// The refusal of a request: only the code decides what its receiver does (`spec: dht 2.1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// What kind.
    pub code: u16,
    /// For people.
    pub text: Cow<'static, str>,
}

impl ErrorReply {
    /// Code of a request without key, or of a value without id.
    pub const INCOMPLETE: u16 = 203;
    /// Code of a wrong or missing token.
    pub const UNAUTHORIZED: u16 = 401;
    /// Code of a refresh where nothing is stored.
    pub const NOT_FOUND: u16 = 404;

    /// `get` without key.
    pub const GET_WITHOUT_KEY: Self = Self::of(Self::INCOMPLETE, "Get_values with no info_hash");
    /// `put` without key.
    pub const PUT_WITHOUT_KEY: Self = Self::of(Self::INCOMPLETE, "Put with no info_hash");
    /// `listen` without key.
    pub const LISTEN_WITHOUT_KEY: Self = Self::of(Self::INCOMPLETE, "Listen with no info_hash");
    /// `put` of a value without id.
    pub const PUT_WITHOUT_ID: Self = Self::of(Self::INCOMPLETE, "Put with invalid ID");
    /// `put` or `refresh` with a wrong token or none.
    pub const PUT_UNAUTHORIZED: Self = Self::of(Self::UNAUTHORIZED, "Put with incorrect token");
    /// `listen` with a wrong token or none.
    pub const LISTEN_UNAUTHORIZED: Self = Self::of(Self::UNAUTHORIZED, "Listen with incorrect token");
    /// `refresh` where nothing is stored.
    pub const REFRESH_UNKNOWN: Self = Self::of(Self::NOT_FOUND, "Access operation for unknown storage");

    const fn of(code: u16, text: &'static str) -> Self {
        Self { code, text: Cow::Borrowed(text) }
    }
}

/// Why a datagram is dropped without an answer (`spec: dht 1, 13`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Dropped {
    /// It comes from an address that no node can have.
    #[error("the sender's address cannot be a node's")]
    Martian,
    /// Not MessagePack, cut short, or nested too deep.
    #[error("the datagram is not one MessagePack map: {0}")]
    Decode(#[from] crate::msgpack::DecodeError),
    /// MessagePack, but no map.
    #[error("the datagram is not a map")]
    NoMap,
    /// Of another network.
    #[error("the datagram belongs to network {0}")]
    Network(u32),
    /// Neither request, reply, error nor parts; or a request of a name not known.
    #[error("the datagram is of no known kind")]
    Unknown,
    /// The sender's id is missing, no 20 bytes, zero, or our own.
    #[error("the sender's id is missing or cannot be a node's")]
    Sender,
    /// An entry has a wrong type, length or range.
    #[error("the entry {0:?} has a wrong type, length or range")]
    Entry(&'static str),
}
