//! From messages to bytes, with keys in the order in which the reference writes them.

use std::net::IpAddr;
use std::sync::Arc;

use super::read::{FAMILY_IPV4, FAMILY_IPV6};
use super::{
    Body, Change, ErrorReply, ListenVersion, Packet, Reply, Request, TransactionId, USER_AGENT, Want,
};
use crate::dht::opendht::compact;
use crate::dht::opendht::parts::{self, Carriage, Part};
use crate::dht::opendht::token::Token;
use crate::dht::value::{Value, ValueId};
use crate::msgpack::Value as Object;

type Entry = (&'static str, Object);

impl Packet {
    /// The datagrams of this message: one, and if its values have no room there, one for each part
    /// of them, to be sent in this order (`spec: dht 4`).
    #[must_use]
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let values = Carriage::of(self.values());
        let mut datagrams = vec![self.message(&values).encode()];
        if let Carriage::Parts(packed) = &values {
            datagrams.extend(parts::cut(packed).map(|part| self.part(&part).encode()));
        }
        datagrams
    }

    fn values(&self) -> &[Arc<Value>] {
        match &self.body {
            Body::Request(
                Request::Put { values, .. } | Request::Update { change: Change::Values(values), .. },
            ) => values,
            Body::Reply(reply) => &reply.values,
            _ => &[],
        }
    }

    fn message(&self, values: &Carriage) -> Object {
        let id = ("id", Object::binary(self.sender.as_bytes()));
        let number = ("t", self.transaction.object());
        let kind = |kind| ("y", Object::text(kind));
        let (before, after) = match &self.body {
            Body::Request(request) => {
                let arguments = Object::map([id].into_iter().chain(arguments(request, values)));
                let (arguments, name) = (("a", arguments), ("q", Object::text(request.name())));
                match request {
                    Request::Update { change: Change::Refreshed(_) | Change::Expired(_), .. } => {
                        (vec![arguments, kind("q")], vec![name, number])
                    }
                    _ => (vec![arguments, name, number, kind("q")], vec![]),
                }
            }
            Body::Reply(reply) => {
                let body = Object::map([id].into_iter().chain(reply_body(reply, values)));
                (vec![("r", body), number, kind("r")], vec![])
            }
            Body::Error(ErrorReply { code, text }) => {
                let error = Object::Array(vec![Object::from(u64::from(*code)), Object::text(text)]);
                (vec![("e", error), ("r", Object::map([id])), number, kind("e")], vec![])
            }
            Body::Notice { change, token } => {
                let news = token_entry(token.as_ref()).into_iter().chain(change_entry(change));
                let body = Object::map([id].into_iter().chain(news));
                (vec![("u", body), kind("r")], vec![number])
            }
        };
        let agent = ("v", Object::text(USER_AGENT));
        Object::map(before.into_iter().chain([agent]).chain(self.origin()).chain(after))
    }

    /// Where the message belongs to, if that is not the default.
    fn origin(&self) -> impl Iterator<Item = Entry> {
        let network = (self.network.0 != 0).then(|| ("n", Object::from(u64::from(self.network.0))));
        let client = self.client.then(|| ("s", Object::from(true)));
        network.into_iter().chain(client)
    }

    fn part(&self, part: &Part) -> Object {
        let position = |number: usize| Object::from(u64::try_from(number).unwrap_or(u64::MAX));
        let content = Object::map([("o", position(part.offset)), ("d", Object::Binary(part.data.clone()))]);
        let parts = Object::Map(vec![(position(part.value), content)]);
        let entries = [("y", Object::text("p")), ("t", self.transaction.object()), ("p", parts)];
        Object::map(self.origin().chain(entries))
    }
}

impl TransactionId {
    fn object(self) -> Object {
        Object::from(u64::from(self.0))
    }
}

/// The arguments of a request after the sender's id.
fn arguments(request: &Request, carriage: &Carriage) -> Vec<Entry> {
    let key = |key: &crate::ids::DhtKey| ("h", Object::binary(key.as_bytes()));
    let mut entries = Vec::new();
    match request {
        Request::Ping => {}
        Request::Find { target, want } => {
            entries.push(("target", Object::binary(target.as_bytes())));
            entries.extend(want_entry(want.as_ref()));
        }
        Request::Get { key: at, query, want } => {
            entries.push(key(at));
            entries.extend((!query.is_all()).then(|| ("q", query.to_object())));
            entries.extend(want_entry(want.as_ref()));
        }
        Request::Put { key: at, created, token, .. } => {
            entries.extend([key(at), ("values", carriage.object())]);
            entries.extend(created.map(|created| ("c", Object::from(created))));
            entries.extend(token_entry(token.as_ref()));
        }
        Request::Refresh { key: at, id, token } => {
            entries.extend([key(at), ("vid", Object::from(id.0))]);
            entries.extend(token_entry(token.as_ref()));
        }
        Request::Listen { key: at, query, socket, version, token } => {
            entries.extend((*version == ListenVersion::Updates).then(|| ("ve", Object::from(1_u64))));
            entries.push(key(at));
            entries.extend(token_entry(token.as_ref()));
            entries.push(("sid", Object::from(u64::from(socket.0))));
            entries.extend((!query.is_all()).then(|| ("q", query.to_object())));
        }
        Request::Update { key: at, socket, change, created, token } => {
            let socket = ("sid", Object::from(u64::from(socket.0)));
            match change {
                Change::Values(_) => {
                    entries.push(("ve", Object::from(1_u64)));
                    entries.extend(at.as_ref().map(key));
                    entries.extend([socket, ("values", carriage.object())]);
                    entries.extend(created.map(|created| ("c", Object::from(created))));
                    entries.extend(token_entry(token.as_ref()));
                }
                Change::Refreshed(_) | Change::Expired(_) => {
                    entries.push(socket);
                    entries.extend(token_entry(token.as_ref()));
                    entries.extend(change_entry(change));
                }
            }
        }
    }
    entries
}

/// The body of a reply after the sender's id.
fn reply_body(reply: &Reply, carriage: &Carriage) -> Vec<Entry> {
    let nodes = |name, nodes, ipv6| {
        let list = compact::write(nodes, ipv6);
        (!list.is_empty()).then_some((name, Object::Binary(list)))
    };
    let entries = [
        reply.stored.map(|id| ("vid", Object::from(id.0))),
        reply.seen.map(|address| ("sa", address_object(address))),
        nodes("n4", &reply.ipv4, false),
        nodes("n6", &reply.ipv6, true),
        token_entry(reply.token.as_ref()),
        (!reply.values.is_empty()).then(|| ("values", carriage.object())),
        reply.fields.as_ref().filter(|table| !table.rows.is_empty()).map(|t| ("fileds", t.to_object())),
    ];
    entries.into_iter().flatten().collect()
}

fn address_object(address: IpAddr) -> Object {
    match address {
        IpAddr::V4(ip) => Object::binary(&ip.octets()),
        IpAddr::V6(ip) => Object::binary(&ip.octets()),
    }
}

fn token_entry(token: Option<&Token>) -> Option<Entry> {
    token.map(|token| ("token", Object::binary(token.as_bytes())))
}

fn want_entry(want: Option<&Want>) -> Option<Entry> {
    let want = want?;
    let families = [want.ipv4.then_some(FAMILY_IPV4), want.ipv6.then_some(FAMILY_IPV6)];
    Some(("w", Object::Array(families.into_iter().flatten().map(Object::from).collect())))
}

fn change_entry(change: &Change) -> Option<Entry> {
    let list = |ids: &[ValueId]| Object::Array(ids.iter().map(|id| Object::from(id.0)).collect());
    match change {
        Change::Values(_) => None,
        Change::Refreshed(ids) => Some(("re", list(ids))),
        Change::Expired(ids) => Some(("exp", list(ids))),
    }
}
