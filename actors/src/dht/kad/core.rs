//! The engine's decisions: requests, answers, peers and time go in; requests, answers and events
//! come out. It knows neither libp2p's swarm nor a clock, so its tests need neither.
//!
//! ```text
//!   put ──► publishing ─┐                          ┌─► serving ──► Notify to listeners
//!   get ──► retrieving ─┼─► vicinity ─► outbox ─►  peers
//!   listen ─► listening ┘   (closest)    (turns)   └─► answers ──► where the request came from
//! ```
//!
//! Here is what comes in; [`serve`] answers other nodes, [`act`] does what this one wants.

mod act;
mod serve;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::dht::kind::{self, ValueKind};
use skep_protocol::dht::store::Source;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;

use super::budget::Budget;
use super::listening::{Listening, News};
use super::outbox::{Outbox, Parcel, Purpose, RequestId};
use super::publishing::Publishing;
use super::retrieving::Retrieving;
use super::serving::Serving;
use super::vicinity::{PENALTY, Vicinity};
use super::wire::{Reason, Request, Response};
use crate::dht::messages::{DhtError, Found, ListenEvent, ListenId, PutReport, Ticket};

/// How often a peer is asked whether it is there, if nothing else was heard of any: the one heard of
/// longest ago. With a handful of peers that is less than one packet a second.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// After how long without an answer of anybody the network counts as out of reach: one probe may be
/// lost.
const REACHABLE: Duration = Duration::from_secs(75);

/// Shortest time between two looks at everything after peers came or went.
const REVIEW_INTERVAL: Duration = Duration::from_millis(250);

/// What the core wants done.
#[derive(Debug)]
pub(super) enum Output {
    /// Send a request; report its answer with [`Core::answered`].
    Send(Parcel),
    /// Look up the nodes close to a key; report them with [`Core::search_ended`].
    Search(DhtKey),
    /// Close the connections with a peer that does not answer although it is connected.
    Disconnect(PeerId),
    /// A put has an outcome.
    Put(Ticket, Result<PutReport, DhtError>),
    /// A get has an outcome.
    Got(Ticket, Result<Found, DhtError>),
    /// A listener is to be told.
    Told(ListenId, ListenEvent),
}

/// Counts of what the core holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) values: usize,
    pub(super) listeners: usize,
    pub(super) published: usize,
    pub(super) listening_keys: usize,
}

/// The state of the DHT node.
#[derive(Debug)]
pub(super) struct Core {
    local: PeerId,
    now: Moment,
    vicinity: Vicinity,
    publishing: Publishing,
    retrieving: Retrieving,
    listening: Listening,
    serving: Serving,
    outbox: Outbox,
    budget: Budget,
    outputs: VecDeque<Output>,
    /// Gets made for a listener that joined others at its key.
    catching_up: BTreeMap<Ticket, ListenId>,
    last_ticket: u64,
    /// When each connected peer was last heard of.
    heard: BTreeMap<PeerId, Moment>,
    last_answer: Option<Moment>,
    next_probe: Moment,
    /// When everything is to be looked at because peers came or went.
    review: Option<Moment>,
    last_review: Moment,
}

impl Core {
    pub(super) fn new(local: PeerId, now: Moment) -> Self {
        Self {
            local,
            now,
            vicinity: Vicinity::new(local),
            publishing: Publishing::default(),
            retrieving: Retrieving::default(),
            listening: Listening::new(local),
            serving: Serving::new(),
            outbox: Outbox::default(),
            budget: Budget::default(),
            outputs: VecDeque::new(),
            catching_up: BTreeMap::new(),
            last_ticket: 0,
            heard: BTreeMap::new(),
            last_answer: None,
            next_probe: now.plus(PROBE_INTERVAL),
            review: None,
            last_review: now,
        }
    }

    // What this node wants.

    /// Publishes a value. The outcome comes as [`Output::Put`].
    pub(super) fn put(
        &mut self,
        now: Moment,
        key: DhtKey,
        value: Value,
        permanent: bool,
    ) -> Result<Ticket, DhtError> {
        self.now = now;
        let (notices, kept) = self.serving.store(key, value.clone(), Source::Local, Duration::ZERO, now);
        self.announce(notices);
        kept.map_err(|refusal| DhtError::Value(refusal.to_string()))?;
        let ticket = self.ticket();
        let before = self.publishing.put(key, Arc::new(value), permanent, ticket, now)?;
        self.outputs.extend(before.map(|(ticket, result)| Output::Put(ticket, result)));
        self.publish_due();
        Ok(ticket)
    }

    /// Stops publishing a value.
    pub(super) fn cancel_put(&mut self, now: Moment, key: DhtKey, id: ValueId) {
        self.now = now;
        let answer = self.publishing.cancel((key, id));
        self.outputs.extend(answer.map(|(ticket, result)| Output::Put(ticket, result)));
    }

    /// Asks for the values at a key. The outcome comes as [`Output::Got`].
    pub(super) fn get(&mut self, now: Moment, key: DhtKey) -> Result<Ticket, DhtError> {
        self.now = now;
        let ticket = self.ticket();
        let own = self.serving.values(key, now).iter().map(|value| Value::clone(value)).collect();
        self.retrieving.get(ticket, key, own, now)?;
        self.retrieve(ticket);
        Ok(ticket)
    }

    /// Listens at a key. What is there comes as [`Output::Told`].
    pub(super) fn listen(&mut self, now: Moment, id: ListenId, key: DhtKey) -> Result<(), DhtError> {
        self.now = now;
        if self.listening.listen(id, key, now)? {
            let own = self.serving.values(key, now).iter().map(|value| Value::clone(value)).collect();
            self.hear(key, self.local, News::Keeps(own));
            self.listen_to_closest(key);
        } else if let Ok(ticket) = self.get(now, key) {
            self.catching_up.insert(ticket, id);
        }
        Ok(())
    }

    /// Ends a listening.
    pub(super) fn cancel_listen(&mut self, now: Moment, id: ListenId) {
        self.now = now;
        if let Some((key, peers)) = self.listening.cancel(id) {
            peers.into_iter().for_each(|peer| self.send(peer, Request::Unlisten { key }, Purpose::Unlisten));
        }
    }

    // What happens.

    /// A peer that speaks our protocol is connected.
    pub(super) fn connected(&mut self, now: Moment, peer: PeerId) {
        self.now = now;
        if self.vicinity.connected(peer) {
            self.heard.insert(peer, now);
            self.publishing.lost(&peer);
            self.listening.lost(peer);
            self.send(peer, Request::Ping, Purpose::Ping);
            self.plan_review(now);
        }
    }

    /// The last connection with a peer is gone.
    pub(super) fn disconnected(&mut self, now: Moment, peer: PeerId) {
        self.now = now;
        self.heard.remove(&peer);
        self.budget.forget(&peer);
        self.serving.lost(&peer);
        self.listening.lost(peer);
        self.publishing.lost(&peer);
        if self.vicinity.disconnected(&peer) {
            self.plan_review(now);
        }
    }

    /// A look-up has ended.
    pub(super) fn search_ended(&mut self, now: Moment, key: DhtKey, found: Vec<PeerId>) {
        self.now = now;
        self.vicinity.search_ended(key, found, now);
        self.work_at(key);
    }

    /// A peer asks; what to answer.
    pub(super) fn asked(&mut self, now: Moment, peer: PeerId, request: Request) -> Response {
        self.now = now;
        if !self.budget.spend(peer, now) {
            return Response::Declined(Reason::TooOften);
        }
        if let Some(heard) = self.heard.get_mut(&peer) {
            *heard = now;
        }
        match request {
            Request::Store { key, entries } => self.keep(peer, key, entries),
            Request::Get { key, after } => self.page(key, ValueId(after)),
            Request::Listen { key } => match self.serving.listen(key, peer, now) {
                Ok(()) => self.page(key, ValueId::NONE),
                Err(reason) => Response::Declined(reason),
            },
            Request::Unlisten { key } => {
                self.serving.unlisten(key, peer);
                Response::Done
            }
            Request::Notify { key, values, refreshed, expired } => {
                self.notified(peer, key, &values, &refreshed, &expired)
            }
            Request::Ping => Response::Done,
        }
    }

    /// A request was answered; `None` if it failed.
    pub(super) fn answered(&mut self, now: Moment, id: RequestId, response: Option<Response>) {
        self.now = now;
        let Some((peer, purpose, next)) = self.outbox.finish(id) else { return };
        self.outputs.extend(next.map(Output::Send));
        if response.is_some() {
            self.last_answer = Some(now);
            self.vicinity.answered(&peer);
            if let Some(heard) = self.heard.get_mut(&peer) {
                *heard = now;
            }
        } else {
            self.was_silent(peer, purpose);
        }
        self.take_answer(peer, purpose, response);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Moment) {
        self.now = now;
        let notices = self.serving.tick(now);
        self.announce(notices);
        let (told, renew, retry) = self.listening.tick(now);
        self.tell(told);
        for (key, peer) in renew {
            self.send(peer, Request::Listen { key }, Purpose::Listen(key));
        }
        retry.into_iter().for_each(|key| self.listen_to_closest(key));
        self.publish_due();
        self.retrieving.due(now).into_iter().for_each(|ticket| self.retrieve(ticket));
        if self.review.is_some_and(|review| review <= now) {
            self.review = None;
            self.last_review = now;
            self.work_everywhere();
        }
        if self.next_probe <= now {
            self.probe();
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let deadlines = [
            self.serving.deadline(),
            self.listening.deadline(),
            self.publishing.deadline(),
            self.retrieving.deadline(),
            self.review,
            (!self.heard.is_empty()).then_some(self.next_probe),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The next thing to do.
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether another node answered recently, and when the last one did.
    pub(super) fn reachable(&self, now: Moment) -> (bool, Option<Moment>) {
        let recent = self.last_answer.is_some_and(|answer| now.since(answer) <= REACHABLE);
        (recent && self.vicinity.peer_count() > 0, self.last_answer)
    }

    pub(super) fn peer_count(&self) -> usize {
        self.vicinity.peer_count()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            values: self.serving.value_count(),
            listeners: self.serving.listener_count(),
            published: self.publishing.count(),
            listening_keys: self.listening.key_count(),
        }
    }

    // How peers are watched.

    fn was_silent(&mut self, peer: PeerId, purpose: Purpose) {
        self.vicinity.was_silent(peer, self.now);
        let again = self.now.plus(PENALTY);
        self.review = Some(self.review.map_or(again, |review| review.min(again)));
        if !self.vicinity.is_connected(&peer) {
            return;
        }
        if purpose == Purpose::Ping {
            self.outputs.push_back(Output::Disconnect(peer));
        } else {
            self.send(peer, Request::Ping, Purpose::Ping);
        }
    }

    fn probe(&mut self) {
        self.next_probe = self.now.plus(PROBE_INTERVAL);
        let old = |moment: Moment| self.now.since(moment) >= PROBE_INTERVAL;
        let longest_ago = self.heard.iter().min_by_key(|(_, heard)| **heard);
        let silent = longest_ago.filter(|(_, heard)| old(**heard) || self.last_answer.is_none_or(old));
        if let Some(peer) = silent.map(|(peer, _)| *peer) {
            self.send(peer, Request::Ping, Purpose::Ping);
        }
    }

    fn plan_review(&mut self, now: Moment) {
        let soon = self.last_review.plus(REVIEW_INTERVAL).max(now);
        self.review = Some(self.review.map_or(soon, |review| review.min(soon)));
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        Ticket(self.last_ticket)
    }
}

/// The values among these that may be at `key`; the others are passed over.
fn admitted(key: DhtKey, packed: &[Vec<u8>]) -> Vec<Value> {
    let values = packed.iter().filter_map(|packed| Value::decode(packed).ok());
    values
        .filter_map(|value| match value.kind() {
            // Its address was filled in and checked by the node that keeps it.
            ValueKind::IpService => Some(value),
            _ => kind::admit(key, value, None).ok(),
        })
        .collect()
}
