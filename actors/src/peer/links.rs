//! The links of an account: takes connection requests and answers from the DHT, decides who may
//! connect, and is the parent of one peer actor for each device.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use skep_protocol::dht::cipher;
use skep_protocol::dht::content::SignedContent;
use skep_protocol::dht::value::{Body, Value};
use skep_protocol::identity::VerifiedChain;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::keys::PublicKey;
use skep_protocol::link::request::{
    KeyKind, PeerRequest, RequestId, RequestKeys, TreatedRequests, USER_TYPE,
};

use super::attempt::LinkConfig;
use super::device::{PeerActor, PeerConfig, PeerMessage, PeerState};
use super::messages::{LinkError, LinkEvent, LinksMessage, Notice, Recipient, Trust};
use crate::account::messages::LinkView;
use crate::blocking::Lane;
use crate::dht::messages::{DhtMessage, ListenEvent, ListenId};
use crate::directory::messages::DirectoryMessage;
use crate::storage::{self, snapshot};
use crate::supervision::{Actor, ChildSpec, Outlet, Port, Reply, RestartPolicy, Scope};

/// Devices with a peer actor at once; the ones without links and wishes go by themselves.
const MAX_PEERS: usize = 1024;

/// Values decrypted at once. Anybody may put values at our key, and each costs two milliseconds.
const MAX_OPENING: usize = 64;

/// Requests of one device whose certificate is being looked up; it sends one, and another after a
/// restart.
const MAX_LOOKING_EACH: usize = 4;

/// Devices whose certificate is being looked up for their requests.
const MAX_LOOKING: usize = 256;

/// People for whom notices wait until a device of theirs is known.
const MAX_WAITING_ACCOUNTS: usize = 256;

/// Notices that wait for one person.
const MAX_WAITING_NOTICES: usize = 64;

/// How long a certificate look-up may take.
const LOOK_UP: Duration = Duration::from_secs(40);

/// Pause before listening at our keys is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// How long a child may take to describe itself.
const DESCRIBE: Duration = Duration::from_secs(2);

/// Time a peer gets to end.
const STOP_PEER: Duration = Duration::from_secs(2);

/// Format of the file of treated requests.
const TREATED_VERSION: u8 = 1;

/// Largest file of treated requests, in bytes: eight for each.
const MAX_TREATED_FILE: usize = 1024 * 1024;

/// What comes from the DHT and the children.
#[derive(Debug)]
pub enum Internal {
    /// Values at one of our keys.
    #[doc(hidden)]
    Dht(KeyKind, ListenEvent),
    /// A peer's state.
    #[doc(hidden)]
    Peer(DeviceId, PeerTold),
}

/// A peer's state, closed to other rooms.
#[derive(Debug)]
pub struct PeerTold(PeerState);

/// What the links need to start.
#[derive(Clone, Debug)]
pub struct LinksConfig {
    /// What every attempt needs.
    pub link: LinkConfig,
    /// Where certificates are found.
    pub directory: Port<DirectoryMessage>,
    /// Where events go.
    pub events: Outlet<LinkEvent>,
    /// The file of treated requests.
    pub treated_file: PathBuf,
    /// Who may connect, until told otherwise.
    pub trust: Trust,
}

/// See the module.
#[derive(Debug)]
pub struct LinksActor {
    config: LinksConfig,
    trust: Trust,
    /// Devices that may connect for now, and whose they are.
    guests: BTreeMap<DeviceId, AccountId>,
    peers: BTreeMap<DeviceId, Peer>,
    treated: TreatedRequests,
    saving: bool,
    save_again: bool,
    opening: usize,
    /// Requests of each device that wait for its certificate.
    looking: HashMap<DeviceId, usize>,
    waiting: HashMap<AccountId, Vec<(u64, Notice)>>,
}

#[derive(Debug)]
struct Peer {
    account: AccountId,
    chain: VerifiedChain,
    port: Port<PeerMessage>,
    up: bool,
}

impl LinksActor {
    /// Links without any connection yet.
    #[must_use]
    pub fn new(config: LinksConfig) -> Self {
        Self {
            trust: config.trust.clone(),
            config,
            guests: BTreeMap::new(),
            peers: BTreeMap::new(),
            treated: TreatedRequests::default(),
            saving: false,
            save_again: false,
            opening: 0,
            looking: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    fn own_keys(&self) -> RequestKeys {
        let key = self.config.link.identity.key().public();
        RequestKeys::of(key.device_id(), key.device_short_id())
    }

    /// Listens at one of our keys.
    fn listen(&mut self, kind: KeyKind, scope: &mut Scope<'_, Self>) {
        let (dht, key) = (self.config.link.dht.clone(), self.own_keys().get(kind));
        let outlet = scope.port().outlet(move |event| LinksMessage::Internal(Internal::Dht(kind, event)));
        let id = ListenId::of(scope.port().id(), key);
        let listen = async move {
            dht.send(DhtMessage::Cancel { id }).await?;
            dht.send(DhtMessage::Listen { id, key, outlet }).await
        };
        scope.spawn_background(listen, move |links, sent, scope| {
            if sent.is_err() {
                links.listen_later(kind, scope);
            }
        });
    }

    fn listen_later(&mut self, kind: KeyKind, scope: &mut Scope<'_, Self>) {
        scope.after(LISTEN_AGAIN, move |links, scope| links.listen(kind, scope));
    }

    /// Decrypts values off the actor's thread and takes those that are connection requests.
    fn open_values(&mut self, kind: KeyKind, values: &[Arc<Value>], scope: &mut Scope<'_, Self>) {
        for value in values {
            let Body::Encrypted(cipher) = value.body.clone() else { continue };
            if self.opening >= MAX_OPENING {
                tracing::warn!("too many values at our key; some connection requests are not looked at");
                return;
            }
            self.opening += 1;
            let (pool, share) = (self.config.link.pool.clone(), self.config.link.share);
            let key = self.config.link.identity.key().clone();
            let open = async move {
                let opened = pool.run(share, Lane::Quick, move || cipher::open(&cipher, &key)).await;
                read_request(&*opened.ok()?.ok()?)
            };
            scope.spawn_background(open, move |links, request, scope| {
                links.opening -= 1;
                if let Some((sender, request)) = request {
                    links.take_request(&sender, request, kind, scope);
                }
            });
        }
    }

    fn take_request(
        &mut self,
        sender: &PublicKey,
        request: PeerRequest,
        kind: KeyKind,
        scope: &mut Scope<'_, Self>,
    ) {
        let device = sender.device_id();
        if request.is_answer {
            if let Some(peer) = self.peers.get(&device) {
                // A peer that is so busy will be dialled again.
                let _ = peer.port.try_send(PeerMessage::Answer { request, kind });
            }
            return;
        }
        if !self.treated.insert(request.id) {
            return;
        }
        if !self.may_look_up(device) {
            tracing::warn!(%device, "too many connection requests wait for certificates; one is ignored");
            self.treated.forget(request.id);
            return;
        }
        *self.looking.entry(device).or_default() += 1;
        let (directory, short) = (self.config.directory.clone(), Some(sender.device_short_id()));
        let find = async move {
            directory.ask(LOOK_UP, |reply| DirectoryMessage::Device { device, short, reply }).await
        };
        scope.spawn_background(find, move |links, chain, scope| {
            links.looked_up(device);
            let Ok(Some(chain)) = chain else {
                tracing::debug!(%device, "a connection request of an unknown device is ignored");
                // Its copy, which comes when this one is not answered, is looked at anew.
                links.treated.forget(request.id);
                return;
            };
            if !links.may_connect(&chain) {
                tracing::debug!(%device, "a connection request is refused");
                links.treated.forget(request.id);
                return;
            }
            links.save_treated(scope);
            if let Some(port) = links.peer(&chain, scope) {
                let _ = port.try_send(PeerMessage::Request { request, kind });
            }
        });
    }

    /// Whether one more request of this device may wait for its certificate.
    fn may_look_up(&self, device: DeviceId) -> bool {
        match self.looking.get(&device) {
            Some(requests) => *requests < MAX_LOOKING_EACH,
            None => self.looking.len() < MAX_LOOKING,
        }
    }

    fn looked_up(&mut self, device: DeviceId) {
        if let Some(requests) = self.looking.get_mut(&device) {
            *requests -= 1;
            if *requests == 0 {
                self.looking.remove(&device);
            }
        }
    }

    fn is_banned(&self, chain: &VerifiedChain) -> bool {
        chain.chain().short_ids().any(|id| self.trust.banned.contains(&id))
    }

    /// Why there is nothing to say to a device, whoever is allowed: it is banned or was revoked, or
    /// this one was.
    fn refusal(&self, chain: &VerifiedChain) -> Option<LinkError> {
        let (device, link) = (chain.device_id(), &self.config.link);
        if link.revocations.check(link.identity.chain()).is_err() {
            Some(LinkError::OwnRevoked)
        } else if self.is_banned(chain) {
            Some(LinkError::Banned(device))
        } else if link.revocations.check(chain).is_err() {
            Some(LinkError::Revoked(device))
        } else {
            None
        }
    }

    /// The rule of `spec: contacts 5`, for connections; the chain is verified already.
    fn may_connect(&self, chain: &VerifiedChain) -> bool {
        if self.refusal(chain).is_some() {
            return false;
        }
        let is_guest = self.guests.contains_key(&chain.device_id());
        is_guest || self.trust.public || chain.chain().short_ids().any(|id| self.trust.allowed.contains(&id))
    }

    /// The actor of a device, started if there is none.
    fn peer(&mut self, chain: &VerifiedChain, scope: &mut Scope<'_, Self>) -> Option<Port<PeerMessage>> {
        let device = chain.device_id();
        if let Some(peer) = self.peers.get_mut(&device) {
            if peer.port.is_open() {
                // It may have a new certificate in the place of one that was revoked.
                peer.chain = chain.clone();
                return Some(peer.port.clone());
            }
            // It has ended in this very moment; we are about to be told.
            self.peers.remove(&device);
        }
        if self.peers.len() >= MAX_PEERS || device == self.config.link.identity.device_id() {
            return None;
        }
        let config = PeerConfig {
            link: self.config.link.clone(),
            remote: chain.clone(),
            events: self.config.events.clone(),
            states: scope
                .port()
                .outlet(move |state| LinksMessage::Internal(Internal::Peer(device, PeerTold(state)))),
        };
        let spec = ChildSpec::new(device.short()).restart(RestartPolicy::giving_up());
        let port = scope.start_child(spec, move || PeerActor::new(config.clone()));
        let (account, chain) = (chain.account_id(), chain.clone());
        self.peers.insert(device, Peer { account, chain, port: port.clone(), up: false });
        Some(port)
    }

    fn open_channel(
        &mut self,
        device: DeviceId,
        name: String,
        deadline: Duration,
        reply: Reply<Result<super::messages::Channel, LinkError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(chain) = self.peers.get(&device).map(|peer| peer.chain.clone()) else {
            return reply.send(Err(LinkError::UnknownDevice(device)));
        };
        if let Some(refusal) = self.refusal(&chain) {
            return reply.send(Err(refusal));
        }
        let open = PeerMessage::Open { name, deadline, reply };
        // Dropped with the message if there is no room: the asker learns at once.
        if let Some(Err(error)) = self.peer(&chain, scope).map(|port| port.try_send(open)) {
            tracing::debug!(%error, "a channel was not asked for");
        }
    }

    fn notify(
        &mut self,
        to: &Recipient,
        topic: u64,
        notice: &Notice,
        lasting: bool,
        except: Option<DeviceId>,
        scope: &mut Scope<'_, Self>,
    ) {
        let concerned = |device: &DeviceId, peer: &Peer| match to {
            Recipient::Account(account) => peer.account == *account,
            Recipient::Device(wanted) => device == wanted,
        };
        let found =
            self.peers.iter().filter(|(device, peer)| concerned(device, peer) && (lasting || peer.up));
        let found = found.filter(|(_, peer)| self.refusal(&peer.chain).is_none());
        let found: Vec<VerifiedChain> = found.map(|(_, peer)| peer.chain.clone()).collect();
        for chain in &found {
            if except == Some(chain.device_id()) {
                continue;
            }
            let notify = PeerMessage::Notify { topic, notice: notice.clone(), lasting };
            if let Some(Err(error)) = self.peer(chain, scope).map(|port| port.try_send(notify)) {
                tracing::debug!(%error, "a notice was not taken; the next link makes good for it");
            }
        }
        if found.is_empty()
            && lasting
            && let Recipient::Account(account) = to
        {
            if !self.waiting.contains_key(account) && self.waiting.len() >= MAX_WAITING_ACCOUNTS {
                return;
            }
            let waiting = self.waiting.entry(*account).or_default();
            waiting.retain(|(other, _)| *other != topic);
            if waiting.len() < MAX_WAITING_NOTICES {
                waiting.push((topic, notice.clone()));
            }
        }
    }

    /// Wakes a device, whose certificate may have to be looked up first. What finds no place is said again
    /// with the next news.
    fn wake(&mut self, device: DeviceId, topic: u64, notice: Notice, scope: &mut Scope<'_, Self>) {
        if let Some(chain) = self.peers.get(&device).map(|peer| peer.chain.clone()) {
            return self.wake_peer(&chain, topic, notice, scope);
        }
        if !self.may_look_up(device) {
            tracing::debug!(device = %device.short(), "too many look-ups; a device sleeps on");
            return;
        }
        *self.looking.entry(device).or_default() += 1;
        let directory = self.config.directory.clone();
        let find = async move {
            directory.ask(LOOK_UP, |reply| DirectoryMessage::Device { device, short: None, reply }).await
        };
        scope.spawn_background(find, move |links, chain, scope| {
            links.looked_up(device);
            match chain {
                Ok(Some(chain)) => links.wake_peer(&chain, topic, notice, scope),
                _ => tracing::debug!(device = %device.short(), "a device without certificate is not woken"),
            }
        });
    }

    fn wake_peer(&mut self, chain: &VerifiedChain, topic: u64, notice: Notice, scope: &mut Scope<'_, Self>) {
        if self.may_connect(chain)
            && let Some(port) = self.peer(chain, scope)
        {
            // A peer that is so busy is awake.
            let _ = port.try_send(PeerMessage::Wake { topic, notice });
        }
    }

    fn present(&mut self, account: AccountId, devices: &[VerifiedChain], scope: &mut Scope<'_, Self>) {
        for chain in devices {
            if self.may_connect(chain)
                && let Some(port) = self.peer(chain, scope)
            {
                let _ = port.try_send(PeerMessage::Present);
            }
        }
        if self.peers.values().any(|peer| peer.account == account) {
            for (topic, notice) in self.waiting.remove(&account).unwrap_or_default() {
                self.notify(&Recipient::Account(account), topic, &notice, true, None, scope);
            }
        }
    }

    fn set_trust(&mut self, trust: Trust, scope: &mut Scope<'_, Self>) {
        self.trust = trust;
        for account in self.trust.banned.clone() {
            self.close(account, scope);
        }
        self.recheck(scope);
    }

    /// Closes the links to the devices that may not connect any more.
    fn recheck(&mut self, scope: &mut Scope<'_, Self>) {
        let refused = self.peers.iter().filter(|(_, peer)| !self.may_connect(&peer.chain));
        let refused = refused.map(|(device, _)| *device).collect();
        self.close_devices(refused, scope);
    }

    /// Closes every link to a person.
    fn close(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        self.guests.retain(|_, guest| *guest != account);
        self.waiting.remove(&account);
        let concerned = self.peers.iter().filter(|(_, peer)| peer.account == account);
        let devices = concerned.map(|(device, _)| *device).collect();
        self.close_devices(devices, scope);
    }

    /// A peer that is too busy to be told is stopped instead.
    fn close_devices(&mut self, devices: Vec<DeviceId>, scope: &mut Scope<'_, Self>) {
        for device in devices {
            let Some(peer) = self.peers.get(&device) else { continue };
            if peer.port.try_send(PeerMessage::Close).is_ok() {
                continue;
            }
            let account = peer.account;
            scope.stop_child(&peer.port, STOP_PEER);
            self.peers.remove(&device);
            let events = self.config.events.clone();
            let down = async move { events.send(LinkEvent::Down { device, account }).await };
            scope.spawn(down, |_, _, _| ());
        }
    }

    fn peer_told(&mut self, device: DeviceId, state: PeerState) {
        let Some(peer) = self.peers.get_mut(&device) else { return };
        match state {
            PeerState::Started => {
                if std::mem::take(&mut peer.up) {
                    // It failed with a link: the device is still there.
                    let _ = peer.port.try_send(PeerMessage::Present);
                }
            }
            PeerState::Up => peer.up = true,
            PeerState::Down => peer.up = false,
            // Unless another one was started since.
            PeerState::Idle if !peer.port.is_open() => drop(self.peers.remove(&device)),
            PeerState::Idle => {}
        }
    }

    fn list(&self, reply: Reply<Vec<LinkView>>, scope: &mut Scope<'_, Self>) {
        let ports: Vec<_> = self.peers.values().map(|peer| peer.port.clone()).collect();
        let ask = async move {
            let views = ports.iter().map(|port| port.ask(DESCRIBE, PeerMessage::Describe));
            join_all(views).await.into_iter().filter_map(Result::ok).collect()
        };
        scope.spawn(ask, |_, views, _| reply.send(views));
    }

    /// Writes the treated requests; changes meanwhile are written after.
    fn save_treated(&mut self, scope: &mut Scope<'_, Self>) {
        if self.saving {
            self.save_again = true;
            return;
        }
        self.saving = true;
        let ids: Vec<u64> = self.treated.iter().map(|id| id.0).collect();
        let (path, pool) = (self.config.treated_file.clone(), self.config.link.pool.clone());
        let share = self.config.link.share;
        let save = async move {
            let write = move || match snapshot::encode(TREATED_VERSION, &ids) {
                Some(bytes) => storage::replace(&path, &bytes),
                None => Ok(()),
            };
            pool.run(share, Lane::Quick, write).await
        };
        scope.spawn(save, |links, saved, scope| {
            if let Ok(Err(error)) = saved {
                // Only costs a second treatment of requests that are seen again after a restart.
                tracing::warn!(%error, "the treated connection requests could not be written");
            }
            links.saving = false;
            if std::mem::take(&mut links.save_again) {
                links.save_treated(scope);
            }
        });
    }

    fn load_treated(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        let (path, pool) = (self.config.treated_file.clone(), self.config.link.pool.clone());
        let share = self.config.link.share;
        let load =
            async move { pool.run(share, Lane::Quick, move || storage::read(&path, MAX_TREATED_FILE)).await };
        scope.spawn(load, |links, bytes, scope| {
            let bytes = bytes.ok().and_then(Result::ok).flatten().unwrap_or_default();
            let ids: Vec<u64> = snapshot::decode(TREATED_VERSION, &bytes).unwrap_or_default();
            links.treated = ids.into_iter().map(RequestId).collect();
            for kind in [KeyKind::Current, KeyKind::Legacy] {
                links.listen(kind, scope);
            }
            let events = links.config.events.clone();
            scope.spawn(async move { events.send(LinkEvent::Started).await }, |_, _, _| ());
            scope.release();
        });
    }
}

/// The sender's key and the request in an opened value, if it is one.
fn read_request(signed: &SignedContent) -> Option<(PublicKey, PeerRequest)> {
    let content = signed.content();
    if content.user_type != USER_TYPE {
        return None;
    }
    let request = PeerRequest::decode(&content.data).ok()?;
    Some((signed.owner().clone(), request))
}

impl Actor for LinksActor {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.load_treated(scope);
    }

    fn handle(&mut self, message: LinksMessage, scope: &mut Scope<'_, Self>) {
        match message {
            LinksMessage::Open { device, name, deadline, reply } => {
                self.open_channel(device, name, deadline, reply, scope);
            }
            LinksMessage::OpenToGuest { chain, name, deadline, reply } => {
                let device = chain.device_id();
                self.guests.insert(device, chain.account_id());
                if self.peer(&chain, scope).is_some() {
                    self.open_channel(device, name, deadline, reply, scope);
                } else {
                    reply.send(Err(LinkError::Busy(device)));
                }
            }
            LinksMessage::Notify { to, topic, notice, lasting, except } => {
                self.notify(&to, topic, &notice, lasting, except, scope);
            }
            LinksMessage::Wake { device, topic, notice } => self.wake(device, topic, notice, scope),
            LinksMessage::NetworkChanged => {
                for peer in self.peers.values() {
                    // One that is so busy has a link that works.
                    let _ = peer.port.try_send(PeerMessage::NetworkChanged);
                }
            }
            LinksMessage::SetTrust(trust) => self.set_trust(trust, scope),
            LinksMessage::Recheck => self.recheck(scope),
            LinksMessage::Present { account, devices } => self.present(account, &devices, scope),
            LinksMessage::Drop { account } => self.close(account, scope),
            LinksMessage::List(reply) => self.list(reply, scope),
            LinksMessage::Internal(Internal::Dht(kind, ListenEvent::Values(values))) => {
                self.open_values(kind, &values, scope);
            }
            LinksMessage::Internal(Internal::Dht(_, ListenEvent::Expired(_))) => {}
            LinksMessage::Internal(Internal::Dht(kind, ListenEvent::Refused(error))) => {
                tracing::error!(%error, "connection requests cannot be received; it is tried again");
                self.listen_later(kind, scope);
            }
            LinksMessage::Internal(Internal::Peer(device, PeerTold(state))) => {
                self.peer_told(device, state);
            }
        }
    }

    fn child_failed(&mut self, name: &str, _: &mut Scope<'_, Self>) {
        tracing::error!(peer = name, "a peer failed too often and is given up until it is announced anew");
        self.peers.retain(|device, peer| device.short() != name || peer.port.is_open());
    }
}
