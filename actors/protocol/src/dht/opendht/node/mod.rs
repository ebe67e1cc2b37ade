//! A node of OpenDHT, without sockets, clock or dice: datagrams and the time go in, datagrams, events
//! and a deadline come out.
//!
//! ```text
//!   put get listen ──► publishing  getting  listening      what is wanted at which key
//!                              │       │       │
//!                              ▼       ▼       ▼
//!   steps     ◄──────────────  search (closest nodes)  ──► requests ──► datagrams
//!                                      ▲                       │
//!   upkeep ──► table, nodes ───────────┘        answers ◄──────┘
//!
//!   datagram ──► incoming ─┬─► answers   to requests of ours
//!                          └─► service ──► store, listeners ──► replies, updates
//! ```
//!
//! Whoever owns a node calls [`OpenDhtNode::handle_timeout`] when its [deadline](OpenDhtNode::deadline)
//! has come, and after every call sends what [`OpenDhtNode::poll_transmit`] has and reads what
//! [`OpenDhtNode::poll_event`] has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::addresses::Addresses;
use super::compact::{self, Contact};
use super::getting::Getting;
use super::listening::Listening;
pub use super::nodes::Family;
use super::nodes::{NodeKey, Nodes};
use super::operation::{Event, Health, Now, OperationId, Rejected, Status};
use super::packet::{Body, Change, NetworkId, Packet, Reader, Request, TransactionId};
use super::parts::Reassembly;
use super::publishing::Publishing;
use super::random::Randomness;
use super::rate::RateLimit;
use super::requests::{Open, Receiver, Requests, SENDS};
use super::search::{SearchKey, Searches};
use super::serving::{Changed, Serving, Subscriber};
use super::table::Table;
use super::token::TokenMint;
use crate::dht::filter::Filter;
use crate::dht::kind::{self, ValueKind};
use crate::dht::value::{Value, ValueId};
use crate::ids::{DhtKey, NodeId};

mod answers;
mod incoming;
mod service;
mod steps;
mod upkeep;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use upkeep::Upkeep;

/// Bytes of datagrams that wait to be sent; what comes beyond is lost as the network loses datagrams.
const MAX_OUTGOING: usize = 32 << 20;

/// When something that could not be sent for want of room is tried again.
const STALL: Duration = Duration::from_secs(1);

/// Views of our own address that are remembered.
const MAX_VIEWS: usize = 32;

/// What a node is made with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its id, never all zeros.
    pub id: NodeId,
    /// The network it belongs to.
    pub network: NetworkId,
    /// Whether it only asks and keeps nothing for others.
    pub client: bool,
    /// The networks in which it has a socket.
    pub families: BTreeSet<Family>,
    /// 32 random bytes, used for everything that must not be guessed.
    pub seed: [u8; 32],
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To where.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// What a request of ours is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// To see whether a stranger is there.
    Proof,
    /// To see whether a node of ours is still there.
    Check,
    /// To find a first node.
    Bootstrap,
    /// To get to know more nodes.
    Explore,
    /// To find the nodes close to a key.
    Search(SearchKey),
    /// To find them, and which values they have.
    List { search: SearchKey, operation: OperationId },
    /// To get a value.
    Fetch { search: SearchKey, operation: OperationId, id: ValueId },
    /// To see whether a value of ours is still there.
    Verify { search: SearchKey, id: ValueId },
    /// To have a value of ours kept.
    Put { search: SearchKey, id: ValueId },
    /// To have a value of ours kept for longer.
    Refresh { search: SearchKey, id: ValueId },
    /// To be told of a key.
    Listen { search: SearchKey },
    /// To tell a listener.
    Update { subscriber: Subscriber },
}

/// A node.
#[derive(Debug)]
pub struct OpenDhtNode {
    id: NodeId,
    network: NetworkId,
    client: bool,
    now: Now,
    random: Randomness,
    nodes: Nodes,
    tables: BTreeMap<Family, Table>,
    status: BTreeMap<Family, Status>,
    searches: Searches,
    requests: Requests<Purpose>,
    reassembly: Reassembly,
    rate: RateLimit,
    mint: TokenMint,
    addresses: Addresses,
    serving: Serving,
    publishing: Publishing,
    getting: Getting,
    listening: Listening,
    /// Gets made for a listener that joined others at its key.
    catching_up: BTreeMap<OperationId, OperationId>,
    /// Searches that only serve to get to know nodes.
    lookups: BTreeSet<SearchKey>,
    upkeep: Upkeep,
    /// Searches to be looked at before the current call returns.
    dirty: BTreeSet<SearchKey>,
    stalled: Option<crate::time::Moment>,
    outgoing: VecDeque<Transmit>,
    outgoing_bytes: usize,
    events: VecDeque<Event>,
    last_operation: u64,
    last_answer: Option<crate::time::Moment>,
    /// Our own addresses as the last repliers saw them.
    views: VecDeque<IpAddr>,
}

impl OpenDhtNode {
    /// A node that knows no other.
    #[must_use]
    pub fn new(config: NodeConfig, now: Now) -> Self {
        let mut random = Randomness::from_seed(config.seed);
        let mint = TokenMint::new(now.moment, random.bytes(), random.number());
        let upkeep = Upkeep::new(now.moment, &mut random);
        let own = NodeKey { family: Family::V4, id: config.id };
        Self {
            id: config.id,
            network: config.network,
            client: config.client,
            now,
            random,
            nodes: Nodes::default(),
            tables: config.families.iter().map(|family| (*family, Table::new(*family, config.id))).collect(),
            status: config.families.iter().map(|family| (*family, Status::Disconnected)).collect(),
            searches: Searches::default(),
            requests: Requests::default(),
            reassembly: Reassembly::default(),
            rate: RateLimit::default(),
            mint,
            addresses: Addresses::default(),
            serving: Serving::new(),
            publishing: Publishing::default(),
            getting: Getting::default(),
            listening: Listening::new(own),
            catching_up: BTreeMap::new(),
            lookups: BTreeSet::new(),
            upkeep,
            dirty: BTreeSet::new(),
            stalled: None,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            events: VecDeque::new(),
            last_operation: 0,
            last_answer: None,
            views: VecDeque::new(),
        }
    }

    /// Publishes a value: once, or until [`Self::cancel_put`] on whichever nodes come and go. The
    /// outcome comes as [`Event::Put`].
    ///
    /// # Errors
    /// When no node would keep it, or too much is published.
    pub fn put(
        &mut self,
        now: Now,
        key: DhtKey,
        value: Value,
        permanent: bool,
    ) -> Result<OperationId, Rejected> {
        self.now = now;
        let (kept, changes) = self.serving.put_own(now.moment, key, value.clone());
        self.tell(changes);
        kept?;
        let operation = self.operation();
        let value = Arc::new(value);
        let superseded = self.publishing.put(now.moment, now.wall, key, value, permanent, operation)?;
        self.events.extend(superseded);
        self.publish_due();
        self.work();
        Ok(operation)
    }

    /// Stops to publish a value. The nodes that keep it let it expire.
    pub fn cancel_put(&mut self, now: Now, key: DhtKey, id: ValueId) {
        self.now = now;
        self.events.extend(self.publishing.cancel(key, id));
    }

    /// Asks for the values at a key. The outcome comes as [`Event::Got`].
    ///
    /// # Errors
    /// [`Rejected::Gets`].
    pub fn get(&mut self, now: Now, key: DhtKey, filter: Filter) -> Result<OperationId, Rejected> {
        self.now = now;
        let operation = self.start_get(key, filter)?;
        self.work();
        Ok(operation)
    }

    /// Listens at a key, until [`Self::cancel_listen`]. What is there now and what comes is told by
    /// [`Event::Values`] and [`Event::Expired`].
    ///
    /// # Errors
    /// [`Rejected::Subscriptions`].
    pub fn listen(&mut self, now: Now, key: DhtKey) -> Result<OperationId, Rejected> {
        self.now = now;
        let operation = self.operation();
        if self.listening.listen(now.moment, operation, key)? {
            let change = Change::Values(self.serving.get(now.moment, key, &Filter::default()));
            let own = self.listening.own();
            self.events.extend(self.listening.told(now.moment, key, own, change));
            self.search_for(key);
        } else if let Ok(get) = self.start_get(key, Filter::default()) {
            self.catching_up.insert(get, operation);
        }
        self.work();
        Ok(operation)
    }

    /// Ends a listening.
    pub fn cancel_listen(&mut self, now: Now, operation: OperationId) {
        self.now = now;
        self.listening.cancel(operation);
        let gets = self.catching_up.extract_if(.., |_, listener| *listener == operation);
        gets.for_each(|(get, _)| self.getting.cancel(get));
    }

    /// A datagram came. Those that are wrong are dropped.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        self.now = now;
        let source = compact::canonical(from);
        if self.tables.contains_key(&Family::of(&source)) {
            self.receive(source, bytes);
            self.work();
        }
    }

    /// The time of [`Self::deadline`] has come, or passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        self.repeat_requests();
        self.renew();
        self.keep_up();
        self.work();
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<crate::time::Moment> {
        let deadlines = [
            self.requests.next_deadline(),
            self.reassembly.next_deadline(),
            self.serving.next_deadline(),
            self.publishing.next_deadline(),
            self.getting.next_deadline(),
            self.listening.next_deadline(),
            self.upkeep.next_deadline(),
            self.stalled,
            Some(self.mint.rotation()),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The next datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.outgoing.pop_front()?;
        self.outgoing_bytes = self.outgoing_bytes.saturating_sub(transmit.bytes.len());
        Some(transmit)
    }

    /// The next thing to be told to the owner.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The nodes that answer, to be remembered for the next start.
    #[must_use]
    pub fn good_nodes(&self) -> Vec<Contact> {
        let good = self.tables.iter().flat_map(|(family, table)| {
            let good = table.ids().map(|id| NodeKey { family: *family, id });
            good.filter(|node| self.nodes.is_good(self.now.moment, *node))
        });
        good.filter_map(|node| Some(Contact { id: node.id, address: self.nodes.address(node)? })).collect()
    }

    /// How the node is.
    #[must_use]
    pub fn health(&self, now: Now) -> Health {
        let status = |family| self.status.get(&family).copied().unwrap_or_default();
        let mut views: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for view in &self.views {
            *views.entry(*view).or_default() += 1;
        }
        let mut observed: Vec<(IpAddr, usize)> = views.into_iter().collect();
        observed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Health {
            ipv4: status(Family::V4),
            ipv6: status(Family::V6),
            good: self.good_nodes().len(),
            known: self.tables.values().map(|table| table.ids().count()).sum(),
            last_answer: self.last_answer.map(|answer| now.moment.since(answer)),
            observed: observed.into_iter().map(|(address, _)| address).collect(),
            stored_values: self.serving.values(),
            stored_bytes: self.serving.bytes(),
            listeners: self.serving.listeners(),
            published: self.publishing.len(),
            listening_keys: self.listening.len(),
            searches: self.searches.len(),
            requests: self.requests.len(),
        }
    }

    /// The id of this node.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    fn operation(&mut self) -> OperationId {
        self.last_operation = self.last_operation.wrapping_add(1);
        OperationId(self.last_operation)
    }

    fn reader(&self) -> Reader {
        Reader { id: self.id, network: self.network }
    }

    /// Sends a message.
    fn send(&mut self, to: SocketAddr, transaction: TransactionId, body: Body) {
        let datagrams = self.encode(transaction, body);
        self.post(to, datagrams);
    }

    fn encode(&self, transaction: TransactionId, body: Body) -> Vec<Vec<u8>> {
        let (network, client, sender) = (self.network, self.client, self.id);
        Packet { network, client, transaction, sender, body }.encode()
    }

    fn post(&mut self, to: SocketAddr, datagrams: Vec<Vec<u8>>) {
        let bytes: usize = datagrams.iter().map(Vec::len).sum();
        // Either all parts of a message are sent or none.
        if self.outgoing_bytes.saturating_add(bytes) <= MAX_OUTGOING {
            self.outgoing_bytes = self.outgoing_bytes.saturating_add(bytes);
            self.outgoing.extend(datagrams.into_iter().map(|bytes| Transmit { to, bytes }));
        }
    }

    /// Sends a request, unless too many are under way.
    fn request(&mut self, receiver: Receiver, request: Request, purpose: Purpose, sends: u8) -> bool {
        let now = self.now.moment;
        let started = self.requests.start(now, &mut self.random, receiver, request.clone(), purpose, sends);
        let Some(transaction) = started else { return false };
        if let Some(node) = node_of(&receiver).and_then(|node| self.nodes.get_mut(node)) {
            node.pending = node.pending.saturating_add(1);
        }
        self.send(receiver.address, transaction, Body::Request(request));
        true
    }

    /// Sends a request to a node, which counts as gone if it does not answer.
    fn ask(&mut self, node: NodeKey, request: Request, purpose: Purpose) -> bool {
        let Some(address) = self.nodes.address(node) else { return false };
        self.request(Receiver { address, id: Some(node.id) }, request, purpose, SENDS)
    }

    /// Notes that a request is not under way any more.
    fn ended(&mut self, open: &Open<Purpose>) {
        if let Some(node) = node_of(&open.receiver).and_then(|node| self.nodes.get_mut(node)) {
            node.pending = node.pending.saturating_sub(1);
        }
    }

    /// The values among these that may be at `key`; the others are passed over.
    fn admitted(&self, key: DhtKey, values: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
        let admissible = |value: &Arc<Value>| {
            self.listening.knows(key, &value.fingerprint())
                // Its address was filled in and checked by the node that keeps it.
                || value.kind() == ValueKind::IpService
                || kind::admit(key, Value::clone(value), None).is_ok()
        };
        values.into_iter().filter(admissible).collect()
    }

    /// Tells all listeners of changes, here and elsewhere.
    fn tell(&mut self, changes: Vec<Changed>) {
        for changed in changes {
            for notice in self.serving.notices(self.now.moment, &changed) {
                self.notify(&notice);
            }
            if self.listening.is_at(changed.key) {
                let own = self.listening.own();
                let events = self.listening.told(self.now.moment, changed.key, own, changed.change);
                self.events.extend(events);
            }
        }
    }

    fn start_get(&mut self, key: DhtKey, filter: Filter) -> Result<OperationId, Rejected> {
        let operation = self.operation();
        let own = self.serving.get(self.now.moment, key, &filter);
        self.getting.start(self.now.moment, operation, key, filter, own)?;
        self.search_for(key);
        Ok(operation)
    }

    /// Hands the outcome of a get to whoever waits for it.
    fn got(&mut self, event: Event) {
        let Event::Got { operation, result } = event else { return };
        let Some(listener) = self.catching_up.remove(&operation) else {
            self.events.push_back(Event::Got { operation, result });
            return;
        };
        let values = result.map(|found| found.values).unwrap_or_default();
        if !values.is_empty() {
            self.events.push_back(Event::Values { operation: listener, values });
        }
    }
}

fn node_of(receiver: &Receiver) -> Option<NodeKey> {
    receiver.id.map(|id| NodeKey { family: Family::of(&receiver.address), id })
}
