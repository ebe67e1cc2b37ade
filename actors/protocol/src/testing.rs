//! What the tests of all rooms share: recorded data, and damaged versions of it for the fuzz bodies.
//!
//! The recordings are the stored corpus. A fuzz body is a plain function `fuzz_…(data: &[u8])` in
//! the `fuzz_tests` of its room; `FUZZING.md` lists them.

use std::io::Read as _;

/// The bytes of a file under `tests/data`.
macro_rules! data {
    ($($path:literal),+) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/", $($path),+)).as_slice()
    };
}

/// The text of a file under `tests/data`.
macro_rules! text {
    ($($path:literal),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/", $($path),+))
    };
}

pub(crate) use {data, text};

/// The releases of which there are recordings.
pub(crate) const DAEMONS: [&str; 3] = ["jami-13.7.0", "jami-13.11.0", "newest"];

/// A file under `tests/data/vectors` whose name is made while the test runs, inflated when it ends
/// in `.gz`.
#[expect(clippy::disallowed_methods, reason = "tests read recordings; cores do not touch files")]
pub(crate) fn recording(path: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/vectors");
    let bytes = std::fs::read(format!("{folder}/{path}")).unwrap();
    if !path.ends_with(".gz") {
        return bytes;
    }
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut inflated).unwrap();
    inflated
}

/// The lines of such a file, each from its JSON.
pub(crate) fn recorded_lines<T: serde::de::DeserializeOwned>(path: &str) -> Vec<T> {
    let text = String::from_utf8(recording(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A fixed sequence of pseudo-random numbers (xorshift), for mutations.
pub(crate) struct Sequence(pub(crate) u64);

impl Sequence {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Gives `fuzz` the recorded input, then many damaged versions of it: changed bytes, cuts, repeats;
/// then noise.
pub(crate) fn with_mutations(golden: &[u8], rounds: usize, mut fuzz: impl FnMut(&[u8])) {
    let mut sequence = Sequence(0x5eed_0001);
    fuzz(golden);
    for _ in 0..rounds {
        let mut bytes = golden.to_vec();
        for _ in 0..=sequence.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = sequence.below(bytes.len());
            match sequence.below(4) {
                0 => bytes.truncate(at),
                1 => bytes[at] = sequence.byte(),
                2 => bytes[at] ^= 1 << sequence.below(8),
                _ => bytes.extend_from_within(at..),
            }
        }
        fuzz(&bytes);
    }
    for length in [0, 1, 2, 7, 64, 1000] {
        let noise: Vec<u8> = (0..length).map(|_| sequence.byte()).collect();
        fuzz(&noise);
    }
}
