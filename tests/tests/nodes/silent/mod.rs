//! A peer that stays silent, at every step that there is: it costs others nothing.

mod conversation;
mod peer;

use std::time::{Duration, Instant};

use skep::ConversationId;
use skep::rpc::schema::{Nothing, method};
use skep_tests::harness::{Golden, Person, run};
use tempfile::TempDir;

use self::peer::{SilentPeer, Until};
use super::Pair;

/// In which time others get their messages, and a node ends: much less than anybody waits for a
/// silent peer, which is ten seconds at least.
const PROMPT: Duration = Duration::from_secs(8);

/// By how much a silent peer may make a node grow, in bytes: the code that runs for the first time,
/// and what the allocator keeps.
const MAX_GROWTH: usize = 32 * 1024 * 1024;

/// Messages that may wait in a mailbox of a node that is talked to.
const MAX_WAITING: usize = 8;

/// Alice and Carol, who talk.
struct Company {
    alice: Person,
    carol: Person,
    conversation: ConversationId,
    /// The memory of Alice's node before Bob came, in bytes.
    resident: usize,
    // Last, so that the nodes have ended when their files go.
    place: TempDir,
}

impl Company {
    async fn gather() -> Self {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let conversation = alice.befriend(&mut carol).await.unwrap();
        let resident = alice.node.resident().unwrap();
        Self { alice, carol, conversation, resident, place }
    }

    /// Brings somebody who is silent after a step.
    async fn bring(&mut self, until: Until) -> SilentPeer {
        self.bring_as(Golden::BOB, until).await
    }

    async fn bring_as(&mut self, golden: Golden, until: Until) -> SilentPeer {
        self.resident = self.alice.node.resident().unwrap();
        let bootstrap = self.alice.node.address().await.unwrap();
        SilentPeer::start(golden, until, &self.place.path().join(golden.name), &bootstrap).await
    }

    /// Checks that nobody but Bob is silent, and that Alice's node ends in order.
    async fn go_on_beside(mut self, bob: &mut SilentPeer) {
        bob.silent().await;
        let Self { alice, carol, conversation, resident, .. } = &mut self;
        let begun = Instant::now();
        for number in 0..5 {
            let (question, answer) = (format!("question {number}"), format!("answer {number}"));
            alice.send(*conversation, &question).await.unwrap();
            carol.receives(*conversation, &question).await.unwrap();
            carol.send(*conversation, &answer).await.unwrap();
            alice.receives(*conversation, &answer).await.unwrap();
        }
        let took = begun.elapsed();
        assert!(took < PROMPT, "ten messages took {took:?}");
        let tree = alice.node.call(method::NodeTree, Nothing {}).await.unwrap();
        assert_eq!(tree.panics, 0);
        let behind: Vec<_> = tree.actors.iter().filter(|actor| actor.mailbox > MAX_WAITING).collect();
        assert!(behind.is_empty(), "{behind:?}");
        let grown = alice.node.resident().unwrap().saturating_sub(*resident);
        assert!(grown < MAX_GROWTH, "the node has grown by {grown} bytes");
        let begun = Instant::now();
        alice.node.stop().await.unwrap();
        let took = begun.elapsed();
        assert!(took < PROMPT, "the end took {took:?}");
    }
}

/// Alice adds somebody who is silent after a step.
fn a_contact_silent_after(until: Until) {
    run(async {
        let mut company = Company::gather().await;
        let mut bob = company.bring(until).await;
        company.alice.add(bob.account).await.unwrap();
        let contacts = company.alice.contacts().await.unwrap();
        assert!(contacts.iter().any(|contact| contact.id == bob.account && !contact.confirmed));
        company.go_on_beside(&mut bob).await;
    });
}

/// Alice accepts an invitation of somebody who is silent after a step.
fn an_inviter_silent_after(until: Until) {
    run(async {
        let mut company = Company::gather().await;
        let mut bob = company.bring(until).await;
        let (conversation, since) = (ConversationId([9; 20]), company.alice.node.events().mark());
        bob.invite(Golden::ALICE, conversation).await;
        company.alice.asked_by(bob.account, since).await.unwrap();
        assert_eq!(company.alice.accept(bob.account).await.unwrap(), conversation);
        company.go_on_beside(&mut bob).await;
    });
}

#[test]
fn a_contact_that_never_answers_a_connection_request_holds_up_nobody() {
    a_contact_silent_after(Until::Found);
}

#[test]
fn a_contact_that_answers_and_never_connects_holds_up_nobody() {
    a_contact_silent_after(Until::Answered);
}

#[test]
fn a_contact_that_connects_and_never_checks_holds_up_nobody() {
    a_contact_silent_after(Until::Connected);
}

#[test]
fn a_contact_that_never_begins_the_handshake_holds_up_nobody() {
    a_contact_silent_after(Until::Nominated);
}

#[test]
fn a_contact_that_never_ends_the_handshake_holds_up_nobody() {
    a_contact_silent_after(Until::HandshakeBegun);
}

#[test]
fn a_contact_that_answers_no_channel_request_holds_up_nobody() {
    a_contact_silent_after(Until::Multiplexed);
}

#[test]
fn a_contact_that_never_reads_its_messages_holds_up_nobody() {
    a_contact_silent_after(Until::MessagesOpened);
}

#[test]
fn a_contact_that_advertises_nothing_holds_up_nobody() {
    a_contact_silent_after(Until::GitOpened);
}

#[test]
fn a_contact_that_sends_half_a_pack_holds_up_nobody() {
    a_contact_silent_after(Until::HalfAPack);
}

#[test]
fn a_contact_that_never_confirms_holds_up_nobody() {
    a_contact_silent_after(Until::Unconfirmed);
}

#[test]
fn an_inviter_that_never_answers_a_connection_request_holds_up_nobody() {
    an_inviter_silent_after(Until::Found);
}

#[test]
fn an_inviter_that_advertises_nothing_holds_up_nobody() {
    an_inviter_silent_after(Until::GitOpened);
}

#[test]
fn an_inviter_that_sends_half_a_pack_holds_up_nobody() {
    an_inviter_silent_after(Until::HalfAPack);
}

/// Text that does not compress: letters of a simple generator.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from(state >> 58).unwrap())
    };
    (0..length).map(letter).collect()
}

#[test]
fn a_contact_that_wants_a_large_history_and_never_reads_it_costs_no_memory() {
    run(async {
        let mut company = Company::gather().await;
        let bob = Golden::BOB.id.parse().unwrap();
        let with_bob = company.alice.add(bob).await.unwrap();
        for number in 0..90 {
            company.alice.send(with_bob, &noise(number, 60_000)).await.unwrap();
        }
        let mut bob = company.bring(Until::PackWanted).await;
        company.go_on_beside(&mut bob).await;
    });
}

#[test]
fn a_contact_that_announces_without_end_is_asked_for_one_fetch_at_a_time() {
    run(async {
        let mut company = Company::gather().await;
        let mut bob = company.bring(Until::Announcing).await;
        company.alice.add(bob.account).await.unwrap();
        company.go_on_beside(&mut bob).await;
        assert_eq!(bob.git_channels(), 1);
    });
}

#[test]
fn a_history_of_other_people_is_refused_whole() {
    run(async {
        let mut company = Company::gather().await;
        let mut bob = company.bring(Until::ForeignPack).await;
        let with_bob = company.alice.add(bob.account).await.unwrap();
        let log = company.alice.log(with_bob).await.unwrap();
        bob.silent().await;
        assert_eq!(company.alice.log(with_bob).await.unwrap(), log);
        let sent = company.alice.send(with_bob, "still ours").await.unwrap();
        assert_eq!(company.alice.log(with_bob).await.unwrap(), [&[sent][..], &log].concat());
        company.go_on_beside(&mut bob).await;
    });
}

#[test]
fn what_cannot_be_read_or_comes_from_nobody_known_is_ignored() {
    run(async {
        let mut company = Company::gather().await;
        let mut bob = company.bring(Until::Joined).await;
        let conversation = ConversationId([9; 20]);
        bob.invite(Golden::ALICE, conversation).await;
        bob.ask_for_connection(Golden::ALICE).await;
        bob.scribble(Golden::ALICE).await;
        // Somebody who can be found is heard after all that.
        let dave = company.bring_as(Golden::DAVE, Until::Found).await;
        let since = company.alice.node.events().mark();
        dave.invite(Golden::ALICE, conversation).await;
        company.alice.asked_by(dave.account, since).await.unwrap();
        let requests = company.alice.requests().await.unwrap();
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!((requests[0].from, requests[0].name.as_str()), (dave.account, ""));
        company.go_on_beside(&mut bob).await;
    });
}
