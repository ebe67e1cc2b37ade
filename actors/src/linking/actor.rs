//! Makes this node a device of an account that lets it in over a channel (`spec: identity 6`).
//!
//! ```text
//!   Begin ──▶ temporary device: keys, certificates, in the DHT ──▶ invitation shown
//!                                  links + directory, as an account has them
//!   offer of `auth:<code>` ──▶ core ◀──▶ channel            Password, Cancel ──▶ core
//!                               └──▶ archive ──▶ device of the account on disk ──▶ root starts it
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::identity::{Archive, DeviceIdentity};
use skep_protocol::ids::{DhtKey, LocalAccountId};
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::linking::{LINK_TIMEOUT, LinkCode, LinkError, LinkInvitation, NewDevice, NewDeviceAction};
use skep_protocol::msgpack::Value as Object;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::messages::{Internal, LinkStage, LinkingMessage, NumberedStage};
use super::{DHT_DEADLINE, random_number};
use crate::account::identity::{self, TemporaryDevice};
use crate::account::messages::{AccountError, Password};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::dht::messages::DhtMessage;
use crate::directory::messages::DirectoryMessage;
use crate::directory::{DirectoryActor, DirectoryConfig, Revocations};
use crate::peer::messages::{Channel, ChannelOffer, LinkEvent, LinksMessage, Trust};
use crate::peer::transport::{GatherOptions, TlsIdentity, UnusedPlaces};
use crate::peer::{LinkConfig, LinksActor, LinksConfig};
use crate::supervision::{Actor, ChildSpec, Outlet, Port, Reply, Scope, SendError};

/// Whose work a linking is: no account's yet.
const SHARE: Share = Share(0);

/// Value id of the temporary device's certificate (`spec: dht 11`).
const CERTIFICATE_ID: ValueId = ValueId(1);

/// How long who asks for the next stage waits.
const NEXT: Duration = Duration::from_secs(1);

/// Who may wait for the next stage at once.
const MAX_WAITING: usize = 16;

/// Messages on their way into the channel: each side says one at a time.
const SENDING: usize = 4;

/// How long the temporary device stays after the end, for its last word to arrive.
const LINGER: Duration = Duration::from_secs(2);

/// Time its parts get to end.
const STOP: Duration = Duration::from_secs(5);

/// What the actor needs to start.
#[derive(Clone, Debug)]
pub struct LinkingConfig {
    /// The node's folder of accounts.
    pub accounts: PathBuf,
    /// The DHT.
    pub dht: Port<DhtMessage>,
    /// Where blocking work runs.
    pub pool: BlockingPool,
    /// Which addresses links use.
    pub gather: GatherOptions,
    /// Places for connections that links only keep open.
    pub unused: UnusedPlaces,
    /// Told of the accounts that are on disk then.
    pub linked: Outlet<LocalAccountId>,
}

/// See the module.
#[derive(Debug)]
pub struct LinkingActor {
    config: LinkingConfig,
    stage: NumberedStage,
    waiting: Vec<Reply<NumberedStage>>,
    /// How many linkings were begun.
    begun: u64,
    session: Option<Session>,
    /// Of temporary devices, to be erased.
    folders: Vec<PathBuf>,
}

/// A linking whose temporary device is there.
#[derive(Debug)]
struct Session {
    core: NewDevice,
    parts: Parts,
    /// Whether a channel with the code is being opened.
    opening: bool,
    /// Where messages for the other device go; the channel is closed when this is dropped.
    sender: Option<mpsc::Sender<Bytes>>,
}

/// What is tidied up after a linking.
#[derive(Clone, Debug)]
struct Parts {
    folder: PathBuf,
    links: Port<LinksMessage>,
    directory: Port<DirectoryMessage>,
    published: [DhtKey; 2],
}

impl LinkingActor {
    /// Nothing is linked yet.
    #[must_use]
    pub fn new(config: LinkingConfig) -> Self {
        Self {
            config,
            stage: NumberedStage::default(),
            waiting: Vec::new(),
            begun: 0,
            session: None,
            folders: Vec::new(),
        }
    }

    fn set(&mut self, stage: LinkStage) {
        self.stage = NumberedStage { number: self.stage.number + 1, stage };
        for reply in std::mem::take(&mut self.waiting) {
            reply.send(self.stage.clone());
        }
    }

    fn fail(&mut self, problem: &dyn std::fmt::Display) {
        if !self.stage.stage.is_final() {
            self.set(LinkStage::Failed { problem: problem.to_string() });
        }
    }

    fn begin(&mut self, reply: Reply<Result<NumberedStage, AccountError>>, scope: &mut Scope<'_, Self>) {
        if !self.stage.stage.is_final() {
            return reply.send(Err(AccountError::Busy("the node is being linked already".to_owned())));
        }
        self.begun += 1;
        let number = self.begun;
        self.set(LinkStage::Preparing {});
        reply.send(Ok(self.stage.clone()));
        let (accounts, pool) = (self.config.accounts.clone(), self.config.pool.clone());
        let environment = scope.environment().clone();
        let make = async move { identity::make_temporary_device(&accounts, &environment, &pool).await };
        scope.spawn(make, move |actor, made, scope| {
            actor.folders.extend(made.as_ref().ok().map(|device| device.folder.clone()));
            match made {
                Ok(device) if actor.is_at(number) => actor.show(device, number, scope),
                Ok(device) => actor.erase(device.folder, scope),
                Err(error) if actor.is_at(number) => actor.fail(&error),
                Err(_) => (),
            }
        });
    }

    /// Whether this linking goes on.
    fn is_at(&self, number: u64) -> bool {
        self.begun == number && !self.stage.stage.is_final()
    }

    /// Makes the temporary device reachable, and then shows the invitation.
    fn show(&mut self, device: TemporaryDevice, number: u64, scope: &mut Scope<'_, Self>) {
        let TemporaryDevice { identity, folder } = device;
        let tls = match TlsIdentity::new(identity.chain().chain(), identity.key()) {
            Ok(tls) => tls,
            Err(error) => return self.fail(&error),
        };
        let identity = Arc::new(identity);
        let key = identity.key().public();
        let published =
            [DhtKey::certificate(key.device_id()), DhtKey::legacy_certificate(key.device_short_id())];
        let code = LinkCode::from_random(random_number(scope.environment()));
        let invitation = LinkInvitation { device: key.device_id(), code };
        let pem = identity.chain().chain().to_pem();
        let (links, directory) = self.start_parts(identity, tls, folder.clone(), number, scope);
        let parts = Parts { folder, links, directory, published };
        let core = NewDevice::new(invitation);
        self.session = Some(Session { core, parts, opening: false, sender: None });
        let content =
            Content::new(ValueKind::Certificate.type_number(), Object::binary(pem.as_bytes()).encode());
        let certificate = Value::plain(CERTIFICATE_ID, content);
        let puts = published.map(|key| {
            let (dht, value) = (self.config.dht.clone(), certificate.clone());
            let put = move |reply| DhtMessage::Put { key, value, permanent: true, reply };
            async move { Ok::<_, AccountError>(dht.ask(DHT_DEADLINE, put).await??) }
        });
        // Whoever is given the invitation looks for the certificate at once.
        let put = futures::future::try_join_all(puts);
        scope.spawn_background(put, move |actor, put, scope| {
            if !actor.is_at(number) {
                return;
            }
            match put {
                Ok(_) => actor.invite(invitation, number, scope),
                Err(error) => {
                    actor.fail(&error);
                    actor.end(scope);
                }
            }
        });
    }

    fn invite(&mut self, invitation: LinkInvitation, number: u64, scope: &mut Scope<'_, Self>) {
        self.set(LinkStage::Invited { invitation: invitation.to_string() });
        scope.after(LINK_TIMEOUT, move |actor, scope| {
            if actor.begun == number && matches!(actor.stage.stage, LinkStage::Invited { .. }) {
                actor.fail(&LinkError::TimedOut);
                actor.end(scope);
            }
        });
    }

    /// Starts the links of the temporary device. Whoever has the code may connect, so everybody may.
    fn start_parts(
        &self,
        identity: Arc<DeviceIdentity>,
        tls: TlsIdentity,
        folder: PathBuf,
        number: u64,
        scope: &mut Scope<'_, Self>,
    ) -> (Port<LinksMessage>, Port<DirectoryMessage>) {
        let revocations = Revocations::default();
        // Nobody is followed, so there is nothing to be told of.
        let (events, _) = Outlet::channel("directory of a temporary device", 1);
        let directory = DirectoryConfig {
            folder: folder.join("certificates"),
            revocations_folder: folder.join("revocations"),
            revocations: revocations.clone(),
            events,
            dht: self.config.dht.clone(),
            pool: self.config.pool.clone(),
            share: SHARE,
        };
        let spec = ChildSpec::new(format!("directory {number}"));
        let directory = scope.start_child(spec, move || DirectoryActor::new(directory.clone()));
        let own = scope.port();
        let links = LinksConfig {
            link: LinkConfig {
                identity,
                tls,
                dht: self.config.dht.clone(),
                pool: self.config.pool.clone(),
                share: SHARE,
                gather: self.config.gather,
                unused: self.config.unused.clone(),
                revocations,
                environment: scope.environment().clone(),
            },
            directory: directory.clone(),
            events: own.outlet(move |event| LinkingMessage::Internal(number, Internal::Link(event))),
            treated_file: folder.join("treatedRequests"),
            trust: Trust { public: true, ..Trust::default() },
        };
        let spec = ChildSpec::new(format!("links {number}"));
        let links = scope.start_child(spec, move || LinksActor::new(links.clone()));
        (links, directory)
    }

    /// Somebody asks for a channel. What is not accepted is declined.
    fn offered(&mut self, offer: ChannelOffer, number: u64, scope: &mut Scope<'_, Self>) {
        let Some(session) = &mut self.session else { return };
        let Ok(name) = offer.name.parse::<ChannelName>() else { return };
        if session.opening {
            return;
        }
        let (accepted, actions) = session.core.requested(&name);
        if accepted {
            session.opening = true;
            scope.spawn_background(offer.accept(), move |actor, channel, scope| {
                if let Some(session) = actor.session.as_mut().filter(|_| actor.begun == number) {
                    session.opening = false;
                    // One that is lost meanwhile can be asked for again.
                    if let Ok(channel) = channel {
                        actor.opened(channel, number, scope);
                    }
                }
            });
        }
        self.act(actions, scope);
    }

    fn opened(&mut self, channel: Channel, number: u64, scope: &mut Scope<'_, Self>) {
        let Some(session) = &mut self.session else { return };
        let Channel { sender, mut receiver, account, .. } = channel;
        let (queue, mut queued) = mpsc::channel::<Bytes>(SENDING);
        session.sender = Some(queue);
        let send = async move {
            while let Some(bytes) = queued.recv().await {
                if sender.send(bytes).await.is_err() {
                    return;
                }
            }
        };
        scope.spawn_background(send, |_, (), _| ());
        let port = scope.port();
        let receive = async move {
            loop {
                let bytes = receiver.receive().await.ok();
                let has_ended = bytes.is_none();
                let told = LinkingMessage::Internal(number, Internal::Received(bytes));
                if port.send(told).await.is_err() || has_ended {
                    return;
                }
            }
        };
        scope.spawn_background(receive, |_, (), _| ());
        let actions = session.core.opened(scope.now(), account);
        self.set(LinkStage::Connected { account });
        self.act(actions, scope);
    }

    /// Carries out what the core wants.
    fn act(&mut self, actions: Vec<NewDeviceAction>, scope: &mut Scope<'_, Self>) {
        for action in actions {
            match action {
                NewDeviceAction::Send(bytes) => {
                    let sender = self.session.as_ref().and_then(|session| session.sender.as_ref());
                    if sender.is_some_and(|sender| sender.try_send(bytes.into()).is_err()) {
                        tracing::debug!("a device that lets us in does not read");
                    }
                }
                NewDeviceAction::AskPassword { account, was_wrong } => {
                    self.set(LinkStage::Password { account, was_wrong });
                }
                NewDeviceAction::Import { archive, password } => self.import(*archive, &password, scope),
                NewDeviceAction::Close => self.end(scope),
                NewDeviceAction::Fail(error) => self.fail(&error),
            }
        }
        let deadline = self.session.as_ref().and_then(|session| session.core.deadline());
        scope.set_alarm(deadline);
    }

    fn import(&mut self, archive: Archive, password: &str, scope: &mut Scope<'_, Self>) {
        self.set(LinkStage::Importing {});
        let password = (!password.is_empty()).then(|| Password(password.to_owned()));
        let (config, environment) = (self.config.clone(), scope.environment().clone());
        let import = async move {
            let LinkingConfig { accounts, pool, linked, .. } = config;
            let silent = Arc::new(|_| ());
            let made = identity::add_device(&accounts, archive, password, &environment, &pool, silent).await;
            if let Ok(local) = made
                && linked.send(local).await.is_err()
            {
                tracing::warn!(account = %local, "a linked account is started with the node only");
            }
            made
        };
        scope.spawn(import, |actor, made, _| match made {
            Ok(account) => actor.set(LinkStage::Linked { account }),
            Err(error) => actor.fail(&error),
        });
    }

    /// Closes the channel and lets the temporary device go.
    fn end(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(Session { parts, .. }) = self.session.take() else { return };
        let (dht, published) = (self.config.dht.clone(), parts.published);
        let withdraw = async move {
            for key in published {
                dht.send(DhtMessage::CancelPut { key, id: CERTIFICATE_ID }).await?;
            }
            Ok::<_, SendError>(())
        };
        scope.spawn(withdraw, |_, _, _| ());
        scope.after(LINGER, move |_, scope| {
            scope.stop_child(&parts.links, STOP);
            scope.stop_child(&parts.directory, STOP);
            scope.after(STOP, move |actor, scope| actor.erase(parts.folder, scope));
        });
    }

    fn erase(&mut self, folder: PathBuf, scope: &mut Scope<'_, Self>) {
        self.folders.retain(|other| *other != folder);
        let pool = self.config.pool.clone();
        let erase =
            async move { pool.run(SHARE, Lane::Quick, move || std::fs::remove_dir_all(folder)).await };
        scope.spawn(erase, |_, erased, _| {
            if let Ok(Err(error)) = erased {
                tracing::warn!(%error, "the files of a temporary device go at the next start");
            }
        });
    }

    fn next(&mut self, after: u64, reply: Reply<NumberedStage>, scope: &mut Scope<'_, Self>) {
        if self.stage.number != after || self.waiting.len() >= MAX_WAITING {
            return reply.send(self.stage.clone());
        }
        self.waiting.push(reply);
        scope.after(NEXT, move |actor, _| {
            // Those who came meanwhile hear of nothing new, too, and ask again.
            if actor.stage.number == after {
                for reply in std::mem::take(&mut actor.waiting) {
                    reply.send(actor.stage.clone());
                }
            }
        });
    }

    /// Tells the core something, and does what it wants.
    fn tell(
        &mut self,
        what: impl FnOnce(&mut NewDevice) -> Vec<NewDeviceAction>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(session) = &mut self.session else { return };
        let actions = what(&mut session.core);
        self.act(actions, scope);
    }

    fn cancel(&mut self, scope: &mut Scope<'_, Self>) {
        if self.session.is_some() {
            self.tell(NewDevice::cancel, scope);
        } else if matches!(self.stage.stage, LinkStage::Preparing {}) {
            self.fail(&LinkError::Cancelled);
        }
    }
}

impl Actor for LinkingActor {
    type Message = LinkingMessage;
    const KIND: &'static str = "linking";

    fn handle(&mut self, message: LinkingMessage, scope: &mut Scope<'_, Self>) {
        match message {
            LinkingMessage::Begin(reply) => self.begin(reply, scope),
            LinkingMessage::Next { after, reply } => self.next(after, reply, scope),
            LinkingMessage::Password(password) => {
                let secret = Zeroizing::new(password.0);
                self.tell(|core| core.password(secret), scope);
            }
            LinkingMessage::Cancel => self.cancel(scope),
            LinkingMessage::Internal(number, _) if number != self.begun => (),
            LinkingMessage::Internal(number, Internal::Link(LinkEvent::Offer(offer, _place))) => {
                self.offered(offer, number, scope);
            }
            LinkingMessage::Internal(_, Internal::Link(_)) => (),
            LinkingMessage::Internal(_, Internal::Received(bytes)) => self.tell(
                |core| match bytes {
                    Some(bytes) => core.received(&bytes),
                    None => core.closed(),
                },
                scope,
            ),
        }
    }

    fn flush(&mut self, _: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        let (pool, folders) = (self.config.pool.clone(), std::mem::take(&mut self.folders));
        let erase = move || {
            folders
                .iter()
                .filter_map(|folder| std::fs::remove_dir_all(folder).err())
                .fold(None, |_, error| Some(error))
        };
        Some(Box::pin(async move {
            if let Ok(Some(error)) = pool.run(SHARE, Lane::Quick, erase).await {
                tracing::warn!(%error, "the files of a temporary device go at the next start");
            }
        }))
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        self.tell(|core| core.tick(now), scope);
    }
}
