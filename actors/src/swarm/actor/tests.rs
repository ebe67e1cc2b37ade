//! A conversation over links that only note what they are told. Time passes when a test says so.

use std::future::Future;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;
use crate::peer::messages::{LinkError, Notice, Recipient};
use crate::recorded::NOW;
use crate::supervision::{ActorRow, ChildSpec, Environment, Message, Policy, RootHandle, start_root};
use crate::swarm::testing::founder;
use crate::virtual_time::{self, pass, until};

#[path = "storm_tests.rs"]
mod storms;

/// How long a question may take, in the time of the test.
const SOON: Duration = Duration::from_secs(5);

/// Who is invited.
const OTHER: AccountId = AccountId([7; 20]);

/// What the links were to deliver.
type Told = Arc<Mutex<Vec<(Recipient, Notice, bool)>>>;

/// The devices to which the links were to open channels, which they never do.
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
    settings: watch::Receiver<AccountSettings>,
    events: Outlet<NodeEvent>,
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
        let (account, _) = Outlet::channel("account", 1024);
        let config = ConversationConfig {
            id: self.id,
            local: LocalAccountId([1; 8]),
            folder: self.folder.path().join(self.id.to_hex()),
            status_file: self.folder.path().join("status"),
            preferences_file: self.folder.path().join("preferences"),
            mobiles_file: self.folder.path().join("mobiles"),
            identity: Arc::clone(&self.founder.identity),
            name: self.founder.name.clone(),
            links,
            directory,
            settings: self.settings.clone(),
            pool: BlockingPool::new(2),
            share: Share(1),
            events: self.events.clone(),
            account,
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
    settings: watch::Sender<AccountSettings>,
    events: mpsc::Receiver<NodeEvent>,
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
        let (founder, folder, links) = (founder(), tempfile::tempdir().unwrap(), Links::default());
        let id = founder.begin(folder.path(), OTHER, |_| false).unwrap();
        let hello = {
            let (path, copy) = (folder.path().join(id.to_hex()), folder.path().join("copy"));
            assert!(Command::new("cp").arg("-r").args([&path, &copy]).status().unwrap().success());
            let (replica, _) = Replica::open(id, &copy, &founder).unwrap().unwrap();
            let (answers, _) = replica.send(&[text("hello")], NOW);
            answers[0].as_ref().unwrap().id
        };
        prepare(folder.path(), id);
        let (Links { told, opening }, (settings, watched)) =
            (links.clone(), watch::channel(AccountSettings::default()));
        let (outlet, events) = Outlet::channel("events", 1024);
        let parts = Mutex::new(Some((founder, folder)));
        let root = start_root(Environment::single_thread(NOW, 1), move || {
            let (founder, folder) = parts.lock().unwrap().take().unwrap();
            let (links, settings, events) = (links.clone(), watched.clone(), outlet.clone());
            Root { founder, folder, id, links, settings, events, conversation: None }
        });
        let conversation = root.port().ask(SOON, Conversation).await.unwrap();
        Self { conversation, told, opening, settings, events, hello, root }
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

    /// Declines all channels that were asked for, and says how many those were.
    async fn decline_all(&self) -> usize {
        self.settled().await;
        let opening = std::mem::take(&mut *self.opening.lock().unwrap());
        let count = opening.len();
        for (device, reply) in opening {
            reply.send(Err(LinkError::Declined { device, name: "git".to_owned() }));
        }
        self.settled().await;
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
fn a_head_that_the_other_one_does_not_fetch_is_told_three_times_more_and_never_again() {
    run(|lab| async move {
        let head = lab.send("hello").await;
        assert_eq!(lab.times_told(head).await, (1, 0));
        for (reminders, seconds) in [(1, 30), (2, 10), (3, 60)] {
            pass(seconds - 1).await;
            assert_eq!(lab.times_told(head).await, (reminders, reminders - 1));
            pass(1).await;
            until(|| lab.told.lock().unwrap().len() == reminders + 2).await;
            assert_eq!(lab.times_told(head).await, (reminders + 1, reminders));
        }
        for _ in 0..60 {
            pass(60).await;
            assert_eq!(lab.times_told(head).await, (4, 3));
        }
    });
}

#[test]
fn a_head_that_was_fetched_is_told_once() {
    run(|mut lab| async move {
        let head = lab.send("hello").await;
        lab.tell(ConversationMessage::Served { account: OTHER, commit: head });
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
        assert_eq!(lab.times_told(head).await, (3, 3));
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
        lab.tell(ConversationMessage::Served { account: OTHER, commit: head });
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
fn only_so_many_devices_of_a_member_are_fetched_from_at_once() {
    run(|lab| async move {
        for number in 1..=6 {
            let (device, commit) = (DeviceId([number; 32]), Some(CommitId([number; 20])));
            lab.tell(ConversationMessage::Announced { device, account: OTHER, commit });
        }
        until(|| lab.opening.lock().unwrap().len() == 4).await;
        lab.settled().await;
        let (_, reply) = lab.opening.lock().unwrap().remove(0);
        reply.send(Err(LinkError::Lost(DeviceId([1; 32]))));
        lab.settled().await;
        pass(1).await;
        until(|| lab.opening.lock().unwrap().len() == 4).await;
        lab.settled().await;
        let opening: Vec<_> = lab.opening.lock().unwrap().iter().map(|(device, _)| device.0[0]).collect();
        assert!(opening[..3] == [2, 3, 4] && [5, 6].contains(&opening[3]), "{opening:?}");
        // However long they wait for that, it is not held against them.
        for _ in 0..100 {
            pass(1).await;
        }
        let (_, reply) = lab.opening.lock().unwrap().remove(0);
        reply.send(Err(LinkError::Lost(DeviceId([2; 32]))));
        lab.settled().await;
        pass(1).await;
        until(|| lab.opening.lock().unwrap().len() == 4).await;
    });
}

fn announced_by(number: u8, commit: u8) -> ConversationMessage {
    let (device, commit) = (DeviceId([number; 32]), Some(CommitId([commit; 20])));
    ConversationMessage::Announced { device, account: OTHER, commit }
}

impl Lab {
    /// Who is being asked for a channel, in the order of that.
    async fn asked(&self) -> Vec<u8> {
        self.settled().await;
        self.opening.lock().unwrap().iter().map(|(device, _)| device.0[0]).collect()
    }
}

#[test]
fn what_many_announce_is_fetched_from_one_and_from_the_next_when_that_one_fails() {
    run(|lab| async move {
        for number in 1..=4 {
            for _ in 0..100 {
                lab.tell(announced_by(number, 7));
            }
        }
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [1]);
        let (device, reply) = lab.opening.lock().unwrap().remove(0);
        reply.send(Err(LinkError::Lost(device)));
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [2], "the others stand by");
    });
}

#[test]
fn who_announces_and_is_silent_keeps_nobody_waiting() {
    run(|lab| async move {
        for number in 1..=3 {
            lab.tell(announced_by(number, 7));
            lab.settled().await;
        }
        for asked in [&[1][..], &[1, 2], &[1, 2, 3]] {
            until(|| lab.opening.lock().unwrap().len() == asked.len()).await;
            assert_eq!(lab.asked().await, asked);
            tokio::time::advance(std::time::Duration::from_millis(250)).await;
        }
    });
}

#[test]
fn many_devices_of_one_who_is_silent_do_not_keep_others_waiting() {
    let own = founder().identity.account_id();
    run(move |lab| async move {
        for number in 1..=40 {
            lab.tell(announced_by(number, 7));
        }
        let (device, commit) = (DeviceId([50; 32]), Some(CommitId([7; 20])));
        lab.tell(ConversationMessage::Announced { device, account: own, commit });
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [1]);
        tokio::time::advance(std::time::Duration::from_millis(250)).await;
        until(|| lab.opening.lock().unwrap().len() == 2).await;
        assert_eq!(lab.asked().await, [1, 50]);
    });
}

#[test]
fn who_stands_by_and_announces_something_else_is_asked_for_everything() {
    run(|lab| async move {
        lab.tell(announced_by(1, 7));
        lab.tell(announced_by(2, 7));
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [1]);
        lab.tell(announced_by(2, 8));
        until(|| lab.opening.lock().unwrap().len() == 2).await;
        assert_eq!(lab.asked().await, [1, 2]);
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
