//! A daemon that is stopped in the middle of something: it keeps its connections and answers nothing.
//! Whoever writes on Skep, and everybody else, must not notice; and when it goes on, nothing is lost.

use std::time::Duration;

use skep::{AccountId, ConversationId, Event, NodeEvent};
use skep_tests::daemon::Signal;
use skep_tests::harness::{Mark, Person, run};
use tokio::time::timeout;

use super::pair::{Pair, texts};

/// What nobody has to wait for takes less, on the slowest machine; what waits for the daemon takes longer.
const UNDISTURBED: Duration = Duration::from_secs(5);

/// Messages of whoever writes many.
const COUNT: usize = 30;

/// Ada on Skep talks with Bob on a daemon, and with Carol, who is on Skep, too.
struct Three {
    carol: Person,
    /// Dropped after her: its laboratory has her folder.
    pair: Pair,
    with_carol: ConversationId,
    said: usize,
}

impl Three {
    /// Ada and Carol are contacts, Bob is nobody's yet.
    async fn meet() -> Option<Self> {
        let mut pair = Pair::meet().await?;
        let mut carol = pair.carol_comes().await;
        let with_carol = pair.ada.befriend(&mut carol).await.unwrap();
        Some(Self { carol, pair, with_carol, said: 0 })
    }

    /// All are Ada's contacts.
    async fn befriended() -> Option<(Self, ConversationId)> {
        let mut three = Self::meet().await?;
        let id = three.pair.ada_asks().await;
        three.pair.ada_says(id, "good morning").await;
        Some((three, id))
    }

    /// While Bob's daemon is stopped, Ada writes to him, and talks with Carol, without waiting. Then the
    /// daemon goes on. Returns what Ada wrote to Bob.
    async fn nobody_notices(&mut self, id: ConversationId) -> String {
        let Self { pair, carol, with_carol, said } = self;
        *said += 1;
        let [to_bob, to_carol, from_carol] =
            ["to Bob", "to Carol", "from Carol"].map(|it| format!("{it} {said}"));
        let undisturbed = async {
            pair.ada.send(id, &to_bob).await.unwrap();
            pair.ada.send(*with_carol, &to_carol).await.unwrap();
            carol.receives(*with_carol, &to_carol).await.unwrap();
            carol.send(*with_carol, &from_carol).await.unwrap();
            pair.ada.receives(*with_carol, &from_carol).await.unwrap();
        };
        assert!(timeout(UNDISTURBED, undisturbed).await.is_ok(), "others wait for a stopped daemon");
        pair.jamid.go_on();
        to_bob
    }

    /// As [`Self::nobody_notices`], and Bob gets what Ada wrote.
    async fn only_bob_notices(&mut self, id: ConversationId) {
        let to_bob = self.nobody_notices(id).await;
        self.pair.bob_has(id, &[("body", &to_bob)]).await;
    }

    async fn end(mut self) {
        self.pair.ada.node.stop().await.unwrap();
        self.carol.node.stop().await.unwrap();
    }
}

/// Waits for a link from Ada's node to one of a contact's devices.
async fn linked(ada: &Person, contact: AccountId, since: Mark) {
    let up =
        |event: &Event| matches!(event, Event::LinkUp { contact: it, .. } if *it == contact).then_some(());
    ada.told(since, "a link", up).await.unwrap();
}

/// Whether there was such a link until now.
fn has_linked(ada: &Person, contact: AccountId, since: Mark) -> bool {
    let up = |told: &NodeEvent| {
        matches!(told.event, Event::LinkUp { contact: it, .. } if it == contact).then_some(())
    };
    ada.node.events().find(since, up).is_some()
}

#[test]
fn a_daemon_that_stops_before_it_is_connected_to_holds_up_nobody() {
    run(async {
        let Some((mut three, id)) = Three::befriended().await else { return };
        three.pair.jamid.halt();
        three.pair.ada.node.restart().await.unwrap();
        three.only_bob_notices(id).await;
        three.end().await;
    });
}

#[test]
fn a_daemon_that_stops_while_it_connects_and_clones_holds_up_nobody() {
    run(async {
        let Some(mut three) = Three::meet().await else { return };
        let Pair { ada, jamid, bob, .. } = &mut three.pair;
        let (since, linking) = (jamid.events().mark(), ada.node.events().mark());
        let id = ada.add(bob.id).await.unwrap();
        jamid.request_after(since, bob, ada.id).await.unwrap();
        jamid.accept(bob, ada.id).await.unwrap();
        jamid.halt();
        assert!(!has_linked(ada, bob.id, linking), "it was to be stopped before");
        let while_connecting = three.nobody_notices(id).await;

        let Pair { ada, jamid, bob, .. } = &mut three.pair;
        linked(ada, bob.id, linking).await;
        jamid.halt();
        let cloned = |signal: &Signal| {
            matches!(signal, Signal::Ready { conversation, .. } if *conversation == id).then_some(())
        };
        assert!(jamid.events().find(since, cloned).is_none(), "it was to be stopped before");
        let while_cloning = three.nobody_notices(id).await;

        let Pair { ada, jamid, bob, .. } = &mut three.pair;
        jamid.ready(bob, id).await.unwrap();
        ada.joined(bob.id, id).await.unwrap();
        for text in [&while_connecting, &while_cloning] {
            three.pair.bob_has(id, &[("body", text)]).await;
        }
        three.end().await;
    });
}

#[test]
fn a_daemon_that_stops_while_it_fetches_holds_up_nobody() {
    run(async {
        let Some((mut three, id)) = Three::befriended().await else { return };
        let sent = texts("Ada", COUNT);
        let mut burst = three.pair.ada.burst(id, sent.iter().cloned()).await.unwrap();
        burst.acknowledged(1).await.unwrap();
        three.pair.jamid.halt();
        assert_eq!(burst.end().await.unwrap().len(), COUNT);
        let last = |signal: &Signal| {
            matches!(signal, Signal::Message { body, .. } if *body == sent[COUNT - 1]).then_some(())
        };
        assert!(three.pair.jamid.events().find(Mark::BEGINNING, last).is_none(), "it had everything");
        three.only_bob_notices(id).await;
        three.pair.same_history(id, &sent).await;
        three.end().await;
    });
}

#[test]
fn a_daemon_that_stops_while_skep_fetches_from_it_holds_up_nobody() {
    run(async {
        let Some((mut three, id)) = Three::befriended().await else { return };
        let sent = texts("Bob", COUNT);
        let (first, rest) = sent.split_at(COUNT / 2);
        for text in first {
            three.pair.jamid.send(&three.pair.bob, id, text).await.unwrap();
        }
        three.pair.ada.receives(id, &sent[0]).await.unwrap();
        for text in rest {
            three.pair.jamid.send(&three.pair.bob, id, text).await.unwrap();
        }
        three.pair.jamid.halt();
        let here = three.pair.ada.messages(id).await.unwrap();
        let lacks = rest.iter().any(|text| here.iter().all(|message| message.body != *text));
        assert!(lacks, "she had everything");
        three.only_bob_notices(id).await;
        // That release does not tell of its merges; of a message after them it does.
        three.pair.bob_says(id, "that was all").await;
        three.pair.same_history(id, &sent).await;
        three.end().await;
    });
}
