//! Many runs: every combination of some entries, each with some seeds, on all cores.
//!
//! Every run has a folder of its own, `<out>/<entries>/<seed>`, which appears when it is whole. Whoever is
//! interrupted calls the same again: what is there is not run twice. Parts of a sweep may run on different
//! machines; their folders put together are the sweep.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::compare;
use crate::error::{Result, SimError};
use crate::output;
use crate::scenario::Scenario;

/// Most runs of one sweep.
const MAX_RUNS: usize = 1_000_000;

/// A sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The scenario.
    pub file: PathBuf,
    /// Entries and the values that they take: `nodes=100,1000`.
    pub vary: Vec<String>,
    /// The seeds.
    pub seeds: std::ops::RangeInclusive<u64>,
    /// Where the results go.
    pub out: PathBuf,
    /// Which part of how many this machine runs: the runs `part`, `part + parts` and so on.
    pub part: (usize, usize),
}

/// One run of it.
#[derive(Clone, Debug)]
struct Job {
    scenario: Scenario,
    seed: u64,
    folder: PathBuf,
}

impl Sweep {
    /// Runs what is not there yet, on so many threads; `done` is told how many of how many runs are there.
    /// The seeds of a run, not the threads, say what comes of it.
    ///
    /// # Errors
    /// When something cannot be set, run or written. What is finished stays.
    pub fn run(&self, threads: usize, done: &(dyn Fn(usize, usize) + Sync)) -> Result<()> {
        let jobs = self.jobs()?;
        // Before the work, not after it.
        for job in jobs.iter().filter(|job| job.folder.exists()) {
            output::holds(&job.folder, &job.scenario, job.seed)?;
        }
        let (part, parts) = self.part;
        let mine: Vec<&Job> = jobs.iter().skip(part).step_by(parts.max(1)).collect();
        let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failed = Mutex::new(None);
        let fail = |error| {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            next.store(mine.len(), Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, mine.len().max(1)) {
                scope.spawn(|| {
                    while let Some(job) = mine.get(next.fetch_add(1, Ordering::SeqCst)) {
                        match job.run() {
                            Ok(()) => done(finished.fetch_add(1, Ordering::SeqCst) + 1, mine.len()),
                            Err(error) => fail(error),
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => self.summarise(&jobs),
        }
    }

    /// All runs, in the order of their entries and seeds.
    fn jobs(&self) -> Result<Vec<Job>> {
        let mut points: Vec<Vec<String>> = vec![Vec::new()];
        for vary in &self.vary {
            let (entry, values) = vary.split_once('=').ok_or_else(|| {
                SimError::Option(format!("{vary:?} varies nothing: write `entry=value,value`"))
            })?;
            let with = |point: &Vec<String>, value: &str| -> Vec<String> {
                point.iter().cloned().chain([format!("{}={}", entry.trim(), value.trim())]).collect()
            };
            points = points
                .iter()
                .flat_map(|point| values.split(',').map(move |value| with(point, value)))
                .collect();
            if points.len() > MAX_RUNS {
                return Err(SimError::Option(format!("more than {MAX_RUNS} combinations are too many")));
            }
        }
        let mut jobs = Vec::new();
        let mut names = BTreeSet::new();
        for point in points {
            let scenario = Scenario::read_with(&self.file, &point)?;
            let name = if point.is_empty() { "all".to_owned() } else { point.join(" ") };
            let folder = self.out.join(name.replace(['/', '\\'], "_"));
            if !names.insert(folder.clone()) {
                return Err(SimError::Option(format!("two combinations are the same: {name}")));
            }
            for seed in self.seeds.clone() {
                jobs.push(Job { scenario: scenario.clone(), seed, folder: folder.join(seed.to_string()) });
                if jobs.len() > MAX_RUNS {
                    return Err(SimError::Option(format!("more than {MAX_RUNS} runs are too many")));
                }
            }
        }
        Ok(jobs)
    }

    /// Writes `summary.csv` when all runs are there: the mean of each number for each combination.
    fn summarise(&self, jobs: &[Job]) -> Result<()> {
        if jobs.iter().any(|job| !job.folder.exists()) {
            return Ok(());
        }
        let mut text = "point,number,runs,mean,interval_95\n".to_owned();
        let mut points: Vec<&Path> = jobs.iter().filter_map(|job| job.folder.parent()).collect();
        points.dedup();
        for point in points {
            let name = point.file_name().unwrap_or_default().to_string_lossy();
            for (number, mean) in compare::group(point)?.means() {
                let interval = mean.interval().map(|it| it.to_string()).unwrap_or_default();
                text.push_str(&format!("\"{name}\",{number},{},{},{interval}\n", mean.n, mean.mean));
            }
        }
        output::put_whole(&self.out.join("summary.csv"), &text)
    }

    /// A job for a cluster under Slurm, of which each task runs one part.
    #[must_use]
    pub fn slurm(&self, parts: usize) -> String {
        format!(
            "#!/bin/bash\n#SBATCH --job-name=skep-sim\n#SBATCH --array=0-{}\n#SBATCH --cpus-per-task=1\n\n{} \
             --threads 1 --part \"$SLURM_ARRAY_TASK_ID/{parts}\"\n",
            parts - 1,
            self.command()
        )
    }

    /// An indexed job for Kubernetes. The image, and a volume for the results, are the cluster's own.
    #[must_use]
    pub fn kubernetes(&self, parts: usize) -> String {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: skep-sim\nspec:\n  completions: {parts}\n  \
             parallelism: {parts}\n  completionMode: Indexed\n  template:\n    spec:\n      restartPolicy: OnFailure\n      \
             containers:\n        - name: skep-sim\n          image: IMAGE\n          command: [\"/bin/sh\", \"-c\"]\n          \
             args:\n            - >-\n              {} --threads 1 --part \"$JOB_COMPLETION_INDEX/{parts}\"\n",
            self.command()
        )
    }

    fn command(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let vary: String = self.vary.iter().map(|vary| format!(" --vary {}", quoted(vary))).collect();
        format!(
            "skep-sim sweep {} --seeds {}..{}{vary} --out {}",
            quoted(&self.file.display().to_string()),
            self.seeds.start(),
            self.seeds.end(),
            quoted(&self.out.display().to_string())
        )
    }
}

impl Job {
    fn run(&self) -> Result<()> {
        if self.folder.exists() {
            return Ok(());
        }
        let outcome = crate::run(&self.scenario, self.seed)?;
        output::write(&self.folder, &self.scenario, &outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_goes_on_where_it_was_left_and_comes_out_the_same_on_any_number_of_threads() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("s.toml");
        std::fs::write(&file, "duration_s = 30.0\n[workload]\nstart_s = 5.0\nmessages = 2").unwrap();
        let sweep = |out: &str, part| Sweep {
            file: file.clone(),
            vary: vec!["nodes=20,30".to_owned(), "overlay.kind=drt,full-mesh".to_owned()],
            seeds: 1..=2,
            out: place.path().join(out),
            part,
        };
        sweep("whole", (0, 1)).run(3, &|_, _| {}).unwrap();
        // In parts, one of which was lost.
        sweep("parts", (1, 2)).run(1, &|_, _| {}).unwrap();
        assert!(!place.path().join("parts/summary.csv").exists());
        let there = AtomicUsize::new(0);
        sweep("parts", (0, 1)).run(1, &|done, _| there.store(done, Ordering::SeqCst)).unwrap();
        assert_eq!(there.into_inner(), 8);
        let summary =
            |out: &str| std::fs::read_to_string(place.path().join(out).join("summary.csv")).unwrap();
        assert_eq!(summary("whole"), summary("parts"));
        let groups = ["drt", "full-mesh"].map(|kind| {
            compare::group(&place.path().join(format!("whole/nodes=30 overlay.kind={kind}"))).unwrap()
        });
        let table = compare::table(&groups);
        assert!(table.contains("DRT of Skep, 2 runs") && table.contains("delivery_ratio"), "{table}");
        assert!(sweep("x", (0, 4)).slurm(4).contains("--array=0-3"));
        assert!(sweep("x", (0, 4)).kubernetes(4).contains("completions: 4"));
    }

    #[test]
    fn runs_of_another_scenario_are_not_taken_for_those_of_a_sweep() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("s.toml");
        let sweep = |vary: &str| Sweep {
            file: file.clone(),
            vary: vec![vary.to_owned()],
            seeds: 1..=1,
            out: place.path().join("out"),
            part: (0, 1),
        };
        let text = "duration_s = 20.0\n[workload]\nstart_s = 5.0\nmessages = 1";
        std::fs::write(&file, text).unwrap();
        sweep("nodes=20,30").run(1, &|_, _| {}).unwrap();
        sweep("nodes=20,30").run(1, &|_, _| {}).unwrap();
        std::fs::write(&file, text.replace("20.0", "21.0")).unwrap();
        let message = sweep("nodes=20,30").run(1, &|_, _| {}).unwrap_err().to_string();
        assert!(message.contains("params.json differs"), "{message}");
        let message = sweep("nodes=20,20").run(1, &|_, _| {}).unwrap_err().to_string();
        assert!(message.contains("the same: nodes=20"), "{message}");
        let hidden = std::fs::read_dir(place.path().join("out")).unwrap();
        assert!(!hidden.into_iter().any(|it| it.unwrap().file_name().to_string_lossy().starts_with('.')));
    }

    #[test]
    fn what_cannot_be_varied_is_said() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("s.toml");
        std::fs::write(&file, "").unwrap();
        for (vary, part) in [
            ("nodes", "entry=value"),
            ("nodes=x", "nodes=x"),
            ("colour=red", "colour=red"),
            ("name.x=1", "no such table"),
        ] {
            let out = place.path().join("out");
            let sweep = Sweep {
                file: file.clone(),
                vary: vec!["name=n".into(), vary.to_owned()],
                seeds: 1..=1,
                out,
                part: (0, 1),
            };
            let message = sweep.run(1, &|_, _| {}).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
