//! Whom to look for in the DHT while nobody of a conversation is connected (`spec: drt 7`).

use super::random::Random;
use crate::ids::AccountId;

/// How many of `members` members are watched at once: all of a few, and of many a few more with every
/// doubling.
#[must_use]
pub fn watched_count(members: usize) -> usize {
    let doublings = usize::try_from(members.max(1).ilog2()).unwrap_or(usize::MAX);
    members.min(doublings.saturating_add(3))
}

/// Members to watch in addition to those `watched`, so that [`watched_count`] are.
#[must_use]
pub fn choose(members: &[AccountId], watched: &[AccountId], random: &mut Random) -> Vec<AccountId> {
    let others = members.iter().filter(|member| !watched.contains(member)).copied().collect();
    random.choose(others, watched_count(members.len()).saturating_sub(watched.len()))
}

/// Whom to watch instead of `failed`, none of whose devices could be reached. Nobody when `active`
/// nodes, connected, connecting or known, are enough to go on with, or when all others are watched.
#[must_use]
pub fn replacement(
    members: &[AccountId],
    watched: &[AccountId],
    failed: AccountId,
    active: usize,
    random: &mut Random,
) -> Option<AccountId> {
    if active >= watched_count(members.len()).saturating_mul(2) {
        return None;
    }
    let is_other = |member: &&AccountId| **member != failed && !watched.contains(member);
    random.choose(members.iter().filter(is_other).copied().collect(), 1).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u8) -> Vec<AccountId> {
        (0..count).map(|number| AccountId([number; 20])).collect()
    }

    #[test]
    fn the_number_watched_grows_with_the_logarithm() {
        let counts = [0, 1, 2, 4, 5, 8, 16, 1000, 10_000].map(watched_count);
        assert_eq!(counts, [0, 1, 2, 4, 5, 6, 7, 12, 16]);
        assert_eq!(watched_count(usize::MAX), 66);
    }

    #[test]
    fn members_are_chosen_at_random_and_each_once() {
        let members = members(100);
        let mut random = Random::from_seed(1);
        let mut chosen = choose(&members, &members[..2], &mut random);
        assert_eq!(chosen.len(), 7);
        chosen.extend(&members[..2]);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 9);
        assert_eq!(choose(&members, &chosen, &mut random), []);
    }

    #[test]
    fn an_unreachable_member_is_replaced_unless_enough_nodes_are_active() {
        let members = members(20);
        let mut random = Random::from_seed(1);
        let watched = &members[..7];
        let other = replacement(&members, watched, members[0], 13, &mut random).unwrap();
        assert!(members[7..].contains(&other));
        assert_eq!(replacement(&members, watched, members[0], 14, &mut random), None);
        assert_eq!(replacement(&members, &members, members[0], 0, &mut random), None);
    }
}
