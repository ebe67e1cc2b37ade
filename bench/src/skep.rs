//! `skep run` as a [`Messenger`].

use std::path::Path;
use std::time::Instant;

use skep::rpc::schema::{
    ContactParams, ConversationParams, CreateParams, FileFetchParams, FileSendParams, ListParams,
    MessageParams, Nothing, PathParams, SendParams, method,
};
use skep::{AccountId, CommitId, ConversationId, Event, LocalAccountId, NodeEvent, TransferState};
use skep_tests::harness::{DHT_PORT, Mark, Network, Node, NodeSetup, Place, Result, import_params, until};

use crate::messenger::Messenger;

/// Role of a member who has joined.
const MEMBER: &str = "member";

/// An account on a node: what the node calls it, and what others do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkepAccount {
    local: LocalAccountId,
    id: AccountId,
}

/// A node.
#[derive(Debug)]
pub(crate) struct SkepNode(Node);

impl SkepNode {
    /// Starts a node at a new place; its files go below `folder`. Without a bootstrap it is one.
    pub(crate) async fn start(
        network: &mut Network,
        bootstrap: Option<&Self>,
        name: &str,
        folder: &Path,
    ) -> Result<Self> {
        let mut setup = NodeSetup::new(name, folder).at(network.place(name)?);
        if let Some(bootstrap) = bootstrap {
            setup = setup.joining(&format!("{}:{DHT_PORT}", bootstrap.place().address));
        }
        setup.start().await.map(Self)
    }

    /// Starts a node on Jami's DHT at a place; its files go below `folder`.
    pub(crate) async fn on_opendht(place: Place, bootstrap: &str, name: &str, folder: &Path) -> Result<Self> {
        let setup = NodeSetup::new(name, folder).at(place).on("opendht").joining(bootstrap);
        setup.start().await.map(Self)
    }

    /// Ends the node and starts it again on the same data.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.0.stop().await?;
        self.0.restart().await
    }

    /// Makes an account of an archive without a password.
    pub(crate) async fn import_account(&mut self, archive: &[u8]) -> Result<SkepAccount> {
        let view = self.0.call(method::AccountImport, import_params(archive, None)).await?;
        Ok(SkepAccount { local: view.local, id: view.id })
    }

    /// Waits until an account that the node had before answers again.
    pub(crate) async fn until_account(&mut self, own: &SkepAccount) -> Result<()> {
        let name = self.0.name().to_owned();
        until(&name, "its account after its start", async || {
            let accounts = self.0.call(method::AccountList, Nothing {}).await?.accounts;
            Ok(accounts.iter().any(|found| found.local == own.local).then_some(()))
        })
        .await
    }

    /// Opens a conversation from a bundle.
    pub(crate) async fn import_conversation(
        &mut self,
        own: &SkepAccount,
        bundle: &Path,
    ) -> Result<ConversationId> {
        let params = PathParams { account: own.local, path: bundle.to_owned() };
        Ok(self.0.call(method::ConversationImport, params).await?.conversation)
    }

    /// The number of messages on the newest page of a conversation.
    pub(crate) async fn last_page(
        &mut self,
        own: &SkepAccount,
        conversation: ConversationId,
        limit: usize,
    ) -> Result<usize> {
        let params = ListParams { account: own.local, conversation, before: None, limit };
        Ok(self.0.call(method::MessageList, params).await?.view.messages.len())
    }

    /// Offers a file of this machine.
    pub(crate) async fn send_file(
        &mut self,
        own: &SkepAccount,
        conversation: ConversationId,
        path: &Path,
    ) -> Result<CommitId> {
        let (account, path) = (own.local, path.to_owned());
        let params = FileSendParams { account, conversation, path, reply_to: None };
        Ok(self.0.call(method::FileSend, params).await?.message)
    }

    /// Begins to fetch a file into the account's own folder.
    pub(crate) async fn fetch_file(
        &mut self,
        own: &SkepAccount,
        conversation: ConversationId,
        message: CommitId,
    ) -> Result<()> {
        let params = FileFetchParams { account: own.local, conversation, message, to: None };
        self.0.call(method::FileFetch, params).await.map(|_| ())
    }

    /// Removes a file that was fetched.
    pub(crate) async fn remove_file(
        &mut self,
        own: &SkepAccount,
        conversation: ConversationId,
        message: CommitId,
    ) -> Result<()> {
        let params = MessageParams { account: own.local, conversation, message };
        self.0.call(method::FileRemove, params).await.map(|_| ())
    }

    /// Since when a file is here, if it is.
    pub(crate) async fn file_done(&self, message: CommitId) -> Result<Option<Instant>> {
        let done = |told: &NodeEvent| match &told.event {
            Event::Transfer { transfer } if transfer.message == message => {
                (transfer.state == TransferState::Done).then_some(())
            }
            _ => None,
        };
        if self.0.events().find(Mark::BEGINNING, done).is_none() {
            return Ok(None);
        }
        Ok(Some(self.0.events().arrival(Mark::BEGINNING, "a file", done).await?.0))
    }

    async fn arrival<T>(
        &self,
        own: &SkepAccount,
        expected: &str,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Result<(Instant, T)> {
        let local = own.local;
        let pick = |told: &NodeEvent| if told.account == local { pick(&told.event) } else { None };
        // What is waited for is unique, so everything may be looked at.
        self.0.events().arrival(Mark::BEGINNING, expected, pick).await
    }
}

impl Messenger for SkepNode {
    type Account = SkepAccount;

    fn place(&self) -> &Place {
        self.0.setup().place()
    }

    fn resident(&self) -> Result<usize> {
        self.0.resident()
    }

    async fn create_account(&mut self, name: &str) -> Result<SkepAccount> {
        let params = CreateParams { name: name.to_owned(), password: None };
        let view = self.0.call(method::AccountCreate, params).await?;
        let account = SkepAccount { local: view.local, id: view.id };
        let ready = |event: &Event| matches!(event, Event::AccountReady {}).then_some(());
        self.arrival(&account, "an announced account", ready).await?;
        Ok(account)
    }

    fn id(account: &SkepAccount) -> AccountId {
        account.id
    }

    async fn add_contact(&mut self, own: &SkepAccount, contact: AccountId) -> Result<()> {
        let params = ContactParams { account: own.local, contact: contact.to_string() };
        self.0.call(method::ContactAdd, params).await.map(|_| ())
    }

    async fn request(&mut self, own: &SkepAccount, sender: AccountId) -> Result<ConversationId> {
        let asked = |event: &Event| match event {
            Event::ContactRequest { from, conversation, .. } if *from == sender => *conversation,
            _ => None,
        };
        Ok(self.arrival(own, "a contact request", asked).await?.1)
    }

    async fn accept(&mut self, own: &SkepAccount, from: AccountId) -> Result<()> {
        let params = ContactParams { account: own.local, contact: from.to_string() };
        self.0.call(method::ContactAccept, params).await.map(|_| ())
    }

    async fn ready(&mut self, own: &SkepAccount, wanted: ConversationId) -> Result<Instant> {
        let ready = |event: &Event| {
            matches!(event, Event::ConversationReady { conversation } if *conversation == wanted)
                .then_some(())
        };
        Ok(self.arrival(own, "a cloned conversation", ready).await?.0)
    }

    async fn joined(
        &mut self,
        own: &SkepAccount,
        conversation: ConversationId,
        member: AccountId,
    ) -> Result<()> {
        let name = self.0.name().to_owned();
        let params = ConversationParams { account: own.local, conversation };
        until(&name, format!("{member} to join"), async || {
            let members = self.0.call(method::ConversationMembers, params.clone()).await?.members;
            Ok(members.iter().any(|found| found.id == member && found.role == MEMBER).then_some(()))
        })
        .await
    }

    async fn send(&mut self, own: &SkepAccount, conversation: ConversationId, text: &str) -> Result<()> {
        let params = SendParams { account: own.local, conversation, body: text.to_owned() };
        self.0.call(method::MessageSend, params).await.map(|_| ())
    }

    async fn received(&mut self, own: &SkepAccount, wanted: ConversationId, text: &str) -> Result<Instant> {
        let received = |event: &Event| match event {
            Event::Message { conversation, message } if *conversation == wanted && message.body == text => {
                Some(())
            }
            _ => None,
        };
        Ok(self.arrival(own, "a message", received).await?.0)
    }
}
