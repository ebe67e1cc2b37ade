//! What two engines say to each other: one request, one response, each a MessagePack list.
//!
//! ```text
//!   request   [1, key, entries]           Store     response  [1, refused]        Stored
//!             [2, key, after]             Get                 [2, values, more]   Values
//!             [3, key]                    Listen              [3]                 Done
//!             [4, key]                    Unlisten            [4, why]            Declined
//!             [5, key, values, ids, ids]  Notify
//!             [6]                         Ping
//!
//!   entries   [[age, packed value] …]     age in milliseconds: two clocks never meet
//!   refused   [[value id, reason] …]
//!   values    [packed value …]
//!   ids       [value id …]                of refreshed, and of expired values
//! ```
//!
//! Lists may grow at their end: a reader ignores what follows the items it knows. An entry that is
//! no value is skipped and its neighbours are kept (`spec: dht 2`, put); everything else that does
//! not fit makes the message an error, which ends the stream and nothing more.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use skep_protocol::dht::kind::Refusal;
use skep_protocol::ids::DhtKey;
use skep_protocol::msgpack::{self, Value as Pack};

use crate::dht::messages::RefusalReason;

/// Largest message in bytes: the largest value (64 KiB) and as much again, so that a page of values
/// always makes progress.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// How full a page of values may be, in bytes; what is left of [`MAX_MESSAGE`] is for the frame.
pub const PAGE_BYTES: usize = MAX_MESSAGE - 1024;

/// Most entries or ids in one message: as many as fit into a page of the smallest values is far
/// more than any key of Jami's carries, so a cap keeps the work for one message small.
pub const MAX_ENTRIES: usize = 1024;

/// Longest age told, in milliseconds (a year): older than any value may become.
const MAX_AGE: u64 = 366 * 24 * 3600 * 1000;

/// A value to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How long ago its publisher put it.
    pub age: Duration,
    /// Its MessagePack bytes (`spec: dht 3`).
    pub packed: Vec<u8>,
}

/// What a peer asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Keep these values.
    Store {
        /// Where.
        key: DhtKey,
        /// Which.
        entries: Vec<Entry>,
    },
    /// Say which values with an id above `after` you keep.
    Get {
        /// Where.
        key: DhtKey,
        /// The last id of the page before, or zero.
        after: u64,
    },
    /// Say what you keep, and from now on tell me of every change.
    Listen {
        /// Where.
        key: DhtKey,
    },
    /// Stop telling me.
    Unlisten {
        /// Where.
        key: DhtKey,
    },
    /// Something changed at a key you listen to.
    Notify {
        /// Where.
        key: DhtKey,
        /// New and edited values, packed.
        values: Vec<Vec<u8>>,
        /// Ids of values that live longer now.
        refreshed: Vec<u64>,
        /// Ids of values no longer kept.
        expired: Vec<u64>,
    },
    /// Are you there?
    Ping,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Store`]: everything is kept but these.
    Stored {
        /// Ids of values not kept, and why.
        refused: Vec<(u64, Reason)>,
    },
    /// To [`Request::Get`] and [`Request::Listen`].
    Values {
        /// The values, packed, by ascending id.
        values: Vec<Vec<u8>>,
        /// Whether another page follows.
        more: bool,
    },
    /// Done, nothing to tell.
    Done,
    /// Not done.
    Declined(Reason),
}

/// Why a peer did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The storage policy forbids it: a bad signature, an edit that is none, a wrong key.
    Policy,
    /// Others are closer to the key.
    TooFar,
    /// A limit of the answering node is reached.
    Full,
    /// The asking node asks too often.
    TooOften,
    /// There is no such listener.
    NotListening,
    /// A reason of a newer node.
    Unknown,
}

impl Reason {
    const fn code(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Policy => 1,
            Self::TooFar => 2,
            Self::Full => 3,
            Self::TooOften => 4,
            Self::NotListening => 5,
        }
    }

    const fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Policy,
            2 => Self::TooFar,
            3 => Self::Full,
            4 => Self::TooOften,
            5 => Self::NotListening,
            _ => Self::Unknown,
        }
    }
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        if matches!(refusal, Refusal::Full) { Self::Full } else { Self::Policy }
    }
}

impl From<Reason> for RefusalReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Policy => Self::Policy,
            Reason::Full => Self::Full,
            Reason::TooOften => Self::TooOften,
            Reason::TooFar | Reason::NotListening | Reason::Unknown => Self::Other,
        }
    }
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not MessagePack.
    #[error("the peer's message is not MessagePack: {0}")]
    Pack(#[from] msgpack::DecodeError),
    /// MessagePack, but not one of the lists above.
    #[error("the peer's message has the wrong shape")]
    Shape,
    /// More entries or ids than [`MAX_ENTRIES`].
    #[error("the peer's message lists more than {MAX_ENTRIES} items")]
    TooMany,
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(MAX_AGE).min(MAX_AGE)
}

fn pack_entries(entries: &[Entry]) -> Pack {
    let pack = |entry: &Entry| Pack::Array(vec![millis(entry.age).into(), Pack::binary(&entry.packed)]);
    Pack::Array(entries.iter().map(pack).collect())
}

fn pack_values(values: &[Vec<u8>]) -> Pack {
    Pack::Array(values.iter().map(|packed| Pack::binary(packed)).collect())
}

fn pack_ids(ids: &[u64]) -> Pack {
    Pack::Array(ids.iter().map(|id| (*id).into()).collect())
}

/// The items of one decoded list, taken from the front.
struct Items<'a>(std::slice::Iter<'a, Pack>);

impl<'a> Items<'a> {
    fn of(pack: &'a Pack) -> Result<Self, WireError> {
        pack.as_array().map(|items| Self(items.iter())).ok_or(WireError::Shape)
    }

    fn next(&mut self) -> Result<&'a Pack, WireError> {
        self.0.next().ok_or(WireError::Shape)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        self.next()?.as_unsigned().ok_or(WireError::Shape)
    }

    fn key(&mut self) -> Result<DhtKey, WireError> {
        self.next()?.as_binary().and_then(DhtKey::from_bytes).ok_or(WireError::Shape)
    }

    fn list(&mut self) -> Result<&'a [Pack], WireError> {
        let list = self.next()?.as_array().ok_or(WireError::Shape)?;
        if list.len() > MAX_ENTRIES { Err(WireError::TooMany) } else { Ok(list) }
    }

    fn ids(&mut self) -> Result<Vec<u64>, WireError> {
        self.list()?.iter().map(|id| id.as_unsigned().ok_or(WireError::Shape)).collect()
    }

    fn values(&mut self) -> Result<Vec<Vec<u8>>, WireError> {
        Ok(self.list()?.iter().filter_map(Pack::as_binary).map(<[u8]>::to_vec).collect())
    }

    fn entries(&mut self) -> Result<Vec<Entry>, WireError> {
        Ok(self.list()?.iter().filter_map(entry).collect())
    }
}

fn entry(pack: &Pack) -> Option<Entry> {
    let mut items = Items::of(pack).ok()?;
    let age = Duration::from_millis(items.number().ok()?.min(MAX_AGE));
    let packed = items.next().ok()?.as_binary()?.to_vec();
    Some(Entry { age, packed })
}

fn refusal(pack: &Pack) -> Result<(u64, Reason), WireError> {
    let mut items = Items::of(pack)?;
    Ok((items.number()?, Reason::from_code(items.number()?)))
}

impl Request {
    /// The bytes of this request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let list = match self {
            Self::Store { key, entries } => {
                vec![Pack::Unsigned(1), Pack::binary(&key.0), pack_entries(entries)]
            }
            Self::Get { key, after } => vec![Pack::Unsigned(2), Pack::binary(&key.0), (*after).into()],
            Self::Listen { key } => vec![Pack::Unsigned(3), Pack::binary(&key.0)],
            Self::Unlisten { key } => vec![Pack::Unsigned(4), Pack::binary(&key.0)],
            Self::Notify { key, values, refreshed, expired } => vec![
                Pack::Unsigned(5),
                Pack::binary(&key.0),
                pack_values(values),
                pack_ids(refreshed),
                pack_ids(expired),
            ],
            Self::Ping => vec![Pack::Unsigned(6)],
        };
        Pack::Array(list).encode()
    }

    /// The request these bytes are.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let pack = msgpack::decode_all(bytes)?;
        let mut items = Items::of(&pack)?;
        match items.number()? {
            1 => Ok(Self::Store { key: items.key()?, entries: items.entries()? }),
            2 => Ok(Self::Get { key: items.key()?, after: items.number()? }),
            3 => Ok(Self::Listen { key: items.key()? }),
            4 => Ok(Self::Unlisten { key: items.key()? }),
            5 => Ok(Self::Notify {
                key: items.key()?,
                values: items.values()?,
                refreshed: items.ids()?,
                expired: items.ids()?,
            }),
            6 => Ok(Self::Ping),
            _ => Err(WireError::Shape),
        }
    }
}

impl Response {
    /// The bytes of this response.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let list = match self {
            Self::Stored { refused } => {
                let pack =
                    |(id, reason): &(u64, Reason)| Pack::Array(vec![(*id).into(), reason.code().into()]);
                vec![Pack::Unsigned(1), Pack::Array(refused.iter().map(pack).collect())]
            }
            Self::Values { values, more } => vec![Pack::Unsigned(2), pack_values(values), (*more).into()],
            Self::Done => vec![Pack::Unsigned(3)],
            Self::Declined(reason) => vec![Pack::Unsigned(4), reason.code().into()],
        };
        Pack::Array(list).encode()
    }

    /// The response these bytes are.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let pack = msgpack::decode_all(bytes)?;
        let mut items = Items::of(&pack)?;
        match items.number()? {
            1 => {
                let refused = items.list()?.iter().map(refusal).collect::<Result<_, _>>()?;
                Ok(Self::Stored { refused })
            }
            2 => {
                let values = items.values()?;
                Ok(Self::Values { values, more: items.next()?.as_bool().ok_or(WireError::Shape)? })
            }
            3 => Ok(Self::Done),
            4 => Ok(Self::Declined(Reason::from_code(items.number()?))),
            _ => Err(WireError::Shape),
        }
    }
}

/// Name of the protocol among those of libp2p.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/skep/dht/1");

/// Puts messages on a stream: one message, then the end of the stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireCodec;

async fn read<T: AsyncRead + Unpin + Send>(stream: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_MESSAGE).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(limit).read_to_end(&mut bytes).await?;
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::Pack(msgpack::DecodeError::TooLarge { limit: MAX_MESSAGE }).into());
    }
    Ok(bytes)
}

impl Codec for WireCodec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(Request::decode(&read(stream).await?)?)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(Response::decode(&read(stream).await?)?)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        stream.write_all(&request.encode()).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        stream.write_all(&response.encode()).await
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
