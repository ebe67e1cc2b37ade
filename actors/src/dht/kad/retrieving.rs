//! Gets under way: all of the closest peers are asked, and what they say is merged.
//!
//! A get is over when everybody asked has answered or failed, or a moment after half of them have:
//! a peer that has just vanished must not make others wait for its time-out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::dht::kind;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;

use crate::dht::messages::{DhtError, Found, Ticket};

/// How long a get may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// How long the slower half of the peers is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// Most gets at once; each may hold [`MAX_VALUES`] values.
const MAX_GETS: usize = 1024;

/// Most values of one key, as for a listener (`spec: dht 6.2`).
pub(super) const MAX_VALUES: usize = 4096;

/// Most bytes of values of one get: no key of Jami's holds a hundredth of it.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Most pages asked of one peer.
const MAX_PAGES: u32 = 64;

#[derive(Debug)]
struct Retrieval {
    key: DhtKey,
    since: Moment,
    /// Pages asked of each peer that has not yet given its last one.
    open: BTreeMap<PeerId, u32>,
    closed: BTreeSet<PeerId>,
    answered: usize,
    /// When half of the peers had answered.
    half: Option<Moment>,
    values: BTreeMap<ValueId, Value>,
    bytes: usize,
}

/// What a get does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask the same peer for values after this id.
    Page(ValueId),
    /// Nothing more of this peer.
    Nothing,
}

/// All gets under way.
#[derive(Debug, Default)]
pub(super) struct Retrieving {
    retrievals: BTreeMap<Ticket, Retrieval>,
}

impl Retrieving {
    /// Starts one, with the values this node keeps itself.
    pub(super) fn get(
        &mut self,
        ticket: Ticket,
        key: DhtKey,
        own: Vec<Value>,
        now: Moment,
    ) -> Result<(), DhtError> {
        if self.retrievals.len() >= MAX_GETS {
            return Err(DhtError::TooMany { what: "gets at once", limit: MAX_GETS });
        }
        let mut retrieval = Retrieval {
            key,
            since: now,
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            answered: 0,
            half: None,
            values: BTreeMap::new(),
            bytes: 0,
        };
        for value in own {
            retrieval.merge(value);
        }
        self.retrievals.insert(ticket, retrieval);
        Ok(())
    }

    pub(super) fn key(&self, ticket: Ticket) -> Option<DhtKey> {
        self.retrievals.get(&ticket).map(|retrieval| retrieval.key)
    }

    pub(super) fn tickets(&self) -> Vec<Ticket> {
        self.retrievals.keys().copied().collect()
    }

    /// Which of the closest peers were not asked yet; marks them as asked.
    pub(super) fn ask(&mut self, ticket: Ticket, closest: &[PeerId]) -> Vec<PeerId> {
        let Some(retrieval) = self.retrievals.get_mut(&ticket) else { return Vec::new() };
        let asked = |peer: &&PeerId| !retrieval.open.contains_key(*peer) && !retrieval.closed.contains(*peer);
        let peers: Vec<PeerId> = closest.iter().filter(asked).copied().collect();
        retrieval.open.extend(peers.iter().map(|peer| (*peer, 1)));
        peers
    }

    /// A peer gave a page of values and the id after which the next begins, or failed to (`None`).
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        peer: PeerId,
        page: Option<(Vec<Value>, Option<ValueId>)>,
        now: Moment,
    ) -> Next {
        let Some(retrieval) = self.retrievals.get_mut(&ticket) else { return Next::Nothing };
        let Some(pages) = retrieval.open.get_mut(&peer) else { return Next::Nothing };
        if let Some((values, next)) = page {
            *pages = pages.saturating_add(1);
            let next = next.filter(|_| *pages <= MAX_PAGES);
            let fits = values.into_iter().all(|value| retrieval.merge(value));
            if let (true, Some(after)) = (fits, next) {
                return Next::Page(after);
            }
            retrieval.answered = retrieval.answered.saturating_add(1);
        }
        retrieval.open.remove(&peer);
        retrieval.closed.insert(peer);
        if retrieval.half.is_none() && retrieval.answered >= retrieval.open.len().max(1) {
            retrieval.half = Some(now);
        }
        Next::Nothing
    }

    /// The outcome, once there is one. `known` is how many of the closest peers are known so far;
    /// while `searching`, more may come.
    pub(super) fn settle(
        &mut self,
        ticket: Ticket,
        known: usize,
        searching: bool,
        now: Moment,
    ) -> Option<Result<Found, DhtError>> {
        let retrieval = self.retrievals.get(&ticket)?;
        let asked = retrieval.open.len().saturating_add(retrieval.closed.len());
        let late = now >= retrieval.since.plus(DEADLINE);
        let something = retrieval.answered > 0 || !retrieval.values.is_empty();
        let complete = retrieval.open.is_empty() && something && !searching;
        let enough = retrieval.half.is_some_and(|half| now >= half.plus(GRACE));
        if !(late || complete || enough) {
            return None;
        }
        let retrieval = self.retrievals.remove(&ticket)?;
        if retrieval.answered == 0 && retrieval.values.is_empty() {
            let alone = asked == 0 && known == 0;
            return Some(Err(match alone {
                true => DhtError::Alone { waited: DEADLINE },
                false => DhtError::NoAnswer { asked },
            }));
        }
        let values = retrieval.values.into_values().collect();
        Some(Ok(Found { values, answered: retrieval.answered }))
    }

    /// Gets that end at `now` if nothing else happens.
    pub(super) fn due(&self, now: Moment) -> Vec<Ticket> {
        let due = self.retrievals.iter().filter(|(_, retrieval)| retrieval.deadline() <= now);
        due.map(|(ticket, _)| *ticket).collect()
    }

    /// The earliest moment at which [`Self::due`] is not empty.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.retrievals.values().map(Retrieval::deadline).min()
    }
}

impl Retrieval {
    /// Keeps the better of two values with one id; false when there is no room for more.
    fn merge(&mut self, value: Value) -> bool {
        let size = value.size();
        match self.values.get(&value.id) {
            Some(old) if old.is_same(&value) || kind::may_replace(old, &value).is_err() => return true,
            Some(old) => self.bytes = self.bytes.saturating_sub(old.size()),
            None if self.values.len() >= MAX_VALUES => return false,
            None => {}
        }
        if self.bytes.saturating_add(size) > MAX_BYTES {
            return false;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.values.insert(value.id, value);
        true
    }

    fn deadline(&self) -> Moment {
        let end = self.since.plus(DEADLINE);
        self.half.map_or(end, |half| half.plus(GRACE).min(end))
    }
}
