//! Debian's `jamid` as a [`Messenger`], to compare with.

use std::time::Instant;

use skep::{AccountId, ConversationId};
use skep_tests::daemon::{Daemon, DaemonAccount};
use skep_tests::harness::{Place, Result};

use crate::messenger::Messenger;

impl Messenger for Daemon {
    type Account = DaemonAccount;

    fn place(&self) -> &Place {
        self.place()
    }

    fn resident(&self) -> Result<usize> {
        self.resident()
    }

    async fn create_account(&mut self, name: &str) -> Result<DaemonAccount> {
        Self::create_account(self, name, None).await
    }

    fn id(account: &DaemonAccount) -> AccountId {
        account.id
    }

    async fn add_contact(&mut self, own: &DaemonAccount, contact: AccountId) -> Result<()> {
        Self::add_contact(self, own, contact).await
    }

    async fn request(&mut self, own: &DaemonAccount, from: AccountId) -> Result<ConversationId> {
        Self::request(self, own, from).await
    }

    async fn accept(&mut self, own: &DaemonAccount, from: AccountId) -> Result<()> {
        Self::accept(self, own, from).await
    }

    async fn ready(&mut self, own: &DaemonAccount, conversation: ConversationId) -> Result<Instant> {
        Self::ready(self, own, conversation).await
    }

    async fn joined(
        &mut self,
        own: &DaemonAccount,
        conversation: ConversationId,
        member: AccountId,
    ) -> Result<()> {
        Self::joined(self, own, conversation, member).await
    }

    async fn send(&mut self, own: &DaemonAccount, conversation: ConversationId, text: &str) -> Result<()> {
        Self::send(self, own, conversation, text).await
    }

    async fn received(
        &mut self,
        own: &DaemonAccount,
        conversation: ConversationId,
        text: &str,
    ) -> Result<Instant> {
        Self::received(self, own, conversation, text).await
    }
}
