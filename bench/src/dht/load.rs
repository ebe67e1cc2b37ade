//! What nodes of both kinds cost while they do the same: processor time and memory.

use std::time::Duration;

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
    /// Those that failed.
    pub(crate) failures: usize,
    /// Memory of each of all nodes afterwards, in bytes.
    pub(crate) memory: Vec<usize>,
}

/// What both kinds used, and the node of Skep that does nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Both {
    pub(crate) skep: Usage,
    pub(crate) daemon: Usage,
    /// Memory of a node of Skep that knows of nobody, in bytes.
    pub(crate) alone: usize,
    /// And of such a `dhtnode`.
    pub(crate) daemon_alone: Option<usize>,
}

/// Puts the same load on some nodes of each kind, all at once.
pub(crate) async fn measure(fleet: &mut Fleet) -> Result<Both> {
    let (skep, daemon) =
        tokio::join!(load(&mut fleet.skeps, "skep", "dhtnode"), load(&mut fleet.daemons, "dhtnode", "skep"));
    let daemon_alone = fleet.daemon_alone.as_ref().map(DhtPeer::resident).transpose()?;
    Ok(Both { skep: skep?, daemon: daemon?, alone: fleet.alone.resident()?, daemon_alone })
}

async fn load<P: DhtPeer>(peers: &mut [P], own: &str, other: &str) -> Result<Usage> {
    for (number, peer) in peers.iter_mut().enumerate().take(MEASURED) {
        for key in 0..LISTENED {
            peer.listen(listened(own, number, key)).await?;
        }
    }
    let before = times(peers)?;
    let measured = peers.iter_mut().take(MEASURED).enumerate();
    let work = measured.map(|(number, peer)| work(peer, number, own, other));
    let done = futures::future::join_all(work).await;
    let spent: Vec<Duration> =
        times(peers)?.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect();
    let (busy, served) = spent.split_at(MEASURED.min(spent.len()));
    let others = u32::try_from(served.len()).unwrap_or(u32::MAX).max(1);
    Ok(Usage {
        busy: busy.iter().sum(),
        served: served.iter().sum::<Duration>() / others,
        operations: done.iter().map(|(operations, _)| operations).sum(),
        failures: done.iter().map(|(_, failures)| failures).sum(),
        memory: peers.iter().map(P::resident).collect::<Result<_>>()?,
    })
}

/// What one node does: a put and a get in each interval. Every other put is at a key where a node of the
/// other kind listens, the rest at new keys, which a node of the other kind gets.
async fn work<P: DhtPeer>(peer: &mut P, number: usize, own: &str, other: &str) -> (usize, usize) {
    let (mut operations, mut failures) = (0, 0);
    let mut clock = tokio::time::interval(INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0..SPAN.as_millis() / INTERVAL.as_millis() {
        clock.tick().await;
        let name = |kind: &str, turn: u128| format!("load-{kind}-{number}-{turn}");
        let text = format!("{}-{}", name(own, turn), "x".repeat(TEXT));
        let key = match usize::try_from(turn / 2) {
            Ok(round) if turn % 2 == 0 => listened(other, number, round % LISTENED),
            _ => DhtKey::of_text(&name(own, turn)),
        };
        let put = peer.put(key, &text).await;
        let get = peer.get(DhtKey::of_text(&name(other, turn.saturating_sub(1))), "").await;
        operations += 2;
        failures += usize::from(put.is_err()) + usize::from(get.is_err());
    }
    (operations, failures)
}

fn listened(kind: &str, number: usize, key: usize) -> DhtKey {
    DhtKey::of_text(&format!("load-{kind}-{number}-listened-{key}"))
}

fn times<P: DhtPeer>(peers: &[P]) -> Result<Vec<Duration>> {
    peers.iter().map(P::processor_time).collect()
}
