//! What a node told, and when: written by the task that listens to it, searched by the scenario.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use skep::NodeEvent;
use tokio::sync::Notify;

use super::{Failure, PATIENCE, Result};

/// A growing list of events. Clones are the same list, and a node that restarts goes on writing it.
#[derive(Debug)]
pub struct EventLog<E = NodeEvent> {
    node: String,
    shared: Arc<Shared<E>>,
}

#[derive(Debug)]
struct Shared<E> {
    events: Mutex<Vec<(Instant, E)>>,
    grown: Notify,
}

/// A place in a log: events before it are not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Mark {
    /// Before every event.
    pub const BEGINNING: Self = Self(0);
}

impl<E> Clone for EventLog<E> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<E> EventLog<E> {
    /// The log of the node of this name.
    #[must_use]
    pub fn new(node: &str) -> Self {
        let shared = Shared { events: Mutex::new(Vec::new()), grown: Notify::new() };
        Self { node: node.to_owned(), shared: Arc::new(shared) }
    }

    /// Adds an event that arrived now.
    pub fn push(&self, event: E) {
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push((Instant::now(), event));
        drop(events);
        self.shared.grown.notify_waiters();
    }

    /// The end of the log.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.shared.events.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// The first event after `since` that `pick` takes, now in the log.
    pub fn find<T>(&self, since: Mark, mut pick: impl FnMut(&E) -> Option<T>) -> Option<T> {
        self.search(&mut since.0.clone(), &mut pick).map(|(_, found)| found)
    }

    /// The first event after `since` that `pick` takes, now or later.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when none comes within [`PATIENCE`].
    pub async fn wait<T>(
        &self,
        since: Mark,
        expected: impl Into<String>,
        pick: impl FnMut(&E) -> Option<T>,
    ) -> Result<T> {
        self.arrival(since, expected, pick).await.map(|(_, found)| found)
    }

    /// As [`Self::wait`], with the time at which the event arrived.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn arrival<T>(
        &self,
        since: Mark,
        expected: impl Into<String>,
        mut pick: impl FnMut(&E) -> Option<T>,
    ) -> Result<(Instant, T)> {
        let mut next = since.0;
        let search = async {
            loop {
                let grown = self.shared.grown.notified();
                tokio::pin!(grown);
                // Registered before looking, so that an event arriving meanwhile is not missed.
                grown.as_mut().enable();
                if let Some(found) = self.search(&mut next, &mut pick) {
                    return found;
                }
                grown.await;
            }
        };
        tokio::time::timeout(PATIENCE, search).await.map_err(|_| Failure::Timeout {
            node: self.node.clone(),
            expected: expected.into(),
            within: PATIENCE,
        })
    }

    fn search<T>(&self, next: &mut usize, pick: &mut impl FnMut(&E) -> Option<T>) -> Option<(Instant, T)> {
        let events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        for (arrived, event) in events.get(*next..).unwrap_or_default() {
            *next += 1;
            if let Some(found) = pick(event) {
                return Some((*arrived, found));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    }

    #[test]
    fn an_event_is_found_whether_it_came_before_or_comes_later() {
        paused().block_on(async {
            let log = EventLog::new("node");
            log.push(1);
            let after_one = log.mark();
            let odd = |event: &i32| (event % 2 == 1).then_some(*event);
            assert_eq!(log.wait(Mark::BEGINNING, "odd", odd).await.unwrap(), 1);
            assert_eq!(log.find(after_one, odd), None);
            let writer = log.clone();
            let later = tokio::spawn(async move {
                writer.push(2);
                writer.push(3);
            });
            assert_eq!(log.wait(after_one, "odd", odd).await.unwrap(), 3);
            later.await.unwrap();
        });
    }

    #[test]
    fn waiting_in_vain_names_the_node_and_the_event() {
        paused().block_on(async {
            let log = EventLog::<i32>::new("alice");
            let error = log.wait(Mark::BEGINNING, "a message", |_| Some(())).await.unwrap_err();
            assert_eq!(error.to_string(), format!("alice: expected a message within {PATIENCE:?}"));
        });
    }
}
