//! How often somebody's profiles are taken: each costs the decoding of a picture and a write.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::AccountId;
use crate::time::Moment;

/// Profiles taken of one person at once: more than anybody changes in a row, on all their devices.
const BURST: u32 = 12;

/// Time after which one more is taken.
const REFILL: Duration = Duration::from_secs(20);

/// People remembered; beyond it those whose measure is full are forgotten, and then nobody new is taken.
const MAX_REMEMBERED: usize = 4096;

/// What each person has left.
#[derive(Debug, Default)]
pub struct ProfilePace(BTreeMap<AccountId, (u32, Moment)>);

impl ProfilePace {
    /// Whether one more is taken now.
    pub fn allows(&mut self, now: Moment, account: AccountId) -> bool {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&account) {
            self.0.retain(|_, state| refilled(*state, now).0 > 0);
            if self.0.len() >= MAX_REMEMBERED {
                return false;
            }
        }
        let state = self.0.entry(account).or_insert((0, now));
        *state = refilled(*state, now);
        let is_allowed = state.0 < BURST;
        state.0 += u32::from(is_allowed);
        is_allowed
    }
}

/// How many are counted after the time that has passed, and since when.
fn refilled((taken, since): (u32, Moment), now: Moment) -> (u32, Moment) {
    let steps = u32::try_from(now.since(since).as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
    if steps >= taken { (0, now) } else { (taken - steps, since.plus(REFILL.saturating_mul(steps))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: AccountId = AccountId([1; 20]);

    fn at(seconds: u64) -> Moment {
        Moment::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_flood_of_one_person_is_slowed_and_nobody_else() {
        let mut pace = ProfilePace::default();
        let taken =
            |pace: &mut ProfilePace, second| (0..100).filter(|_| pace.allows(at(second), BOB)).count();
        assert_eq!(taken(&mut pace, 0), 12);
        assert!(pace.allows(at(0), AccountId([2; 20])));
        assert_eq!(taken(&mut pace, 19), 0);
        assert_eq!(taken(&mut pace, 45), 2);
        assert_eq!(taken(&mut pace, 60), 1, "what was left of the time counts");
        assert_eq!(taken(&mut pace, 10_000), 12);
    }

    #[test]
    fn memory_is_bounded() {
        let mut pace = ProfilePace::default();
        let person = |number: usize| {
            let mut id = [7; 20];
            id[..8].copy_from_slice(&number.to_be_bytes());
            AccountId(id)
        };
        let taken = (0..MAX_REMEMBERED + 10).filter(|number| pace.allows(at(0), person(*number))).count();
        assert_eq!((taken, pace.0.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert!(pace.allows(at(100), person(MAX_REMEMBERED + 1)), "the others are forgotten");
    }
}
