//! Where choices come from: a stream of numbers from a seed that the caller draws.
//!
//! What is chosen is whom to dial and whom to tell, which nobody gains by guessing, so the generator
//! is small and fast (SplitMix64) rather than strong: every router of a simulation has one.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        // Less than `bound`, which is a `usize`.
        self.number().checked_rem(bound).map_or(0, |rest| usize::try_from(rest).unwrap_or_default())
    }

    /// At most `count` of `items`, each as likely as the others, in random order.
    #[must_use]
    pub fn choose<T>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        let count = count.min(items.len());
        for place in 0..count {
            let other = place + self.below(items.len() - place);
            items.swap(place, other);
        }
        items.truncate(count);
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_of_different_items_and_every_item_can_be_chosen() {
        let mut random = Random::from_seed(1);
        let mut seen = [0; 5];
        for _ in 0..500 {
            let mut chosen = random.choose((0..5_usize).collect(), 2);
            chosen.iter().for_each(|item| seen[*item] += 1);
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), 2);
        }
        assert!(seen.iter().all(|times| (150..250).contains(times)), "{seen:?}");
        assert_eq!(random.choose(vec![1, 2], 9).len(), 2);
        assert!(random.choose(Vec::<u8>::new(), 2).is_empty());
        assert_eq!(random.below(0), 0);
    }
}
