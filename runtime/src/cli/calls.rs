//! Calls.

use std::path::PathBuf;

use skep_actors::call::media::{SoundChoice, SoundOutput, SoundSource};
use skep_actors::call::messages::CallId;
use skep_protocol::ids::LocalAccountId;

use super::args::{CallArgs, CallCommand, SoundArgs};
use super::commands::{Session, done, is_beginning, one};
use super::error::CliError;
use super::render;
use crate::rpc::schema::method::{
    CallAnswer, CallDecline, CallHangUp, CallHold, CallList, CallMute, CallPlace, CallPress, CallResume,
    CallUnmute,
};
use crate::rpc::schema::{AccountParams, CallAnswerParams, CallParams, CallPlaceParams, CallPressParams};

impl Session<'_> {
    pub(super) async fn calls(&mut self, args: CallArgs) -> Result<(), CliError> {
        let account = self.find_account(&args.account).await?;
        let named = match &args.command {
            CallCommand::Place { .. } | CallCommand::List | CallCommand::Conference { .. } => None,
            CallCommand::Answer { call, .. }
            | CallCommand::Decline { call }
            | CallCommand::HangUp { call }
            | CallCommand::Hold { call }
            | CallCommand::Resume { call }
            | CallCommand::Mute { call }
            | CallCommand::Unmute { call }
            | CallCommand::Press { call, .. } => Some(call.clone().unwrap_or_default()),
        };
        let call = match named {
            Some(named) => self.find_call(account, &named).await?,
            None => CallId(0),
        };
        let of = CallParams { account, call };
        match args.command {
            CallCommand::Place { contact, sound } => {
                let params = CallPlaceParams { account, contact, sound: choice(sound)? };
                self.call(CallPlace, params, |placed| format!("call {}", placed.call)).await
            }
            CallCommand::Answer { sound, .. } => {
                let params = CallAnswerParams { account, call, sound: choice(sound)? };
                self.call(CallAnswer, params, done).await
            }
            CallCommand::Press { keys, .. } => {
                self.call(CallPress, CallPressParams { account, call, keys }, done).await
            }
            CallCommand::Decline { .. } => self.call(CallDecline, of, done).await,
            CallCommand::HangUp { .. } => self.call(CallHangUp, of, done).await,
            CallCommand::Hold { .. } => self.call(CallHold, of, done).await,
            CallCommand::Resume { .. } => self.call(CallResume, of, done).await,
            CallCommand::Mute { .. } => self.call(CallMute, of, done).await,
            CallCommand::Unmute { .. } => self.call(CallUnmute, of, done).await,
            CallCommand::Conference { command } => self.conferences(account, command).await,
            CallCommand::List => self.call(CallList, AccountParams { account }, render::calls).await,
        }
    }

    /// The call meant: by its number, or the beginning of it; or the only one there is.
    pub(super) async fn find_call(
        &mut self,
        account: LocalAccountId,
        text: &str,
    ) -> Result<CallId, CliError> {
        let known = self.ask(CallList, AccountParams { account }).await?.calls;
        let fits = known.iter().filter(|it| text.is_empty() || is_beginning(text, &it.id.to_string()));
        one("call", text, fits.map(|it| it.id))
    }
}

/// Where sound comes from and goes; the node may run in another folder.
pub(super) fn choice(args: SoundArgs) -> Result<SoundChoice, CliError> {
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|error| CliError::file(path, error));
    let SoundArgs { silent, tone, play, mute_output, record } = args;
    let source = match (silent, tone, play) {
        (true, ..) => SoundSource::Silence,
        (_, Some(hertz), _) => SoundSource::Tone(hertz),
        (_, _, Some(path)) => SoundSource::File(absolute(&path)?),
        _ => SoundSource::Device,
    };
    let output = match (mute_output, record) {
        (true, _) => SoundOutput::Nowhere,
        (_, Some(path)) => SoundOutput::File(absolute(&path)?),
        _ => SoundOutput::Device,
    };
    Ok(SoundChoice { source, output })
}
