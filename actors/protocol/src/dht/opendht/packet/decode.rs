//! From bytes to messages: generous where the reference is (`spec: dht 1.1, 13`).

use std::net::SocketAddr;
use std::sync::Arc;

use super::read::{address, entry, hash, token, transaction, unsigned, unsigned_32, value_ids, want};
use super::{
    Body, Change, Datagram, Dropped, ErrorReply, Header, ListenVersion, MAX_DATAGRAM, MAX_ERROR_TEXT, NO_KEY,
    NetworkId, Packet, Reader, Reply, Request, SocketId,
};
use crate::dht::opendht::compact::{self, Contact};
use crate::dht::opendht::fields::FieldTable;
use crate::dht::opendht::parts::Part;
use crate::dht::opendht::query::Query;
use crate::dht::value::{MAX_PACKED_VALUE, Value, ValueId};
use crate::ids::{DhtKey, NodeId};
use crate::msgpack::{self, Value as Object};

impl Datagram {
    /// Reads what came from `source`, an address [without mapping](compact::canonical).
    ///
    /// # Errors
    /// Why it is to be ignored. Nothing is ever answered to such a datagram.
    pub fn decode(bytes: &[u8], source: &SocketAddr, reader: &Reader) -> Result<Self, Dropped> {
        if compact::is_martian(source) {
            return Err(Dropped::Martian);
        }
        let (map, _) = msgpack::decode(bytes, MAX_DATAGRAM)?;
        if map.as_map().is_none() {
            return Err(Dropped::NoMap);
        }
        let network = unsigned_32(&map, "n")?.unwrap_or_default();
        if network != reader.network.0 {
            return Err(Dropped::Network(network));
        }
        let transaction = transaction(&map)?;
        if let (None, None, Some(parts)) = (map.get("e"), map.get("r"), map.get("p")) {
            return Ok(Self::Parts { transaction, parts: read_parts(parts)? });
        }
        let (content, name) = content(&map)?;
        let sender = sender(content, reader)?;
        let message = Message { map: &map, content, source, reader };
        let Values { values, sizes } = Values::read(content)?;
        let body = message.body(name, values)?;
        let client = entry(&map, "s", Object::as_bool)?.unwrap_or_default();
        let mut packet = Packet { network: NetworkId(network), client, transaction, sender, body };
        if sizes.is_empty() || packet.values_mut().is_none() {
            return Ok(Self::Whole(packet));
        }
        Ok(Self::Header(Header { packet, sizes }))
    }
}

/// Key of the content of each kind of message, in the order in which a reader looks for them.
const ERROR: &str = "e";
const REPLY: &str = "r";
const NOTICE: &str = "u";
const REQUEST: &str = "a";

/// The part of the message that its kind says, and the key of that kind.
fn content(map: &Object) -> Result<(&Object, &'static str), Dropped> {
    let is_map = |object: &Object| object.as_map().is_some();
    let kind = [ERROR, REPLY, NOTICE].into_iter().find(|name| map.get(name).is_some());
    let (kind, name) = match kind {
        Some(ERROR) => (ERROR, REPLY),
        Some(kind) => (kind, kind),
        None => (REQUEST, REQUEST),
    };
    let content = map.get(name).ok_or(Dropped::Unknown)?;
    if is_map(content) { Ok((content, kind)) } else { Err(Dropped::Entry(name)) }
}

fn sender(content: &Object, reader: &Reader) -> Result<NodeId, Dropped> {
    let id = hash(content, "id").ok().flatten().map(NodeId);
    id.filter(|id| *id != reader.id && id.0 != [0; 20]).ok_or(Dropped::Sender)
}

fn read_parts(parts: &Object) -> Result<Vec<Part>, Dropped> {
    let part = |(index, part): &(Object, Object)| {
        let number = |object: &Object| usize::try_from(object.as_unsigned()?).ok();
        Some(Part {
            value: number(index)?,
            offset: number(part.get("o")?)?,
            data: part.get("d")?.as_binary()?.to_vec(),
        })
    };
    parts.as_map().and_then(|parts| parts.iter().map(part).collect()).ok_or(Dropped::Entry("p"))
}

/// The entry `values`: values, or the sizes of those that follow in parts.
#[derive(Default)]
struct Values {
    values: Vec<Arc<Value>>,
    sizes: Vec<(usize, usize)>,
}

impl Values {
    fn read(content: &Object) -> Result<Self, Dropped> {
        let mut read = Self::default();
        let items = entry(content, "values", Object::as_array)?.unwrap_or_default();
        for (number, item) in items.iter().enumerate() {
            match item {
                Object::Unsigned(size) => match usize::try_from(*size) {
                    Ok(size) if (1..=MAX_PACKED_VALUE).contains(&size) => read.sizes.push((number, size)),
                    _ => {}
                },
                item => read.values.extend(Value::from_object(item).ok().map(Arc::new)),
            }
        }
        Ok(read)
    }
}

/// A message being read.
struct Message<'m> {
    map: &'m Object,
    content: &'m Object,
    source: &'m SocketAddr,
    reader: &'m Reader,
}

impl Message<'_> {
    fn body(&self, kind: &str, values: Vec<Arc<Value>>) -> Result<Body, Dropped> {
        match kind {
            ERROR => self.error().map(Body::Error).ok_or(Dropped::Entry(ERROR)),
            REPLY => self.reply(values).map(Body::Reply),
            NOTICE => Ok(Body::Notice { change: self.change(Vec::new())?, token: token(self.content)? }),
            _ => self.request(values).map(Body::Request),
        }
    }

    fn error(&self) -> Option<ErrorReply> {
        let error = self.map.get(ERROR)?.as_array()?;
        let code = u16::try_from(error.first()?.as_unsigned()?).ok()?;
        let text = error.get(1).and_then(Object::as_text).unwrap_or_default();
        let end = text.floor_char_boundary(MAX_ERROR_TEXT);
        Some(ErrorReply { code, text: text.get(..end).unwrap_or_default().to_owned().into() })
    }

    fn reply(&self, values: Vec<Arc<Value>>) -> Result<Reply, Dropped> {
        Ok(Reply {
            stored: unsigned(self.content, "vid")?.map(ValueId),
            seen: address(self.content)?,
            ipv4: self.nodes("n4", false)?,
            ipv6: self.nodes("n6", true)?,
            token: token(self.content)?,
            values,
            fields: entry(self.content, "fileds", FieldTable::read)?,
        })
    }

    fn nodes(&self, name: &'static str, ipv6: bool) -> Result<Vec<Contact>, Dropped> {
        let read = |object: &Object| compact::read(object.as_binary()?, ipv6, self.source, self.reader.id);
        Ok(entry(self.content, name, read)?.unwrap_or_default())
    }

    fn request(&self, values: Vec<Arc<Value>>) -> Result<Request, Dropped> {
        if self.map.get("y").is_some_and(|kind| kind.as_text() != Some("q")) {
            return Err(Dropped::Unknown);
        }
        let content = self.content;
        let key = || Ok::<_, Dropped>(hash(content, "h")?.map_or(NO_KEY, DhtKey));
        let query = || Ok::<_, Dropped>(entry(content, "q", Query::read)?.unwrap_or_default());
        let created = || unsigned(content, "c");
        let socket = || Ok::<_, Dropped>(SocketId(unsigned_32(content, "sid")?.unwrap_or_default()));
        Ok(match self.map.get("q").and_then(Object::as_text).ok_or(Dropped::Unknown)? {
            "ping" => Request::Ping,
            "find" => Request::Find {
                target: hash(content, "target")?.map_or(NO_KEY, DhtKey),
                want: want(content)?,
            },
            "get" => Request::Get { key: key()?, query: query()?, want: want(content)? },
            "put" => Request::Put { key: key()?, values, created: created()?, token: token(content)? },
            "refresh" => Request::Refresh {
                key: key()?,
                id: ValueId(unsigned(content, "vid")?.unwrap_or_default()),
                token: token(content)?,
            },
            "listen" => Request::Listen {
                key: key()?,
                query: query()?,
                socket: socket()?,
                version: match unsigned(content, "ve")?.unwrap_or_default() {
                    0 => ListenVersion::Replies,
                    _ => ListenVersion::Updates,
                },
                token: token(content)?,
            },
            "update" => Request::Update {
                key: hash(content, "h")?.map(DhtKey),
                socket: socket()?,
                change: self.change(values)?,
                created: created()?,
                token: token(content)?,
            },
            _ => return Err(Dropped::Unknown),
        })
    }

    fn change(&self, values: Vec<Arc<Value>>) -> Result<Change, Dropped> {
        if let Some(ids) = value_ids(self.content, "re")? {
            return Ok(Change::Refreshed(ids));
        }
        if let Some(ids) = value_ids(self.content, "exp")? {
            return Ok(Change::Expired(ids));
        }
        Ok(Change::Values(values))
    }
}
