//! Many numbers in little memory: buckets whose width is a hundredth of what they hold.

/// Buckets for every doubling.
const STEPS: f64 = 64.0;

/// Values below this are one.
const LEAST: f64 = 1e-3;

/// Numbers that are not negative. Whole ones below a hundred come out exactly.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// How many there are of each whole number.
    whole: Vec<u64>,
    /// How many there are in each bucket.
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
    max: f64,
}

/// Whole numbers below this have a place each.
const WHOLE: usize = 100;

impl Histogram {
    /// Adds a number.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.max = self.max.max(value);
        if value.fract() == 0.0 && (0.0..WHOLE as f64).contains(&value) {
            increase(&mut self.whole, value as usize);
        } else {
            let bucket = libm::log2(value.max(LEAST) / LEAST) * STEPS;
            increase(&mut self.buckets, bucket as usize);
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; nothing if there are none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The greatest.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The least value that so many of a hundred do not exceed, within a hundredth.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let wanted = libm::ceil(self.count as f64 * percent / 100.0).max(1.0) as u64;
        let whole = self.whole.iter().enumerate().map(|(value, count)| (value as f64, *count));
        let upper = |bucket: usize| LEAST * libm::exp2((bucket as f64 + 1.0) / STEPS);
        let buckets = self.buckets.iter().enumerate().map(|(bucket, count)| (upper(bucket), *count));
        let mut all: Vec<(f64, u64)> = whole.chain(buckets).filter(|(_, count)| *count > 0).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut seen = 0;
        let reached = all.into_iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        reached.map(|(value, _)| value.min(self.max))
    }
}

fn increase(counts: &mut Vec<u64>, place: usize) {
    if counts.len() <= place {
        counts.resize(place + 1, 0);
    }
    counts[place] += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_hundredth_and_whole_numbers_exact() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), None);
        (1..=10_000_u32).for_each(|number| histogram.add(f64::from(number) + 0.5));
        for percent in [1.0, 50.0, 90.0, 99.0] {
            let (value, wanted) = (histogram.percentile(percent).unwrap(), percent * 100.0);
            assert!((value / wanted - 1.0).abs() < 0.013, "{value} {wanted}");
        }
        assert_eq!(histogram.percentile(100.0), Some(10_000.5));
        let mut hops = Histogram::default();
        [1.0, 2.0, 2.0, 3.0].into_iter().for_each(|number| hops.add(number));
        assert_eq!(
            (hops.percentile(50.0), hops.percentile(99.0), hops.mean()),
            (Some(2.0), Some(3.0), Some(2.0))
        );
    }
}
