//! What the network does to what is sent.

use super::{number, outcome, scenario};
use crate::scenario::Scenario;

/// Node 5 writes at a minute, and goes a millisecond later, with a word to the others or without.
fn last_words(folder: &std::path::Path, graceful: f64) -> Scenario {
    std::fs::write(folder.join("trace.csv"), "60.001,5,down\n").unwrap();
    let text = format!(
        "nodes = 30\n[overlay]\nkind = \"regular\"\ndegree = 4\n[churn]\nkind = \"trace\"\nfile = \"trace.csv\"\n\
         graceful = {graceful:.1}\n[workload]\nmessages = 1\npoisson = false\n\
         senders = {{ kind = \"one\", node = 5 }}"
    );
    Scenario::parse(&text, &folder.join("s.toml")).unwrap()
}

#[test]
fn what_is_said_just_before_a_goodbye_arrives_and_before_a_crash_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let left = outcome(&last_words(folder.path(), 1.0), 1);
    assert_eq!((number(&left, "delivery_ratio"), number(&left, "online")), (1.0, 29.0));
    let crashed = outcome(&last_words(folder.path(), 0.0), 1);
    assert_eq!(number(&crashed, "delivery_ratio"), 0.0);
}

#[test]
fn what_needs_no_link_is_lost_between_translators_as_links_are() {
    let kademlia = |network: &str| {
        let text = format!(
            "nodes = 60\n[bootstrap]\ncontacts = 3\n[overlay]\nkind = \"kademlia\"\n[network]\n{network}\n\
             [workload]\nlookups_s = 2.0"
        );
        outcome(&scenario(&text), 1)
    };
    let (calm, lossy) = (kademlia(""), kademlia("loss = 0.4"));
    let barred = kademlia("nat_share = 1.0\nnat_failure = 0.6");
    assert_eq!(number(&calm, "delivery_ratio"), 1.0);
    for worse in [lossy, barred] {
        assert!(number(&worse, "delivery_ratio") < 0.9, "{}", number(&worse, "delivery_ratio"));
    }
}

#[test]
fn fetches_take_longer_where_messages_are_lost_and_are_not_made_past_translators() {
    // One hop each, so that all that takes time is a notice and a fetch.
    let text =
        "nodes = 12\n[network]\nlatency = { kind = \"constant\", ms = 10.0 }\n[bootstrap]\ncontacts = 2\n";
    let calm = outcome(&scenario(text), 1);
    let lossy = outcome(&scenario(&text.replace("[network]", "[network]\nloss = 0.5")), 1);
    assert!(number(&lossy, "latency_mean_ms") > number(&calm, "latency_mean_ms") + 200.0);
    assert_eq!(number(&lossy, "delivery_ratio"), 1.0);
    // Nobody gets a link with anybody, so whoever is told without one cannot be.
    let alone =
        outcome(&scenario(&text.replace("[network]", "[network]\nnat_share = 1.0\nnat_failure = 1.0")), 1);
    assert_eq!((number(&alone, "links"), number(&alone, "delivery_ratio")), (0.0, 0.0));
}

#[test]
fn both_files_of_a_run_tell_the_same_of_how_often_a_message_is_told() {
    let mobile = scenario(
        "nodes = 60\nduration_s = 200.0\n[mobiles]\nshare = 0.4\nawake_s = 20.0\nstart_s = 30.0\n\
         [workload]\nmessages = 1\nstart_s = 70.0\npoisson = false",
    );
    let outcome = outcome(&mobile, 1);
    assert_eq!(outcome.messages[0][3], number(&outcome, "received_per_node"));
    assert_eq!(number(&outcome, "redundancy"), number(&outcome, "received_per_node") - 1.0);
}

#[test]
fn who_is_woken_is_farther_from_the_author_than_who_wakes_it() {
    let mobile = scenario(
        "nodes = 120\nduration_s = 200.0\n[mobiles]\nshare = 0.5\nawake_s = 20.0\nstart_s = 30.0\n\
         [workload]\nmessages = 3\nstart_s = 90.0\nrate_s = 0.1\npoisson = false\n[metrics]\nevents = true",
    );
    let journal = outcome(&mobile, 1).journal.unwrap();
    let events: Vec<serde_json::Value> =
        journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut after_a_push = Vec::new();
    for woken in events.iter().filter(|event| event["event"] == "woken") {
        let delivered = events.iter().find(|event| {
            event["event"] == "delivered" && event["node"] == woken["node"] && event["item"] == woken["item"]
        });
        after_a_push.extend(delivered.and_then(|event| event["hops"].as_u64()));
    }
    assert!(after_a_push.len() > 20 && after_a_push.iter().any(|hops| *hops > 1), "{after_a_push:?}");
}
