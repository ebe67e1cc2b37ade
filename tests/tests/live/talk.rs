//! A person on Skep and one on a daemon, over Jami's DHT.

use skep::ConversationId;
use skep_tests::daemon::{Daemon, DaemonAccount};
use skep_tests::harness::{Mark, Person, run};
use skep_tests::live::{Direction, Feature, Lab};

/// Ada on Skep, Bob on a daemon.
struct Pair {
    lab: Lab,
    ada: Person,
    jamid: Daemon,
    bob: DaemonAccount,
}

impl Pair {
    /// None where there can be no laboratory.
    async fn meet() -> Option<Self> {
        let mut lab = Lab::open().unwrap()?;
        let node = lab.skep_on_opendht("skep").unwrap().start().await.unwrap();
        let jamid = lab.daemon("jamid").await.unwrap();
        let (ada, bob) = tokio::join!(Person::create(node, "Ada", None), jamid.create_account("Bob", None));
        let mut ada = ada.unwrap();
        ada.announced().await.unwrap();
        Some(Self { lab, ada, jamid, bob: bob.unwrap() })
    }

    /// Ada asks, Bob accepts.
    async fn ada_asks(&mut self) -> ConversationId {
        let id = self.ada.add(self.bob.id).await.unwrap();
        assert_eq!(self.jamid.request(&self.bob, self.ada.id).await.unwrap(), id);
        self.jamid.accept(&self.bob, self.ada.id).await.unwrap();
        self.jamid.ready(&self.bob, id).await.unwrap();
        self.ada.confirmed(self.bob.id).await.unwrap();
        self.ada.joined(self.bob.id, id).await.unwrap();
        id
    }

    /// Bob asks, Ada accepts.
    async fn bob_asks(&mut self) -> ConversationId {
        let since = Mark::BEGINNING;
        self.jamid.add_contact(&self.bob, self.ada.id).await.unwrap();
        let id = self.ada.asked_by(self.bob.id, since).await.unwrap();
        assert_eq!(self.ada.accept(self.bob.id).await.unwrap(), id);
        self.ada.usable(id).await.unwrap();
        self.jamid.joined(&self.bob, id, self.ada.id).await.unwrap();
        id
    }

    /// Says something each way.
    async fn talk(&mut self, id: ConversationId) {
        let said = self.lab.attempt(Feature::Text, Direction::ToDaemon);
        self.ada.send(id, "hello from Skep \u{1f41d}").await.unwrap();
        self.jamid.received(&self.bob, id, "hello from Skep \u{1f41d}").await.unwrap();
        said.works();
        let heard = self.lab.attempt(Feature::Text, Direction::FromDaemon);
        self.jamid.send(&self.bob, id, "hello from a daemon \u{1f44b}").await.unwrap();
        self.ada.receives(id, "hello from a daemon \u{1f44b}").await.unwrap();
        heard.works();
    }
}

#[test]
fn a_daemon_accepts_a_request_of_skep_and_both_talk() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let asked = pair.lab.attempt(Feature::Contact, Direction::ToDaemon);
        let id = pair.ada_asks().await;
        asked.works();
        pair.talk(id).await;
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn skep_accepts_a_request_of_a_daemon_and_both_talk() {
    run(async {
        let Some(mut pair) = Pair::meet().await else { return };
        let asked = pair.lab.attempt(Feature::Contact, Direction::FromDaemon);
        let id = pair.bob_asks().await;
        asked.works();
        pair.talk(id).await;
        pair.ada.node.stop().await.unwrap();
    });
}
