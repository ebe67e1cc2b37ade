//! Texts that nobody can guess: branches, tags, call ids, client nonces.

use aws_lc_rs::digest::{Context, SHA256};

/// A stream of random texts from a seed that the caller draws.
///
/// Whoever could guess the next one could answer our requests in the server's place, and those we write to
/// see many of them: so each is a hash, from which nothing of the seed can be had.
pub(crate) struct Tokens {
    seed: [u8; 32],
    count: u64,
}

impl Tokens {
    pub(crate) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    fn bytes(&mut self) -> [u8; 16] {
        self.count = self.count.wrapping_add(1);
        let mut context = Context::new(&SHA256);
        context.update(&self.seed);
        context.update(&self.count.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        bytes
    }

    /// 32 hexadecimal digits.
    pub(crate) fn text(&mut self) -> String {
        hex::encode(self.bytes())
    }

    /// A number from 0 to 1, for times.
    pub(crate) fn fraction(&mut self) -> f64 {
        let [first, second, ..] = self.bytes();
        f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tokens")
    }
}
