//! What happens when a mailbox is full and when an actor fails.

use std::collections::VecDeque;
use std::time::Duration;

use skep_protocol::time::Moment;

/// What a full mailbox does with one more message. Every message kind states its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The sender waits for room; one that cannot wait is told that the mailbox is full.
    Wait,
    /// The sender is told that the mailbox is full, at once.
    Reject,
    /// The oldest waiting message of this policy goes; for news that age quickly.
    DropOldest,
    /// A waiting message of the same kind and key takes this one in, full or not
    /// ([`super::Message::coalesce`]); for "look again". If there is none, as [`Policy::Wait`].
    Coalesce(u64),
}

impl Policy {
    /// Whether a sender that can wait does.
    pub(super) fn waits(self) -> bool {
        matches!(self, Self::Wait | Self::Coalesce(_))
    }
}

/// What a parent does when a child's restarts are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// The parent fails too, and is restarted with all its children.
    Escalate,
    /// The child stays down and the parent is told by [`super::Actor::child_failed`]; for children
    /// that serve one peer, whose trouble must not become everybody's.
    GiveUp,
}

/// How often and how fast a failed actor is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts allowed within [`Self::window`].
    pub max_restarts: usize,
    /// The sliding window in which restarts are counted.
    pub window: Duration,
    /// Pause before the first restart; doubles with each further one in the window.
    pub first_pause: Duration,
    /// Longest pause before a restart.
    pub longest_pause: Duration,
    /// What follows when the restarts are used up.
    pub on_limit: OnLimit,
}

impl Default for RestartPolicy {
    /// Five restarts in half a minute, after 10 ms to 5 s each: a transient fault is over by then,
    /// and a permanent one is seen by the parent within seconds.
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_secs(30),
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_secs(5),
            on_limit: OnLimit::Escalate,
        }
    }
}

impl RestartPolicy {
    /// The default, for a child whose failure is not its parent's.
    #[must_use]
    pub fn giving_up() -> Self {
        Self { on_limit: OnLimit::GiveUp, ..Self::default() }
    }
}

/// The restarts of one actor within its window.
#[derive(Debug, Default)]
pub(super) struct RestartHistory {
    times: VecDeque<Moment>,
}

impl RestartHistory {
    /// Counts one failure at `now`; returns the pause before the restart, or `None` when the
    /// restarts are used up. `jitter` is a random number in 0..=1 that stretches the pause by up to
    /// a half, so that actors that failed together do not return together.
    pub(super) fn next_pause(
        &mut self,
        policy: &RestartPolicy,
        now: Moment,
        jitter: f64,
    ) -> Option<Duration> {
        while self.times.front().is_some_and(|time| now.since(*time) > policy.window) {
            self.times.pop_front();
        }
        if self.times.len() >= policy.max_restarts {
            return None;
        }
        let doublings = u32::try_from(self.times.len()).unwrap_or(u32::MAX).min(31);
        self.times.push_back(now);
        let pause = policy.first_pause.saturating_mul(1 << doublings).min(policy.longest_pause);
        Some(pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_restarts_run_out() {
        let policy = RestartPolicy { longest_pause: Duration::from_millis(50), ..RestartPolicy::default() };
        let mut history = RestartHistory::default();
        let pauses: Vec<_> = (0..6).map(|_| history.next_pause(&policy, at(1), 0.0)).collect();
        let expected = [10, 20, 40, 50, 50].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(pauses[..5], expected);
        assert_eq!(pauses[5], None);
    }

    #[test]
    fn restarts_older_than_the_window_do_not_count() {
        let policy = RestartPolicy { max_restarts: 1, ..RestartPolicy::default() };
        let mut history = RestartHistory::default();
        assert!(history.next_pause(&policy, at(0), 0.0).is_some());
        assert!(history.next_pause(&policy, at(30), 0.0).is_none());
        assert_eq!(history.next_pause(&policy, at(31), 1.0), Some(Duration::from_millis(15)));
    }
}
