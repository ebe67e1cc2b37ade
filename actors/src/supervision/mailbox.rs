//! A bounded queue with a policy for each message kind, and a control lane beside it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::actor::Message;
use super::policy::Policy;
use super::port::SendError;
use super::tree::{ActorCell, ActorId};

/// What a parent or the tree tells a host. Never more than a few are under way for one actor.
#[derive(Debug)]
pub(super) enum Control {
    /// Close the mailbox, drain and end within this time.
    Stop(Duration),
    /// Panic in a turn, to test supervision.
    Panic,
    /// A child has ended in order.
    ChildStopped { id: ActorId, name: String },
    /// A child has used up its restarts and ended; the parent fails too if `escalate`.
    ChildFailed { id: ActorId, name: String, escalate: bool },
}

/// The control lane of an actor, whatever its messages are.
pub(super) trait ControlLane: Send + Sync {
    fn control(&self, control: Control);
}

pub(super) struct Envelope<M> {
    pub(super) message: M,
    pub(super) queued: Instant,
}

/// What the host takes from the mailbox.
pub(super) enum Taken<M> {
    Control(Control),
    Message(Envelope<M>),
    /// The mailbox is closed and nothing is left in it.
    Drained,
}

pub(super) struct Mailbox<M> {
    state: Mutex<State<M>>,
    room: Notify,
    capacity: usize,
    pub(super) cell: Arc<ActorCell>,
}

struct State<M> {
    queue: VecDeque<Envelope<M>>,
    control: VecDeque<Control>,
    waker: Option<Waker>,
    open: bool,
    /// No messages are handed out while the actor is being made anew.
    paused: bool,
    drained_told: bool,
}

impl<M: Message> Mailbox<M> {
    pub(super) fn new(capacity: usize, cell: Arc<ActorCell>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                control: VecDeque::new(),
                waker: None,
                open: true,
                paused: true,
                drained_told: false,
            }),
            room: Notify::new(),
            capacity: capacity.max(1),
            cell,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message under its policy; hands it back when the sender may wait for room.
    fn offer(&self, message: M) -> Result<(), (SendError, M)> {
        let mut state = self.lock();
        if !state.open {
            return Err((SendError::Closed { actor: self.cell.path() }, message));
        }
        let policy = message.policy();
        if let Policy::Coalesce(_) = policy {
            let same = |waiting: &&mut Envelope<M>| {
                waiting.message.kind() == message.kind() && waiting.message.policy() == policy
            };
            if let Some(waiting) = state.queue.iter_mut().find(same) {
                waiting.message.coalesce(message);
                self.cell.count_coalesced();
                return Ok(());
            }
        }
        if state.queue.len() >= self.capacity {
            let oldest = match policy {
                Policy::DropOldest => {
                    state.queue.iter().position(|waiting| waiting.message.policy() == Policy::DropOldest)
                }
                _ => None,
            };
            if let Some(oldest) = oldest {
                state.queue.remove(oldest);
                self.cell.count_dropped();
            } else {
                if !policy.waits() {
                    self.cell.count_rejected();
                }
                return Err((SendError::Full { actor: self.cell.path() }, message));
            }
        }
        state.queue.push_back(Envelope { message, queued: Instant::now() });
        self.cell.set_depth(state.queue.len());
        wake(state);
        Ok(())
    }

    pub(super) fn try_send(&self, message: M) -> Result<(), SendError> {
        self.offer(message).map_err(|(error, message)| {
            if message.policy().waits() && matches!(error, SendError::Full { .. }) {
                self.cell.count_rejected();
            }
            error
        })
    }

    pub(super) async fn send(&self, mut message: M) -> Result<(), SendError> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the look, so that room made in between is not missed.
            room.as_mut().enable();
            match self.offer(message) {
                Ok(()) => return Ok(()),
                Err((SendError::Full { .. }, back)) if back.policy().waits() => message = back,
                Err((error, _)) => return Err(error),
            }
            room.await;
        }
    }

    /// Takes the next thing for the host: control before messages.
    pub(super) fn poll_take(&self, context: &Context<'_>) -> Poll<Taken<M>> {
        let mut state = self.lock();
        if let Some(control) = state.control.pop_front() {
            return Poll::Ready(Taken::Control(control));
        }
        if !state.paused {
            if let Some(envelope) = state.queue.pop_front() {
                self.cell.set_depth(state.queue.len());
                drop(state);
                self.room.notify_one();
                return Poll::Ready(Taken::Message(envelope));
            }
            if !state.open && !state.drained_told {
                state.drained_told = true;
                return Poll::Ready(Taken::Drained);
            }
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    pub(super) fn pause(&self) {
        self.lock().paused = true;
    }

    pub(super) fn resume(&self) {
        let mut state = self.lock();
        state.paused = false;
        wake(state);
    }

    /// No message enters any more; senders that wait for room are told so.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        wake(state);
        self.room.notify_waiters();
    }

    /// Closes if nothing waits; says whether it did.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut state = self.lock();
        if !state.queue.is_empty() {
            return false;
        }
        state.open = false;
        wake(state);
        self.room.notify_waiters();
        true
    }

    /// Closes and throws away what waits; whoever waits for a reply to it learns so.
    pub(super) fn discard(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.lock().queue);
        self.cell.set_depth(0);
        drop(waiting);
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    pub(super) fn wake_host(&self) {
        wake(self.lock());
    }
}

impl<M: Message> ControlLane for Mailbox<M> {
    fn control(&self, control: Control) {
        let mut state = self.lock();
        state.control.push_back(control);
        wake(state);
    }
}

fn wake<M>(mut state: MutexGuard<'_, State<M>>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
