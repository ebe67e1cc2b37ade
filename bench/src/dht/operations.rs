//! How long a put, a get and a push take: nodes of both kinds in turn, in the same network, at keys that
//! nobody has asked for before.
//!
//! ```text
//!   put    call ──► "it was put"
//!   get    call ──► "that is all", at keys put by nodes of either kind, by a node that put none
//!   push   call of a put at a key where the publisher has put before ──► another node's listener is told
//! ```

use std::time::{Duration, Instant};

use skep_protocol::ids::DhtKey;
use skep_tests::harness::{Failure, Result};

use super::fleet::Fleet;
use super::peer::DhtPeer;
use crate::statistics::Samples;

/// Nodes of each kind that are told what to do, each in its turn.
pub(crate) const MEASURED: usize = 5;

/// Puts of each kind; gets are twice as many.
const PUTS: usize = 60;

/// Pushes from each node of each kind to the next one.
const PUSHES: usize = 12;

/// Time for a listener to have found the nodes at which it listens.
const LISTENING: Duration = Duration::from_secs(3);

/// Operations that may fail before no more are tried.
const MAX_FAILURES: usize = 5;

/// How long the operations of one kind of node took, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) put: Samples,
    pub(crate) get: Samples,
    /// At a key where the publisher has put before.
    pub(crate) push: Samples,
    /// At a key where it has not.
    pub(crate) first_push: Samples,
    /// What went wrong.
    pub(crate) failures: Vec<String>,
}

/// What both kinds did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Both {
    pub(crate) skep: Latencies,
    pub(crate) daemon: Latencies,
}

/// Measures everything in the network as it is now; keys are told apart by `label`.
pub(crate) async fn measure(fleet: &mut Fleet, label: &str) -> Both {
    let mut both = Both::default();
    for round in 0..PUTS {
        let keys = [format!("{label}-{round}-skep"), format!("{label}-{round}-dhtnode")];
        let Both { skep, daemon } = &mut both;
        // Whoever comes first may warm something for the other, so they take turns.
        for turn in [round, round + 1] {
            if turn % 2 == 0 {
                skep.put(nth(&mut fleet.skeps, round), &keys[0]).await;
            } else {
                daemon.put(nth(&mut fleet.daemons, round), &keys[1]).await;
            }
        }
        for key in &keys {
            for turn in [round, round + 1] {
                if turn % 2 == 0 {
                    skep.get(nth(&mut fleet.skeps, round + 1), key).await;
                } else {
                    daemon.get(nth(&mut fleet.daemons, round + 1), key).await;
                }
            }
        }
    }
    for first in 0..MEASURED {
        both.skep.pushes(&mut fleet.skeps, first, &format!("{label}-skep")).await;
        both.daemon.pushes(&mut fleet.daemons, first, &format!("{label}-dhtnode")).await;
    }
    both
}

/// The node whose turn it is, if there are any of its kind.
fn nth<P>(peers: &mut [P], number: usize) -> Option<&mut P> {
    let measured = MEASURED.min(peers.len());
    peers.get_mut(number.checked_rem(measured)?)
}

impl Latencies {
    async fn put<P: DhtPeer>(&mut self, peer: Option<&mut P>, name: &str) {
        let Some(peer) = peer.filter(|_| self.goes_on()) else { return };
        let begun = Instant::now();
        match peer.put(DhtKey::of_text(name), name).await {
            Ok(()) => self.put.add_millis(begun.elapsed()),
            Err(failure) => self.failed(&failure),
        }
    }

    async fn get<P: DhtPeer>(&mut self, peer: Option<&mut P>, name: &str) {
        let Some(peer) = peer.filter(|_| self.goes_on()) else { return };
        let begun = Instant::now();
        match peer.get(DhtKey::of_text(name), name).await {
            Ok(true) => self.get.add_millis(begun.elapsed()),
            Ok(false) => self.failed(&Failure::Expected(format!("{name:?} to be found"))),
            Err(failure) => self.failed(&failure),
        }
    }

    async fn pushes<P: DhtPeer>(&mut self, peers: &mut [P], first: usize, label: &str) {
        let Ok([publisher, listener]) = peers.get_disjoint_mut([first, (first + 1) % MEASURED]) else {
            return;
        };
        if self.goes_on()
            && let Err(failure) =
                self.push_between(publisher, listener, &format!("{label}-push-{first}")).await
        {
            self.failed(&failure);
        }
    }

    async fn push_between<P: DhtPeer>(
        &mut self,
        publisher: &mut P,
        listener: &mut P,
        name: &str,
    ) -> Result<()> {
        let key = DhtKey::of_text(name);
        listener.listen(key).await?;
        tokio::time::sleep(LISTENING).await;
        for number in 0..=PUSHES {
            let text = format!("{name}-{number}");
            let begun = Instant::now();
            let (put, told) = tokio::join!(publisher.put(key, &text), listener.told(&text));
            put?;
            let took = told?.saturating_duration_since(begun);
            if number == 0 { self.first_push.add_millis(took) } else { self.push.add_millis(took) }
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        self.failures.len() < MAX_FAILURES
    }

    fn failed(&mut self, failure: &Failure) {
        self.failures.push(failure.to_string());
    }
}
