//! Who is heard: the loudest few, and each for a while.
//!
//! More than a few voices at once cannot be understood, and every one of them costs a decoder and an encoder.
//! Who has a place keeps it through the pauses of speech, so that words are not cut.

use std::collections::BTreeMap;

/// Most voices that are mixed at once.
pub const MAX_MIXED: usize = 6;

/// How long a place is kept without being loud, in frames of 20 ms: half a second.
pub const HOLD: u32 = 25;

/// Mean square up to which a frame counts as silence: about -60 dB of the loudest.
pub const QUIET: u64 = 1_000;

/// Names a speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Speaker(pub u32);

/// How loud a frame is: the mean square of its samples.
#[must_use]
pub fn loudness(frame: &[i16]) -> u64 {
    let square = |sample: &i16| {
        let sample = i64::from(*sample);
        (sample * sample).unsigned_abs()
    };
    let count = u64::try_from(frame.len()).unwrap_or(u64::MAX).max(1);
    frame.iter().map(square).sum::<u64>() / count
}

/// Chooses for each moment who is heard.
#[derive(Clone, Debug)]
pub struct Loudest {
    places: usize,
    /// For how many moments each of them keeps the place without being loud.
    heard: BTreeMap<Speaker, u32>,
}

impl Loudest {
    /// With so many places, at most [`MAX_MIXED`].
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: places.clamp(1, MAX_MIXED), heard: BTreeMap::new() }
    }

    /// Who is heard now.
    pub fn heard(&self) -> impl Iterator<Item = Speaker> {
        self.heard.keys().copied()
    }

    /// Takes how loud everybody is in the next moment. Who is not named is silent.
    pub fn tick(&mut self, loudness: &[(Speaker, u64)]) {
        let loud: BTreeMap<Speaker, u64> =
            loudness.iter().copied().filter(|(_, loudness)| *loudness > QUIET).collect();
        for (speaker, left) in &mut self.heard {
            *left = if loud.contains_key(speaker) { HOLD } else { left.saturating_sub(1) };
        }
        let mut new: Vec<(u64, Speaker)> = loud
            .iter()
            .filter(|(it, _)| !self.heard.contains_key(it))
            .map(|(it, loud)| (*loud, *it))
            .collect();
        // The loudest first; of equals the one that is there longest, by number.
        new.sort_by_key(|(loudness, speaker)| (std::cmp::Reverse(*loudness), *speaker));
        for (_, speaker) in new {
            if self.heard.len() >= self.places && !self.make_room() {
                break;
            }
            self.heard.insert(speaker, HOLD);
        }
        self.heard.retain(|_, left| *left > 0);
    }

    /// Takes the place of whoever has been silent longest; whoever is loud keeps it.
    fn make_room(&mut self) -> bool {
        let longest = self.heard.iter().filter(|(_, left)| **left < HOLD / 2).min_by_key(|(_, left)| **left);
        let Some(speaker) = longest.map(|(speaker, _)| *speaker) else { return false };
        self.heard.remove(&speaker);
        true
    }

    /// Somebody left.
    pub fn leave(&mut self, speaker: Speaker) {
        self.heard.remove(&speaker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(loudest: &Loudest) -> Vec<u32> {
        loudest.heard().map(|speaker| speaker.0).collect()
    }

    fn loud(list: &[(u32, u64)]) -> Vec<(Speaker, u64)> {
        list.iter().map(|(speaker, loudness)| (Speaker(*speaker), *loudness)).collect()
    }

    #[test]
    fn the_loudest_are_heard_at_once_and_the_silent_not_at_all() {
        let mut loudest = Loudest::new(2);
        loudest.tick(&loud(&[(1, 5_000), (2, 9_000), (3, 7_000), (4, QUIET)]));
        assert_eq!(heard(&loudest), [2, 3]);
        let mut alone = Loudest::new(2);
        alone.tick(&loud(&[(4, QUIET)]));
        assert!(heard(&alone).is_empty());
    }

    #[test]
    fn a_place_is_kept_through_pauses_and_given_up_after_them() {
        let mut loudest = Loudest::new(1);
        loudest.tick(&loud(&[(1, 5_000)]));
        // Who is louder waits until there is a pause.
        for _ in 0..100 {
            loudest.tick(&loud(&[(1, 5_000), (2, 90_000)]));
            assert_eq!(heard(&loudest), [1]);
        }
        let mut waited = 0;
        while heard(&loudest) == [1] {
            loudest.tick(&loud(&[(2, 90_000)]));
            waited += 1;
        }
        assert_eq!(heard(&loudest), [2]);
        assert!((10..=25).contains(&waited), "{waited}");
        for _ in 0..HOLD - 1 {
            loudest.tick(&[]);
        }
        assert_eq!(heard(&loudest), [2]);
        loudest.tick(&[]);
        assert!(heard(&loudest).is_empty());
    }

    #[test]
    fn no_more_are_heard_than_there_are_places_however_many_speak() {
        let mut loudest = Loudest::new(1000);
        let all: Vec<_> = (0..1000).map(|speaker| (Speaker(speaker), 5_000)).collect();
        for _ in 0..100 {
            loudest.tick(&all);
            assert_eq!(heard(&loudest), [0, 1, 2, 3, 4, 5]);
        }
        loudest.leave(Speaker(3));
        loudest.tick(&all);
        assert_eq!(heard(&loudest).len(), MAX_MIXED);
    }

    #[test]
    fn loudness_is_the_mean_square() {
        assert_eq!(loudness(&[]), 0);
        assert_eq!(loudness(&[3, -4]), 12);
        assert_eq!(loudness(&[i16::MIN; 1920]), 1 << 30);
    }
}
