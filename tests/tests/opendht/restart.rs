//! Either side ends and comes back.

use skep_tests::daemon::DhtNode;

use crate::engine::{Ours, key, run, text_of, text_value, told};

#[test]
fn a_permanent_value_and_a_listening_survive_that_dhtnode_loses_all() {
    run(async {
        let port = DhtNode::free_port().unwrap();
        let node = DhtNode::start(port, None).await.unwrap();
        let ours = Ours::beside(&node).await;
        let (published, listened) = (key("published"), key("listened"));
        ours.put(published, text_value(1, "permanent"), true).await;
        let mut events = ours.listen(listened).await;
        drop(node);
        let mut node = DhtNode::start(port, Some(&ours.address().await)).await.unwrap();
        node.get_until(&published.to_string(), "permanent").await.unwrap();
        node.command(&format!("p {listened} again")).await.unwrap();
        assert_eq!(text_of(&*told(&mut events, |_| true).await), "again");
    });
}

#[test]
fn our_node_comes_back_through_the_nodes_it_remembers() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nodes");
        let mut node = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let ours = Ours::start(&[node.address()], Some(file.clone()));
        ours.reachable().await;
        let key = key("kept by dhtnode");
        ours.put(key, text_value(1, "kept"), false).await;
        ours.stop().await;
        let ours = Ours::start(&[], Some(file));
        ours.reachable().await;
        assert_eq!(text_of(&ours.get(key).await.values[0]), "kept");
        let there = crate::engine::key("after the restart");
        ours.put(there, text_value(2, "fresh"), false).await;
        node.get_until(&there.to_string(), "fresh").await.unwrap();
    });
}
