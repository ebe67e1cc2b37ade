//! What each command asks of the node, and how its answer is shown.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use skep_actors::account::messages::AccountView;
use skep_actors::swarm::messages::{Page, ProfileChange};
use skep_protocol::ids::{CommitId, ConversationId, LocalAccountId};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{
    AccountChoice, AccountCommand, ContactArgs, ContactCommand, ConversationArgs, ConversationCommand,
    DhtCommand, MessageArgs, MessageCommand, ModeChoice, NodeCommand, PasswordFile, Switch,
};
use super::error::CliError;
use super::follow::Followed;
use super::{Output, render, terminal};
use crate::node::write_private;
use crate::rpc::client::{Client, ClientError};
use crate::rpc::schema::{method::*, *};

/// How an archive without password begins: it is plain gzip.
const UNPROTECTED: [u8; 2] = [0x1f, 0x8b];

/// How long a node that is being started may take until it listens; without a node, the error waits
/// as long.
const STARTING: Duration = Duration::from_secs(1);

/// Pause before the next try to connect.
const CONNECT_AGAIN: Duration = Duration::from_millis(20);

/// The option that names the file with the password of an archive.
pub(super) const PASSWORD_FILE: &str = "--password-file";

/// A connection to the node, and where its answers are shown.
pub(super) struct Session<'a> {
    pub(super) client: Client,
    pub(super) output: Output<'a>,
}

pub(super) fn done(_: &impl Serialize) -> String {
    "done".to_owned()
}

impl<'a> Session<'a> {
    /// Connects to the node; one that was started just before is waited for.
    pub(super) async fn connect(socket: &Path, output: Output<'a>) -> Result<Self, CliError> {
        let begun = Instant::now();
        loop {
            match Client::connect(socket).await {
                Ok(client) => return Ok(Self { client, output }),
                Err(ClientError::NoNode { source, .. })
                    if source.kind() == ErrorKind::NotFound && begun.elapsed() < STARTING =>
                {
                    tokio::time::sleep(CONNECT_AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Calls a method and shows its answer.
    pub(super) async fn call<M: Method>(
        &mut self,
        method: M,
        params: M::Params,
        render: impl FnOnce(&M::Answer) -> String,
    ) -> Result<(), CliError> {
        let answer = self.client.call(method, params).await?;
        self.output.show(&answer, render)
    }

    /// Calls a method whose answer is not shown.
    pub(super) async fn ask<M: Method>(
        &mut self,
        method: M,
        params: M::Params,
    ) -> Result<M::Answer, ClientError> {
        self.client.call(method, params).await
    }

    /// Calls a method that takes long, with a bar on the terminal.
    pub(super) async fn call_long<M: Method>(&mut self, params: M::Params) -> Result<M::Answer, ClientError> {
        // Hidden by itself where standard error is not a terminal.
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let answer = self
            .client
            .call_with::<M>(params, |notice| {
                bar.set_length(notice.total.into());
                bar.set_position(notice.done.into());
                bar.set_message(notice.stage.clone());
            })
            .await;
        bar.finish_and_clear();
        answer
    }

    /// The account meant: by any of its names, or the only one.
    pub(super) async fn find_account(&mut self, choice: &AccountChoice) -> Result<LocalAccountId, CliError> {
        // Needs no list, in which accounts that do not answer are missing.
        if let Some(local) = choice.account.as_deref().and_then(|text| text.parse().ok()) {
            return Ok(local);
        }
        let AccountsView { accounts, names } = self.client.call(AccountList, Nothing {}).await?;
        let Some(text) = &choice.account else {
            return match accounts.as_slice() {
                [only] => Ok(only.local),
                [] => Err(CliError::Usage("the node has no account; make one: skep account create".into())),
                _ => Err(CliError::Usage(format!(
                    "the node has {} accounts; choose one with --account",
                    accounts.len()
                ))),
            };
        };
        let names_of = |account: &AccountView| {
            let registered = names.get(&account.id).cloned();
            [account.local.to_hex(), account.id.to_hex(), account.name.clone()].into_iter().chain(registered)
        };
        let is_exact =
            |account: &&AccountView| !text.is_empty() && names_of(account).any(|name| name == *text);
        if let Some(account) = accounts.iter().find(is_exact) {
            return Ok(account.local);
        }
        let begins = |account: &AccountView| names_of(account).any(|name| is_beginning(text, &name));
        one("account", text, accounts.iter().filter(|account| begins(account)).map(|account| account.local))
    }

    /// The conversation meant: by its id or the beginning of it.
    pub(super) async fn find_conversation(
        &mut self,
        account: LocalAccountId,
        text: &str,
    ) -> Result<ConversationId, CliError> {
        if let Ok(conversation) = text.parse() {
            return Ok(conversation);
        }
        let known = self.client.call(ConversationList, AccountParams { account }).await?.conversations;
        let text = text.to_lowercase();
        let ids = known.iter().map(|conversation| conversation.id);
        one("conversation", &text, ids.filter(|id| is_beginning(&text, &id.to_hex())))
    }

    /// The invitation meant: by the id of its conversation or the beginning of that.
    async fn find_invitation(
        &mut self,
        account: LocalAccountId,
        text: &str,
    ) -> Result<ConversationId, CliError> {
        if let Ok(conversation) = text.parse() {
            return Ok(conversation);
        }
        let waiting = self.client.call(ContactRequests, AccountParams { account }).await?.requests;
        let text = text.to_lowercase();
        let ids = waiting.iter().filter(|request| request.invitation).filter_map(|it| it.conversation);
        one("invitation", &text, ids.filter(|id| is_beginning(&text, &id.to_hex())))
    }

    pub(super) async fn account(&mut self, command: AccountCommand) -> Result<(), CliError> {
        match command {
            AccountCommand::Create { name, protect, password } => {
                let password = match from_file(&password)? {
                    None if protect => {
                        Some(terminal::ask_new_password("Password of the new archive", PASSWORD_FILE)?)
                    }
                    password => password,
                };
                let answer = self.call_long::<AccountCreate>(CreateParams { name, password }).await?;
                self.output.show(&answer, |account| render::account(account, &Names::new()))
            }
            AccountCommand::Import { archive, password } => self.import(&archive, &password).await,
            AccountCommand::Link { pin: Some(pin), protected, password } => {
                self.link_by_pin(pin, protected, &password).await
            }
            AccountCommand::Link { pin: None, password, .. } => self.link(&password).await,
            AccountCommand::Export { file, account, password } => {
                self.export(&file, &account, &password).await
            }
            AccountCommand::List => self.call(AccountList, Nothing {}, render::accounts).await,
            AccountCommand::Show { account } => {
                let account = self.find_account(&account).await?;
                let shown = |answer: &WithNames<AccountView>| render::account(&answer.view, &answer.names);
                self.call(AccountDescribe, AccountParams { account }, shown).await
            }
            AccountCommand::Rename { name, account } => {
                let account = self.find_account(&account).await?;
                self.call(AccountRename, RenameParams { account, name }, done).await
            }
            AccountCommand::Set { read_receipts, typing, account } => {
                let account = self.find_account(&account).await?;
                let [read_receipts, typing] =
                    [read_receipts, typing].map(|set| set.map(|switch| switch == Switch::On));
                self.call(AccountSet, SettingsParams { account, read_receipts, typing }, done).await
            }
            AccountCommand::Password { account, old_password_file, new_password_file, remove } => {
                let account = self.find_account(&account).await?;
                let protected = self.is_protected(account).await?;
                let old = match old_password_file {
                    Some(path) => Some(terminal::password_in(&path)?),
                    None if protected => {
                        Some(terminal::ask_password("Present password", "--old-password-file")?)
                    }
                    None => None,
                };
                let new = match new_password_file {
                    Some(path) => Some(terminal::password_in(&path)?),
                    None if remove => None,
                    None => {
                        Some(terminal::ask_new_password("New password", "--new-password-file or --remove")?)
                    }
                };
                self.call(AccountChangePassword, PasswordParams { account, old, new }, done).await
            }
            AccountCommand::Remove { account, yes } => {
                let account = self.find_account(&account).await?;
                if !yes {
                    let answer = self.client.call(AccountDescribe, AccountParams { account }).await?;
                    terminal::confirm(&render::removal(&answer.view))?;
                }
                self.call(AccountRemove, AccountParams { account }, done).await
            }
        }
    }

    async fn import(&mut self, path: &Path, file: &PasswordFile) -> Result<(), CliError> {
        let archive = std::fs::read(path).map_err(|error| CliError::file(path, error))?;
        let password = match from_file(file)? {
            None if !archive.starts_with(&UNPROTECTED) => {
                Some(terminal::ask_password("Password of the archive", PASSWORD_FILE)?)
            }
            password => password,
        };
        let params = ImportParams { archive: STANDARD.encode(archive), password };
        let answer = self.call_long::<AccountImport>(params).await?;
        self.output.show(&answer, |account| render::account(account, &Names::new()))
    }

    async fn export(
        &mut self,
        path: &Path,
        account: &AccountChoice,
        file: &PasswordFile,
    ) -> Result<(), CliError> {
        let account = self.find_account(account).await?;
        if path.exists() {
            return Err(CliError::file(path, "it exists already; choose another name"));
        }
        let password = self.archive_password(account, file).await?;
        let answer = self.client.call(AccountExport, ExportParams { account, password }).await?;
        let archive = STANDARD
            .decode(&answer.archive)
            .map_err(|error| CliError::Client(ClientError::Answer(error.to_string())))?;
        write_private(path, &archive).map_err(|error| CliError::file(path, error))?;
        let written = serde_json::json!({ "file": path, "bytes": archive.len() });
        self.output.show(&written, |_| format!("{} bytes written to {}", archive.len(), path.display()))
    }

    /// The password that opens the archive of an account, if it has one.
    pub(super) async fn archive_password(
        &mut self,
        account: LocalAccountId,
        file: &PasswordFile,
    ) -> Result<Option<Secret>, CliError> {
        match from_file(file)? {
            None if self.is_protected(account).await? => {
                Ok(Some(terminal::ask_password("Password of the archive", PASSWORD_FILE)?))
            }
            password => Ok(password),
        }
    }

    async fn is_protected(&mut self, account: LocalAccountId) -> Result<bool, CliError> {
        Ok(self.client.call(AccountDescribe, AccountParams { account }).await?.view.protected)
    }

    pub(super) async fn contact(&mut self, args: ContactArgs) -> Result<(), CliError> {
        let account = self.find_account(&args.account).await?;
        let person = |contact| ContactParams { account, contact };
        let shown = |answer: &ConversationRef| format!("conversation {}", answer.conversation);
        match args.command {
            ContactCommand::Add { id } => self.call(ContactAdd, person(id), shown).await,
            ContactCommand::Accept { id } => self.call(ContactAccept, person(id), shown).await,
            ContactCommand::Decline { id } => self.call(ContactDecline, person(id), done).await,
            ContactCommand::Remove { id } => self.call(ContactRemove, person(id), done).await,
            ContactCommand::Ban { id } => self.call(ContactBan, person(id), done).await,
            ContactCommand::BanDevice { device } => {
                self.call(ContactBanDevice, other_device(account, &device)?, done).await
            }
            ContactCommand::AllowDevice { device } => {
                self.call(ContactAllowDevice, other_device(account, &device)?, done).await
            }
            ContactCommand::List => self.call(ContactList, AccountParams { account }, render::contacts).await,
            ContactCommand::Follow => self.follow(account, Followed::Presence).await,
            ContactCommand::Requests => {
                self.call(ContactRequests, AccountParams { account }, render::requests).await
            }
        }
    }

    pub(super) async fn conversation(&mut self, args: ConversationArgs) -> Result<(), CliError> {
        let account = self.find_account(&args.account).await?;
        match args.command {
            ConversationCommand::List => {
                let shown = |answer: &ConversationsView| render::conversations(&answer.conversations);
                self.call(ConversationList, AccountParams { account }, shown).await
            }
            ConversationCommand::Show { conversation } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = ConversationParams { account, conversation };
                self.call(ConversationDescribe, params, render::conversation).await
            }
            ConversationCommand::Members { conversation } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = ConversationParams { account, conversation };
                let shown = |answer: &MembersView| {
                    render::members(&answer.members, &answer.names, &answer.display_names)
                };
                self.call(ConversationMembers, params, shown).await
            }
            ConversationCommand::Create { title, description, mode } => {
                let mode = match mode {
                    ModeChoice::AdminInvitesOnly => GroupMode::AdminInvitesOnly,
                    ModeChoice::InvitesOnly => GroupMode::InvitesOnly,
                    ModeChoice::Public => GroupMode::Public,
                };
                let profile = ProfileChange { title, description, ..ProfileChange::default() };
                let params = CreateConversationParams { account, mode, profile };
                let shown = |answer: &ConversationRef| format!("conversation {}", answer.conversation);
                self.call(ConversationCreate, params, shown).await
            }
            ConversationCommand::Invite { conversation, id } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = InviteParams { account, conversation, contact: id };
                self.call(ConversationInvite, params, render::changed).await
            }
            ConversationCommand::Requests => {
                self.call(ContactRequests, AccountParams { account }, render::requests).await
            }
            ConversationCommand::Accept { conversation } => {
                let conversation = self.find_invitation(account, &conversation).await?;
                let shown = |answer: &ConversationRef| format!("conversation {}", answer.conversation);
                self.call(ConversationAccept, ConversationParams { account, conversation }, shown).await
            }
            ConversationCommand::Decline { conversation } => {
                let conversation = self.find_invitation(account, &conversation).await?;
                self.call(ConversationDecline, ConversationParams { account, conversation }, done).await
            }
            ConversationCommand::Ban { conversation, target } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = VoteParams { account, conversation, target };
                self.call(ConversationBan, params, render::changed).await
            }
            ConversationCommand::Unban { conversation, target } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = VoteParams { account, conversation, target };
                self.call(ConversationUnban, params, render::changed).await
            }
            ConversationCommand::Profile {
                conversation,
                title,
                description,
                avatar,
                no_avatar,
                call_host,
                call_host_device,
            } => {
                let avatar = match avatar {
                    Some(path) => Some(
                        STANDARD.encode(std::fs::read(&path).map_err(|error| CliError::file(&path, error))?),
                    ),
                    None => no_avatar.then(String::new),
                };
                let profile = ProfileChange { title, description, avatar, call_host, call_host_device };
                let conversation = self.find_conversation(account, &conversation).await?;
                if profile.is_empty() {
                    let params = ConversationParams { account, conversation };
                    self.call(ConversationProfile, params, render::profile).await
                } else {
                    let params = ProfileParams { account, conversation, profile };
                    self.call(ConversationSetProfile, params, render::changed).await
                }
            }
            ConversationCommand::Preferences { conversation, values } => {
                let preferences = preferences(&values)?;
                let conversation = self.find_conversation(account, &conversation).await?;
                if preferences.is_empty() {
                    let shown = |answer: &PreferencesView| render::preferences(&answer.preferences);
                    let params = ConversationParams { account, conversation };
                    self.call(ConversationPreferences, params, shown).await
                } else {
                    let params = PreferParams { account, conversation, preferences };
                    self.call(ConversationPrefer, params, done).await
                }
            }
            ConversationCommand::Routes { conversation } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = ConversationParams { account, conversation };
                self.call(ConversationRoutes, params, render::routes).await
            }
            ConversationCommand::Leave { conversation } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                self.call(ConversationLeave, ConversationParams { account, conversation }, done).await
            }
            ConversationCommand::Export { conversation, file } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let path = std::path::absolute(&file).map_err(|error| CliError::file(&file, error))?;
                let params = ConversationPathParams { account, conversation, path };
                let answer = self.call_long::<ConversationExport>(params).await?;
                self.output.show(&answer, |answer| {
                    format!(
                        "{} bytes written to {}; the newest commit is {}",
                        answer.bytes,
                        file.display(),
                        answer.head
                    )
                })
            }
            ConversationCommand::Import { path } => {
                let path = std::path::absolute(&path).map_err(|error| CliError::file(&path, error))?;
                let answer = self.call_long::<ConversationImport>(PathParams { account, path }).await?;
                self.output.show(&answer, |answer| format!("conversation {}", answer.conversation))
            }
        }
    }

    pub(super) async fn message(&mut self, args: MessageArgs) -> Result<(), CliError> {
        let account = self.find_account(&args.account).await?;
        let shown = |answer: &MessageRef| format!("message {}", answer.message);
        match args.command {
            MessageCommand::Send { conversation, text } => {
                let body = said(text)?;
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = SendParams { account, conversation, body };
                self.call(MessageSend, params, shown).await
            }
            MessageCommand::Reply { conversation, message, text } => {
                let params = self.about(account, &conversation, &message, text).await?;
                self.call(MessageReply, params, shown).await
            }
            MessageCommand::Edit { conversation, message, text } => {
                let params = self.about(account, &conversation, &message, text).await?;
                self.call(MessageEdit, params, shown).await
            }
            MessageCommand::React { conversation, message, reaction } => {
                let params = self.about(account, &conversation, &message, reaction).await?;
                self.call(MessageReact, params, shown).await
            }
            MessageCommand::Delete { conversation, message } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = MessageParams { account, conversation, message: commit(&message)? };
                self.call(MessageDelete, params, shown).await
            }
            MessageCommand::List { conversation, limit, before } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let before = before.as_deref().map(commit).transpose()?;
                let params = ListParams { account, conversation, before, limit };
                let shown = |page: &WithNames<Page>| {
                    render::messages(&page.view.messages, &render::called(&page.names, &page.display_names))
                };
                self.call(MessageList, params, shown).await
            }
            MessageCommand::Search { conversation, text, limit } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = SearchParams { account, conversation, text, limit };
                let shown = |found: &MessagesView| {
                    render::messages(&found.messages, &render::called(&found.names, &found.display_names))
                };
                self.call(MessageSearch, params, shown).await
            }
            MessageCommand::Read { conversation, message } => {
                let conversation = self.find_conversation(account, &conversation).await?;
                let params = MessageParams { account, conversation, message: commit(&message)? };
                self.call(MessageRead, params, done).await
            }
            MessageCommand::Follow { conversation } => {
                let conversation = match conversation {
                    None => None,
                    Some(text) => Some(self.find_conversation(account, &text).await?),
                };
                self.follow(account, Followed::Messages(conversation)).await
            }
        }
    }

    async fn about(
        &mut self,
        account: LocalAccountId,
        conversation: &str,
        message: &str,
        body: String,
    ) -> Result<MessageBodyParams, CliError> {
        let (message, body) = (commit(message)?, said(body)?);
        let conversation = self.find_conversation(account, conversation).await?;
        Ok(MessageBodyParams { account, conversation, message, body })
    }

    pub(super) async fn dht(&mut self, command: DhtCommand) -> Result<(), CliError> {
        match command {
            DhtCommand::Put { key, text, permanent } => {
                let shown = |answer: &DhtPutView| format!("{} kept by {} nodes", answer.id, answer.stored);
                self.call(DhtPut, DhtPutParams { key, text, permanent }, shown).await
            }
            DhtCommand::Get { key } => {
                let shown = |answer: &DhtValuesView| render::values(&answer.values);
                self.call(DhtGet, DhtKeyParams { key }, shown).await
            }
            DhtCommand::Listen { key } => {
                let mut interrupt = signal(SignalKind::interrupt())?;
                self.client.call(DhtListen, DhtKeyParams { key }).await?;
                while let Some(notice) =
                    unless_interrupted(&mut interrupt, self.client.next_listened()).await?
                {
                    self.output.show(&notice, render::listened)?;
                }
                Ok(())
            }
            DhtCommand::Stat => self.call(NodeHealth, Nothing {}, render::health).await,
        }
    }

    pub(super) async fn node(&mut self, command: NodeCommand) -> Result<(), CliError> {
        match command {
            NodeCommand::Info => self.call(NodeInfo, Nothing {}, render::node).await,
            NodeCommand::Tree => self.call(NodeTree, Nothing {}, render::tree).await,
            NodeCommand::Links { account } => {
                let account = self.find_account(&account).await?;
                self.call(LinksList, AccountParams { account }, render::links).await
            }
            NodeCommand::Health => {
                let health = self.client.call(NodeHealth, Nothing {}).await?;
                self.output.show(&health, render::health)?;
                if health.reachable {
                    Ok(())
                } else {
                    Err(CliError::Unwell("the DHT is not reachable".to_owned()))
                }
            }
            NodeCommand::Shutdown => self.call(NodeShutdown, Nothing {}, done).await,
        }
    }
}

pub(super) fn from_file(file: &PasswordFile) -> Result<Option<Secret>, CliError> {
    file.password_file.as_deref().map(terminal::password_in).transpose()
}

pub(super) fn commit(text: &str) -> Result<CommitId, CliError> {
    text.parse().map_err(|error| CliError::Usage(format!("{error}")))
}

/// A device of somebody else, by its id.
fn other_device(account: LocalAccountId, device: &str) -> Result<ContactDeviceParams, CliError> {
    let wrong =
        |_| CliError::Usage(format!("{device:?} is no device id: skep contact list --json shows them"));
    Ok(ContactDeviceParams { account, device: device.parse().map_err(wrong)? })
}

/// The next of what comes without end; none after an interrupt, which is the way to end it.
pub(super) async fn unless_interrupted<T>(
    interrupt: &mut Signal,
    next: impl Future<Output = Result<T, ClientError>>,
) -> Result<Option<T>, CliError> {
    tokio::select! {
        _ = interrupt.recv() => Ok(None),
        next = next => match next {
            Err(ClientError::Lost) => {
                Err(CliError::Unwell("the node has ended; try again when it runs".to_owned()))
            }
            next => Ok(Some(next?)),
        },
    }
}

/// Whether `text` means this name. Nothing at all means none: it is a variable that was not set.
pub(super) fn is_beginning(text: &str, name: &str) -> bool {
    !text.is_empty() && name.starts_with(text)
}

/// Preferences as they are typed.
fn preferences(values: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let pair = |text: &String| {
        let usage = || CliError::Usage(format!("{text:?} is no preference; write NAME=VALUE"));
        let (name, value) = text.split_once('=').ok_or_else(usage)?;
        Ok((name.to_owned(), value.to_owned()))
    };
    values.iter().map(pair).collect()
}

/// A text that says something.
fn said(text: String) -> Result<String, CliError> {
    if text.is_empty() { Err(CliError::Usage("the text is empty".to_owned())) } else { Ok(text) }
}

/// The only one of several that fit.
pub(super) fn one<T>(what: &str, text: &str, mut fitting: impl Iterator<Item = T>) -> Result<T, CliError> {
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(CliError::Usage(format!("there is no {what} {text:?} here"))),
        (Some(_), Some(_)) => {
            Err(CliError::Usage(format!("several {what}s begin with {text:?}; write more of it")))
        }
    }
}
