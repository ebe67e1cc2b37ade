//! What whole runs show.

mod lives;
mod network;
mod overlays;

use crate::scenario::{Attack, AttackKind, Churn, Fault, Scenario, Span};
use crate::world::Outcome;
use crate::{output, run};

fn scenario(text: &str) -> Scenario {
    Scenario::parse(text, std::path::Path::new("test.toml")).unwrap()
}

fn outcome(scenario: &Scenario, seed: u64) -> Outcome {
    run(scenario, seed).unwrap()
}

fn number(outcome: &Outcome, name: &str) -> f64 {
    *outcome.summary.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", outcome.summary))
}

#[test]
fn a_calm_network_of_a_hundred_is_whole_and_everything_written_reaches_all() {
    let outcome = outcome(&scenario("nodes = 100"), 3);
    assert_eq!(number(&outcome, "components"), 1.0);
    assert_eq!(number(&outcome, "delivery_ratio"), 1.0);
    assert_eq!(number(&outcome, "messages_judged"), 10.0);
    assert_eq!(number(&outcome, "fetches_per_commit"), 99.0, "each fetches once");
    assert_eq!(number(&outcome, "idle_messages_per_node_s"), 0.0, "an overlay at rest says nothing");
    assert!((3.0..20.0).contains(&number(&outcome, "degree_mean")));
    assert!(number(&outcome, "hops_max") <= 8.0);
    assert!(number(&outcome, "disjoint_paths_min") >= 1.0);
}

/// What a folder holds, by names.
fn contents(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.push((
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            ));
        }
    }
    files.sort();
    files
}

#[test]
fn a_run_is_repeated_to_the_last_byte_also_from_its_own_folder_and_another_seed_differs() {
    let place = tempfile::tempdir().unwrap();
    let text = "nodes = 60\nduration_s = 90.0\n[network]\njitter = 0.3\nloss = 0.02\n\
                [network.latency]\nkind = \"log-normal\"\nmedian_ms = 40.0\nsigma = 0.6\n\
                [churn]\nkind = \"sessions\"\nstart_s = 30.0\n\
                online = { kind = \"weibull\", scale_s = 60.0, shape = 0.6 }\n\
                offline = { kind = \"exponential\", mean_s = 20.0 }\n[metrics]\nevents = true\ngraph = true\n";
    let first = scenario(text);
    let store = |scenario: &Scenario, seed, name: &str| {
        let folder = place.path().join(name);
        output::write(&folder, scenario, &outcome(scenario, seed)).unwrap();
        contents(&folder)
    };
    let one = store(&first, 5, "one");
    assert!(one.iter().any(|(name, _)| name == "report.html") && one.len() >= 14);
    assert_eq!(one, store(&first, 5, "two"));
    let read = output::read(&place.path().join("one")).unwrap();
    assert_eq!((read.seed, &one), (5, &store(&read.scenario, read.seed, "three")));
    // On other threads, at the same time.
    let threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn({
                let first = first.clone();
                move || run(&first, 5).unwrap().summary
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), outcome(&first, 5).summary);
    }
    assert_ne!(one, store(&first, 6, "four"));
}

#[test]
fn nodes_that_come_and_go_leave_a_network_that_still_delivers() {
    let mut calm = scenario("nodes = 80\nduration_s = 300.0\n[workload]\nmessages = 30\nstart_s = 120.0");
    calm.churn = Churn::Sessions {
        online: Span::Exponential { mean_s: 300.0 },
        offline: Span::LogNormal { median_s: 60.0, sigma: 1.0 },
        start_s: 30.0,
        stop_s: 0.0,
        share: 0.8,
        graceful: 0.5,
    };
    let outcome = outcome(&calm, 1);
    assert!(number(&outcome, "joins") > 100.0);
    assert!(number(&outcome, "delivery_ratio") > 0.9, "{}", number(&outcome, "delivery_ratio"));
    assert!(number(&outcome, "upkeep_messages_per_churn_event") > 1.0);
    let online = outcome.rows.last().unwrap().online;
    assert!((30..80).contains(&online), "{online}");
}

#[test]
fn a_network_whose_half_vanishes_heals_and_what_is_written_then_reaches_all() {
    let mut crash = scenario("nodes = 100\nduration_s = 200.0\n[workload]\nstart_s = 150.0");
    crash.faults = vec![Fault::Crash { at_s: 60.0, share: 0.5, back_after_s: 0.0 }];
    for seed in 0..3 {
        let outcome = outcome(&crash, seed);
        assert_eq!(number(&outcome, "online"), 50.0);
        assert_eq!((number(&outcome, "healed"), number(&outcome, "delivery_ratio")), (1.0, 1.0));
    }
}

#[test]
fn parted_halves_know_nothing_of_each_other_until_they_are_one_again() {
    let mut parted = scenario("nodes = 60\nduration_s = 300.0\n[workload]\nmessages = 5\nstart_s = 100.0");
    parted.faults = vec![Fault::Partition { at_s: 60.0, heal_s: 200.0, share: 0.5, noticed: 1.0 }];
    let outcome = outcome(&parted, 2);
    let at = |t: f64| outcome.rows.iter().find(|row| row.t_s == t).unwrap();
    assert_eq!((at(55.0).components, at(195.0).components, at(300.0).components), (1, 2, 1));
    assert!(number(&outcome, "delivery_ratio") < 0.8);
    assert_eq!(number(&outcome, "healed"), 1.0);
}

#[test]
fn a_flash_crowd_is_taken_in() {
    let mut crowd = scenario("nodes = 40\nduration_s = 120.0\n[workload]\nstart_s = 90.0");
    crowd.faults = vec![Fault::FlashCrowd { at_s: 50.0, nodes: 60, over_s: 2.0 }];
    let outcome = outcome(&crowd, 1);
    assert_eq!((number(&outcome, "online"), number(&outcome, "components")), (100.0, 1.0));
    assert_eq!(number(&outcome, "delivery_ratio"), 1.0);
}

#[test]
fn sleeping_mobiles_are_woken_by_what_is_written_and_get_it() {
    let mobile = scenario(
        "nodes = 60\nduration_s = 200.0\n[mobiles]\nshare = 0.4\nperiod_s = 900.0\nawake_s = 20.0\n\
         start_s = 30.0\n[workload]\nmessages = 3\nrate_s = 0.02\nstart_s = 70.0\npoisson = false",
    );
    let outcome = outcome(&mobile, 1);
    assert!(number(&outcome, "mobile_delivery_ratio") > 0.9, "{:?}", outcome.summary);
    assert!(number(&outcome, "mobile_wake_ups_per_message") > 5.0);
    assert_eq!(number(&outcome, "delivery_ratio"), 1.0);
}

#[test]
fn those_who_keep_everything_to_themselves_do_harm_and_next_to_their_victim_more() {
    let mut attacked = scenario("nodes = 60\n[workload]\nsenders = { kind = \"one\", node = 5 }");
    let mut with = |how, nodes| {
        attacked.attack = Some(Attack { how, nodes, at_s: 0.0 });
        outcome(&attacked, 1)
    };
    let censors = with(AttackKind::Censor, 40);
    assert!(number(&censors, "hostile_neighbours_share") > 0.1);
    let eclipse = with(AttackKind::Eclipse { victim: 0, ground_bits: 24 }, 40);
    let (victim, all) =
        (number(&eclipse, "victim_hostile_neighbours_share"), number(&eclipse, "hostile_neighbours_share"));
    assert!(victim > all, "{victim} {all}");
    // Links enough go round those who only pass nothing on; who surrounds others keeps it from them.
    assert_eq!(number(&censors, "delivery_ratio"), 1.0);
    let surrounded = with(AttackKind::EclipseAll, 60);
    assert!(number(&surrounded, "eclipsed_share") > 0.1 && number(&surrounded, "delivery_ratio") < 0.95);
    let late = number(&censors, "latency_mean_ms");
    assert!(number(&surrounded, "latency_mean_ms") > 1.3 * late);
    let slow = with(AttackKind::Slow { delay_ms: 1000.0 }, 40);
    assert_eq!(number(&slow, "delivery_ratio"), 1.0);
}

#[test]
fn hostile_links_translators_and_slow_lines_are_felt() {
    let calm = outcome(&scenario("nodes = 60"), 1);
    let slow = outcome(&scenario("nodes = 60\n[network]\nupload_bits_s = 50000.0"), 1);
    assert!(number(&slow, "latency_p50_ms") > 2.0 * number(&calm, "latency_p50_ms"));
    let lossy = outcome(&scenario("nodes = 60\n[network]\nloss = 0.3"), 1);
    assert!(number(&lossy, "latency_p50_ms") > number(&calm, "latency_p50_ms"));
    assert_eq!(number(&lossy, "delivery_ratio"), 1.0);
    let barred = outcome(&scenario("nodes = 60\n[network]\nnat_share = 0.8\nnat_failure = 0.5"), 1);
    assert!(number(&barred, "dials") > number(&calm, "dials"));
    let breaking = outcome(&scenario("nodes = 60\n[network]\nlink_life_s = 60.0"), 1);
    assert!(number(&breaking, "dials") > number(&calm, "dials"));
    assert!(number(&breaking, "delivery_ratio") > 0.99);
}

/// The shipped file of that name.
fn shipped(name: &str) -> Scenario {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    Scenario::read(&folder.join(name)).unwrap()
}

#[test]
fn every_shipped_scenario_is_one() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "toml") {
            Scenario::read(&path).unwrap();
            count += 1;
        }
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn in_a_full_mesh_everything_takes_one_hop_and_is_told_once() {
    let outcome = outcome(&scenario("nodes = 50\n[overlay]\nkind = \"full-mesh\""), 1);
    assert_eq!((number(&outcome, "delivery_ratio"), number(&outcome, "links")), (1.0, 1225.0));
    assert_eq!((number(&outcome, "hops_max"), number(&outcome, "received_per_node")), (1.0, 1.0));
    assert_eq!((number(&outcome, "clustering"), number(&outcome, "diameter")), (1.0, 1.0));
}

/// Each node but the author passes a message to all its links but one: degree minus one on average, and one
/// copy fewer that came first.
#[test]
fn flooding_a_random_regular_graph_costs_what_theory_says() {
    for degree in [4.0, 8.0] {
        let text = format!("nodes = 500\n[overlay]\nkind = \"regular\"\ndegree = {degree}");
        let outcome = outcome(&scenario(&text), 1);
        assert_eq!((number(&outcome, "delivery_ratio"), number(&outcome, "components")), (1.0, 1.0));
        let received = number(&outcome, "received_per_node");
        let mean = number(&outcome, "degree_mean");
        assert!((received - (mean - 1.0)).abs() < 0.02 * mean, "{received} {mean}");
        // Distances of a random regular graph: log N to the base degree - 1, and little more.
        let expected = 500_f64.ln() / (mean - 1.0).ln();
        assert!((number(&outcome, "distance_mean") - expected).abs() < 1.0);
    }
}

#[test]
fn kademlia_finds_the_closest_node_in_a_logarithm_of_hops_and_its_broadcast_is_told_once() {
    let mut last = 0.0;
    for nodes in [64, 256, 1024] {
        let mut kademlia = shipped("kademlia.toml");
        kademlia.nodes = nodes;
        let outcome = outcome(&kademlia, 1);
        assert!(number(&outcome, "lookup_success_ratio") > 0.97, "{:?}", outcome.summary);
        let hops = number(&outcome, "lookup_hops_mean");
        assert!(hops >= last && hops <= (nodes as f64).log2() / 2.0, "{nodes} {hops}");
        last = hops;
        assert_eq!(number(&outcome, "received_per_node"), 1.0);
        assert!(number(&outcome, "delivery_ratio") > 0.97, "{}", number(&outcome, "delivery_ratio"));
    }
}

#[test]
fn every_overlay_sees_the_same_workload() {
    let written = |overlay: &str| -> Vec<f64> {
        let outcome = outcome(&scenario(&format!("nodes = 40\n[overlay]\nkind = \"{overlay}\"")), 9);
        outcome.messages.iter().map(|message| message[0]).collect()
    };
    let drt = written("drt");
    assert_eq!(drt.len(), 10);
    for overlay in ["full-mesh", "regular", "kademlia", "hyparview", "gossipsub"] {
        assert_eq!(written(overlay), drt);
    }
}

#[test]
fn the_options_of_the_table_change_what_it_does() {
    let with =
        |options: &str| outcome(&scenario(&format!("nodes = 100\n[overlay]\nkind = \"drt\"\n{options}")), 4);
    let shipped = with("");
    let wide = with("bucket_size = 4");
    assert!(number(&wide, "degree_mean") > number(&shipped, "degree_mean") + 2.0);
    let fresh = with("refresh_s = 20.0");
    assert!(number(&fresh, "idle_messages_per_node_s") > 0.1);
    assert_eq!(number(&with("as_specified = true"), "delivery_ratio"), 1.0);
}
