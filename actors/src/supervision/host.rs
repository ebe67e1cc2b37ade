//! The actix actor that runs one of ours: takes its turns, catches its panics, makes it anew.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{ActorContext as _, AsyncContext as _};
use futures::stream::Stream;
use skep_protocol::time::Moment;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::actor::{Actor, Message as _};
use super::mailbox::{Control, ControlLane, Envelope, Mailbox, Taken};
use super::panics;
use super::policy::{OnLimit, RestartHistory, RestartPolicy};
use super::port::Port;
use super::root::Environment;
use super::scope::{ChildSpec, Placement, Scope};
use super::tree::{ActorCell, ActorId, ActorState, Tree};

/// Time a failed actor's children get to end before it is made anew.
const CHILDREN_OF_FAILED: Duration = Duration::from_secs(1);

type Turn<A> = Box<dyn FnOnce(&mut A, &mut Scope<'_, A>)>;

/// What comes from the actor's own futures and timers.
pub(super) enum LocalEvent<A: Actor> {
    Turn(Turn<A>),
    Alarm,
    Panicked(String),
    /// The pause before a restart is over.
    Renew,
    /// The flush is over.
    Flushed,
    /// The stop's deadline has passed.
    Deadline,
}

/// The same-thread side of an actor: results of its futures, its timers and its alarm.
pub(super) struct Local<A: Actor> {
    events: RefCell<VecDeque<LocalEvent<A>>>,
    tasks: RefCell<Vec<AbortHandle>>,
    timers: RefCell<HashMap<u64, AbortHandle>>,
    timer_count: Cell<u64>,
    alarm: RefCell<Option<(Moment, AbortHandle)>>,
    awaited: Cell<usize>,
    /// How many things the actor waits for before it takes messages.
    held: Cell<usize>,
    /// Whether it has held messages since its first turn: it has no state yet.
    loading: Cell<bool>,
    mailbox: Arc<Mailbox<A::Message>>,
    /// For a [`Local`] to hand itself to the tasks it starts.
    this: std::rc::Weak<Self>,
}

impl<A: Actor> Local<A> {
    fn new(mailbox: Arc<Mailbox<A::Message>>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            events: RefCell::default(),
            tasks: RefCell::default(),
            timers: RefCell::default(),
            timer_count: Cell::default(),
            alarm: RefCell::default(),
            awaited: Cell::default(),
            held: Cell::default(),
            loading: Cell::default(),
            mailbox,
            this: this.clone(),
        })
    }

    pub(super) fn push(&self, event: LocalEvent<A>) {
        self.events.borrow_mut().push_back(event);
        self.mailbox.wake_host();
    }

    pub(super) fn keep(&self, task: AbortHandle) {
        let mut tasks = self.tasks.borrow_mut();
        // Finished ones go whenever the list would grow.
        if tasks.len() == tasks.capacity() {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
    }

    pub(super) fn count_awaited(&self, awaited: bool, entered: bool) {
        if awaited {
            let count = self.awaited.get();
            self.awaited.set(if entered { count + 1 } else { count.saturating_sub(1) });
        }
    }

    pub(super) fn hold(&self) {
        self.held.set(self.held.get() + 1);
        self.mailbox.pause();
    }

    pub(super) fn release(&self) {
        self.held.set(self.held.get().saturating_sub(1));
        if self.held.get() == 0 {
            self.loading.set(false);
            self.mailbox.resume();
        }
    }

    pub(super) fn next_timer(&self) -> u64 {
        self.timer_count.set(self.timer_count.get() + 1);
        self.timer_count.get()
    }

    pub(super) fn keep_timer(&self, number: u64, task: AbortHandle) {
        self.timers.borrow_mut().insert(number, task);
    }

    pub(super) fn end_timer(&self, number: u64) {
        self.timers.borrow_mut().remove(&number);
    }

    pub(super) fn cancel_timer(&self, number: u64) {
        if let Some(task) = self.timers.borrow_mut().remove(&number) {
            task.abort();
        }
    }

    pub(super) fn set_alarm(&self, moment: Option<Moment>, environment: &Environment) {
        let mut alarm = self.alarm.borrow_mut();
        if alarm.as_ref().map(|(moment, _)| *moment) == moment {
            return;
        }
        if let Some((_, task)) = alarm.take() {
            task.abort();
        }
        if let Some(moment) = moment {
            let this = self.this.clone();
            let sleep = tokio::time::sleep(moment.since(environment.now()));
            let task = tokio::task::spawn_local(async move {
                sleep.await;
                if let Some(local) = this.upgrade() {
                    local.alarm.borrow_mut().take();
                    local.push(LocalEvent::Alarm);
                }
            });
            *alarm = Some((moment, task.abort_handle()));
        }
    }

    pub(super) fn lane(&self) -> Arc<dyn ControlLane> {
        Arc::clone(&self.mailbox) as Arc<dyn ControlLane>
    }

    /// Drops the futures, timers and results of a failed or ending actor.
    fn clear(&self) {
        self.held.set(0);
        self.loading.set(false);
        self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
        self.timers.borrow_mut().drain().for_each(|(_, task)| task.abort());
        if let Some((_, task)) = self.alarm.borrow_mut().take() {
            task.abort();
        }
        let events = std::mem::take(&mut *self.events.borrow_mut());
        drop(events);
    }
}

/// A child as its parent holds it.
pub(super) struct Child {
    pub(super) id: ActorId,
    lane: Arc<dyn ControlLane>,
}

impl Child {
    pub(super) fn stop(&self, deadline: Duration) {
        self.lane.control(Control::Stop(deadline));
    }

    pub(super) fn lane(&self) -> Arc<dyn ControlLane> {
        Arc::clone(&self.lane)
    }
}

enum Item<A: Actor> {
    Control(Control),
    Local(LocalEvent<A>),
    Message(Envelope<A::Message>),
    Drained,
}

/// Everything the host has to do, in the order in which it should: control, own results, messages.
struct Inbox<A: Actor> {
    mailbox: Arc<Mailbox<A::Message>>,
    local: Rc<Local<A>>,
}

impl<A: Actor> Stream for Inbox<A> {
    type Item = Item<A>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item<A>>> {
        let own = self.local.events.borrow_mut().pop_front();
        if let Some(event) = own {
            return Poll::Ready(Some(Item::Local(event)));
        }
        self.mailbox.poll_take(context).map(|taken| {
            Some(match taken {
                Taken::Control(control) => Item::Control(control),
                Taken::Message(envelope) => Item::Message(envelope),
                Taken::Drained => Item::Drained,
            })
        })
    }
}

/// Where an ending actor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Living,
    /// The mailbox is closed and being emptied; work in flight goes on.
    Draining,
    Flushing,
    /// Children end, youngest first.
    StoppingChildren,
    Ended,
}

struct Host<A: Actor> {
    cell: Arc<ActorCell>,
    mailbox: Arc<Mailbox<A::Message>>,
    local: Rc<Local<A>>,
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    policy: RestartPolicy,
    history: RestartHistory,
    environment: Environment,
    parent: Option<Arc<dyn ControlLane>>,
    actor: Option<A>,
    children: Vec<Child>,
    phase: Phase,
    drained: bool,
    stop_at: Option<Instant>,
    /// Set while the actor is being made anew: whether the pause is over.
    renewing: Option<bool>,
    failure: Option<Failure>,
}

struct Failure {
    escalate: bool,
}

type HostContext<A> = actix::Context<Host<A>>;

impl<A: Actor> Host<A> {
    /// One turn of the actor, with panics caught.
    fn turn(&mut self, context: &mut HostContext<A>, turn: impl FnOnce(&mut A, &mut Scope<'_, A>)) {
        let Some(mut actor) = self.actor.take() else { return };
        let started = Instant::now();
        let mut stop = false;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut scope = Scope {
                local: &self.local,
                children: &mut self.children,
                environment: &self.environment,
                port: Port::new(Arc::clone(&self.mailbox)),
                cell: &self.cell,
                stop: &mut stop,
            };
            turn(&mut actor, &mut scope);
        }));
        self.cell.count_turn(started.elapsed());
        match result {
            Ok(()) => {
                self.actor = Some(actor);
                if stop {
                    self.begin_stop(self.environment.stop_deadline(), context);
                }
            }
            Err(payload) => {
                self.drop_actor(Some(actor));
                self.failed(&panics::describe(&*payload), context);
            }
        }
    }

    /// Drops the value; a panic in its destructor ends here.
    fn drop_actor(&mut self, actor: Option<A>) {
        let actor = actor.or_else(|| self.actor.take());
        if catch_unwind(AssertUnwindSafe(|| drop(actor))).is_err() {
            tracing::error!(actor = self.cell.path(), "the destructor of a failed actor panicked");
        }
    }

    fn failed(&mut self, why: &str, context: &mut HostContext<A>) {
        self.drop_actor(None);
        self.local.clear();
        if self.phase != Phase::Living {
            // It was ending anyway; what it had to flush is lost with it, so say so.
            tracing::error!(actor = self.cell.path(), why, "an actor failed while it was stopping");
            self.mailbox.discard();
            self.stop_children(context);
            return;
        }
        self.mailbox.pause();
        let pause = self.history.next_pause(&self.policy, self.environment.now(), self.environment.jitter());
        match pause {
            Some(pause) => {
                tracing::warn!(actor = self.cell.path(), why, ?pause, "an actor failed and is made anew");
                self.cell.set_state(ActorState::Restarting);
                self.renewing = Some(false);
                for child in self.children.iter().rev() {
                    child.stop(CHILDREN_OF_FAILED);
                }
                let local = Rc::clone(&self.local);
                let task = tokio::task::spawn_local(async move {
                    tokio::time::sleep(pause).await;
                    local.push(LocalEvent::Renew);
                });
                self.local.keep(task.abort_handle());
            }
            None => {
                let escalate = self.policy.on_limit == OnLimit::Escalate;
                tracing::error!(actor = self.cell.path(), why, escalate, "an actor failed too often");
                self.failure = Some(Failure { escalate });
                self.mailbox.discard();
                self.stop_children(context);
            }
        }
    }

    /// Makes the actor anew once the pause is over and the old one's children are gone.
    fn renew_if_ready(&mut self, context: &mut HostContext<A>) {
        if self.renewing == Some(true) && self.children.is_empty() {
            self.renewing = None;
            self.cell.count_restart();
            self.make(context);
        }
    }

    fn make(&mut self, context: &mut HostContext<A>) {
        let factory = Arc::clone(&self.factory);
        match catch_unwind(AssertUnwindSafe(move || factory())) {
            Ok(actor) => {
                self.actor = Some(actor);
                self.cell.set_state(ActorState::Running);
                self.turn(context, |actor, scope| actor.started(scope));
                if self.actor.is_some() && self.local.held.get() == 0 {
                    self.mailbox.resume();
                } else {
                    self.local.loading.set(self.actor.is_some());
                }
            }
            Err(payload) => self.failed(&panics::describe(&*payload), context),
        }
    }

    fn begin_stop(&mut self, deadline: Duration, context: &mut HostContext<A>) {
        if self.phase != Phase::Living {
            return;
        }
        self.phase = Phase::Draining;
        self.cell.set_state(ActorState::Stopping);
        self.stop_at = Some(Instant::now() + deadline);
        let local = Rc::clone(&self.local);
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(deadline).await;
            local.push(LocalEvent::Deadline);
        });
        self.local.keep(task.abort_handle());
        self.renewing = None;
        if self.actor.is_none() || self.local.loading.get() {
            // Stopped in the middle of a restart, or before it has loaded what it needs to handle
            // messages: there is nobody to drain the mailbox, and nothing to flush.
            self.mailbox.discard();
            self.local.clear();
            self.drop_actor(None);
            self.stop_children(context);
        } else {
            self.mailbox.close();
        }
    }

    /// Goes on with an ending actor as far as it can.
    fn advance(&mut self, context: &mut HostContext<A>) {
        if self.phase == Phase::Draining && self.drained && self.local.awaited.get() == 0 {
            self.phase = Phase::Flushing;
            let mut flush = None;
            self.turn(context, |actor, scope| flush = actor.flush(scope));
            match flush {
                Some(flush) if self.phase == Phase::Flushing => {
                    let local = Rc::clone(&self.local);
                    let task = tokio::task::spawn_local(async move {
                        flush.await;
                        local.push(LocalEvent::Flushed);
                    });
                    self.local.keep(task.abort_handle());
                }
                _ => self.stop_children(context),
            }
        }
    }

    /// Ends the actor and asks the youngest child to stop; goes on when that child has ended.
    fn stop_children(&mut self, context: &mut HostContext<A>) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::StoppingChildren;
        match self.children.last() {
            Some(youngest) => {
                let left = self.stop_at.map(|at| at.saturating_duration_since(Instant::now()));
                youngest.stop(left.unwrap_or(CHILDREN_OF_FAILED).max(CHILDREN_OF_FAILED));
            }
            None => self.end(context),
        }
    }

    fn end(&mut self, context: &mut HostContext<A>) {
        self.phase = Phase::Ended;
        self.local.clear();
        self.drop_actor(None);
        self.mailbox.discard();
        context.stop();
    }

    fn control(&mut self, control: Control, context: &mut HostContext<A>) {
        match control {
            Control::Stop(deadline) => self.begin_stop(deadline, context),
            #[expect(clippy::panic, reason = "this is the injected fault")]
            Control::Panic => self.turn(context, |_, _| panic!("injected to test supervision")),
            Control::ChildStopped { id, name } => {
                if self.phase == Phase::Living {
                    self.turn(context, |actor, scope| actor.child_stopped(&name, scope));
                }
                self.child_gone(id, context);
            }
            Control::ChildFailed { id, name, escalate } => {
                if escalate && self.phase == Phase::Living && self.renewing.is_none() {
                    self.children.retain(|child| child.id != id);
                    self.failed(&format!("its child {name} failed too often"), context);
                } else {
                    self.turn(context, |actor, scope| actor.child_failed(&name, scope));
                    self.child_gone(id, context);
                }
            }
        }
    }

    fn child_gone(&mut self, id: ActorId, context: &mut HostContext<A>) {
        self.children.retain(|child| child.id != id);
        if self.phase == Phase::StoppingChildren {
            self.stop_children(context);
        }
        self.renew_if_ready(context);
    }

    fn local(&mut self, event: LocalEvent<A>, context: &mut HostContext<A>) {
        match event {
            LocalEvent::Turn(turn) => self.turn(context, turn),
            LocalEvent::Alarm => self.turn(context, |actor, scope| actor.alarm(scope)),
            LocalEvent::Panicked(why) => self.failed(&why, context),
            LocalEvent::Renew => {
                if self.renewing.is_some() {
                    self.renewing = Some(true);
                }
            }
            LocalEvent::Flushed => {
                if self.phase == Phase::Flushing {
                    self.stop_children(context);
                }
            }
            LocalEvent::Deadline => {
                if self.phase < Phase::StoppingChildren {
                    tracing::warn!(actor = self.cell.path(), "an actor did not drain in time");
                    self.mailbox.discard();
                    self.stop_children(context);
                }
            }
        }
    }
}

impl<A: Actor> actix::Actor for Host<A> {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(Inbox { mailbox: Arc::clone(&self.mailbox), local: Rc::clone(&self.local) });
        if self.mailbox.is_open() {
            self.make(context);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.environment.tree().leave(self.cell.id);
        if let Some(parent) = &self.parent {
            let (id, name) = (self.cell.id, self.cell.name.clone());
            parent.control(match self.failure.take() {
                Some(Failure { escalate }) => Control::ChildFailed { id, name, escalate },
                None => Control::ChildStopped { id, name },
            });
        } else {
            self.environment.root_ended(self.failure.is_some());
        }
    }
}

impl<A: Actor> actix::StreamHandler<Item<A>> for Host<A> {
    fn handle(&mut self, item: Item<A>, context: &mut Self::Context) {
        match item {
            Item::Control(control) => self.control(control, context),
            Item::Local(event) => self.local(event, context),
            Item::Message(Envelope { message, queued }) => {
                self.cell.count_wait(queued.elapsed());
                let kind = message.kind();
                let span = tracing::trace_span!("turn", actor = A::KIND, kind);
                let _entered = span.enter();
                self.turn(context, |actor, scope| actor.handle(message, scope));
            }
            Item::Drained => self.drained = true,
        }
        self.renew_if_ready(context);
        self.advance(context);
    }
}

/// Starts an actor under `parent` (none for the root): its port is valid at once.
pub(super) fn start_host<A: Actor>(
    spec: ChildSpec,
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    environment: &Environment,
    parent: Option<(&Arc<ActorCell>, Arc<dyn ControlLane>)>,
) -> (Port<A::Message>, Child) {
    let (parent_cell, parent_lane) = parent.map_or((None, None), |(cell, lane)| (Some(cell), Some(lane)));
    let cell = environment.tree().enter(parent_cell.map(AsRef::as_ref), A::KIND, spec.name, spec.capacity);
    let mailbox = Mailbox::new(spec.capacity, Arc::clone(&cell));
    let lane: Arc<dyn ControlLane> = Arc::clone(&mailbox) as Arc<dyn ControlLane>;
    Tree::connect(&cell, Arc::clone(&lane));
    let child = Child { id: cell.id, lane };
    let port = Port::new(Arc::clone(&mailbox));
    let policy = spec.restart;
    let start = {
        let environment = environment.clone();
        move || {
            let local = Local::new(Arc::clone(&mailbox));
            let host = Host {
                cell,
                mailbox,
                local,
                factory,
                policy,
                history: RestartHistory::default(),
                environment,
                parent: parent_lane,
                actor: None,
                children: Vec::new(),
                phase: Phase::Living,
                drained: false,
                stop_at: None,
                renewing: None,
                failure: None,
            };
            actix::Actor::start(host);
        }
    };
    match spec.placement {
        Placement::Shard(number) => match environment.shard(number) {
            Some(arbiter) => {
                if !arbiter.spawn_fn(start) {
                    tracing::error!("a thread of the node has ended; an actor could not be started");
                }
            }
            None => start(),
        },
        Placement::WithParent => start(),
    }
    (port, child)
}
