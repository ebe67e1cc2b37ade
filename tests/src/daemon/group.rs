//! What an account on a daemon does in groups.

use std::collections::{BTreeMap, HashMap};

use skep::{AccountId, ConversationId};

use super::{Daemon, DaemonAccount, Signal};
use crate::harness::{Failure, Mark, Result, check, until};

/// The roles of a group's members, as the daemon names them: `admin`, `member`, `invited`, `banned`.
pub type Roles = BTreeMap<AccountId, String>;

impl Daemon {
    /// Makes a group in which every member invites.
    ///
    /// # Errors
    /// [`Failure`] when there is none afterwards.
    pub async fn found(&self, own: &DaemonAccount) -> Result<ConversationId> {
        let id: String = self.bus.call("startConversation", &own.local.as_str()).await?;
        id.parse().map_err(|_| Failure::Expected(format!("{} to found a group, not {id:?}", self.name())))
    }

    /// Invites somebody; somebody banned is voted in again.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn invite(&self, own: &DaemonAccount, group: ConversationId, other: AccountId) -> Result<()> {
        let arguments = (&own.local, group.to_string(), other.to_string());
        self.bus.call("addConversationMember", &arguments).await
    }

    /// Waits for an invitation after `since`.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn invited(&self, own: &DaemonAccount, group: ConversationId, since: Mark) -> Result<()> {
        let invited = |signal: &Signal| {
            let Signal::ConversationRequest { account, conversation } = signal else { return None };
            (*account == own.local && *conversation == group).then_some(())
        };
        self.events().wait(since, format!("an invitation into {group}"), invited).await
    }

    /// Accepts an invitation; does not wait for the conversation.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn enter(&self, own: &DaemonAccount, group: ConversationId) -> Result<()> {
        self.bus.call("acceptConversationRequest", &(&own.local, group.to_string())).await
    }

    /// Declines an invitation.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn turn_down(&self, own: &DaemonAccount, group: ConversationId) -> Result<()> {
        self.bus.call("declineConversationRequest", &(&own.local, group.to_string())).await
    }

    /// The invitations that wait for an answer.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn invitations(&self, own: &DaemonAccount) -> Result<Vec<BTreeMap<String, String>>> {
        self.bus.call("getConversationRequests", &own.local.as_str()).await
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not know it.
    pub async fn leave(&self, own: &DaemonAccount, group: ConversationId) -> Result<()> {
        let left: bool = self.bus.call("removeConversation", &(&own.local, group.to_string())).await?;
        check(left, || format!("{} to leave {group}", self.name()))
    }

    /// Votes to ban somebody.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn ban(&self, own: &DaemonAccount, group: ConversationId, other: AccountId) -> Result<()> {
        let arguments = (&own.local, group.to_string(), other.to_string());
        self.bus.call("removeConversationMember", &arguments).await
    }

    /// Everybody's role.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn roles(&self, own: &DaemonAccount, group: ConversationId) -> Result<Roles> {
        let arguments = (&own.local, group.to_string());
        let members: Vec<HashMap<String, String>> =
            self.bus.call("getConversationMembers", &arguments).await?;
        let role = |mut member: HashMap<String, String>| {
            Some((member.get("uri")?.parse().ok()?, member.remove("role")?))
        };
        Ok(members.into_iter().filter_map(role).collect())
    }

    /// Waits until somebody has a role in a group, or none.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn sees(
        &self,
        own: &DaemonAccount,
        group: ConversationId,
        other: AccountId,
        role: Option<&str>,
    ) -> Result<()> {
        until(self.name(), format!("{other} to be {role:?}"), async || {
            let roles = self.roles(own, group).await?;
            Ok((roles.get(&other).map(String::as_str) == role).then_some(()))
        })
        .await
    }

    /// Changes the profile of a group: `title`, `description`, `avatar`.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn set_profile(
        &self,
        own: &DaemonAccount,
        group: ConversationId,
        profile: &[(&str, &str)],
    ) -> Result<()> {
        let profile: HashMap<&str, &str> = profile.iter().copied().collect();
        self.bus.call("updateConversationInfos", &(&own.local, group.to_string(), profile)).await
    }

    /// Waits until the profile of a group has these fields.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn profiled(
        &self,
        own: &DaemonAccount,
        group: ConversationId,
        fields: &[(&str, &str)],
    ) -> Result<()> {
        until(self.name(), format!("a profile with {fields:?}"), async || {
            let arguments = (&own.local, group.to_string());
            let profile: HashMap<String, String> = self.bus.call("conversationInfos", &arguments).await?;
            let has = |(name, value): &(&str, &str)| profile.get(*name).is_some_and(|it| it == value);
            Ok(fields.iter().all(has).then_some(()))
        })
        .await
    }
}
