//! The DHT actor: keeps an engine running.
//!
//! The engine is a future beside the actor's turns. If it ends by a panic, or cannot start because
//! its port is taken, the actor starts another one after a pause and gives it all that was
//! published for good and is listened at: those who asked for it notice nothing but the pause.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use skep_protocol::dht::announce::MAX_ANNOUNCEMENTS;
use skep_protocol::dht::subscriptions::MAX_SUBSCRIPTIONS;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use tokio::sync::{mpsc, oneshot};

use super::kad::Engine;
use super::kad::config::{BootstrapAddress, Clock, ConfigError, EngineConfig, NodeSecret};
use super::messages::{DhtError, DhtMessage, Health, ListenEvent, ListenId};
use crate::supervision::{Actor, Outlet, Reply, Scope};

/// Messages on their way to the engine; more wait in the mailbox.
const QUEUE: usize = 64;

/// Pause before another engine is started.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// What the actor is made with: an [`EngineConfig`] whose clock and seed are the environment's.
#[derive(Clone, Debug)]
pub struct DhtConfig {
    /// Makes the node id.
    pub secret: NodeSecret,
    /// Where to accept connections; port 0 is any free one. If a port is taken, any other is used.
    pub listen: Vec<Multiaddr>,
    /// Nodes to join through.
    pub bootstrap: Vec<BootstrapAddress>,
    /// The file in which good peers are remembered.
    pub known_peers: Option<PathBuf>,
}

/// A listening that outlives engines.
#[derive(Debug)]
struct Wish {
    key: DhtKey,
    outlet: Outlet<ListenEvent>,
}

/// The DHT over Kademlia as an actor.
#[derive(Debug)]
pub struct DhtActor {
    config: DhtConfig,
    engine: Option<mpsc::Sender<DhtMessage>>,
    ended: Option<oneshot::Receiver<()>>,
    published: BTreeMap<(DhtKey, ValueId), Value>,
    wishes: BTreeMap<ListenId, Wish>,
}

impl DhtActor {
    /// An actor that starts its engine in its first turn.
    #[must_use]
    pub fn new(config: DhtConfig) -> Self {
        Self { config, engine: None, ended: None, published: BTreeMap::new(), wishes: BTreeMap::new() }
    }

    fn start_engine(&mut self, scope: &mut Scope<'_, Self>) {
        if let Err(error) = self.try_start(scope) {
            tracing::error!(%error, "the DHT does not start; it is tried again");
            scope.after(RESTART_PAUSE, Self::start_engine);
        }
    }

    fn try_start(&mut self, scope: &mut Scope<'_, Self>) -> Result<(), ConfigError> {
        let environment = scope.environment().clone();
        let clock: Clock = Arc::new(move || environment.now());
        let mut config = EngineConfig {
            secret: self.config.secret.clone(),
            listen: self.config.listen.clone(),
            bootstrap: self.config.bootstrap.clone(),
            known_peers: self.config.known_peers.clone(),
            clock,
            seed: scope.environment().random_u64(),
        };
        let (sender, engine) = match open(config.clone()) {
            Err(ConfigError::Listen { address, cause }) => {
                tracing::warn!(address, cause, "the DHT cannot listen there and takes any other port");
                config.listen = config.listen.iter().map(with_any_port).collect();
                open(config)
            }
            opened => opened,
        }?;
        let (ended, wait) = oneshot::channel();
        self.ended = Some(wait);
        self.engine = Some(sender.clone());
        let run = async move {
            let end = AssertUnwindSafe(engine.run()).catch_unwind().await;
            drop(ended);
            end.is_err()
        };
        scope.spawn_background(run, |actor, failed, scope| {
            if failed && actor.engine.take().is_some() {
                tracing::error!("the DHT engine failed; another is started");
                scope.after(RESTART_PAUSE, Self::start_engine);
            }
        });
        self.replay(sender, scope);
        Ok(())
    }

    /// Gives a new engine what was asked of the one before.
    fn replay(&self, engine: mpsc::Sender<DhtMessage>, scope: &mut Scope<'_, Self>) {
        let published = self.published.iter().map(|((key, _), value)| {
            let (reply, _) = Reply::channel();
            DhtMessage::Put { key: *key, value: value.clone(), permanent: true, reply }
        });
        let listen = |(id, wish): (&ListenId, &Wish)| DhtMessage::Listen {
            id: *id,
            key: wish.key,
            outlet: wish.outlet.clone(),
        };
        let messages: Vec<DhtMessage> = published.chain(self.wishes.iter().map(listen)).collect();
        let send = async move {
            for message in messages {
                // An engine that has failed again is replaced, and its successor is told all.
                if engine.send(message).await.is_err() {
                    return;
                }
            }
        };
        scope.hold();
        scope.spawn(send, |_, (), scope| scope.release());
    }

    /// Remembers what must outlive the engine.
    fn remember(&mut self, message: &DhtMessage) {
        match message {
            DhtMessage::Put { key, value, permanent: true, .. }
                if self.published.len() < MAX_ANNOUNCEMENTS =>
            {
                self.published.insert((*key, value.id), value.clone());
            }
            DhtMessage::Put { key, value, .. } => {
                self.published.remove(&(*key, value.id));
            }
            DhtMessage::CancelPut { key, id } => {
                self.published.remove(&(*key, *id));
            }
            DhtMessage::Listen { id, key, outlet } if self.wishes.len() < MAX_SUBSCRIPTIONS => {
                self.wishes.insert(*id, Wish { key: *key, outlet: outlet.clone() });
            }
            DhtMessage::Cancel { id } => {
                self.wishes.remove(id);
            }
            DhtMessage::AddBootstrap { address, .. } => {
                if let Ok(address) = address.parse() {
                    self.config.bootstrap.push(address);
                    self.config.bootstrap.sort();
                    self.config.bootstrap.dedup();
                }
            }
            DhtMessage::Listen { .. } | DhtMessage::Get { .. } | DhtMessage::Health { .. } => {}
        }
    }

    /// Hands a message on; if there is no room, takes no others until there is.
    fn forward(&mut self, message: DhtMessage, scope: &mut Scope<'_, Self>) {
        let Some(engine) = &self.engine else { return refuse(message) };
        if let Err(mpsc::error::TrySendError::Full(message)) = engine.try_send(message) {
            let engine = engine.clone();
            scope.hold();
            scope.spawn(async move { drop(engine.send(message).await) }, |_, (), scope| scope.release());
        }
    }
}

type Opened = (mpsc::Sender<DhtMessage>, Engine);

fn open(config: EngineConfig) -> Result<Opened, ConfigError> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    Ok((sender, Engine::new(config, receiver)?))
}

/// The same address with a port of the system's choice.
fn with_any_port(address: &Multiaddr) -> Multiaddr {
    let parts = address.iter().map(|part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(0),
        part => part,
    });
    parts.collect()
}

/// Answers what cannot be done without an engine. What it was asked for good is remembered.
fn refuse(message: DhtMessage) {
    match message {
        DhtMessage::Put { reply, .. } => reply.send(Err(DhtError::Stopped)),
        DhtMessage::Get { reply, .. } => reply.send(Err(DhtError::Stopped)),
        DhtMessage::AddBootstrap { reply, .. } => reply.send(Ok(())),
        DhtMessage::Health { reply } => reply.send(Health::default()),
        DhtMessage::CancelPut { .. } | DhtMessage::Listen { .. } | DhtMessage::Cancel { .. } => {}
    }
}

impl Actor for DhtActor {
    type Message = DhtMessage;
    const KIND: &'static str = "dht";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.start_engine(scope);
    }

    fn handle(&mut self, message: DhtMessage, scope: &mut Scope<'_, Self>) {
        self.remember(&message);
        self.forward(message, scope);
    }

    fn flush(
        &mut self,
        _scope: &mut Scope<'_, Self>,
    ) -> Option<futures::future::LocalBoxFuture<'static, ()>> {
        self.engine = None;
        let ended = self.ended.take()?;
        Some(Box::pin(async move { drop(ended.await) }))
    }
}

#[cfg(test)]
mod tests;
