//! Becoming a device of an account that other devices have, and letting others in.

use std::sync::Arc;
use std::time::Duration;

use skep_actors::account::messages::{AccountRequest, Password};
use skep_actors::linking::messages::{LinkingMessage, NumberedStage};
use skep_actors::supervision::{AskError, Port};
use skep_protocol::linking::{LinkInvitation, Pin};

use super::messages::{NewAccount, Origin};
use super::{ASK_DEADLINE, Account, CreationProgress, Node, NodeMessage};
use crate::error::NodeError;

/// Time to open an archive and to put it on the DHT.
const PIN_DEADLINE: Duration = Duration::from_secs(120);

/// Time to let a new device in: it is found, connected to, and its owner types a password.
const ADD_DEADLINE: Duration = Duration::from_secs(600);

impl Node {
    /// Makes this node a device of the account that another device has put on the DHT, and starts it. The
    /// password is the account's, if it has one, and protects it here, too. `progress` is told each step; it
    /// must not block.
    ///
    /// # Errors
    /// `AccountError::NothingUnderPin`, `AccountError::InDht`.
    pub async fn link_by_pin(
        &self,
        pin: Pin,
        password: Option<Password>,
        progress: impl Fn(CreationProgress) + Send + Sync + 'static,
    ) -> Result<Account, NodeError> {
        let origin = Origin::Pin(pin);
        self.create(NewAccount { origin, password }, Arc::new(progress)).await
    }

    /// Begins to link this node to an account, a device of which lets it in: makes an invitation.
    /// [`Self::linking`] tells how far it is.
    ///
    /// # Errors
    /// [`NodeError::Account`] when this node is being linked already.
    pub async fn begin_linking(&self) -> Result<NumberedStage, NodeError> {
        Ok(self.linking_port().await?.ask(ASK_DEADLINE, LinkingMessage::Begin).await??)
    }

    /// How far the linking is: the next stage after the one of this number, or after a second the same.
    ///
    /// # Errors
    /// [`NodeError`] when the node does not answer.
    pub async fn linking(&self, after: u64) -> Result<NumberedStage, NodeError> {
        let next = |reply| LinkingMessage::Next { after, reply };
        Ok(self.linking_port().await?.ask(ASK_DEADLINE, next).await?)
    }

    /// Gives the password of the account, when it is wanted.
    ///
    /// # Errors
    /// [`NodeError`] when the node does not take it.
    pub async fn linking_password(&self, password: Password) -> Result<(), NodeError> {
        Ok(self
            .linking_port()
            .await?
            .send(LinkingMessage::Password(password))
            .await
            .map_err(AskError::from)?)
    }

    /// Cancels the linking that is under way.
    ///
    /// # Errors
    /// [`NodeError`] when the node does not take it.
    pub async fn cancel_linking(&self) -> Result<(), NodeError> {
        Ok(self.linking_port().await?.send(LinkingMessage::Cancel).await.map_err(AskError::from)?)
    }

    async fn linking_port(&self) -> Result<Port<LinkingMessage>, NodeError> {
        let port = self.root.ask(ASK_DEADLINE, NodeMessage::Linking).await?;
        port.ok_or_else(|| NodeError::Start("the node is not ready yet; try again".to_owned()))
    }
}

impl Account {
    /// Puts the archive on the DHT, where another node finds it with the PIN for ten minutes:
    /// [`Node::link_by_pin`].
    ///
    /// # Errors
    /// `AccountError::WrongPassword`, `AccountError::Pin` when the archive is too large,
    /// `AccountError::InDht` when no other node takes it.
    pub async fn export_under_pin(&self, password: Option<Password>) -> Result<Pin, NodeError> {
        self.ask(PIN_DEADLINE, |reply| AccountRequest::ExportUnderPin { password, reply }).await
    }

    /// Lets in a new device that shows this invitation; completes when it has the account. One at a time.
    ///
    /// # Errors
    /// `AccountError::NewDevice` when it cannot be reached, `AccountError::Linking` when it was not
    /// linked, `AccountError::AddingDevice`.
    pub async fn add_device(&self, invitation: LinkInvitation) -> Result<(), NodeError> {
        self.ask(ADD_DEADLINE, |reply| AccountRequest::AddDevice { invitation, reply }).await
    }

    /// Calls off [`Self::add_device`].
    ///
    /// # Errors
    /// [`NodeError`] when the account does not answer.
    pub async fn cancel_add_device(&self) -> Result<(), NodeError> {
        self.ask_plain(AccountRequest::CancelAddDevice).await
    }
}
