//! Calls of an account.

use skep_actors::account::messages::AccountRequest;
use skep_actors::call::media::SoundChoice;
use skep_actors::call::messages::{CallCommand, CallId, CallView, CallsMessage};
use skep_actors::supervision::Port;
use skep_protocol::ids::AccountId;

use super::ASK_DEADLINE;
use super::Account;
use crate::error::NodeError;

impl Account {
    /// Calls somebody, on all devices at once. `call_changed` events tell how it goes, and one `call_ended`
    /// that it is over.
    ///
    /// # Errors
    /// [`CallError`](skep_actors::call::messages::CallError) when there are too many calls, or the sound
    /// cannot be had.
    pub async fn call(&self, person: AccountId, sound: SoundChoice) -> Result<CallId, NodeError> {
        let port = self.calls_port().await?;
        let place = |reply| CallsMessage::Place { peer: person, sound, reply };
        Ok(port.ask(ASK_DEADLINE, place).await??)
    }

    /// Does something with a call.
    ///
    /// # Errors
    /// [`CallError`](skep_actors::call::messages::CallError) when it is over, or this cannot be done now.
    pub async fn control_call(&self, call: CallId, command: CallCommand) -> Result<(), NodeError> {
        let port = self.calls_port().await?;
        let act = |reply| CallsMessage::Do { call, command, reply };
        Ok(port.ask(ASK_DEADLINE, act).await??)
    }

    /// All calls that are not over.
    ///
    /// # Errors
    /// When the account does not answer.
    pub async fn calls(&self) -> Result<Vec<CallView>, NodeError> {
        Ok(self.calls_port().await?.ask(ASK_DEADLINE, CallsMessage::List).await?)
    }

    async fn calls_port(&self) -> Result<Port<CallsMessage>, NodeError> {
        self.ask(ASK_DEADLINE, AccountRequest::Calls).await
    }
}
