//! A conversation over links that only note what they are told. Time passes when a test says so.

use std::future::Future;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::serving::MAX_SERVED_EACH;
use super::*;
use crate::peer::messages::{ChannelOffer, LinkError, Notice, Recipient};
use crate::recorded::NOW;
use crate::supervision::{ActorRow, ChildSpec, Environment, Message, Policy, RootHandle, start_root};
use crate::swarm::repository::Repository;
use crate::swarm::repository::serve::Served;
use crate::swarm::testing::{channel, founder};
use crate::virtual_time::{self, pass, until};

#[path = "fetching_tests.rs"]
mod fetching;
#[path = "group_tests.rs"]
mod groups;
#[path = "storm_tests.rs"]
mod storms;

/// How long a question may take, in the time of the test.
const SOON: Duration = Duration::from_secs(5);

/// Who is invited.
const OTHER: AccountId = AccountId([7; 20]);

/// A device of the other one, which has never written, was sent our history up to a commit.
fn served_to_other(commit: CommitId) -> ConversationMessage {
    let (device, served) = (DeviceId([7; 32]), Served::Sent(commit));
    ConversationMessage::Served { account: OTHER, device, served }
}

/// What the links were to deliver.
type Told = Arc<Mutex<Vec<(Recipient, Notice, bool)>>>;

/// The devices to which the links were to open git channels, which they never do.
type Opening = Arc<Mutex<Vec<(DeviceId, Reply<Result<Channel, LinkError>>)>>>;

#[derive(Clone, Default)]
struct Links {
    told: Told,
    opening: Opening,
}

impl Actor for Links {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, message: LinksMessage, _: &mut Scope<'_, Self>) {
        match message {
            LinksMessage::Notify { to, notice, lasting, .. } => {
                self.told.lock().unwrap().push((to, notice, lasting));
            }
            // Nobody has an overlay.
            LinksMessage::Open { device, name, reply, .. } if name.starts_with("swarm:") => {
                reply.send(Err(LinkError::Declined { device, name }));
            }
            LinksMessage::Open { device, reply, .. } => self.opening.lock().unwrap().push((device, reply)),
            _ => {}
        }
    }
}

/// Knows nobody.
struct Directory;

impl Actor for Directory {
    type Message = DirectoryMessage;
    const KIND: &'static str = "directory";

    fn handle(&mut self, _: DirectoryMessage, _: &mut Scope<'_, Self>) {}
}

struct Root {
    founder: Founder,
    folder: tempfile::TempDir,
    id: ConversationId,
    links: Links,
    pool: BlockingPool,
    name: watch::Receiver<String>,
    settings: watch::Receiver<AccountSettings>,
    events: Outlet<NodeEvent>,
    account: Outlet<ConversationTold>,
    conversation: Option<Port<ConversationMessage>>,
}

struct Conversation(Reply<Port<ConversationMessage>>);

impl Message for Conversation {
    fn kind(&self) -> &'static str {
        "conversation"
    }
    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Actor for Root {
    type Message = Conversation;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let links = self.links.clone();
        let links = scope.start_child(ChildSpec::new("links"), move || links.clone());
        let directory = scope.start_child(ChildSpec::new("directory"), || Directory);
        let config = ConversationConfig {
            id: self.id,
            local: LocalAccountId([1; 8]),
            folder: self.folder.path().join(self.id.to_hex()),
            status_file: self.folder.path().join("status"),
            preferences_file: self.folder.path().join("preferences"),
            mobiles_file: self.folder.path().join("mobiles"),
            identity: Arc::clone(&self.founder.identity),
            name: self.name.clone(),
            links,
            directory,
            settings: self.settings.clone(),
            pool: self.pool.clone(),
            share: Share(1),
            events: self.events.clone(),
            account: self.account.clone(),
        };
        let start = move || ConversationActor::new(config.clone());
        self.conversation = Some(scope.start_child(ChildSpec::new("conversation"), start));
    }

    fn handle(&mut self, Conversation(reply): Conversation, _: &mut Scope<'_, Self>) {
        reply.send(self.conversation.clone().unwrap());
    }
}

/// Alice's conversation with somebody who is told everything and does nothing.
struct Lab {
    conversation: Port<ConversationMessage>,
    told: Told,
    opening: Opening,
    pool: BlockingPool,
    /// Our display name.
    name: watch::Sender<String>,
    settings: watch::Sender<AccountSettings>,
    /// Where our copy is.
    copy: std::path::PathBuf,
    events: mpsc::Receiver<NodeEvent>,
    /// What the account is told.
    account: mpsc::Receiver<ConversationTold>,
    /// The id of the message "hello" if it is the first.
    hello: CommitId,
    root: RootHandle<Conversation>,
}

impl Lab {
    /// One whose conversation is not here yet.
    async fn start_empty() -> Self {
        Self::start_in(|folder, id| std::fs::remove_dir_all(folder.join(id.to_hex())).unwrap()).await
    }

    async fn start() -> Self {
        Self::start_in(|_, _| ()).await
    }

    async fn start_in(prepare: impl FnOnce(&std::path::Path, ConversationId)) -> Self {
        let (founder, folder) = (founder(), tempfile::tempdir().unwrap());
        let id = founder.begin(folder.path(), OTHER, |_| false).unwrap();
        let hello = {
            let (path, copy) = (folder.path().join(id.to_hex()), folder.path().join("copy"));
            assert!(Command::new("cp").arg("-r").args([&path, &copy]).status().unwrap().success());
            let (replica, _) = Replica::open(id, &copy, &founder).unwrap().unwrap();
            let (answers, _) = replica.send(&[text("hello")], NOW);
            answers[0].as_ref().unwrap().id
        };
        prepare(folder.path(), id);
        Self { hello, ..Self::start_over(founder, folder, id).await }
    }

    /// A conversation of `founder`'s that is in a folder.
    async fn start_over(founder: Founder, folder: tempfile::TempDir, id: ConversationId) -> Self {
        let links = Links::default();
        let (Links { told, opening }, (settings, watched)) =
            (links.clone(), watch::channel(AccountSettings::default()));
        let ((outlet, events), (account_outlet, account)) =
            (Outlet::channel("events", 1024), Outlet::channel("account", 1024));
        let (name, named) = watch::channel(founder.name.clone());
        let copy = folder.path().join(id.to_hex());
        let parts = Mutex::new(Some((founder, folder)));
        let pool = BlockingPool::new(2);
        let of_root = pool.clone();
        let root = start_root(Environment::single_thread(NOW, 1), move || {
            let (founder, folder) = parts.lock().unwrap().take().unwrap();
            let (links, name, settings) = (links.clone(), named.clone(), watched.clone());
            let (events, account, pool) = (outlet.clone(), account_outlet.clone(), of_root.clone());
            Root { founder, folder, id, links, pool, name, settings, events, account, conversation: None }
        });
        let conversation = root.port().ask(SOON, Conversation).await.unwrap();
        let hello = CommitId([0; 20]);
        Self { conversation, told, opening, pool, name, settings, copy, events, account, hello, root }
    }

    async fn send(&self, body: &str) -> CommitId {
        let message = text(body);
        self.conversation
            .ask(SOON, |reply| ConversationMessage::Send { message, reply })
            .await
            .unwrap()
            .unwrap()
    }

    fn tell(&self, message: ConversationMessage) {
        self.conversation.try_send(message).unwrap();
    }

    /// The next event that is about what others have read or type.
    async fn next_sign(&mut self) -> Event {
        loop {
            let NodeEvent { event, .. } = self.events.recv().await.unwrap();
            if matches!(event, Event::Read { .. } | Event::Fetched { .. } | Event::Typing { .. }) {
                return event;
            }
        }
    }

    /// Everything that was sent before has been handled, by the overlay and the links too.
    async fn settled(&self) {
        self.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap();
        // There is none before the conversation is open.
        let _ = self.conversation.ask(SOON, ConversationMessage::Routes).await.unwrap();
        let concerned = |row: &ActorRow| ["router", "links"].contains(&row.kind);
        let is_idle = |row: &ActorRow| row.tasks == 0 && row.mailbox == 0;
        let tree = self.root.environment().tree();
        until(|| tree.rows().iter().filter(|row| concerned(row)).all(is_idle)).await;
        self.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap();
    }

    /// Waits until the last that the links were told is a reminder.
    async fn reminded(&self) {
        until(|| self.told.lock().unwrap().last().is_some_and(|(_, _, lasting)| !lasting)).await;
    }

    /// Everything that is to be fetched or cloned waits for a channel.
    async fn waits_for_channels(&self) {
        self.settled().await;
        let tree = self.root.environment().tree();
        let is_idle = |row: &ActorRow| row.tasks == self.opening.lock().unwrap().len();
        until(|| tree.rows().iter().filter(|row| row.kind == "conversation").all(is_idle)).await;
    }

    /// Declines all channels that were asked for, and says how many those were.
    async fn decline_all(&self) -> usize {
        self.waits_for_channels().await;
        let opening = std::mem::take(&mut *self.opening.lock().unwrap());
        let count = opening.len();
        for (device, reply) in opening {
            reply.send(Err(LinkError::Declined { device, name: "git".to_owned() }));
        }
        self.waits_for_channels().await;
        count
    }

    /// How often the other one was told of a commit, and how often of those only if it is connected.
    async fn times_told(&self, commit: CommitId) -> (usize, usize) {
        self.settled().await;
        let told = self.told.lock().unwrap();
        let of_commit = |(to, notice, _): &&(Recipient, Notice, bool)| {
            *to == Recipient::Account(OTHER) && notice.content.contains(&commit.to_hex())
        };
        let reminders = told.iter().filter(of_commit).filter(|(_, _, lasting)| !lasting).count();
        (told.iter().filter(of_commit).count(), reminders)
    }
}

fn text(body: &str) -> Outgoing {
    Outgoing::Text { body: body.to_owned(), reply_to: None }
}

fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce(Lab) -> F + 'static) {
    virtual_time::run(async move { test(Lab::start().await).await });
}

#[test]
fn a_head_that_the_other_one_does_not_fetch_is_told_five_times_more_and_never_again() {
    run(|lab| async move {
        let head = lab.send("hello").await;
        assert_eq!(lab.times_told(head).await, (1, 0));
        for (reminders, seconds) in [(1, 30), (2, 10), (3, 10), (4, 10), (5, 60)] {
            pass(seconds - 1).await;
            assert_eq!(lab.times_told(head).await, (reminders, reminders - 1));
            pass(1).await;
            until(|| lab.told.lock().unwrap().len() == reminders + 2).await;
            assert_eq!(lab.times_told(head).await, (reminders + 1, reminders));
        }
        for _ in 0..60 {
            pass(60).await;
            assert_eq!(lab.times_told(head).await, (6, 5));
        }
    });
}

#[test]
fn what_is_written_after_a_renaming_carries_the_new_name() {
    run(|lab| async move {
        let before = lab.send("hello").await;
        lab.name.send_replace("Alice in Wonderland".to_owned());
        let after = lab.send("hello again").await;
        let copy = Repository::open(&lab.copy).unwrap();
        let name = |commit| copy.commit_at(commit).unwrap().author.name;
        assert_eq!([name(before), name(after)], [&b"Alice"[..], b"Alice in Wonderland"]);
    });
}

#[test]
fn a_head_that_was_fetched_is_told_once() {
    run(|mut lab| async move {
        let head = lab.send("hello").await;
        lab.tell(served_to_other(head));
        assert!(matches!(lab.next_sign().await, Event::Fetched { message, .. } if message == head));
        for _ in 0..10 {
            pass(30).await;
            assert_eq!(lab.times_told(head).await, (1, 0));
        }
    });
}

#[test]
fn only_the_newest_head_is_reminded_of() {
    run(|lab| async move {
        let first = lab.send("first").await;
        pass(29).await;
        let second = lab.send("second").await;
        pass(29).await;
        assert_eq!((lab.times_told(first).await, lab.times_told(second).await), ((1, 0), (1, 0)));
        pass(1).await;
        lab.reminded().await;
        assert_eq!((lab.times_told(first).await, lab.times_told(second).await), ((1, 0), (2, 1)));
    });
}

#[test]
fn the_daemon_of_2023_at_the_other_end_is_reminded_soon_and_others_are_not() {
    for (state, expected) in [(LinkState::Legacy, [(1, 0), (2, 1), (3, 2)]), (LinkState::Up, [(1, 0); 3])] {
        run(move |lab| async move {
            lab.tell(ConversationMessage::Link { device: DeviceId([1; 32]), account: OTHER, state });
            let head = lab.send("hello").await;
            let mut told = Vec::new();
            for milliseconds in [499, 1, 1500] {
                tokio::time::advance(Duration::from_millis(milliseconds)).await;
                lab.settled().await;
                told.push(lab.times_told(head).await);
            }
            assert_eq!(told, expected, "{state:?}");
        });
    }
}

#[test]
fn a_head_of_ours_is_reminded_of_after_a_start() {
    run(|lab| async move {
        // Alice began the conversation; nobody has fetched that.
        let view = lab.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap();
        let head = view.head.unwrap();
        for _ in 0..60 {
            pass(60).await;
            until(|| lab.root.environment().tree().rows().iter().all(|row| row.tasks == 0)).await;
            lab.settled().await;
        }
        assert_eq!(lab.times_told(head).await, (5, 5));
    });
}

#[test]
fn who_does_not_tell_how_far_he_reads_and_that_he_types_hears_it_of_nobody() {
    run(|mut lab| async move {
        let head = lab.send("hello").await;
        lab.settings.send_replace(AccountSettings { read_receipts: false, typing: false });
        lab.tell(ConversationMessage::ReadBy { member: OTHER, commit: head });
        lab.tell(ConversationMessage::TypedBy { member: OTHER, active: true });
        lab.settled().await;
        // What was fetched is told all the same, and nothing before it.
        lab.tell(served_to_other(head));
        assert!(matches!(lab.next_sign().await, Event::Fetched { message, .. } if message == head));
        lab.settings.send_replace(AccountSettings { read_receipts: false, typing: true });
        lab.tell(ConversationMessage::ReadBy { member: OTHER, commit: head });
        lab.settled().await;
        lab.tell(ConversationMessage::TypedBy { member: OTHER, active: true });
        assert!(matches!(lab.next_sign().await, Event::Typing { active: true, .. }));
        lab.settings.send_replace(AccountSettings { read_receipts: true, typing: true });
        lab.tell(ConversationMessage::ReadBy { member: OTHER, commit: head });
        assert!(matches!(lab.next_sign().await, Event::Read { message, .. } if message == head));
    });
}

#[test]
fn a_marker_at_a_commit_that_is_not_here_is_told_when_it_is_and_one_that_never_comes_is_not() {
    run(|mut lab| async move {
        for number in [1, 2, 1, 2] {
            lab.tell(ConversationMessage::ReadBy { member: OTHER, commit: CommitId([number; 20]) });
            lab.settled().await;
        }
        lab.tell(ConversationMessage::ReadBy { member: OTHER, commit: lab.hello });
        lab.settled().await;
        let hello = lab.send("hello").await;
        assert_eq!(hello, lab.hello);
        assert!(matches!(lab.next_sign().await, Event::Read { message, .. } if message == hello));
    });
}

#[test]
fn a_conversation_closes_unused_only_if_no_message_was_taken_and_takes_none_then() {
    let close = |reply| ConversationMessage::CloseUnused(reply);
    run(move |lab| async move {
        lab.settled().await;
        let message = Outgoing::Text { body: "hello".to_owned(), reply_to: None };
        let send = |reply| ConversationMessage::Send { message: message.clone(), reply };
        // One is on its way to the disk.
        let (sent, closed) =
            tokio::join!(lab.conversation.ask(SOON, send), lab.conversation.ask(SOON, close));
        assert!(sent.unwrap().is_ok() && !closed.unwrap());
        assert!(!lab.conversation.ask(SOON, close).await.unwrap(), "it was written");
    });
    run(move |lab| async move {
        assert!(lab.conversation.ask(SOON, close).await.unwrap());
        let message = Outgoing::Text { body: "too late".to_owned(), reply_to: None };
        let sent = lab.conversation.ask(SOON, |reply| ConversationMessage::Send { message, reply }).await;
        assert_eq!(sent.unwrap(), Err(ConversationError::NotReady));
    });
    run(move |lab| async move {
        // Whoever asked has stopped waiting, and goes on with it.
        let (reply, answer) = Reply::channel();
        drop(answer);
        lab.tell(close(reply));
        let message = Outgoing::Text { body: "in time".to_owned(), reply_to: None };
        let sent = lab.conversation.ask(SOON, |reply| ConversationMessage::Send { message, reply }).await;
        assert!(sent.unwrap().is_ok());
    });
}

#[test]
fn the_view_shows_how_many_devices_of_each_member_are_linked() {
    run(|lab| async move {
        let linked = async || {
            let view = lab.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap();
            view.members.iter().find(|member| member.id == OTHER).unwrap().linked
        };
        assert_eq!(linked().await, 0);
        for (number, state) in [(1, LinkState::Up), (2, LinkState::Legacy)] {
            lab.tell(ConversationMessage::Link { device: DeviceId([number; 32]), account: OTHER, state });
        }
        assert_eq!(linked().await, 2);
        let (device, state) = (DeviceId([1; 32]), LinkState::Down);
        lab.tell(ConversationMessage::Link { device, account: OTHER, state });
        assert_eq!(linked().await, 1);
    });
}

#[test]
fn the_channel_that_was_idle_longest_makes_room_for_another_one() {
    run(|lab| async move {
        let mut peers = Vec::new();
        let mut offer = async |number: usize| {
            let device = DeviceId([u8::try_from(number).unwrap(); 32]);
            let (accept, accepted) = tokio::sync::oneshot::channel();
            lab.tell(ConversationMessage::Serve(ChannelOffer {
                name: String::new(),
                device,
                account: OTHER,
                accept,
            }));
            let taken: tokio::sync::oneshot::Sender<Channel> = accepted.await.unwrap();
            let (channel, peer) = channel(OTHER, device, 8);
            taken.send(channel).unwrap();
            pass(1).await;
            lab.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap();
            peers.push(peer);
        };
        for number in 0..MAX_SERVED_EACH {
            offer(number).await;
        }
        offer(MAX_SERVED_EACH).await;
        offer(MAX_SERVED_EACH + 1).await;
        let open: Vec<bool> = peers.iter().map(|peer| !peer.inbound.is_closed()).collect();
        assert_eq!(open[..3], [false, false, true]);
        assert!(open[3..].iter().all(|is_open| *is_open));
    });
}

#[test]
fn markers_that_cannot_be_read_now_are_read_later_and_not_written_over() {
    virtual_time::run(async {
        let mut status = None;
        let mut lab = Lab::start_in(|folder, _| {
            // What the system refuses to read; a folder is that.
            std::fs::create_dir(folder.join("status")).unwrap();
            status = Some(folder.join("status"));
        })
        .await;
        let status = status.unwrap();
        let head = lab.send("hello").await;
        let read = |reply| ConversationMessage::MarkRead { message: head, reply };
        let busy = lab.conversation.ask(SOON, read).await.unwrap();
        assert!(matches!(busy, Err(ConversationError::Busy(_))), "{busy:?}");
        lab.tell(served_to_other(head));
        lab.settled().await;
        pass(60).await;
        assert!(status.is_dir());
        std::fs::remove_dir(&status).unwrap();
        pass(10).await;
        assert!(matches!(lab.next_sign().await, Event::Fetched { message, .. } if message == head));
        lab.conversation.ask(SOON, read).await.unwrap().unwrap();
        assert!(status.is_file());
    });
}
