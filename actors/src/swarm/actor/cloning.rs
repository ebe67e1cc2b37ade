//! Fetching a conversation for the first time: from whom, and when it is tried again.

use std::collections::VecDeque;
use std::time::Duration;

use skep_protocol::ids::DeviceId;

use super::ConversationActor;
use crate::supervision::{Scope, TimerId};
use crate::swarm::exchange::{CloneError, CloneJob};

/// First pause before a clone is tried again; doubles up to [`LONGEST_CLONE_PAUSE`]
/// (`spec: swarm 9.3`).
pub(super) const FIRST_CLONE_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause between two tries to clone.
const LONGEST_CLONE_PAUSE: Duration = Duration::from_secs(12 * 3600);

/// Refused clones until the node is restarted (`spec: swarm 9.3`).
const MAX_REFUSED_CLONES: u32 = 3;

/// Devices remembered as places to clone from.
const MAX_SOURCES: usize = 64;

/// How far a conversation that is not here yet is.
#[derive(Debug, Default)]
pub(super) struct CloneState {
    pub(super) sources: VecDeque<DeviceId>,
    pub(super) running: bool,
    pub(super) failures: u32,
    pub(super) refusals: u32,
    /// The timer for the next try, if one runs.
    pub(super) pause: Option<TimerId>,
    /// Why it is not here, when it should have been or was tried: for people.
    pub(super) problem: Option<String>,
}

impl CloneState {
    /// Counts a try that failed; how long to wait before the next.
    fn failed(&mut self) -> Duration {
        let pause = FIRST_CLONE_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_CLONE_PAUSE);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Forgets the failures; whether the pause was a long one. So invitations, however many, never
    /// make tries follow each other faster than after a first failure.
    fn forgive(&mut self) -> bool {
        let long = self.failures > 1;
        if long {
            self.failures = 0;
        }
        long
    }
}

impl ConversationActor {
    pub(super) fn clone_from(&mut self, devices: &[DeviceId], scope: &mut Scope<'_, Self>) {
        if self.replica.is_some() || self.leaving {
            return;
        }
        for device in devices {
            if !self.clone.sources.contains(device) && self.clone.sources.len() < MAX_SOURCES {
                self.clone.sources.push_back(*device);
            }
        }
        if !self.clone.running && self.clone.pause.is_none() {
            self.try_clone(scope);
        }
    }

    pub(super) fn try_clone(&mut self, scope: &mut Scope<'_, Self>) {
        if self.clone.refusals >= MAX_REFUSED_CLONES || self.replica.is_some() {
            return;
        }
        let Some(device) = self.clone.sources.pop_front() else { return };
        self.clone.sources.push_back(device);
        self.clone.running = true;
        let job = CloneJob {
            conversation: self.config.id,
            device,
            folder: self.config.folder.clone(),
            founder: self.founder(scope),
            links: self.config.links.clone(),
            pool: self.config.pool.clone(),
            share: self.config.share,
        };
        scope.spawn_background(job.run(), move |conversation, cloned, scope| {
            conversation.clone.running = false;
            match cloned {
                Ok((replica, standing, channel)) => {
                    conversation.channels.insert(device, channel);
                    conversation.ready(replica, standing, true, scope);
                }
                Err(error) => {
                    conversation.remember_refusal(device, None, None, error.to_string(), scope);
                    conversation.clone_failed(&error, scope);
                }
            }
        });
    }

    pub(super) fn clone_failed(&mut self, error: &CloneError, scope: &mut Scope<'_, Self>) {
        let conversation = self.config.id;
        self.clone.refusals += u32::from(error.is_refusal());
        let final_one = self.clone.refusals >= MAX_REFUSED_CLONES;
        let then =
            if final_one { "it is not tried again until the node restarts" } else { "it is tried again" };
        let reason = format!("{error}; {then}");
        tracing::warn!(%conversation, reason, "a conversation could not be fetched");
        self.failed(reason, scope);
        let pause = self.clone.failed();
        self.clone_later(pause, scope);
    }

    pub(super) fn clone_later(&mut self, pause: Duration, scope: &mut Scope<'_, Self>) {
        let timer = scope.after(pause, |conversation, scope| {
            conversation.clone.pause = None;
            conversation.try_clone(scope);
        });
        self.clone.pause = Some(timer);
    }

    /// An explicit invitation ends a long pause (`spec: swarm 9.3`), and so does a new link to a member.
    pub(super) fn invited(&mut self, scope: &mut Scope<'_, Self>) {
        if self.clone.forgive()
            && let Some(timer) = self.clone.pause.take()
        {
            scope.cancel(timer);
            self.clone_later(FIRST_CLONE_PAUSE, scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_to_clone_get_rarer_until_somebody_invites_us_again() {
        let mut clone = CloneState::default();
        let pauses: Vec<_> = (0..3).map(|_| clone.failed().as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20]);
        assert!(clone.forgive(), "the long pause is cut short");
        assert_eq!(clone.failed(), FIRST_CLONE_PAUSE);
    }

    #[test]
    fn a_flood_of_invitations_does_not_make_tries_to_clone_more_frequent() {
        let mut clone = CloneState::default();
        for _ in 0..100 {
            clone.failed();
            assert!(!clone.forgive(), "the pause is the shortest as it is");
            clone.failed();
            assert!(clone.forgive());
            assert!(!clone.forgive());
        }
    }
}
