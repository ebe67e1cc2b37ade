//! Calls of an account.

use std::path::PathBuf;

use skep_actors::account::messages::AccountRequest;
use skep_actors::call::conference::messages::{ConferenceId, ConferenceRequest, ConferenceView, OwnerOrder};
use skep_actors::call::media::SoundChoice;
use skep_actors::call::messages::{CallCommand, CallId, CallView, CallsMessage};
use skep_actors::supervision::{Port, Reply};
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

    /// Puts calls together in a conference that is hosted here. `conference_changed` events tell how it goes.
    ///
    /// # Errors
    /// [`ConferenceError`](skep_actors::call::conference::messages::ConferenceError) when one of them cannot
    /// be in it, or there are too many.
    pub async fn make_conference(
        &self,
        calls: Vec<CallId>,
        sound: SoundChoice,
    ) -> Result<ConferenceId, NodeError> {
        let make = |reply| ConferenceRequest::Make { calls, sound, reply };
        Ok(self.about_conferences(make).await??)
    }

    /// Adds a call to a conference that is hosted here.
    ///
    /// # Errors
    /// As [`Self::make_conference`].
    pub async fn add_to_conference(&self, conference: ConferenceId, call: CallId) -> Result<(), NodeError> {
        let add = |reply| ConferenceRequest::Add { conference, call, reply };
        Ok(self.about_conferences(add).await??)
    }

    /// Takes a call out of the conference here that it is in.
    ///
    /// # Errors
    /// When it is in none.
    pub async fn remove_from_conference(&self, call: CallId) -> Result<(), NodeError> {
        Ok(self.about_conferences(|reply| ConferenceRequest::Remove { call, reply }).await??)
    }

    /// Whether the owner takes part in a conference that is hosted here.
    ///
    /// # Errors
    /// When there is none with that name, or no sound.
    pub async fn attach_to_conference(
        &self,
        conference: ConferenceId,
        attached: bool,
    ) -> Result<(), NodeError> {
        let attach = |reply| ConferenceRequest::Attach { conference, attached, reply };
        Ok(self.about_conferences(attach).await??)
    }

    /// Orders something: `of` is the number of a conference that is hosted here, or of a call that is in one.
    ///
    /// # Errors
    /// When there is none, or nobody like that in it. A host elsewhere does not say whether it obeys.
    pub async fn order_in_conference(&self, of: u64, order: OwnerOrder) -> Result<(), NodeError> {
        Ok(self.about_conferences(|reply| ConferenceRequest::Order { of, order, reply }).await??)
    }

    /// Records a conference that is hosted here into a new file, or ends that.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn record_conference(
        &self,
        conference: ConferenceId,
        to: Option<PathBuf>,
    ) -> Result<(), NodeError> {
        let record = |reply| ConferenceRequest::Record { conference, to, reply };
        Ok(self.about_conferences(record).await??)
    }

    /// Ends a conference that is hosted here: everybody is hung up.
    ///
    /// # Errors
    /// When there is none with that name.
    pub async fn end_conference(&self, conference: ConferenceId) -> Result<(), NodeError> {
        Ok(self.about_conferences(|reply| ConferenceRequest::HangUp { conference, reply }).await??)
    }

    /// The conferences that are hosted here.
    ///
    /// # Errors
    /// When the account does not answer.
    pub async fn conferences(&self) -> Result<Vec<ConferenceView>, NodeError> {
        self.about_conferences(ConferenceRequest::List).await
    }

    async fn about_conferences<R>(
        &self,
        request: impl FnOnce(Reply<R>) -> ConferenceRequest,
    ) -> Result<R, NodeError> {
        let ask = |reply| CallsMessage::Conference(request(reply));
        Ok(self.calls_port().await?.ask(ASK_DEADLINE, ask).await?)
    }

    async fn calls_port(&self) -> Result<Port<CallsMessage>, NodeError> {
        self.ask(ASK_DEADLINE, AccountRequest::Calls).await
    }
}
