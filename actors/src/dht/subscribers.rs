//! The listeners on this machine, told as fast as each of them takes it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use skep_protocol::time::Moment;

use super::messages::{ListenEvent, ListenId};
use crate::supervision::{Outlet, SendError};

/// Most events kept for a listener that is busy; the oldest go first.
const MAX_BACKLOG: usize = 256;

/// When a busy listener is told again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Subscriber {
    outlet: Outlet<ListenEvent>,
    backlog: VecDeque<ListenEvent>,
}

/// The listeners.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    subscribers: BTreeMap<ListenId, Subscriber>,
    /// When those with a backlog are told again.
    retell: Option<Moment>,
}

impl Subscribers {
    /// Adds one, or replaces it.
    pub(super) fn insert(&mut self, id: ListenId, outlet: Outlet<ListenEvent>) {
        self.subscribers.insert(id, Subscriber { outlet, backlog: VecDeque::new() });
    }

    pub(super) fn remove(&mut self, id: ListenId) {
        self.subscribers.remove(&id);
    }

    /// Tells a listener this event after what it was not told yet. Returns whether it is still there.
    pub(super) fn tell(&mut self, now: Moment, id: ListenId, event: ListenEvent) -> bool {
        match self.subscribers.get_mut(&id) {
            Some(subscriber) => subscriber.backlog.push_back(event),
            None => return true,
        }
        self.flush(now, id)
    }

    /// When to [tell again](Self::retell).
    pub(super) const fn next_deadline(&self) -> Option<Moment> {
        self.retell
    }

    /// Tells those with a backlog again, if it is time to. Returns those that are gone.
    pub(super) fn retell(&mut self, now: Moment) -> Vec<ListenId> {
        if self.retell.is_none_or(|moment| moment > now) {
            return Vec::new();
        }
        self.retell = None;
        let waiting = self.subscribers.iter().filter(|(_, subscriber)| !subscriber.backlog.is_empty());
        let waiting: Vec<ListenId> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().filter(|id| !self.flush(now, *id)).collect()
    }

    fn flush(&mut self, now: Moment, id: ListenId) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return true };
        while let Some(event) = subscriber.backlog.front() {
            match subscriber.outlet.try_send(event.clone()) {
                Ok(()) => drop(subscriber.backlog.pop_front()),
                Err(SendError::Closed { .. }) => {
                    self.subscribers.remove(&id);
                    return false;
                }
                Err(_) => break,
            }
        }
        if subscriber.backlog.len() > MAX_BACKLOG {
            subscriber.backlog.pop_front();
            tracing::warn!(listener = ?id, "a listener of the DHT is too slow: an event is lost");
        }
        if !subscriber.backlog.is_empty() && self.retell.is_none() {
            self.retell = Some(now.plus(BACKLOG_PAUSE));
        }
        true
    }
}
