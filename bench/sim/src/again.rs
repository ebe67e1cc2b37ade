//! Runs once more: whether they come out the same, and what of a failing one is needed for it to fail.

use std::path::Path;

use crate::error::{Result, SimError};
use crate::output;
use crate::scenario::{Churn, Scenario};
use crate::world::Summary;

/// Most runs that are tried to make a failing one smaller.
const MAX_TRIES: usize = 200;

/// Runs what a folder holds once more, and compares all files.
///
/// # Errors
/// When a file differs, and names it.
pub fn replay(folder: &Path) -> Result<()> {
    let stored = output::read(folder)?;
    let outcome = crate::run(&stored.scenario, stored.seed)?;
    let beside = output::beside(folder, "replay");
    if beside.exists() {
        std::fs::remove_dir_all(&beside).map_err(SimError::file(&beside))?;
    }
    output::write(&beside, &stored.scenario, &outcome)?;
    let same = compare(folder, &beside);
    std::fs::remove_dir_all(&beside).map_err(SimError::file(&beside))?;
    same
}

fn compare(one: &Path, other: &Path) -> Result<()> {
    for entry in std::fs::read_dir(other).map_err(SimError::file(other))? {
        let entry = entry.map_err(SimError::file(other))?;
        let (before, now) = (one.join(entry.file_name()), entry.path());
        if now.is_dir() {
            compare(&before, &now)?;
            continue;
        }
        let read = |path: &Path| std::fs::read(path).map_err(SimError::file(path));
        if read(&before)? != read(&now)? {
            let what = "differs from what this version makes of the same scenario and seed";
            return Err(SimError::Differs(format!("{} {what}", before.display())));
        }
    }
    Ok(())
}

/// When a run counts as failed: `delivery_ratio<1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    name: String,
    below: bool,
    bound: f64,
}

impl Failure {
    /// Reads `name<number` or `name>number`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || SimError::Option(format!("{text:?} is not `number<bound` or `number>bound`"));
        let at = text.find(['<', '>']).ok_or_else(wrong)?;
        let (name, bound) = (text[..at].trim(), text[at + 1..].trim());
        let bound = bound.parse().map_err(|_| wrong())?;
        Ok(Self { name: name.to_owned(), below: text.as_bytes().get(at) == Some(&b'<'), bound })
    }

    fn is_there(&self, summary: &Summary) -> bool {
        summary
            .get(&self.name)
            .is_some_and(|value| if self.below { *value < self.bound } else { *value > self.bound })
    }
}

/// Makes a failing scenario smaller as long as it fails.
///
/// # Errors
/// When it does not fail to begin with, or cannot be run.
pub fn shrink(scenario: &Scenario, seed: u64, failure: &Failure, say: &dyn Fn(&str)) -> Result<Scenario> {
    let fails =
        |scenario: &Scenario| crate::run(scenario, seed).map(|outcome| failure.is_there(&outcome.summary));
    if !fails(scenario)? {
        let Failure { name, below, bound } = failure;
        let sign = if *below { '<' } else { '>' };
        return Err(SimError::Option(format!(
            "with seed {seed} it is not the case that {name}{sign}{bound}"
        )));
    }
    let mut smallest = scenario.clone();
    let mut tries = 0;
    loop {
        let before = smallest.clone();
        for (what, candidate) in candidates(&before) {
            tries += 1;
            // What cannot be run is not smaller, but wrong.
            if tries <= MAX_TRIES && candidate != before && fails(&candidate).unwrap_or(false) {
                say(what);
                smallest = candidate;
                break;
            }
        }
        if smallest == before {
            return Ok(smallest);
        }
    }
}

/// Scenarios that are a little simpler, the greatest steps first.
fn candidates(scenario: &Scenario) -> Vec<(&'static str, Scenario)> {
    let calm = Scenario::default();
    let mut all: Vec<(&'static str, Scenario)> = Vec::new();
    let mut put = |what, change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        all.push((what, candidate));
    };
    put("half the nodes", &|it| it.nodes = (it.nodes / 2).max(2));
    put("an eighth of the nodes less", &|it| it.nodes -= it.nodes / 8);
    put("nobody comes and goes", &|it| it.churn = Churn::None);
    put("nobody sleeps", &|it| it.mobiles = calm.mobiles.clone());
    put("no attack", &|it| it.attack = None);
    for number in 0..scenario.faults.len() {
        put("a fault less", &move |it| {
            it.faults.remove(number);
        });
    }
    put("a network as by default", &|it| it.network = calm.network.clone());
    put("half the messages", &|it| it.workload.messages = (it.workload.messages / 2).max(1));
    put("a simple workload", &|it| {
        it.workload.senders = calm.workload.senders;
        it.workload.size = calm.workload.size;
    });
    put("half the time", &|it| it.duration_s /= 2.0);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        Scenario::parse(text, Path::new("test.toml")).unwrap()
    }

    #[test]
    fn a_run_is_replayed_and_one_that_was_changed_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        let small = scenario("nodes = 20\nduration_s = 30.0\n[workload]\nstart_s = 5.0");
        output::write(&folder, &small, &crate::run(&small, 3).unwrap()).unwrap();
        replay(&folder).unwrap();
        let file = folder.join("summary.json");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"components\": 1", "\"components\": 2")).unwrap();
        let message = replay(&folder).unwrap_err().to_string();
        assert!(message.contains("summary.json differs"), "{message}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_keeps_the_tables_and_the_seed_that_it_follows_from_and_is_replayed_without_their_files() {
        let place = tempfile::tempdir().unwrap();
        let elsewhere = place.path().join("data");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("m.csv"), "10,80\n90,12\n").unwrap();
        std::fs::write(elsewhere.join("t.csv"), "8,3,down\n12,3,up\n").unwrap();
        let file = place.path().join("s.toml");
        let text = "nodes = 20\nduration_s = 30.0\nseed = 4\n[workload]\nstart_s = 5.0\n\
                    [network.latency]\nkind = \"matrix\"\nfile = \"data/m.csv\"\n\
                    [churn]\nkind = \"trace\"\nfile = \"data/t.csv\"";
        std::fs::write(&file, text).unwrap();
        let read = Scenario::read(&file).unwrap();
        let folder = place.path().join("run");
        output::write(&folder, &read, &crate::run(&read, 9).unwrap()).unwrap();
        std::fs::remove_dir_all(&elsewhere).unwrap();
        replay(&folder).unwrap();
        let stored = output::read(&folder).unwrap();
        assert_eq!((stored.seed, stored.scenario.seed), (9, 9));
        // Its own scenario alone, run again, is that run.
        let again = Scenario::read(&folder.join("scenario.toml")).unwrap();
        let summary = output::pretty(&crate::run(&again, again.seed).unwrap().summary).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("summary.json")).unwrap(), summary);
        std::fs::write(folder.join("trace.csv"), "8,3,down\n").unwrap();
        assert!(replay(&folder).is_err());
    }

    #[test]
    fn a_failing_run_is_made_smaller_until_only_what_fails_it_is_left() {
        let large = scenario(
            "nodes = 80\n[mobiles]\nshare = 0.1\n[[faults]]\nkind = \"crash\"\nat_s = 70.0\nshare = 0.1\n\
             [[faults]]\nkind = \"partition\"\nat_s = 30.0\nheal_s = 100.0\nshare = 0.5",
        );
        let failure = Failure::parse("delivery_ratio < 0.7").unwrap();
        let small = shrink(&large, 1, &failure, &|_| {}).unwrap();
        assert!(small.nodes < 40 && small.faults.len() == 1 && small.mobiles.share == 0.0, "{small:?}");
        assert!(shrink(&scenario("nodes = 20"), 1, &failure, &|_| {}).is_err());
        assert!(Failure::parse("delivery").is_err() && Failure::parse("a<b").is_err());
    }
}
