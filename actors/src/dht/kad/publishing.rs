//! The values this node publishes: which peers keep each, and when they must be told again.
//!
//! A put is sent to the [`REPLICAS`] closest peers. [`Announcements`] says when a permanent one goes
//! to them again; besides, it goes to every peer that becomes one of the closest or comes back from
//! being away, since that may have lost everything (`spec: dht 6.1`). Others are forgotten once they
//! were delivered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use skep_protocol::dht::announce::{Announcements, MAX_ANNOUNCEMENTS, Permanence};
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use skep_protocol::time::Moment;

use super::wire::Reason;
use crate::dht::messages::{DhtError, PutReport, Ticket};

/// How many peers keep a value (`spec: dht 6.1`).
pub(super) const REPLICAS: usize = 8;

/// How long a put may take until it is answered; a permanent one goes on afterwards.
const DEADLINE: Duration = Duration::from_secs(30);

/// When a peer that could not keep a value, or did not answer, is asked again.
const RETRY: Duration = Duration::from_secs(60);

/// When a peer is asked again that was asked too often.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How one peer stands to one publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Asked, no answer yet.
    Asked,
    /// Keeps the value until the next announcement.
    Keeps,
    /// Forbids it by its rules; to be asked again with the next announcement.
    Forbids,
    /// Does not keep it, to be asked again at this moment.
    Lacks(Moment),
}

#[derive(Debug)]
struct Publication {
    value: Arc<Value>,
    permanent: bool,
    since: Moment,
    /// Whether it was announced before.
    announced: bool,
    /// Who waits for the answer.
    ticket: Option<Ticket>,
    places: BTreeMap<PeerId, Place>,
    refused: Option<Reason>,
}

/// What one publication asks for: this value for these peers.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) peers: Vec<PeerId>,
    pub(super) value: Arc<Value>,
    pub(super) age: Duration,
}

/// Names one publication.
pub(super) type PublicationId = (DhtKey, ValueId);

/// The answer to a put.
pub(super) type PutAnswer = (Ticket, Result<PutReport, DhtError>);

/// All publications.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    announcements: Announcements,
    publications: BTreeMap<PublicationId, Publication>,
}

impl Publishing {
    /// Starts to publish; a value with the same id at the same key takes the place of the one before.
    pub(super) fn put(
        &mut self,
        key: DhtKey,
        value: Arc<Value>,
        permanent: bool,
        ticket: Ticket,
        now: Moment,
    ) -> Result<Option<PutAnswer>, DhtError> {
        let id = (key, value.id);
        let full = DhtError::TooMany { what: "published values", limit: MAX_ANNOUNCEMENTS };
        if self.publications.len() >= MAX_ANNOUNCEMENTS && !self.publications.contains_key(&id) {
            return Err(full);
        }
        let permanence = if permanent { Permanence::Permanent } else { Permanence::Once };
        self.announcements.publish(now, key, Arc::clone(&value), permanence).map_err(|_| full)?;
        let publication = Publication {
            value,
            permanent,
            since: now,
            announced: false,
            ticket: Some(ticket),
            places: BTreeMap::new(),
            refused: None,
        };
        let before = self.publications.insert(id, publication);
        Ok(before.and_then(|before| before.ticket).map(|ticket| (ticket, Err(DhtError::Superseded))))
    }

    /// Stops publishing.
    pub(super) fn cancel(&mut self, id: PublicationId) -> Option<PutAnswer> {
        self.announcements.cancel(id.0, id.1);
        let ticket = self.publications.remove(&id)?.ticket?;
        Some((ticket, Err(DhtError::Cancelled)))
    }

    pub(super) fn count(&self) -> usize {
        self.publications.len()
    }

    pub(super) fn ids(&self) -> Vec<PublicationId> {
        self.publications.keys().copied().collect()
    }

    pub(super) fn ids_at(&self, key: DhtKey) -> Vec<PublicationId> {
        let range = (key, ValueId(0))..=(key, ValueId(u64::MAX));
        self.publications.range(range).map(|(id, _)| *id).collect()
    }

    /// The values to announce to all of the closest peers now, and which of them were announced
    /// before.
    pub(super) fn announce(&mut self, now: Moment) -> Vec<(PublicationId, Arc<Value>, bool)> {
        let due = self.announcements.due(now);
        let announced = due.into_iter().filter_map(|due| {
            let id = (due.key, due.value.id);
            let publication = self.publications.get_mut(&id)?;
            publication.places.retain(|_, place| *place == Place::Asked);
            Some((id, due.value, std::mem::replace(&mut publication.announced, true)))
        });
        announced.collect()
    }

    /// Publications of which some peer is to be asked again, or whose time is over.
    pub(super) fn due(&self, now: Moment) -> Vec<PublicationId> {
        let late = |publication: &Publication| publication.deadline().is_some_and(|deadline| deadline <= now);
        self.publications.iter().filter(|(_, publication)| late(publication)).map(|(id, _)| *id).collect()
    }

    /// The earliest moment at which [`Self::announce`] or [`Self::due`] is not empty.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let retry = self.publications.values().filter_map(Publication::deadline).min();
        retry.into_iter().chain(self.announcements.next_deadline()).min()
    }

    /// Which peers must be sent the value now, given the closest ones; marks them as asked.
    pub(super) fn deliver(&mut self, id: PublicationId, closest: &[PeerId], now: Moment) -> Option<Delivery> {
        let publication = self.publications.get_mut(&id)?;
        publication.places.retain(|peer, place| *place == Place::Asked || closest.contains(peer));
        let wanted = |peer: &&PeerId| match publication.places.get(*peer) {
            None => true,
            Some(Place::Asked | Place::Keeps | Place::Forbids) => false,
            Some(Place::Lacks(next)) => *next <= now,
        };
        let peers: Vec<PeerId> = closest.iter().filter(wanted).copied().collect();
        if peers.is_empty() {
            return None;
        }
        publication.places.extend(peers.iter().map(|peer| (*peer, Place::Asked)));
        let age = if publication.permanent { Duration::ZERO } else { now.since(publication.since) };
        Some(Delivery { peers, value: Arc::clone(&publication.value), age })
    }

    /// A peer answered, or failed to (`None`).
    pub(super) fn answered(
        &mut self,
        id: PublicationId,
        peer: PeerId,
        answer: Option<Result<(), Reason>>,
        now: Moment,
    ) {
        let Some(publication) = self.publications.get_mut(&id) else { return };
        let Some(place) = publication.places.get_mut(&peer) else { return };
        *place = match answer {
            Some(Ok(())) => Place::Keeps,
            Some(Err(Reason::Policy)) => Place::Forbids,
            Some(Err(Reason::TooOften)) => Place::Lacks(now.plus(PATIENCE)),
            Some(Err(_)) | None => Place::Lacks(now.plus(RETRY)),
        };
        if let Some(Err(reason)) = answer {
            publication.refused = Some(reason);
        }
    }

    /// A peer is gone or back, and what it kept perhaps lost.
    pub(super) fn lost(&mut self, peer: &PeerId) {
        for publication in self.publications.values_mut() {
            publication.places.remove(peer);
        }
    }

    /// The answer to the put, once there is one; `known` is how many of the closest are known.
    /// Forgets a publication that is not permanent when it is delivered.
    pub(super) fn settle(&mut self, id: PublicationId, known: usize, now: Moment) -> Option<PutAnswer> {
        let publication = self.publications.get_mut(&id)?;
        let (asked, kept) = publication.counts();
        let late = now >= publication.since.plus(DEADLINE);
        let complete = asked == 0 && kept > 0;
        let quorum = kept > known.min(REPLICAS) / 2;
        let refused = (asked == 0 && kept == 0).then_some(publication.refused).flatten();
        let result = match refused {
            _ if quorum || complete || (late && kept > 0) => Some(Ok(PutReport { stored: kept })),
            Some(reason) if known > 0 => Some(Err(DhtError::Refused { reason: reason.into() })),
            _ if late && known == 0 => Some(Err(DhtError::Alone { waited: DEADLINE })),
            _ if late => Some(Err(DhtError::NoAnswer { asked: known })),
            _ => None,
        };
        let answer = result.and_then(|result| publication.ticket.take().map(|ticket| (ticket, result)));
        if !publication.permanent && publication.ticket.is_none() && (asked == 0 || late) {
            self.publications.remove(&id);
        }
        answer
    }
}

impl Publication {
    /// Peers asked and not heard of, and peers that keep the value.
    fn counts(&self) -> (usize, usize) {
        let count = |wanted: fn(&Place) -> bool| self.places.values().filter(|place| wanted(place)).count();
        (count(|place| *place == Place::Asked), count(|place| *place == Place::Keeps))
    }

    fn deadline(&self) -> Option<Moment> {
        let end = (self.ticket.is_some() || !self.permanent).then(|| self.since.plus(DEADLINE));
        let retry = self.places.values().filter_map(|place| match place {
            Place::Lacks(next) => Some(*next),
            Place::Asked | Place::Keeps | Place::Forbids => None,
        });
        retry.chain(end).min()
    }
}
