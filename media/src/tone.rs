//! Finds a tone in sound (Goertzel), to tell by measuring whose sound is heard.

/// How much of the power of `samples` is at `hertz`, from 0 to 1: near 1 for that tone alone.
#[must_use]
pub fn share_of_tone(samples: &[i16], rate: u32, hertz: u32) -> f64 {
    let total: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if total <= 0.0 {
        return 0.0;
    }
    let turn = std::f64::consts::TAU * f64::from(hertz) / f64::from(rate.max(1));
    let coefficient = 2.0 * turn.cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (f64::from(*sample) + coefficient * last - before, last);
    }
    let power = last * last + before * before - coefficient * last * before;
    let count = samples.iter().map(|_| 1.0).sum::<f64>();
    (2.0 * power / (count * total)).clamp(0.0, 1.0)
}

/// The loudest tenth of a second of the first `hertz` in pieces of that length: whether it was ever heard.
#[must_use]
pub fn best_share(samples: &[i16], rate: u32, hertz: u32) -> f64 {
    let piece = usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1);
    samples.chunks_exact(piece).map(|piece| share_of_tone(piece, rate, hertz)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "in the range of samples")]
    fn tone(hertz: f64, length: u32) -> Vec<i16> {
        (0..length)
            .map(|at| (f64::from(at) * hertz * std::f64::consts::TAU / 48_000.0).sin() * 8000.0)
            .map(|sample| sample as i16)
            .collect()
    }

    #[test]
    fn a_tone_is_found_and_others_are_not() {
        let samples = tone(440.0, 4800);
        assert!(share_of_tone(&samples, 48_000, 440) > 0.95);
        assert!(share_of_tone(&samples, 48_000, 880) < 0.05);
        assert!(share_of_tone(&[], 48_000, 440) < 0.05 && share_of_tone(&[0; 100], 48_000, 440) < 0.05);
    }

    #[test]
    fn of_two_tones_each_has_its_share_and_the_best_piece_counts() {
        let mixed: Vec<i16> =
            tone(440.0, 4800).iter().zip(tone(1000.0, 4800)).map(|(one, two)| (one + two) / 2).collect();
        for hertz in [440, 1000] {
            let share = share_of_tone(&mixed, 48_000, hertz);
            assert!((0.4..0.6).contains(&share), "{hertz}: {share}");
        }
        let late = [vec![0; 48_000], tone(440.0, 4800)].concat();
        assert!(best_share(&late, 48_000, 440) > 0.95);
    }
}
