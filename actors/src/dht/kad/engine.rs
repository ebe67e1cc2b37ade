//! The engine: drives libp2p's swarm and the core, and answers the requests of [`DhtMessage`].
//!
//! It is a plain future without an actor around it. It ends when its message channel closes; then
//! it writes the good peers to their file. What libp2p tells it is in [`network`].

mod network;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, Swarm};
use libp2p_kad::QueryId;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::address_book::{AddressBook, Contact};
use super::behaviour::{self, Behaviour, REFRESH_INTERVAL, Transport};
use super::config::{BootstrapAddress, Clock, ConfigError, EngineConfig, MAX_BOOTSTRAP};
use super::core::{Core, Output};
use super::outbox::RequestId;
use crate::dht::messages::{DhtError, DhtMessage, Found, Health, ListenEvent, ListenId, PutReport, Ticket};
use crate::dht::subscribers::Subscribers;
use crate::storage;
use crate::supervision::Reply;

/// Shortest time between two writings of the file of known peers.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// Largest file of known peers in bytes; a full address book takes a tenth of it.
const MAX_FILE: usize = 256 * 1024;

/// The engine of one node.
pub struct Engine {
    swarm: Swarm<Behaviour>,
    core: Core,
    book: AddressBook,
    clock: Clock,
    random: StdRng,
    messages: mpsc::Receiver<DhtMessage>,
    requests: HashMap<OutboundRequestId, RequestId>,
    searches: HashMap<QueryId, DhtKey>,
    attempts: HashMap<ConnectionId, Contact>,
    resolving: JoinSet<(Contact, Vec<Multiaddr>)>,
    puts: BTreeMap<Ticket, Reply<Result<PutReport, DhtError>>>,
    gets: BTreeMap<Ticket, Reply<Result<Found, DhtError>>>,
    subscribers: Subscribers,
    /// Where each connected peer is, and whether it was dialled there.
    remotes: HashMap<PeerId, (Multiaddr, bool)>,
    /// Our own addresses, and who sees us there.
    observed: BTreeMap<IpAddr, BTreeSet<PeerId>>,
    file: Option<PathBuf>,
    next_save: Moment,
    next_refresh: Moment,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Engine({})", self.swarm.local_peer_id())
    }
}

impl Engine {
    /// Sets up an engine over TCP. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the secret is none or an address cannot be listened on.
    pub fn new(config: EngineConfig, messages: mpsc::Receiver<DhtMessage>) -> Result<Self, ConfigError> {
        let transport = behaviour::tcp_transport(&config.secret.keypair()?)?;
        Self::over(config, transport, messages)
    }

    /// Sets up an engine over other connections.
    pub(super) fn over(
        config: EngineConfig,
        transport: Transport,
        messages: mpsc::Receiver<DhtMessage>,
    ) -> Result<Self, ConfigError> {
        let keypair = config.secret.keypair()?;
        let mut swarm = behaviour::swarm(&keypair, transport);
        for address in &config.listen {
            swarm.listen_on(address.clone()).map_err(|error| ConfigError::Listen {
                address: address.to_string(),
                cause: error.to_string(),
            })?;
        }
        let now = (config.clock)();
        let mut book = AddressBook::default();
        for address in config.bootstrap {
            book.add_bootstrap(address, now);
        }
        let local = *swarm.local_peer_id();
        Ok(Self {
            swarm,
            core: Core::new(local, now),
            book,
            clock: config.clock,
            random: StdRng::seed_from_u64(config.seed),
            messages,
            requests: HashMap::new(),
            searches: HashMap::new(),
            attempts: HashMap::new(),
            resolving: JoinSet::new(),
            puts: BTreeMap::new(),
            gets: BTreeMap::new(),
            subscribers: Subscribers::default(),
            remotes: HashMap::new(),
            observed: BTreeMap::new(),
            file: config.known_peers,
            next_save: now.plus(SAVE_INTERVAL),
            next_refresh: now.plus(REFRESH_INTERVAL),
        })
    }

    /// Runs until the message channel closes.
    pub async fn run(mut self) {
        self.load().await;
        loop {
            self.work();
            let wait = self.deadline().since(self.now());
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.happened(event),
                Some(resolved) = self.resolving.join_next() => {
                    if let Ok((contact, addresses)) = resolved {
                        self.dial(contact, addresses);
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.save().await;
    }

    fn now(&self) -> Moment {
        (self.clock)()
    }

    /// Everything that is due.
    fn work(&mut self) {
        let now = self.now();
        if self.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.core.tick(now);
        }
        for attempt in self.book.due(now, self.core.peer_count()) {
            self.attempt(attempt);
        }
        for listener in self.subscribers.due(now) {
            self.cancel(listener);
        }
        if self.next_refresh <= now {
            self.next_refresh = now.plus(REFRESH_INTERVAL);
            if self.known() > 0 {
                // It only fails if nobody is known.
                let _ = self.swarm.behaviour_mut().kad.bootstrap();
            }
        }
        if self.file.is_some() && self.book.is_changed() && self.next_save <= now {
            self.next_save = now.plus(SAVE_INTERVAL);
            drop(tokio::task::spawn_blocking(self.saving()));
        }
        while let Some(output) = self.core.poll() {
            self.carry_out(output);
        }
    }

    fn deadline(&self) -> Moment {
        let deadlines = [
            self.core.deadline(),
            self.book.deadline(self.core.peer_count()),
            self.subscribers.next_deadline(),
            Some(self.next_refresh),
            (self.file.is_some() && self.book.is_changed()).then_some(self.next_save),
        ];
        deadlines.into_iter().flatten().min().unwrap_or(self.next_refresh)
    }

    // Requests of this node.

    fn take(&mut self, message: DhtMessage) {
        let now = self.now();
        match message {
            DhtMessage::Put { key, value, permanent, reply } => {
                match self.core.put(now, key, value, permanent) {
                    Ok(ticket) => drop(self.puts.insert(ticket, reply)),
                    Err(error) => reply.send(Err(error)),
                }
            }
            DhtMessage::CancelPut { key, id } => self.core.cancel_put(now, key, id),
            DhtMessage::Get { key, reply } => match self.core.get(now, key) {
                Ok(ticket) => drop(self.gets.insert(ticket, reply)),
                Err(error) => reply.send(Err(error)),
            },
            DhtMessage::Listen { id, key, outlet } => {
                self.subscribers.insert(now, id, outlet);
                let listened = self.core.listen(now, id, key).or_else(|_| {
                    self.subscribers.gone().into_iter().for_each(|gone| self.cancel(gone));
                    self.core.listen(now, id, key)
                });
                if let Err(error) = listened {
                    self.tell(id, ListenEvent::Refused(error));
                }
            }
            DhtMessage::Cancel { id } => self.cancel(id),
            DhtMessage::Health { reply } => reply.send(self.health()),
            DhtMessage::AddBootstrap { address, reply } => {
                let added = address.parse::<BootstrapAddress>();
                let added = added.map(|address| self.book.add_bootstrap(address, now));
                reply.send(match added {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(DhtError::TooMany { what: "bootstrap nodes", limit: MAX_BOOTSTRAP }),
                    Err(error) => Err(DhtError::Address(error.to_string())),
                });
            }
        }
    }

    /// Nodes in the routing table.
    fn known(&mut self) -> usize {
        self.swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    fn cancel(&mut self, listener: ListenId) {
        self.subscribers.remove(listener);
        self.core.cancel_listen(self.now(), listener);
    }

    fn health(&mut self) -> Health {
        let now = self.now();
        let (reachable, last_answer) = self.core.reachable(now);
        let counts = self.core.counts();
        let mut observed: Vec<(usize, IpAddr)> =
            self.observed.iter().map(|(address, peers)| (peers.len(), *address)).collect();
        observed.sort_by(|one, other| other.cmp(one));
        Health {
            reachable,
            peers: self.core.peer_count(),
            known: self.known(),
            last_answer: last_answer.map(|answer| now.since(answer)),
            node_id: self.swarm.local_peer_id().to_string(),
            listening: self.swarm.listeners().map(ToString::to_string).collect(),
            observed: observed.into_iter().map(|(_, address)| address).collect(),
            stored_values: counts.values,
            listeners: counts.listeners,
            published: counts.published,
            listening_keys: counts.listening_keys,
        }
    }

    // What the core wants.

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(parcel) => {
                let sent = self.swarm.behaviour_mut().wire.send_request(&parcel.peer, parcel.request);
                self.requests.insert(sent, parcel.id);
            }
            Output::Search(key) => {
                let search = self.swarm.behaviour_mut().kad.get_closest_peers(key.0.to_vec());
                self.searches.insert(search, key);
            }
            // No connection is what it is about; if there is none, all is well.
            Output::Disconnect(peer) => drop(self.swarm.disconnect_peer_id(peer)),
            Output::Put(ticket, result) => {
                if let Some(reply) = self.puts.remove(&ticket) {
                    reply.send(result);
                }
            }
            Output::Got(ticket, result) => {
                if let Some(reply) = self.gets.remove(&ticket) {
                    reply.send(result);
                }
            }
            Output::Told(listener, event) => self.tell(listener, event),
        }
    }

    fn tell(&mut self, listener: ListenId, event: ListenEvent) {
        if !self.subscribers.tell(self.now(), listener, event) {
            self.cancel(listener);
        }
    }

    // The file of known peers.

    async fn load(&mut self) {
        let Some(file) = self.file.clone() else { return };
        let read = tokio::task::spawn_blocking(move || storage::read(&file, MAX_FILE)).await;
        match read {
            Ok(Ok(Some(bytes))) => self.book.add_text(&String::from_utf8_lossy(&bytes), self.now()),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the file of known DHT nodes cannot be read"),
        }
    }

    /// What writes the file, on a thread that may wait for the disk.
    fn saving(&mut self) -> impl FnOnce() + Send + use<> {
        self.book.saved();
        let (file, text) = (self.file.clone(), self.book.to_text());
        move || {
            if let Some(Err(error)) = file.map(|file| storage::replace(&file, text.as_bytes())) {
                tracing::warn!(%error, "the file of known DHT nodes cannot be written");
            }
        }
    }

    async fn save(&mut self) {
        if self.file.is_some() {
            // It only fails when the runtime ends.
            let _ = tokio::task::spawn_blocking(self.saving()).await;
        }
    }
}
