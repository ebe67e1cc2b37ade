//! How much work one channel may ask of us: a bucket of tokens that fills with time.

use std::time::Duration;

use crate::time::Moment;

/// Messages that a channel may have handled at once. An honest device sends two when the channel opens
/// and answers ours.
pub const BURST: u8 = 16;

/// Time in which one more message may be handled. The reference asks at most every ten minutes.
pub const REFILL: Duration = Duration::from_secs(5);

/// The tokens of one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    tokens: u8,
    /// Counted in [`REFILL`]s since the node's start.
    filled: u32,
}

impl Budget {
    /// A full bucket.
    pub(super) fn full(now: Moment) -> Self {
        Self { tokens: BURST, filled: period(now) }
    }

    /// Takes a token for one message; false when none is left, and the message is to be ignored.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        let period = period(now);
        let gained = u8::try_from(period.saturating_sub(self.filled)).unwrap_or(u8::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(BURST);
        self.filled = self.filled.max(period);
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

fn period(now: Moment) -> u32 {
    u32::try_from(now.0.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_handled_up_to_the_burst_and_then_at_the_rate() {
        let mut budget = Budget::full(Moment::default());
        let handled = |budget: &mut Budget, at: u64| {
            (0..1000).filter(|_| budget.take(Moment(Duration::from_secs(at)))).count()
        };
        assert_eq!(handled(&mut budget, 0), usize::from(BURST));
        assert_eq!(handled(&mut budget, 4), 0);
        assert_eq!(handled(&mut budget, 5), 1);
        assert_eq!(handled(&mut budget, 3), 0, "a clock that goes back gives nothing");
        assert_eq!(handled(&mut budget, 1_000_000), usize::from(BURST));
    }
}
