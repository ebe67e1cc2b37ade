//! Scenarios that mean something, and many that do not.

use super::*;

fn wrong(text: &str) -> String {
    Scenario::parse(text, Path::new("here.toml")).unwrap_err().to_string()
}

#[test]
fn nothing_but_defaults_is_a_scenario_and_comes_back_as_it_was_written() {
    let scenario = Scenario::parse("", Path::new("here.toml")).unwrap();
    assert_eq!(scenario, Scenario::default());
    let text = scenario.to_toml();
    assert_eq!(Scenario::parse(&text, Path::new("here.toml")).unwrap(), scenario);
    assert!(text.contains("contacts = 2") && text.contains("kind = \"drt\""), "{text}");
}

#[test]
fn what_is_no_scenario_is_refused_with_its_line() {
    assert!(wrong("nodes = \n").starts_with("here.toml:1: "));
    let unknown = wrong("nodes = 3\n\n[network]\nlos = 0.1\n");
    assert!(unknown.starts_with("here.toml:4: ") && unknown.contains("los"), "{unknown}");
    let kind = wrong("nodes = 3\n[network]\nlatency = { kind = \"magic\" }\n");
    assert!(kind.starts_with("here.toml:3: ") && kind.contains("magic"), "{kind}");
    assert!(wrong("nodes = -4").starts_with("here.toml:1: "));
}

#[test]
fn what_nothing_can_come_of_is_refused_with_its_line() {
    for (text, line, part) in [
        ("nodes = 0", 1, "there must be a node"),
        ("nodes = 2000000", 1, "too many"),
        ("nodes = 4\n[bootstrap]\ncontacts = 4", 3, "cannot know 4 others"),
        ("\n\n[network.latency]\nkind = \"constant\"\nms = -3.0", 5, "more than 0"),
        ("[network]\nlatency = { kind = \"uniform\", min_ms = 9.0, max_ms = 3.0 }", 2, "at least min_ms"),
        ("[network]\nloss = 1.0", 2, "0.9 at most"),
        ("[network]\njitter = nan", 2, "0 or more"),
        ("[mobiles]\nshare = 1.0", 2, "less than 1"),
        ("[mobiles]\nshare = 0.1\nawake_s = 1000.0", 3, "longer than the whole period"),
        ("[churn]\nkind = \"diurnal\"\nperiod_s = 10.0\nspread = 0.5\nonline = 0.0", 5, "empty"),
        (
            "[[faults]]\nkind = \"crash\"\nat_s = 1.0\nshare = 0.5\n[[faults]]\nkind = \"crash\"\nat_s = 2.0\nshare = 1.0",
            8,
            "nobody would be left",
        ),
        ("[[faults]]\nkind = \"partition\"\nat_s = 5.0\nheal_s = 4.0\nshare = 0.5", 4, "later than at_s"),
        ("[[faults]]\nkind = \"regional-failure\"\nat_s = 5.0\nregion = 3", 4, "no region 3"),
        ("[workload.senders]\nkind = \"one\"\nnode = 100", 3, "no node 100"),
        ("[attack]\nnodes = 3\n[attack.how]\nkind = \"eclipse\"\nvictim = 100", 5, "no node 100"),
        ("[overlay]\nkind = \"regular\"\ndegree = 100", 3, "need more than"),
        ("nodes = 100000\n[overlay]\nkind = \"full-mesh\"", 1, "does not fit"),
        ("[overlay]\nkind = \"kademlia\"\nalpha = 0", 3, "1 or more"),
        ("[attack]\nat_s = 5.0\nnodes = 3\n[attack.how]\nkind = \"cold-boot\"", 2, "before everybody else"),
        ("duration_s = inf", 1, "more than 0"),
        ("[metrics]\nseries_every_s = 0.0000001", 2, "0.001 or more"),
        ("duration_s = 9000.0\n[metrics]\nseries_every_s = 0.002", 3, "million rows"),
        ("nodes = 100000\n[metrics]\nseries_every_s = 0.01", 3, "take too long"),
        ("nodes = 1000000\n[metrics]\npath_samples = 5000", 3, "too many; 200 at most"),
        ("nodes = 1000000\n[metrics]\ndistance_samples = 100000", 3, "too many"),
        ("nodes = 1000000\n[workload]\nmessages = 1000000", 3, "too many; 1000 at most"),
        ("[workload]\nrate_s = 1e9", 2, "to 100000"),
        ("[workload]\nlookups_s = 1e9", 2, "to 100000"),
        ("duration_s = 80000.0\n[workload]\nlookups_s = 90000.0", 3, "look-ups in all"),
        ("[overlay]\nkind = \"drt\"\nbucket_size = 0", 3, "from 1 to 64"),
        ("[overlay]\nkind = \"drt\"\nrefresh_s = 0.0000001", 3, "0, or 0.001 or more"),
        ("[overlay]\nkind = \"drt\"\nrefresh_s = -1.0", 3, "0, or 0.001 or more"),
        ("nodes = 100000\n[overlay]\nkind = \"regular\"\ndegree = 5000", 4, "too many; 360 at most"),
        ("[overlay]\nkind = \"kademlia\"\nk = 5000", 3, "1000 at most"),
        ("nodes = 9000\n[bootstrap]\ncontacts = 5000", 3, "1000 at most"),
        ("[bootstrap]\npresence_ms = 0.0001", 2, "1 or more"),
        ("[network]\nconnect_timeout_ms = 0.0001", 2, "1 or more"),
        ("[network]\nlink_life_s = 0.0001", 2, "0, or 0.1 or more"),
    ] {
        let message = wrong(text);
        assert!(message.starts_with(&format!("here.toml:{line}: ")) && message.contains(part), "{message}");
    }
}

#[test]
fn the_schema_names_every_section() {
    let schema = Scenario::schema().to_string();
    for name in ["bootstrap", "network", "churn", "mobiles", "workload", "faults", "attack", "overlay"] {
        assert!(schema.contains(&format!("\"{name}\"")), "{name}");
    }
}
