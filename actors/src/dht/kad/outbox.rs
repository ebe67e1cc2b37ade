//! Requests to peers: a few at work with each, the others waiting their turn.
//!
//! A start-up or a returning peer can ask for hundreds of requests at once. libp2p opens a stream
//! for each at once and drops those over its limit, so the limit is kept here.

use std::collections::{BTreeMap, VecDeque};

use libp2p::PeerId;
use skep_protocol::ids::DhtKey;

use super::publishing::PublicationId;
use super::wire::Request;
use crate::dht::messages::Ticket;

/// Most requests at work with one peer; a quarter of what the other side takes.
const MAX_IN_FLIGHT: usize = 16;

/// Most bytes waiting for one peer.
const MAX_LANE_BYTES: usize = 512 * 1024;

/// Most bytes waiting for all peers together.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that a request without values counts for.
const REQUEST_BYTES: usize = 128;

/// Names a request until its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId(u64);

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To publish.
    Store(PublicationId),
    /// To get.
    Get(Ticket),
    /// To be told.
    Listen(DhtKey),
    /// The further pages of the answer to [`Self::Listen`].
    ListenPage(DhtKey),
    /// To tell of a change.
    Notify(DhtKey),
    /// To tell all there is, because a change was not heard.
    NotifyAgain(DhtKey),
    /// Not to be told any more.
    Unlisten,
    /// To see whether the peer is there.
    Ping,
}

/// A request to be sent now.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) id: RequestId,
    pub(super) peer: PeerId,
    pub(super) request: Request,
}

#[derive(Debug, Default)]
struct Lane {
    in_flight: usize,
    bytes: usize,
    waiting: VecDeque<(RequestId, Request)>,
}

/// All requests to peers.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: BTreeMap<PeerId, Lane>,
    open: BTreeMap<RequestId, (PeerId, Purpose)>,
    last: u64,
    waiting_bytes: usize,
}

/// The request cannot be kept until its turn.
#[derive(Debug)]
pub(super) struct Overflow;

fn size(request: &Request) -> usize {
    match request {
        Request::Store { entries, .. } => {
            entries.iter().fold(REQUEST_BYTES, |sum, entry| sum.saturating_add(entry.packed.len()))
        }
        Request::Notify { values, .. } => {
            values.iter().fold(REQUEST_BYTES, |sum, packed| sum.saturating_add(packed.len()))
        }
        _ => REQUEST_BYTES,
    }
}

impl Outbox {
    /// Takes a request; returns it if it is to be sent now.
    pub(super) fn push(
        &mut self,
        peer: PeerId,
        request: Request,
        purpose: Purpose,
    ) -> Result<Option<Parcel>, Overflow> {
        let lane = self.lanes.entry(peer).or_default();
        let send = lane.in_flight < MAX_IN_FLIGHT;
        let size = size(&request);
        let full = lane.bytes.saturating_add(size) > MAX_LANE_BYTES
            || self.waiting_bytes.saturating_add(size) > MAX_WAITING_BYTES;
        if !send && full {
            return Err(Overflow);
        }
        self.last = self.last.wrapping_add(1);
        let id = RequestId(self.last);
        self.open.insert(id, (peer, purpose));
        if send {
            lane.in_flight = lane.in_flight.saturating_add(1);
            return Ok(Some(Parcel { id, peer, request }));
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(size);
        lane.bytes = lane.bytes.saturating_add(size);
        lane.waiting.push_back((id, request));
        Ok(None)
    }

    /// A request was answered or has failed; returns what it was, and the next to send.
    pub(super) fn finish(&mut self, id: RequestId) -> Option<(PeerId, Purpose, Option<Parcel>)> {
        let (peer, purpose) = self.open.remove(&id)?;
        let lane = self.lanes.get_mut(&peer)?;
        let Some((id, request)) = lane.waiting.pop_front() else {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            if lane.in_flight == 0 {
                self.lanes.remove(&peer);
            }
            return Some((peer, purpose, None));
        };
        self.waiting_bytes = self.waiting_bytes.saturating_sub(size(&request));
        lane.bytes = lane.bytes.saturating_sub(size(&request));
        Some((peer, purpose, Some(Parcel { id, peer, request })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::kad::wire::Entry;

    #[test]
    fn requests_beyond_the_limit_wait_their_turn_in_order() {
        let (mut outbox, peer) = (Outbox::default(), PeerId::random());
        let request = |number| Request::Get { key: DhtKey([1; 20]), after: number };
        let sent = (0..100).filter_map(|n| outbox.push(peer, request(n), Purpose::Ping).unwrap());
        let mut sent: VecDeque<Parcel> = sent.collect();
        assert_eq!(sent.len(), MAX_IN_FLIGHT);
        let mut order = Vec::new();
        while let Some(parcel) = sent.pop_front() {
            order.push(parcel.request);
            sent.extend(outbox.finish(parcel.id).unwrap().2);
        }
        assert_eq!(order, (0..100).map(request).collect::<Vec<_>>());
        assert!(outbox.lanes.is_empty() && outbox.open.is_empty() && outbox.waiting_bytes == 0);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let (mut outbox, peer) = (Outbox::default(), PeerId::random());
        let entries = vec![Entry { age: Default::default(), packed: vec![0; 60_000] }];
        let request = Request::Store { key: DhtKey([1; 20]), entries };
        let taken =
            (0..1000).take_while(|_| outbox.push(peer, request.clone(), Purpose::Ping).is_ok()).count();
        assert!(taken < 100 && outbox.waiting_bytes <= MAX_LANE_BYTES);
    }
}
