//! What people do in groups.

use skep::rpc::schema::{
    ConversationParams, CreateConversationParams, GroupMode, InviteParams, VoteParams, method,
};
use skep::{AccountId, Changed, ConversationId, ConversationView, Event, ProfileChange};

use super::{Mark, Person, Result, until};

impl Person {
    /// Makes a group in which every member invites.
    ///
    /// # Errors
    /// [`super::Failure::Refused`].
    pub async fn found(&mut self, title: &str) -> Result<ConversationId> {
        let profile = ProfileChange { title: Some(title.to_owned()), ..ProfileChange::default() };
        let params = CreateConversationParams { account: self.local, mode: GroupMode::default(), profile };
        Ok(self.node.call(method::ConversationCreate, params).await?.conversation)
    }

    /// Invites somebody.
    ///
    /// # Errors
    /// [`super::Failure::Refused`].
    pub async fn invite(&mut self, conversation: ConversationId, other: AccountId) -> Result<Changed> {
        let params = InviteParams { account: self.local, conversation, contact: other.to_string() };
        self.node.call(method::ConversationInvite, params).await
    }

    /// Waits for an invitation after `since`; who invites.
    ///
    /// # Errors
    /// [`super::Failure::Timeout`].
    pub async fn invited(&self, wanted: ConversationId, since: Mark) -> Result<AccountId> {
        self.told(since, format!("an invitation into {wanted}"), |event| match event {
            Event::ConversationRequest { from, conversation, .. } if *conversation == wanted => Some(*from),
            _ => None,
        })
        .await
    }

    /// Accepts an invitation.
    ///
    /// # Errors
    /// [`super::Failure::Refused`].
    pub async fn enter(&mut self, conversation: ConversationId) -> Result<()> {
        let params = ConversationParams { account: self.local, conversation };
        self.node.call(method::ConversationAccept, params).await.map(drop)
    }

    /// A conversation at a glance.
    ///
    /// # Errors
    /// [`super::Failure::Refused`].
    pub async fn view(&mut self, conversation: ConversationId) -> Result<ConversationView> {
        let params = ConversationParams { account: self.local, conversation };
        Ok(self.node.call(method::ConversationDescribe, params).await?.view)
    }

    /// Waits until somebody has a role in a conversation, or none.
    ///
    /// # Errors
    /// [`super::Failure::Timeout`].
    pub async fn sees(
        &mut self,
        other: AccountId,
        role: Option<&str>,
        conversation: ConversationId,
    ) -> Result<()> {
        let name = self.node.name().to_owned();
        until(&name, format!("{other} to be {role:?}"), async || {
            let members = self.view(conversation).await?.members;
            let found = members.into_iter().find(|member| member.id == other).map(|member| member.role);
            Ok((found.as_deref() == role).then_some(()))
        })
        .await
    }

    /// Whom to vote on.
    #[must_use]
    pub fn against(&self, other: AccountId, conversation: ConversationId) -> VoteParams {
        VoteParams { account: self.local, conversation, target: other.to_string() }
    }
}
