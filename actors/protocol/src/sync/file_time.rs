//! The times that daemons take from files: of preferences and of profiles (`spec: sync 4.8`).

use crate::time::UnixMillis;

/// Where the file clock of daemons on Linux begins, in Unix seconds: 2174-01-01.
const LINUX_START: i64 = 6_437_664_000;

/// Where the file clock of daemons on Windows begins, in seconds before 1970: 1601-01-01.
const WINDOWS_START: u64 = 11_644_473_600;

/// Numbers below this many seconds are Unix time: the year 2223.
const WINDOWS_FROM: u64 = 8_000_000_000;

/// Numbers from here on are negative ones of the Linux form.
const LINUX_FROM: u64 = 1 << 63;

/// A time in whole Unix seconds, from 1970 up to 2173. It is read in the forms of all platforms and
/// written in that of Linux, which those of the others take for later than any of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime(i64);

impl FileTime {
    /// The latest time that can be written.
    const MAX: Self = Self(LINUX_START - 1);

    /// A time of a clock, cut to the second and to what can be written.
    #[must_use]
    pub fn at(time: UnixMillis) -> Self {
        Self(time.seconds().clamp(0, Self::MAX.0))
    }

    /// The time of a change that is made now of something that was changed at `self`.
    #[must_use]
    pub fn next(self, now: UnixMillis) -> Self {
        Self::at(now).max(Self(self.0.saturating_add(1))).min(Self::MAX)
    }

    /// Unix seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// The number to send.
    #[must_use]
    pub const fn to_wire(self) -> u64 {
        self.0.wrapping_sub(LINUX_START).cast_unsigned()
    }

    /// A number that was received, in the form of any platform.
    #[must_use]
    pub fn from_wire(number: u64) -> Self {
        let seconds = match number {
            LINUX_FROM.. => number.cast_signed().saturating_add(LINUX_START),
            WINDOWS_FROM.. => i64::try_from(number - WINDOWS_START.min(number)).unwrap_or(i64::MAX),
            _ => i64::try_from(number).unwrap_or(i64::MAX),
        };
        Self(seconds.clamp(0, Self::MAX.0))
    }

    /// The same from decimal digits; `None` when it is no number of 64 bits.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::from_wire)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_of_all_platforms_are_read_and_that_of_linux_is_written() {
        // (M) for 13.11.0 and 17.0.0.
        let recorded = FileTime::from_wire(18_446_744_069_067_231_427);
        assert_eq!(recorded.seconds(), 1_795_343_811);
        assert_eq!(recorded.to_wire(), 18_446_744_069_067_231_427);
        for number in ["1795343811", "13439817411", "18446744069067231427"] {
            assert_eq!(FileTime::from_text(number), Some(recorded), "{number}");
        }
        for text in ["", "-1", "soon", "18446744073709551616"] {
            assert_eq!(FileTime::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_change_is_later_than_what_it_changes_whatever_the_clock_says() {
        let ahead = FileTime::at(UnixMillis::from_seconds(2_000));
        assert_eq!(ahead.next(UnixMillis::from_seconds(1_000)).seconds(), 2_001);
        assert_eq!(ahead.next(UnixMillis::from_seconds(3_000)).seconds(), 3_000);
        assert_eq!(FileTime::MAX.next(UnixMillis(i64::MAX)), FileTime::MAX);
    }

    proptest! {
        #[test]
        fn every_number_is_read_and_what_is_written_is_read_again(number: u64, time: i64) {
            for time in [FileTime::from_wire(number), FileTime::at(UnixMillis(time))] {
                prop_assert_eq!(FileTime::from_wire(time.to_wire()), time);
            }
        }

        #[test]
        fn later_times_have_greater_numbers(one in 0..FileTime::MAX.0, other in 0..FileTime::MAX.0) {
            let (one, other) = (FileTime(one), FileTime(other));
            prop_assert_eq!(one.cmp(&other), one.to_wire().cmp(&other.to_wire()));
        }
    }
}
