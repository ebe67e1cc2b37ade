//! Requests of other nodes, and what is told to listeners (`spec: dht 2, 7`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Family, NodeKey, OpenDhtNode, Purpose};
use crate::dht::opendht::compact::Contact;
use crate::dht::opendht::fields::FieldTable;
use crate::dht::opendht::nodes::distance;
use crate::dht::opendht::packet::{
    Body, Change, ErrorReply, ListenVersion, NO_KEY, Packet, Reply, Request, SocketId, TransactionId, Want,
};
use crate::dht::opendht::parts;
use crate::dht::opendht::query::Query;
use crate::dht::opendht::requests::{Receiver, SENDS};
use crate::dht::opendht::search::CLOSEST;
use crate::dht::opendht::serving::{Notice, Subscriber};
use crate::dht::opendht::token::Token;
use crate::dht::value::{Value, ValueId};
use crate::ids::{DhtKey, NodeId};
use crate::time::UnixMillis;

/// A value is kept only if there are not this many good nodes closer to its key than we are.
const CLOSE_ENOUGH: usize = 14;

/// Updates under way to one listener. One that does not answer as fast as its keys change is told
/// everything when it renews its request.
const MAX_UPDATES: usize = 32;

/// A request that came.
#[derive(Clone, Copy)]
struct Caller {
    source: SocketAddr,
    id: NodeId,
    transaction: TransactionId,
}

impl OpenDhtNode {
    /// Answers a request of `length` bytes.
    pub(super) fn serve(&mut self, source: SocketAddr, packet: Packet, length: usize) {
        let caller = Caller { source, id: packet.sender, transaction: packet.transaction };
        match &packet.body {
            Body::Request(Request::Find { target, want }) => {
                let reply = self.nodes_reply(caller, *target, *want);
                self.answer_or_hold(packet, source, length, reply);
            }
            Body::Request(Request::Get { key, .. }) if *key == NO_KEY => {
                self.refuse(caller, ErrorReply::GET_WITHOUT_KEY);
            }
            Body::Request(Request::Get { key, query, want }) => {
                let reply = self.values_reply(caller, *key, query, *want);
                self.answer_or_hold(packet, source, length, reply);
            }
            Body::Request(_) => self.serve_short(caller, packet),
            Body::Reply(_) | Body::Error(_) | Body::Notice { .. } => {}
        }
    }

    /// Answers requests whose answer is no longer than they are.
    fn serve_short(&mut self, caller: Caller, packet: Packet) {
        let Body::Request(request) = packet.body else { return };
        match request {
            Request::Ping => self.reply(caller, Reply::default()),
            Request::Put { key, values, created, token } => {
                if key == NO_KEY {
                    self.refuse(caller, ErrorReply::PUT_WITHOUT_KEY);
                } else if self.verify(caller, token.as_ref(), ErrorReply::PUT_UNAUTHORIZED) {
                    self.take_values(caller, key, values, created);
                }
            }
            Request::Refresh { key, id, token } => {
                if !self.verify(caller, token.as_ref(), ErrorReply::PUT_UNAUTHORIZED) {
                    return;
                }
                match self.serving.refresh(self.now.moment, key, id) {
                    None => self.refuse(caller, ErrorReply::REFRESH_UNKNOWN),
                    Some(changed) => {
                        self.tell(vec![changed]);
                        self.reply(caller, Reply { stored: Some(id), ..Reply::default() });
                    }
                }
            }
            Request::Listen { key, query, socket, version, token } => {
                if key == NO_KEY {
                    self.refuse(caller, ErrorReply::LISTEN_WITHOUT_KEY);
                } else if self.verify(caller, token.as_ref(), ErrorReply::LISTEN_UNAUTHORIZED) {
                    self.take_listener(caller, key, query, socket, version);
                }
            }
            Request::Update { socket, change, token, .. } => {
                self.reply(caller, Reply::default());
                self.take_update(caller, socket, change, token);
            }
            Request::Find { .. } | Request::Get { .. } => {}
        }
    }

    fn nodes_reply(&self, caller: Caller, target: DhtKey, want: Option<Want>) -> Reply {
        let want = want.unwrap_or(Want::of(&caller.source));
        let nodes = |wanted: bool, family| {
            let table = self.tables.get(&family).filter(|_| wanted);
            let ids = table.map(|table| table.closest(self.now.moment, &self.nodes, target, CLOSEST + 1));
            let others = ids.into_iter().flatten().filter(|id| *id != caller.id).take(CLOSEST);
            let contact = |id| Some(Contact { id, address: self.nodes.address(NodeKey { family, id })? });
            others.filter_map(contact).collect()
        };
        Reply {
            ipv4: nodes(want.ipv4, Family::V4),
            ipv6: nodes(want.ipv6, Family::V6),
            token: Some(self.mint.token(&caller.source)),
            ..Reply::default()
        }
    }

    fn values_reply(&self, caller: Caller, key: DhtKey, query: &Query, want: Option<Want>) -> Reply {
        let mut reply = self.nodes_reply(caller, key, want);
        if query.select.is_empty() {
            reply.values = self.serving.reply(self.now.moment, key, &query.filter);
        } else {
            let values = self.serving.get(self.now.moment, key, &query.filter);
            reply.fields = Some(FieldTable::of(&query.select, values.iter().map(AsRef::as_ref)));
        }
        reply
    }

    /// Answers at once if the answer cannot hurt anybody; otherwise when the sender has proved that it
    /// is where it seems to be.
    fn answer_or_hold(&mut self, request: Packet, source: SocketAddr, length: usize, mut reply: Reply) {
        let now = self.now.moment;
        reply.seen = Some(source.ip());
        let datagrams = self.encode(request.transaction, Body::Reply(reply));
        let bytes = datagrams.iter().map(Vec::len).sum();
        if self.addresses.may_receive(now, &source, length, bytes) {
            self.post(source, datagrams);
            return;
        }
        let id = request.sender;
        if self.addresses.hold(now, source, request) {
            self.prove(source, Some(id));
        }
    }

    fn take_values(&mut self, caller: Caller, key: DhtKey, values: Vec<Arc<Value>>, created: Option<u64>) {
        let now = self.now.moment;
        let made = created.and_then(|created| i64::try_from(created).ok()).map(UnixMillis::from_seconds);
        let age = made.map_or(Duration::ZERO, |made| self.now.wall.since(made));
        let keep = !self.client && self.is_close(Family::of(&caller.source), key);
        for value in values {
            let id = value.id;
            if id == ValueId::NONE {
                self.refuse(caller, ErrorReply::PUT_WITHOUT_ID);
                continue;
            }
            if keep {
                let value = Arc::unwrap_or_clone(value);
                let changes = self.serving.put(now, key, value, &caller.source, age);
                self.tell(changes);
            }
            self.reply(caller, Reply { stored: Some(id), ..Reply::default() });
        }
    }

    /// Whether we are among the nodes of a network that should keep the values of a key.
    fn is_close(&self, family: Family, key: DhtKey) -> bool {
        let Some(table) = self.tables.get(&family) else { return false };
        let closest = table.closest(self.now.moment, &self.nodes, key, CLOSE_ENOUGH);
        let own = distance(&self.id.0, &key.0);
        closest.len() < CLOSEST || closest.last().is_none_or(|last| own <= distance(&last.0, &key.0))
    }

    fn take_listener(
        &mut self,
        caller: Caller,
        key: DhtKey,
        query: Query,
        socket: SocketId,
        version: ListenVersion,
    ) {
        let subscriber = Subscriber { address: caller.source, id: caller.id, version };
        // A node that is refused gets no answer and tries another one.
        let Ok(values) = self.serving.listen(self.now.moment, key, subscriber, socket, query.filter) else {
            return;
        };
        for values in parts::batches(values).into_iter().take(MAX_UPDATES) {
            self.notify(&Notice { subscriber, socket, key, change: Change::Values(values) });
        }
        let token = Some(self.mint.token(&caller.source));
        self.reply(caller, Reply { token, ..Reply::default() });
    }

    fn take_update(&mut self, caller: Caller, socket: SocketId, change: Change, token: Option<Token>) {
        let now = self.now.moment;
        let node = NodeKey { family: Family::of(&caller.source), id: caller.id };
        if self.nodes.address(node) != Some(caller.source) {
            return;
        }
        let Some(key) = self.listening.key_of(node, socket) else { return };
        if let Some(token) = token {
            self.nodes.gave_token(now, node, token);
        }
        let change = match change {
            Change::Values(values) => Change::Values(self.admitted(key, values)),
            other => other,
        };
        let events = self.listening.told(now, key, node, change);
        self.events.extend(events);
    }

    /// Tells a listener of a change, in the way it wants.
    pub(super) fn notify(&mut self, notice: &Notice) {
        let Notice { subscriber, socket, key, change } = notice;
        let address = subscriber.address;
        let token = Some(self.mint.token(&address));
        if subscriber.version == ListenVersion::Replies {
            let body = match change {
                Change::Values(values) => {
                    Body::Reply(Reply { values: values.clone(), token, ..Reply::default() })
                }
                change => Body::Notice { change: change.clone(), token },
            };
            self.send(address, TransactionId(socket.0), body);
            return;
        }
        let request = Request::Update {
            key: Some(*key),
            socket: *socket,
            change: change.clone(),
            created: None,
            token,
        };
        let receiver = Receiver { address, id: Some(subscriber.id) };
        let purpose = Purpose::Update { subscriber: *subscriber };
        let room = self.requests.open_to(address) < MAX_UPDATES;
        if !room || !self.request(receiver, request, purpose, SENDS) {
            self.serving.stop(*key, *subscriber, *socket);
        }
    }

    /// Whether a token is ours and of the caller's address. Whoever shows one receives what is sent
    /// there.
    fn verify(&mut self, caller: Caller, token: Option<&Token>, error: ErrorReply) -> bool {
        let valid = token.is_some_and(|token| self.mint.verify(&caller.source, token));
        if valid {
            for packet in self.addresses.prove(self.now.moment, caller.source) {
                self.serve(caller.source, packet, 0);
            }
        } else {
            self.refuse(caller, error);
        }
        valid
    }

    fn reply(&mut self, caller: Caller, mut reply: Reply) {
        reply.seen = Some(caller.source.ip());
        self.send(caller.source, caller.transaction, Body::Reply(reply));
    }

    fn refuse(&mut self, caller: Caller, error: ErrorReply) {
        self.send(caller.source, caller.transaction, Body::Error(error));
    }
}
