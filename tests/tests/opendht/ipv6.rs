//! Nodes that have nothing but IPv6.

use skep_actors::dht::opendht::OpenDhtNetwork;
use skep_tests::daemon::DhtNode;

use crate::engine::{Ours, key, run, text_of, text_value, told};

/// One of ours on IPv6 alone.
fn ours(bootstrap: &[String]) -> Ours {
    let network = Ours::network(bootstrap, None);
    Ours::start_with(OpenDhtNetwork { listen: vec!["[::1]:0".parse().unwrap()], ..network }, 0)
}

async fn each_finds_what_the_other_puts(ours: &Ours, theirs: &mut DhtNode) {
    let (here, there) = (key("here"), key("there"));
    let mut events = ours.listen(here).await;
    theirs.command(&format!("p {here} theirs")).await.unwrap();
    assert_eq!(text_of(&*told(&mut events, |_| true).await), "theirs");
    theirs.command(&format!("l {there}")).await.unwrap();
    theirs.until("a token", |line| line.starts_with("Listening, token").then_some(())).await.unwrap();
    let large = "x".repeat(5000);
    assert_eq!(ours.put(there, text_value(1, &large), false).await.stored, 1);
    theirs.until("the push", |line| line.contains(&large).then_some(())).await.unwrap();
    assert_eq!(text_of(&ours.get(here).await.values[0]), "theirs");
    theirs.get_until(&there.to_string(), &large).await.unwrap();
}

#[test]
fn our_node_joins_through_a_dhtnode_over_ipv6() {
    run(async {
        let mut theirs = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = ours(&[format!("[::1]:{}", theirs.port())]);
        ours.reachable().await;
        each_finds_what_the_other_puts(&ours, &mut theirs).await;
    });
}

#[test]
fn a_dhtnode_joins_through_our_node_over_ipv6() {
    run(async {
        let ours = ours(&[]);
        let address = ours.address().await;
        let port = DhtNode::free_port().unwrap();
        let mut theirs = DhtNode::start(port, Some(&address)).await.unwrap();
        ours.reachable().await;
        each_finds_what_the_other_puts(&ours, &mut theirs).await;
    });
}
