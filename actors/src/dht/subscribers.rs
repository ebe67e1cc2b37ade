//! The listeners on this machine, told as fast as each of them takes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use skep_protocol::time::Moment;

use super::messages::{ListenEvent, ListenId};
use crate::supervision::{Outlet, SendError};

/// Most events kept for a listener that is busy; the oldest go first.
const MAX_BACKLOG: usize = 256;

/// When a busy listener is told again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(50);

/// How often listeners that have gone without a word are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

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
    /// When those that have gone are looked for, if there are any.
    sweep: Option<Moment>,
}

impl Subscribers {
    /// Adds one, or replaces it.
    pub(super) fn insert(&mut self, now: Moment, id: ListenId, outlet: Outlet<ListenEvent>) {
        self.sweep.get_or_insert(now.plus(SWEEP_INTERVAL));
        self.subscribers.insert(id, Subscriber { outlet, backlog: VecDeque::new() });
    }

    pub(super) fn remove(&mut self, id: ListenId) {
        self.subscribers.remove(&id);
    }

    /// Tells a listener this event after what it was not told yet. Returns whether it is still there;
    /// if not, the caller [removes](Self::remove) it.
    pub(super) fn tell(&mut self, now: Moment, id: ListenId, event: ListenEvent) -> bool {
        match self.subscribers.get_mut(&id) {
            Some(subscriber) => subscriber.backlog.push_back(event),
            None => return true,
        }
        self.flush(now, id)
    }

    /// When [`Self::due`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        [self.retell, self.sweep].into_iter().flatten().min()
    }

    /// Does what is due: tells those with a backlog again, and looks for those that are gone. Returns
    /// these; the caller [removes](Self::remove) them.
    pub(super) fn due(&mut self, now: Moment) -> BTreeSet<ListenId> {
        // Who is told in vain and then looked for is gone once.
        let mut gone = BTreeSet::new();
        if self.retell.is_some_and(|moment| moment <= now) {
            self.retell = None;
            let waiting = self.subscribers.iter().filter(|(_, subscriber)| !subscriber.backlog.is_empty());
            let waiting: Vec<ListenId> = waiting.map(|(id, _)| *id).collect();
            gone.extend(waiting.into_iter().filter(|id| !self.flush(now, *id)));
        }
        if self.sweep.is_some_and(|moment| moment <= now) {
            gone.extend(self.gone());
            self.sweep = (self.subscribers.len() > gone.len()).then_some(now.plus(SWEEP_INTERVAL));
        }
        gone
    }

    /// Those that have gone without a word.
    pub(super) fn gone(&self) -> Vec<ListenId> {
        let gone = self.subscribers.iter().filter(|(_, subscriber)| !subscriber.outlet.is_open());
        gone.map(|(id, _)| *id).collect()
    }

    fn flush(&mut self, now: Moment, id: ListenId) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return true };
        while let Some(event) = subscriber.backlog.front() {
            match subscriber.outlet.try_send(event.clone()) {
                Ok(()) => drop(subscriber.backlog.pop_front()),
                Err(SendError::Closed { .. }) => return false,
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::dht::messages::DhtError;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn event(number: usize) -> ListenEvent {
        ListenEvent::Refused(DhtError::NoAnswer { asked: number })
    }

    /// A listener with room for one event.
    fn listener(subscribers: &mut Subscribers) -> (ListenId, mpsc::Receiver<ListenEvent>) {
        let (outlet, events) = Outlet::channel("test", 1);
        let id = ListenId::unique();
        subscribers.insert(at(0), id, outlet);
        (id, events)
    }

    #[test]
    fn a_busy_listener_is_told_later_in_order_and_loses_the_oldest_of_too_many() {
        let mut subscribers = Subscribers::default();
        let (id, mut events) = listener(&mut subscribers);
        for number in 0..MAX_BACKLOG + 3 {
            assert!(subscribers.tell(at(0), id, event(number)));
        }
        assert_eq!(subscribers.next_deadline(), Some(at(50)));
        assert_eq!(events.try_recv().unwrap(), event(0));
        for number in 3..MAX_BACKLOG + 3 {
            let now = subscribers.next_deadline().unwrap();
            assert!(subscribers.due(now).is_empty());
            assert_eq!(events.try_recv().unwrap(), event(number));
        }
        assert_eq!(subscribers.retell, None);
    }

    #[test]
    fn listeners_that_are_gone_are_found_when_told_and_within_a_minute() {
        let mut subscribers = Subscribers::default();
        let (told, events) = listener(&mut subscribers);
        drop(events);
        assert!(!subscribers.tell(at(0), told, event(1)));
        subscribers.remove(told);
        let (silent, events) = listener(&mut subscribers);
        drop(events);
        assert_eq!(subscribers.next_deadline(), Some(at(60_000)));
        assert_eq!(subscribers.due(at(60_000)), BTreeSet::from([silent]));
        assert_eq!(subscribers.next_deadline(), None);
    }

    #[test]
    fn a_listener_that_is_gone_with_a_backlog_does_not_end_the_search_for_others() {
        let mut subscribers = Subscribers::default();
        let (busy, events) = listener(&mut subscribers);
        let (staying, _events) = listener(&mut subscribers);
        for number in 0..3 {
            assert!(subscribers.tell(at(0), busy, event(number)));
        }
        drop(events);
        assert_eq!(subscribers.due(at(60_000)), BTreeSet::from([busy]));
        subscribers.remove(busy);
        assert_eq!(subscribers.next_deadline(), Some(at(120_000)), "{staying:?} may go too");
    }
}
