//! Further devices of somebody, and what those have to know of each other.

use skep::rpc::schema::{AccountParams, InvitationParams, Nothing, StageParams, method};
use skep::{AccountId, ConversationId, DeviceView, LinkStage, NumberedStage};

use super::{Failure, Node, Person, Result, until};

impl Person {
    /// Makes a node a device of this account, which has no password: the node shows an invitation, which
    /// is typed here.
    ///
    /// # Errors
    /// [`Failure`] when it is not let in.
    pub async fn let_in(&mut self, mut node: Node) -> Result<Self> {
        node.call(method::AccountLink, Nothing {}).await?;
        let invited = stage(&mut node, |stage| matches!(stage, LinkStage::Invited { .. })).await?;
        let LinkStage::Invited { invitation } = invited else { return Err(not_linked(&node, &invited)) };
        let params = InvitationParams { account: self.local, invitation };
        self.node.call(method::DeviceAdd, params).await?;
        let ended = stage(&mut node, LinkStage::is_final).await?;
        let LinkStage::Linked { account } = ended else { return Err(not_linked(&node, &ended)) };
        let view = node.call(method::AccountDescribe, AccountParams { account }).await?.view;
        Ok(Self::of(node, &view))
    }

    /// The devices of the account, as this one knows them.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn devices(&mut self) -> Result<Vec<DeviceView>> {
        Ok(self.node.call(method::DeviceList, AccountParams { account: self.local }).await?.devices)
    }

    /// Waits until this device is connected to so many others of the account.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn meets_own_devices(&mut self, count: usize) -> Result<Vec<DeviceView>> {
        let name = self.node.name().to_owned();
        until(&name, format!("{count} other devices of the account"), async || {
            let others: Vec<_> = self.devices().await?.into_iter().filter(|it| !it.this).collect();
            let connected = others.iter().filter(|it| it.connected).count();
            Ok((connected == count && others.len() == count).then_some(others))
        })
        .await
    }

    /// Waits until a contact stands like this: `active`, `removed` or `banned`.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn counts_as(&mut self, other: AccountId, state: &str) -> Result<()> {
        let name = self.node.name().to_owned();
        until(&name, format!("{other} to be {state}"), async || {
            Ok(self.contacts().await?.iter().any(|it| it.id == other && it.state == state).then_some(()))
        })
        .await
    }

    /// The conversations that can be used here.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn conversations(&mut self) -> Result<Vec<ConversationId>> {
        let params = AccountParams { account: self.local };
        let known = self.node.call(method::ConversationList, params).await?.conversations;
        Ok(known.into_iter().filter(|it| it.state == "ready").map(|it| it.id).collect())
    }

    /// Waits until a conversation that nobody asked for here can be used.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn gets(&mut self, conversation: ConversationId) -> Result<()> {
        let name = self.node.name().to_owned();
        until(&name, format!("conversation {conversation} to arrive"), async || {
            Ok(self.conversations().await?.contains(&conversation).then_some(()))
        })
        .await
    }

    /// Waits until a conversation is gone.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn loses(&mut self, conversation: ConversationId) -> Result<()> {
        let name = self.node.name().to_owned();
        let params = AccountParams { account: self.local };
        until(&name, format!("conversation {conversation} to be gone"), async || {
            let known = self.node.call(method::ConversationList, params.clone()).await?.conversations;
            Ok((!known.iter().any(|it| it.id == conversation)).then_some(()))
        })
        .await
    }
}

/// Waits for a stage of the linking, or its end.
async fn stage(node: &mut Node, wanted: impl Fn(&LinkStage) -> bool) -> Result<LinkStage> {
    let name = node.name().to_owned();
    until(&name, "a stage of the linking", async || {
        let params = StageParams { after: 0 };
        let NumberedStage { stage, .. } = node.call(method::AccountLinkStage, params).await?;
        Ok((wanted(&stage) || stage.is_final()).then_some(stage))
    })
    .await
}

fn not_linked(node: &Node, stage: &LinkStage) -> Failure {
    Failure::Expected(format!("{} to become a device, not {stage:?}", node.name()))
}
