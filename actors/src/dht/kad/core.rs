//! The engine's decisions: requests, answers, peers and time go in; requests, answers and events
//! come out. It knows neither libp2p's swarm nor a clock, so its tests need neither.
//!
//! ```text
//!   put ──► publishing ─┐                          ┌─► serving ──► Notify to listeners
//!   get ──► retrieving ─┼─► vicinity ─► outbox ─►  peers
//!   listen ─► listening ┘   (closest)    (turns)   └─► answers ──► where the request came from
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::dht::kind::{self, ValueKind};
use skep_protocol::dht::listeners::Change;
use skep_protocol::dht::store::Source;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;

use super::budget::Budget;
use super::listening::{LISTENED, Listening, News, Told};
use super::outbox::{Outbox, Parcel, Purpose, RequestId};
use super::publishing::{PublicationId, Publishing, REPLICAS};
use super::retrieving::{Next, Retrieving};
use super::serving::{Notice, Serving};
use super::vicinity::{PENALTY, Vicinity};
use super::wire::{Entry, Reason, Request, Response};
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

    // How a request of another node is served.

    fn keep(&mut self, peer: PeerId, key: DhtKey, entries: Vec<Entry>) -> Response {
        let ours = self.vicinity.is_ours(key);
        let mut refused = Vec::new();
        for entry in entries {
            let Ok(value) = Value::decode(&entry.packed) else { continue };
            let id = value.id.0;
            if !ours {
                refused.push((id, Reason::TooFar));
                continue;
            }
            let (notices, kept) = self.serving.store(key, value, Source::Remote(peer), entry.age, self.now);
            self.announce(notices);
            refused.extend(kept.err().map(|refusal| (id, Reason::from(&refusal))));
        }
        Response::Stored { refused }
    }

    fn page(&self, key: DhtKey, after: ValueId) -> Response {
        let (values, more) = self.serving.page(key, after, self.now);
        Response::Values { values, more }
    }

    fn notified(
        &mut self,
        peer: PeerId,
        key: DhtKey,
        values: &[Vec<u8>],
        refreshed: &[u64],
        expired: &[u64],
    ) -> Response {
        if !self.listening.is_asked(key, peer) {
            return Response::Declined(Reason::NotListening);
        }
        let ids = |ids: &[u64]| ids.iter().map(|id| ValueId(*id)).collect();
        self.hear(key, peer, News::Keeps(admitted(key, values)));
        self.hear(key, peer, News::Refreshed(ids(refreshed)));
        self.hear(key, peer, News::Expired(ids(expired)));
        Response::Done
    }

    /// Tells those who listen here, this node among them, of changes.
    fn announce(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            let request = notice.request();
            for peer in &notice.peers {
                self.send(*peer, request.clone(), Purpose::Notify(notice.key));
            }
            if self.listening.is_listening(notice.key) {
                let news = match notice.change {
                    Change::Stored(value) => News::Keeps(vec![Value::clone(&value)]),
                    Change::Refreshed(ids) => News::Refreshed(ids),
                    Change::Expired(ids) => News::Expired(ids),
                };
                self.hear(notice.key, self.local, news);
            }
        }
    }

    // How the wishes of this node are carried out.

    /// Does what is to be done at a key, with the closest peers known now.
    fn work_at(&mut self, key: DhtKey) {
        self.publishing.ids_at(key).into_iter().for_each(|id| self.publish(id));
        let tickets = self.retrieving.tickets().into_iter();
        let here: Vec<Ticket> = tickets.filter(|ticket| self.retrieving.key(*ticket) == Some(key)).collect();
        here.into_iter().for_each(|ticket| self.retrieve(ticket));
        self.listen_to_closest(key);
    }

    fn work_everywhere(&mut self) {
        self.publishing.ids().into_iter().for_each(|id| self.publish(id));
        self.retrieving.tickets().into_iter().for_each(|ticket| self.retrieve(ticket));
        self.listening.keys().into_iter().for_each(|key| self.listen_to_closest(key));
    }

    /// The closest peers to a key; none while the first look-up of it is under way.
    fn closest(&mut self, key: DhtKey, count: usize) -> Vec<PeerId> {
        if self.vicinity.start_search(key, self.now) {
            self.outputs.push_back(Output::Search(key));
        }
        if self.vicinity.is_unknown(key) {
            return Vec::new();
        }
        self.vicinity.closest(key, count, self.now)
    }

    fn publish(&mut self, id: PublicationId) {
        let closest = self.closest(id.0, REPLICAS);
        if let Some(delivery) = self.publishing.deliver(id, &closest, self.now) {
            let entry = Entry { age: delivery.age, packed: delivery.value.encode() };
            for peer in delivery.peers {
                let request = Request::Store { key: id.0, entries: vec![entry.clone()] };
                self.send(peer, request, Purpose::Store(id));
            }
        }
        let answer = self.publishing.settle(id, closest.len(), self.now);
        self.outputs.extend(answer.map(|(ticket, result)| Output::Put(ticket, result)));
    }

    /// Publishes what has its time now; own values live on here as well.
    fn publish_due(&mut self) {
        for (id, value, again) in self.publishing.announce(self.now) {
            if again {
                let (value, age) = (Value::clone(&value), Duration::ZERO);
                let (notices, _) = self.serving.store(id.0, value, Source::Local, age, self.now);
                self.announce(notices);
            }
            self.publish(id);
        }
        self.publishing.due(self.now).into_iter().for_each(|id| self.publish(id));
    }

    fn retrieve(&mut self, ticket: Ticket) {
        let Some(key) = self.retrieving.key(ticket) else { return };
        let closest = self.closest(key, REPLICAS);
        for peer in self.retrieving.ask(ticket, &closest) {
            self.send(peer, Request::Get { key, after: 0 }, Purpose::Get(ticket));
        }
        let searching = self.vicinity.is_unknown(key);
        let Some(result) = self.retrieving.settle(ticket, closest.len(), searching, self.now) else { return };
        let Some(listener) = self.catching_up.remove(&ticket) else {
            self.outputs.push_back(Output::Got(ticket, result));
            return;
        };
        let values = result.map(|found| found.values).unwrap_or_default();
        if !values.is_empty() {
            let values = values.into_iter().map(Arc::new).collect();
            self.outputs.push_back(Output::Told(listener, ListenEvent::Values(values)));
        }
    }

    fn listen_to_closest(&mut self, key: DhtKey) {
        if !self.listening.is_listening(key) {
            return;
        }
        let closest = self.closest(key, LISTENED);
        if closest.is_empty() {
            return;
        }
        let (wanted, left) = self.listening.ask(key, &closest, self.now);
        for peer in wanted {
            self.send(peer, Request::Listen { key }, Purpose::Listen(key));
        }
        for peer in left {
            self.send(peer, Request::Unlisten { key }, Purpose::Unlisten);
        }
    }

    fn take_answer(&mut self, peer: PeerId, purpose: Purpose, response: Option<Response>) {
        match (purpose, response) {
            (Purpose::Store(id), response) => self.stored(peer, id, response),
            (Purpose::Get(ticket), Some(Response::Values { values, more })) => {
                self.got(peer, ticket, Some((&values, more)));
            }
            (Purpose::Get(ticket), _) => self.got(peer, ticket, None),
            (Purpose::Listen(key), Some(Response::Values { values, more })) => {
                self.listening.answered(key, peer, Ok(()), self.now);
                self.listened(peer, key, &values, more);
            }
            (Purpose::Listen(key), response) => {
                let reason =
                    if let Some(Response::Declined(reason)) = response { Some(reason) } else { None };
                self.listening.answered(key, peer, Err(reason), self.now);
                self.listen_to_closest(key);
            }
            (Purpose::ListenPage(key), Some(Response::Values { values, more })) => {
                self.listened(peer, key, &values, more);
            }
            (Purpose::ListenPage(key), _) => self.listening.broke_off(key, peer, self.now),
            (
                Purpose::Notify(key) | Purpose::NotifyAgain(key),
                Some(Response::Declined(Reason::NotListening)),
            ) => {
                self.serving.unlisten(key, peer);
            }
            (Purpose::Notify(key), None | Some(Response::Declined(_))) => self.tell_again(key, peer),
            (Purpose::NotifyAgain(_), None | Some(Response::Declined(_))) => self.part_with(peer),
            (Purpose::Notify(_) | Purpose::NotifyAgain(_) | Purpose::Unlisten | Purpose::Ping, _) => {}
        }
    }

    /// A peer missed a change: it is told all there is.
    fn tell_again(&mut self, key: DhtKey, peer: PeerId) {
        if !self.vicinity.is_connected(&peer) {
            self.serving.unlisten(key, peer);
            return;
        }
        let (values, _) = self.serving.page(key, ValueId::NONE, self.now);
        let request = Request::Notify { key, values, refreshed: Vec::new(), expired: Vec::new() };
        self.send(peer, request, Purpose::NotifyAgain(key));
    }

    /// Ends the connection with a peer that cannot be told what it wants to know: it will notice,
    /// come back and ask again, which it would not do if it were just forgotten.
    fn part_with(&mut self, peer: PeerId) {
        self.serving.lost(&peer);
        if self.vicinity.is_connected(&peer) {
            self.outputs.push_back(Output::Disconnect(peer));
        }
    }

    fn stored(&mut self, peer: PeerId, id: PublicationId, response: Option<Response>) {
        let answer = response.map(|response| match response {
            Response::Stored { refused } => match refused.first() {
                Some((_, reason)) => Err(*reason),
                None => Ok(()),
            },
            Response::Declined(reason) => Err(reason),
            Response::Values { .. } | Response::Done => Err(Reason::Unknown),
        });
        self.publishing.answered(id, peer, answer, self.now);
        self.publish(id);
    }

    fn got(&mut self, peer: PeerId, ticket: Ticket, page: Option<(&[Vec<u8>], bool)>) {
        let Some(key) = self.retrieving.key(ticket) else { return };
        let page = page.map(|(values, more)| (admitted(key, values), last_id(values).filter(|_| more)));
        if let Next::Page(after) = self.retrieving.answered(ticket, peer, page, self.now) {
            self.send(peer, Request::Get { key, after: after.0 }, Purpose::Get(ticket));
        }
        self.retrieve(ticket);
    }

    fn listened(&mut self, peer: PeerId, key: DhtKey, values: &[Vec<u8>], more: bool) {
        if !self.listening.is_asked(key, peer) {
            return;
        }
        self.hear(key, peer, News::Keeps(admitted(key, values)));
        if let Some(after) = last_id(values).filter(|_| more) {
            self.send(peer, Request::Get { key, after: after.0 }, Purpose::ListenPage(key));
        }
    }

    fn hear(&mut self, key: DhtKey, teller: PeerId, news: News) {
        let told = self.listening.heard(key, teller, news, self.now);
        self.tell(told);
    }

    fn tell(&mut self, told: Vec<Told>) {
        self.outputs.extend(told.into_iter().map(|(id, event)| Output::Told(id, event)));
    }

    fn send(&mut self, peer: PeerId, request: Request, purpose: Purpose) {
        match self.outbox.push(peer, request, purpose) {
            Ok(parcel) => self.outputs.extend(parcel.map(Output::Send)),
            // Too much is waiting already; what matters is tried again later.
            Err(_) => self.overflowed(peer, purpose),
        }
    }

    fn overflowed(&mut self, peer: PeerId, purpose: Purpose) {
        match purpose {
            Purpose::Store(id) => self.publishing.answered(id, peer, None, self.now),
            Purpose::Get(ticket) => drop(self.retrieving.answered(ticket, peer, None, self.now)),
            Purpose::Listen(key) => self.listening.answered(key, peer, Err(None), self.now),
            Purpose::ListenPage(key) => self.listening.broke_off(key, peer, self.now),
            Purpose::Notify(_) | Purpose::NotifyAgain(_) => self.part_with(peer),
            Purpose::Unlisten | Purpose::Ping => {}
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

/// Where the page after this one begins.
fn last_id(packed: &[Vec<u8>]) -> Option<ValueId> {
    packed.iter().rev().find_map(|packed| Value::decode(packed).ok()).map(|value| value.id)
}
