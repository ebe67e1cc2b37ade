//! Answers to our requests, and what follows when none comes.

use std::net::SocketAddr;

use super::{Family, MAX_VIEWS, NodeKey, OpenDhtNode, Purpose, Status, node_of};
use crate::dht::opendht::compact::Contact;
use crate::dht::opendht::packet::{Body, ErrorReply, Packet, Reply};
use crate::dht::opendht::requests::{Open, Overdue};
use crate::dht::opendht::search::SearchKey;
use crate::dht::opendht::table::Offer;
use crate::dht::value::ValueId;

impl OpenDhtNode {
    /// Takes a reply or an error.
    pub(super) fn take_answer(&mut self, source: SocketAddr, packet: Packet) {
        let now = self.now.moment;
        let Some(open) = self.requests.answered(source, packet.transaction) else { return };
        self.ended(&open);
        let held = self.addresses.prove(now, source);
        let node = NodeKey { family: Family::of(&source), id: packet.sender };
        let expected = node_of(&open.receiver);
        if expected.is_some_and(|expected| expected != node) {
            // Another node is at this address now.
            self.failed(&open);
            expected.into_iter().for_each(|expected| self.lose(expected));
            self.meet(source, packet.sender, !packet.client);
        } else {
            self.last_answer = Some(now);
            if !packet.client {
                self.confirm(node, source);
            }
            match packet.body {
                Body::Reply(reply) => self.take_reply(node, &open, reply),
                Body::Error(error) => self.take_error(node, &open, &error),
                Body::Request(_) | Body::Notice { .. } => {}
            }
        }
        for packet in held {
            self.serve(source, packet, 0);
        }
    }

    /// A node answered: it gets a place, if there is one, and becomes a candidate of the searches that
    /// are close to it.
    fn confirm(&mut self, node: NodeKey, source: SocketAddr) {
        let now = self.now.moment;
        self.nodes.mention(node, source);
        if self.nodes.get(node).is_none_or(|known| known.address != source) {
            return;
        }
        let news = self.nodes.answered(now, node);
        let offer = self.tables.get_mut(&node.family).map(|table| {
            let offer = table.offer(now, &self.nodes, node.id);
            table.answered(now, node.id);
            offer
        });
        if let Some(Offer::Doubted(doubted)) = offer {
            self.check(NodeKey { id: doubted, ..node });
        }
        if news {
            let concerned = self.searches.insert(node);
            self.dirty.extend(concerned);
        }
        if self.status.get(&node.family) != Some(&Status::Connected) {
            self.review_status(node.family);
        }
    }

    fn take_reply(&mut self, node: NodeKey, open: &Open<Purpose>, reply: Reply) {
        let now = self.now.moment;
        if let Some(view) = reply.seen {
            self.views.push_back(view);
            if self.views.len() > MAX_VIEWS {
                self.views.pop_front();
            }
        }
        let has_token = reply.token.is_some();
        if let Some(token) = reply.token {
            self.nodes.gave_token(now, node, token);
        }
        let contacts: Vec<Contact> = reply.ipv4.into_iter().chain(reply.ipv6).collect();
        match open.purpose {
            Purpose::Proof => self.upkeep.strangers = self.upkeep.strangers.saturating_sub(1),
            Purpose::Check | Purpose::Bootstrap | Purpose::Update { .. } => {}
            Purpose::Explore => self.hear_of(&contacts, None),
            Purpose::Search(search)
            | Purpose::List { search, .. }
            | Purpose::Verify { search, .. }
            | Purpose::Fetch { search, .. }
                if !has_token =>
            {
                // What it says is worth nothing: one cannot write there.
                self.failed(open);
                self.dirty.insert(search);
                self.lose(node);
            }
            Purpose::Search(search) => self.searched(search, node, &contacts),
            Purpose::List { search, operation } => {
                self.searched(search, node, &contacts);
                let rows = reply.fields.map(|table| table.rows).unwrap_or_default();
                let ids = rows.iter().filter_map(|row| row.id);
                let values = self.admitted(search.key, reply.values);
                self.getting.listed(operation, node, ids, values);
            }
            Purpose::Fetch { search, operation, id } => {
                let values = self.admitted(search.key, reply.values);
                self.getting.fetched(operation, node, id, values);
                self.dirty.insert(search);
            }
            Purpose::Verify { search, id } => {
                self.searched(search, node, &contacts);
                let rows = reply.fields.map(|table| table.rows).unwrap_or_default();
                let row = rows.iter().find(|row| row.id == Some(id));
                let current = row.is_some_and(|row| self.publishing.is_current(search.key, id, row.sequence));
                if current { self.refresh(search, node, id) } else { self.put_again(search, node, id) }
            }
            Purpose::Put { search, id } | Purpose::Refresh { search, id } => {
                self.nodes.took_token(node);
                self.kept(search, node, id, reply.stored);
            }
            Purpose::Listen { search } => {
                self.nodes.took_token(node);
                self.listening.answered(now, search.key, node);
            }
        }
    }

    /// A node close to a key named others.
    fn searched(&mut self, name: SearchKey, node: NodeKey, contacts: &[Contact]) {
        if let Some(search) = self.searches.get_mut(name) {
            search.answered(self.now.moment, node.id);
        }
        self.dirty.insert(name);
        self.hear_of(contacts, Some(name));
    }

    fn kept(&mut self, search: SearchKey, node: NodeKey, id: ValueId, stored: Option<ValueId>) {
        if stored.is_none_or(|stored| stored == id) {
            self.publishing.kept(search.key, id, node);
        } else {
            self.publishing.refused(self.now.moment, search.key, id, node);
        }
        self.dirty.insert(search);
    }

    /// Other nodes were named: they become candidates of the search if they are close enough, and are
    /// asked whether they are there if the table has room.
    fn hear_of(&mut self, contacts: &[Contact], name: Option<SearchKey>) {
        for Contact { id, address } in contacts.iter().copied() {
            let node = NodeKey { family: Family::of(&address), id };
            let Some(table) = self.tables.get(&node.family) else { continue };
            if id == self.id {
                continue;
            }
            let wanted = self.nodes.get(node).is_none() && table.wants(self.now.moment, &self.nodes, id);
            let name = name.map(|name| SearchKey { family: node.family, ..name });
            if let Some(search) = name.and_then(|name| self.searches.get_mut(name))
                && search.has_room_for(id)
                && self.nodes.mention(node, address)
                && search.insert(id)
            {
                self.dirty.extend(name);
            }
            if wanted {
                self.prove(address, Some(id));
            }
        }
    }

    fn take_error(&mut self, node: NodeKey, open: &Open<Purpose>, error: &ErrorReply) {
        match (open.purpose, error.code) {
            (Purpose::Put { search, id } | Purpose::Refresh { search, id }, ErrorReply::UNAUTHORIZED) => {
                self.publishing.unanswered(search.key, id, node);
                self.token_refused(search, node);
            }
            (Purpose::Listen { search }, ErrorReply::UNAUTHORIZED) => {
                self.listening.lost(search.key, node);
                self.token_refused(search, node);
            }
            (Purpose::Refresh { search, id }, ErrorReply::NOT_FOUND) => self.put_again(search, node, id),
            (
                Purpose::Put { search, id }
                | Purpose::Refresh { search, id }
                | Purpose::Verify { search, id },
                _,
            ) => {
                self.publishing.refused(self.now.moment, search.key, id, node);
                self.dirty.insert(search);
            }
            // A node that does not want to tell is not asked again while it is among the closest.
            (Purpose::Listen { .. }, _) => {}
            (_, _) => self.failed(open),
        }
    }

    /// The search asks for another token, and then what was refused is sent again.
    fn token_refused(&mut self, search: SearchKey, node: NodeKey) {
        self.dirty.insert(search);
        if self.nodes.refused_token(node) {
            self.lose(node);
        }
    }

    /// Sends the requests that wait for long again, and gives up those that waited too long.
    pub(super) fn repeat_requests(&mut self) {
        let now = self.now.moment;
        while let Some(overdue) = self.requests.overdue(now, &mut self.random) {
            match overdue {
                Overdue::Resend(open) => {
                    let late = node_of(&open.receiver).is_some_and(|node| self.nodes.overdue(node));
                    if late {
                        self.dirty.extend(open.purpose.search());
                    }
                    self.send(open.receiver.address, open.transaction, Body::Request(open.request));
                }
                Overdue::GivenUp(open) => {
                    self.ended(&open);
                    self.failed(&open);
                    if !matches!(open.purpose, Purpose::Proof) {
                        node_of(&open.receiver).into_iter().for_each(|node| self.lose(node));
                    }
                }
            }
        }
    }

    /// A node does not answer any more.
    pub(super) fn lose(&mut self, node: NodeKey) {
        let address = self.nodes.address(node);
        if !self.nodes.expire(node) {
            return;
        }
        for open in address.map(|address| self.requests.give_up(address)).unwrap_or_default() {
            self.ended(&open);
            self.failed(&open);
        }
        let waiting = self.tables.get_mut(&node.family).and_then(|table| table.expired(node.id));
        if let Some(waiting) = waiting.map(|id| NodeKey { id, ..node })
            && let Some(address) = self.nodes.address(waiting)
        {
            self.prove(address, Some(waiting.id));
        }
        for name in self.searches.remove(node) {
            self.publishing.lost(name.key, node);
            self.listening.lost(name.key, node);
            self.dirty.insert(name);
        }
        self.review_status(node.family);
    }

    /// A request came to nothing.
    fn failed(&mut self, open: &Open<Purpose>) {
        if let Purpose::Update { subscriber } = open.purpose {
            self.serving.forget(subscriber);
        } else if matches!(open.purpose, Purpose::Proof) {
            self.upkeep.strangers = self.upkeep.strangers.saturating_sub(1);
        } else if let Some(node) = node_of(&open.receiver) {
            self.undo(node, open.purpose);
            self.dirty.extend(open.purpose.search());
        }
    }

    /// Lets what a request was for be tried anew.
    pub(super) fn undo(&mut self, node: NodeKey, purpose: Purpose) {
        match purpose {
            Purpose::Search(search) => self.unasked(search, node),
            Purpose::List { search, operation } => {
                self.unasked(search, node);
                self.getting.failed(operation, node);
            }
            Purpose::Fetch { operation, id, .. } => self.getting.fetched(operation, node, id, Vec::new()),
            Purpose::Verify { search, id }
            | Purpose::Put { search, id }
            | Purpose::Refresh { search, id } => {
                self.publishing.unanswered(search.key, id, node);
            }
            Purpose::Listen { search } => self.listening.postponed(search.key, node),
            Purpose::Proof
            | Purpose::Check
            | Purpose::Bootstrap
            | Purpose::Explore
            | Purpose::Update { .. } => {}
        }
    }

    fn unasked(&mut self, name: SearchKey, node: NodeKey) {
        if let Some(search) = self.searches.get_mut(name) {
            search.unanswered(node.id);
        }
    }
}

impl Purpose {
    /// The search that a request belongs to.
    const fn search(self) -> Option<SearchKey> {
        match self {
            Self::Search(search)
            | Self::List { search, .. }
            | Self::Fetch { search, .. }
            | Self::Verify { search, .. }
            | Self::Put { search, .. }
            | Self::Refresh { search, .. }
            | Self::Listen { search } => Some(search),
            Self::Proof | Self::Check | Self::Bootstrap | Self::Explore | Self::Update { .. } => None,
        }
    }
}
