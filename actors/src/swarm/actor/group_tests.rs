//! Groups: coming to one head with daemons of 2023, and staying for a while after we have left.

use skep_protocol::profile::ConversationProfile;
use skep_protocol::swarm::message::Mode;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::swarm::actor::leaving::LEAVE_GRACE;
use crate::swarm::exchange::serve;
use crate::swarm::messages::{GroupChange, Left};
use crate::swarm::schedules::cast;
use crate::swarm::testing::{channel_pair, forge};

/// Alice, Bob and Carla, with a device each.
fn person(number: usize) -> Founder {
    Founder { identity: cast::identity(number, 3), name: number.to_string(), now: NOW }
}

fn device_of(number: usize) -> DeviceId {
    person(number).identity.device_id()
}

fn account_of(number: usize) -> AccountId {
    person(number).identity.account_id()
}

const BOB: usize = 1;
const CARLA: usize = 2;

/// The copies of the three.
struct Group {
    id: ConversationId,
    /// Alice's.
    folder: TempDir,
    bob: Arc<Replica>,
    _place: TempDir,
}

/// A group of Alice's that Bob and Carla have joined.
fn group() -> Group {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let alice = person(0);
    let profile = ConversationProfile::default();
    let id = alice.begin_group(Mode::InvitesOnly, &profile, folder.path(), |_| false).unwrap();
    let path = folder.path().join(id.to_hex());
    {
        let (replica, _) = Replica::open(id, &path, &alice).unwrap().unwrap();
        for other in [BOB, CARLA] {
            replica.change(&GroupChange::Invite(account_of(other)), NOW).unwrap();
        }
    }
    // They join one after the other, each in the same copy.
    for other in [BOB, CARLA] {
        let (replica, _) = Replica::open(id, &path, &person(other)).unwrap().unwrap();
        replica.join(NOW).unwrap().unwrap();
    }
    let copy = place.path().join("bob");
    assert!(Command::new("cp").arg("-r").args([&path, &copy]).status().unwrap().success());
    let (bob, _) = Replica::open(id, &copy, &person(BOB)).unwrap().unwrap();
    Group { id, folder, bob, _place: place }
}

fn write(replica: &Replica, body: &str) -> CommitId {
    let (answers, _) = replica.send(&[text(body)], NOW);
    answers[0].as_ref().unwrap().id
}

impl Lab {
    fn link(&self, number: usize, state: LinkState) {
        let (device, account) = (device_of(number), account_of(number));
        self.tell(ConversationMessage::Link { device, account, state });
    }

    async fn head(&self) -> CommitId {
        self.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap().head.unwrap()
    }

    /// Somebody fetches our head.
    async fn fetched_by(&self, number: usize) {
        let served = Served::Sent(self.head().await);
        self.served(account_of(number), device_of(number), served).await;
    }

    async fn served(&self, account: AccountId, device: DeviceId, served: Served) {
        self.tell(ConversationMessage::Served { account, device, served });
        self.settled().await;
    }

    /// Bob's device is a daemon of 2023, and what is looked for upon a new link is over.
    async fn link_daemon(&self) {
        self.link(BOB, LinkState::Legacy);
        self.settled().await;
        for seconds in [5, 5, 10, 20] {
            pass(seconds).await;
            until(|| !self.opening.lock().unwrap().is_empty()).await;
            assert_eq!(self.looks().await, 1);
        }
    }

    /// Has us look for news at Bob's device, who serves his copy once.
    async fn look_at(&self, bob: &Arc<Replica>) {
        let (device, account) = (device_of(BOB), account_of(BOB));
        self.tell(ConversationMessage::Announced { device, account, commit: None });
        self.serve_once(bob).await;
    }

    /// Serves the channel that is asked for, until we have what there is.
    async fn serve_once(&self, bob: &Arc<Replica>) {
        let before = self.head().await;
        self.serve_until(bob, async || self.head().await != before).await;
    }

    /// Serves the channel that is asked for, until what there is was refused.
    async fn serve_in_vain(&self, bob: &Arc<Replica>) {
        let refusals =
            async || self.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap().refusals.len();
        let before = refusals().await;
        self.serve_until(bob, async || refusals().await > before).await;
    }

    async fn serve_until(&self, bob: &Arc<Replica>, is_over: impl AsyncFn() -> bool) {
        until(|| !self.opening.lock().unwrap().is_empty()).await;
        let (_, reply) = self.opening.lock().unwrap().remove(0);
        let peers = [(account_of(BOB), device_of(BOB)), (account_of(0), device_of(0))];
        let ([ours, theirs], pumps) = channel_pair(peers);
        let (accept, accepted) = oneshot::channel::<oneshot::Sender<Channel>>();
        let offer =
            ChannelOffer { name: String::new(), device: device_of(0), account: account_of(0), accept };
        let ((told, _served), (idle, _)) = (Outlet::channel("served", 16), watch::channel(None));
        let session = tokio::task::spawn_local(serve(
            offer,
            Arc::clone(bob),
            BlockingPool::new(1),
            Share(1),
            told,
            idle,
        ));
        let _ = accepted.await.unwrap().send(theirs);
        let begun = std::time::Instant::now();
        reply.send(Ok(ours));
        while !is_over().await {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing came");
        }
        self.settled().await;
        // The next look asks for a channel again.
        session.abort();
        pumps.iter().for_each(tokio::task::AbortHandle::abort);
    }

    /// How often Bob's device was asked for a channel; it answers that its link is lost.
    async fn looks(&self) -> usize {
        // What is due by now is on its way after that.
        for _ in 0..5 {
            self.settled().await;
        }
        self.waits_for_channels().await;
        let opening = std::mem::take(&mut *self.opening.lock().unwrap());
        let count = opening.len();
        for (device, reply) in opening {
            assert_eq!(device, device_of(BOB));
            reply.send(Err(LinkError::Lost(device)));
        }
        self.settled().await;
        count
    }

    /// What the account was told since, apart from who takes part.
    fn told_account(&mut self) -> Vec<ConversationTold> {
        let told = std::iter::from_fn(|| self.account.try_recv().ok());
        told.filter(|told| !matches!(told, ConversationTold::Ready { .. } | ConversationTold::Sought(_)))
            .collect()
    }

    async fn leave(&self) -> Left {
        self.conversation.ask(SOON, ConversationMessage::Leave).await.unwrap().unwrap()
    }
}

fn in_group<F: Future<Output = ()> + 'static>(test: impl FnOnce(Lab, Arc<Replica>) -> F + 'static) {
    virtual_time::run(async move {
        let Group { id, folder, bob, _place } = group();
        let lab = Lab::start_over(person(0), folder, id).await;
        until(|| lab.root.environment().tree().rows().iter().any(|row| row.kind == "router")).await;
        lab.settled().await;
        test(lab, bob).await;
    });
}

#[test]
fn a_daemon_of_2023_that_has_fetched_our_merge_is_looked_at_once_three_seconds_later() {
    in_group(|lab, bob| async move {
        lab.link_daemon().await;
        write(&bob, "his");
        lab.send("ours").await;
        lab.look_at(&bob).await;
        pass(60).await;
        assert_eq!(lab.looks().await, 0, "it has not fetched our merge yet");
        // However often it says so.
        for _ in 0..100 {
            lab.fetched_by(BOB).await;
        }
        pass(2).await;
        assert_eq!(lab.looks().await, 0);
        pass(1).await;
        assert_eq!(lab.looks().await, 1);
        for _ in 0..60 {
            lab.fetched_by(BOB).await;
            pass(60).await;
            assert_eq!(lab.looks().await, 0);
        }
    });
}

#[test]
fn what_a_daemon_of_2023_has_merged_in_silence_is_here_after_three_seconds() {
    in_group(|lab, bob| async move {
        lab.link_daemon().await;
        write(&bob, "his");
        lab.send("ours").await;
        lab.look_at(&bob).await;
        lab.fetched_by(BOB).await;
        write(&bob, "what he made of it");
        let before = lab.head().await;
        pass(3).await;
        lab.serve_once(&bob).await;
        assert_ne!(lab.head().await, before);
    });
}

#[test]
fn who_tells_of_merges_is_not_looked_at_after_ours() {
    in_group(|lab, bob| async move {
        lab.link(BOB, LinkState::Up);
        write(&bob, "his");
        lab.send("ours").await;
        lab.look_at(&bob).await;
        lab.fetched_by(BOB).await;
        pass(10).await;
        assert_eq!(lab.looks().await, 0);
    });
}

#[test]
fn a_daemon_of_2023_is_not_looked_at_when_we_have_not_merged_or_its_link_is_gone() {
    in_group(|lab, bob| async move {
        lab.link_daemon().await;
        lab.send("ours").await;
        lab.fetched_by(BOB).await;
        pass(10).await;
        assert_eq!(lab.looks().await, 0, "there is nothing to merge with");
        write(&bob, "his");
        lab.look_at(&bob).await;
        lab.fetched_by(BOB).await;
        lab.link(BOB, LinkState::Down);
        pass(10).await;
        assert_eq!(lab.looks().await, 0, "the next link looks for news by itself");
    });
}

#[test]
fn a_commit_that_is_announced_and_not_there_is_looked_for_once_and_passed_on_to_nobody() {
    in_group(|lab, bob| async move {
        lab.link(BOB, LinkState::Up);
        lab.link(CARLA, LinkState::Up);
        let (head, fake) = (lab.head().await, CommitId([7; 20]));
        let (device, account) = (device_of(BOB), account_of(BOB));
        lab.tell(ConversationMessage::Announced { device, account, commit: Some(fake) });
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        let tree = lab.root.environment().tree();
        let is_idle =
            || tree.rows().iter().filter(|row| row.kind == "conversation").all(|row| row.tasks == 0);
        let is_over = async || {
            lab.settled().await;
            is_idle()
        };
        lab.serve_until(&bob, is_over).await;
        pass(3600).await;
        lab.waits_for_channels().await;
        assert!(lab.opening.lock().unwrap().is_empty());
        assert_eq!(lab.head().await, head);
        let names = |commit: CommitId| {
            lab.told.lock().unwrap().iter().any(|(_, notice, _)| notice.content.contains(&commit.to_hex()))
        };
        assert!(!names(fake));
    });
}

#[test]
fn a_new_link_each_second_forgives_nobody_who_serves_another_history_that_breaks_the_rules_each_time() {
    virtual_time::run(async {
        let Group { id, folder, bob, _place: place } = group();
        drop(bob);
        let lab = Lab::start_over(person(0), folder, id).await;
        until(|| lab.root.environment().tree().rows().iter().any(|row| row.kind == "router")).await;
        let (copy, stranger) = (place.path().join("bob"), cast::identity(3, 4));
        let head = lab.head().await;
        let mut tries = 0;
        for second in 0..600 {
            lab.link(BOB, LinkState::Down);
            lab.link(BOB, LinkState::Up);
            lab.tell(ConversationMessage::Announced {
                device: device_of(BOB),
                account: account_of(BOB),
                commit: None,
            });
            lab.waits_for_channels().await;
            if !lab.opening.lock().unwrap().is_empty() {
                let repository = Repository::open(&copy).unwrap();
                let served = repository.head().unwrap().unwrap();
                repository.move_main(Some(served), head).unwrap();
                forge(&repository, &stranger, NOW.seconds(), &second.to_string());
                drop(repository);
                let (forged, _) = Replica::open(id, &copy, &person(BOB)).unwrap().unwrap();
                lab.serve_in_vain(&forged).await;
                tries += 1;
            }
            pass(1).await;
        }
        assert_eq!(lab.head().await, head);
        // After pauses of 1, 2, 4 and up to 512 seconds.
        assert!((5..=10).contains(&tries), "{tries}");
    });
}

#[test]
fn whoever_leaves_stays_until_all_who_are_linked_know_of_it() {
    in_group(|mut lab, _| async move {
        lab.link(BOB, LinkState::Up);
        lab.link(CARLA, LinkState::Up);
        assert_eq!(lab.leave().await, Left::Announced);
        lab.settled().await;
        lab.fetched_by(0).await;
        assert!(lab.told_account().is_empty(), "our own devices do not count");
        lab.fetched_by(BOB).await;
        assert!(lab.told_account().is_empty());
        lab.fetched_by(CARLA).await;
        assert_eq!(lab.told_account(), [ConversationTold::LeaveFetched]);
    });
}

#[test]
fn whoever_leaves_waits_half_a_minute_for_those_who_are_linked_and_do_not_fetch() {
    in_group(|mut lab, _| async move {
        lab.link(BOB, LinkState::Up);
        lab.link(CARLA, LinkState::Legacy);
        lab.leave().await;
        pass(3600).await;
        lab.settled().await;
        assert!(lab.told_account().is_empty(), "nobody knows of it");
        lab.fetched_by(BOB).await;
        pass(LEAVE_GRACE.as_secs() - 1).await;
        lab.fetched_by(BOB).await;
        assert!(lab.told_account().is_empty());
        pass(1).await;
        lab.settled().await;
        assert_eq!(lab.told_account(), [ConversationTold::LeaveFetched]);
    });
}

#[test]
fn whoever_leaves_does_not_wait_for_those_without_a_link() {
    in_group(|mut lab, _| async move {
        lab.link(BOB, LinkState::Up);
        lab.link(CARLA, LinkState::Up);
        lab.link(CARLA, LinkState::Down);
        lab.leave().await;
        lab.fetched_by(BOB).await;
        assert_eq!(lab.told_account(), [ConversationTold::LeaveFetched]);
    });
}

#[test]
fn a_device_that_has_never_written_counts_when_it_says_that_it_has_what_we_have() {
    in_group(|mut lab, _| async move {
        let (account, device) = (account_of(BOB), DeviceId([9; 32]));
        lab.link(BOB, LinkState::Up);
        lab.leave().await;
        let head = lab.head().await;
        // It cannot merge that with what it may have itself.
        lab.served(account, device, Served::Sent(head)).await;
        pass(3600).await;
        lab.settled().await;
        assert!(lab.told_account().is_empty());
        lab.served(account, device, Served::UpToDate(head)).await;
        assert_eq!(lab.told_account(), [ConversationTold::LeaveFetched]);
    });
}

#[test]
fn whoever_has_left_goes_on_waiting_after_a_restart() {
    virtual_time::run(async {
        let Group { id, folder, .. } = group();
        let head = {
            let path = folder.path().join(id.to_hex());
            let (replica, _) = Replica::open(id, &path, &person(0)).unwrap().unwrap();
            replica.leave(NOW).unwrap().unwrap().standing.head
        };
        let mut lab = Lab::start_over(person(0), folder, id).await;
        until(|| lab.root.environment().tree().rows().iter().any(|row| row.kind == "router")).await;
        assert_eq!(lab.leave().await, Left::Announced);
        lab.settled().await;
        assert_eq!(lab.head().await, head, "it is not said twice");
        let announced = |(_, notice, _): &(Recipient, Notice, bool)| notice.content.contains(&head.to_hex());
        assert!(lab.told.lock().unwrap().iter().any(announced));
        lab.link(BOB, LinkState::Up);
        lab.link(CARLA, LinkState::Up);
        pass(3600).await;
        lab.settled().await;
        assert!(lab.told_account().is_empty(), "nobody knows of it");
        lab.fetched_by(CARLA).await;
        pass(LEAVE_GRACE.as_secs() - 1).await;
        lab.settled().await;
        assert!(lab.told_account().is_empty());
        pass(1).await;
        lab.settled().await;
        assert_eq!(lab.told_account(), [ConversationTold::LeaveFetched]);
    });
}
