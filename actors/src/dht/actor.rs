//! The DHT actor: keeps an engine running.
//!
//! The engine is a future beside the actor's turns. If it ends by a panic, or cannot start because
//! its port is taken, the actor starts another one after a pause; if the actor itself panics, the
//! engine ends with it and both are made anew. Either way the new engine is given all that was
//! published for good and is listened at, from a [`DhtMemory`] that the actor's factory owns: those
//! who asked for it notice nothing but the pause.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};

use super::memory::DhtMemory;
use super::messages::{DhtError, DhtMessage, Health};
use super::network::{EngineStart, Network, NetworkError, Running};
use crate::supervision::{Actor, Scope};

/// Pause before another engine is started.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// The DHT over one network as an actor.
#[derive(Debug)]
pub struct DhtActor<N> {
    network: N,
    memory: DhtMemory,
    engine: Option<mpsc::Sender<DhtMessage>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl<N: Network> DhtActor<N> {
    /// An actor that starts its engine in its first turn and gives it all that is in `memory`.
    #[must_use]
    pub fn new(network: N, memory: DhtMemory) -> Self {
        Self { network, memory, engine: None, ended: None }
    }

    fn start_engine(&mut self, scope: &mut Scope<'_, Self>) {
        if let Err(error) = self.try_start(scope) {
            tracing::error!(%error, "the DHT does not start; it is tried again");
            scope.after(RESTART_PAUSE, Self::start_engine);
        }
    }

    fn try_start(&mut self, scope: &mut Scope<'_, Self>) -> Result<(), NetworkError> {
        let environment = scope.environment().clone();
        let start = EngineStart { environment, bootstrap: self.memory.bootstrap() };
        let Running { messages: sender, engine } = self.network.open(start)?;
        let (ended, wait) = oneshot::channel();
        self.ended = Some(wait);
        self.engine = Some(sender.clone());
        let run = async move {
            let end = AssertUnwindSafe(engine).catch_unwind().await;
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
        let messages = self.memory.replay();
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

impl<N: Network> Actor for DhtActor<N> {
    type Message = DhtMessage;
    const KIND: &'static str = "dht";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.start_engine(scope);
    }

    fn handle(&mut self, message: DhtMessage, scope: &mut Scope<'_, Self>) {
        let is_foreign = |address: &str| self.network.check_address(address).is_err();
        if !matches!(&message, DhtMessage::AddBootstrap { address, .. } if is_foreign(address)) {
            self.memory.note(&message);
        }
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
