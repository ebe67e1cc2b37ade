//! Finding the nodes closest to a key (`spec: dht 6`).
//!
//! A search keeps the closest nodes it has heard of, asks the first of them four at a time, and
//! inserts the nodes they name, until the eight closest that answer have answered. It stays so for
//! as long as something is to be done at the key: puts, gets and listenings use its nodes and their
//! tokens.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::nodes::{Family, NodeKey, Nodes, distance};
use crate::ids::{DhtKey, NodeId};
use crate::time::Moment;

/// Nodes that keep the values of a key.
pub(super) const CLOSEST: usize = 8;

/// Nodes a search keeps: those beyond the closest eight take the place of nodes that do not answer.
pub(super) const MAX_CANDIDATES: usize = 14;

/// Nodes asked at a time.
const ASKED_AT_ONCE: usize = 4;

/// How long the answer of a node counts: closer nodes may have come since.
pub(super) const ANSWER_COUNTS: Duration = Duration::from_secs(10 * 60);

/// How long a search is kept that nothing uses.
pub(super) const IDLE_LIFETIME: Duration = Duration::from_secs(62 * 60);

/// Searches at one time, some 2 KiB each. This node starts them; no peer can.
pub(super) const MAX_SEARCHES: usize = 65_536;

/// Unanswered nodes among closer ones that do not keep a put from starting.
const MARGIN: usize = 1;

/// Names a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SearchKey {
    /// Among which nodes.
    pub(super) family: Family,
    /// Where.
    pub(super) key: DhtKey,
}

impl SearchKey {
    /// A node of the family that is searched.
    #[must_use]
    pub(super) const fn node(self, id: NodeId) -> NodeKey {
        NodeKey { family: self.family, id }
    }
}

#[derive(Clone, Debug)]
struct Candidate {
    id: NodeId,
    answered: Option<Moment>,
    asked: bool,
}

/// The nodes found close to a key.
#[derive(Debug)]
pub(super) struct Search {
    name: SearchKey,
    /// Closest first.
    candidates: Vec<Candidate>,
    /// How many candidates were ever asked.
    asked: usize,
    used: Moment,
}

impl Search {
    fn new(now: Moment, name: SearchKey) -> Self {
        Self { name, candidates: Vec::new(), asked: 0, used: now }
    }

    /// Whether a node is close enough to be added and not known yet.
    #[must_use]
    pub(super) fn has_room_for(&self, id: NodeId) -> bool {
        let key = self.name.key.0;
        let closer = self.candidates.get(MAX_CANDIDATES.saturating_sub(1));
        closer.is_none_or(|last| distance(&id.0, &key) < distance(&last.id.0, &key))
            && self.candidates.iter().all(|candidate| candidate.id != id)
    }

    /// Adds a node, if it is close enough. Returns whether it is news.
    pub(super) fn insert(&mut self, id: NodeId) -> bool {
        let key = self.name.key.0;
        let far = distance(&id.0, &key);
        let place = self.candidates.partition_point(|candidate| distance(&candidate.id.0, &key) < far);
        let known = self.candidates.get(place).is_some_and(|candidate| candidate.id == id);
        if known || place >= MAX_CANDIDATES {
            return false;
        }
        self.candidates.insert(place, Candidate { id, answered: None, asked: false });
        self.candidates.truncate(MAX_CANDIDATES);
        true
    }

    /// Removes a node that has expired.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.candidates.retain(|candidate| candidate.id != id);
    }

    /// The nodes to ask now; each counts as asked from here on.
    pub(super) fn ask(&mut self, now: Moment, nodes: &Nodes) -> Vec<NodeId> {
        let name = self.name;
        let waiting = |candidate: &&Candidate| candidate.asked && !nodes.is_slow(name.node(candidate.id));
        let free = ASKED_AT_ONCE.saturating_sub(self.candidates.iter().filter(waiting).count());
        let responsive = |candidate: &&mut Candidate| !nodes.is_slow(name.node(candidate.id));
        let closest = self.candidates.iter_mut().filter(responsive).take(CLOSEST);
        let wanted = closest.filter(|candidate| !candidate.asked && !is_synced(now, nodes, name, candidate));
        let mut ids = Vec::new();
        for candidate in wanted.take(free) {
            candidate.asked = true;
            ids.push(candidate.id);
        }
        self.asked = self.asked.saturating_add(ids.len());
        ids
    }

    /// Notes the answer of a node.
    pub(super) fn answered(&mut self, now: Moment, id: NodeId) {
        if let Some(candidate) = self.find(id) {
            candidate.asked = false;
            candidate.answered = Some(now);
        }
    }

    /// Notes that a request to a node came to nothing, so that it may be asked again.
    pub(super) fn unanswered(&mut self, id: NodeId) {
        if let Some(candidate) = self.find(id) {
            candidate.asked = false;
        }
    }

    /// Whether the closest nodes that answer have all answered.
    #[must_use]
    pub(super) fn is_synced(&self, now: Moment, nodes: &Nodes) -> bool {
        let mut closest = self.responsive(nodes).take(CLOSEST).peekable();
        closest.peek().is_some() && closest.all(|candidate| is_synced(now, nodes, self.name, candidate))
    }

    /// The `count` closest nodes that answer, whether they have answered yet or not.
    pub(super) fn closest<'s>(&'s self, nodes: &'s Nodes, count: usize) -> impl Iterator<Item = NodeId> + 's {
        self.responsive(nodes).take(count).map(|candidate| candidate.id)
    }

    /// Those of the `count` closest nodes that are fit to write to now: they have answered, and at most
    /// one that is closer has not.
    #[must_use]
    pub(super) fn ready(&self, now: Moment, nodes: &Nodes, count: usize) -> Vec<NodeId> {
        let mut missing = 0;
        let mut ready = Vec::new();
        for candidate in self.responsive(nodes).take(count) {
            if is_synced(now, nodes, self.name, candidate) {
                ready.push(candidate.id);
            } else {
                missing += 1;
                if missing > MARGIN {
                    break;
                }
            }
        }
        ready
    }

    /// All nodes kept.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.candidates.iter().map(|candidate| candidate.id)
    }

    /// Whether nobody is left to ask.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// How many nodes were ever asked.
    #[must_use]
    pub(super) const fn asked(&self) -> usize {
        self.asked
    }

    /// Lets all nodes be asked anew, as after this machine got another network.
    pub(super) fn restart(&mut self) {
        self.candidates.clear();
    }

    fn responsive<'s>(&'s self, nodes: &'s Nodes) -> impl Iterator<Item = &'s Candidate> + 's {
        self.candidates.iter().filter(|candidate| !nodes.is_slow(self.name.node(candidate.id)))
    }

    fn find(&mut self, id: NodeId) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|candidate| candidate.id == id)
    }
}

/// Whether a candidate has answered not too long ago, and may be written to.
fn is_synced(now: Moment, nodes: &Nodes, name: SearchKey, candidate: &Candidate) -> bool {
    candidate.answered.is_some_and(|answered| now.since(answered) < ANSWER_COUNTS)
        && nodes.token(now, name.node(candidate.id)).is_some()
}

/// Too many searches are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node searches for {MAX_SEARCHES} keys already: wait for some to end")]
pub(super) struct TooManySearches;

/// The searches under way, and those of late.
#[derive(Debug, Default)]
pub(super) struct Searches {
    searches: BTreeMap<SearchKey, Search>,
}

impl Searches {
    /// The search of this name, and whether it is new.
    ///
    /// # Errors
    /// [`TooManySearches`].
    pub(super) fn open(
        &mut self,
        now: Moment,
        name: SearchKey,
    ) -> Result<(&mut Search, bool), TooManySearches> {
        let full = self.searches.len() >= MAX_SEARCHES;
        match self.searches.entry(name) {
            std::collections::btree_map::Entry::Occupied(known) => {
                let search = known.into_mut();
                search.used = now;
                Ok((search, false))
            }
            std::collections::btree_map::Entry::Vacant(_) if full => Err(TooManySearches),
            std::collections::btree_map::Entry::Vacant(place) => {
                Ok((place.insert(Search::new(now, name)), true))
            }
        }
    }

    /// A search.
    #[must_use]
    pub(super) fn get(&self, name: SearchKey) -> Option<&Search> {
        self.searches.get(&name)
    }

    /// A search, to be changed.
    pub(super) fn get_mut(&mut self, name: SearchKey) -> Option<&mut Search> {
        self.searches.get_mut(&name)
    }

    /// Adds a node to the searches it is close enough to, and returns them.
    pub(super) fn insert(&mut self, node: NodeKey) -> Vec<SearchKey> {
        let here = SearchKey { family: node.family, key: DhtKey(node.id.0) };
        let mut concerned = Vec::new();
        let mut try_insert = |(name, search): (&SearchKey, &mut Search)| {
            let inserted = name.family == node.family && search.insert(node.id);
            if inserted {
                concerned.push(*name);
            }
            inserted
        };
        // The keys closest to a node are its neighbours in order, mostly; where the order of distances
        // and that of numbers differ, the node is found by the search itself.
        for entry in self.searches.range_mut(here..) {
            if !try_insert(entry) {
                break;
            }
        }
        for entry in self.searches.range_mut((Bound::Unbounded, Bound::Excluded(here))).rev() {
            if !try_insert(entry) {
                break;
            }
        }
        concerned
    }

    /// Removes an expired node from all searches, and returns those it was in.
    pub(super) fn remove(&mut self, node: NodeKey) -> Vec<SearchKey> {
        let mut concerned = Vec::new();
        for (name, search) in &mut self.searches {
            if name.family == node.family && search.candidates.iter().any(|known| known.id == node.id) {
                search.remove(node.id);
                concerned.push(*name);
            }
        }
        concerned
    }

    /// Forgets searches that nothing has used for long; `in_use` are kept.
    pub(super) fn purge(&mut self, now: Moment, in_use: impl Fn(SearchKey) -> bool) {
        self.searches.retain(|name, search| {
            if in_use(*name) {
                search.used = now;
            }
            now.since(search.used) < IDLE_LIFETIME
        });
    }

    /// All searches.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SearchKey, &Search)> {
        self.searches.iter().map(|(name, search)| (*name, search))
    }

    /// All searches, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SearchKey, &mut Search)> {
        self.searches.iter_mut().map(|(name, search)| (*name, search))
    }

    /// Number of searches.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.searches.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::testing::at;
    use super::super::token::Token;
    use super::*;

    const NAME: SearchKey = SearchKey { family: Family::V4, key: DhtKey([0; 20]) };

    fn id(number: u8) -> NodeId {
        let mut id = [0; 20];
        id[0] = number;
        NodeId(id)
    }

    fn ids(numbers: impl IntoIterator<Item = u8>) -> Vec<NodeId> {
        numbers.into_iter().map(id).collect()
    }

    fn answer(search: &mut Search, nodes: &mut Nodes, now: Moment, number: u8) {
        nodes.answered(now, NAME.node(id(number)));
        nodes.gave_token(now, NAME.node(id(number)), Token::new(&[7; 32]).unwrap());
        search.answered(now, id(number));
    }

    /// A search that knows of the nodes with these numbers.
    fn search(numbers: impl IntoIterator<Item = u8>) -> (Search, Nodes) {
        let (mut search, mut nodes) = (Search::new(at(0), NAME), Nodes::default());
        for number in numbers {
            nodes.mention(NAME.node(id(number)), SocketAddr::from(([10, 0, 0, number], 1)));
            search.insert(id(number));
        }
        (search, nodes)
    }

    #[test]
    fn the_closest_nodes_are_kept_closest_first() {
        let (mut search, _) = search((1..=20).rev());
        assert_eq!(search.ids().collect::<Vec<_>>(), ids(1..=14));
        assert!(!search.insert(id(3)));
        assert!(!search.insert(id(21)));
    }

    #[test]
    fn four_nodes_are_asked_at_a_time_and_eight_must_answer() {
        let (mut search, mut nodes) = search(1..=14);
        assert_eq!(search.ask(at(0), &nodes), ids(1..=4));
        assert_eq!(search.ask(at(0), &nodes), []);
        for number in 1..=8 {
            assert!(!search.is_synced(at(1), &nodes));
            answer(&mut search, &mut nodes, at(1), number);
            let next = if number <= 4 { ids([number + 4]) } else { Vec::new() };
            assert_eq!(search.ask(at(1), &nodes), next);
        }
        assert!(search.is_synced(at(1), &nodes));
        assert!(search.is_synced(at(600), &nodes));
        assert!(!search.is_synced(at(601), &nodes));
        assert_eq!(search.ask(at(601), &nodes), ids(1..=4));
    }

    #[test]
    fn others_are_asked_in_the_place_of_slow_nodes() {
        let (mut search, mut nodes) = search(1..=14);
        search.ask(at(0), &nodes);
        nodes.overdue(NAME.node(id(1)));
        nodes.overdue(NAME.node(id(3)));
        assert_eq!(search.ask(at(1), &nodes), ids([5, 6]));
        for number in [2, 4, 5, 6, 7, 8, 9, 10] {
            answer(&mut search, &mut nodes, at(1), number);
        }
        assert!(search.is_synced(at(1), &nodes));
        assert_eq!(search.closest(&nodes, 3).collect::<Vec<_>>(), ids([2, 4, 5]));
        answer(&mut search, &mut nodes, at(2), 3);
        assert_eq!(search.closest(&nodes, 3).collect::<Vec<_>>(), ids([2, 3, 4]));
    }

    #[test]
    fn writing_may_start_when_one_closer_node_has_not_answered() {
        let (mut search, mut nodes) = search(1..=4);
        for number in [2, 4] {
            answer(&mut search, &mut nodes, at(0), number);
        }
        assert_eq!(search.ready(at(0), &nodes, 8), ids([2]));
        answer(&mut search, &mut nodes, at(0), 3);
        assert_eq!(search.ready(at(0), &nodes, 8), ids([2, 3, 4]));
        nodes.refused_token(NAME.node(id(2)));
        assert_eq!(search.ready(at(0), &nodes, 8), []);
        assert_eq!(search.ask(at(0), &nodes), ids([1, 2]));
    }

    #[test]
    fn nobody_answering_is_no_success() {
        let (mut search, mut nodes) = search(1..=2);
        search.ask(at(0), &nodes);
        for number in 1..=2 {
            nodes.overdue(NAME.node(id(number)));
        }
        assert!(!search.is_synced(at(0), &nodes));
        for number in 1..=2 {
            search.remove(id(number));
        }
        assert!(search.is_empty() && !search.is_synced(at(0), &nodes));
        assert_eq!(search.asked(), 2);
    }

    #[test]
    fn a_new_node_joins_the_searches_it_is_close_to_and_leaves_all() {
        let mut searches = Searches::default();
        for place in [10, 100, 200] {
            let name = SearchKey { family: Family::V4, key: DhtKey(id(place).0) };
            let (search, new) = searches.open(at(0), name).unwrap();
            assert!(new);
            for number in 0..14 {
                search.insert(id(place ^ number));
            }
        }
        let near = NodeKey { family: Family::V4, id: NodeId([100; 20]) };
        assert_eq!(searches.insert(near).len(), 1);
        assert_eq!(searches.insert(NodeKey { family: Family::V6, ..near }), []);
        assert_eq!(searches.remove(near).len(), 1);
        assert_eq!(searches.remove(near), []);
    }

    #[test]
    fn unused_searches_are_forgotten_after_an_hour() {
        let mut searches = Searches::default();
        let other = SearchKey { key: DhtKey([1; 20]), ..NAME };
        searches.open(at(0), NAME).unwrap();
        searches.open(at(0), other).unwrap();
        searches.purge(at(3000), |name| name == other);
        searches.purge(at(62 * 60), |_| false);
        assert_eq!(searches.iter().map(|(name, _)| name).collect::<Vec<_>>(), [other]);
    }
}
