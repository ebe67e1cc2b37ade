//! The commands about files, with a bar for one that comes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use skep_actors::event::Event;
use skep_actors::transfer::messages::{Direction, TransferState, TransferView};
use skep_protocol::ids::LocalAccountId;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{FileArgs, FileCommand};
use super::commands::{Session, commit, done, unless_interrupted};
use super::error::CliError;
use super::render;
use crate::rpc::schema::{method::*, *};

impl Session<'_> {
    pub(super) async fn file(&mut self, args: FileArgs) -> Result<(), CliError> {
        let account = self.find_account(&args.account).await?;
        match args.command {
            FileCommand::Send { conversation, file } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let path = absolute(&file)?;
                let params = FileSendParams { account, conversation, path, reply_to: None };
                self.call(FileSend, params, render::offered).await
            }
            FileCommand::Fetch { conversation, message, to, no_wait } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let message = commit(&message)?;
                let to = to.map(|folder| absolute(&folder)).transpose()?;
                let params = FileFetchParams { account, conversation, message, to };
                if no_wait {
                    self.call(FileFetch, params, render::transfer).await
                } else {
                    self.fetch(account, params).await
                }
            }
            FileCommand::List => {
                let shown = |answer: &TransfersView| render::transfers(&answer.transfers);
                self.call(FileList, AccountParams { account }, shown).await
            }
            FileCommand::Cancel { conversation, message } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let message = commit(&message)?;
                self.call(FileCancel, MessageParams { account, conversation, message }, done).await
            }
            FileCommand::Remove { conversation, message } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let message = commit(&message)?;
                self.call(FileRemove, MessageParams { account, conversation, message }, done).await
            }
        }
    }

    /// Fetches a file and shows how far it is, until it is here.
    async fn fetch(&mut self, account: LocalAccountId, params: FileFetchParams) -> Result<(), CliError> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (conversation, message) = (params.conversation, params.message);
        // Before it begins, so that its end is not missed.
        self.client.call(EventsSubscribe, SubscribeParams { account: Some(account) }).await?;
        let mut view = self.client.call(FileFetch, params).await?;
        // Hidden by itself where standard error is not a terminal.
        let bar = ProgressBar::new(view.size);
        let template = "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        while !matches!(view.state, TransferState::Done | TransferState::Cancelled) {
            show(&bar, &view);
            let Some(notice) = unless_interrupted(&mut interrupt, self.client.next_event()).await? else {
                bar.finish_and_clear();
                return Ok(());
            };
            match notice.event.event {
                Event::Transfer { transfer }
                    if (transfer.conversation, transfer.message) == (conversation, message) =>
                {
                    view = transfer;
                }
                Event::AccountRemoved {} => {
                    return Err(CliError::Unwell(format!("account {account} was removed")));
                }
                // Its end may be among what was missed.
                Event::Missed { .. } => {
                    let running = self.client.call(FileList, AccountParams { account }).await?.transfers;
                    let found = running.into_iter().find(|it| {
                        it.direction == Direction::Receiving
                            && (it.conversation, it.message) == (conversation, message)
                    });
                    view = match found {
                        Some(found) => found,
                        // It is not ordered again: it may have been cancelled.
                        None => {
                            let ended =
                                "the file came or was cancelled while too much happened; ask for it again";
                            return Err(CliError::Unwell(ended.to_owned()));
                        }
                    };
                }
                _ => (),
            }
        }
        bar.finish_and_clear();
        self.output.show(&view, render::transfer)?;
        match view.state {
            TransferState::Cancelled => Err(CliError::Unwell("the file was cancelled".to_owned())),
            _ => Ok(()),
        }
    }
}

fn show(bar: &ProgressBar, view: &TransferView) {
    bar.set_position(view.position);
    bar.set_message(match (&view.state, &view.problem) {
        (TransferState::Waiting, Some(problem)) => format!("waiting: {problem}"),
        (TransferState::Waiting, None) => "waiting".to_owned(),
        _ => String::new(),
    });
}

/// The node may run in another folder.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::file(path, error))
}
