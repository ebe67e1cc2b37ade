//! A node whose DHT and accounts only pretend, for tests of everything around them.
//!
//! Accounts are empty folders. A conversation echoes what it is told; the text `panic` makes it
//! fail before it answers.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use skep_actors::account::messages::{
    AccountError, AccountRequest, AccountView, ContactDeviceView, ContactView, RequestView,
};
use skep_actors::blocking::BlockingPool;
use skep_actors::dht::messages::{Found, ListenEvent, PutReport};
use skep_actors::event::{Event, NodeEvent};
use skep_actors::linking::messages::{LinkingMessage, NumberedStage};
use skep_actors::names::NameMessage;
use skep_actors::profile::messages::{PersonView, PictureChange, ProfileError, ProfilesMessage};
use skep_actors::profile::picture::PictureError;
use skep_actors::sip::messages::SipHubMessage;
use skep_actors::sip::{SipConfig, SipHub};
use skep_actors::supervision::{Actor, ChildSpec, Message, Outlet, Port, Reply, RestartPolicy, Scope};
use skep_actors::swarm::messages::{
    Changed, ConversationError, ConversationMessage, ConversationView, GroupChange, MemberView, MessageView,
    Outgoing, Page,
};
use skep_actors::transfer::messages::{
    Direction, OfferedView, TransferError, TransferState, TransferView, TransfersMessage,
};
use skep_protocol::dht::value::Value;
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, DhtKey, LocalAccountId, sha1};
use skep_protocol::names::{About, AskError, Evidence, Found as FoundName, Resolution, ServerUrl};
use skep_protocol::swarm::message::Target;
use skep_protocol::time::UnixMillis;

use super::actor::NodeActor;
use super::messages::{CreationProgress, NewAccount, OnProgress, Origin};
use super::parts::{Family, Parts};
use super::thread::{self, Foundations};
use super::{AccountMessage, DhtMessage, Health, Node};
use crate::config::NodeConfig;
use crate::error::NodeError;

/// The one password that opens a fake archive.
pub(crate) const PASSWORD: &str = "correct horse";

/// The one conversation of a fake account.
pub(crate) const CONVERSATION: ConversationId = ConversationId([0xc0; 20]);

/// The one person with a profile.
pub(crate) const PROFILED: AccountId = AccountId([7; 20]);

/// A configuration with everything on in a folder.
pub(crate) fn config(folder: &tempfile::TempDir) -> NodeConfig {
    let mut config = NodeConfig { data_dir: folder.path().to_owned(), ..NodeConfig::default() };
    config.debug.fault_injection = true;
    config.names.server = Some(Default::default());
    config.rpc.websocket = Some(([127, 0, 0, 1], 0).into());
    config.rpc.origins = vec!["https://chat.example".to_owned()];
    config.metrics.listen = Some(([127, 0, 0, 1], 0).into());
    config
}

/// Starts a node of fake parts.
pub(crate) async fn start(config: NodeConfig) -> Result<Node, NodeError> {
    thread::start(config, install).await
}

fn install(foundations: &Foundations<'_>) -> Result<Box<dyn Parts>, NodeError> {
    Ok(Box::new(FakeParts { accounts: foundations.folder.accounts() }))
}

struct FakeParts {
    accounts: PathBuf,
}

impl Parts for FakeParts {
    fn accounts(&self) -> Result<Vec<LocalAccountId>, NodeError> {
        let names = std::fs::read_dir(&self.accounts).unwrap().map(|entry| entry.unwrap().file_name());
        Ok(names.map(|name| name.to_str().unwrap().parse().unwrap()).collect())
    }

    fn start_dht(&self, scope: &mut Scope<'_, NodeActor>) -> Port<DhtMessage> {
        scope.start_child(ChildSpec::new("dht"), FakeDht::default)
    }

    fn start_names(&self, _: Outlet<NodeEvent>, scope: &mut Scope<'_, NodeActor>) -> Port<NameMessage> {
        scope.start_child(ChildSpec::new("names"), || FakeNames)
    }

    fn start_sip(&self, events: Outlet<NodeEvent>, scope: &mut Scope<'_, NodeActor>) -> Port<SipHubMessage> {
        // The real one: without accounts it does nothing.
        let folder = self.accounts.with_file_name("sip");
        let config = SipConfig { folder, pool: BlockingPool::new(1), events };
        scope.start_child(ChildSpec::new("sip"), move || SipHub::new(config.clone()))
    }

    fn start_linking(&self, _: Port<DhtMessage>, scope: &mut Scope<'_, NodeActor>) -> Port<LinkingMessage> {
        scope.start_child(ChildSpec::new("linking"), || FakeLinking)
    }

    fn start_account(
        &self,
        local: LocalAccountId,
        spec: ChildSpec,
        family: Family,
        scope: &mut Scope<'_, NodeActor>,
    ) -> Port<AccountMessage> {
        let events = family.events;
        scope.start_child(spec, move || FakeAccount {
            local,
            events: events.clone(),
            conversation: None,
            transfers: None,
            profiles: None,
        })
    }

    fn create_account(
        &self,
        new: NewAccount,
        _: Port<DhtMessage>,
        progress: OnProgress,
    ) -> BoxFuture<'static, Result<LocalAccountId, NodeError>> {
        let accounts = self.accounts.clone();
        async move {
            let local = match new.origin {
                Origin::Keys { name } => LocalAccountId(sha1(name.as_bytes())[..8].try_into().unwrap()),
                Origin::Archive(_) if new.password.as_ref().is_none_or(|p| p.0 != PASSWORD) => {
                    return Err(AccountError::WrongPassword.into());
                }
                Origin::Pin(_) => return Err(AccountError::NothingUnderPin.into()),
                Origin::Archive(archive) => LocalAccountId(sha1(&archive)[..8].try_into().unwrap()),
            };
            for done in 0..=2 {
                progress(CreationProgress { stage: "making keys".to_owned(), done, total: 2 });
            }
            std::fs::create_dir_all(accounts.join(local.to_hex())).unwrap();
            Ok(local)
        }
        .boxed()
    }

    fn remove_account(&self, local: LocalAccountId) -> BoxFuture<'static, Result<(), NodeError>> {
        let folder = self.accounts.join(local.to_hex());
        async move { std::fs::remove_dir_all(&folder).map_err(|error| NodeError::file(folder, error)) }
            .boxed()
    }
}

/// Keeps values to itself.
#[derive(Default)]
struct FakeDht {
    values: Vec<(DhtKey, Value)>,
    listeners: Vec<(DhtKey, Outlet<ListenEvent>)>,
}

impl Actor for FakeDht {
    type Message = DhtMessage;
    const KIND: &'static str = "dht";

    fn handle(&mut self, message: DhtMessage, _: &mut Scope<'_, Self>) {
        match message {
            DhtMessage::Health { reply } => {
                reply.send(Health { reachable: true, peers: 3, ..Health::default() });
            }
            DhtMessage::Put { key, value, reply, .. } => {
                for (_, outlet) in self.listeners.iter().filter(|(at, _)| *at == key) {
                    let _ = outlet.try_send(ListenEvent::Values(vec![Arc::new(value.clone())]));
                }
                self.values.push((key, value));
                reply.send(Ok(PutReport { stored: 2 }));
            }
            DhtMessage::Get { key, reply } => {
                let values = self.values.iter().filter(|(at, _)| *at == key);
                reply.send(Ok(Found {
                    values: values.map(|(_, value)| value.clone()).collect(),
                    answered: 2,
                }));
            }
            DhtMessage::Listen { key, outlet, .. } => self.listeners.push((key, outlet)),
            other => panic!("the fake DHT does not know {}", other.kind()),
        }
    }
}

/// Whose name is [`NAME`].
pub(crate) const NAMED: AccountId = AccountId([7; 20]);

/// The one name that is known.
pub(crate) const NAME: &str = "alicetest";

/// Knows one name, and finds it both ways. Every other server than the default one is down.
struct FakeNames;

impl Actor for FakeNames {
    type Message = NameMessage;
    const KIND: &'static str = "names";

    fn handle(&mut self, message: NameMessage, _: &mut Scope<'_, Self>) {
        match message {
            NameMessage::Known { people, reply } => {
                let named = people.into_iter().filter(|person| *person == NAMED);
                reply.send(named.map(|person| (person, NAME.parse().unwrap())).collect());
            }
            NameMessage::Want(_) => (),
            NameMessage::Ask { question, reply } => reply.send(match question.about {
                _ if question.server != ServerUrl::default() => Err(AskError::Unreachable),
                About::Name(name) if name.as_str() == NAME => {
                    let resolution = Resolution { account: NAMED, evidence: Evidence::Signed };
                    Ok(Some(FoundName::Account(resolution)))
                }
                About::Account(account) if account == NAMED => {
                    Ok(Some(FoundName::Name { name: NAME.parse().unwrap(), evidence: Evidence::Claimed }))
                }
                About::Search(text) => {
                    let profile = [("username", text), ("id", NAMED.to_hex())];
                    let profile = profile.map(|(key, value)| (key.to_owned(), value));
                    Ok(Some(FoundName::Profiles(vec![profile.into_iter().collect()])))
                }
                _ => Ok(None),
            }),
            other => panic!("the fake names do not know {}", other.kind()),
        }
    }
}

/// Is never let in.
struct FakeLinking;

impl Actor for FakeLinking {
    type Message = LinkingMessage;
    const KIND: &'static str = "linking";

    fn handle(&mut self, message: LinkingMessage, _: &mut Scope<'_, Self>) {
        match message {
            LinkingMessage::Begin(reply) => reply.send(Ok(NumberedStage::default())),
            LinkingMessage::Next { reply, .. } => reply.send(NumberedStage::default()),
            _ => (),
        }
    }
}

struct FakeAccount {
    local: LocalAccountId,
    events: Outlet<NodeEvent>,
    conversation: Option<Port<ConversationMessage>>,
    transfers: Option<Port<TransfersMessage>>,
    profiles: Option<Port<ProfilesMessage>>,
}

impl FakeAccount {
    fn request(&mut self, request: AccountRequest) {
        match request {
            AccountRequest::Describe(reply) => reply.send(AccountView {
                local: self.local,
                id: AccountId([self.local.0[0]; 20]),
                device: DeviceId([1; 32]),
                name: "Fake".to_owned(),
                protected: false,
                announced: true,
                revoked: false,
                contacts: 1,
                requests: 0,
                conversations: 1,
                links: 0,
                read_receipts: true,
                typing: true,
            }),
            AccountRequest::Contacts(reply) => reply.send(vec![ContactView {
                id: AccountId([7; 20]),
                state: "active".to_owned(),
                confirmed: true,
                online: true,
                connected: false,
                devices: vec![ContactDeviceView { id: DeviceId([8; 32]), connected: false }],
                banned_devices: vec![DeviceId([9; 32])],
                added: UnixMillis(1_700_000_000_000),
                conversation: Some(CONVERSATION),
            }]),
            AccountRequest::AddContact { contact, reply } => reply.send(if contact.0[0] == self.local.0[0] {
                Err(AccountError::Oneself(contact))
            } else {
                Ok(CONVERSATION)
            }),
            AccountRequest::Export { password, reply } => {
                reply.send(if password.is_some_and(|password| password.0 == PASSWORD) {
                    Ok(b"archive".to_vec())
                } else {
                    Err(AccountError::WrongPassword)
                });
            }
            AccountRequest::Conversation { conversation, reply } => {
                let port = self.conversation.clone().filter(|_| conversation == CONVERSATION);
                reply.send(port.ok_or(AccountError::UnknownConversation(conversation)));
            }
            AccountRequest::Transfers(reply) => reply.send(Ok(self.transfers.clone().unwrap())),
            AccountRequest::CreateConversation { reply, .. } => reply.send(Ok(CONVERSATION)),
            AccountRequest::Requests(reply) => reply.send(vec![RequestView {
                from: AccountId([7; 20]),
                name: String::new(),
                received: UnixMillis(1_700_000_000_000),
                conversation: Some(CONVERSATION),
                mode: "invites_only".to_owned(),
                title: "Friends".to_owned(),
                description: String::new(),
                invitation: true,
            }]),
            AccountRequest::Conversations(reply) => reply.send(Ok(Vec::new())),
            AccountRequest::Invite { reply, .. } => reply.send(Err(ConversationError::NotAdmin.into())),
            AccountRequest::AcceptInvitation { conversation, reply }
            | AccountRequest::DeclineInvitation { conversation, reply } => {
                let known = conversation == CONVERSATION;
                reply.send(known.then_some(()).ok_or(AccountError::UnknownInvitation(conversation)));
            }
            AccountRequest::SignName { password, reply, .. } => {
                // Nothing here has a key.
                assert_eq!(password, None);
                reply.send(Err(AccountError::WrongPassword));
            }
            AccountRequest::Set { reply, .. } => reply.send(Ok(())),
            AccountRequest::Profiles(reply) => reply.send(Ok(self.profiles.clone().unwrap())),
            AccountRequest::DisplayNames { people, reply } => {
                let shy = people.into_iter().filter(|person| *person == PROFILED);
                reply.send(shy.map(|person| (person, "Seven".to_owned())).collect());
            }
            AccountRequest::Withdraw(reply) => reply.send(()),
            other => panic!("the fake account does not know {other:?}"),
        }
    }
}

impl Actor for FakeAccount {
    type Message = AccountMessage;
    const KIND: &'static str = "account";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let (local, events) = (self.local, self.events.clone());
        let spec = ChildSpec::new("conversation").restart(RestartPolicy::giving_up());
        let make = move || FakeConversation { local, events: events.clone(), messages: Vec::new() };
        self.conversation = Some(scope.start_child(spec, make));
        let (local, events) = (self.local, self.events.clone());
        let make = move || FakeTransfers { local, events: events.clone() };
        self.transfers = Some(scope.start_child(ChildSpec::new("transfers"), make));
        self.profiles = Some(scope.start_child(ChildSpec::new("profiles"), || FakeProfiles));
    }

    fn handle(&mut self, message: AccountMessage, _: &mut Scope<'_, Self>) {
        match message {
            AccountMessage::Request(request) => self.request(request),
            other => panic!("the fake account does not know {}", other.kind()),
        }
    }
}

/// Knows the profile of one person.
struct FakeProfiles;

impl Actor for FakeProfiles {
    type Message = ProfilesMessage;
    const KIND: &'static str = "profiles";

    fn handle(&mut self, message: ProfilesMessage, _: &mut Scope<'_, Self>) {
        match message {
            ProfilesMessage::Set { picture: PictureChange::Image(image), reply, .. } => {
                reply.send(if image == b"photo" { Ok(()) } else { Err(PictureError::Kind.into()) });
            }
            ProfilesMessage::Set { reply, .. } => reply.send(Ok(())),
            ProfilesMessage::Show { person, reply } if person == PROFILED => reply.send(Ok(PersonView {
                id: person,
                name: "Seven".to_owned(),
                picture: "/9j/4A==".to_owned(),
                picture_type: "image/jpeg".to_owned(),
            })),
            ProfilesMessage::Show { person, reply } => reply.send(Err(ProfileError::Unknown(person))),
            other => panic!("the fake profiles do not know {other:?}"),
        }
    }
}

/// Fetches every file at once, and knows no transfer to cancel.
struct FakeTransfers {
    local: LocalAccountId,
    events: Outlet<NodeEvent>,
}

fn transfer(message: CommitId, state: TransferState) -> TransferView {
    TransferView {
        conversation: CONVERSATION,
        message,
        name: "photo.jpg".to_owned(),
        direction: Direction::Receiving,
        state,
        position: 500,
        size: 1000,
        rate: 100,
        device: Some(DeviceId([1; 32])),
        path: (state == TransferState::Done).then(|| "/tmp/photo.jpg".into()),
        problem: None,
    }
}

impl Actor for FakeTransfers {
    type Message = TransfersMessage;
    const KIND: &'static str = "transfers";

    fn handle(&mut self, message: TransfersMessage, _: &mut Scope<'_, Self>) {
        match message {
            TransfersMessage::Offer { path, reply, .. } => reply.send(match path.file_name() {
                Some(name) if name != "missing" => Ok(OfferedView {
                    message: CommitId([5; 20]),
                    name: name.to_str().unwrap().to_owned(),
                    size: 1000,
                    sha3: "ab".repeat(64),
                }),
                _ => Err(TransferError::NotAFile { path, reason: "it is missing".to_owned() }),
            }),
            TransfersMessage::Fetch { message, reply, .. } => {
                reply.send(Ok(transfer(message, TransferState::Waiting)));
                let event = Event::Transfer { transfer: transfer(message, TransferState::Done) };
                self.events.try_send(NodeEvent { account: self.local, time: UnixMillis(1), event }).unwrap();
            }
            TransfersMessage::Cancel { message, reply, .. }
            | TransfersMessage::Remove { message, reply, .. } => {
                reply.send(Err(TransferError::NoTransfer(message)));
            }
            TransfersMessage::List(reply) => {
                reply.send(vec![transfer(CommitId([5; 20]), TransferState::Running)]);
            }
            other => panic!("the fake files do not know {}", other.kind()),
        }
    }
}

struct FakeConversation {
    local: LocalAccountId,
    events: Outlet<NodeEvent>,
    messages: Vec<MessageView>,
}

impl FakeConversation {
    fn send(&mut self, message: Outgoing, reply: Reply<Result<CommitId, ConversationError>>) {
        let body = match message {
            Outgoing::Text { body, .. } => body,
            Outgoing::File(offer) => offer.display_name,
            Outgoing::Call(record) => format!("{record:?}"),
            Outgoing::Edit { message, .. }
            | Outgoing::Delete { message }
            | Outgoing::React { message, .. } => {
                return reply.send(Err(ConversationError::UnknownMessage { message }));
            }
        };
        assert_ne!(body, "panic", "as told");
        let id = CommitId(sha1(body.as_bytes()));
        let message = MessageView {
            id,
            author: AccountId([7; 20]),
            time: UnixMillis(1_700_000_000_000),
            kind: "text/plain".to_owned(),
            body,
            deleted: false,
            editions: Vec::new(),
            reply_to: None,
            reactions: Vec::new(),
            details: Default::default(),
        };
        self.messages.insert(0, message.clone());
        reply.send(Ok(id));
        let event = Event::Message { conversation: CONVERSATION, message };
        self.events.try_send(NodeEvent { account: self.local, time: UnixMillis(1), event }).unwrap();
    }
}

impl Actor for FakeConversation {
    type Message = ConversationMessage;
    const KIND: &'static str = "conversation";

    fn handle(&mut self, message: ConversationMessage, _: &mut Scope<'_, Self>) {
        match message {
            ConversationMessage::Send { message, reply } => self.send(message, reply),
            ConversationMessage::Messages { limit, reply, .. } => {
                let messages = self.messages.iter().take(limit).cloned().collect();
                reply.send(Ok(Page { messages, next: None }));
            }
            ConversationMessage::Describe(reply) => reply.send(ConversationView {
                id: CONVERSATION,
                mode: "one_to_one".to_owned(),
                title: String::new(),
                description: String::new(),
                members: vec![MemberView {
                    id: AccountId([7; 20]),
                    role: "admin".to_owned(),
                    linked: 0,
                    fetched: None,
                    read: None,
                }],
                banned_devices: Vec::new(),
                votes: Vec::new(),
                refusals: Vec::new(),
                head: None,
                state: "ready".to_owned(),
                problem: None,
            }),
            ConversationMessage::Change { change: GroupChange::Vote { target, .. }, reply } => {
                let known = target == Target::Account(AccountId([7; 20]));
                let changed = Changed { commit: CommitId([9; 20]), decided: false };
                reply.send(known.then_some(changed).ok_or_else(|| ConversationError::NoTarget {
                    action: "ban".to_owned(),
                    target: target.to_hex(),
                }));
            }
            other => panic!("the fake conversation does not know {}", other.kind()),
        }
    }
}
