//! The engine: gives the node its datagrams and the time, and answers the requests of [`DhtMessage`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::dht::announce::MAX_ANNOUNCEMENTS;
use skep_protocol::dht::filter::Filter;
use skep_protocol::dht::opendht::node::{Family, NodeConfig, OpenDhtNode, Transmit};
use skep_protocol::dht::opendht::operation::{Event, Failure, MAX_GETS, Now, OperationId, Rejected, Status};
use skep_protocol::dht::subscriptions::MAX_SUBSCRIPTIONS;
use skep_protocol::dht::value::{MAX_PACKED_VALUE, ValueError};
use skep_protocol::time::Moment;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::bootstrap::{Bootstrap, MAX_BOOTSTRAP};
use super::known_nodes;
use super::local_network::LocalNetwork;
use super::network::OpenDhtNetwork;
use super::sockets::Sockets;
use crate::dht::host_address::HostAddress;
use crate::dht::messages::{DhtError, DhtMessage, Found, Health, ListenEvent, ListenId, PutReport};
use crate::dht::network::{EngineStart, NetworkError};
use crate::dht::subscribers::Subscribers;
use crate::interfaces::Interfaces;
use crate::supervision::{Environment, Reply};

/// How often the good nodes are written to their file, if they changed.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// The engine of one node.
pub(super) struct Engine {
    node: OpenDhtNode,
    sockets: Sockets,
    /// What found no room in its socket.
    blocked: Option<Transmit>,
    environment: Environment,
    messages: mpsc::Receiver<DhtMessage>,
    puts: HashMap<OperationId, Reply<Result<PutReport, DhtError>>>,
    gets: HashMap<OperationId, Reply<Result<Found, DhtError>>>,
    operations: BTreeMap<ListenId, OperationId>,
    listeners: HashMap<OperationId, ListenId>,
    subscribers: Subscribers,
    /// The networks in which nodes answer.
    connected: BTreeSet<Family>,
    bootstrap: Bootstrap,
    interfaces: Interfaces,
    /// `None` if nodes nearby are not to be looked for.
    local: Option<LocalNetwork>,
    file: Option<PathBuf>,
    saved: BTreeSet<SocketAddr>,
    next_save: Moment,
}

impl Engine {
    /// Opens the sockets of a node.
    pub(super) fn new(
        network: &OpenDhtNetwork,
        start: EngineStart,
        messages: mpsc::Receiver<DhtMessage>,
    ) -> Result<Self, NetworkError> {
        let sockets = Sockets::open(&network.listen)
            .map_err(|error| NetworkError(format!("no UDP socket can be opened: {error}")))?;
        let environment = start.environment;
        let now = now(&environment);
        let mut seed = [0; 32];
        environment.fill_random(&mut seed);
        let config = NodeConfig {
            id: network.id,
            network: network.network,
            client: false,
            families: sockets.addresses().iter().map(Family::of).collect(),
            seed,
        };
        let local = network
            .local_discovery
            .then(|| LocalNetwork::open(network.id, network.network, &sockets.addresses()));
        let mut engine = Self {
            node: OpenDhtNode::new(config, now),
            sockets,
            blocked: None,
            messages,
            puts: HashMap::new(),
            gets: HashMap::new(),
            operations: BTreeMap::new(),
            listeners: HashMap::new(),
            subscribers: Subscribers::default(),
            connected: BTreeSet::new(),
            bootstrap: Bootstrap::default(),
            interfaces: Interfaces::new(now.moment),
            local,
            file: network.known_nodes.clone(),
            saved: BTreeSet::new(),
            next_save: now.moment.plus(SAVE_INTERVAL),
            environment,
        };
        for address in network.bootstrap.iter().chain(&start.bootstrap) {
            if let Err(error) = engine.add_bootstrap(address) {
                tracing::warn!(%error, "a bootstrap node is left out");
            }
        }
        Ok(engine)
    }

    /// Runs until the message channel closes.
    pub(super) async fn run(mut self) {
        self.load().await;
        let mut due = Moment::default();
        let alarm = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(alarm);
        loop {
            self.work();
            let deadline = self.deadline();
            if deadline != due || alarm.is_elapsed() {
                due = deadline;
                alarm.as_mut().reset(Instant::now() + deadline.since(self.environment.now()));
            }
            let Self { messages, sockets, blocked, bootstrap, local, .. } = &mut self;
            let writable = async {
                match blocked {
                    Some(transmit) => sockets.writable(&transmit.to).await,
                    None => std::future::pending().await,
                }
            };
            let nearby = async {
                match local {
                    Some(local) => local.readable().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                () = sockets.readable() => self.receive(),
                () = writable => {}
                () = nearby => self.receive_nearby(),
                () = bootstrap.found() => self.join(),
                () = &mut alarm => {}
            }
        }
        if let Some(save) = self.saving() {
            // It only fails when the runtime ends.
            let _ = tokio::task::spawn_blocking(save).await;
        }
    }

    fn receive(&mut self) {
        let Self { node, sockets, environment, .. } = self;
        sockets.receive(|from, bytes| node.handle_datagram(now(environment), from, bytes));
    }

    fn receive_nearby(&mut self) {
        let now = now(&self.environment);
        let found = self.local.as_mut().map(|local| local.receive(now.moment)).unwrap_or_default();
        if !found.is_empty() {
            self.node.add_known_nodes(now, found);
        }
    }

    /// Everything that is due.
    fn work(&mut self) {
        let now = now(&self.environment);
        if self.node.deadline().is_some_and(|deadline| deadline <= now.moment) {
            self.node.handle_timeout(now);
        }
        if self.interfaces.have_grown(now.moment) {
            tracing::info!("this machine has another address: OpenDHT nodes are asked anew");
            self.node.network_changed(now);
            self.local.iter_mut().for_each(LocalNetwork::network_changed);
        }
        while let Some(event) = self.node.poll_event() {
            self.happened(event);
        }
        for listener in self.subscribers.due(now.moment) {
            self.cancel(listener);
        }
        let connected = !self.connected.is_empty();
        self.bootstrap.look_up(now.moment, connected);
        self.local.iter_mut().for_each(|local| local.work(now.moment, connected));
        if self.next_save <= now.moment {
            self.next_save = now.moment.plus(SAVE_INTERVAL);
            if let Some(save) = self.saving() {
                drop(tokio::task::spawn_blocking(save));
            }
        }
        self.send();
    }

    fn send(&mut self) {
        while let Some(transmit) = self.blocked.take().or_else(|| self.node.poll_transmit()) {
            if !self.sockets.send(transmit.to, &transmit.bytes) {
                self.blocked = Some(transmit);
                return;
            }
        }
    }

    fn deadline(&self) -> Moment {
        let deadlines = [
            self.node.deadline(),
            self.subscribers.next_deadline(),
            if self.connected.is_empty() { self.bootstrap.next_deadline() } else { None },
            self.local.as_ref().and_then(LocalNetwork::next_deadline),
            Some(self.next_save),
        ];
        deadlines.into_iter().flatten().fold(self.interfaces.next_deadline(), Moment::min)
    }

    // Requests of this node.

    fn take(&mut self, message: DhtMessage) {
        let now = now(&self.environment);
        match message {
            DhtMessage::Put { value, reply, .. } if value.encode().len() > MAX_PACKED_VALUE => {
                // No node would read it, nor say so.
                let size = value.encode().len();
                reply.send(Err(DhtError::Value(ValueError::TooLarge { size }.to_string())));
            }
            DhtMessage::Put { key, value, permanent, reply } => {
                match self.node.put(now, key, value, permanent) {
                    Ok(operation) => drop(self.puts.insert(operation, reply)),
                    Err(error) => reply.send(Err(rejected(&error))),
                }
            }
            DhtMessage::CancelPut { key, id } => self.node.cancel_put(now, key, id),
            DhtMessage::Get { key, reply } => match self.node.get(now, key, Filter::default()) {
                Ok(operation) => drop(self.gets.insert(operation, reply)),
                Err(error) => reply.send(Err(rejected(&error))),
            },
            DhtMessage::Listen { id, key, outlet } => {
                self.cancel(id);
                self.subscribers.insert(now.moment, id, outlet);
                let listened = self.node.listen(now, key).or_else(|_| {
                    self.subscribers.gone().into_iter().for_each(|gone| self.cancel(gone));
                    self.node.listen(now, key)
                });
                match listened {
                    Ok(operation) => {
                        self.operations.insert(id, operation);
                        self.listeners.insert(operation, id);
                    }
                    Err(error) => {
                        self.subscribers.tell(now.moment, id, ListenEvent::Refused(rejected(&error)));
                    }
                }
            }
            DhtMessage::Cancel { id } => self.cancel(id),
            DhtMessage::Health { reply } => reply.send(self.health()),
            DhtMessage::AddBootstrap { address, reply } => reply.send(self.add_bootstrap(&address)),
        }
    }

    fn add_bootstrap(&mut self, address: &str) -> Result<(), DhtError> {
        let now = now(&self.environment);
        let host = address.parse::<HostAddress>().map_err(|error| DhtError::Address(error.to_string()))?;
        if !self.bootstrap.add(now.moment, host) {
            return Err(DhtError::TooMany { what: "bootstrap nodes", limit: MAX_BOOTSTRAP });
        }
        self.join();
        Ok(())
    }

    /// Lets the node join through what is known to join through.
    fn join(&mut self) {
        self.node.set_bootstrap(now(&self.environment), self.bootstrap.addresses());
    }

    fn cancel(&mut self, listener: ListenId) {
        self.subscribers.remove(listener);
        if let Some(operation) = self.operations.remove(&listener) {
            self.listeners.remove(&operation);
            self.node.cancel_listen(now(&self.environment), operation);
        }
    }

    fn health(&self) -> Health {
        let health = self.node.health(now(&self.environment));
        Health {
            reachable: !self.connected.is_empty(),
            peers: health.good,
            known: health.known,
            last_answer: health.last_answer,
            node_id: self.node.id().to_string(),
            listening: self.sockets.addresses().iter().map(ToString::to_string).collect(),
            observed: health.observed,
            stored_values: health.stored_values,
            listeners: health.listeners,
            published: health.published,
            listening_keys: health.listening_keys,
        }
    }

    // What the node tells.

    fn happened(&mut self, event: Event) {
        match event {
            Event::Put { operation, result } => {
                if let Some(reply) = self.puts.remove(&operation) {
                    reply.send(result.map(|stored| PutReport { stored }).map_err(|error| failed(&error)));
                }
            }
            Event::Got { operation, result } => {
                if let Some(reply) = self.gets.remove(&operation) {
                    let found = |found: skep_protocol::dht::opendht::operation::Found| Found {
                        values: found.values.into_iter().map(Arc::unwrap_or_clone).collect(),
                        answered: found.answered,
                    };
                    reply.send(result.map(found).map_err(|error| failed(&error)));
                }
            }
            Event::Values { operation, values } => self.tell(operation, ListenEvent::Values(values)),
            Event::Expired { operation, fingerprints } => {
                self.tell(operation, ListenEvent::Expired(fingerprints));
            }
            Event::Status { family, status } => {
                tracing::info!(?family, ?status, "OpenDHT");
                match status {
                    Status::Connected => self.connected.insert(family),
                    Status::Connecting | Status::Disconnected => self.connected.remove(&family),
                };
            }
        }
    }

    fn tell(&mut self, operation: OperationId, event: ListenEvent) {
        let Some(listener) = self.listeners.get(&operation).copied() else { return };
        if !self.subscribers.tell(self.environment.now(), listener, event) {
            self.cancel(listener);
        }
    }

    // The file of good nodes.

    async fn load(&mut self) {
        let Some(file) = self.file.clone() else { return };
        let read = tokio::task::spawn_blocking(move || known_nodes::read(&file)).await;
        // It only fails when the runtime ends.
        let nodes = read.unwrap_or_default();
        self.node.add_known_nodes(now(&self.environment), nodes);
    }

    /// What writes the good nodes, if there are any and they are not those in the file: to be called
    /// on a thread that may wait for the disk.
    fn saving(&mut self) -> Option<impl FnOnce() + Send + use<>> {
        let file = self.file.clone()?;
        let nodes = self.node.good_nodes();
        let addresses: BTreeSet<SocketAddr> = nodes.iter().map(|node| node.address).collect();
        if addresses.is_empty() || addresses == self.saved {
            return None;
        }
        self.saved = addresses;
        Some(known_nodes::writing(file, &nodes))
    }
}

fn now(environment: &Environment) -> Now {
    Now { moment: environment.now(), wall: environment.wall() }
}

fn rejected(error: &Rejected) -> DhtError {
    match error {
        Rejected::Announcements(_) => {
            DhtError::TooMany { what: "published values", limit: MAX_ANNOUNCEMENTS }
        }
        Rejected::Subscriptions(_) => DhtError::TooMany { what: "listened keys", limit: MAX_SUBSCRIPTIONS },
        Rejected::Gets => DhtError::TooMany { what: "gets under way", limit: MAX_GETS },
        error => DhtError::Value(error.to_string()),
    }
}

fn failed(error: &Failure) -> DhtError {
    match error {
        Failure::Alone { waited } => DhtError::Alone { waited: *waited },
        Failure::NoAnswer { asked } => DhtError::NoAnswer { asked: *asked },
        Failure::Superseded => DhtError::Superseded,
        Failure::Cancelled => DhtError::Cancelled,
        _ => DhtError::Stopped,
    }
}
