//! What is known of overlays from elsewhere, and comes out here too.

use super::{number, outcome, scenario};
use crate::scenario::Fault;
use crate::world::Outcome;

fn with(overlay: &str, rest: &str, seed: u64) -> Outcome {
    outcome(&scenario(&format!("{rest}\n[overlay]\nkind = \"{overlay}\"")), seed)
}

const CALM: &str = "nodes = 200\nduration_s = 160.0\n[bootstrap]\ncontacts = 3\n[workload]\nmessages = 40\n\
                    start_s = 70.0\n[metrics]\nseries_every_s = 2.0";

/// The paper's figure 1: nearly all survivors are reached again after eight of ten nodes have failed at once.
#[test]
fn hyparview_heals_after_half_and_four_fifths_of_all_have_failed_at_once() {
    for share in [0.5, 0.8] {
        let mut failed = scenario(
            "nodes = 400\nduration_s = 200.0\n[bootstrap]\ncontacts = 3\n[workload]\nstart_s = 150.0\n\
             [overlay]\nkind = \"hyparview\"",
        );
        failed.faults = vec![Fault::Crash { at_s: 90.0, share, back_after_s: 0.0 }];
        let outcome = outcome(&failed, 1);
        assert!(number(&outcome, "largest_share") >= 0.99, "{share} {:?}", outcome.summary);
        assert!(number(&outcome, "delivery_ratio") >= 0.99, "{share} {:?}", outcome.summary);
    }
}

#[test]
fn the_active_view_of_hyparview_is_full_both_ways_and_never_fuller() {
    let outcome = with("hyparview", CALM, 1);
    assert_eq!(number(&outcome, "degree_max"), 5.0);
    assert!(number(&outcome, "degree_mean") > 4.5, "{}", number(&outcome, "degree_mean"));
    assert_eq!((number(&outcome, "components"), number(&outcome, "delivery_ratio")), (1.0, 1.0));
    // Few triangles, as the paper's table 1 has it, which flooding along the same links would not need.
    assert!(number(&outcome, "clustering") < 0.05, "{}", number(&outcome, "clustering"));
}

/// The first message goes over all links; what came twice prunes them, until a tree is left.
#[test]
fn the_redundancy_of_plumtree_goes_towards_nothing_after_the_first_messages() {
    let text = CALM.replace("[workload]", "[workload]\nsenders = { kind = \"one\", node = 7 }");
    let outcome = with("hyparview", &text, 1);
    let redundancy: Vec<f64> = outcome.messages.iter().map(|message| message[3] - 1.0).collect();
    assert!(redundancy[0] > 2.0, "{redundancy:?}");
    let later: f64 = redundancy[10..].iter().sum::<f64>() / 30.0;
    assert!(later < 0.02, "{redundancy:?}");
}

#[test]
fn plumtree_grows_together_again_when_branches_of_its_tree_are_lost() {
    let mut lost = scenario(&format!("{CALM}\n[overlay]\nkind = \"hyparview\""));
    lost.faults = vec![Fault::Crash { at_s: 90.0, share: 0.3, back_after_s: 0.0 }];
    let outcome = outcome(&lost, 2);
    assert!(number(&outcome, "delivery_ratio") > 0.97, "{}", number(&outcome, "delivery_ratio"));
}

#[test]
fn the_degree_of_the_mesh_of_gossipsub_stays_between_its_bounds() {
    let outcome = with("gossipsub", CALM, 1);
    assert!(number(&outcome, "degree_p1") >= 4.0, "{:?}", outcome.summary);
    assert!(number(&outcome, "degree_max") <= 12.0, "{:?}", outcome.summary);
    assert_eq!((number(&outcome, "components"), number(&outcome, "delivery_ratio")), (1.0, 1.0));
    let mean = number(&outcome, "degree_mean");
    // Each passes on to all but one of its mesh, as with flooding; and some hear in a heartbeat of what is
    // on its way to them, and ask for it, too.
    let received = number(&outcome, "received_per_node");
    assert!((mean - 1.0..mean + 2.0).contains(&received), "{received} {mean}");
}

/// What the mesh loses is asked for after the next heartbeat.
#[test]
fn gossip_brings_what_the_mesh_of_gossipsub_does_not() {
    let text = "nodes = 150\nduration_s = 120.0\n[bootstrap]\ncontacts = 3\n[attack]\nnodes = 100\n\
                how = { kind = \"censor\" }\n[overlay]\nkind = \"gossipsub\"\nflood_publish = false";
    let outcome = outcome(&scenario(text), 1);
    assert!(number(&outcome, "delivery_ratio") > 0.98, "{}", number(&outcome, "delivery_ratio"));
}

#[test]
fn the_new_overlays_come_out_the_same_each_time_and_bear_churn_and_partitions() {
    for overlay in ["hyparview", "gossipsub"] {
        let text = "nodes = 80\nduration_s = 300.0\n[bootstrap]\ncontacts = 3\n[churn]\nkind = \"sessions\"\n\
                    start_s = 30.0\nstop_s = 150.0\nonline = { kind = \"exponential\", mean_s = 200.0 }\n\
                    offline = { kind = \"exponential\", mean_s = 20.0 }\ngraceful = 0.5\n\
                    [[faults]]\nkind = \"partition\"\nat_s = 160.0\nheal_s = 180.0\nshare = 0.4\n\
                    [workload]\nmessages = 10\nstart_s = 240.0";
        let one = with(overlay, text, 3);
        assert_eq!(one.summary, with(overlay, text, 3).summary);
        assert_eq!(number(&one, "healed"), 1.0, "{overlay}: {:?}", one.healings);
        assert!(number(&one, "delivery_ratio") > 0.98, "{overlay}: {}", number(&one, "delivery_ratio"));
    }
}

/// The program that the rules were read from tells in a test of its own, with a hundred nodes: four hops, and 8.5
/// times told each. That has no strangers who are told beside the links, and its bootstrap is not known.
#[test]
fn a_commit_reaches_a_hundred_that_keep_to_the_specified_rules_in_four_hops() {
    let text = "nodes = 100\n[bootstrap]\namong = \"all\"\n[overlay]\nkind = \"drt\"\nas_specified = true";
    let runs: Vec<_> = (1..=5).map(|seed| outcome(&scenario(text), seed)).collect();
    let mean = |name| runs.iter().map(|run| number(run, name)).sum::<f64>() / 5.0;
    assert_eq!(mean("delivery_ratio"), 1.0);
    assert!((3.5..=4.8).contains(&mean("hops_max")), "{}", mean("hops_max"));
    // Two strangers are told by each, some of them twice: without, about nine are left.
    assert!((10.0..=12.0).contains(&mean("received_per_node")), "{}", mean("received_per_node"));
}
