//! The events of a node: one actor that takes them from all accounts, and streams for subscribers.
//!
//! ```text
//!   account, account, … ──outlet──► events actor ──► ring of the newest events ──► EventStream
//!                                                                               └► EventStream
//! ```
//!
//! Nobody waits for a slow subscriber: it finds [`Event::Missed`] where the ring has overtaken it. All
//! find it where the actor had no room for events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::Stream;
pub use skep_actors::event::WHOLE_NODE;
use skep_actors::event::{Event, NodeEvent};
use skep_actors::supervision::{Actor, Message, Policy, Scope};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::time::UnixMillis;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};

/// Room of the events actor's mailbox: a fetched history of a thousand messages comes at once.
pub(crate) const EVENT_MAILBOX: usize = 4096;

/// An event on its way to the subscribers.
#[derive(Debug)]
pub(crate) struct Publish(pub(crate) NodeEvent);

impl Message for Publish {
    fn kind(&self) -> &'static str {
        "publish"
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

/// Hands events to all subscribers.
#[derive(Debug)]
pub(crate) struct EventsActor {
    pub(crate) ring: Sender<Arc<NodeEvent>>,
    /// How many events without room in the mailbox the subscribers were told of; outlives the actor.
    pub(crate) told_missed: Arc<AtomicU64>,
}

impl EventsActor {
    /// Tells how many events found no room since the last time. Those were rejected while the mailbox
    /// was full, so a message follows in whose turn this is told.
    fn tell_missed(&self, scope: &Scope<'_, Self>) {
        let rejected = scope.rejected();
        let count = rejected.saturating_sub(self.told_missed.swap(rejected, Ordering::Relaxed));
        if count > 0 {
            tracing::warn!(count, "events came faster than they could be told");
            let event = Event::Missed { count };
            let event = NodeEvent { account: WHOLE_NODE, time: scope.wall(), event };
            let _ = self.ring.send(Arc::new(event));
        }
    }
}

impl Actor for EventsActor {
    type Message = Publish;
    const KIND: &'static str = "events";

    fn handle(&mut self, message: Publish, scope: &mut Scope<'_, Self>) {
        self.tell_missed(scope);
        // An error only says that nobody listens.
        let _ = self.ring.send(Arc::new(message.0));
    }
}

/// The events from the moment of the subscription on.
#[derive(Debug)]
pub struct EventStream {
    ring: Receiver<Arc<NodeEvent>>,
    account: Option<LocalAccountId>,
}

impl EventStream {
    pub(crate) const fn new(ring: Receiver<Arc<NodeEvent>>) -> Self {
        Self { ring, account: None }
    }

    /// Only the events of this account, those of the whole node, and [`Event::Missed`].
    #[must_use]
    pub fn of_account(mut self, account: LocalAccountId) -> Self {
        self.account = Some(account);
        self
    }

    /// The next event; none when the node has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        loop {
            match self.ring.recv().await {
                Ok(event) => {
                    if self.account.is_none_or(|account| [account, WHOLE_NODE].contains(&event.account)) {
                        return Some(Arc::unwrap_or_clone(event));
                    }
                }
                Err(RecvError::Lagged(count)) => {
                    let event = Event::Missed { count };
                    return Some(NodeEvent { account: WHOLE_NODE, time: wall_clock(), event });
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The same as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = NodeEvent> + Send {
        futures::stream::unfold(self, |mut events| async move {
            let event = events.next().await?;
            Some((event, events))
        })
    }
}

fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::time::Duration;

    use futures::StreamExt as _;
    use skep_actors::supervision::{ChildSpec, Environment, Port, Reply, RootHandle, start_root};

    use super::*;

    fn event(account: u8, count: u64) -> Arc<NodeEvent> {
        Arc::new(NodeEvent {
            account: LocalAccountId([account; 8]),
            time: UnixMillis(1),
            event: Event::Missed { count },
        })
    }

    /// The actor with room for two events, and its subscriber.
    fn with_actor<F: Future<Output = ()>>(test: impl FnOnce(RootHandle<Start>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            test(start_root(Environment::single_thread(UnixMillis(0), 1), || Parent)).await;
        });
    }

    struct Parent;

    struct Start(Sender<Arc<NodeEvent>>, Reply<Port<Publish>>);

    impl Message for Start {
        fn kind(&self) -> &'static str {
            "start"
        }
        fn policy(&self) -> Policy {
            Policy::Wait
        }
    }

    impl Actor for Parent {
        type Message = Start;
        const KIND: &'static str = "parent";

        fn handle(&mut self, Start(ring, reply): Start, scope: &mut Scope<'_, Self>) {
            let told_missed = Arc::default();
            let events = move || EventsActor { ring: ring.clone(), told_missed: Arc::clone(&told_missed) };
            reply.send(scope.start_child(ChildSpec::new("events").capacity(2), events));
        }
    }

    #[test]
    fn subscribers_are_told_how_many_events_the_node_had_no_room_for() {
        with_actor(|root| async move {
            let (ring, receiver) = tokio::sync::broadcast::channel(64);
            let mut events = EventStream::new(receiver);
            let start = |reply| Start(ring, reply);
            let actor = root.port().ask(Duration::from_secs(5), start).await.unwrap();
            let publish = |count| actor.try_send(Publish(Arc::unwrap_or_clone(event(1, count))));
            let mut next = async || events.next().await.unwrap().event;
            // The test runs on the actor's thread: nothing is taken before it waits.
            let taken: Vec<bool> = (1..=5).map(|count| publish(count).is_ok()).collect();
            assert_eq!(taken, [true, true, false, false, false]);
            assert_eq!(next().await, Event::Missed { count: 3 });
            assert_eq!([next().await, next().await], [1, 2].map(|count| Event::Missed { count }));
            // It is told once, also by an actor made anew.
            assert!(root.environment().tree().inject_panic(actor.id()));
            publish(9).unwrap();
            assert_eq!(next().await, Event::Missed { count: 9 });
        });
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_how_much_it_missed_and_goes_on() {
        let (ring, receiver) = tokio::sync::broadcast::channel(4);
        let mut events = EventStream::new(receiver);
        for number in 1..=10 {
            ring.send(event(1, number)).unwrap();
        }
        assert_eq!(events.next().await.unwrap().event, Event::Missed { count: 6 });
        assert_eq!(events.next().await.unwrap(), *event(1, 7));
        drop(ring);
        assert_eq!(events.into_stream().count().await, 3);
    }

    #[tokio::test]
    async fn a_stream_of_one_account_leaves_the_others_out() {
        let (ring, receiver) = tokio::sync::broadcast::channel(8);
        let mut events = EventStream::new(receiver).of_account(LocalAccountId([1; 8]));
        for account in [2, 1, 0, 3] {
            ring.send(event(account, 0)).unwrap();
        }
        drop(ring);
        assert_eq!(events.next().await.unwrap().account, LocalAccountId([1; 8]));
        assert_eq!(events.next().await.unwrap().account, WHOLE_NODE);
        assert_eq!(events.next().await, None);
    }
}
