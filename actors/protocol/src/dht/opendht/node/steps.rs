//! What is wanted at a key becomes requests to the nodes close to it.

use std::collections::BTreeSet;

use super::{Family, NodeKey, OpenDhtNode, Purpose, STALL, SearchKey, Status};
use crate::dht::filter::Filter;
use crate::dht::opendht::listening::LISTENED;
use crate::dht::opendht::nodes::distance;
use crate::dht::opendht::operation::OperationId;
use crate::dht::opendht::packet::{ListenVersion, Request, SocketId, Want};
use crate::dht::opendht::publishing::{Progress, Step};
use crate::dht::opendht::query::Query;
use crate::dht::opendht::search::{CLOSEST, MAX_CANDIDATES};
use crate::dht::value::ValueId;
use crate::ids::{DhtKey, NodeId};

/// How many of the closest nodes are sent a value before the search has found the closest: if their
/// tokens are known already, listeners learn of it a round trip earlier.
const EAGER: usize = 3;

impl OpenDhtNode {
    /// Opens the searches for a key, or looks at them anew.
    pub(super) fn search_for(&mut self, key: DhtKey) {
        let families: Vec<Family> = self.tables.keys().copied().collect();
        for family in families {
            let name = SearchKey { family, key };
            // Without a search the operation fails when its time is over, as it does without nodes.
            if self.searches.open(self.now.moment, name).is_ok() {
                self.dirty.insert(name);
            }
        }
    }

    /// Does what is to be done at the keys where something has changed.
    pub(super) fn work(&mut self) {
        while let Some(name) = self.dirty.pop_first() {
            self.advance(name);
        }
    }

    fn advance(&mut self, name: SearchKey) {
        let gets = self.getting.at(name.key);
        let wanted = !gets.is_empty()
            || self.publishing.is_at(name.key)
            || self.listening.is_at(name.key)
            || self.lookups.contains(&name);
        if wanted {
            self.seed(name);
            self.ask_candidates(name, &gets);
            self.ask_ready(name, &gets);
            self.settle(name, &gets);
        }
    }

    /// Gives a search that has too few candidates the closest nodes that are known.
    fn seed(&mut self, name: SearchKey) {
        if self.searches.get(name).is_none_or(|search| search.ids().count() >= CLOSEST) {
            return;
        }
        let known =
            self.nodes.iter().filter(|(node, known)| node.family == name.family && !known.is_expired());
        let mut ids: Vec<NodeId> = known.map(|(node, _)| node.id).collect();
        if ids.len() > MAX_CANDIDATES {
            ids.select_nth_unstable_by_key(MAX_CANDIDATES, |id| distance(&id.0, &name.key.0));
            ids.truncate(MAX_CANDIDATES);
        }
        if let Some(search) = self.searches.get_mut(name) {
            for id in ids {
                search.insert(id);
            }
        }
    }

    fn ask_candidates(&mut self, name: SearchKey, gets: &[OperationId]) {
        let Some(search) = self.searches.get_mut(name) else { return };
        for id in search.ask(self.now.moment, &self.nodes) {
            let node = name.node(id);
            let get = gets.iter().copied().find(|get| self.getting.ask(*get, node));
            match get {
                Some(get) => self.list(name, node, get),
                None => {
                    let request = Request::Find { target: name.key, want: self.want(name) };
                    self.step(node, request, Purpose::Search(name));
                }
            }
        }
    }

    fn ask_ready(&mut self, name: SearchKey, gets: &[OperationId]) {
        let now = self.now.moment;
        let Some(search) = self.searches.get(name) else { return };
        let ready: Vec<NodeKey> =
            search.ready(now, &self.nodes, CLOSEST).into_iter().map(|id| name.node(id)).collect();
        let settled = search.is_synced(now, &self.nodes);
        let mut writable: Vec<NodeKey> = search.closest(&self.nodes, EAGER).map(|id| name.node(id)).collect();
        writable.retain(|node| !ready.contains(node) && self.nodes.token(now, *node).is_some());
        writable.extend_from_slice(&ready);
        for get in gets {
            for node in &ready {
                if self.getting.ask(*get, *node) {
                    self.list(name, *node, *get);
                }
            }
            for (node, id) in self.getting.fetch(*get) {
                let filter = Filter { id: Some(id), ..self.getting.filter(*get) };
                let query = Query { select: BTreeSet::new(), filter };
                let request = Request::Get { key: name.key, query, want: None };
                let search = SearchKey { family: node.family, ..name };
                self.step(node, request, Purpose::Fetch { search, operation: *get, id });
            }
        }
        for (node, id, step) in self.publishing.steps(now, name.key, &writable) {
            self.publish_step(name, node, id, step);
        }
        let closest = ready.get(..LISTENED).unwrap_or(&ready);
        for (node, socket) in self.listening.ask(name.key, closest, settled, &mut self.random) {
            self.listen_at(name, node, socket);
        }
    }

    /// Tells the outcomes there are by now.
    fn settle(&mut self, name: SearchKey, gets: &[OperationId]) {
        let now = self.now.moment;
        let progress = self.progress(name.key);
        let events = self.publishing.settle(now, name.key, &progress);
        self.events.extend(events);
        for get in gets {
            let nodes = &self.nodes;
            let outcome = self.getting.settle(now, *get, &progress, |node| nodes.is_slow(node));
            outcome.into_iter().for_each(|event| self.got(event));
        }
        let over =
            |search: &super::super::search::Search| search.is_empty() || search.is_synced(now, &self.nodes);
        if self.searches.get(name).is_none_or(over) {
            self.lookups.remove(&name);
        }
    }

    /// How far the searches for a key are. A network that is not connected is not waited for if the
    /// other is.
    fn progress(&self, key: DhtKey) -> Vec<Progress> {
        let is_connected = |family| self.status.get(&family) == Some(&Status::Connected);
        let any_connected = Family::ALL.into_iter().any(is_connected);
        let progress = Family::ALL.into_iter().filter_map(|family| {
            let name = SearchKey { family, key };
            let search = self.searches.get(name)?;
            Some(Progress {
                closest: search.closest(&self.nodes, CLOSEST).map(|id| name.node(id)).collect(),
                synced: search.is_synced(self.now.moment, &self.nodes),
                alive: !search.is_empty() && (is_connected(family) || !any_connected),
                asked: search.asked(),
            })
        });
        progress.collect()
    }

    fn list(&mut self, name: SearchKey, node: NodeKey, operation: OperationId) {
        let query = Query::ids(self.getting.filter(operation));
        let request = Request::Get { key: name.key, query, want: self.want(name) };
        self.step(node, request, Purpose::List { search: name, operation });
    }

    fn publish_step(&mut self, name: SearchKey, node: NodeKey, id: ValueId, step: Step) {
        match step {
            Step::Check => {
                let query = Query { filter: Filter::id(id), ..Query::editions() };
                let request = Request::Get { key: name.key, query, want: self.want(name) };
                self.step(node, request, Purpose::Verify { search: name, id });
            }
            Step::Put { value, created } => {
                let created = created.filter(|created| created.seconds() < self.now.wall.seconds());
                let request = Request::Put {
                    key: name.key,
                    values: vec![value],
                    created: created.and_then(|created| u64::try_from(created.seconds()).ok()),
                    token: self.nodes.token(self.now.moment, node).cloned(),
                };
                self.step(node, request, Purpose::Put { search: name, id });
            }
        }
    }

    /// A node has a value of ours, and is to keep it for longer.
    pub(super) fn refresh(&mut self, search: SearchKey, node: NodeKey, id: ValueId) {
        let token = self.nodes.token(self.now.moment, node).cloned();
        self.step(node, Request::Refresh { key: search.key, id, token }, Purpose::Refresh { search, id });
    }

    /// A node that should have a value of ours does not.
    pub(super) fn put_again(&mut self, search: SearchKey, node: NodeKey, id: ValueId) {
        if let Some(step) = self.publishing.full_step(search.key, id) {
            self.publish_step(search, node, id, step);
        }
    }

    fn listen_at(&mut self, search: SearchKey, node: NodeKey, socket: SocketId) {
        let request = Request::Listen {
            key: search.key,
            query: Query::default(),
            socket,
            version: ListenVersion::Updates,
            token: self.nodes.token(self.now.moment, node).cloned(),
        };
        self.step(node, request, Purpose::Listen { search });
    }

    /// Sends a request for something wanted. If there is no room, it is tried again a little later.
    fn step(&mut self, node: NodeKey, request: Request, purpose: Purpose) {
        if self.ask(node, request, purpose) {
            return;
        }
        self.undo(node, purpose);
        if self.nodes.address(node).is_none() {
            for name in self.searches.remove(node) {
                self.dirty.insert(name);
            }
        }
        let again = self.now.moment.plus(STALL);
        self.stalled = Some(self.stalled.map_or(again, |stalled| stalled.min(again)));
    }

    /// Which nodes are wanted: those of the other network as well if few of them are known there.
    fn want(&self, name: SearchKey) -> Option<Want> {
        let other = self.tables.get(&name.family.other())?;
        other.is_sparse(name.key).then_some(Want::BOTH)
    }

    /// Begins to announce the values whose time has come. They live on here as well.
    pub(super) fn publish_due(&mut self) {
        for (key, value) in self.publishing.due(self.now.moment) {
            let value = std::sync::Arc::unwrap_or_clone(value);
            let (_, changes) = self.serving.put_own(self.now.moment, key, value);
            self.tell(changes);
            self.search_for(key);
        }
    }

    /// Repeats what is to be repeated: listenings, announcements, and what takes too long.
    pub(super) fn renew(&mut self) {
        let now = self.now.moment;
        if now >= self.mint.rotation() {
            self.mint.rotate(now, self.random.bytes(), self.random.number());
        }
        self.reassembly.expire(now);
        let changes = self.serving.expire(now);
        self.tell(changes);
        let events = self.listening.expire(now);
        self.events.extend(events);
        for (key, node, socket) in self.listening.due(now) {
            let search = SearchKey { family: node.family, key };
            if self.nodes.token(now, node).is_some() {
                self.listen_at(search, node, socket);
            } else {
                self.listening.postponed(key, node);
            }
            self.dirty.insert(search);
        }
        self.publish_due();
        let overdue: Vec<DhtKey> =
            self.publishing.overdue(now).into_iter().chain(self.getting.overdue(now)).collect();
        for key in overdue {
            self.search_for(key);
            // Without any search nothing else would tell the outcome.
            self.end_overdue(key);
        }
        if self.stalled.is_some_and(|stalled| stalled <= now) {
            self.stalled = None;
            self.work_everywhere();
        }
    }

    fn end_overdue(&mut self, key: DhtKey) {
        let family = self.tables.keys().next().copied().unwrap_or(Family::V4);
        let gets = self.getting.at(key);
        self.settle(SearchKey { family, key }, &gets);
    }

    /// Looks at all keys where something is wanted.
    pub(super) fn work_everywhere(&mut self) {
        let listened: Vec<DhtKey> = self.listening.keys().collect();
        let keys: BTreeSet<DhtKey> =
            self.publishing.keys().into_iter().chain(self.getting.keys()).chain(listened).collect();
        keys.into_iter().for_each(|key| self.search_for(key));
    }
}
