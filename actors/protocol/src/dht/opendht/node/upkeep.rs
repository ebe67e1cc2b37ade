//! What a node does unasked: it joins, gets to know its neighbourhood, and forgets (`spec: dht 8`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Event, Family, NodeKey, Now, OpenDhtNode, Purpose, Receiver, SearchKey, Status};
use crate::dht::opendht::compact::{self, Contact};
use crate::dht::opendht::nodes::distance;
use crate::dht::opendht::packet::{Request, Want};
use crate::dht::opendht::random::Randomness;
use crate::dht::opendht::requests::SENDS;
use crate::ids::{DhtKey, NodeId};
use crate::time::Moment;

/// Wait before the first look at the table, at least and at most.
const FIRST_LOOK: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(5)];

/// Wait for the next look if there was something to do.
const NEXT_LOOK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(25)];

/// Wait for the next look if all was well.
const CALM_LOOK: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(180)];

/// Wait between two times of forgetting.
const PURGE: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(360)];

/// How long after our bucket got a node its neighbourhood is looked at.
const GROWN_LATELY: Duration = Duration::from_secs(150);

/// Nodes that have been silent for long and are asked at one look.
const CHECKED_AT_ONCE: usize = 8;

/// Nodes of the last run that are asked at once when the node starts.
const REMEMBERED_AT_ONCE: usize = 32;

/// First wait before the addresses to join through are asked again; doubles up to [`LAST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// Longest wait before they are asked again.
const LAST_RETRY: Duration = Duration::from_secs(24 * 3600);

/// Addresses to join through that are remembered.
const MAX_BOOTSTRAP: usize = 64;

/// One find in this many asks for nodes of the other network although enough are known.
const OTHER_FAMILY_CHANCE: usize = 38;

/// When things are to be done, and what they need.
#[derive(Debug)]
pub(super) struct Upkeep {
    look: Moment,
    purge: Moment,
    bootstrap: BTreeSet<SocketAddr>,
    retry: Option<Moment>,
    pub(super) wait: Duration,
    /// Strangers that are being asked whether they are there.
    pub(super) strangers: usize,
}

impl Upkeep {
    pub(super) fn new(now: Moment, random: &mut Randomness) -> Self {
        Self {
            look: now.plus(within(random, FIRST_LOOK)),
            purge: now.plus(within(random, PURGE)),
            bootstrap: BTreeSet::new(),
            retry: None,
            wait: FIRST_RETRY,
            strangers: 0,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        [Some(self.look), Some(self.purge), self.retry].into_iter().flatten().min()
    }
}

impl OpenDhtNode {
    /// Joins through these addresses from now on, in place of those before, and again through them
    /// whenever no node is left. Some dozens are remembered.
    pub fn set_bootstrap(&mut self, now: Now, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.now = now;
        let mut set = BTreeSet::new();
        for address in addresses.into_iter().map(compact::canonical) {
            if set.len() < MAX_BOOTSTRAP && !compact::is_martian(&address) {
                set.insert(address);
            }
        }
        if !set.is_subset(&self.upkeep.bootstrap) {
            self.upkeep.wait = FIRST_RETRY;
        }
        self.upkeep.bootstrap = set;
        self.bootstrap();
        self.work();
    }

    /// Tries nodes that were good in the last run, or were found in the local network.
    pub fn add_known_nodes(&mut self, now: Now, contacts: impl IntoIterator<Item = Contact>) {
        self.now = now;
        for Contact { id, address } in contacts.into_iter().take(REMEMBERED_AT_ONCE) {
            let address = compact::canonical(address);
            let node = NodeKey { family: Family::of(&address), id };
            if id != self.id
                && self.tables.contains_key(&node.family)
                && !compact::is_martian(&address)
                && self.nodes.mention(node, address)
            {
                self.check(node);
            }
        }
        self.review_all();
        self.work();
    }

    /// This machine got another network, so that all we know of others' answers, and they of our
    /// address, is out of date.
    pub fn network_changed(&mut self, now: Now) {
        self.now = now;
        for open in self.requests.cancel(|_| true) {
            self.ended(&open);
            if let Some(id) = open.receiver.id {
                let family = Family::of(&open.receiver.address);
                self.undo(NodeKey { family, id }, open.purpose);
            }
        }
        self.upkeep.strangers = 0;
        self.nodes.forgive_all();
        self.searches.iter_mut().for_each(|(_, search)| search.restart());
        self.listening.restart();
        self.publishing.announce_all(now.moment);
        self.views.clear();
        self.publish_due();
        for node in self.table_nodes().into_iter().rev().take(REMEMBERED_AT_ONCE).collect::<Vec<_>>() {
            self.check(node);
        }
        self.review_all();
        self.upkeep.wait = FIRST_RETRY;
        self.bootstrap();
        self.work_everywhere();
        self.work();
    }

    /// Does what is due.
    pub(super) fn keep_up(&mut self) {
        let now = self.now.moment;
        if self.upkeep.look <= now {
            self.review_all();
            let busy = self.look();
            let wait = within(&mut self.random, if busy { NEXT_LOOK } else { CALM_LOOK });
            self.upkeep.look = now.plus(wait);
        }
        if self.upkeep.purge <= now {
            self.purge();
            self.upkeep.purge = now.plus(within(&mut self.random, PURGE));
        }
        if self.upkeep.retry.is_some_and(|retry| retry <= now) {
            self.upkeep.wait = self.upkeep.wait.saturating_mul(2).min(LAST_RETRY);
            self.bootstrap();
        }
    }

    /// Pings the addresses to join through, if that is needed.
    fn bootstrap(&mut self) {
        let lonely = |family: &Family| self.status.get(family) != Some(&Status::Connected);
        let addresses = self.upkeep.bootstrap.iter().filter(|address| {
            let family = Family::of(address);
            self.tables.contains_key(&family) && lonely(&family) && self.requests.open_to(**address) == 0
        });
        let addresses: Vec<SocketAddr> = addresses.copied().collect();
        for address in &addresses {
            let receiver = Receiver { address: *address, id: None };
            self.request(receiver, Request::Ping, Purpose::Bootstrap, SENDS);
        }
        let lonely = |family: &Family| self.status.get(family) != Some(&Status::Connected);
        let needed = self.status.keys().any(lonely) && !self.upkeep.bootstrap.is_empty();
        self.upkeep.retry = needed.then(|| self.now.moment.plus(self.upkeep.wait));
        self.review_all();
    }

    /// Looks for what the tables lack. Returns whether there was something to do.
    fn look(&mut self) -> bool {
        let now = self.now.moment;
        let mut busy = false;
        let families: Vec<Family> = self.tables.keys().copied().collect();
        for family in families {
            let Some(table) = self.tables.get(&family) else { continue };
            let mut targets = table.stale(now, &mut self.random);
            if table.grown().is_some_and(|grown| now.since(grown) < GROWN_LATELY) {
                targets.push(DhtKey(self.random.id_with_prefix(&self.id.0, 152)));
            }
            for target in targets {
                busy |= self.explore(family, target);
            }
        }
        let silent = self.table_nodes().into_iter().filter(|node| {
            self.nodes.get(*node).is_some_and(|known| !known.is_good(now) && known.pending == 0)
        });
        for node in silent.take(CHECKED_AT_ONCE).collect::<Vec<_>>() {
            busy = true;
            self.check(node);
        }
        busy
    }

    /// Asks a node near `target` for others.
    fn explore(&mut self, family: Family, target: DhtKey) -> bool {
        let Some(table) = self.tables.get(&family) else { return false };
        let usable = |id: &NodeId| self.nodes.address(NodeKey { family, id: *id }).is_some();
        let mut ids: Vec<NodeId> = table.ids().filter(usable).collect();
        ids.sort_unstable_by_key(|id| distance(&id.0, &target.0));
        ids.truncate(3);
        let Some(id) = ids.get(self.random.below(ids.len())).copied() else { return false };
        let other = self.tables.get(&family.other());
        let want = other
            .filter(|other| other.is_sparse(target) || self.random.below(OTHER_FAMILY_CHANCE) == 0)
            .map(|_| Want::BOTH);
        self.ask(NodeKey { family, id }, Request::Find { target, want }, Purpose::Explore)
    }

    /// Asks a node of ours whether it is still there.
    pub(super) fn check(&mut self, node: NodeKey) {
        self.ask(node, Request::Ping, Purpose::Check);
    }

    fn table_nodes(&self) -> Vec<NodeKey> {
        let nodes = self
            .tables
            .iter()
            .flat_map(|(family, table)| table.ids().map(|id| NodeKey { family: *family, id }));
        nodes.collect()
    }

    /// Forgets nodes that nothing refers to, and searches that nobody needs.
    fn purge(&mut self) {
        let (publishing, listening, getting) = (self.publishing.keys(), &self.listening, self.getting.keys());
        self.searches.purge(self.now.moment, |name| {
            listening.is_at(name.key) || publishing.contains(&name.key) || getting.contains(&name.key)
        });
        let in_tables = self
            .tables
            .iter()
            .flat_map(|(family, table)| table.all_ids().map(|id| NodeKey { family: *family, id }));
        let in_searches =
            self.searches.iter().flat_map(|(name, search)| search.ids().map(move |id| name.node(id)));
        let used = in_tables.chain(in_searches).collect();
        self.nodes.retain(&used);
    }

    pub(super) fn review_all(&mut self) {
        let families: Vec<Family> = self.tables.keys().copied().collect();
        families.into_iter().for_each(|family| self.review_status(family));
    }

    /// Finds out how the connection to a network is, and tells if that is news.
    pub(super) fn review_status(&mut self, family: Family) {
        let status = self.status_of(family);
        if self.status.insert(family, status) == Some(status) {
            return;
        }
        self.events.push_back(Event::Status { family, status });
        if status == Status::Connected {
            self.upkeep.wait = FIRST_RETRY;
            let own = SearchKey { family, key: DhtKey(self.id.0) };
            if self.searches.open(self.now.moment, own).is_ok() {
                self.lookups.insert(own);
                self.dirty.insert(own);
            }
            self.work_everywhere();
        } else if self.upkeep.retry.is_none() && !self.upkeep.bootstrap.is_empty() {
            self.upkeep.retry = Some(self.now.moment);
        }
    }

    fn status_of(&self, family: Family) -> Status {
        let now = self.now.moment;
        let Some(table) = self.tables.get(&family) else { return Status::Disconnected };
        if table.ids().any(|id| self.nodes.is_good(now, NodeKey { family, id })) {
            return Status::Connected;
        }
        let known = self.nodes.iter().any(|(node, known)| node.family == family && !known.is_expired());
        let joining = || {
            let mut addresses = self.upkeep.bootstrap.iter().filter(|address| Family::of(address) == family);
            addresses.any(|address| self.requests.open_to(*address) > 0)
        };
        if known || joining() { Status::Connecting } else { Status::Disconnected }
    }
}

fn within(random: &mut Randomness, [shortest, longest]: [Duration; 2]) -> Duration {
    random.between(shortest, longest)
}
