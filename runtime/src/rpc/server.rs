//! What each method does: the translation between the wire's types and the node's.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use skep_actors::account::messages::{AccountView, Password};
use skep_actors::call::conference::messages::OwnerOrder;
use skep_actors::call::media::{SoundChoice, SoundOutput, SoundSource};
use skep_actors::call::messages::CallCommand;
use skep_actors::linking::messages::NumberedStage;
use skep_actors::profile::messages::{PersonView, PictureChange};
use skep_actors::sip::messages::{NewSipAccount, SipAccountView};
use skep_actors::supervision::ActorId;
use skep_actors::swarm::messages::{
    Changed, ConversationView, Exported, MAX_PAGE, Outgoing, Page, ProfileView,
};
use skep_actors::swarm::router::messages::RoutesView;
use skep_actors::transfer::messages::{OfferedView, TransferView};
use skep_protocol::call::KeyPress;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DhtKey, LocalAccountId};
use skep_protocol::linking::{InvitationError, PinError};
use skep_protocol::sip::address::{SipAddress, SipAddressError, SipServerError};
use skep_protocol::sip::agent::SipPassword;

use skep_protocol::swarm::message::{Mode, Target};

use zeroize::Zeroizing;

use super::people::{People, people_in};
use super::schema::*;
use super::session::Caller;
use crate::node::{Account, Conversation, Node};

/// User type of the values that people put.
const TEXT: &str = "text/plain";

/// Accounts that are asked at once when all are listed.
const LIST_AT_ONCE: usize = 16;

/// What the control interface has done, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests and notifications answered.
    pub(crate) requests: AtomicU64,
    /// Those of them that failed.
    pub(crate) errors: AtomicU64,
    /// Connections refused: by credentials, token, origin or number.
    pub(crate) refused: AtomicU64,
    /// Connections open.
    pub(crate) connections: AtomicUsize,
}

impl Counters {
    pub(super) fn count(&self, failed: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// The node behind the control interface.
#[derive(Debug)]
pub(crate) struct Server {
    node: Node,
    counters: Arc<Counters>,
    endpoints: Vec<EndpointView>,
}

impl Server {
    pub(super) const fn new(node: Node, counters: Arc<Counters>, endpoints: Vec<EndpointView>) -> Self {
        Self { node, counters, endpoints }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    fn account(&self, local: LocalAccountId) -> Account {
        self.node.account(local)
    }

    fn conversation(&self, local: LocalAccountId, conversation: ConversationId) -> Conversation {
        self.account(local).conversation(conversation)
    }

    async fn write(
        &self,
        local: LocalAccountId,
        conversation: ConversationId,
        message: Outgoing,
    ) -> Result<MessageRef, RpcError> {
        let message: CommitId = self.conversation(local, conversation).write(message).await?;
        Ok(MessageRef { message })
    }

    /// Does something with a call.
    async fn in_call(&self, params: CallParams, command: CallCommand) -> Result<Done, RpcError> {
        self.account(params.account).control_call(params.call, command).await?;
        Ok(Done {})
    }

    /// The person meant by an id or a name.
    async fn person(&self, text: &str) -> Result<AccountId, RpcError> {
        Ok(self.node.person(text).await?)
    }

    /// The person or device meant.
    async fn target(&self, text: &str) -> Result<Target, RpcError> {
        match Target::parse(&text.to_lowercase()) {
            Some(target @ Target::Device(_)) => Ok(target),
            _ => self.person(text).await.map(Target::Account),
        }
    }

    /// The names of people in an answer.
    async fn names_in<T: People + ?Sized>(&self, answer: &T) -> Names {
        self.names(people_in(answer)).await
    }

    async fn names(&self, people: BTreeSet<AccountId>) -> Names {
        let known = self.node.known_names(people).await;
        known.into_iter().map(|(person, name)| (person, name.to_string())).collect()
    }

    /// The registered names of people in an answer, and those that they have given themselves.
    async fn both_names<T: People + ?Sized>(&self, account: LocalAccountId, answer: &T) -> (Names, Names) {
        let people = people_in(answer);
        let told = self.account(account).display_names(people.clone()).await;
        // An answer without names is better than none.
        (self.names(people).await, told.unwrap_or_default())
    }

    /// An answer with the names of people in it.
    async fn with_names<T: People>(&self, account: LocalAccountId, view: T) -> WithNames<T> {
        let (names, display_names) = self.both_names(account, &view).await;
        WithNames { view, names, display_names }
    }
}

fn password(secret: Option<&Secret>) -> Option<Password> {
    secret.map(|secret| Password(secret.reveal().to_owned()))
}

/// A key as people write it.
fn dht_key(text: &str) -> DhtKey {
    text.parse().unwrap_or_else(|_| DhtKey::of_text(text))
}

/// Most keys that are pressed at once.
const MAX_KEYS: usize = 32;

/// What is said where they are others.
const WRONG_KEYS: &str = "keys are digits, *, #, and A to D, 1 to 32 of them";

/// Files of calls are named from the root: the node has no folder that its owner knows of.
fn from_the_root(sound: &SoundChoice) -> Result<(), RpcError> {
    let source = if let SoundSource::File(path) = &sound.source { Some(path) } else { None };
    let output = if let SoundOutput::File(path) = &sound.output { Some(path) } else { None };
    match source.into_iter().chain(output).find(|path| !path.is_absolute()) {
        None => Ok(()),
        Some(path) => {
            let text = format!("{} is not named from the root of the node's machine", path.display());
            Err(RpcError::new(ErrorCode::InvalidParams, text))
        }
    }
}

fn sip_address(text: &str) -> Result<SipAddress, RpcError> {
    let wrong = |error: SipAddressError| RpcError::new(ErrorCode::InvalidParams, error.to_string());
    text.parse().map_err(wrong)
}

impl Methods<Caller> for Server {
    async fn node_info(&self, _: &Caller, _: Nothing) -> Result<NodeView, RpcError> {
        Ok(NodeView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: u64::try_from(self.node.uptime().0.as_millis()).unwrap_or(u64::MAX),
            data_dir: self.node.config().data_dir.clone(),
            accounts: self.node.accounts().await?.len(),
            endpoints: self.endpoints.clone(),
        })
    }

    async fn node_tree(&self, _: &Caller, _: Nothing) -> Result<TreeView, RpcError> {
        let tree = self.node.tree();
        Ok(TreeView { actors: tree.rows().into_iter().map(Into::into).collect(), panics: tree.panics() })
    }

    async fn node_health(&self, _: &Caller, _: Nothing) -> Result<HealthView, RpcError> {
        Ok(self.node.health().await?.into())
    }

    async fn node_shutdown(&self, _: &Caller, _: Nothing) -> Result<Done, RpcError> {
        self.node.request_shutdown();
        Ok(Done {})
    }

    async fn node_inject_panic(&self, _: &Caller, params: ActorParams) -> Result<Done, RpcError> {
        if !self.node.config().debug.fault_injection {
            let message = "faults are injected only with debug.fault_injection = true";
            return Err(RpcError::new(ErrorCode::Disabled, message));
        }
        if !self.node.tree().inject_panic(ActorId(params.actor)) {
            let message = format!("there is no actor {}", params.actor);
            return Err(RpcError::new(ErrorCode::NotFound, message));
        }
        Ok(Done {})
    }

    async fn account_create(&self, caller: &Caller, params: CreateParams) -> Result<AccountView, RpcError> {
        let password = password(params.password.as_ref());
        let account = self.node.create_account(params.name, password, caller.progress()).await?;
        Ok(account.describe().await?)
    }

    async fn account_import(&self, caller: &Caller, params: ImportParams) -> Result<AccountView, RpcError> {
        let archive = STANDARD.decode(&params.archive).map_err(|error| {
            RpcError::new(ErrorCode::InvalidParams, format!("the archive is not base64: {error}"))
        })?;
        let password = password(params.password.as_ref());
        let account = self.node.import_account(archive, password, caller.progress()).await?;
        Ok(account.describe().await?)
    }

    async fn account_link_by_pin(
        &self,
        caller: &Caller,
        params: LinkByPinParams,
    ) -> Result<AccountView, RpcError> {
        let pin = params
            .pin
            .reveal()
            .parse()
            .map_err(|error: PinError| RpcError::new(ErrorCode::InvalidParams, error.to_string()))?;
        let password = password(params.password.as_ref());
        let account = self.node.link_by_pin(pin, password, caller.progress()).await?;
        Ok(account.describe().await?)
    }

    async fn account_link(&self, _: &Caller, _: Nothing) -> Result<NumberedStage, RpcError> {
        Ok(self.node.begin_linking().await?)
    }

    async fn account_link_stage(&self, _: &Caller, params: StageParams) -> Result<NumberedStage, RpcError> {
        Ok(self.node.linking(params.after).await?)
    }

    async fn account_link_password(&self, _: &Caller, params: LinkPasswordParams) -> Result<Done, RpcError> {
        self.node.linking_password(Password(params.password.reveal().to_owned())).await?;
        Ok(Done {})
    }

    async fn account_link_cancel(&self, _: &Caller, _: Nothing) -> Result<Done, RpcError> {
        self.node.cancel_linking().await?;
        Ok(Done {})
    }

    async fn device_add(&self, _: &Caller, params: InvitationParams) -> Result<Done, RpcError> {
        let invitation = params
            .invitation
            .parse()
            .map_err(|error: InvitationError| RpcError::new(ErrorCode::InvalidParams, error.to_string()))?;
        self.account(params.account).add_device(invitation).await?;
        Ok(Done {})
    }

    async fn device_cancel(&self, _: &Caller, params: AccountParams) -> Result<Done, RpcError> {
        self.account(params.account).cancel_add_device().await?;
        Ok(Done {})
    }

    async fn device_pin(&self, _: &Caller, params: ExportParams) -> Result<PinView, RpcError> {
        let pin = self.account(params.account).export_under_pin(password(params.password.as_ref())).await?;
        let seconds = ValueKind::UserData.lifetime().as_secs();
        Ok(PinView { pin: Secret::new(pin.shown().to_string()), seconds })
    }

    async fn account_export(&self, _: &Caller, params: ExportParams) -> Result<ArchiveView, RpcError> {
        let archive = self.account(params.account).export(password(params.password.as_ref())).await?;
        Ok(ArchiveView { archive: STANDARD.encode(archive) })
    }

    async fn account_list(&self, _: &Caller, _: Nothing) -> Result<AccountsView, RpcError> {
        let accounts = self.node.accounts().await?;
        let views = futures::stream::iter(accounts)
            .map(|account| async move { account.describe().await.ok() })
            .buffered(LIST_AT_ONCE);
        let accounts: Vec<_> = views.filter_map(|view| async move { view }).collect().await;
        Ok(AccountsView { names: self.names_in(&accounts[..]).await, accounts })
    }

    async fn account_describe(
        &self,
        _: &Caller,
        params: AccountParams,
    ) -> Result<WithNames<AccountView>, RpcError> {
        Ok(self.with_names(params.account, self.account(params.account).describe().await?).await)
    }

    async fn account_rename(&self, _: &Caller, params: RenameParams) -> Result<Done, RpcError> {
        self.account(params.account).rename(params.name).await?;
        Ok(Done {})
    }

    async fn profile_show(&self, _: &Caller, params: ProfileShowParams) -> Result<PersonView, RpcError> {
        let account = self.account(params.account);
        let person = match &params.person {
            Some(person) => self.person(person).await?,
            None => account.describe().await?.id,
        };
        Ok(account.profile(person).await?)
    }

    async fn profile_set(&self, _: &Caller, params: ProfileSetParams) -> Result<Done, RpcError> {
        let invalid = |problem: String| RpcError::new(ErrorCode::InvalidParams, problem);
        let picture = match (params.picture.as_deref(), params.picture_file) {
            (Some(_), Some(_)) => return Err(invalid("either picture or picture_file is given".to_owned())),
            (None, None) => PictureChange::Keep,
            (Some(""), None) => PictureChange::Remove,
            (Some(image), None) => {
                let image = STANDARD.decode(image);
                PictureChange::Image(
                    image.map_err(|error| invalid(format!("the picture is not base64: {error}")))?,
                )
            }
            (None, Some(path)) => PictureChange::File(absolute(path)?),
        };
        if params.name.is_none() && picture == PictureChange::Keep {
            return Err(invalid("nothing of the profile is to change".to_owned()));
        }
        self.account(params.account).set_profile(params.name, picture).await?;
        Ok(Done {})
    }

    async fn account_set(&self, _: &Caller, params: SettingsParams) -> Result<Done, RpcError> {
        self.account(params.account).set(params.read_receipts, params.typing).await?;
        Ok(Done {})
    }

    async fn account_remove(&self, _: &Caller, params: AccountParams) -> Result<Done, RpcError> {
        self.account(params.account).remove().await?;
        Ok(Done {})
    }

    async fn account_change_password(&self, _: &Caller, params: PasswordParams) -> Result<Done, RpcError> {
        let (old, new) = (password(params.old.as_ref()), password(params.new.as_ref()));
        self.account(params.account).change_password(old, new).await?;
        Ok(Done {})
    }

    async fn contact_add(&self, _: &Caller, params: ContactParams) -> Result<ConversationRef, RpcError> {
        let conversation =
            self.account(params.account).add_contact(self.person(&params.contact).await?).await?;
        Ok(ConversationRef { conversation: conversation.id() })
    }

    async fn contact_accept(&self, _: &Caller, params: ContactParams) -> Result<ConversationRef, RpcError> {
        let conversation = self.account(params.account).accept(self.person(&params.contact).await?).await?;
        Ok(ConversationRef { conversation: conversation.id() })
    }

    async fn contact_decline(&self, _: &Caller, params: ContactParams) -> Result<Done, RpcError> {
        self.account(params.account).decline(self.person(&params.contact).await?).await?;
        Ok(Done {})
    }

    async fn contact_remove(&self, _: &Caller, params: ContactParams) -> Result<Done, RpcError> {
        self.account(params.account).remove_contact(self.person(&params.contact).await?, false).await?;
        Ok(Done {})
    }

    async fn contact_ban(&self, _: &Caller, params: ContactParams) -> Result<Done, RpcError> {
        self.account(params.account).remove_contact(self.person(&params.contact).await?, true).await?;
        Ok(Done {})
    }

    async fn contact_ban_device(&self, _: &Caller, params: ContactDeviceParams) -> Result<Done, RpcError> {
        self.account(params.account).ban_device(params.device).await?;
        Ok(Done {})
    }

    async fn contact_allow_device(&self, _: &Caller, params: ContactDeviceParams) -> Result<Done, RpcError> {
        self.account(params.account).allow_device(params.device).await?;
        Ok(Done {})
    }

    async fn contact_list(&self, _: &Caller, params: AccountParams) -> Result<ContactsView, RpcError> {
        let contacts = self.account(params.account).contacts().await?;
        let (names, display_names) = self.both_names(params.account, &contacts[..]).await;
        Ok(ContactsView { contacts, names, display_names })
    }

    async fn contact_requests(&self, _: &Caller, params: AccountParams) -> Result<RequestsView, RpcError> {
        let requests = self.account(params.account).requests().await?;
        let (names, display_names) = self.both_names(params.account, &requests[..]).await;
        Ok(RequestsView { requests, names, display_names })
    }

    async fn conversation_create(
        &self,
        _: &Caller,
        params: CreateConversationParams,
    ) -> Result<ConversationRef, RpcError> {
        let mode = match params.mode {
            GroupMode::AdminInvitesOnly => Mode::AdminInvitesOnly,
            GroupMode::InvitesOnly => Mode::InvitesOnly,
            GroupMode::Public => Mode::Public,
        };
        let conversation = self.account(params.account).create_conversation(mode, params.profile).await?;
        Ok(ConversationRef { conversation: conversation.id() })
    }

    async fn conversation_invite(&self, _: &Caller, params: InviteParams) -> Result<Changed, RpcError> {
        let person = self.person(&params.contact).await?;
        Ok(self.conversation(params.account, params.conversation).invite(person).await?)
    }

    async fn conversation_accept(
        &self,
        _: &Caller,
        params: ConversationParams,
    ) -> Result<ConversationRef, RpcError> {
        let conversation = self.account(params.account).accept_invitation(params.conversation).await?;
        Ok(ConversationRef { conversation: conversation.id() })
    }

    async fn conversation_decline(&self, _: &Caller, params: ConversationParams) -> Result<Done, RpcError> {
        self.account(params.account).decline_invitation(params.conversation).await?;
        Ok(Done {})
    }

    async fn conversation_ban(&self, _: &Caller, params: VoteParams) -> Result<Changed, RpcError> {
        let target = self.target(&params.target).await?;
        Ok(self.conversation(params.account, params.conversation).ban(target).await?)
    }

    async fn conversation_unban(&self, _: &Caller, params: VoteParams) -> Result<Changed, RpcError> {
        let target = self.target(&params.target).await?;
        Ok(self.conversation(params.account, params.conversation).unban(target).await?)
    }

    async fn conversation_profile(
        &self,
        _: &Caller,
        params: ConversationParams,
    ) -> Result<ProfileView, RpcError> {
        Ok(self.conversation(params.account, params.conversation).profile().await?)
    }

    async fn conversation_set_profile(&self, _: &Caller, params: ProfileParams) -> Result<Changed, RpcError> {
        if params.profile.is_empty() {
            return Err(RpcError::new(ErrorCode::InvalidParams, "nothing of the profile is to change"));
        }
        Ok(self.conversation(params.account, params.conversation).set_profile(params.profile).await?)
    }

    async fn conversation_routes(
        &self,
        _: &Caller,
        params: ConversationParams,
    ) -> Result<WithNames<RoutesView>, RpcError> {
        let routes = self.conversation(params.account, params.conversation).routes().await?;
        Ok(self.with_names(params.account, routes).await)
    }

    async fn conversation_preferences(
        &self,
        _: &Caller,
        params: ConversationParams,
    ) -> Result<PreferencesView, RpcError> {
        let preferences = self.conversation(params.account, params.conversation).preferences().await?;
        Ok(PreferencesView { preferences })
    }

    async fn conversation_prefer(&self, _: &Caller, params: PreferParams) -> Result<Done, RpcError> {
        self.conversation(params.account, params.conversation).prefer(params.preferences).await?;
        Ok(Done {})
    }

    async fn conversation_list(
        &self,
        _: &Caller,
        params: AccountParams,
    ) -> Result<ConversationsView, RpcError> {
        let conversations = self.account(params.account).conversations().await?;
        let (names, display_names) = self.both_names(params.account, &conversations[..]).await;
        Ok(ConversationsView { conversations, names, display_names })
    }

    async fn conversation_describe(
        &self,
        _: &Caller,
        params: ConversationParams,
    ) -> Result<WithNames<ConversationView>, RpcError> {
        let view = self.conversation(params.account, params.conversation).describe().await?;
        Ok(self.with_names(params.account, view).await)
    }

    async fn conversation_members(
        &self,
        _: &Caller,
        params: ConversationParams,
    ) -> Result<MembersView, RpcError> {
        let members = self.conversation(params.account, params.conversation).members().await?;
        let (names, display_names) = self.both_names(params.account, &members[..]).await;
        Ok(MembersView { members, names, display_names })
    }

    async fn conversation_leave(&self, _: &Caller, params: ConversationParams) -> Result<Done, RpcError> {
        self.conversation(params.account, params.conversation).leave().await?;
        Ok(Done {})
    }

    async fn conversation_import(&self, _: &Caller, params: PathParams) -> Result<ConversationRef, RpcError> {
        let path = absolute(params.path)?;
        let conversation = self.account(params.account).import_conversation(path).await?;
        Ok(ConversationRef { conversation: conversation.id() })
    }

    async fn conversation_export(
        &self,
        _: &Caller,
        params: ConversationPathParams,
    ) -> Result<Exported, RpcError> {
        let ConversationPathParams { account, conversation, path } = params;
        Ok(self.conversation(account, conversation).export(absolute(path)?).await?)
    }

    async fn file_send(&self, _: &Caller, params: FileSendParams) -> Result<OfferedView, RpcError> {
        let FileSendParams { account, conversation, path, reply_to } = params;
        Ok(self.conversation(account, conversation).send_file(absolute(path)?, reply_to).await?)
    }

    async fn file_fetch(&self, _: &Caller, params: FileFetchParams) -> Result<TransferView, RpcError> {
        let FileFetchParams { account, conversation, message, to } = params;
        let to = to.map(absolute).transpose()?;
        Ok(self.conversation(account, conversation).fetch_file(message, to).await?)
    }

    async fn file_cancel(&self, _: &Caller, params: MessageParams) -> Result<Done, RpcError> {
        let MessageParams { account, conversation, message } = params;
        self.conversation(account, conversation).cancel_file(message).await?;
        Ok(Done {})
    }

    async fn file_remove(&self, _: &Caller, params: MessageParams) -> Result<Done, RpcError> {
        let MessageParams { account, conversation, message } = params;
        self.conversation(account, conversation).remove_file(message).await?;
        Ok(Done {})
    }

    async fn file_list(&self, _: &Caller, params: AccountParams) -> Result<TransfersView, RpcError> {
        Ok(TransfersView { transfers: self.account(params.account).transfers().await? })
    }

    async fn message_send(&self, _: &Caller, params: SendParams) -> Result<MessageRef, RpcError> {
        let SendParams { account, conversation, body } = params;
        self.write(account, conversation, Outgoing::Text { body, reply_to: None }).await
    }

    async fn message_reply(&self, _: &Caller, params: MessageBodyParams) -> Result<MessageRef, RpcError> {
        let MessageBodyParams { account, conversation, message, body } = params;
        self.write(account, conversation, Outgoing::Text { body, reply_to: Some(message) }).await
    }

    async fn message_edit(&self, _: &Caller, params: MessageBodyParams) -> Result<MessageRef, RpcError> {
        let MessageBodyParams { account, conversation, message, body } = params;
        self.write(account, conversation, Outgoing::Edit { message, body }).await
    }

    async fn message_delete(&self, _: &Caller, params: MessageParams) -> Result<MessageRef, RpcError> {
        let MessageParams { account, conversation, message } = params;
        self.write(account, conversation, Outgoing::Delete { message }).await
    }

    async fn message_react(&self, _: &Caller, params: MessageBodyParams) -> Result<MessageRef, RpcError> {
        let MessageBodyParams { account, conversation, message, body } = params;
        self.write(account, conversation, Outgoing::React { message, body }).await
    }

    async fn message_list(&self, _: &Caller, params: ListParams) -> Result<WithNames<Page>, RpcError> {
        let conversation = self.conversation(params.account, params.conversation);
        let page = conversation.messages(params.before, params.limit.min(MAX_PAGE)).await?;
        Ok(self.with_names(params.account, page).await)
    }

    async fn message_search(&self, _: &Caller, params: SearchParams) -> Result<MessagesView, RpcError> {
        let conversation = self.conversation(params.account, params.conversation);
        let messages = conversation.search(params.text, params.limit.min(MAX_PAGE)).await?;
        let (names, display_names) = self.both_names(params.account, &messages[..]).await;
        Ok(MessagesView { messages, names, display_names })
    }

    async fn message_read(&self, _: &Caller, params: MessageParams) -> Result<Done, RpcError> {
        self.conversation(params.account, params.conversation).mark_read(params.message).await?;
        Ok(Done {})
    }

    async fn message_typing(&self, _: &Caller, params: TypingParams) -> Result<Done, RpcError> {
        self.conversation(params.account, params.conversation).set_typing(params.active).await?;
        Ok(Done {})
    }

    async fn message_log(&self, _: &Caller, params: LogParams) -> Result<CommitsView, RpcError> {
        let conversation = self.conversation(params.account, params.conversation);
        Ok(CommitsView { commits: conversation.log(params.limit.min(MAX_LOG)).await? })
    }

    async fn device_list(&self, _: &Caller, params: AccountParams) -> Result<DevicesView, RpcError> {
        Ok(DevicesView { devices: self.account(params.account).devices().await? })
    }

    async fn device_rename(&self, _: &Caller, params: RenameParams) -> Result<Done, RpcError> {
        self.account(params.account).rename_device(params.name).await?;
        Ok(Done {})
    }

    async fn device_revoke(&self, _: &Caller, params: RevokeParams) -> Result<Done, RpcError> {
        let password = password(params.password.as_ref());
        self.account(params.account).revoke_device(params.device, password).await?;
        Ok(Done {})
    }

    async fn links_list(&self, _: &Caller, params: AccountParams) -> Result<LinksView, RpcError> {
        let links = self.account(params.account).links().await?;
        let (names, display_names) = self.both_names(params.account, &links[..]).await;
        Ok(LinksView { links, names, display_names })
    }

    async fn names_lookup(&self, _: &Caller, params: NameParams) -> Result<NamedView, RpcError> {
        Ok(self.node.look_up(&params.text).await?)
    }

    async fn names_search(&self, _: &Caller, params: NameParams) -> Result<ProfilesView, RpcError> {
        Ok(ProfilesView { profiles: self.node.search_names(params.text).await? })
    }

    async fn names_register(&self, _: &Caller, params: RegisterParams) -> Result<NamedView, RpcError> {
        let password = password(params.password.as_ref());
        Ok(self.account(params.account).register_name(&params.name, password).await?)
    }

    async fn names_known(&self, _: &Caller, params: PeopleParams) -> Result<NamesView, RpcError> {
        let display_names = match params.account {
            Some(account) => self.account(account).display_names(params.people.clone()).await?,
            None => Names::new(),
        };
        Ok(NamesView { names: self.names(params.people).await, display_names })
    }

    async fn call_place(&self, _: &Caller, params: CallPlaceParams) -> Result<PlacedView, RpcError> {
        from_the_root(&params.sound)?;
        let person = self.person(&params.contact).await?;
        Ok(PlacedView { call: self.account(params.account).call(person, params.sound).await? })
    }

    async fn call_answer(&self, _: &Caller, params: CallAnswerParams) -> Result<Done, RpcError> {
        from_the_root(&params.sound)?;
        let CallAnswerParams { account, call, sound } = params;
        self.in_call(CallParams { account, call }, CallCommand::Answer(sound)).await
    }

    async fn call_decline(&self, _: &Caller, params: CallParams) -> Result<Done, RpcError> {
        self.in_call(params, CallCommand::Decline).await
    }

    async fn call_hang_up(&self, _: &Caller, params: CallParams) -> Result<Done, RpcError> {
        self.in_call(params, CallCommand::HangUp).await
    }

    async fn call_hold(&self, _: &Caller, params: CallParams) -> Result<Done, RpcError> {
        self.in_call(params, CallCommand::Hold(true)).await
    }

    async fn call_resume(&self, _: &Caller, params: CallParams) -> Result<Done, RpcError> {
        self.in_call(params, CallCommand::Hold(false)).await
    }

    async fn call_mute(&self, _: &Caller, params: CallParams) -> Result<Done, RpcError> {
        self.in_call(params, CallCommand::Mute(true)).await
    }

    async fn call_unmute(&self, _: &Caller, params: CallParams) -> Result<Done, RpcError> {
        self.in_call(params, CallCommand::Mute(false)).await
    }

    async fn call_press(&self, _: &Caller, params: CallPressParams) -> Result<Done, RpcError> {
        let CallPressParams { account, call, keys } = params;
        let wrong = || RpcError::new(ErrorCode::InvalidParams, WRONG_KEYS);
        let presses: Option<Vec<KeyPress>> = keys.chars().map(KeyPress::new).collect();
        let presses = presses.filter(|it| (1..=MAX_KEYS).contains(&it.len())).ok_or_else(wrong)?;
        for press in presses {
            self.in_call(CallParams { account, call }, CallCommand::Press(press)).await?;
        }
        Ok(Done {})
    }

    async fn call_list(&self, _: &Caller, params: AccountParams) -> Result<CallsView, RpcError> {
        let calls = self.account(params.account).calls().await?;
        let (names, display_names) = self.both_names(params.account, &calls[..]).await;
        Ok(CallsView { calls, names, display_names })
    }

    async fn conference_make(
        &self,
        _: &Caller,
        params: ConferenceMakeParams,
    ) -> Result<ConferenceMadeView, RpcError> {
        from_the_root(&params.sound)?;
        let ConferenceMakeParams { account, calls, sound } = params;
        Ok(ConferenceMadeView { conference: self.account(account).make_conference(calls, sound).await? })
    }

    async fn conference_add(&self, _: &Caller, params: ConferenceAddParams) -> Result<Done, RpcError> {
        let ConferenceAddParams { account, conference, call } = params;
        self.account(account).add_to_conference(conference, call).await?;
        Ok(Done {})
    }

    async fn conference_remove(&self, _: &Caller, params: CallParams) -> Result<Done, RpcError> {
        self.account(params.account).remove_from_conference(params.call).await?;
        Ok(Done {})
    }

    async fn conference_attach(&self, _: &Caller, params: ConferenceAttachParams) -> Result<Done, RpcError> {
        let ConferenceAttachParams { account, conference, attached } = params;
        self.account(account).attach_to_conference(conference, attached).await?;
        Ok(Done {})
    }

    async fn conference_hand(&self, _: &Caller, params: ConferenceHandParams) -> Result<Done, RpcError> {
        let person = match &params.person {
            Some(person) => Some(self.person(person).await?),
            None => None,
        };
        let order = OwnerOrder::Hand(person, params.raised);
        self.account(params.account).order_in_conference(params.of.0, order).await?;
        Ok(Done {})
    }

    async fn conference_mute(&self, _: &Caller, params: ConferenceMuteParams) -> Result<Done, RpcError> {
        let order = OwnerOrder::Mute(self.person(&params.person).await?, params.muted);
        self.account(params.account).order_in_conference(params.of.0, order).await?;
        Ok(Done {})
    }

    async fn conference_drop(&self, _: &Caller, params: ConferencePersonParams) -> Result<Done, RpcError> {
        let order = OwnerOrder::HangUp(self.person(&params.person).await?);
        self.account(params.account).order_in_conference(params.of.0, order).await?;
        Ok(Done {})
    }

    async fn conference_record(&self, _: &Caller, params: ConferenceRecordParams) -> Result<Done, RpcError> {
        let ConferenceRecordParams { account, conference, path } = params;
        if let Some(path) = &path {
            let output = SoundOutput::File(path.clone());
            from_the_root(&SoundChoice { output, ..SoundChoice::default() })?;
        }
        self.account(account).record_conference(conference, path).await?;
        Ok(Done {})
    }

    async fn conference_hang_up(&self, _: &Caller, params: ConferenceParams) -> Result<Done, RpcError> {
        self.account(params.account).end_conference(params.conference).await?;
        Ok(Done {})
    }

    async fn conference_list(&self, _: &Caller, params: AccountParams) -> Result<ConferencesView, RpcError> {
        let conferences = self.account(params.account).conferences().await?;
        let (names, display_names) = self.both_names(params.account, &conferences[..]).await;
        Ok(ConferencesView { conferences, names, display_names })
    }

    async fn sip_create(&self, _: &Caller, params: SipCreateParams) -> Result<SipAccountView, RpcError> {
        let SipCreateParams { address, password, transport, server, login, authorities, expiry_seconds } =
            params;
        let new = NewSipAccount {
            address: sip_address(&address)?,
            server: server.map(|server| server.parse()).transpose().map_err(|error: SipServerError| {
                RpcError::new(ErrorCode::InvalidParams, error.to_string())
            })?,
            transport,
            login,
            password: SipPassword(Zeroizing::new(password.reveal().to_owned())),
            authorities,
            expiry: expiry_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        };
        Ok(self.node.create_sip_account(new).await?)
    }

    async fn sip_list(&self, _: &Caller, _: Nothing) -> Result<SipAccountsView, RpcError> {
        Ok(SipAccountsView { accounts: self.node.sip_accounts().await? })
    }

    async fn sip_describe(&self, _: &Caller, params: AccountParams) -> Result<SipAccountView, RpcError> {
        Ok(self.node.sip_account(params.account).await?)
    }

    async fn sip_remove(&self, _: &Caller, params: AccountParams) -> Result<Done, RpcError> {
        self.node.remove_sip_account(params.account).await?;
        Ok(Done {})
    }

    async fn sip_send(&self, _: &Caller, params: SipSendParams) -> Result<Done, RpcError> {
        let to = sip_address(&params.to)?;
        self.node.send_sip_message(params.account, to, params.text).await?;
        Ok(Done {})
    }

    async fn dht_put(&self, _: &Caller, params: DhtPutParams) -> Result<DhtPutView, RpcError> {
        let content = Content::new(0, params.text.into_bytes()).with_user_type(TEXT);
        let (id, report) = self.node.put_in_dht(dht_key(&params.key), content, params.permanent).await?;
        Ok(DhtPutView { id: id.to_string(), stored: report.stored })
    }

    async fn dht_get(&self, _: &Caller, params: DhtKeyParams) -> Result<DhtValuesView, RpcError> {
        let found = self.node.get_from_dht(dht_key(&params.key)).await?;
        Ok(DhtValuesView { values: found.values.iter().map(Into::into).collect(), answered: found.answered })
    }

    async fn dht_listen(&self, caller: &Caller, params: DhtKeyParams) -> Result<SubscriptionRef, RpcError> {
        let events = self.node.listen_in_dht(dht_key(&params.key)).await?;
        Ok(SubscriptionRef { subscription: caller.listen(events)? })
    }

    async fn events_subscribe(
        &self,
        caller: &Caller,
        params: SubscribeParams,
    ) -> Result<SubscriptionRef, RpcError> {
        let events = self.node.events();
        let events = match params.account {
            Some(account) => events.of_account(account),
            None => events,
        };
        Ok(SubscriptionRef { subscription: caller.subscribe(events)? })
    }

    async fn events_unsubscribe(&self, caller: &Caller, params: SubscriptionRef) -> Result<Done, RpcError> {
        caller.session().unsubscribe(params.subscription)?;
        Ok(Done {})
    }
}

/// A path as the node takes it: the caller's working folder is not the node's.
fn absolute(path: PathBuf) -> Result<PathBuf, RpcError> {
    if path.is_absolute() {
        return Ok(path);
    }
    Err(RpcError::new(ErrorCode::InvalidParams, format!("{} is not an absolute path", path.display())))
}
