//! Percentiles of a handful of samples.

use std::time::Duration;

/// Samples of one quantity, in its unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    sorted: Vec<f64>,
}

impl Samples {
    /// Adds a sample.
    pub(crate) fn add(&mut self, sample: f64) {
        let place = self.sorted.partition_point(|other| *other <= sample);
        self.sorted.insert(place, sample);
    }

    /// Adds a duration in milliseconds.
    pub(crate) fn add_millis(&mut self, duration: Duration) {
        self.add(millis(duration));
    }

    /// How many samples there are.
    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// These or the others, whichever have the higher median. Where one side has none, that is the worse.
    pub(crate) fn or_worse<'s>(&'s self, other: &'s Self) -> &'s Self {
        match self.median().zip(other.median()) {
            Some((own, others)) if own >= others => self,
            Some(_) => other,
            None if self.count() == 0 => self,
            None => other,
        }
    }

    /// The smallest sample that `percent` of them do not exceed (nearest rank); `None` without any.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.sorted.len() * percent).div_ceil(100);
        self.sorted.get(rank.saturating_sub(1)).copied()
    }

    /// The mean; `None` without any.
    pub(crate) fn mean(&self) -> Option<f64> {
        let count = f64::from(u32::try_from(self.count()).unwrap_or(u32::MAX));
        (count > 0.0).then(|| self.sorted.iter().sum::<f64>() / count)
    }

    /// The median.
    pub(crate) fn median(&self) -> Option<f64> {
        self.percentile(50)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_of_the_nearest_rank() {
        let samples: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!(samples.median(), Some(50.0));
        assert_eq!(samples.percentile(99), Some(99.0));
        assert_eq!(samples.percentile(100), Some(100.0));
        assert_eq!(samples.percentile(0), Some(1.0));
    }

    #[test]
    fn of_two_directions_the_slow_one_counts_and_one_without_samples_most() {
        let of = |samples: &[f64]| samples.iter().copied().collect::<Samples>();
        let (fast, slow, none) = (of(&[1.0, 2.0, 3.0]), of(&[8.0]), of(&[]));
        assert_eq!((fast.or_worse(&slow), slow.or_worse(&fast)), (&slow, &slow));
        assert_eq!((fast.or_worse(&none), none.or_worse(&fast)), (&none, &none));
    }

    #[test]
    fn few_samples_still_have_percentiles() {
        let mut samples = Samples::default();
        assert_eq!(samples.median(), None);
        samples.add_millis(Duration::from_millis(7));
        samples.add(3.0);
        samples.add(5.0);
        assert_eq!((samples.median(), samples.percentile(99), samples.count()), (Some(5.0), Some(7.0), 3));
    }
}
