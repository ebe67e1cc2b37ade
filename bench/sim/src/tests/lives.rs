//! Nodes that come and go for more than one reason: each life ends once, and begins once.

use std::collections::BTreeMap;

use super::{number, outcome, scenario};
use crate::overlay::Place;
use crate::scenario::Scenario;

/// What happened to each node: when, in microseconds, and what.
fn lives(scenario: &Scenario, seed: u64) -> BTreeMap<Place, Vec<(u64, String)>> {
    let mut scenario = scenario.clone();
    scenario.metrics.events = true;
    let mut lives: BTreeMap<Place, Vec<(u64, String)>> = BTreeMap::new();
    for line in outcome(&scenario, seed).journal.unwrap().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let what = event["event"].as_str().unwrap();
        if ["came", "woken", "left", "vanished"].contains(&what) {
            let at = (event["t"].as_f64().unwrap() * 1e6).round() as u64;
            let node = Place::try_from(event["node"].as_u64().unwrap()).unwrap();
            lives.entry(node).or_default().push((at, what.to_owned()));
        }
    }
    lives
}

/// From when to when a node was online, as far as it went again.
fn stays(life: &[(u64, String)]) -> Vec<(u64, u64)> {
    let steps: Vec<&(u64, String)> = life.iter().filter(|(_, what)| what != "woken").collect();
    for pair in steps.windows(2) {
        assert_ne!(pair[0].1 == "came", pair[1].1 == "came", "{life:?}");
    }
    steps.chunks_exact(2).map(|pair| (pair[0].0, pair[1].0)).collect()
}

#[test]
fn mobiles_that_are_woken_in_between_wake_by_themselves_once_a_period_all_the_same() {
    let mobile = scenario(
        "nodes = 40\nduration_s = 1500.0\n[mobiles]\nshare = 0.5\nperiod_s = 100.0\nawake_s = 10.0\n\
         start_s = 30.0\n[workload]\nmessages = 12\nrate_s = 0.013\nstart_s = 130.0\npoisson = false",
    );
    let lives = lives(&mobile, 3);
    let (mut woken, mut by_itself) = (0, 0);
    for life in lives.values().filter(|life| life.len() > 1) {
        let stays = stays(life);
        for (came, went) in stays.iter().skip(1) {
            assert_eq!(went - came, 10_000_000, "awake as long as the scenario says: {life:?}");
        }
        for pair in stays.windows(2) {
            let away = pair[1].0 - pair[0].1;
            let was_woken = life.contains(&(pair[1].0, "woken".to_owned()));
            assert!(away <= 90_000_000 && (was_woken || away == 90_000_000), "{life:?}");
            woken += u64::from(was_woken);
            by_itself += u64::from(!was_woken);
        }
    }
    assert!(woken > 50 && by_itself > 50, "{woken} {by_itself}");
}

#[test]
fn who_crashed_is_not_woken_by_a_push() {
    let mut crashed = scenario(
        "nodes = 60\nduration_s = 260.0\n[mobiles]\nshare = 0.5\nperiod_s = 900.0\nawake_s = 10.0\n\
         start_s = 80.0\n[[faults]]\nkind = \"crash\"\nat_s = 50.0\nshare = 0.5\n\
         [workload]\nmessages = 8\nrate_s = 0.05\nstart_s = 60.0\npoisson = false",
    );
    let crashed_at = (50_000_000, "vanished".to_owned());
    let dead = lives(&crashed, 2);
    let dead: Vec<_> = dead.values().filter(|life| life.contains(&crashed_at)).collect();
    assert_eq!(dead.len(), 30);
    assert!(dead.iter().all(|life| life.last() == Some(&crashed_at)), "{dead:?}");
    // Some of them were pushed to: that happened to devices that only slept, in the same run.
    let outcome = outcome(&crashed, 2);
    assert!(number(&outcome, "pushes_per_message") > 5.0);
    crashed.faults.clear();
    assert!(lives(&crashed, 2).values().flatten().any(|(_, what)| what == "woken"));
}

#[test]
fn who_comes_back_from_a_crash_has_one_next_departure() {
    let churned = scenario(
        "nodes = 40\nduration_s = 400.0\n[churn]\nkind = \"sessions\"\nstart_s = 20.0\n\
         online = { kind = \"constant\", s = 30.0 }\noffline = { kind = \"constant\", s = 10.0 }\n\
         [[faults]]\nkind = \"crash\"\nat_s = 61.0\nshare = 0.5\nback_after_s = 7.0\n\
         [[faults]]\nkind = \"crash\"\nat_s = 151.0\nshare = 0.5\nback_after_s = 13.0",
    );
    let lives = lives(&churned, 1);
    let crashes = [61_000_000, 151_000_000];
    let mut short = 0;
    for life in lives.values() {
        let stays = stays(life);
        for (came, went) in stays.iter().skip(1) {
            if crashes.contains(went) {
                short += 1;
            } else {
                assert_eq!(went - came, 30_000_000, "{life:?}");
            }
        }
        for pair in stays.windows(2) {
            let away = pair[1].0 - pair[0].1;
            let expected = match pair[0].1 {
                61_000_000 => 7_000_000,
                151_000_000 => 13_000_000,
                _ => 10_000_000,
            };
            assert_eq!(away, expected, "{life:?}");
        }
    }
    assert!(short > 20, "{short}");
}

#[test]
fn links_across_a_partition_count_for_nothing_before_anybody_has_noticed_it() {
    let parted = scenario(
        "nodes = 60\nduration_s = 300.0\n[network]\ndetection_ms = 90000.0\n[workload]\nmessages = 2\n\
         [[faults]]\nkind = \"partition\"\nat_s = 60.0\nheal_s = 200.0\nshare = 0.5\n\
         [[faults]]\nkind = \"crash\"\nat_s = 100.0\nshare = 0.1",
    );
    let outcome = outcome(&parted, 2);
    let at = |t: f64| outcome.rows.iter().find(|row| row.t_s == t).unwrap();
    assert!(at(60.0).components == 1 && at(65.0).components >= 2, "{:?}", at(65.0));
    assert!(at(65.0).links < at(60.0).links * 3 / 4);
    // Nothing heals while the network is parted: neither what parted it, nor what crashes meanwhile.
    let from: Vec<f64> = outcome.healings.iter().map(|healing| healing.from_s).collect();
    assert_eq!(from, [200.0]);
    assert_eq!(number(&outcome, "healed"), 1.0);
}
