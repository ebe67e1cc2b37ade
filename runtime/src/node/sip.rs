//! Accounts at SIP servers.

use std::time::Duration;

use skep_actors::sip::messages::{NewSipAccount, Outgoing, SipAccountView, SipHubMessage};
use skep_actors::supervision::Port;
use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::address::SipAddress;

use super::{ASK_DEADLINE, Node, NodeMessage};
use crate::error::NodeError;

/// Time for a message to be answered: half a minute for each of the requests that challenges make of it.
const SEND_DEADLINE: Duration = Duration::from_secs(180);

/// Time to take a registration back, and to remove a file.
const REMOVE_DEADLINE: Duration = Duration::from_secs(30);

impl Node {
    /// Makes an account at a SIP server. Answered when it is on disk; registering goes on beside, and
    /// [`Event::SipRegistration`](crate::Event::SipRegistration) tells of it.
    ///
    /// # Errors
    /// `SipError::TooMany`, `SipError::Unfit`, `SipError::Storage`.
    pub async fn create_sip_account(&self, new: NewSipAccount) -> Result<SipAccountView, NodeError> {
        let create = |reply| SipHubMessage::Create { new: Box::new(new), reply };
        Ok(self.sip_port().await?.ask(ASK_DEADLINE, create).await??)
    }

    /// All SIP accounts.
    ///
    /// # Errors
    /// [`NodeError`] when the node does not answer.
    pub async fn sip_accounts(&self) -> Result<Vec<SipAccountView>, NodeError> {
        Ok(self.sip_port().await?.ask(ASK_DEADLINE, SipHubMessage::List).await?)
    }

    /// A SIP account at a glance.
    ///
    /// # Errors
    /// `SipError::Unknown`.
    pub async fn sip_account(&self, local: LocalAccountId) -> Result<SipAccountView, NodeError> {
        let describe = |reply| SipHubMessage::Describe { local, reply };
        Ok(self.sip_port().await?.ask(ASK_DEADLINE, describe).await??)
    }

    /// Takes the registration of a SIP account back and forgets the account.
    ///
    /// # Errors
    /// `SipError::Unknown`, `SipError::Storage`.
    pub async fn remove_sip_account(&self, local: LocalAccountId) -> Result<(), NodeError> {
        let remove = |reply| SipHubMessage::Remove { local, reply };
        Ok(self.sip_port().await?.ask(REMOVE_DEADLINE, remove).await??)
    }

    /// Sends a text over SIP. Completes when the server, or who it is for, has taken it.
    ///
    /// # Errors
    /// `SipError::Unknown`, `SipError::Message` with the reason.
    pub async fn send_sip_message(
        &self,
        local: LocalAccountId,
        to: SipAddress,
        text: String,
    ) -> Result<(), NodeError> {
        let send = |reply| SipHubMessage::Send { local, message: Outgoing { to, text, reply } };
        Ok(self.sip_port().await?.ask(SEND_DEADLINE, send).await??)
    }

    async fn sip_port(&self) -> Result<Port<SipHubMessage>, NodeError> {
        let port = self.root.ask(ASK_DEADLINE, NodeMessage::Sip).await?;
        port.ok_or_else(|| NodeError::Start("the node is not ready yet; try again".to_owned()))
    }
}
