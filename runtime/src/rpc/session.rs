//! What a connection remembers: where its replies go, and its subscriptions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::Serialize;
use serde_json::{Value, json};
use skep_actors::dht::messages::ListenEvent;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::MAX_SUBSCRIPTIONS;
use super::schema::{DhtNotice, ErrorCode, EventNotice, ProgressNotice, RpcError};
use crate::node::{CreationProgress, EventStream};

/// A connection. Its subscriptions end with it.
#[derive(Debug)]
pub(super) struct Session {
    out: mpsc::Sender<String>,
    subscriptions: Mutex<Subscriptions>,
}

#[derive(Debug, Default)]
struct Subscriptions {
    count: u64,
    /// None until the reply to the subscription is on its way.
    forwarders: BTreeMap<u64, Option<AbortHandle>>,
}

impl Session {
    pub(super) fn new(out: mpsc::Sender<String>) -> Self {
        Self { out, subscriptions: Mutex::default() }
    }

    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply or a notification, waiting while the client reads slowly.
    pub(super) async fn send(&self, text: String) {
        // Nobody reads any more if this fails; the connection ends by itself.
        let _ = self.out.send(text).await;
    }

    pub(super) fn unsubscribe(&self, subscription: u64) -> Result<(), RpcError> {
        let forwarder = self.subscriptions().forwarders.remove(&subscription).ok_or_else(|| {
            let message = format!("this connection has no subscription {subscription}");
            RpcError::new(ErrorCode::NotFound, message)
        })?;
        if let Some(forwarder) = forwarder {
            forwarder.abort();
        }
        Ok(())
    }

    /// Begins to forward events, unless the subscription has been ended already.
    fn forward(&self, pending: PendingSubscription) {
        let PendingSubscription { number, mut notices } = pending;
        let mut subscriptions = self.subscriptions();
        let Some(forwarder) = subscriptions.forwarders.get_mut(&number) else { return };
        let out = self.out.clone();
        let task = tokio::spawn(async move {
            while let Some(notice) = notices.next().await {
                if out.send(notice).await.is_err() {
                    return;
                }
            }
        });
        *forwarder = Some(task.abort_handle());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for forwarder in std::mem::take(&mut self.subscriptions().forwarders).into_values().flatten() {
            forwarder.abort();
        }
    }
}

/// A subscription whose reply has not been sent: its first event must come after it.
struct PendingSubscription {
    number: u64,
    /// The notifications, as they are sent.
    notices: BoxStream<'static, String>,
}

impl fmt::Debug for PendingSubscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PendingSubscription({})", self.number)
    }
}

/// Who asks, and with which request.
#[derive(Debug)]
pub(super) struct Caller {
    session: Arc<Session>,
    request: Value,
    pending: Mutex<Option<PendingSubscription>>,
}

impl Caller {
    pub(super) fn new(session: &Arc<Session>, request: Value) -> Self {
        Self { session: Arc::clone(session), request, pending: Mutex::default() }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// A new subscription to events, which are forwarded once [`Self::replied`] was called.
    pub(super) fn subscribe(&self, events: EventStream) -> Result<u64, RpcError> {
        self.add_subscription(|subscription| {
            let events =
                futures::stream::unfold(events, async |mut events| Some((events.next().await?, events)));
            let notice = move |event| notification("event", &EventNotice { subscription, event });
            events.map(notice).boxed()
        })
    }

    /// A new subscription to a key of the DHT, likewise.
    pub(super) fn listen(&self, events: mpsc::Receiver<ListenEvent>) -> Result<u64, RpcError> {
        self.add_subscription(|subscription| {
            let events =
                futures::stream::unfold(events, async |mut events| Some((events.recv().await?, events)));
            let notice = move |event| notification("dht", &DhtNotice::new(subscription, &event));
            events.map(notice).boxed()
        })
    }

    fn add_subscription(
        &self,
        notices: impl FnOnce(u64) -> BoxStream<'static, String>,
    ) -> Result<u64, RpcError> {
        let mut subscriptions = self.session.subscriptions();
        if subscriptions.forwarders.len() >= MAX_SUBSCRIPTIONS {
            let message = format!("this connection has {MAX_SUBSCRIPTIONS} subscriptions already; end one");
            return Err(RpcError::new(ErrorCode::Busy, message));
        }
        subscriptions.count += 1;
        let number = subscriptions.count;
        subscriptions.forwarders.insert(number, None);
        let pending = PendingSubscription { number, notices: notices(number) };
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(pending);
        Ok(number)
    }

    /// The reply is queued: what must come after it may come.
    pub(super) fn replied(&self) {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pending) = pending {
            self.session.forward(pending);
        }
    }

    /// Tells the caller how far its request is, unless it reads too slowly to care.
    pub(super) fn progress(&self) -> impl Fn(CreationProgress) + Send + Sync + 'static {
        let (out, request) = (self.session.out.clone(), self.request.clone());
        move |progress| {
            let CreationProgress { stage, done, total } = progress;
            let notice = ProgressNotice { request: request.clone(), stage, done, total };
            // A progress that is not shown is no loss.
            let _ = out.try_send(notification("progress", &notice));
        }
    }
}

fn notification(method: &str, params: &impl Serialize) -> String {
    json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
}
