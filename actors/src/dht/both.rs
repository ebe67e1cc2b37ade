//! Skep's own network and OpenDHT at once: what is asked for is asked of both, once each, and what
//! both tell is told once.
//!
//! ```text
//!   DhtMessage ──► share ──┬──► engine of Kademlia ──┐
//!                          └──► engine of OpenDHT ───┴──► merge ──► reply, events
//! ```
//!
//! The three run side by side in one future, so that a failure of one restarts all, with everything
//! that was asked of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use skep_protocol::dht::value::{Fingerprint, Value};
use tokio::sync::{mpsc, oneshot};

use super::kad::KadNetwork;
use super::messages::{DhtError, DhtMessage, Found, Health, ListenEvent};
use super::network::{EngineStart, Network, NetworkError, Running, queue};
use super::opendht::OpenDhtNetwork;
use crate::supervision::{Outlet, Reply, SendError};

/// How long a get that found something waits for the other network.
const GRACE: Duration = Duration::from_secs(1);

/// Events of one network that wait for a listener; more wait in the engine.
const EVENTS: usize = 16;

/// When a listener that refuses an event is told again.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is looked whether a listener that is told nothing is still there.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Values of one listening that are told apart by which network has them; values beyond may be told
/// twice.
const MAX_KNOWN: usize = 8192;

/// Both networks.
#[derive(Clone, Debug)]
pub struct BothNetworks {
    /// Skep's own.
    pub kad: KadNetwork,
    /// Jami's.
    pub opendht: OpenDhtNetwork,
}

impl Network for BothNetworks {
    fn check_address(&self, address: &str) -> Result<(), DhtError> {
        self.opendht.check_address(address).or_else(|_| self.kad.check_address(address))
    }

    fn open(&self, start: EngineStart) -> Result<Running, NetworkError> {
        let EngineStart { environment, bootstrap } = start;
        let of = |network: &dyn Fn(&str) -> bool| {
            let bootstrap = bootstrap.iter().filter(|address| network(address)).cloned().collect();
            EngineStart { environment: environment.clone(), bootstrap }
        };
        let kad = self.kad.open(of(&|address| self.kad.check_address(address).is_ok()))?;
        let opendht = self.opendht.open(of(&|address| self.opendht.check_address(address).is_ok()))?;
        let (sender, messages) = queue();
        let share = share(messages, [kad.messages, opendht.messages]);
        let engine = async move {
            futures::join!(kad.engine, opendht.engine, share);
        };
        Ok(Running { messages: sender, engine: engine.boxed_local() })
    }
}

type Sides = [mpsc::Sender<DhtMessage>; 2];

/// Work that outlasts the message that began it.
type Work = FuturesUnordered<LocalBoxFuture<'static, ()>>;

/// Hands every message to both sides, until the channel closes.
async fn share(mut messages: mpsc::Receiver<DhtMessage>, sides: Sides) {
    let mut work = Work::new();
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => hand_over(message, &sides, &work).await,
                None => return,
            },
            Some(()) = work.next() => {}
        }
    }
}

async fn hand_over(message: DhtMessage, sides: &Sides, work: &Work) {
    match message {
        DhtMessage::Put { key, value, permanent, reply } => {
            let ask = |reply| DhtMessage::Put { key, value: value.clone(), permanent, reply };
            let answers = ask_both(sides, ask).await;
            work.push(async move { reply.send(first_success(answers).await) }.boxed_local());
        }
        DhtMessage::CancelPut { key, id } => {
            tell_both(sides, || DhtMessage::CancelPut { key, id }).await;
        }
        DhtMessage::Get { key, reply } => {
            let answers = ask_both(sides, |reply| DhtMessage::Get { key, reply }).await;
            work.push(async move { reply.send(all_found(answers).await) }.boxed_local());
        }
        DhtMessage::Listen { id, key, outlet } => {
            let channels = [(); 2].map(|()| Outlet::channel("dht", EVENTS));
            let [(first, events), (second, other)] = channels;
            for (side, outlet) in sides.iter().zip([first, second]) {
                send(side, DhtMessage::Listen { id, key, outlet }).await;
            }
            work.push(merge([events, other], outlet).boxed_local());
        }
        DhtMessage::Cancel { id } => tell_both(sides, || DhtMessage::Cancel { id }).await,
        DhtMessage::Health { reply } => {
            let answers = ask_both(sides, |reply| DhtMessage::Health { reply }).await;
            work.push(async move { reply.send(health_of_both(answers).await) }.boxed_local());
        }
        DhtMessage::AddBootstrap { address, reply } => {
            let ask = |reply| DhtMessage::AddBootstrap { address: address.clone(), reply };
            let answers = ask_both(sides, ask).await;
            work.push(async move { reply.send(first_success(answers).await) }.boxed_local());
        }
    }
}

/// A side that has ended takes no messages; all of it ends then.
async fn send(side: &mpsc::Sender<DhtMessage>, message: DhtMessage) {
    drop(side.send(message).await);
}

async fn tell_both(sides: &Sides, message: impl Fn() -> DhtMessage) {
    for side in sides {
        send(side, message()).await;
    }
}

type Answers<T> = [oneshot::Receiver<T>; 2];

async fn ask_both<T>(sides: &Sides, ask: impl Fn(Reply<T>) -> DhtMessage) -> Answers<T> {
    let [first, second] = [(); 2].map(|()| Reply::channel());
    for (side, reply) in sides.iter().zip([first.0, second.0]) {
        send(side, ask(reply)).await;
    }
    [first.1, second.1]
}

/// An answer; that of a side which ended without one is an error.
async fn answer<T>(receiver: oneshot::Receiver<Result<T, DhtError>>) -> Result<T, DhtError> {
    receiver.await.unwrap_or(Err(DhtError::Stopped))
}

/// The first success; if there is none, the error that says most.
async fn first_success<T>(answers: Answers<Result<T, DhtError>>) -> Result<T, DhtError> {
    let [first, second] = answers.map(|receiver| answer(receiver).boxed_local());
    let (one, _, rest) = futures::future::select_all([first, second]).await;
    let Err(one) = one else { return one };
    let Some(other) = rest.into_iter().next() else { return Err(one) };
    other.await.map_err(|other| telling(one, other))
}

/// That a network is empty says less than what the other network says.
fn telling(one: DhtError, other: DhtError) -> DhtError {
    if matches!(one, DhtError::Alone { .. } | DhtError::Stopped) { other } else { one }
}

/// The values of both networks, each once. One that found something waits a little for the other;
/// one that found nothing waits for all that the other finds.
async fn all_found(answers: Answers<Result<Found, DhtError>>) -> Result<Found, DhtError> {
    let [first, second] = answers.map(|receiver| answer(receiver).boxed_local());
    let (one, _, rest) = futures::future::select_all([first, second]).await;
    let Some(other) = rest.into_iter().next() else { return one };
    let has_values = one.as_ref().is_ok_and(|found| !found.values.is_empty());
    let other = if has_values {
        match tokio::time::timeout(GRACE, other).await {
            Ok(other) => other,
            Err(_) => return one,
        }
    } else {
        other.await
    };
    match (one, other) {
        (Ok(one), Ok(other)) => Ok(union(one, other)),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(one), Err(other)) => Err(telling(one, other)),
    }
}

fn union(one: Found, other: Found) -> Found {
    let answered = one.answered.saturating_add(other.answered);
    let all = one.values.into_iter().chain(other.values);
    let values: BTreeMap<Fingerprint, Value> = all.map(|value| (value.fingerprint(), value)).collect();
    Found { values: values.into_values().collect(), answered }
}

async fn health_of_both(answers: Answers<Health>) -> Health {
    let [first, second] = answers;
    let (first, second) = futures::join!(first, second);
    let (mut health, other) = (first.unwrap_or_default(), second.unwrap_or_default());
    health.reachable |= other.reachable;
    health.peers = health.peers.saturating_add(other.peers);
    health.known = health.known.saturating_add(other.known);
    health.last_answer = [health.last_answer, other.last_answer].into_iter().flatten().min();
    health.node_id = format!("{}, {}", health.node_id, other.node_id);
    health.listening.extend(other.listening);
    let unknown = other.observed.into_iter().filter(|address| !health.observed.contains(address));
    let unknown: Vec<_> = unknown.collect();
    health.observed.extend(unknown);
    health.stored_values = health.stored_values.saturating_add(other.stored_values);
    health.listeners = health.listeners.saturating_add(other.listeners);
    health.published = health.published.max(other.published);
    health.listening_keys = health.listening_keys.max(other.listening_keys);
    health
}

/// Tells a listener what both networks tell, until it or both of them end. When the listener ends,
/// the engines find their outlets closed.
async fn merge(events: [mpsc::Receiver<ListenEvent>; 2], outlet: Outlet<ListenEvent>) {
    let [mut first, mut second] = events;
    let mut known = Known::default();
    let mut open = [true; 2];
    while open.contains(&true) {
        let (side, event) = tokio::select! {
            event = first.recv(), if open[0] => (0, event),
            event = second.recv(), if open[1] => (1, event),
            () = tokio::time::sleep(SWEEP_INTERVAL) => {
                if outlet.is_open() { continue } else { return }
            }
        };
        let Some(event) = event else {
            if let Some(open) = open.get_mut(side) {
                *open = false;
            }
            continue;
        };
        let Some(event) = known.news(side, event) else { continue };
        if !tell(&outlet, event).await {
            return;
        }
    }
}

/// Tells a listener, however long it takes; returns whether it is still there.
async fn tell(outlet: &Outlet<ListenEvent>, event: ListenEvent) -> bool {
    loop {
        match outlet.send(event.clone()).await {
            Ok(()) => return true,
            Err(SendError::Closed { .. }) => return false,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Which values a listener was told, and which networks have each.
#[derive(Debug, Default)]
struct Known {
    values: BTreeMap<Fingerprint, [bool; 2]>,
    refused: bool,
}

impl Known {
    /// What of an event the listener does not know yet.
    fn news(&mut self, side: usize, event: ListenEvent) -> Option<ListenEvent> {
        match event {
            ListenEvent::Values(mut values) => {
                values.retain(|value| self.found(side, value.fingerprint()));
                (!values.is_empty()).then_some(ListenEvent::Values(values))
            }
            ListenEvent::Expired(mut fingerprints) => {
                fingerprints.retain(|fingerprint| self.lost(side, fingerprint));
                (!fingerprints.is_empty()).then_some(ListenEvent::Expired(fingerprints))
            }
            ListenEvent::Refused(error) => {
                let first = !std::mem::replace(&mut self.refused, true);
                first.then_some(ListenEvent::Refused(error))
            }
        }
    }

    fn found(&mut self, side: usize, fingerprint: Fingerprint) -> bool {
        if self.values.len() >= MAX_KNOWN && !self.values.contains_key(&fingerprint) {
            return true;
        }
        let networks = self.values.entry(fingerprint).or_default();
        let news = !networks.contains(&true);
        if let Some(has) = networks.get_mut(side) {
            *has = true;
        }
        news
    }

    fn lost(&mut self, side: usize, fingerprint: &Fingerprint) -> bool {
        let Some(networks) = self.values.get_mut(fingerprint) else { return true };
        if let Some(has) = networks.get_mut(side) {
            *has = false;
        }
        let gone = !networks.contains(&true);
        if gone {
            self.values.remove(fingerprint);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skep_protocol::dht::content::Content;
    use skep_protocol::dht::value::ValueId;
    use skep_protocol::ids::DhtKey;

    use super::*;
    use crate::dht::messages::{ListenId, PutReport};

    const KEY: DhtKey = DhtKey([5; 20]);

    fn value(id: u64) -> Value {
        Value::plain(ValueId(id), Content::new(0, b"x".to_vec()))
    }

    fn values(ids: &[u64]) -> ListenEvent {
        ListenEvent::Values(ids.iter().map(|id| Arc::new(value(*id))).collect())
    }

    fn expired(ids: &[u64]) -> ListenEvent {
        ListenEvent::Expired(ids.iter().map(|id| value(*id).fingerprint()).collect())
    }

    /// The sender of a running [`share`], and what it hands to each side.
    fn sharing() -> (mpsc::Sender<DhtMessage>, [mpsc::Receiver<DhtMessage>; 2], LocalBoxFuture<'static, ()>) {
        let [(first, at_first), (second, at_second)] = [(); 2].map(|()| queue());
        let (sender, messages) = queue();
        (sender, [at_first, at_second], share(messages, [first, second]).boxed_local())
    }

    /// Runs a test beside the future that it tests.
    async fn beside(share: LocalBoxFuture<'static, ()>, test: impl Future<Output = ()>) {
        tokio::select! {
            () = share => panic!("ended too early"),
            () = test => {}
        }
    }

    async fn put_reply(side: &mut mpsc::Receiver<DhtMessage>) -> Reply<Result<PutReport, DhtError>> {
        match side.recv().await {
            Some(DhtMessage::Put { reply, .. }) => reply,
            other => panic!("{other:?}"),
        }
    }

    async fn get_reply(side: &mut mpsc::Receiver<DhtMessage>) -> Reply<Result<Found, DhtError>> {
        match side.recv().await {
            Some(DhtMessage::Get { reply, .. }) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_put_goes_to_both_and_the_first_success_answers() {
        let (sender, [mut first, mut second], share) = sharing();
        beside(share, async {
            let (reply, answer) = Reply::channel();
            let put = DhtMessage::Put { key: KEY, value: value(1), permanent: true, reply };
            sender.send(put).await.unwrap();
            put_reply(&mut first).await.send(Err(DhtError::Alone { waited: Duration::ZERO }));
            put_reply(&mut second).await.send(Ok(PutReport { stored: 3 }));
            assert_eq!(answer.await, Ok(Ok(PutReport { stored: 3 })));
        })
        .await;
    }

    #[tokio::test]
    async fn of_two_errors_the_one_that_says_more_answers() {
        let alone = || DhtError::Alone { waited: Duration::ZERO };
        for errors in [[alone(), DhtError::Cancelled], [DhtError::Cancelled, alone()]] {
            let (sender, [mut first, mut second], share) = sharing();
            beside(share, async {
                let (reply, answer) = Reply::channel();
                let put = DhtMessage::Put { key: KEY, value: value(1), permanent: true, reply };
                sender.send(put).await.unwrap();
                let [one, other] = errors;
                put_reply(&mut first).await.send(Err(one));
                put_reply(&mut second).await.send(Err(other));
                assert_eq!(answer.await, Ok(Err(DhtError::Cancelled)));
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_get_has_the_values_of_both_each_once() {
        let found =
            |ids: &[u64]| Ok(Found { values: ids.iter().map(|id| value(*id)).collect(), answered: 2 });
        // What the first side finds, what the second finds and when, and the ids of the answer.
        for (one, other, wait, expected) in [
            (found(&[1, 2]), found(&[2, 3]), 500, vec![1, 2, 3]),
            (found(&[1]), found(&[2]), 1500, vec![1]),
            (found(&[]), found(&[2]), 9000, vec![2]),
            (Err(DhtError::NoAnswer { asked: 3 }), found(&[2]), 9000, vec![2]),
            (found(&[1]), Err(DhtError::NoAnswer { asked: 3 }), 10, vec![1]),
        ] {
            let (sender, [mut first, mut second], share) = sharing();
            beside(share, async {
                let (reply, answer) = Reply::channel();
                sender.send(DhtMessage::Get { key: KEY, reply }).await.unwrap();
                get_reply(&mut first).await.send(one);
                let later = get_reply(&mut second).await;
                tokio::time::sleep(Duration::from_millis(wait)).await;
                later.send(other);
                let values = answer.await.unwrap().unwrap().values;
                assert_eq!(values.iter().map(|value| value.id.0).collect::<Vec<_>>(), expected);
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_listener_is_told_of_each_value_once_and_of_its_end_when_both_have_lost_it() {
        let (sender, [mut first, mut second], share) = sharing();
        beside(share, async {
            let (outlet, mut events) = Outlet::channel("test", 16);
            sender.send(DhtMessage::Listen { id: ListenId::unique(), key: KEY, outlet }).await.unwrap();
            let outlet = |message| match message {
                Some(DhtMessage::Listen { outlet, .. }) => outlet,
                other => panic!("{other:?}"),
            };
            let (first, second) = (outlet(first.recv().await), outlet(second.recv().await));
            first.send(values(&[1, 2])).await.unwrap();
            assert_eq!(events.recv().await, Some(values(&[1, 2])));
            second.send(values(&[2, 3])).await.unwrap();
            assert_eq!(events.recv().await, Some(values(&[3])));
            first.send(expired(&[1, 2])).await.unwrap();
            assert_eq!(events.recv().await, Some(expired(&[1])));
            second.send(expired(&[2])).await.unwrap();
            assert_eq!(events.recv().await, Some(expired(&[2])));
            first.send(values(&[2])).await.unwrap();
            assert_eq!(events.recv().await, Some(values(&[2])));
            drop(events);
            while first.send(values(&[9])).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn health_counts_both() {
        let (sender, [mut first, mut second], share) = sharing();
        beside(share, async {
            let (reply, answer) = Reply::channel();
            sender.send(DhtMessage::Health { reply }).await.unwrap();
            for (side, reachable) in [(&mut first, false), (&mut second, true)] {
                let Some(DhtMessage::Health { reply }) = side.recv().await else { panic!() };
                reply.send(Health { reachable, peers: 2, published: 5, ..Health::default() });
            }
            let health = answer.await.unwrap();
            assert!(health.reachable);
            assert_eq!((health.peers, health.published), (4, 5));
        })
        .await;
    }

    #[tokio::test]
    async fn both_end_when_nobody_asks_any_more() {
        let (sender, [mut first, mut second], share) = sharing();
        drop(sender);
        share.await;
        assert!(first.recv().await.is_none() && second.recv().await.is_none());
    }
}
