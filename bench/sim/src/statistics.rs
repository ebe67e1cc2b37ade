//! Means of a few runs, how sure they are, and whether two differ by more than chance.

/// The mean of some numbers and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// How many there were.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their deviation; nothing of a single one.
    pub deviation: Option<f64>,
}

impl Mean {
    /// Of some numbers; nothing if there are none.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let n = numbers.len();
        if n == 0 {
            return None;
        }
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let squares = numbers.iter().map(|number| (number - mean) * (number - mean)).sum::<f64>();
        let deviation = (n > 1).then(|| libm::sqrt(squares / (n - 1) as f64));
        Some(Self { n, mean, deviation })
    }

    /// Half the width of the interval in which the true mean lies with 95 of 100 such experiments.
    #[must_use]
    pub fn interval(&self) -> Option<f64> {
        let freedom = self.n as f64 - 1.0;
        Some(quantile(freedom) * self.deviation? / libm::sqrt(self.n as f64))
    }

    /// How likely two means lie so far apart by chance (Welch's test); nothing with fewer than two numbers.
    #[must_use]
    pub fn chance(&self, other: &Self) -> Option<f64> {
        let square = |mean: &Self| Some(mean.deviation? * mean.deviation? / mean.n as f64);
        let (one, two) = (square(self)?, square(other)?);
        let sum = one + two;
        if sum == 0.0 {
            return Some(if self.mean == other.mean { 1.0 } else { 0.0 });
        }
        let freedom = sum * sum / (one * one / (self.n as f64 - 1.0) + two * two / (other.n as f64 - 1.0));
        Some(both_tails((self.mean - other.mean) / libm::sqrt(sum), freedom))
    }
}

/// How much of Student's distribution lies beyond `t` on both sides.
fn both_tails(t: f64, freedom: f64) -> f64 {
    beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// Where 95 of 100 lie of Student's distribution, found by halving.
fn quantile(freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1000.0);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if both_tails(middle, freedom) > 0.05 { low = middle } else { high = middle }
    }
    high
}

/// The regularised incomplete beta function, by its continued fraction.
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let logarithm =
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log(1.0 - x);
    let small = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / small(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..300 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for part in [even, odd] {
            d = 1.0 / small(1.0 + part * d);
            c = small(1.0 + part / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    libm::exp(logarithm) * fraction / a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, wanted: f64) {
        assert!((value - wanted).abs() < 1e-3, "{value} {wanted}");
    }

    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (freedom, wanted) in [(1.0, 12.706), (2.0, 4.303), (9.0, 2.262), (30.0, 2.042)] {
            close(quantile(freedom), wanted);
        }
        close(both_tails(2.228, 10.0), 0.05);
    }

    #[test]
    fn means_that_lie_apart_are_told_from_those_that_do_not() {
        let mean = |numbers: &[f64]| Mean::of(numbers).unwrap();
        let one = mean(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        close(one.interval().unwrap(), 1.963);
        assert!(one.chance(&mean(&[1.1, 2.2, 2.9, 4.0, 5.0])).unwrap() > 0.9);
        assert!(one.chance(&mean(&[11.0, 12.0, 13.0, 14.0, 15.0])).unwrap() < 1e-4);
        assert_eq!((mean(&[2.0]).interval(), Mean::of(&[])), (None, None));
        assert_eq!(mean(&[1.0, 1.0]).chance(&mean(&[1.0, 1.0])), Some(1.0));
    }
}
