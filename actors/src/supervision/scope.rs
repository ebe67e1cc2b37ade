//! What an actor can do in a turn: start children, spawn futures, set timers, stop.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use skep_protocol::time::{Moment, UnixMillis};

use super::actor::Actor;
use super::host::{Child, Local, LocalEvent, start_host};
use super::panics;
use super::policy::RestartPolicy;
use super::port::Port;
use super::root::Environment;
use super::tree::ActorCell;

/// Where a child runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On its parent's thread.
    WithParent,
    /// On one of the node's threads, always the same for the same number.
    Shard(u64),
}

/// A child as data; the factory comes beside it.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Name among its siblings, for the tree.
    pub name: String,
    /// Room in its mailbox, in messages.
    pub capacity: usize,
    /// Where it runs.
    pub placement: Placement,
    /// What happens when it fails.
    pub restart: RestartPolicy,
}

impl ChildSpec {
    /// Mailbox room unless stated otherwise: a burst of a hundred messages and some more.
    pub const CAPACITY: usize = 256;

    /// A child on its parent's thread with default mailbox and restarts.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            capacity: Self::CAPACITY,
            placement: Placement::WithParent,
            restart: RestartPolicy::default(),
        }
    }

    /// The same with this restart policy.
    #[must_use]
    pub fn restart(mut self, restart: RestartPolicy) -> Self {
        self.restart = restart;
        self
    }

    /// The same with room for this many messages.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// The same on the thread chosen by this number.
    #[must_use]
    pub fn shard(mut self, number: u64) -> Self {
        self.placement = Placement::Shard(number);
        self
    }
}

/// A timer that can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(u64);

/// The surroundings of one turn.
pub struct Scope<'a, A: Actor> {
    pub(super) local: &'a Rc<Local<A>>,
    pub(super) children: &'a mut Vec<Child>,
    pub(super) environment: &'a Environment,
    pub(super) port: Port<A::Message>,
    pub(super) cell: &'a Arc<ActorCell>,
    pub(super) stop: &'a mut bool,
}

impl<A: Actor> Scope<'_, A> {
    /// The actor's own port, to hand to others.
    #[must_use]
    pub fn port(&self) -> Port<A::Message> {
        self.port.clone()
    }

    /// Time since the node started.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.environment.now()
    }

    /// Wall-clock time.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        self.environment.wall()
    }

    /// What all actors of the node share.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        self.environment
    }

    /// Runs a future beside the turns and hands its result to `then` in a turn of its own. It is
    /// dropped if the actor fails or ends; a stop waits for it.
    pub fn spawn<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
        then: impl FnOnce(&mut A, T, &mut Scope<'_, A>) + 'static,
    ) {
        self.launch(future, then, true);
    }

    /// As [`Self::spawn`], for futures that run until somebody else ends: a stop does not wait.
    pub fn spawn_background<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
        then: impl FnOnce(&mut A, T, &mut Scope<'_, A>) + 'static,
    ) {
        self.launch(future, then, false);
    }

    fn launch<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
        then: impl FnOnce(&mut A, T, &mut Scope<'_, A>) + 'static,
        awaited: bool,
    ) {
        let local = Rc::clone(self.local);
        let guard = TaskGuard::enter(self.cell, &local, awaited);
        let task = tokio::task::spawn_local(async move {
            let result = AssertUnwindSafe(future).catch_unwind().await;
            let local = Rc::clone(&guard.local);
            drop(guard);
            local.push(match result {
                Ok(result) => LocalEvent::Turn(Box::new(move |actor, scope| then(actor, result, scope))),
                Err(payload) => LocalEvent::Panicked(panics::describe(&*payload)),
            });
        });
        self.local.keep(task.abort_handle());
    }

    /// Calls `then` in a turn after this time, unless taken back by [`Self::cancel`].
    pub fn after(
        &mut self,
        time: Duration,
        then: impl FnOnce(&mut A, &mut Scope<'_, A>) + 'static,
    ) -> TimerId {
        let local = Rc::clone(self.local);
        let number = local.next_timer();
        // Made here: its time begins now, not when the task is run first.
        let sleep = tokio::time::sleep(time);
        let task = tokio::task::spawn_local(async move {
            sleep.await;
            local.end_timer(number);
            local.push(LocalEvent::Turn(Box::new(then)));
        });
        self.local.keep_timer(number, task.abort_handle());
        TimerId(number)
    }

    /// Takes a timer back; nothing happens if it has gone off.
    pub fn cancel(&mut self, timer: TimerId) {
        self.local.cancel_timer(timer.0);
    }

    /// Calls [`Actor::alarm`] at this moment instead of the one set before; `None` for not at all.
    pub fn set_alarm(&mut self, moment: Option<Moment>) {
        self.local.set_alarm(moment, self.environment);
    }

    /// Starts a child. `factory` makes its value now and after each failure; it must find all it
    /// needs in what it owns or on disk.
    pub fn start_child<C: Actor>(
        &mut self,
        spec: ChildSpec,
        factory: impl Fn() -> C + Send + Sync + 'static,
    ) -> Port<C::Message> {
        let (port, child) =
            start_host(spec, Arc::new(factory), self.environment, Some((self.cell, self.local.lane())));
        self.children.push(child);
        port
    }

    /// Stops a child; it drains its mailbox first, within `deadline`.
    pub fn stop_child<M: super::Message>(&mut self, child: &Port<M>, deadline: Duration) {
        let id = child.id();
        if let Some(child) = self.children.iter().find(|child| child.id == id) {
            child.stop(deadline);
        }
    }

    /// Takes no messages until [`Self::release`], which belongs to it: for an actor that loads its
    /// state, or hands on what it gets to somebody who is busy. An actor that has held messages since
    /// its first turn is stopped at once, without waiting for its work: it has nothing to lose yet.
    pub fn hold(&mut self) {
        self.local.hold();
    }

    /// Takes messages again, once every [`Self::hold`] has its release.
    pub fn release(&mut self) {
        self.local.release();
    }

    /// How many messages found no room in this actor's mailbox since it was first started.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.cell.rejected()
    }

    /// As [`Self::stop`], unless messages wait; says whether it ends. Nothing enters the mailbox any
    /// more then, so that no sender takes it for living.
    pub fn stop_unless_asked(&mut self) -> bool {
        let ends = self.port.close_if_empty();
        *self.stop |= ends;
        ends
    }

    /// Ends this actor after this turn: its mailbox is drained and it is not made anew.
    pub fn stop(&mut self) {
        *self.stop = true;
    }
}

impl<A: Actor> std::fmt::Debug for Scope<'_, A> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Scope({})", self.cell.path())
    }
}

/// Counts a future while it lives, however it ends.
struct TaskGuard<A: Actor> {
    cell: Arc<ActorCell>,
    local: Rc<Local<A>>,
    awaited: bool,
}

impl<A: Actor> TaskGuard<A> {
    fn enter(cell: &Arc<ActorCell>, local: &Rc<Local<A>>, awaited: bool) -> Self {
        cell.tasks.fetch_add(1, Ordering::Relaxed);
        local.count_awaited(awaited, true);
        Self { cell: Arc::clone(cell), local: Rc::clone(local), awaited }
    }
}

impl<A: Actor> Drop for TaskGuard<A> {
    fn drop(&mut self) {
        self.cell.tasks.fetch_sub(1, Ordering::Relaxed);
        self.local.count_awaited(self.awaited, false);
    }
}
