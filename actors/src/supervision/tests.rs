//! Behaviour of supervision, in virtual time on one thread.

use std::cell::RefCell;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use skep_protocol::time::UnixMillis;

use super::*;

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, text: impl Into<String>) {
    log.lock().unwrap().push(text.into());
}

fn notes(log: &Log) -> Vec<String> {
    log.lock().unwrap().clone()
}

/// What the probe actor below can be told.
enum Probe {
    Note(String, Policy),
    Count(Reply<usize>),
    Panic,
    PanicLater,
    PanicInTimer,
    Hold(Reply<()>),
    Work(Duration, String),
    Forever,
    Spawn(String, RestartPolicy, Reply<Port<Probe>>),
    /// Hold as often as there are times, and release once after each.
    HoldMessages(Vec<Duration>),
    StopUnlessAsked(Reply<bool>),
    Stop,
}

impl Message for Probe {
    fn kind(&self) -> &'static str {
        match self {
            Self::Note(..) => "note",
            _ => "other",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Note(_, policy) => *policy,
            _ => Policy::Wait,
        }
    }
}

/// Counts notes, fails on demand, and writes down what happens to it.
struct ProbeActor {
    name: String,
    log: Log,
    count: usize,
    held: RefCell<Vec<Reply<()>>>,
}

impl ProbeActor {
    fn new(name: &str, log: &Log) -> Self {
        Self { name: name.to_owned(), log: Arc::clone(log), count: 0, held: RefCell::default() }
    }
}

impl Actor for ProbeActor {
    type Message = Probe;
    const KIND: &'static str = "probe";

    fn started(&mut self, _: &mut Scope<'_, Self>) {
        note(&self.log, format!("{} started", self.name));
    }

    fn handle(&mut self, message: Probe, scope: &mut Scope<'_, Self>) {
        match message {
            Probe::Note(text, _) => {
                self.count += 1;
                note(&self.log, text);
            }
            Probe::Count(reply) => reply.send(self.count),
            Probe::Panic => panic!("as told"),
            Probe::PanicLater => {
                scope.spawn(async { panic!("in a future") }, |_, (), _| unreachable!("it panicked"));
            }
            Probe::PanicInTimer => {
                scope.after(Duration::from_secs(1), |_, _| panic!("in a timer"));
            }
            Probe::Hold(reply) => self.held.borrow_mut().push(reply),
            Probe::Work(time, text) => scope.spawn(tokio::time::sleep(time), move |actor, (), _| {
                note(&actor.log, text);
            }),
            Probe::Forever => scope.spawn_background(pending::<()>(), |_, (), _| ()),
            Probe::Spawn(name, restart, reply) => {
                let (log, child) = (Arc::clone(&self.log), name.clone());
                let spec = ChildSpec::new(name).restart(restart);
                reply.send(scope.start_child(spec, move || ProbeActor::new(&child, &log)));
            }
            Probe::HoldMessages(times) => {
                for time in times {
                    scope.hold();
                    scope.after(time, |_, scope| scope.release());
                }
            }
            Probe::StopUnlessAsked(reply) => reply.send(scope.stop_unless_asked()),
            Probe::Stop => scope.stop(),
        }
    }

    fn child_failed(&mut self, name: &str, _: &mut Scope<'_, Self>) {
        note(&self.log, format!("{} lost {name}", self.name));
    }

    fn child_stopped(&mut self, name: &str, _: &mut Scope<'_, Self>) {
        note(&self.log, format!("{} sees that {name} has stopped", self.name));
    }

    fn flush(&mut self, _: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        let (log, name) = (Arc::clone(&self.log), self.name.clone());
        Some(async move { note(&log, format!("{name} flushed")) }.boxed_local())
    }
}

impl Drop for ProbeActor {
    fn drop(&mut self) {
        note(&self.log, format!("{} dropped", self.name));
    }
}

const SOON: Duration = Duration::from_secs(5);

/// Runs a test in virtual time with a probe as root.
fn with_root<F: Future<Output = ()>>(test: impl FnOnce(RootHandle<Probe>, Log) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let log = Log::default();
        let environment = Environment::single_thread(UnixMillis(0), 7);
        let root = {
            let log = Arc::clone(&log);
            start_root(environment, move || ProbeActor::new("root", &log))
        };
        test(root, log).await;
    });
}

async fn spawn(parent: &Port<Probe>, name: &str, restart: RestartPolicy) -> Port<Probe> {
    parent.ask(SOON, |reply| Probe::Spawn(name.to_owned(), restart, reply)).await.unwrap()
}

fn text(text: &str, policy: Policy) -> Probe {
    Probe::Note(text.to_owned(), policy)
}

fn row(root: &RootHandle<Probe>, name: &str) -> ActorRow {
    root.environment().tree().rows().into_iter().find(|row| row.name == name).unwrap()
}

#[test]
fn a_failed_actor_is_made_anew_and_handles_what_was_waiting() {
    with_root(|root, log| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        child.try_send(text("before", Policy::Wait)).unwrap();
        child.try_send(Probe::Panic).unwrap();
        child.try_send(text("after", Policy::Wait)).unwrap();
        assert_eq!(child.ask(SOON, Probe::Count).await, Ok(1), "state is fresh");
        let expected = ["root started", "child started", "before", "child dropped", "child started", "after"];
        assert_eq!(notes(&log), expected);
        assert_eq!(row(&root, "child").restarts, 1);
        assert_eq!(row(&root, "probe").restarts, 0, "the parent lives on");
    });
}

#[test]
fn a_panic_in_a_future_or_a_timer_is_the_actors_failure() {
    with_root(|root, _| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        for (failures, message) in [(1, Probe::PanicLater), (2, Probe::PanicInTimer)] {
            child.send(message).await.unwrap();
            tokio::time::sleep(SOON).await;
            assert_eq!(child.ask(SOON, Probe::Count).await, Ok(0));
            assert_eq!(row(&root, "child").restarts, failures);
        }
    });
}

#[test]
fn whoever_waits_for_a_reply_learns_at_once_that_the_actor_failed() {
    with_root(|root, _| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        let started = tokio::time::Instant::now();
        let held = child.ask(Duration::from_secs(3600), Probe::Hold);
        let fail = async { child.send(Probe::Panic).await };
        let (held, failed) = tokio::join!(held, fail);
        failed.unwrap();
        assert_eq!(held, Err(AskError::Unanswered { actor: "probe/child".to_owned() }));
        assert!(started.elapsed() < Duration::from_millis(1));
    });
}

#[test]
fn a_question_without_answer_ends_at_its_deadline() {
    with_root(|root, _| async move {
        let answer = root.port().ask(SOON, Probe::Hold).await;
        assert_eq!(answer, Err(AskError::Deadline { actor: "probe".to_owned(), deadline: SOON }));
    });
}

#[test]
fn a_child_that_fails_too_often_fails_its_parent_with_all_its_children() {
    with_root(|root, log| async move {
        let middle = spawn(root.port(), "middle", RestartPolicy::default()).await;
        let policy = RestartPolicy { max_restarts: 1, ..RestartPolicy::default() };
        let child = spawn(&middle, "child", policy).await;
        let sibling = spawn(&middle, "sibling", RestartPolicy::default()).await;
        for _ in 0..2 {
            child.send(Probe::Panic).await.unwrap();
        }
        tokio::time::sleep(SOON).await;
        assert_eq!(row(&root, "middle").restarts, 1);
        assert!(matches!(child.try_send(Probe::Panic), Err(SendError::Closed { .. })));
        assert!(matches!(sibling.try_send(Probe::Panic), Err(SendError::Closed { .. })));
        assert_eq!(middle.ask(SOON, Probe::Count).await, Ok(0));
        assert_eq!(notes(&log).last().unwrap(), "middle started", "the sibling ended first");
    });
}

#[test]
fn a_child_that_gives_up_is_only_reported() {
    with_root(|root, log| async move {
        let policy = RestartPolicy { max_restarts: 0, ..RestartPolicy::giving_up() };
        let child = spawn(root.port(), "child", policy).await;
        child.send(Probe::Panic).await.unwrap();
        tokio::time::sleep(SOON).await;
        assert_eq!(notes(&log).last().unwrap(), "root lost child");
        assert_eq!(row(&root, "probe").restarts, 0);
        assert!(matches!(child.try_send(Probe::Panic), Err(SendError::Closed { .. })));
    });
}

#[test]
fn a_parent_is_told_when_a_child_and_all_below_it_have_ended_in_order() {
    with_root(|root, log| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        let below = spawn(&child, "below", RestartPolicy::default()).await;
        below.send(Probe::Work(Duration::from_secs(2), "work done".to_owned())).await.unwrap();
        log.lock().unwrap().clear();
        child.send(Probe::Stop).await.unwrap();
        tokio::time::sleep(SOON).await;
        let order = [
            "child flushed",
            "work done",
            "below flushed",
            "below dropped",
            "child dropped",
            "root sees that child has stopped",
        ];
        assert_eq!(notes(&log), order);
        assert_eq!(row(&root, "probe").restarts, 0);
    });
}

#[test]
fn a_root_that_fails_too_often_ends_as_failed() {
    with_root(|root, _| async move {
        for _ in 0..6 {
            let _ = root.port().send(Probe::Panic).await;
        }
        assert!(root.ended().await);
        assert_eq!(root.environment().tree().alive(), (0, 0));
    });
}

#[test]
fn shutdown_drains_waits_for_work_flushes_and_stops_children_youngest_first() {
    with_root(|root, log| async move {
        let first = spawn(root.port(), "first", RestartPolicy::default()).await;
        let second = spawn(root.port(), "second", RestartPolicy::default()).await;
        first.send(Probe::Forever).await.unwrap();
        second.send(Probe::Work(Duration::from_secs(2), "work done".to_owned())).await.unwrap();
        second.try_send(text("queued", Policy::Wait)).unwrap();
        root.port().try_send(text("last words", Policy::Wait)).unwrap();
        log.lock().unwrap().clear();
        let shutdown = root.shutdown(SOON).await;
        assert_eq!(shutdown, Shutdown { complete: true, actors_left: 0, tasks_left: 0 });
        let order = [
            "last words",
            "queued",
            "root flushed",
            "work done",
            "second flushed",
            "second dropped",
            "first flushed",
            "first dropped",
            "root dropped",
        ];
        let mut found = notes(&log);
        found.sort_by_key(|text| order.iter().position(|expected| expected == text));
        assert_eq!(found, order);
        let at = |text: &str| notes(&log).iter().position(|found| found == text).unwrap();
        assert!(at("work done") < at("second flushed") && at("second dropped") < at("first flushed"));
        assert!(matches!(root.port().try_send(Probe::Panic), Err(SendError::Closed { .. })));
    });
}

#[test]
fn work_that_never_ends_is_cut_off_at_the_deadline() {
    with_root(|root, _| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        child.send(Probe::Work(Duration::from_secs(1_000_000), String::new())).await.unwrap();
        let shutdown = root.shutdown(Duration::from_secs(3)).await;
        assert_eq!(shutdown, Shutdown { complete: true, actors_left: 0, tasks_left: 0 });
    });
}

#[test]
fn an_actor_may_end_by_itself() {
    with_root(|root, log| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        child.send(Probe::Stop).await.unwrap();
        tokio::time::sleep(SOON).await;
        assert_eq!(notes(&log)[2..], ["child flushed", "child dropped", "root sees that child has stopped"]);
        assert_eq!(root.environment().tree().rows().len(), 1);
    });
}

#[test]
fn messages_wait_while_an_actor_holds_them() {
    with_root(|root, _| async move {
        root.port().send(Probe::HoldMessages(vec![Duration::from_secs(2)])).await.unwrap();
        let early = root.port().ask(Duration::from_secs(1), Probe::Count).await;
        assert!(matches!(early, Err(AskError::Deadline { .. })));
        assert_eq!(root.port().ask(SOON, Probe::Count).await, Ok(0));
    });
}

#[test]
fn messages_wait_until_every_hold_is_released() {
    with_root(|root, _| async move {
        let times = [1, 3].map(Duration::from_secs).to_vec();
        root.port().send(Probe::HoldMessages(times)).await.unwrap();
        let early = root.port().ask(Duration::from_secs(2), Probe::Count).await;
        assert!(matches!(early, Err(AskError::Deadline { .. })));
        assert_eq!(root.port().ask(SOON, Probe::Count).await, Ok(0));
    });
}

/// Loads for ever: it holds its messages from the first turn on, and works meanwhile.
struct Loading(Log);

impl Actor for Loading {
    type Message = Probe;
    const KIND: &'static str = "loading";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        scope.spawn(pending::<()>(), |_, (), scope| scope.release());
        let log = Arc::clone(&self.0);
        scope.start_child(ChildSpec::new("child"), move || ProbeActor::new("child", &log));
    }

    fn handle(&mut self, _: Probe, _: &mut Scope<'_, Self>) {
        unreachable!("it has not loaded");
    }

    fn flush(&mut self, _: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        unreachable!("it has nothing to flush");
    }
}

#[test]
fn an_actor_that_still_loads_is_stopped_at_once() {
    with_root(|root, log| async move {
        let loading = {
            let log = Arc::clone(&log);
            start_root(Environment::single_thread(UnixMillis(0), 1), move || Loading(Arc::clone(&log)))
        };
        let asked = loading.port().clone();
        let asked = tokio::task::spawn_local(async move { asked.ask(SOON, Probe::Count).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let started = tokio::time::Instant::now();
        let end = loading.shutdown(Duration::from_secs(3600)).await;
        assert_eq!(end, Shutdown { complete: true, actors_left: 0, tasks_left: 0 });
        assert!(started.elapsed() < Duration::from_millis(1));
        assert_eq!(asked.await.unwrap(), Err(AskError::Unanswered { actor: "loading".to_owned() }));
        assert_eq!(notes(&log).last().unwrap(), "child dropped", "its children end in order");
        drop(root);
    });
}

#[test]
fn an_actor_ends_by_itself_only_if_nobody_has_asked_it_meanwhile() {
    with_root(|root, _| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        let (reply, refused) = Reply::channel();
        child.try_send(Probe::StopUnlessAsked(reply)).unwrap();
        child.try_send(text("in time", Policy::Wait)).unwrap();
        assert_eq!(refused.await, Ok(false));
        assert_eq!(child.ask(SOON, Probe::Count).await, Ok(1));
        assert_eq!(child.ask(SOON, Probe::StopUnlessAsked).await, Ok(true));
        assert!(!child.is_open());
        tokio::time::sleep(SOON).await;
        assert_eq!(root.environment().tree().rows().len(), 1);
    });
}

#[test]
fn an_injected_panic_hits_exactly_the_actor_named() {
    with_root(|root, _| async move {
        let child = spawn(root.port(), "child", RestartPolicy::default()).await;
        assert!(root.environment().tree().inject_panic(child.id()));
        tokio::time::sleep(SOON).await;
        assert_eq!((row(&root, "child").restarts, row(&root, "probe").restarts), (1, 0));
        assert!(!root.environment().tree().inject_panic(ActorId(u64::MAX)));
    });
}

#[test]
fn a_factory_that_panics_counts_as_a_failure_of_its_child() {
    with_root(|root, log| async move {
        struct Parent(Arc<AtomicUsize>, Log);
        impl Actor for Parent {
            type Message = Probe;
            const KIND: &'static str = "parent";
            fn started(&mut self, scope: &mut Scope<'_, Self>) {
                let (made, log) = (Arc::clone(&self.0), Arc::clone(&self.1));
                scope.start_child(ChildSpec::new("child"), move || {
                    assert!(made.fetch_add(1, Ordering::Relaxed) > 1, "not yet");
                    ProbeActor::new("third time", &log)
                });
            }
            fn handle(&mut self, _: Probe, _: &mut Scope<'_, Self>) {}
        }
        let made = Arc::new(AtomicUsize::new(0));
        let environment = Environment::single_thread(UnixMillis(0), 1);
        let (count, child_log) = (Arc::clone(&made), Arc::clone(&log));
        let parent = start_root(environment, move || Parent(Arc::clone(&count), Arc::clone(&child_log)));
        tokio::time::sleep(SOON).await;
        assert_eq!(made.load(Ordering::Relaxed), 3);
        assert_eq!(notes(&log).last().unwrap(), "third time started");
        assert_eq!(parent.environment().tree().rows().len(), 2);
        drop(root);
    });
}

#[test]
fn a_full_mailbox_follows_the_policy_of_each_message() {
    with_root(|root, log| async move {
        let port = root.port();
        while root.environment().tree().rows()[0].turns == 0 {
            tokio::task::yield_now().await;
        }
        log.lock().unwrap().clear();
        // The test runs on the actor's thread: nothing is handled before it waits.
        port.try_send(text("old news", Policy::DropOldest)).unwrap();
        port.try_send(text("look once", Policy::Coalesce(1))).unwrap();
        for number in 2..ChildSpec::CAPACITY {
            port.try_send(text(&number.to_string(), Policy::Wait)).unwrap();
        }
        let full = SendError::Full { actor: "probe".to_owned() };
        assert_eq!(port.try_send(text("no room", Policy::Wait)), Err(full.clone()));
        assert_eq!(port.send(text("refused", Policy::Reject)).await, Err(full.clone()));
        assert_eq!(port.try_send(text("look again", Policy::Coalesce(1))), Ok(()));
        assert_eq!(port.try_send(text("look elsewhere", Policy::Coalesce(2))), Err(full));
        assert_eq!(port.try_send(text("new news", Policy::DropOldest)), Ok(()));
        port.send(text("waited", Policy::Wait)).await.unwrap();
        while port.try_send(text("filler", Policy::Wait)).is_ok() {}
        port.send(text("looked elsewhere", Policy::Coalesce(3))).await.unwrap();
        port.ask(SOON, Probe::Count).await.unwrap();
        let found = notes(&log);
        assert_eq!(found[0], "look again");
        assert_eq!(found[ChildSpec::CAPACITY - 1..=ChildSpec::CAPACITY], ["new news", "waited"]);
        assert_eq!(found.last().unwrap(), "looked elsewhere");
        let row = row(&root, "probe");
        assert_eq!((row.dropped, row.coalesced, row.rejected), (1, 1, 4));
    });
}

#[test]
fn children_run_on_the_threads_of_the_node() {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    });
    system.block_on(async {
        struct Where;
        impl Actor for Where {
            type Message = WhereMessage;
            const KIND: &'static str = "where";
            fn handle(&mut self, message: WhereMessage, scope: &mut Scope<'_, Self>) {
                match message {
                    WhereMessage::Thread(reply) => reply.send(std::thread::current().id()),
                    WhereMessage::Child(number, reply) => {
                        reply.send(scope.start_child(ChildSpec::new("child").shard(number), || Where));
                    }
                }
            }
        }
        enum WhereMessage {
            Thread(Reply<std::thread::ThreadId>),
            Child(u64, Reply<Port<WhereMessage>>),
        }
        impl Message for WhereMessage {
            fn kind(&self) -> &'static str {
                "where"
            }
            fn policy(&self) -> Policy {
                Policy::Wait
            }
        }
        let arbiters = [actix_rt::Arbiter::new(), actix_rt::Arbiter::new()];
        let environment = Environment::threads(arbiters.iter().map(actix_rt::Arbiter::handle).collect());
        let root = start_root(environment, || Where);
        let mut threads = Vec::new();
        for number in [0, 1, 3] {
            let child = root.port().ask(SOON, |reply| WhereMessage::Child(number, reply)).await.unwrap();
            threads.push(child.ask(SOON, WhereMessage::Thread).await.unwrap());
        }
        assert_ne!(threads[0], threads[1]);
        assert_eq!(threads[1], threads[2]);
        assert_ne!(threads[0], std::thread::current().id());
        assert!(root.shutdown(SOON).await.complete);
    });
}
