//! The keys this node listens at, and which peers were asked to tell.
//!
//! The [`LISTENED`] closest peers are asked; each is asked again before it would forget us, and so
//! is every peer that becomes one of the closest or comes back. Its answer lists what it keeps, so
//! that nothing is missed that came while we did not listen. What the peers tell is compared by
//! [`Subscriptions`]: a value is new once, however many tell it, and expired when none keeps it any
//! more (`spec: dht 6.2`). This node is one of the tellers, for the values it keeps itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::dht::subscriptions::{MAX_SUBSCRIPTIONS, SubscriptionEvent, Subscriptions};
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;

use super::publishing::PATIENCE;
use super::wire::Reason;
use crate::dht::messages::{DhtError, ListenEvent, ListenId};

/// How many peers are asked to tell: two more than OpenDHT asks (`spec: dht 6.2`), because here a
/// peer that vanished silently is noticed only at the next renewal.
pub(super) const LISTENED: usize = 6;

/// When a peer is asked again; less than half of the time for which it remembers us
/// ([`LISTENER_LIFETIME`](skep_protocol::dht::listeners::LISTENER_LIFETIME)), so that one lost
/// renewal does no harm. A connection tells both sides when the other is gone, so nothing is gained
/// by OpenDHT's 20 s.
const RENEWAL: Duration = Duration::from_secs(4 * 60);

/// When a peer that did not answer or had no room is asked again.
const RETRY: Duration = Duration::from_secs(60);

/// What is to be told, and to whom.
pub(super) type Told = (ListenId, ListenEvent);

/// What a peer says about the values it keeps.
#[derive(Debug)]
pub(super) enum News {
    /// It keeps these.
    Keeps(Vec<Value>),
    /// These live longer.
    Refreshed(Vec<ValueId>),
    /// It does not keep these any more.
    Expired(Vec<ValueId>),
}

/// All keys listened at.
#[derive(Debug)]
pub(super) struct Listening {
    local: PeerId,
    subscriptions: Subscriptions<PeerId>,
    listeners: BTreeMap<DhtKey, BTreeSet<ListenId>>,
    keys: BTreeMap<ListenId, DhtKey>,
    /// Peers asked that have not answered.
    asked: BTreeSet<(DhtKey, PeerId)>,
    /// Peers that do not tell, and when they are asked again.
    silent: BTreeMap<(DhtKey, PeerId), Moment>,
}

impl Listening {
    pub(super) fn new(local: PeerId) -> Self {
        Self {
            local,
            subscriptions: Subscriptions::renewed_every(RENEWAL),
            listeners: BTreeMap::new(),
            keys: BTreeMap::new(),
            asked: BTreeSet::new(),
            silent: BTreeMap::new(),
        }
    }

    /// Adds a listener. Returns whether it is the first at its key: a further one has missed what
    /// the first was told.
    pub(super) fn listen(&mut self, id: ListenId, key: DhtKey, now: Moment) -> Result<bool, DhtError> {
        let full = DhtError::TooMany { what: "keys listened at", limit: MAX_SUBSCRIPTIONS };
        if self.keys.len() >= MAX_SUBSCRIPTIONS {
            return Err(full);
        }
        self.subscriptions.subscribe(key).map_err(|_| full)?;
        self.subscriptions.answered(now, key, self.local);
        self.keys.insert(id, key);
        let listeners = self.listeners.entry(key).or_default();
        listeners.insert(id);
        Ok(listeners.len() == 1)
    }

    /// Removes a listener. If it was the last at its key, returns the peers to be told so.
    pub(super) fn cancel(&mut self, id: ListenId) -> Option<(DhtKey, Vec<PeerId>)> {
        let key = self.keys.remove(&id)?;
        let listeners = self.listeners.get_mut(&key)?;
        listeners.remove(&id);
        if !listeners.is_empty() {
            return None;
        }
        self.listeners.remove(&key);
        let peers = self.subscriptions.nodes(key).filter(|peer| **peer != self.local).copied().collect();
        self.subscriptions.cancel(key);
        self.asked.retain(|(asked, _)| *asked != key);
        self.silent.retain(|(silent, _), _| *silent != key);
        Some((key, peers))
    }

    pub(super) fn key_count(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn keys(&self) -> Vec<DhtKey> {
        self.listeners.keys().copied().collect()
    }

    pub(super) fn is_listening(&self, key: DhtKey) -> bool {
        self.listeners.contains_key(&key)
    }

    /// Whether `peer` was asked to tell about `key`.
    pub(super) fn is_asked(&self, key: DhtKey, peer: PeerId) -> bool {
        self.asked.contains(&(key, peer)) || self.subscriptions.nodes(key).any(|node| *node == peer)
    }

    /// Which of the closest peers must be asked to tell now, and which need not tell any more.
    pub(super) fn ask(&mut self, key: DhtKey, closest: &[PeerId], now: Moment) -> (Vec<PeerId>, Vec<PeerId>) {
        if !self.is_listening(key) {
            return (Vec::new(), Vec::new());
        }
        let telling: BTreeSet<PeerId> = self.subscriptions.nodes(key).copied().collect();
        let left = telling.iter().filter(|peer| **peer != self.local && !closest.contains(peer));
        let left: Vec<PeerId> = left.copied().collect();
        left.iter().for_each(|peer| self.subscriptions.lost(key, peer));
        let wanted = |peer: &&PeerId| {
            let place = (key, **peer);
            let silent = self.silent.get(&place).is_some_and(|until| *until > now);
            !silent && !telling.contains(*peer) && !self.asked.contains(&place)
        };
        let wanted: Vec<PeerId> = closest.iter().filter(wanted).copied().collect();
        for peer in &wanted {
            self.silent.remove(&(key, *peer));
            self.asked.insert((key, *peer));
        }
        (wanted, left)
    }

    /// A peer agreed to tell (the values it keeps follow as [`News`]), or did not (the reason if it
    /// gave one).
    pub(super) fn answered(
        &mut self,
        key: DhtKey,
        peer: PeerId,
        agreed: Result<(), Option<Reason>>,
        now: Moment,
    ) {
        if !self.asked.remove(&(key, peer)) || !self.is_listening(key) {
            return;
        }
        let pause = if agreed == Err(Some(Reason::TooOften)) { PATIENCE } else { RETRY };
        if agreed.is_err() || !self.subscriptions.answered(now, key, peer) {
            self.subscriptions.lost(key, &peer);
            self.silent.insert((key, peer), now.plus(pause));
        }
    }

    /// A peer that agreed to tell did not tell all: it is to be asked again.
    pub(super) fn broke_off(&mut self, key: DhtKey, peer: PeerId, now: Moment) {
        if self.is_listening(key) {
            self.subscriptions.lost(key, &peer);
            self.silent.insert((key, peer), now.plus(PATIENCE));
        }
    }

    /// A peer, or this node, tells of values; returns who must be told of what is new.
    pub(super) fn heard(&mut self, key: DhtKey, teller: PeerId, news: News, now: Moment) -> Vec<Told> {
        let events = match news {
            News::Keeps(values) => self.subscriptions.found(now, key, &teller, values),
            News::Expired(ids) => self.subscriptions.expired(key, &teller, &ids),
            News::Refreshed(ids) => {
                self.subscriptions.refreshed(now, key, &teller, &ids);
                Vec::new()
            }
        };
        self.tell(events)
    }

    /// A peer is gone or back, and our listenings with it perhaps lost.
    pub(super) fn lost(&mut self, peer: PeerId) {
        for key in self.listeners.keys() {
            self.subscriptions.lost(*key, &peer);
        }
        self.silent.retain(|(_, silent), _| *silent != peer);
    }

    /// Lets values expire; returns what is to be told, the peers to ask again, and the keys at which
    /// there are peers to ask anew.
    pub(super) fn tick(&mut self, now: Moment) -> (Vec<Told>, Vec<(DhtKey, PeerId)>, BTreeSet<DhtKey>) {
        let events = self.subscriptions.expire(now);
        let renew = self.subscriptions.due(now).into_iter().filter(|(_, peer)| *peer != self.local);
        let renew: Vec<_> = renew.filter(|place| !self.asked.contains(place)).collect();
        self.asked.extend(renew.iter().copied());
        let retry = self.silent.iter().filter(|(_, until)| **until <= now);
        // A renewal is the time to see who is the closest by now.
        let keys = renew.iter().map(|(key, _)| *key);
        let retry: BTreeSet<DhtKey> = retry.map(|((key, _), _)| *key).chain(keys).collect();
        self.silent.retain(|_, until| *until > now);
        (self.tell(events), renew, retry)
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.silent.values().min().copied().into_iter().chain(self.subscriptions.next_deadline()).min()
    }

    /// One event a listener and kind, in the order of what happened.
    fn tell(&self, events: Vec<SubscriptionEvent>) -> Vec<Told> {
        let mut told: Vec<(DhtKey, ListenEvent)> = Vec::new();
        for event in events {
            match (event, told.last_mut()) {
                (SubscriptionEvent::Found { key, value }, Some((last, ListenEvent::Values(values))))
                    if *last == key =>
                {
                    values.push(value);
                }
                (
                    SubscriptionEvent::Expired { key, fingerprint },
                    Some((last, ListenEvent::Expired(expired))),
                ) if *last == key => expired.push(fingerprint),
                (SubscriptionEvent::Found { key, value }, _) => {
                    told.push((key, ListenEvent::Values(vec![value])));
                }
                (SubscriptionEvent::Expired { key, fingerprint }, _) => {
                    told.push((key, ListenEvent::Expired(vec![fingerprint])));
                }
            }
        }
        let all = told.into_iter().flat_map(|(key, event)| {
            let listeners = self.listeners.get(&key).into_iter().flatten();
            listeners.map(move |listener| (*listener, event.clone()))
        });
        all.collect()
    }
}
