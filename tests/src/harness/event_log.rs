//! What a node told: written by the task that reads its socket, searched by the scenario.

use std::sync::{Arc, Mutex, PoisonError};

use skep::NodeEvent;
use tokio::sync::Notify;

use super::{Failure, PATIENCE, Result};

/// A growing list of events. Clones are the same list, and a node that restarts goes on writing it.
#[derive(Clone, Debug)]
pub struct EventLog {
    node: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Vec<NodeEvent>>,
    grown: Notify,
}

/// A place in a log: events before it are not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Mark {
    /// Before every event.
    pub const BEGINNING: Self = Self(0);
}

impl EventLog {
    /// The log of the node of this name.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), shared: Arc::default() }
    }

    /// Adds an event.
    pub fn push(&self, event: NodeEvent) {
        self.shared.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.shared.grown.notify_waiters();
    }

    /// The end of the log.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.shared.events.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// The first event after `since` that `pick` takes, now in the log.
    pub fn find<T>(&self, since: Mark, mut pick: impl FnMut(&NodeEvent) -> Option<T>) -> Option<T> {
        self.search(&mut since.0.clone(), &mut pick)
    }

    /// The first event after `since` that `pick` takes, now or later.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when none comes within [`PATIENCE`].
    pub async fn wait<T>(
        &self,
        since: Mark,
        expected: impl Into<String>,
        mut pick: impl FnMut(&NodeEvent) -> Option<T>,
    ) -> Result<T> {
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

    fn search<T>(&self, next: &mut usize, pick: &mut impl FnMut(&NodeEvent) -> Option<T>) -> Option<T> {
        let events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.get(*next..).unwrap_or_default() {
            *next += 1;
            if let Some(found) = pick(event) {
                return Some(found);
            }
        }
        None
    }
}
