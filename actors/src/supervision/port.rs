//! How actors are spoken to: ports, replies with deadlines, and outlets for events.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::actor::Message;
use super::mailbox::Mailbox;
use super::tree::ActorId;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The mailbox is full and the message kind's policy is not to wait, or the sender cannot.
    #[error("{actor} is too busy to take another message; try again later")]
    Full {
        /// Path of the actor in the tree.
        actor: String,
    },
    /// The actor has ended or is ending.
    #[error("{actor} has stopped")]
    Closed {
        /// Path of the actor in the tree.
        actor: String,
    },
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It was not taken.
    #[error(transparent)]
    NotSent(#[from] SendError),
    /// The actor failed, or ended, before it answered.
    #[error(
        "{actor} failed before it answered; what it acknowledged earlier is safe, this request may not be done"
    )]
    Unanswered {
        /// Path of the actor in the tree.
        actor: String,
    },
    /// No answer within the deadline.
    #[error("{actor} did not answer within {deadline:?}")]
    Deadline {
        /// Path of the actor in the tree.
        actor: String,
        /// How long was waited.
        deadline: Duration,
    },
}

/// Where the one answer to a request goes. Dropping it tells the asker that there is none.
pub struct Reply<R>(oneshot::Sender<R>);

impl<R> Reply<R> {
    /// A reply and the future of its answer, for requests that do not go through a port.
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<R>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers. Nothing happens if the asker has stopped waiting.
    pub fn send(self, answer: R) {
        // The asker gave up, and knows.
        let _ = self.deliver(answer);
    }

    /// Answers. Whether the asker still waited for it.
    #[must_use]
    pub fn deliver(self, answer: R) -> bool {
        self.0.send(answer).is_ok()
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Reply")
    }
}

/// The address of an actor, valid across its restarts. Cheap to clone.
pub struct Port<M: Message> {
    mailbox: Arc<Mailbox<M>>,
}

impl<M: Message> Port<M> {
    pub(super) const fn new(mailbox: Arc<Mailbox<M>>) -> Self {
        Self { mailbox }
    }

    /// Which actor this is.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.mailbox.cell.id
    }

    /// Whether the actor takes messages: it has neither ended nor begun to.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.mailbox.is_open()
    }

    /// Ends the actor's intake if no message waits; says whether it did.
    pub(super) fn close_if_empty(&self) -> bool {
        self.mailbox.close_if_empty()
    }

    /// Sends without waiting: a full mailbox is an error unless the message's policy makes room.
    ///
    /// # Errors
    /// [`SendError`] when the message was not taken.
    pub fn try_send(&self, message: M) -> Result<(), SendError> {
        self.mailbox.try_send(message)
    }

    /// Sends, waiting for room if the message's policy is [`super::Policy::Wait`].
    ///
    /// # Errors
    /// [`SendError`] when the message was not taken.
    pub async fn send(&self, message: M) -> Result<(), SendError> {
        self.mailbox.send(message).await
    }

    /// Sends a request and waits for its answer, at most `deadline` in all.
    ///
    /// # Errors
    /// [`AskError`] when it was not taken, not answered, or not in time.
    pub async fn ask<R>(
        &self,
        deadline: Duration,
        request: impl FnOnce(Reply<R>) -> M,
    ) -> Result<R, AskError> {
        let (reply, answer) = Reply::channel();
        let exchange = async {
            self.send(request(reply)).await?;
            answer.await.map_err(|_| AskError::Unanswered { actor: self.mailbox.cell.path() })
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(AskError::Deadline { actor: self.mailbox.cell.path(), deadline }),
        }
    }

    /// An outlet for events that arrive here as messages.
    #[must_use]
    pub fn outlet<E: Send + 'static>(&self, wrap: impl Fn(E) -> M + Send + Sync + 'static) -> Outlet<E> {
        let (now, waiting, open, wrap) = (self.clone(), self.clone(), self.clone(), Arc::new(wrap));
        let wrap_waiting = Arc::clone(&wrap);
        Outlet {
            try_send: Arc::new(move |event| now.try_send(wrap(event))),
            send: Arc::new(move |event| {
                let (port, message) = (waiting.clone(), wrap_waiting(event));
                Box::pin(async move { port.send(message).await })
            }),
            is_open: Arc::new(move || open.is_open()),
        }
    }
}

impl<M: Message> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self { mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<M: Message> fmt::Debug for Port<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Port({})", self.mailbox.cell.path())
    }
}

type TrySend<E> = dyn Fn(E) -> Result<(), SendError> + Send + Sync;
type WaitingSend<E> = dyn Fn(E) -> BoxFuture<'static, Result<(), SendError>> + Send + Sync;

/// Where an actor tells its events, without knowing who listens. Cheap to clone.
pub struct Outlet<E> {
    try_send: Arc<TrySend<E>>,
    send: Arc<WaitingSend<E>>,
    is_open: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl<E: Send + 'static> Outlet<E> {
    /// An outlet into a channel with room for `capacity` events, for a listener that is no actor.
    /// `name` names it in errors.
    #[must_use]
    pub fn channel(name: &str, capacity: usize) -> (Self, mpsc::Receiver<E>) {
        let (sender, receiver) = mpsc::channel(capacity);
        let (waiting, open, name) = (sender.clone(), sender.clone(), Arc::<str>::from(name));
        let name_waiting = Arc::clone(&name);
        let outlet = Self {
            try_send: Arc::new(move |event| {
                sender.try_send(event).map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => SendError::Full { actor: name.to_string() },
                    mpsc::error::TrySendError::Closed(_) => SendError::Closed { actor: name.to_string() },
                })
            }),
            send: Arc::new(move |event| {
                let (sender, name) = (waiting.clone(), Arc::clone(&name_waiting));
                Box::pin(async move {
                    sender.send(event).await.map_err(|_| SendError::Closed { actor: name.to_string() })
                })
            }),
            is_open: Arc::new(move || !open.is_closed()),
        };
        (outlet, receiver)
    }
}

impl<E> Outlet<E> {
    /// Whether anybody is there to be told.
    #[must_use]
    pub fn is_open(&self) -> bool {
        (self.is_open)()
    }

    /// Tells without waiting, under the policy of the message that the event becomes.
    ///
    /// # Errors
    /// [`SendError`] when it was not taken.
    pub fn try_send(&self, event: E) -> Result<(), SendError> {
        (self.try_send)(event)
    }

    /// Tells, waiting for room where the policy says so.
    ///
    /// # Errors
    /// [`SendError`] when it was not taken.
    pub async fn send(&self, event: E) -> Result<(), SendError> {
        (self.send)(event).await
    }
}

impl<E> Clone for Outlet<E> {
    fn clone(&self) -> Self {
        let Self { try_send, send, is_open } = self;
        Self { try_send: Arc::clone(try_send), send: Arc::clone(send), is_open: Arc::clone(is_open) }
    }
}

impl<E> fmt::Debug for Outlet<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Outlet")
    }
}
