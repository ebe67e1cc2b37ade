//! A person on Skep and one on a daemon, over Jami's DHT.

use std::collections::BTreeMap;

use skep::{ConversationId, MessageView};
use skep_tests::daemon::{Daemon, DaemonAccount, no_sound};
use skep_tests::harness::{Mark, Newcomer, Person, until};
use skep_tests::live::Lab;

/// What Bob shows of himself; his name in it is [`NAME`].
const PROFILE: &str = "BEGIN:VCARD\nVERSION:2.1\nFN:Bob B\u{f8}rk\nEND:VCARD";

/// The name that Bob shows.
pub(crate) const NAME: &str = "Bob B\u{f8}rk";

/// Ada on Skep, Bob on a daemon.
pub(crate) struct Pair {
    pub(crate) ada: Person,
    pub(crate) jamid: Daemon,
    pub(crate) bob: DaemonAccount,
    /// Dropped last: what the others logged is in its folder.
    pub(crate) lab: Lab,
}

impl Pair {
    /// None where there can be no laboratory.
    pub(crate) async fn meet() -> Option<Self> {
        let mut lab = Lab::open().unwrap()?;
        let jamid = lab.daemon("jamid").await.unwrap();
        Some(Self::meet_in(lab, jamid).await)
    }

    /// The daemon has a microphone and a loudspeaker. None where there can be none, after one line that says why.
    #[allow(clippy::print_stderr, reason = "whoever reads the output should know that it was skipped")]
    pub(crate) async fn with_sound() -> Option<Self> {
        let mut lab = Lab::open().unwrap()?;
        if let Some(obstacle) = no_sound() {
            eprintln!("skipped, a daemon can have no sound here: {obstacle}");
            return None;
        }
        let jamid = lab.daemon_with_sound("jamid").await.unwrap();
        let mut pair = Self::meet_in(lab, jamid).await;
        let id = pair.ada_asks().await;
        pair.ada_says(id, "good morning").await;
        Some(pair)
    }

    async fn meet_in(mut lab: Lab, jamid: Daemon) -> Self {
        let node = lab.skep_on_opendht("skep").unwrap();
        let (newcomer, newcomer_there) = (Newcomer::real(0, "Ada"), Newcomer::real(1, "Bob"));
        let (ada, bob) = tokio::join!(Person::arrive(&newcomer, node), jamid.arrive(&newcomer_there));
        let mut ada = ada.unwrap();
        ada.announced().await.unwrap();
        Self { ada, jamid, bob: bob.unwrap(), lab }
    }

    /// Carol, who is on Skep too, and nobody's contact yet.
    pub(crate) async fn carol_comes(&mut self) -> Person {
        let node = self.lab.skep_on_opendht("carol").unwrap();
        let mut carol = Person::arrive(&Newcomer::real(2, "Carol"), node).await.unwrap();
        carol.announced().await.unwrap();
        carol
    }

    /// Ada asks, Bob accepts.
    pub(crate) async fn ada_asks(&mut self) -> ConversationId {
        let since = self.jamid.events().mark();
        let id = self.ada.add(self.bob.id).await.unwrap();
        assert_eq!(self.jamid.request_after(since, &self.bob, self.ada.id).await.unwrap(), id);
        self.jamid.accept(&self.bob, self.ada.id).await.unwrap();
        self.jamid.ready(&self.bob, id).await.unwrap();
        self.ada.confirmed(self.bob.id).await.unwrap();
        self.ada.joined(self.bob.id, id).await.unwrap();
        id
    }

    /// Bob asks and shows his profile, Ada accepts.
    pub(crate) async fn bob_asks(&mut self, since: Mark) -> ConversationId {
        self.jamid.add_contact_showing(&self.bob, self.ada.id, PROFILE).await.unwrap();
        let id = self.ada.asked_by(self.bob.id, since).await.unwrap();
        assert_eq!(self.ada.accept(self.bob.id).await.unwrap(), id);
        self.ada.ready(id, since).await.unwrap();
        self.jamid.joined(&self.bob, id, self.ada.id).await.unwrap();
        id
    }

    /// Both are contacts, and Bob has a message.
    pub(crate) async fn befriended() -> Option<(Self, ConversationId)> {
        let mut pair = Self::meet().await?;
        let id = pair.ada_asks().await;
        pair.ada_says(id, "good morning").await;
        Some((pair, id))
    }

    /// Ada sends a text, which Bob gets.
    pub(crate) async fn ada_says(&mut self, id: ConversationId, text: &str) {
        self.ada.send(id, text).await.unwrap();
        self.jamid.received(&self.bob, id, text).await.unwrap();
    }

    /// Bob sends a text, which Ada gets.
    pub(crate) async fn bob_says(&self, id: ConversationId, text: &str) -> MessageView {
        self.jamid.send(&self.bob, id, text).await.unwrap();
        self.ada.receives(id, text).await.unwrap()
    }

    /// Waits until Bob's history has a commit with these fields.
    pub(crate) async fn bob_has(&self, id: ConversationId, fields: &[(&str, &str)]) -> String {
        self.jamid.shows(&self.bob, id, fields).await.unwrap()
    }

    /// Waits until Ada is shown such a message.
    pub(crate) async fn ada_has(
        &mut self,
        id: ConversationId,
        wanted: &str,
        is_it: impl Fn(&MessageView) -> bool,
    ) {
        until("ada", wanted, async || Ok(self.ada.messages(id).await?.iter().any(&is_it).then_some(())))
            .await
            .unwrap();
    }

    /// Waits until both have the same commits in the same order, these texts among them, each once.
    pub(crate) async fn same_history(&mut self, id: ConversationId, texts: &[String]) {
        let name = "Ada and Bob".to_owned();
        let mut last = (Vec::new(), Vec::new());
        let same = until(&name, "the same history", async || {
            let here: Vec<String> = self.ada.log(id).await?.iter().map(ToString::to_string).collect();
            let there = self.jamid.history(&self.bob, id).await?;
            let equal = there.iter().filter_map(|commit| commit.get("id")).eq(here.iter());
            last = (here, there);
            Ok(equal.then_some(()))
        })
        .await;
        let (here, there) = last;
        let ids: Vec<&String> = there.iter().filter_map(|commit| commit.get("id")).collect();
        assert!(same.is_ok(), "{same:?}\nAda: {here:#?}\nBob: {ids:#?}");
        let mut bodies = BTreeMap::new();
        for body in there.iter().filter_map(|commit| commit.get("body")) {
            *bodies.entry(body).or_insert(0) += 1;
        }
        for text in texts {
            assert_eq!(bodies.get(text), Some(&1), "{text}");
        }
    }
}

/// Texts to be told apart, of one who sends many.
pub(crate) fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}
