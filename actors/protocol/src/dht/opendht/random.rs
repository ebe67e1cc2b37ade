//! Unpredictable numbers from a seed that the caller draws: transaction ids must not be guessed by
//! those who would answer in another's name, and tests must be able to repeat every run.

use std::time::Duration;

use crate::ids::sha256;

/// A stream of numbers: SHA-256 of the seed and a counter.
#[derive(Clone)]
pub(super) struct Randomness {
    seed: [u8; 32],
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl std::fmt::Debug for Randomness {
    /// The seed is a secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Randomness").finish_non_exhaustive()
    }
}

impl Randomness {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub(super) const fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0, block: [0; 32], used: 32 }
    }

    /// The next bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// The next number of 32 bits.
    pub(super) fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// A number of 32 bits that is not zero.
    pub(super) fn non_zero(&mut self) -> u32 {
        self.number().max(1)
    }

    /// A number less than `bound`; zero if `bound` is zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let number = u64::from_be_bytes(self.bytes());
        u64::try_from(bound).ok().and_then(|bound| number.checked_rem(bound)).map_or(0, |rest| {
            // Less than `bound`, which is a `usize`.
            usize::try_from(rest).unwrap_or_default()
        })
    }

    /// A time between `shortest` and `longest`, to the millisecond.
    pub(super) fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let span = usize::try_from(longest.saturating_sub(shortest).as_millis()).unwrap_or(usize::MAX);
        let extra = self.below(span.saturating_add(1));
        shortest.saturating_add(Duration::from_millis(u64::try_from(extra).unwrap_or(u64::MAX)))
    }

    /// An id that shares its first `bits` bits with `prefix`.
    pub(super) fn id_with_prefix(&mut self, prefix: &[u8; 20], bits: usize) -> [u8; 20] {
        let mut id: [u8; 20] = self.bytes();
        for (index, (byte, fixed)) in id.iter_mut().zip(prefix).enumerate() {
            let kept = bits.saturating_sub(index.saturating_mul(8)).min(8);
            let mask = u8::try_from(0xff_00_u16 >> kept & 0xff).unwrap_or(0xff);
            *byte = (fixed & mask) | (*byte & !mask);
        }
        id
    }

    fn byte(&mut self) -> u8 {
        if self.used >= self.block.len() {
            let mut input = [0; 40];
            input[..32].copy_from_slice(&self.seed);
            input[32..].copy_from_slice(&self.counter.to_be_bytes());
            self.block = sha256(&input);
            self.counter = self.counter.wrapping_add(1);
            self.used = 0;
        }
        let byte = self.block.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_one_stream_and_another_seed_another() {
        let mut first = Randomness::from_seed([1; 32]);
        let mut second = Randomness::from_seed([1; 32]);
        let mut other = Randomness::from_seed([2; 32]);
        let stream: [u8; 100] = first.bytes();
        assert_eq!(stream, second.bytes());
        assert_ne!(stream, other.bytes::<100>());
        assert_ne!(stream, first.bytes::<100>());
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Randomness::from_seed([3; 32]);
        assert_eq!(random.below(0), 0);
        let mut seen = [false; 7];
        for _ in 0..200 {
            seen[random.below(7)] = true;
            let time = random.between(Duration::from_millis(500), Duration::from_millis(510));
            assert!((500..=510).contains(&time.as_millis()), "{time:?}");
        }
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn a_random_id_keeps_its_prefix() {
        let mut random = Randomness::from_seed([4; 32]);
        let prefix = [0b1010_1010; 20];
        for bits in [0, 1, 7, 8, 9, 100, 159, 160] {
            let mut free = false;
            for _ in 0..40 {
                let id = random.id_with_prefix(&prefix, bits);
                let same = (0..160).take_while(|at| bit(&id, *at) == bit(&prefix, *at)).count();
                assert!(same >= bits, "{bits} bits: {id:?}");
                free |= same == bits;
            }
            assert!(free, "{bits} bits");
        }
    }

    fn bit(id: &[u8; 20], at: usize) -> bool {
        id[at / 8] & (0x80 >> (at % 8)) != 0
    }
}
