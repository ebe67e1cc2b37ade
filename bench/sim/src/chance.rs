//! Where chance comes from: a stream of numbers for each purpose, all from one seed.
//!
//! What one part draws moves no other part: an overlay that chooses more often sees the same nodes come and
//! go and the same messages written as another does. The mathematics are those of `libm`, which come out the
//! same on every machine.

use skep_protocol::drt::random::Random;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The ids of nodes, and which are mobile, behind a translator, hostile.
    Nodes = 1,
    /// How long a pair of nodes takes to reach each other.
    Pairs,
    /// What befalls single messages.
    Messages,
    /// Who comes and goes when.
    Churn,
    /// Who writes what when.
    Workload,
    /// Whom nodes know when they come.
    Contacts,
    /// What nodes choose.
    Choices,
    /// What is looked at of a large graph.
    Samples,
}

/// A seed that belongs to one purpose and one number of it.
#[must_use]
pub fn seed(seed: u64, purpose: Purpose, number: u64) -> u64 {
    let mut random = Random::from_seed(seed ^ (purpose as u64).rotate_left(56));
    let mixed = random.number() ^ number;
    Random::from_seed(mixed).number()
}

/// The stream of one purpose and one number of it.
#[must_use]
pub fn stream(from: u64, purpose: Purpose, number: u64) -> Random {
    Random::from_seed(seed(from, purpose, number))
}

/// A number from 0 up to, and without, 1.
pub fn unit(random: &mut Random) -> f64 {
    (random.number() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Whether something of this probability happens. Certain things draw nothing.
pub fn happens(random: &mut Random, probability: f64) -> bool {
    probability > 0.0 && (probability >= 1.0 || unit(random) < probability)
}

/// Exponentially distributed, of this mean.
pub fn exponential(random: &mut Random, mean: f64) -> f64 {
    -mean * libm::log(1.0 - unit(random))
}

/// Of a Weibull distribution.
pub fn weibull(random: &mut Random, scale: f64, shape: f64) -> f64 {
    scale * libm::pow(-libm::log(1.0 - unit(random)), 1.0 / shape)
}

/// Of a log-normal distribution with this median.
pub fn log_normal(random: &mut Random, median: f64, sigma: f64) -> f64 {
    let (radius, angle) = (1.0 - unit(random), unit(random));
    let normal = libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(2.0 * std::f64::consts::PI * angle);
    median * libm::exp(sigma * normal)
}

/// Of a Pareto distribution that begins at `least`.
pub fn pareto(random: &mut Random, least: f64, shape: f64) -> f64 {
    least / libm::pow(1.0 - unit(random), 1.0 / shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(draw: impl Fn(&mut Random) -> f64) -> f64 {
        let mut random = Random::from_seed(5);
        let mut drawn: Vec<f64> = (0..20_001).map(|_| draw(&mut random)).collect();
        drawn.sort_by(f64::total_cmp);
        drawn[10_000]
    }

    #[test]
    fn the_distributions_have_the_medians_that_they_should() {
        let close =
            |value: f64, wanted: f64| assert!((value / wanted - 1.0).abs() < 0.03, "{value} {wanted}");
        close(median(unit), 0.5);
        close(median(|random| exponential(random, 10.0)), 10.0 * std::f64::consts::LN_2);
        close(median(|random| log_normal(random, 40.0, 0.5)), 40.0);
        close(median(|random| pareto(random, 10.0, 2.0)), 10.0 * 2_f64.sqrt());
        close(median(|random| weibull(random, 8.0, 0.5)), 8.0 * std::f64::consts::LN_2.powi(2));
    }

    #[test]
    fn streams_of_different_purposes_and_numbers_differ_and_repeat() {
        let first = |purpose, number| stream(1, purpose, number).number();
        assert_eq!(first(Purpose::Churn, 7), first(Purpose::Churn, 7));
        assert_ne!(first(Purpose::Churn, 7), first(Purpose::Churn, 8));
        assert_ne!(first(Purpose::Churn, 7), first(Purpose::Workload, 7));
    }
}
