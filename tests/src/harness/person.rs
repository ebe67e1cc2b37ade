//! An account on a node of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use skep::rpc::client::{Client, ClientError};
use skep::rpc::schema::{
    AccountParams, ContactParams, ConversationParams, CreateParams, ExportParams, ImportParams,
    LinkByPinParams, ListParams, LogParams, MessageBodyParams, MessageParams, Method, Nothing,
    PasswordParams, Secret, SendParams, method,
};
use skep::{
    AccountId, AccountView, CommitId, ContactView, ConversationId, Event, LocalAccountId, MessageView,
    RequestView,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Failure, Golden, Mark, Newcomer, Node, NodeSetup, Result, check, until};

/// Messages asked for at once.
const PAGE: usize = 200;

/// Commits of a log compared.
const LOG: usize = 20_000;

/// An account and the node it lives on.
#[derive(Debug)]
pub struct Person {
    /// The node.
    pub node: Node,
    /// What the node calls the account.
    pub local: LocalAccountId,
    /// What others call it.
    pub id: AccountId,
}

impl Person {
    /// A node on which the account of a real daemon lives.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started.
    pub async fn start(golden: Golden, setup: NodeSetup) -> Result<Self> {
        golden.lay_out(setup.data())?;
        let person = Self::open(setup).await?;
        check(person.id.to_string() == golden.id, || format!("the id {} of {}", golden.id, golden.name))?;
        Ok(person)
    }

    /// A node on which somebody new lives.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started.
    pub async fn arrive(newcomer: &Newcomer, setup: NodeSetup) -> Result<Self> {
        newcomer.lay_out(setup.data())?;
        Self::open(setup).await
    }

    /// Starts a node in whose data folder an account is.
    async fn open(setup: NodeSetup) -> Result<Self> {
        let mut node = setup.start().await?;
        let name = node.name().to_owned();
        let view = until(&name, "its account", async || {
            Ok(node.call(method::AccountList, Nothing {}).await?.accounts.into_iter().next())
        })
        .await?;
        Ok(Self::of(node, &view))
    }

    /// A new account on a node, under a password or not.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be made.
    pub async fn create(mut node: Node, name: &str, password: Option<&str>) -> Result<Self> {
        let params = CreateParams { name: name.to_owned(), password: password.map(secret) };
        let view = node.call(method::AccountCreate, params).await?;
        Ok(Self::of(node, &view))
    }

    /// An account of an archive on a node.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be opened.
    pub async fn import(mut node: Node, archive: &[u8], password: Option<&str>) -> Result<Self> {
        let view = node.call(method::AccountImport, import_params(archive, password)).await?;
        Ok(Self::of(node, &view))
    }

    /// A device of the account that another device has put on the DHT under a PIN.
    ///
    /// # Errors
    /// [`Failure`] when it is not found.
    pub async fn link_by_pin(mut node: Node, pin: &str, password: Option<&str>) -> Result<Self> {
        let params = LinkByPinParams { pin: secret(pin), password: password.map(secret) };
        let view = node.call(method::AccountLinkByPin, params).await?;
        Ok(Self::of(node, &view))
    }

    /// Puts the account's archive on the DHT, and returns the PIN.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn export_under_pin(&mut self, password: Option<&str>) -> Result<String> {
        let params = ExportParams { account: self.local, password: password.map(secret) };
        Ok(self.node.call(method::DevicePin, params).await?.pin.reveal().to_owned())
    }

    /// Protects the account's archive.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn protect(&mut self, password: &str) -> Result<()> {
        let params = PasswordParams { account: self.local, old: None, new: Some(secret(password)) };
        self.node.call(method::AccountChangePassword, params).await.map(drop)
    }

    pub(crate) const fn of(node: Node, view: &AccountView) -> Self {
        Self { node, local: view.local, id: view.id }
    }

    /// The account at a glance.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn describe(&mut self) -> Result<AccountView> {
        Ok(self.node.call(method::AccountDescribe, AccountParams { account: self.local }).await?.view)
    }

    /// Waits until others can find the account.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn announced(&mut self) -> Result<()> {
        let name = self.node.name().to_owned();
        until(&name, "its account to be announced", async || {
            let accounts = self.node.call(method::AccountList, Nothing {}).await?.accounts;
            Ok(accounts.iter().any(|it| it.local == self.local && it.announced).then_some(()))
        })
        .await
    }

    /// The parameters that name somebody.
    #[must_use]
    pub fn about(&self, other: AccountId) -> ContactParams {
        ContactParams { account: self.local, contact: other.to_string() }
    }

    /// Adds somebody as a contact, who is asked.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn add(&mut self, other: AccountId) -> Result<ConversationId> {
        Ok(self.node.call(method::ContactAdd, self.about(other)).await?.conversation)
    }

    /// Accepts somebody's request.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn accept(&mut self, other: AccountId) -> Result<ConversationId> {
        Ok(self.node.call(method::ContactAccept, self.about(other)).await?.conversation)
    }

    /// Waits for an event of this account after `since`.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn told<T>(
        &self,
        since: Mark,
        expected: impl Into<String>,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T> {
        let local = self.local;
        let own = |it: &skep::NodeEvent| if it.account == local { pick(&it.event) } else { None };
        self.node.events().wait(since, expected, own).await
    }

    /// Waits until somebody has asked to become a contact, after `since`.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn asked_by(&self, other: AccountId, since: Mark) -> Result<ConversationId> {
        self.told(since, format!("a request from {other}"), |event| match event {
            Event::ContactRequest { from, conversation, .. } if *from == other => *conversation,
            _ => None,
        })
        .await
    }

    /// Waits until a conversation can be used.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn ready(&self, wanted: ConversationId, since: Mark) -> Result<()> {
        self.told(since, format!("conversation {wanted} to be ready"), |event| {
            matches!(event, Event::ConversationReady { conversation } if *conversation == wanted)
                .then_some(())
        })
        .await
    }

    /// Waits until a conversation is there, whenever it came.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn usable(&mut self, conversation: ConversationId) -> Result<()> {
        let name = self.node.name().to_owned();
        let params = ConversationParams { account: self.local, conversation };
        until(&name, format!("conversation {conversation} to be there"), async || {
            let view = self.node.call(method::ConversationDescribe, params.clone()).await?.view;
            Ok((view.state == "ready").then_some(()))
        })
        .await
    }

    /// All contacts, whatever their state.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn contacts(&mut self) -> Result<Vec<ContactView>> {
        Ok(self.node.call(method::ContactList, AccountParams { account: self.local }).await?.contacts)
    }

    /// Requests that wait for an answer.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn requests(&mut self) -> Result<Vec<RequestView>> {
        Ok(self.node.call(method::ContactRequests, AccountParams { account: self.local }).await?.requests)
    }

    /// Waits until somebody is a contact and has agreed to it.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn confirmed(&mut self, other: AccountId) -> Result<()> {
        let name = self.node.name().to_owned();
        until(&name, format!("contact {other} to be confirmed"), async || {
            let found = self.contacts().await?.into_iter().find(|contact| contact.id == other);
            Ok(found.filter(|contact| contact.confirmed && contact.state == "active").map(drop))
        })
        .await
    }

    /// Waits until somebody has joined a conversation.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn joined(&mut self, other: AccountId, conversation: ConversationId) -> Result<()> {
        let name = self.node.name().to_owned();
        let params = ConversationParams { account: self.local, conversation };
        until(&name, format!("{other} to join"), async || {
            let members = self.node.call(method::ConversationMembers, params.clone()).await?.members;
            Ok(members.iter().any(|it| it.id == other && it.role == "member").then_some(()))
        })
        .await
    }

    /// Asks somebody, who accepts: both are confirmed contacts afterwards and have the conversation.
    ///
    /// # Errors
    /// [`Failure`] when anything of it does not happen.
    pub async fn befriend(&mut self, other: &mut Self) -> Result<ConversationId> {
        let since = other.node.events().mark();
        let conversation = self.add(other.id).await?;
        let asked = other.asked_by(self.id, since).await?;
        check(asked == conversation, || format!("a request for {conversation}, not {asked}"))?;
        other.accept(self.id).await?;
        other.ready(conversation, since).await?;
        self.confirmed(other.id).await?;
        self.joined(other.id, conversation).await?;
        Ok(conversation)
    }

    /// Sends a text; it is acknowledged when this returns.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn send(&mut self, conversation: ConversationId, body: &str) -> Result<CommitId> {
        let params = SendParams { account: self.local, conversation, body: body.to_owned() };
        Ok(self.node.call(method::MessageSend, params).await?.message)
    }

    /// Answers, edits or reacts: what `method` does with a message and a text.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn upon<M>(
        &mut self,
        method: M,
        conversation: ConversationId,
        message: CommitId,
        body: &str,
    ) -> Result<CommitId>
    where
        M: Method<Params = MessageBodyParams, Answer = skep::rpc::schema::MessageRef>,
    {
        let params = MessageBodyParams { account: self.local, conversation, message, body: body.to_owned() };
        Ok(self.node.call(method, params).await?.message)
    }

    /// Takes a message or reaction back.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn delete(&mut self, conversation: ConversationId, message: CommitId) -> Result<CommitId> {
        let params = MessageParams { account: self.local, conversation, message };
        Ok(self.node.call(method::MessageDelete, params).await?.message)
    }

    /// The whole history, oldest first.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn messages(&mut self, conversation: ConversationId) -> Result<Vec<MessageView>> {
        let (mut messages, mut before) = (Vec::new(), None);
        loop {
            let params = ListParams { account: self.local, conversation, before, limit: PAGE };
            let page = self.node.call(method::MessageList, params).await?.view;
            messages.extend(page.messages);
            before = page.next;
            if before.is_none() {
                messages.reverse();
                return Ok(messages);
            }
        }
    }

    /// Every commit, newest first.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn log(&mut self, conversation: ConversationId) -> Result<Vec<CommitId>> {
        let params = LogParams { account: self.local, conversation, limit: LOG };
        Ok(self.node.call(method::MessageLog, params).await?.commits)
    }

    /// Waits until a commit is here.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn has(&mut self, conversation: ConversationId, commit: CommitId) -> Result<()> {
        let name = self.node.name().to_owned();
        until(&name, format!("commit {commit}"), async || {
            Ok(self.log(conversation).await?.contains(&commit).then_some(()))
        })
        .await
    }

    /// Waits for the event that a text has come.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn receives(&self, wanted: ConversationId, body: &str) -> Result<MessageView> {
        self.told(Mark::BEGINNING, format!("the message {body:?}"), |event| match event {
            Event::Message { conversation, message } if *conversation == wanted && message.body == body => {
                Some(message.clone())
            }
            _ => None,
        })
        .await
    }

    /// Begins to send many texts, each when the one before is acknowledged.
    ///
    /// # Errors
    /// [`Failure::Refused`] when the node does not listen.
    pub async fn burst(
        &self,
        conversation: ConversationId,
        texts: impl IntoIterator<Item = String>,
    ) -> Result<Burst> {
        let client = self.node.connect().await?;
        let (count, counted) = watch::channel(0);
        let texts = texts.into_iter().collect();
        let task = tokio::spawn(send_all(client, self.local, conversation, texts, count));
        Ok(Burst { node: self.node.name().to_owned(), counted, task })
    }
}

/// The parameters that bring an archive.
#[must_use]
pub fn import_params(archive: &[u8], password: Option<&str>) -> ImportParams {
    ImportParams { archive: BASE64.encode(archive), password: password.map(secret) }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// Messages on their way.
#[derive(Debug)]
pub struct Burst {
    node: String,
    counted: watch::Receiver<usize>,
    task: JoinHandle<Sent>,
}

/// What was acknowledged, and what ended it early.
type Sent = (Vec<(CommitId, String)>, Option<ClientError>);

impl Burst {
    /// Waits until this many are acknowledged.
    ///
    /// # Errors
    /// [`Failure::Expected`] when the node refuses before.
    pub async fn acknowledged(&mut self, wanted: usize) -> Result<()> {
        let reached = self.counted.wait_for(|count| *count >= wanted).await.is_ok();
        check(reached, || format!("{} to acknowledge {wanted} messages", self.node))
    }

    /// Waits for the end, which may be the node's, and returns what was acknowledged.
    ///
    /// # Errors
    /// [`Failure::Refused`] when a living node refused a message.
    pub async fn end(self) -> Result<Vec<(CommitId, String)>> {
        match self.task.await {
            Ok((sent, None | Some(ClientError::Lost))) => Ok(sent),
            Ok((_, Some(error))) => Err(Failure::refused(&self.node, method::MessageSend::NAME)(error)),
            Err(error) => Err(Failure::Expected(format!("a burst to end, not: {error}"))),
        }
    }
}

async fn send_all(
    mut client: Client,
    account: LocalAccountId,
    conversation: ConversationId,
    texts: Vec<String>,
    count: watch::Sender<usize>,
) -> Sent {
    let mut sent = Vec::new();
    for body in texts {
        let params = SendParams { account, conversation, body: body.clone() };
        match client.call(method::MessageSend, params).await {
            Ok(answer) => sent.push((answer.message, body)),
            Err(error) => return (sent, Some(error)),
        }
        count.send_replace(sent.len());
    }
    (sent, None)
}

/// Waits until two people have the same commits in the same order, and returns them, newest first.
///
/// # Errors
/// [`Failure::Timeout`].
pub async fn same_history(
    one: &mut Person,
    other: &mut Person,
    conversation: ConversationId,
) -> Result<Vec<CommitId>> {
    let names = format!("{} and {}", one.node.name(), other.node.name());
    until(&names, "the same history, commit for commit", async || {
        let (here, there) = (one.log(conversation).await?, other.log(conversation).await?);
        Ok((here == there).then_some(here))
    })
    .await
}
