//! Time as values: cores never ask for it, they are told.
//!
//! Two kinds exist and do not mix. [`UnixMillis`] is wall-clock time that is written into messages
//! and files; it may jump. [`Moment`] is monotonic time since the node started; deadlines are
//! counted in it. All arithmetic saturates, because peers choose some of the operands.

use std::fmt;
use std::time::Duration;

/// Wall-clock time in milliseconds since 1970-01-01 UTC; negative before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// From whole seconds; saturates instead of overflowing.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// From a record that has the time in milliseconds and, for older readers, in seconds: the
    /// milliseconds count if they are there.
    #[must_use]
    pub fn from_either(millis: Option<i64>, seconds: Option<i64>) -> Option<Self> {
        millis.map(Self).or_else(|| seconds.map(Self::from_seconds))
    }

    /// Whole seconds, rounded towards negative infinity.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This time plus `duration`, or the latest representable time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:03}", self.seconds(), self.0.rem_euclid(1000))
    }
}

/// Monotonic time: how long the node has been running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment `duration` after this one, or the latest representable one.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time: timers go by the one, which never jumps; only the ages of what others made, or of what is
/// in files, are told by the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since some start.
    pub moment: Moment,
    /// Of the wall clock.
    pub wall: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_on_extreme_times_saturates() {
        assert_eq!(UnixMillis::from_seconds(i64::MAX).0, i64::MAX);
        assert_eq!(UnixMillis(i64::MAX).plus(Duration::MAX).0, i64::MAX);
        assert_eq!(UnixMillis(0).since(UnixMillis(i64::MAX)), Duration::ZERO);
        assert_eq!(Moment(Duration::MAX).plus(Duration::MAX).0, Duration::MAX);
        assert_eq!(Moment::default().since(Moment(Duration::MAX)), Duration::ZERO);
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        assert_eq!(UnixMillis::from_either(Some(1001), Some(2)), Some(UnixMillis(1001)));
        assert_eq!(UnixMillis::from_either(None, Some(2)), Some(UnixMillis(2000)));
        assert_eq!(UnixMillis::from_either(None, None), None);
    }

    #[test]
    fn seconds_round_down_before_the_epoch() {
        assert_eq!(UnixMillis(-1).seconds(), -1);
        assert_eq!(UnixMillis(1999).seconds(), 1);
    }
}
