//! Virtual time, in whole microseconds: nothing is rounded differently elsewhere.

use std::fmt;

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;

/// A time since the start of a run, or a length of time, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// From seconds; negative ones and what is no number become zero.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        // Such a cast saturates.
        Self((seconds * SECOND as f64) as u64)
    }

    /// From milliseconds; negative ones and what is no number become zero.
    #[must_use]
    pub fn from_millis(millis: f64) -> Self {
        Self::from_seconds(millis / 1000.0)
    }

    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> f64 {
        self.0 as f64 / SECOND as f64
    }

    /// In milliseconds.
    #[must_use]
    pub const fn millis(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// This much later, or the latest time that can be told.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// How long after `earlier`; nothing if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3} s", self.seconds())
    }
}
