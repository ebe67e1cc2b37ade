//! Puts: which nodes keep the values of ours, and what is to be said to each (`spec: dht 6.1`).
//!
//! ```text
//!   new place ── Put ──► kept ── time to renew ──► Check ─┬─ it has it ──► Refresh ──► kept
//!       ▲                 │                               └─ it has not ─┐    └─ 404 ─┐
//!       └─── node lost ───┘                   Put ◄─────────────────────┴────────────┘
//! ```
//!
//! A permanent value is renewed in rounds, ten seconds before the nodes would forget it, and goes to
//! every node that comes to be among the closest. A value put once is forgotten when its nodes have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::nodes::NodeKey;
use super::operation::{Event, Failure, OperationId};
use super::search::CLOSEST;
use crate::dht::announce::{Announcements, Permanence, TooManyAnnouncements};
use crate::dht::value::{Value, ValueId};
use crate::ids::DhtKey;
use crate::time::{Moment, UnixMillis};

/// How long a put may take before its outcome is told in any case.
pub(super) const PUT_PATIENCE: Duration = Duration::from_secs(20);

/// As soon as this many nodes keep a value its put has succeeded: most of those that should.
const ENOUGH: usize = CLOSEST / 2 + 1;

/// How long a node that refused a value is left alone with it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Nodes remembered for a value; the closest come and go.
const MAX_PLACES: usize = 64;

/// What to say to a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Keep this.
    Put {
        /// The value.
        value: Arc<Value>,
        /// When it was made; absent for a permanent value.
        created: Option<UnixMillis>,
    },
    /// Do you still have it?
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Asked,
    Kept { round: u32 },
    Refused { until: Moment },
}

#[derive(Debug)]
struct Publication {
    value: Arc<Value>,
    created: UnixMillis,
    permanent: bool,
    operation: Option<OperationId>,
    places: BTreeMap<NodeKey, Place>,
    /// Nodes ever asked in this round.
    asked: usize,
    /// Counts the renewals.
    round: u32,
    started: Moment,
    /// Until when this round may take; absent once it is over.
    deadline: Option<Moment>,
}

impl Publication {
    fn kept(&self) -> usize {
        self.places.keys().filter(|node| self.keeps(node)).count()
    }

    fn keeps(&self, node: &NodeKey) -> bool {
        matches!(self.places.get(node), Some(Place::Kept { round }) if *round == self.round)
    }
}

/// How far the search for the nodes of a key has come in one of the networks.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The closest nodes that are not late with an answer.
    pub(super) closest: Vec<NodeKey>,
    /// Whether all of them have answered, so that no closer ones are to be expected.
    pub(super) synced: bool,
    /// Whether there is anybody left to be waited for.
    pub(super) alive: bool,
    /// How many nodes were asked so far.
    pub(super) asked: usize,
}

impl Progress {
    /// Whether all of the closest nodes have answered and are `done`.
    fn is_complete(&self, done: impl Fn(&NodeKey) -> bool) -> bool {
        self.synced && self.closest.iter().all(done)
    }
}

/// Whether the search has ended for all nodes that can be reached: there are such, and those are `done`.
pub(super) fn is_complete(progress: &[Progress], done: impl Fn(&NodeKey) -> bool) -> bool {
    let mut alive = progress.iter().filter(|family| family.alive).peekable();
    alive.peek().is_some() && alive.all(|family| family.is_complete(&done))
}

/// Whether nodes were asked, and none of them is left.
pub(super) fn is_unreachable(progress: &[Progress]) -> bool {
    progress.iter().all(|family| !family.alive) && progress.iter().any(|family| family.asked > 0)
}

/// Names a published value.
pub(super) type PublicationId = (DhtKey, ValueId);

/// The values this node publishes.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    announcements: Announcements,
    publications: BTreeMap<PublicationId, Publication>,
    deadlines: BTreeSet<(Moment, PublicationId)>,
}

impl Publishing {
    /// Starts to publish. Returns the put that this takes the place of, if it has no outcome yet.
    ///
    /// # Errors
    /// [`TooManyAnnouncements`].
    pub(super) fn put(
        &mut self,
        now: Moment,
        created: UnixMillis,
        key: DhtKey,
        value: Arc<Value>,
        permanent: bool,
        operation: OperationId,
    ) -> Result<Option<Event>, TooManyAnnouncements> {
        let id = (key, value.id);
        let permanence = if permanent { Permanence::Permanent } else { Permanence::Once };
        if self.publications.len() >= crate::dht::announce::MAX_ANNOUNCEMENTS
            && !self.publications.contains_key(&id)
        {
            return Err(TooManyAnnouncements);
        }
        self.announcements.publish(now, key, Arc::clone(&value), permanence)?;
        let superseded = self.end(id, Failure::Superseded);
        let publication = Publication {
            value,
            created,
            permanent,
            operation: Some(operation),
            places: BTreeMap::new(),
            asked: 0,
            round: 0,
            started: now,
            deadline: None,
        };
        self.publications.insert(id, publication);
        Ok(superseded)
    }

    /// Stops to publish. Returns the outcome of the put, if it had none yet.
    pub(super) fn cancel(&mut self, key: DhtKey, id: ValueId) -> Option<Event> {
        self.announcements.cancel(key, id);
        self.end((key, id), Failure::Cancelled)
    }

    /// The values whose round of announcement begins now.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(DhtKey, Arc<Value>)> {
        let mut begun = Vec::new();
        for announcement in self.announcements.due(now) {
            let id = (announcement.key, announcement.value.id);
            let Some(publication) = self.publications.get_mut(&id) else { continue };
            publication.round = publication.round.wrapping_add(1);
            publication.asked = 0;
            let deadline = now.plus(PUT_PATIENCE);
            if let Some(old) = publication.deadline.replace(deadline) {
                self.deadlines.remove(&(old, id));
            }
            self.deadlines.insert((deadline, id));
            begun.push((announcement.key, announcement.value));
        }
        begun
    }

    /// Begins a round for all permanent values, as after this machine got another network; nodes are
    /// asked as if they had never heard of the values.
    pub(super) fn announce_all(&mut self, now: Moment) {
        self.announcements.announce_all(now);
        self.publications.values_mut().for_each(|publication| publication.places.clear());
    }

    /// Whether something is published at `key`.
    #[must_use]
    pub(super) fn is_at(&self, key: DhtKey) -> bool {
        self.at(key).next().is_some()
    }

    /// What to say to nodes that are ready to be written to. They count as asked from here on.
    pub(super) fn steps(
        &mut self,
        now: Moment,
        key: DhtKey,
        ready: &[NodeKey],
    ) -> Vec<(NodeKey, ValueId, Step)> {
        let mut steps = Vec::new();
        for ((_, id), publication) in self.publications.range_mut(range(key)) {
            for node in ready {
                let step = match publication.places.get(node) {
                    Some(Place::Asked) => continue,
                    Some(Place::Kept { round }) if *round == publication.round => continue,
                    Some(Place::Refused { until }) if *until > now => continue,
                    Some(Place::Kept { .. }) => Step::Check,
                    Some(Place::Refused { .. }) | None => publication.full_step(),
                };
                if publication.places.len() >= MAX_PLACES && !publication.places.contains_key(node) {
                    publication.forget_a_place(ready);
                }
                publication.places.insert(*node, Place::Asked);
                publication.asked = publication.asked.saturating_add(1);
                steps.push((*node, *id, step));
            }
        }
        steps
    }

    /// The step that makes a node keep a value which it has been asked about and does not have.
    #[must_use]
    pub(super) fn full_step(&self, key: DhtKey, id: ValueId) -> Option<Step> {
        self.publications.get(&(key, id)).map(Publication::full_step)
    }

    /// Whether a value found at a node is the edition published, or a later one.
    #[must_use]
    pub(super) fn is_current(&self, key: DhtKey, id: ValueId, sequence: Option<u16>) -> bool {
        let publication = self.publications.get(&(key, id));
        let own = publication.and_then(|publication| publication.value.as_signed());
        own.is_none_or(|own| sequence.unwrap_or_default() >= own.sequence())
    }

    /// Notes that a node keeps a value.
    pub(super) fn kept(&mut self, key: DhtKey, id: ValueId, node: NodeKey) {
        let Some(publication) = self.publications.get_mut(&(key, id)) else { return };
        let round = publication.round;
        publication.places.insert(node, Place::Kept { round });
    }

    /// Notes that a node refused a value.
    pub(super) fn refused(&mut self, now: Moment, key: DhtKey, id: ValueId, node: NodeKey) {
        if let Some(publication) = self.publications.get_mut(&(key, id)) {
            publication.places.insert(node, Place::Refused { until: now.plus(REFUSED_PAUSE) });
        }
    }

    /// Notes that a node did not answer about a value, or wants another token.
    pub(super) fn unanswered(&mut self, key: DhtKey, id: ValueId, node: NodeKey) {
        if let Some(publication) = self.publications.get_mut(&(key, id)) {
            publication.places.remove(&node);
        }
    }

    /// Forgets what a node at `key` keeps, because it is gone.
    pub(super) fn lost(&mut self, key: DhtKey, node: NodeKey) {
        for (_, publication) in self.publications.range_mut(range(key)) {
            publication.places.remove(&node);
        }
    }

    /// The outcomes that the puts at `key` have by now.
    pub(super) fn settle(&mut self, now: Moment, key: DhtKey, progress: &[Progress]) -> Vec<Event> {
        let mut events = Vec::new();
        let ids: Vec<PublicationId> = self.publications.range(range(key)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(publication) = self.publications.get_mut(&id) else { continue };
            let Some(deadline) = publication.deadline else { continue };
            let kept = publication.kept();
            let refused =
                |node: &NodeKey| matches!(publication.places.get(node), Some(Place::Refused { .. }));
            let done = |node: &NodeKey| publication.keeps(node) || refused(node);
            let complete = is_complete(progress, done);
            let asked = progress.iter().map(|family| family.asked).sum::<usize>().max(publication.asked);
            let over = complete || is_unreachable(progress) || deadline <= now;
            let closest = progress.iter().flat_map(|family| &family.closest);
            let enough = closest.filter(|node| publication.keeps(node)).count() >= ENOUGH;
            if over || enough {
                let result = match (kept, asked) {
                    (0, 0) => Err(Failure::Alone { waited: now.since(publication.started) }),
                    (0, asked) => Err(Failure::NoAnswer { asked }),
                    (kept, _) => Ok(kept),
                };
                let operation = publication.operation.take();
                events.extend(operation.map(|operation| Event::Put { operation, result }));
            }
            if over {
                self.end_round(now, id, kept > 0);
            }
        }
        events
    }

    /// The keys of the values whose round takes too long.
    pub(super) fn overdue(&mut self, now: Moment) -> Vec<DhtKey> {
        let overdue = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let mut keys: Vec<DhtKey> = overdue.map(|(_, (key, _))| *key).collect();
        keys.dedup();
        keys
    }

    /// When something is to be done.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        deadline.into_iter().chain(self.announcements.next_deadline()).min()
    }

    /// Number of values published.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.publications.len()
    }

    /// The keys at which something is published.
    pub(super) fn keys(&self) -> BTreeSet<DhtKey> {
        self.publications.keys().map(|(key, _)| *key).collect()
    }

    fn at(&self, key: DhtKey) -> impl Iterator<Item = &Publication> {
        self.publications.range(range(key)).map(|(_, publication)| publication)
    }

    fn end_round(&mut self, now: Moment, id: PublicationId, reached: bool) {
        let Some(publication) = self.publications.get_mut(&id) else { return };
        if let Some(deadline) = publication.deadline.take() {
            self.deadlines.remove(&(deadline, id));
        }
        if !publication.permanent {
            self.publications.remove(&id);
        } else if reached {
            self.announcements.succeeded(id.0, id.1);
        } else {
            self.announcements.failed(now, id.0, id.1);
        }
    }

    fn end(&mut self, id: PublicationId, failure: Failure) -> Option<Event> {
        let publication = self.publications.remove(&id)?;
        if let Some(deadline) = publication.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        publication.operation.map(|operation| Event::Put { operation, result: Err(failure) })
    }
}

impl Publication {
    fn full_step(&self) -> Step {
        let created = (!self.permanent).then_some(self.created);
        Step::Put { value: Arc::clone(&self.value), created }
    }

    /// Makes room by a node that is not among the closest any more.
    fn forget_a_place(&mut self, closest: &[NodeKey]) {
        let far = self.places.keys().find(|node| !closest.contains(node)).copied();
        if let Some(far) = far {
            self.places.remove(&far);
        }
    }
}

fn range(key: DhtKey) -> std::ops::RangeInclusive<PublicationId> {
    (key, ValueId(0))..=(key, ValueId(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, key, node};
    use super::*;
    use crate::dht::content::Content;

    const WALL: UnixMillis = UnixMillis(1_700_000_000_000);

    fn nodes(numbers: std::ops::RangeInclusive<u8>) -> Vec<NodeKey> {
        numbers.map(node).collect()
    }

    fn published(permanent: bool) -> Publishing {
        let mut publishing = Publishing::default();
        let value = Arc::new(Value::plain(ValueId(1), Content::new(0, vec![1])));
        publishing.put(at(0), WALL, key(), value, permanent, OperationId(1)).unwrap();
        assert_eq!(publishing.due(at(0)).len(), 1);
        publishing
    }

    fn progress(closest: Vec<NodeKey>) -> Vec<Progress> {
        vec![Progress { asked: closest.len(), alive: !closest.is_empty(), synced: true, closest }]
    }

    fn put(result: Result<usize, Failure>) -> Vec<Event> {
        vec![Event::Put { operation: OperationId(1), result }]
    }

    #[test]
    fn a_put_succeeds_when_most_of_the_closest_nodes_have_it_and_goes_on_to_all() {
        let mut publishing = published(false);
        let closest = nodes(1..=8);
        assert_eq!(publishing.steps(at(0), key(), &closest).len(), 8);
        assert_eq!(publishing.steps(at(0), key(), &closest).len(), 0);
        for number in 1..=8 {
            publishing.kept(key(), ValueId(1), node(number));
            let events = publishing.settle(at(1), key(), &progress(closest.clone()));
            assert_eq!(events, if number == 5 { put(Ok(5)) } else { Vec::new() });
        }
        assert_eq!(publishing.len(), 0, "a value put once is forgotten then");
        assert_eq!(publishing.next_deadline(), None);
    }

    #[test]
    fn the_publisher_is_told_why_nobody_has_a_value() {
        let mut publishing = published(false);
        assert_eq!(publishing.settle(at(19), key(), &[]), []);
        let alone = put(Err(Failure::Alone { waited: PUT_PATIENCE }));
        assert_eq!(publishing.settle(at(20), key(), &[]), alone);
        let mut publishing = published(false);
        publishing.steps(at(0), key(), &nodes(1..=2));
        for number in 1..=2 {
            publishing.unanswered(key(), ValueId(1), node(number));
        }
        let events =
            publishing.settle(at(9), key(), &[Progress { asked: 2, ..progress(Vec::new())[0].clone() }]);
        assert_eq!(events, put(Err(Failure::NoAnswer { asked: 2 })));
    }

    #[test]
    fn a_permanent_value_is_verified_before_the_nodes_forget_it_and_put_where_it_is_new() {
        let mut publishing = published(true);
        let value = || publishing.publications[&(key(), ValueId(1))].value.clone();
        let whole = Step::Put { value: value(), created: None };
        for (_, _, step) in publishing.steps(at(0), key(), &nodes(1..=3)) {
            assert_eq!(step, whole);
        }
        for number in 1..=3 {
            publishing.kept(key(), ValueId(1), node(number));
        }
        assert_eq!(publishing.settle(at(1), key(), &progress(nodes(1..=3))), put(Ok(3)));
        assert_eq!(publishing.next_deadline(), Some(at(590)));
        // A node that came to be among the closest meanwhile.
        let steps = publishing.steps(at(100), key(), &nodes(1..=4));
        assert_eq!(steps, [(node(4), ValueId(1), whole)]);
        publishing.kept(key(), ValueId(1), node(4));
        assert_eq!(publishing.due(at(590)).len(), 1);
        let steps = publishing.steps(at(590), key(), &nodes(1..=4));
        assert!(steps.len() == 4 && steps.iter().all(|(_, _, step)| *step == Step::Check));
    }

    #[test]
    fn a_node_that_refuses_is_left_alone_for_a_while() {
        let mut publishing = published(true);
        publishing.steps(at(0), key(), &nodes(1..=1));
        publishing.refused(at(0), key(), ValueId(1), node(1));
        let events = publishing.settle(at(0), key(), &progress(nodes(1..=1)));
        assert_eq!(events, put(Err(Failure::NoAnswer { asked: 1 })));
        assert!(publishing.steps(at(59), key(), &nodes(1..=1)).is_empty());
        assert_eq!(publishing.steps(at(60), key(), &nodes(1..=1)).len(), 1);
    }

    #[test]
    fn the_nodes_remembered_for_a_value_are_bounded() {
        let mut publishing = published(true);
        for number in 1..=200 {
            publishing.steps(at(0), key(), &nodes(number..=number));
        }
        assert_eq!(publishing.publications[&(key(), ValueId(1))].places.len(), MAX_PLACES);
    }
}
