//! A network that loses and delays between our node and a `dhtnode`.

use std::time::Duration;

use skep_tests::daemon::DhtNode;
use skep_tests::harness::{Relay, Weather};

use crate::engine::{Ours, key, run, text_of, text_value, told};

/// Ours and theirs, with weather between them, do everything in each direction with values of `size`.
fn everything_passes(weather: Weather, size: usize) {
    run(async {
        let mut theirs = DhtNode::start(DhtNode::free_port().unwrap(), None).await.unwrap();
        let relay = Relay::start(theirs.address().parse().unwrap(), weather).await.unwrap();
        let ours = Ours::start(&[relay.address().to_string()], None);
        ours.reachable().await;
        for (number, letter) in (1..).zip(["a", "b", "c"]) {
            let text = letter.repeat(size);
            let (here, there) = (key(&format!("here {number}")), key(&format!("there {number}")));
            let mut events = ours.listen(here).await;
            theirs.command(&format!("l {there}")).await.unwrap();
            theirs.command(&format!("p {here} {text}")).await.unwrap();
            assert_eq!(text_of(&*told(&mut events, |_| true).await), text);
            assert_eq!(text_of(&ours.get_until_found(here).await), text);
            ours.put_until_kept(there, &text_value(number, &text)).await;
            theirs.until("the push", |line| line.contains(&text).then_some(())).await.unwrap();
            theirs.get_until(&there.to_string(), &text).await.unwrap();
        }
    });
}

#[test]
fn small_values_pass_though_a_fifth_of_all_datagrams_is_lost() {
    everything_passes(Weather { delay: Duration::from_millis(30), loss: 20, seed: 1 }, 200);
}

#[test]
fn large_values_pass_though_some_datagrams_are_lost() {
    everything_passes(Weather { delay: Duration::from_millis(30), loss: 5, seed: 2 }, 8000);
}

#[test]
fn large_values_pass_over_half_a_second_of_delay() {
    everything_passes(Weather { delay: Duration::from_millis(250), loss: 0, seed: 3 }, 60_000);
}
