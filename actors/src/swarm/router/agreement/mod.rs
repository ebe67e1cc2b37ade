//! The simulator of research (`skep-sim`) and the actors come to the same overlay.
//!
//! ```text
//!   scenario, seed ──► simulated ──► who came, whom it knew, who vanished, who wrote ──► played
//!                          │                                                               │
//!                          └──► links, and who had each commit when, how many hops ◄───────┘
//! ```
//!
//! Of the simulation the actors are given what befalls them, and where their choices come from; what follows
//! from that they find out by themselves, over links in memory that take as long as the simulated ones.

mod played;
mod simulated;

use std::collections::{BTreeMap, BTreeSet};

use skep_protocol::drt::random::Random;
use skep_protocol::ids::DeviceId;
use skep_sim::overlay::Item;
use skep_sim::scenario::Scenario;
use skep_sim::time::Time;

use crate::virtual_time;

/// What befalls a device.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// It comes online, and knows these.
    Come(Vec<usize>),
    /// It is gone without a word.
    Vanish,
    /// Its owner writes.
    Write(Item),
}

/// What befalls all.
#[derive(Clone, Debug, Default)]
struct Script {
    ids: Vec<DeviceId>,
    /// Where the choices of each come from.
    seeds: Vec<u64>,
    steps: Vec<(Time, usize, Step)>,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Course {
    /// Who has a link with whom in the end, the lower number first.
    links: BTreeSet<(usize, usize)>,
    /// When each had each commit, and how many hops from its author.
    had: BTreeMap<(Item, usize), (Time, u32)>,
    /// How often each was told of each commit.
    told: BTreeMap<(Item, usize), usize>,
}

impl Course {
    fn degree(&self, place: usize) -> usize {
        self.links.iter().filter(|(one, other)| [*one, *other].contains(&place)).count()
    }
}

/// Commits that are written, a second apart.
const COMMITS: usize = 5;

/// A scenario of `nodes` devices, each of which knows two of those that came before, each pair as far apart as no
/// other, in a folder for the tables.
fn scenario(folder: &std::path::Path, nodes: usize, late: usize, more: &str) -> Scenario {
    let mut random = Random::from_seed(7);
    let all = nodes + late;
    // In thousandths of a millisecond, so that it is a whole number of the simulation's steps.
    let mut cell = || format!("{:.3}", (20_000 + random.below(60_000)) as f64 / 1000.0);
    let rows = (0..all).map(|_| (0..all).map(|_| cell()).collect::<Vec<_>>().join(",") + "\n");
    std::fs::write(folder.join("latency.csv"), rows.collect::<String>()).unwrap();
    let text = format!(
        "nodes = {nodes}\nduration_s = 90.0\n{more}\n[bootstrap]\ninterval_ms = 100.0\npresence_ms = 30000.0\n\
         [network]\nsetup_ms = 30.0\nsetup_round_trips = 1.0\n\
         [network.latency]\nkind = \"matrix\"\nfile = \"latency.csv\"\n\
         [workload]\nmessages = {COMMITS}\nstart_s = 70.1\npoisson = false\n[metrics]\nevents = true\n"
    );
    Scenario::parse(&text, &folder.join("scenario.toml")).unwrap()
}

/// Both ways through a scenario: the same, to the microsecond.
async fn agree(scenario: Scenario, seed: u64) -> Course {
    let (script, simulated) = simulated::run(&scenario, seed);
    let played = played::run(&scenario, script).await;
    let missing: Vec<_> = simulated.links.difference(&played.links).collect();
    let added: Vec<_> = played.links.difference(&simulated.links).collect();
    assert!(missing.is_empty() && added.is_empty(), "simulated only {missing:?}, actors only {added:?}");
    assert_eq!(simulated.had, played.had);
    assert_eq!(simulated.told, played.told);
    simulated
}

#[test]
fn fifty_actors_get_the_links_and_hops_of_fifty_simulated_devices() {
    virtual_time::run(async {
        let mut courses = BTreeSet::new();
        for seed in 1..=3 {
            let folder = tempfile::tempdir().unwrap();
            let course = agree(scenario(folder.path(), 50, 0, ""), seed).await;
            assert_eq!(course.had.len(), 50 * COMMITS, "every commit reaches all");
            assert!(course.had.values().any(|(_, hops)| *hops >= 3));
            courses.insert(course.links);
        }
        assert_eq!(courses.len(), 3, "every seed gives another overlay");
    });
}

#[test]
fn actors_and_simulated_devices_make_good_alike_for_one_that_vanishes_and_take_in_one_that_comes_late() {
    virtual_time::run(async {
        for seed in 4..=5 {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("trace.csv"), "40.0003,5,down\n").unwrap();
            let mut scenario = scenario(folder.path(), 50, 1, "");
            scenario.churn = skep_sim::scenario::Churn::Trace { file: "trace.csv".into(), graceful: 0.0 };
            let crowd = skep_sim::scenario::Fault::FlashCrowd { at_s: 55.0007, nodes: 1, over_s: 0.0 };
            scenario.faults = vec![crowd];
            let course = agree(scenario, seed).await;
            assert_eq!(course.had.len(), 50 * COMMITS, "it reaches all that are there");
            assert_eq!(course.degree(5), 0);
            assert!(course.degree(50) >= 2);
        }
    });
}
