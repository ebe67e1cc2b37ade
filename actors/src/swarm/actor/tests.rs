//! A conversation over links that only note what they are told. Time passes when a test says so.

use std::future::Future;
use std::sync::{Arc, Mutex};

use super::*;
use crate::peer::messages::{Notice, Recipient};
use crate::recorded::NOW;
use crate::supervision::{ChildSpec, Environment, Message, Policy, RootHandle, start_root};
use crate::swarm::testing::founder;
use crate::virtual_time::{self, pass, until};

/// How long a question may take, in the time of the test.
const SOON: Duration = Duration::from_secs(5);

/// Who is invited.
const OTHER: AccountId = AccountId([7; 20]);

/// What the links were to deliver.
type Told = Arc<Mutex<Vec<(Recipient, Notice, bool)>>>;

struct Links(Told);

impl Actor for Links {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, message: LinksMessage, _: &mut Scope<'_, Self>) {
        if let LinksMessage::Notify { to, notice, lasting, .. } = message {
            self.0.lock().unwrap().push((to, notice, lasting));
        }
    }
}

struct Root {
    founder: Founder,
    folder: tempfile::TempDir,
    id: ConversationId,
    told: Told,
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
        let told = Arc::clone(&self.told);
        let links = scope.start_child(ChildSpec::new("links"), move || Links(Arc::clone(&told)));
        let (events, _) = Outlet::channel("events", 1024);
        let (account, _) = Outlet::channel("account", 1024);
        let config = ConversationConfig {
            id: self.id,
            local: LocalAccountId([1; 8]),
            folder: self.folder.path().join(self.id.to_hex()),
            status_file: self.folder.path().join("status"),
            identity: Arc::clone(&self.founder.identity),
            name: self.founder.name.clone(),
            links,
            settings: watch::channel(AccountSettings::default()).1,
            pool: BlockingPool::new(2),
            share: Share(1),
            events,
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
    _root: RootHandle<Conversation>,
}

impl Lab {
    async fn start() -> Self {
        let (founder, folder, told) = (founder(), tempfile::tempdir().unwrap(), Told::default());
        let id = founder.begin(folder.path(), OTHER, |_| false).unwrap();
        let parts = Mutex::new(Some((founder, folder)));
        let noted = Arc::clone(&told);
        let root = start_root(Environment::single_thread(NOW, 1), move || {
            let (founder, folder) = parts.lock().unwrap().take().unwrap();
            Root { founder, folder, id, told: Arc::clone(&noted), conversation: None }
        });
        let conversation = root.port().ask(SOON, Conversation).await.unwrap();
        Self { conversation, told, _root: root }
    }

    async fn send(&self, body: &str) -> CommitId {
        let message = Outgoing::Text { body: body.to_owned(), reply_to: None };
        self.conversation
            .ask(SOON, |reply| ConversationMessage::Send { message, reply })
            .await
            .unwrap()
            .unwrap()
    }

    async fn served(&self, commit: CommitId) {
        self.conversation.try_send(ConversationMessage::Served { account: OTHER, commit }).unwrap();
        self.settled().await;
    }

    /// Everything that was sent before has been handled.
    async fn settled(&self) {
        self.conversation.ask(SOON, ConversationMessage::Describe).await.unwrap();
    }

    /// Waits until the last that the links were told is a reminder.
    async fn reminded(&self) {
        until(|| self.told.lock().unwrap().last().is_some_and(|(_, _, lasting)| !lasting)).await;
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
    run(|lab| async move {
        let head = lab.send("hello").await;
        lab.served(head).await;
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
