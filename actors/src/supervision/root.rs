//! The root of the tree: threads, clock, start and ordered shutdown.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_rt::ArbiterHandle;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use skep_protocol::time::{Moment, UnixMillis};
use tokio::sync::watch;
use tokio::time::Instant;

use super::actor::Actor;
use super::host::start_host;
use super::mailbox::{Control, ControlLane};
use super::panics::install_panic_hook;
use super::policy::{OnLimit, RestartPolicy};
use super::port::Port;
use super::scope::{ChildSpec, Placement};
use super::tree::Tree;

/// What all actors of one node share: clock, randomness, threads and the tree.
#[derive(Clone)]
pub struct Environment {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    wall_at_start: UnixMillis,
    random: Mutex<StdRng>,
    shards: Vec<ArbiterHandle>,
    tree: Tree,
    stop_deadline: Duration,
    ended: watch::Sender<Option<RootEnd>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RootEnd {
    failed: bool,
}

impl Environment {
    /// Time an actor gets to drain and flush unless its parent says otherwise.
    pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

    /// An environment whose actors all run on the thread that starts them, with the clock and the
    /// randomness given: for tests and for programs with a thread of their own.
    #[must_use]
    pub fn single_thread(wall: UnixMillis, seed: u64) -> Self {
        Self::new(wall, StdRng::seed_from_u64(seed), Vec::new())
    }

    /// An environment over these threads, with the system's clock and randomness.
    #[must_use]
    pub fn threads(shards: Vec<ArbiterHandle>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Self::new(wall, StdRng::from_os_rng(), shards)
    }

    fn new(wall_at_start: UnixMillis, random: StdRng, shards: Vec<ArbiterHandle>) -> Self {
        Self {
            shared: Arc::new(Shared {
                started: Instant::now(),
                wall_at_start,
                random: Mutex::new(random),
                shards,
                tree: Tree::default(),
                stop_deadline: Self::STOP_DEADLINE,
                ended: watch::Sender::new(None),
            }),
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.shared.started.elapsed())
    }

    /// Wall-clock time: that of the start plus the time since, so that it never jumps back.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        self.shared.wall_at_start.plus(self.shared.started.elapsed())
    }

    /// All living actors.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.shared.tree
    }

    /// Fills `bytes` from the node's random generator.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.random(|random| random.fill(bytes));
    }

    /// A random number below 2^64.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.random(|random| random.random())
    }

    /// A random number from 0 to 1, to spread retries.
    #[must_use]
    pub fn jitter(&self) -> f64 {
        self.random(|random| random.random())
    }

    fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.shared.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn shard(&self, number: u64) -> Option<&ArbiterHandle> {
        let count = u64::try_from(self.shared.shards.len()).ok().filter(|count| *count > 0)?;
        usize::try_from(number % count).ok().and_then(|index| self.shared.shards.get(index))
    }

    pub(super) fn stop_deadline(&self) -> Duration {
        self.shared.stop_deadline
    }

    pub(super) fn root_ended(&self, failed: bool) {
        self.shared.ended.send_replace(Some(RootEnd { failed }));
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Environment({:?}, {} threads)", self.shared.tree, self.shared.shards.len())
    }
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether all actors ended within the deadline.
    pub complete: bool,
    /// Actors that still live; none after an orderly shutdown.
    pub actors_left: usize,
    /// Futures of actors that still live; none after an orderly shutdown.
    pub tasks_left: usize,
}

/// The running tree, as its owner holds it.
#[derive(Clone)]
pub struct RootHandle<M: super::Message> {
    port: Port<M>,
    lane: Arc<dyn ControlLane>,
    environment: Environment,
    ended: watch::Receiver<Option<RootEnd>>,
}

/// Starts `factory`'s actor as the root of a tree.
///
/// With threads in the environment the root runs on the first; without, on the calling thread,
/// which must be in a `tokio` local set.
pub fn start_root<A: Actor>(
    environment: Environment,
    factory: impl Fn() -> A + Send + Sync + 'static,
) -> RootHandle<A::Message> {
    install_panic_hook();
    let ended = environment.shared.ended.subscribe();
    let spec = ChildSpec {
        name: A::KIND.to_owned(),
        capacity: ChildSpec::CAPACITY,
        placement: Placement::Shard(0),
        restart: RestartPolicy { on_limit: OnLimit::Escalate, ..RestartPolicy::default() },
    };
    let (port, child) = start_host(spec, Arc::new(factory), &environment, None);
    RootHandle { port, lane: child.lane(), environment, ended }
}

impl<M: super::Message> RootHandle<M> {
    /// The root actor's port.
    #[must_use]
    pub fn port(&self) -> &Port<M> {
        &self.port
    }

    /// What all actors share.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Completes when the whole tree has ended; true if because it failed too often.
    pub async fn ended(&self) -> bool {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.is_some_and(|end| end.failed),
            Err(_) => true,
        }
    }

    /// Stops the tree in order and waits for it, at most `deadline` and a little more for the
    /// deadlines inside to be heard.
    pub async fn shutdown(&self, deadline: Duration) -> Shutdown {
        /// Time for actors that were cut off to be dropped, so that they are not counted as left.
        const GRACE: Duration = Duration::from_secs(2);
        self.lane.control(Control::Stop(deadline));
        let complete = tokio::time::timeout(deadline.saturating_add(GRACE), self.ended()).await.is_ok();
        let (actors_left, tasks_left) = self.environment.tree().alive();
        Shutdown { complete, actors_left, tasks_left }
    }
}

impl<M: super::Message> fmt::Debug for RootHandle<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RootHandle({:?})", self.port)
    }
}
