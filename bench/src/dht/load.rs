//! What nodes of both kinds cost while they do the same: processor time and memory.

use std::cell::Cell;
use std::time::{Duration, Instant};

use skep_protocol::ids::DhtKey;
use skep_tests::harness::Result;
use tokio::time::MissedTickBehavior;

use super::fleet::Fleet;
use super::operations::MEASURED;
use super::peer::DhtPeer;

/// How long the load lasts.
pub(crate) const SPAN: Duration = Duration::from_secs(60);

/// Every node puts once and gets once in this time.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

/// Keys at which every node listens.
pub(crate) const LISTENED: usize = 4;

/// Bytes of a text that is put, beside its number.
pub(crate) const TEXT: usize = 500;

/// What the measured nodes of one kind used, all together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time under load, of the nodes that were told what to do.
    pub(crate) busy: Duration,
    /// Processor time in the same span, of each of those that were not, on average.
    pub(crate) served: Duration,
    /// Puts and gets done.
    pub(crate) operations: usize,
    /// Why some failed. A get that does not find what was put before has failed.
    pub(crate) failures: Vec<String>,
    /// Memory of each of all nodes afterwards, in bytes.
    pub(crate) memory: Vec<usize>,
}

/// What both kinds used, and the node of Skep that does nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Both {
    pub(crate) skep: Usage,
    pub(crate) daemon: Usage,
    /// The time in which they used it.
    pub(crate) elapsed: Duration,
    /// Memory of a node of Skep that knows of nobody, in bytes.
    pub(crate) alone: usize,
    /// And of such a `dhtnode`.
    pub(crate) daemon_alone: Option<usize>,
}

/// How many texts each measured node of a kind has put at keys of their own.
type Done = [Cell<usize>; MEASURED];

/// Puts the same load on some nodes of each kind, all at once.
pub(crate) async fn measure(fleet: &mut Fleet) -> Result<Both> {
    let (skep, daemon) = (Kind::new("skep"), Kind::new("dhtnode"));
    // Without the others, each gets what its own kind has put.
    let (of_skep, of_daemon) = if fleet.daemons.is_empty() { (&skep, &daemon) } else { (&daemon, &skep) };
    skep.prepare(&mut fleet.skeps).await?;
    daemon.prepare(&mut fleet.daemons).await?;
    // One span for both kinds: whoever is done first serves the others until the end.
    let before = (times(&fleet.skeps)?, times(&fleet.daemons)?);
    let begun = Instant::now();
    let end = begun + SPAN;
    let done = tokio::join!(
        skep.load(&mut fleet.skeps, of_skep, end),
        daemon.load(&mut fleet.daemons, of_daemon, end)
    );
    let elapsed = begun.elapsed();
    let after = (times(&fleet.skeps)?, times(&fleet.daemons)?);
    Ok(Both {
        skep: usage(&fleet.skeps, &before.0, &after.0, done.0)?,
        daemon: usage(&fleet.daemons, &before.1, &after.1, done.1)?,
        elapsed,
        alone: fleet.alone.resident()?,
        daemon_alone: fleet.daemon_alone.as_ref().map(DhtPeer::resident).transpose()?,
    })
}

/// What the nodes of a kind used, and what came of it.
fn usage<P: DhtPeer>(peers: &[P], before: &[Duration], after: &[Duration], work: Work) -> Result<Usage> {
    let spent: Vec<Duration> =
        after.iter().zip(before).map(|(after, before)| after.saturating_sub(*before)).collect();
    let (busy, served) = spent.split_at(MEASURED.min(spent.len()));
    let others = u32::try_from(served.len()).unwrap_or(u32::MAX).max(1);
    Ok(Usage {
        busy: busy.iter().sum(),
        served: served.iter().sum::<Duration>() / others,
        operations: work.operations,
        failures: work.failures,
        memory: peers.iter().map(P::resident).collect::<Result<_>>()?,
    })
}

/// What was done, and what went wrong.
#[derive(Debug, Default)]
struct Work {
    operations: usize,
    failures: Vec<String>,
}

impl Work {
    fn count(&mut self, outcome: std::result::Result<(), String>) {
        self.operations += 1;
        self.failures.extend(outcome.err());
    }
}

/// The measured nodes of one kind, as others see them.
struct Kind {
    name: &'static str,
    done: Done,
}

impl Kind {
    fn new(name: &'static str) -> Self {
        Self { name, done: Done::default() }
    }

    /// A text that a node puts at a key of its own.
    fn text(&self, number: usize, count: usize) -> (DhtKey, String) {
        let name = format!("load-{}-{number}-{count}", self.name);
        (DhtKey::of_text(&name), format!("{name}-{}", "x".repeat(TEXT)))
    }

    /// Lets each listen, and put something for others to get.
    async fn prepare<P: DhtPeer>(&self, peers: &mut [P]) -> Result<()> {
        for (number, peer) in peers.iter_mut().enumerate().take(MEASURED) {
            for key in 0..LISTENED {
                peer.listen(listened(self.name, number, key)).await?;
            }
            let (key, text) = self.text(number, 0);
            peer.put(key, &text).await?;
        }
        Ok(())
    }

    async fn load<P: DhtPeer>(&self, peers: &mut [P], other: &Self, end: Instant) -> Work {
        let measured = peers.iter_mut().take(MEASURED).enumerate();
        let work = measured.map(|(number, peer)| self.work(peer, number, other, end));
        let mut all = Work::default();
        for work in futures::future::join_all(work).await {
            all.operations += work.operations;
            all.failures.extend(work.failures);
        }
        all
    }

    /// What one node does: a put and a get in each interval. Every other put is at a key where a node of
    /// the other kind listens, the rest at new keys. The gets are of what a node of the other kind said to
    /// have put last at a new key, so something must be there.
    async fn work<P: DhtPeer>(&self, peer: &mut P, number: usize, other: &Self, end: Instant) -> Work {
        let mut work = Work::default();
        let (Some(done), Some(others)) = (self.done.get(number), other.done.get(number)) else { return work };
        let mut clock = tokio::time::interval(INTERVAL);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_usize.. {
            clock.tick().await;
            if Instant::now() >= end {
                break;
            }
            let next = done.get() + 1;
            let (new, text) = self.text(number, next);
            let listens = turn % 2 == 0;
            let key = if listens { listened(other.name, number, turn / 2 % LISTENED) } else { new };
            let put = peer.put(key, &text).await;
            if put.is_ok() && !listens {
                done.set(next);
            }
            work.count(put.map_err(|failure| failure.to_string()));
            let (key, text) = other.text(number, others.get());
            work.count(match peer.get(key, &text).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("{key}, put by a {}, was not found", other.name)),
                Err(failure) => Err(failure.to_string()),
            });
        }
        work
    }
}

fn listened(kind: &str, number: usize, key: usize) -> DhtKey {
    DhtKey::of_text(&format!("load-{kind}-{number}-listened-{key}"))
}

fn times<P: DhtPeer>(peers: &[P]) -> Result<Vec<Duration>> {
    peers.iter().map(P::processor_time).collect()
}
