//! How the wishes of this node are carried out: whom to ask, and what to make of the answers.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::dht::store::Source;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;

use super::super::listening::{LISTENED, News, Told};
use super::super::outbox::Purpose;
use super::super::publishing::{PublicationId, REPLICAS};
use super::super::retrieving::Next;
use super::super::wire::{Entry, Reason, Request, Response};
use super::{Core, Output, admitted};
use crate::dht::messages::{ListenEvent, Ticket};

impl Core {
    /// Does what is to be done at a key, with the closest peers known now.
    pub(super) fn work_at(&mut self, key: DhtKey) {
        self.publishing.ids_at(key).into_iter().for_each(|id| self.publish(id));
        let tickets = self.retrieving.tickets().into_iter();
        let here: Vec<Ticket> = tickets.filter(|ticket| self.retrieving.key(*ticket) == Some(key)).collect();
        here.into_iter().for_each(|ticket| self.retrieve(ticket));
        self.listen_to_closest(key);
    }

    pub(super) fn work_everywhere(&mut self) {
        self.publishing.ids().into_iter().for_each(|id| self.publish(id));
        self.retrieving.tickets().into_iter().for_each(|ticket| self.retrieve(ticket));
        self.listening.keys().into_iter().for_each(|key| self.listen_to_closest(key));
    }

    /// The closest peers to a key; none while the first look-up of it is under way.
    pub(super) fn closest(&mut self, key: DhtKey, count: usize) -> Vec<PeerId> {
        if self.vicinity.start_search(key, self.now) {
            self.outputs.push_back(Output::Search(key));
        }
        if self.vicinity.is_unknown(key) {
            return Vec::new();
        }
        self.vicinity.closest(key, count, self.now)
    }

    pub(super) fn publish(&mut self, id: PublicationId) {
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
    pub(super) fn publish_due(&mut self) {
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

    pub(super) fn retrieve(&mut self, ticket: Ticket) {
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

    pub(super) fn listen_to_closest(&mut self, key: DhtKey) {
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

    pub(super) fn take_answer(&mut self, peer: PeerId, purpose: Purpose, response: Option<Response>) {
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
    pub(super) fn tell_again(&mut self, key: DhtKey, peer: PeerId) {
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
    pub(super) fn part_with(&mut self, peer: PeerId) {
        self.serving.lost(&peer);
        if self.vicinity.is_connected(&peer) {
            self.outputs.push_back(Output::Disconnect(peer));
        }
    }

    pub(super) fn stored(&mut self, peer: PeerId, id: PublicationId, response: Option<Response>) {
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

    pub(super) fn got(&mut self, peer: PeerId, ticket: Ticket, page: Option<(&[Vec<u8>], bool)>) {
        let Some(key) = self.retrieving.key(ticket) else { return };
        let page = page.map(|(values, more)| (admitted(key, values), last_id(values).filter(|_| more)));
        if let Next::Page(after) = self.retrieving.answered(ticket, peer, page, self.now) {
            self.send(peer, Request::Get { key, after: after.0 }, Purpose::Get(ticket));
        }
        self.retrieve(ticket);
    }

    pub(super) fn listened(&mut self, peer: PeerId, key: DhtKey, values: &[Vec<u8>], more: bool) {
        if !self.listening.is_asked(key, peer) {
            return;
        }
        self.hear(key, peer, News::Keeps(admitted(key, values)));
        if let Some(after) = last_id(values).filter(|_| more) {
            self.send(peer, Request::Get { key, after: after.0 }, Purpose::ListenPage(key));
        }
    }

    pub(super) fn hear(&mut self, key: DhtKey, teller: PeerId, news: News) {
        let told = self.listening.heard(key, teller, news, self.now);
        self.tell(told);
    }

    pub(super) fn tell(&mut self, told: Vec<Told>) {
        self.outputs.extend(told.into_iter().map(|(id, event)| Output::Told(id, event)));
    }

    pub(super) fn send(&mut self, peer: PeerId, request: Request, purpose: Purpose) {
        match self.outbox.push(peer, request, purpose) {
            Ok(parcel) => self.outputs.extend(parcel.map(Output::Send)),
            // Too much is waiting already; what matters is tried again later.
            Err(_) => self.overflowed(peer, purpose),
        }
    }

    pub(super) fn overflowed(&mut self, peer: PeerId, purpose: Purpose) {
        match purpose {
            Purpose::Store(id) => self.publishing.answered(id, peer, None, self.now),
            Purpose::Get(ticket) => drop(self.retrieving.answered(ticket, peer, None, self.now)),
            Purpose::Listen(key) => self.listening.answered(key, peer, Err(None), self.now),
            Purpose::ListenPage(key) => self.listening.broke_off(key, peer, self.now),
            Purpose::Notify(_) | Purpose::NotifyAgain(_) => self.part_with(peer),
            Purpose::Unlisten | Purpose::Ping => {}
        }
    }
}

/// Where the page after this one begins.
fn last_id(packed: &[Vec<u8>]) -> Option<ValueId> {
    packed.iter().rev().find_map(|packed| Value::decode(packed).ok()).map(|value| value.id)
}
