//! Many messages at once, from both sides: their histories part and are merged.

use skep_tests::harness::run;
use skep_tests::live::{Direction, Feature};

use super::pair::{Pair, texts};

/// Messages of each side.
const COUNT: usize = 100;

#[test]
fn bursts_of_both_sides_at_once_end_in_one_history() {
    run(async {
        let Some((mut pair, id)) = Pair::befriended().await else { return };
        let to_daemon = pair.lab.attempt(Feature::Burst, Direction::ToDaemon);
        let from_daemon = pair.lab.attempt(Feature::Burst, Direction::FromDaemon);
        let (of_ada, of_bob) = (texts("Ada", COUNT), texts("Bob", COUNT));
        let burst = pair.ada.burst(id, of_ada.iter().cloned()).await.unwrap();
        for text in &of_bob {
            pair.jamid.send(&pair.bob, id, text).await.unwrap();
        }
        assert_eq!(burst.end().await.unwrap().len(), COUNT);
        for text in &of_bob {
            pair.ada.receives(id, text).await.unwrap();
        }
        // The daemon does not tell of every message of a burst, though it has them all.
        pair.bob_has(id, &[("body", &of_ada[COUNT - 1])]).await;
        // This version tells nobody of a merge that it made; its next message does, when nobody else writes.
        pair.ada_says(id, "is that all?").await;
        pair.bob_says(id, "it is").await;
        pair.same_history(id, &[of_ada, of_bob].concat()).await;
        to_daemon.works();
        from_daemon.works();
        pair.ada.node.stop().await.unwrap();
    });
}
