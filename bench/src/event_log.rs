//! What a node told, with the time it arrived: written by the task that reads the node's socket,
//! searched by the measurement.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::{BenchError, Result};

/// A growing list of events. Clones are the same list.
#[derive(Debug)]
pub(crate) struct EventLog<E> {
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
pub(crate) struct Mark(usize);

impl Mark {
    /// Before every event.
    pub(crate) const BEGINNING: Self = Self(0);
}

impl<E> Clone for EventLog<E> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<E> EventLog<E> {
    /// The log of the node of this name.
    pub(crate) fn new(node: &str) -> Self {
        let shared = Shared { events: Mutex::new(Vec::new()), grown: Notify::new() };
        Self { node: node.to_owned(), shared: Arc::new(shared) }
    }

    /// Adds an event that arrived now.
    pub(crate) fn push(&self, event: E) {
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push((Instant::now(), event));
        drop(events);
        self.shared.grown.notify_waiters();
    }

    /// The end of the log.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.shared.events.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// The first event after `since` that `pick` takes, and when it arrived.
    pub(crate) async fn wait<T>(
        &self,
        since: Mark,
        what: &str,
        within: Duration,
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
        tokio::time::timeout(within, search).await.map_err(|_| BenchError::Timeout {
            node: self.node.clone(),
            event: what.to_owned(),
            within,
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

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn an_event_is_found_whether_it_came_before_or_comes_later() {
        let log = EventLog::new("node");
        log.push(1);
        let after_one = log.mark();
        let odd = |event: &i32| (event % 2 == 1).then_some(*event);
        assert_eq!(log.wait(Mark::BEGINNING, "odd", Duration::from_secs(1), odd).await.unwrap().1, 1);
        let writer = log.clone();
        let later = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            writer.push(2);
            writer.push(3);
        });
        assert_eq!(log.wait(after_one, "odd", Duration::from_secs(1), odd).await.unwrap().1, 3);
        later.await.unwrap();
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn waiting_in_vain_names_the_node_and_the_event() {
        let log = EventLog::<i32>::new("alice");
        let error =
            log.wait(Mark::BEGINNING, "message", Duration::from_secs(5), |_| Some(())).await.unwrap_err();
        assert_eq!(error.to_string(), "alice: no message within 5 s");
    }
}
