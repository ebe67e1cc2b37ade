//! The account actor: what an account is asked, and its durable state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use skep_protocol::contact::{AnswerPace, Presence};
use skep_protocol::dht::value::ValueId;
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, ConversationId, DeviceId, DhtKey, LocalAccountId};
use skep_protocol::swarm::message::Mode;
use skep_protocol::time::UnixMillis;
use tokio::sync::{oneshot, watch};

use super::devices::Devices;
use super::identity::{self, AccountFolder};
use super::messages::{AccountError, AccountMessage, AccountRequest, AccountSettings, Password};
use super::state::{self, Dirty, State};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::call::media::SharedMedia;
use crate::call::messages::CallsMessage;
use crate::dht::messages::DhtMessage;
use crate::directory::Revocations;
use crate::directory::messages::{DirectoryEvent, DirectoryMessage};
use crate::event::{Event, NodeEvent};
use crate::peer::messages::LinksMessage;
use crate::peer::transport::{GatherOptions, UnusedPlaces};
use crate::profile::messages::ProfilesMessage;
use crate::supervision::{Actor, Outlet, Port, Reply, Scope};
use crate::swarm::messages::{ConversationMessage, LinkState};
use crate::sync::messages::SyncActorMessage;
use crate::transfer::messages::{TransferLimits, TransfersMessage};

/// How long other parts may take to answer a question of ours.
pub(super) const ASK: Duration = Duration::from_secs(5);

/// What an account needs to start.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// Its folder.
    pub folder: AccountFolder,
    /// Its local name.
    pub local: LocalAccountId,
    /// The DHT.
    pub dht: Port<DhtMessage>,
    /// Where blocking work runs.
    pub pool: BlockingPool,
    /// Where events go.
    pub events: Outlet<NodeEvent>,
    /// Where it goes whose names are to be looked up.
    pub names: Outlet<BTreeSet<AccountId>>,
    /// Which addresses links use.
    pub gather: GatherOptions,
    /// Who makes and takes the sound of calls.
    pub media: SharedMedia,
    /// Places for connections that links only keep open; all accounts share them.
    pub unused: UnusedPlaces,
    /// How much files may take.
    pub files: TransferLimits,
    /// Whether unknown accounts may connect.
    pub public: bool,
    /// Id of the value that announces the device: an actor made anew replaces the announcement of the
    /// one before.
    pub announcement: ValueId,
}

/// See the module.
pub struct AccountActor {
    pub(super) config: AccountConfig,
    pub(super) running: Option<Running>,
}

impl std::fmt::Debug for AccountActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "AccountActor({})", self.config.local)
    }
}

pub(super) type Waiter =
    Box<dyn FnOnce(&mut AccountActor, Result<(), AccountError>, &mut Scope<'_, AccountActor>)>;

/// A loaded account.
pub(super) struct Running {
    pub(super) identity: Arc<DeviceIdentity>,
    pub(super) protected: bool,
    pub(super) state: State,
    pub(super) directory: Port<DirectoryMessage>,
    pub(super) links: Port<LinksMessage>,
    pub(super) sync: Port<SyncActorMessage>,
    /// The other devices of the account.
    pub(super) devices: Devices,
    pub(super) transfers: Port<TransfersMessage>,
    pub(super) profiles: Port<ProfilesMessage>,
    pub(super) calls: Port<CallsMessage>,
    /// The owner's profile; empty if there is none.
    pub(super) profile: Bytes,
    /// What people are called, as they have said.
    pub(super) display_names: BTreeMap<AccountId, String>,
    pub(super) revocations: Revocations,
    /// Whether our account has revoked this device.
    pub(super) revoked: bool,
    /// What is kept on the DHT for as long as the account lives.
    pub(super) published: Vec<(DhtKey, ValueId)>,
    /// Whether that was taken back, because the account is about to be removed.
    pub(super) withdrawn: bool,
    pub(super) presence: Presence,
    /// Contacts at whose keys we listen.
    pub(super) listening: BTreeSet<AccountId>,
    pub(super) pace: AnswerPace,
    pub(super) announced: bool,
    pub(super) reachable: bool,
    /// Devices with a link, and whose they are.
    pub(super) up: BTreeMap<DeviceId, AccountId>,
    /// Those of them that take messages as devices of 2023 do.
    pub(super) legacy: BTreeSet<DeviceId>,
    /// Devices whose link is shown again to conversations that had no room for it.
    pub(super) showing: BTreeSet<DeviceId>,
    pub(super) conversations: BTreeMap<ConversationId, Room>,
    /// Conversations that were left, and are kept until somebody else's device knows.
    pub(super) leaving: BTreeMap<ConversationId, Port<ConversationMessage>>,
    /// When another device has erased some of these, of which it is not known yet who had to tell others.
    pub(super) erased_elsewhere: BTreeMap<ConversationId, UnixMillis>,
    /// Conversations whose actor is ending, and whose folder goes then.
    pub(super) erasing: BTreeSet<ConversationId>,
    /// Conversations that failed too often, and why.
    pub(super) failed: BTreeMap<ConversationId, String>,
    /// People whose conversation is being made, and who waits for it.
    pub(super) adding: HashMap<AccountId, Vec<Reply<Result<ConversationId, AccountError>>>>,
    pub(super) opening: usize,
    /// Answers to instant messages on their way to the DHT.
    pub(super) answering: usize,
    /// From whom which conversation is to be fetched, while their devices are looked for.
    pub(super) finding: BTreeSet<(AccountId, ConversationId)>,
    /// Notices on their way to the links, by the device they are for.
    pub(super) telling: HashMap<DeviceId, usize>,
    /// Devices that were sent invitations a moment ago, and whether they have connected again since.
    pub(super) inviting: BTreeMap<DeviceId, bool>,
    /// Letters by the device that sent them, while its certificate is looked for.
    pub(super) senders: HashMap<DeviceId, usize>,
    /// People whose names are looked up, or were.
    pub(super) named: BTreeSet<AccountId>,
    /// Tells the conversations of the display name.
    pub(super) name: watch::Sender<String>,
    /// Calls off the linking of a new device that is under way.
    pub(super) adding_device: Option<oneshot::Sender<()>>,
    /// Tells the conversations of the settings.
    pub(super) settings: watch::Sender<AccountSettings>,
    /// What has changed and is not written yet.
    pub(super) dirty: Dirty,
    pub(super) saving: bool,
    /// Who waits for the next write.
    pub(super) waiting: Vec<Waiter>,
}

impl Running {
    /// Whether the account may still be found.
    pub(super) fn may_publish(&self) -> bool {
        !self.revoked && !self.withdrawn
    }

    /// Whether a conversation is one-to-one, and nobody but somebody and us may be in it.
    pub(super) fn is_shared_with_only(&self, id: ConversationId, contact: AccountId) -> bool {
        let ours = [self.identity.account_id(), contact];
        let record = self.state.conversations.get(id);
        record.is_some_and(|record| {
            record.mode.unwrap_or(Mode::OneToOne.number()) == Mode::OneToOne.number()
                && record.members.iter().all(|member| ours.contains(member))
        })
    }

    /// How a device is linked.
    pub(super) fn link_state(&self, device: DeviceId) -> LinkState {
        match (self.up.contains_key(&device), self.legacy.contains(&device)) {
            (false, _) => LinkState::Down,
            (true, true) => LinkState::Legacy,
            (true, false) => LinkState::Up,
        }
    }

    /// Whether a conversation begins anew when its removed copy is erased.
    pub(super) fn is_returning(&self, id: ConversationId) -> bool {
        self.erasing.contains(&id) && self.state.conversations.get(id).is_some_and(|it| !it.is_removed())
    }
}

/// A conversation as its account sees it.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) port: Port<ConversationMessage>,
    pub(super) members: BTreeSet<AccountId>,
    /// Whether it is here, or still to be fetched.
    pub(super) ready: bool,
    /// Who has joined.
    pub(super) joined: BTreeSet<AccountId>,
    /// Who was invited and has not joined.
    pub(super) invited: BTreeSet<AccountId>,
    /// What an invitation says of it.
    pub(super) metadata: BTreeMap<String, String>,
}

impl Room {
    /// One that is not known to be here.
    pub(super) const fn new(port: Port<ConversationMessage>, members: BTreeSet<AccountId>) -> Self {
        let metadata = BTreeMap::new();
        Self { port, members, ready: false, joined: BTreeSet::new(), invited: BTreeSet::new(), metadata }
    }
}

impl AccountActor {
    /// An account that loads itself from its folder.
    #[must_use]
    pub const fn new(config: AccountConfig) -> Self {
        Self { config, running: None }
    }

    pub(super) fn share(&self) -> Share {
        Share(u64::from_be_bytes(self.config.local.0))
    }

    /// Tells the owner. An event that finds no room is lost, and counted by the mailbox.
    pub(super) fn emit(&self, event: Event, scope: &mut Scope<'_, Self>) {
        let event = NodeEvent { account: self.config.local, time: scope.wall(), event };
        if let Err(error) = self.config.events.try_send(event) {
            tracing::warn!(%error, "an event was not delivered");
        }
    }

    /// Tells the links who may connect now.
    pub(super) fn push_trust(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let trust = running.state.trust(running.identity.account_id(), self.config.public);
        let links = running.links.clone();
        scope.spawn(async move { links.send(LinksMessage::SetTrust(trust)).await }, |_, _, _| ());
    }

    fn export(
        &mut self,
        password: Option<Password>,
        reply: Reply<Result<Vec<u8>, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let share = self.share();
        let Some(archive) = self.archive() else { return };
        let (folder, pool) = (self.config.folder.clone(), self.config.pool.clone());
        let mut nonce = [0; 12];
        scope.environment().fill_random(&mut nonce);
        let export = async move {
            let work = move || {
                let (archive, key) = archive.open(password.as_ref())?;
                identity::write_archive(&folder, &archive, key.as_ref(), nonce)
            };
            pool.run(share, Lane::Bulk, work).await.unwrap_or_else(|error| Err(error.into()))
        };
        scope.spawn(export, |_, exported, _| reply.send(exported));
    }

    fn change_password(
        &mut self,
        old: Option<Password>,
        new: Option<Password>,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (folder, pool, share) = (self.config.folder.clone(), self.config.pool.clone(), self.share());
        let (mut salt, mut nonce) = ([0; 16], [0; 12]);
        scope.environment().fill_random(&mut salt);
        scope.environment().fill_random(&mut nonce);
        let protected = new.is_some();
        let change = async move {
            let work = move || identity::change_password(&folder, old.as_ref(), new.as_ref(), salt, nonce);
            pool.run(share, Lane::Bulk, work).await.unwrap_or_else(|error| Err(error.into()))
        };
        scope.spawn(change, move |account, changed, _| {
            if let (Ok(()), Some(running)) = (&changed, &mut account.running) {
                running.protected = protected;
            }
            reply.send(changed);
        });
    }

    /// Changes settings; they hold at once.
    fn set(
        &mut self,
        read_receipts: Option<bool>,
        typing: Option<bool>,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let settings = &mut running.state.settings;
        settings.read_receipts = read_receipts.unwrap_or(settings.read_receipts);
        settings.typing = typing.unwrap_or(settings.typing);
        running.settings.send_replace(*settings);
        self.save(Dirty::SETTINGS, scope, |saved| reply.send(saved));
    }

    fn request(&mut self, request: AccountRequest, scope: &mut Scope<'_, Self>) {
        match request {
            AccountRequest::Describe(reply) => {
                if let Some(view) = self.describe() {
                    reply.send(view);
                }
            }
            AccountRequest::Export { password, reply } => self.export(password, reply, scope),
            AccountRequest::ChangePassword { old, new, reply } => {
                self.change_password(old, new, reply, scope);
            }
            AccountRequest::ExportUnderPin { password, reply } => {
                self.export_under_pin(password, reply, scope);
            }
            AccountRequest::AddDevice { invitation, reply } => self.add_device(invitation, reply, scope),
            AccountRequest::CancelAddDevice(reply) => {
                self.cancel_add_device();
                reply.send(());
            }
            AccountRequest::Set { read_receipts, typing, reply } => {
                self.set(read_receipts, typing, reply, scope);
            }
            AccountRequest::SignName { name, password, reply } => {
                self.sign_name(name, password, reply, scope);
            }
            AccountRequest::AddContact { contact, reply } => self.add_contact(contact, reply, scope),
            AccountRequest::Accept { from, reply } => self.accept(from, reply, scope),
            AccountRequest::Decline { from, reply } => self.decline(from, reply, scope),
            AccountRequest::RemoveContact { contact, ban, reply } => {
                self.remove_contact(contact, ban, reply, scope);
            }
            AccountRequest::BanDevice { device, reply } => self.ban_device(device, reply, scope),
            AccountRequest::AllowDevice { device, reply } => self.allow_device(device, reply, scope),
            AccountRequest::Contacts(reply) => reply.send(self.contacts()),
            AccountRequest::Requests(reply) => reply.send(self.requests()),
            AccountRequest::CreateConversation { mode, profile, reply } => {
                self.create_conversation(mode, &profile, reply, scope);
            }
            AccountRequest::Invite { conversation, person, reply } => {
                self.invite(conversation, person, reply, scope);
            }
            AccountRequest::AcceptInvitation { conversation, reply } => {
                self.accept_invitation(conversation, reply, scope);
            }
            AccountRequest::DeclineInvitation { conversation, reply } => {
                self.decline_invitation(conversation, reply, scope);
            }
            AccountRequest::Conversations(reply) => self.list_conversations(reply, scope),
            AccountRequest::Conversation { conversation, reply } => reply.send(self.room_port(conversation)),
            AccountRequest::ImportConversation { path, reply } => {
                self.import_conversation(path, reply, scope);
            }
            AccountRequest::LeaveConversation { conversation, reply } => {
                self.leave_conversation(conversation, reply, scope);
            }
            AccountRequest::Devices(reply) => reply.send(self.list_devices()),
            AccountRequest::RenameDevice { name, reply } => self.rename_device(&name, reply, scope),
            AccountRequest::RevokeDevice { device, password, reply } => {
                self.revoke_device(device, password, reply, scope);
            }
            AccountRequest::Transfers(reply) => {
                if let Some(running) = &self.running {
                    reply.send(Ok(running.transfers.clone()));
                }
            }
            AccountRequest::Profiles(reply) => {
                if let Some(running) = &self.running {
                    reply.send(Ok(running.profiles.clone()));
                }
            }
            AccountRequest::Calls(reply) => {
                if let Some(running) = &self.running {
                    reply.send(Ok(running.calls.clone()));
                }
            }
            AccountRequest::DisplayNames { people, reply } => reply.send(self.display_names(&people)),
            AccountRequest::Links(reply) => self.list_links(reply, scope),
            AccountRequest::Withdraw(reply) => self.withdraw(reply, scope),
        }
    }

    pub(super) fn room_port(
        &self,
        conversation: ConversationId,
    ) -> Result<Port<ConversationMessage>, AccountError> {
        let unknown = AccountError::UnknownConversation(conversation);
        let Some(running) = &self.running else { return Err(unknown) };
        match running.conversations.get(&conversation) {
            Some(room) => Ok(room.port.clone()),
            None if running.failed.contains_key(&conversation) => {
                Err(AccountError::ConversationDown(conversation))
            }
            None if running.is_returning(conversation) => {
                Err(AccountError::ConversationReturning(conversation))
            }
            None => Err(unknown),
        }
    }

    pub(super) fn conversation_folder(&self, conversation: ConversationId) -> PathBuf {
        self.config.folder.join("conversations").join(conversation.to_hex())
    }

    /// Folder of what is known of a conversation beside its history, as Jami names it.
    pub(super) fn conversation_data(&self, conversation: ConversationId) -> PathBuf {
        self.config.folder.join("conversation_data").join(conversation.to_hex())
    }
}

impl Actor for AccountActor {
    type Message = AccountMessage;
    const KIND: &'static str = "account";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        // Released when it has loaded.
        scope.hold();
        self.load(scope);
    }

    fn handle(&mut self, message: AccountMessage, scope: &mut Scope<'_, Self>) {
        match message {
            AccountMessage::Request(request) => self.request(request, scope),
            AccountMessage::Link(event) => self.link(event, scope),
            AccountMessage::Directory(DirectoryEvent::Revoked(account)) => self.revoked(account, scope),
            AccountMessage::Dht(place, event) => self.dht(place, event, scope),
            AccountMessage::Transfers(told) => self.transfers_told(told, scope),
            AccountMessage::Profiles(told) => self.profiles_told(told, scope),
            AccountMessage::Conversation(id, told) => self.conversation_told(id, told, scope),
            AccountMessage::Calls(told) => self.calls_told(told, scope),
            AccountMessage::Sync(told) => self.sync_told(told, scope),
        }
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        self.tell_presence(scope);
    }

    fn child_failed(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        tracing::error!(child = name, "a part of the account failed too often and is given up");
        let Some(running) = &mut self.running else { return };
        running.leaving.retain(|id, _| id.short() != name);
        let failed = running.conversations.keys().copied().find(|id| id.short() == name);
        if let Some(conversation) = failed {
            running.conversations.remove(&conversation);
            let reason = "it failed too often; it is opened again when the node restarts".to_owned();
            running.failed.insert(conversation, reason.clone());
            self.emit(Event::ConversationFailed { conversation, reason }, scope);
        }
    }

    fn flush(&mut self, scope: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        let share = self.share();
        let running = self.running.as_ref()?;
        let files = running.state.files(Dirty::ALL);
        let (pool, folder) = (self.config.pool.clone(), self.config.folder.clone());
        let _ = scope;
        let write = async move {
            match pool.run(share, Lane::Quick, move || state::write(&folder, &files)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "an account could not be written at its end"),
                Err(error) => tracing::error!(%error, "an account could not be written at its end"),
            }
        };
        Some(write.boxed_local())
    }
}
