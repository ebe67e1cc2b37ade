//! The sum of frames, and that sum without one of them.

/// A sample of the sum as one that can be played: what is too loud is as loud as can be.
#[must_use]
pub fn saturated(sample: i32) -> i16 {
    let clamped = sample.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
    i16::try_from(clamped).unwrap_or(i16::MAX)
}

/// The sum of the frames of one moment. It has room for 65,536 frames of any loudness.
#[derive(Clone, Debug)]
pub struct Mix {
    sum: Vec<i32>,
}

impl Mix {
    /// For frames of so many samples, those of all channels counted.
    #[must_use]
    pub fn new(samples: usize) -> Self {
        Self { sum: vec![0; samples] }
    }

    /// Begins the next moment.
    pub fn clear(&mut self) {
        self.sum.fill(0);
    }

    /// Adds a frame. One that is too short is silent at its end, and what is too long is left out.
    pub fn add(&mut self, frame: &[i16]) {
        for (sum, sample) in self.sum.iter_mut().zip(frame) {
            *sum = sum.saturating_add(i32::from(*sample));
        }
    }

    /// What everybody hears who is not heard.
    pub fn whole(&self, out: &mut [i16]) {
        for (out, sum) in out.iter_mut().zip(&self.sum) {
            *out = saturated(*sum);
        }
    }

    /// What somebody hears whose frame was added: all but that. It is taken from the sum as it is, before
    /// anything of that is cut off, so that nothing of the own voice is left.
    pub fn without(&self, own: &[i16], out: &mut [i16]) {
        let own = own.iter().copied().chain(std::iter::repeat(0));
        for ((out, sum), own) in out.iter_mut().zip(&self.sum).zip(own) {
            *out = saturated(sum.saturating_sub(i32::from(own)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_too_loud_is_as_loud_as_can_be_and_the_others_are_heard_as_they_are() {
        let (loud, quiet) = ([i16::MAX; 4], [-5_i16; 4]);
        let mut mix = Mix::new(4);
        for frame in [&loud, &loud, &quiet] {
            mix.add(frame);
        }
        let mut out = [0; 4];
        mix.whole(&mut out);
        assert_eq!(out, [i16::MAX; 4]);
        mix.clear();
        mix.add(&loud);
        mix.add(&quiet);
        mix.without(&loud, &mut out);
        assert_eq!(out, quiet, "nothing of the own voice is left, however loud it was");
        let mut low = Mix::new(1);
        low.add(&[i16::MIN]);
        low.add(&[i16::MIN]);
        low.whole(&mut out[..1]);
        assert_eq!(out[0], i16::MIN);
    }

    #[test]
    fn frames_of_another_length_do_no_harm() {
        let mut mix = Mix::new(3);
        mix.add(&[1]);
        mix.add(&[1, 1, 1, 1, 1]);
        let mut out = [9; 5];
        mix.whole(&mut out);
        assert_eq!(out, [2, 1, 1, 9, 9]);
        mix.without(&[1], &mut out);
        assert_eq!(out, [1, 1, 1, 9, 9]);
        mix.without(&[], &mut out[..1]);
        assert_eq!(out[0], 2);
    }

    #[test]
    fn sixty_thousand_loud_voices_do_not_turn_the_sum_around() {
        let mut mix = Mix::new(1);
        for _ in 0..200_000 {
            mix.add(&[i16::MAX]);
        }
        let mut out = [0];
        mix.whole(&mut out);
        assert_eq!(out, [i16::MAX]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn everybody_hears_the_sum_of_the_others(frames in prop::collection::vec(prop::collection::vec(any::<i16>(), 8), 1..7)) {
            let mut mix = Mix::new(8);
            frames.iter().for_each(|frame| mix.add(frame));
            for (own, frame) in frames.iter().enumerate() {
                let mut out = [0; 8];
                mix.without(frame, &mut out);
                for (at, heard) in out.iter().enumerate() {
                    let others = frames.iter().enumerate().filter(|(it, _)| *it != own);
                    let sum: i64 = others.map(|(_, frame)| i64::from(frame[at])).sum();
                    let expected = sum.clamp(i64::from(i16::MIN), i64::from(i16::MAX));
                    prop_assert_eq!(i64::from(*heard), expected);
                }
            }
        }
    }
}
