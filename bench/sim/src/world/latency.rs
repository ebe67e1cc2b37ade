//! How long anything takes from one node to another.

use skep_protocol::drt::random::Random;

use crate::chance::{self, Purpose};
use crate::error::{Result, SimError};
use crate::overlay::Place;
use crate::scenario::{Fault, Latency, Scenario};
use crate::time::Time;

/// Longest time one way: draws from a long tail end there.
const LONGEST: Time = Time(60_000_000);

/// Most regions of a matrix.
const MAX_REGIONS: usize = 4096;

/// How long anything takes one way between two nodes; each pair has its own time, which is nowhere kept.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    kind: Latency,
    seed: u64,
    /// Between regions, in milliseconds, row by row.
    matrix: Vec<f64>,
    regions: usize,
}

impl Latencies {
    /// As the scenario says.
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Result<Self> {
        let kind = scenario.network.latency.clone();
        let matrix = match &kind {
            Latency::Matrix { file } => read_matrix(scenario, file)?,
            _ => Vec::new(),
        };
        let regions = match matrix.len() {
            0 => scenario.network.regions,
            cells => cells.isqrt(),
        };
        Self { kind, seed, matrix, regions }.check(scenario)
    }

    /// Whether the regions that faults name are there and not all there is.
    fn check(self, scenario: &Scenario) -> Result<Self> {
        for (number, fault) in scenario.faults.iter().enumerate() {
            let Fault::RegionalFailure { region, .. } = fault else { continue };
            let regions = self.regions.min(scenario.nodes);
            if *region >= regions || regions < 2 {
                return Err(SimError::Option(format!(
                    "faults.{number}.region: {region} must be one of more than one, and less than {regions}, as \
                     many as there are"
                )));
            }
        }
        Ok(self)
    }

    /// Into how many regions the nodes are dealt out.
    pub(super) const fn regions(&self) -> usize {
        self.regions
    }

    /// From one node to another, each with its region. Only a matrix may differ by the direction.
    pub(super) fn between(&self, from: (Place, u16), to: (Place, u16)) -> Time {
        let pair = u64::from(from.0.min(to.0)) << 32 | u64::from(from.0.max(to.0));
        let mut random = Random::from_seed(chance::seed(self.seed, Purpose::Pairs, pair));
        let millis = match &self.kind {
            Latency::Constant { ms } => *ms,
            Latency::Uniform { min_ms, max_ms } => min_ms + (max_ms - min_ms) * chance::unit(&mut random),
            Latency::LogNormal { median_ms, sigma } => chance::log_normal(&mut random, *median_ms, *sigma),
            Latency::Pareto { min_ms, shape } => chance::pareto(&mut random, *min_ms, *shape),
            Latency::Matrix { .. } => {
                let cell = usize::from(from.1) * self.regions + usize::from(to.1);
                self.matrix.get(cell).copied().unwrap_or_default()
            }
        };
        Time::from_millis(millis).clamp(Time(1), LONGEST)
    }
}

fn read_matrix(scenario: &Scenario, file: &std::path::Path) -> Result<Vec<f64>> {
    let path = scenario.folder.join(file);
    let text = crate::scenario::read_text(&path)?;
    let wrong = |line: usize, what: String| SimError::Table { file: path.clone(), line: line + 1, what };
    let mut matrix = Vec::new();
    let mut width = 0;
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines() {
        let cells = matrix.len();
        for cell in line.split(',') {
            let millis: f64 = cell
                .trim()
                .parse()
                .map_err(|_| wrong(number, format!("{cell:?} is no number of milliseconds")))?;
            if !(millis.is_finite() && millis >= 0.0) {
                return Err(wrong(number, format!("{millis} must be a time, 0 or more")));
            }
            matrix.push(millis);
        }
        let columns = matrix.len() - cells;
        if width == 0 {
            width = columns;
        }
        if columns != width || columns > MAX_REGIONS {
            return Err(wrong(
                number,
                format!("{columns} columns, where {width} are wanted, {MAX_REGIONS} at most"),
            ));
        }
    }
    let rows = lines().count();
    if rows != width || rows == 0 {
        return Err(wrong(rows.max(1) - 1, format!("{rows} rows of {width} columns are no square")));
    }
    Ok(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(latency: Latency) -> Latencies {
        let mut scenario = Scenario::default();
        scenario.network.latency = latency;
        Latencies::new(&scenario, 1).unwrap()
    }

    #[test]
    fn a_pair_has_the_same_time_both_ways_and_always_and_other_pairs_have_others() {
        let latencies = latencies(Latency::Uniform { min_ms: 20.0, max_ms: 80.0 });
        let between = |one, other| latencies.between((one, 0), (other, 0));
        assert_eq!(between(3, 9), between(9, 3));
        assert_ne!(between(3, 9), between(3, 10));
        assert!((0..1000).all(|other| (20_000..=80_000).contains(&between(3, other).0)));
    }

    #[test]
    fn a_matrix_is_read_and_one_that_is_no_square_of_times_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut scenario = Scenario { folder: folder.path().to_owned(), ..Scenario::default() };
        scenario.network.latency = Latency::Matrix { file: "m.csv".into() };
        let read = |text: &str| {
            std::fs::write(folder.path().join("m.csv"), text).unwrap();
            Latencies::new(&scenario, 1).map_err(|error| error.to_string())
        };
        let matrix = read("1,20\n30,2.5\n").unwrap();
        assert_eq!(matrix.between((0, 1), (3, 1)), Time(2500));
        // The row says from where, and the column to where, whoever has the lower number.
        for (low, high) in [(0, 1), (1, 0)] {
            assert_eq!(matrix.between((low, 0), (high, 1)), Time(20_000));
            assert_eq!(matrix.between((low, 1), (high, 0)), Time(30_000));
        }
        let with_fault = |region| {
            let mut scenario = scenario.clone();
            scenario.faults = vec![Fault::RegionalFailure { at_s: 1.0, region, back_after_s: 0.0 }];
            Latencies::new(&scenario, 1).map_err(|error| error.to_string())
        };
        assert!(with_fault(1).is_ok());
        assert!(with_fault(2).unwrap_err().contains("faults.0.region: 2 must be"));
        for (text, line) in [("1,2\n3\n", 2), ("1,x\n3,4\n", 1), ("1,2\n-3,4\n", 2), ("1,2\n", 1), ("", 1)] {
            let message = read(text).unwrap_err();
            assert!(message.contains(&format!("m.csv:{line}: ")), "{message}");
        }
    }
}
