//! Conferences.

use std::path::PathBuf;

use skep_actors::call::conference::messages::ConferenceId;
use skep_actors::call::messages::{CallId, CallStage};
use skep_protocol::ids::LocalAccountId;

use super::args::ConferenceCommand;
use super::calls::choice;
use super::commands::{Session, done, is_beginning, one};
use super::error::CliError;
use super::render;
use crate::rpc::schema::method::{
    CallList, ConferenceAdd, ConferenceAttach, ConferenceDrop, ConferenceHand, ConferenceHangUp,
    ConferenceList, ConferenceMake, ConferenceMute, ConferenceRecord, ConferenceRemove,
};
use crate::rpc::schema::{
    AccountParams, CallParams, ConferenceAddParams, ConferenceAttachParams, ConferenceHandParams,
    ConferenceMakeParams, ConferenceMuteParams, ConferenceParams, ConferencePersonParams,
    ConferenceRecordParams,
};

impl Session<'_> {
    pub(super) async fn conferences(
        &mut self,
        account: LocalAccountId,
        command: ConferenceCommand,
    ) -> Result<(), CliError> {
        match command {
            ConferenceCommand::Make { calls, sound } => {
                let calls = self.answered(account, &calls).await?;
                let params = ConferenceMakeParams { account, calls, sound: choice(sound)? };
                self.call(ConferenceMake, params, |made| format!("conference {}", made.conference)).await
            }
            ConferenceCommand::Add { call, conference } => {
                let call = self.find_call(account, &call).await?;
                let conference = self.find_conference(account, conference).await?;
                self.call(ConferenceAdd, ConferenceAddParams { account, conference, call }, done).await
            }
            ConferenceCommand::Remove { call } => {
                let call = self.find_call(account, &call).await?;
                self.call(ConferenceRemove, CallParams { account, call }, done).await
            }
            ConferenceCommand::Attach { conference } => self.attach(account, conference, true).await,
            ConferenceCommand::Detach { conference } => self.attach(account, conference, false).await,
            ConferenceCommand::Hand { of, lower, person } => {
                let of = self.either(account, &of).await?;
                let params = ConferenceHandParams { account, of, person, raised: !lower };
                self.call(ConferenceHand, params, done).await
            }
            ConferenceCommand::Mute { of, person } => self.silence(account, &of, person, true).await,
            ConferenceCommand::Unmute { of, person } => self.silence(account, &of, person, false).await,
            ConferenceCommand::Drop { of, person } => {
                let of = self.either(account, &of).await?;
                self.call(ConferenceDrop, ConferencePersonParams { account, of, person }, done).await
            }
            ConferenceCommand::Record { file, conference } => {
                let conference = self.find_conference(account, conference).await?;
                let absolute =
                    |path: PathBuf| std::path::absolute(&path).map_err(|error| CliError::file(&path, error));
                let path = file.map(absolute).transpose()?;
                let params = ConferenceRecordParams { account, conference, path };
                self.call(ConferenceRecord, params, done).await
            }
            ConferenceCommand::HangUp { conference } => {
                let conference = self.find_conference(account, conference).await?;
                self.call(ConferenceHangUp, ConferenceParams { account, conference }, done).await
            }
            ConferenceCommand::List => {
                self.call(ConferenceList, AccountParams { account }, render::conferences).await
            }
        }
    }

    async fn attach(
        &mut self,
        account: LocalAccountId,
        conference: Option<String>,
        attached: bool,
    ) -> Result<(), CliError> {
        let conference = self.find_conference(account, conference).await?;
        self.call(ConferenceAttach, ConferenceAttachParams { account, conference, attached }, done).await
    }

    async fn silence(
        &mut self,
        account: LocalAccountId,
        of: &str,
        person: String,
        muted: bool,
    ) -> Result<(), CliError> {
        let of = self.either(account, of).await?;
        self.call(ConferenceMute, ConferenceMuteParams { account, of, person, muted }, done).await
    }

    /// The calls meant; all that are answered, and in no conference, if none is.
    async fn answered(&mut self, account: LocalAccountId, texts: &[String]) -> Result<Vec<CallId>, CliError> {
        let mut calls = Vec::new();
        for text in texts {
            calls.push(self.find_call(account, text).await?);
        }
        if texts.is_empty() {
            let known = self.ask(CallList, AccountParams { account }).await?.calls;
            let free =
                known.into_iter().filter(|it| it.stage == CallStage::Active && it.conference.is_none());
            calls.extend(free.map(|it| it.id));
        }
        Ok(calls)
    }

    async fn find_conference(
        &mut self,
        account: LocalAccountId,
        text: Option<String>,
    ) -> Result<ConferenceId, CliError> {
        let text = text.unwrap_or_default();
        let known = self.ask(ConferenceList, AccountParams { account }).await?.conferences;
        let fits = known.iter().filter(|it| text.is_empty() || is_beginning(&text, &it.id.to_string()));
        one("conference", &text, fits.map(|it| it.id))
    }

    /// The number of a conference here, or of a call.
    async fn either(&mut self, account: LocalAccountId, text: &str) -> Result<CallId, CliError> {
        let conferences = self.ask(ConferenceList, AccountParams { account }).await?.conferences;
        let calls = self.ask(CallList, AccountParams { account }).await?.calls;
        let known = conferences.iter().map(|it| CallId(it.id.0)).chain(calls.iter().map(|it| it.id));
        one("conference or call", text, known.filter(|it| is_beginning(text, &it.to_string())))
    }
}
