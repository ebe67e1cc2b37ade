//! The actor: it tells the core what happens and does what the core wants done.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use skep_protocol::drt::message::Message as SwarmMessage;
use skep_protocol::drt::mobiles::{MAX_STORED, decode_list, encode_list};
use skep_protocol::drt::router::{Action, CertificateSource, ChannelId, Event};
use skep_protocol::drt::table::NodeView;
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, ConversationId, DeviceId};

use super::channels::{OpenChannel, run};
use super::messages::{DirectView, RouteState, RouteView, RouterMessage, RouterTold, RoutesView};
use super::overlay::{Follows, Overlay, Place};
use super::telling::Outbox;
use crate::blocking::{BlockingPool, Lane, Share};
use crate::directory::messages::DirectoryMessage;
use crate::peer::messages::{Channel, LinksMessage};
use crate::storage;
use crate::supervision::{Actor, Port, Scope};
use crate::swarm::messages::ConversationMessage;

/// How long a certificate may be looked for.
const FIND: Duration = Duration::from_secs(40);

/// Pause after the start before members are looked for, if none has a link by then.
const FIRST_SEEK: Duration = Duration::from_secs(10);

/// What a router needs to start.
#[derive(Clone, Debug)]
pub(in crate::swarm) struct RouterActorConfig {
    pub(in crate::swarm) id: ConversationId,
    pub(in crate::swarm) device: DeviceId,
    pub(in crate::swarm) account: AccountId,
    /// Whose certificate others may ask for.
    pub(in crate::swarm) identity: Arc<DeviceIdentity>,
    /// File of the mobile devices remembered.
    pub(in crate::swarm) mobiles_file: PathBuf,
    pub(in crate::swarm) links: Port<LinksMessage>,
    pub(in crate::swarm) directory: Port<DirectoryMessage>,
    pub(in crate::swarm) pool: BlockingPool,
    pub(in crate::swarm) share: Share,
    pub(in crate::swarm) conversation: Port<ConversationMessage>,
}

/// See the module.
pub(in crate::swarm) struct RouterActor {
    pub(super) config: RouterActorConfig,
    pub(super) overlay: Overlay,
    channels: BTreeMap<ChannelId, OpenChannel>,
    next_channel: u64,
    pub(super) outbox: Outbox,
    /// Whether the mobile devices are being written.
    storing: bool,
    store_again: bool,
}

impl RouterActor {
    pub(in crate::swarm) fn new(config: RouterActorConfig) -> Self {
        Self {
            overlay: Overlay::new(place(&config), 0, Vec::new()),
            config,
            channels: BTreeMap::new(),
            next_channel: 0,
            outbox: Outbox::default(),
            storing: false,
            store_again: false,
        }
    }

    /// Tells the core what has happened, and does what it wants done, and what follows from that.
    pub(super) fn happen(&mut self, event: Event, scope: &mut Scope<'_, Self>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.overlay.handle(scope.now(), scope.wall(), event) {
                events.extend(self.act(action, scope));
            }
        }
        scope.set_alarm(self.overlay.core().deadline());
    }

    fn follow(&mut self, follows: impl IntoIterator<Item = Follows>, scope: &mut Scope<'_, Self>) {
        for next in follows {
            match next {
                Follows::Event(event) => self.happen(event, scope),
                Follows::Tell => self.tell(scope),
            }
        }
    }

    /// Does what the core wants done. What follows from that, if it is known at once.
    fn act(&mut self, action: Action, scope: &mut Scope<'_, Self>) -> Option<Event> {
        match action {
            Action::RequestChannel { device, new_socket } => return self.request(device, new_socket, scope),
            Action::CloseChannel(channel) => drop(self.channels.remove(&channel)),
            Action::Send { channel, message } => return self.send(channel, &message),
            // What was told while nobody was connected has reached nobody.
            Action::Connected => self.tell(scope),
            Action::Disconnected => self.seek(scope),
            Action::FindCertificate { device, source } => self.find_certificate(device, source, scope),
            Action::SendCertificates { channel, devices } => self.send_certificates(channel, devices, scope),
            // A node is no mobile device.
            Action::SignLease => {}
            Action::StoreMobiles => self.store_mobiles(scope),
        }
        None
    }

    /// Runs a channel that is open; the caller tells the core.
    pub(super) fn add_channel(&mut self, channel: Channel, scope: &mut Scope<'_, Self>) -> ChannelId {
        let number = ChannelId(self.next_channel);
        self.next_channel += 1;
        let (open, outbox) = OpenChannel::new();
        self.channels.insert(number, open);
        scope.spawn_background(run(number, channel, outbox, scope.port()), move |router, (), scope| {
            // Otherwise it was closed on our side, and the core knows.
            if router.channels.remove(&number).is_some() {
                router.happen(Event::ChannelDown(number), scope);
            }
        });
        number
    }

    /// A peer that does not read loses its channel.
    fn send(&mut self, channel: ChannelId, message: &SwarmMessage) -> Option<Event> {
        if self.channels.get(&channel)?.send(message) {
            return None;
        }
        self.channels.remove(&channel);
        Some(Event::ChannelDown(channel))
    }

    fn find_certificate(&mut self, device: DeviceId, source: CertificateSource, scope: &mut Scope<'_, Self>) {
        let directory = self.config.directory.clone();
        let find = async move {
            let ask = |reply| match source {
                CertificateSource::Store => DirectoryMessage::Kept { device, reply },
                CertificateSource::Dht => DirectoryMessage::Device { device, short: None, reply },
            };
            directory.ask(FIND, ask).await.ok().flatten()
        };
        scope.spawn_background(find, move |router, chain, scope| {
            router.happen(Event::CertificateFound { device, source, chain: chain.map(Box::new) }, scope);
        });
    }

    fn send_certificates(&mut self, channel: ChannelId, devices: Vec<DeviceId>, scope: &mut Scope<'_, Self>) {
        let (directory, identity) = (self.config.directory.clone(), Arc::clone(&self.config.identity));
        let find = async move {
            let find = devices.into_iter().map(async |device| {
                if device == identity.device_id() {
                    return Some(identity.chain().chain().to_der());
                }
                let kept = directory.ask(FIND, |reply| DirectoryMessage::Kept { device, reply }).await;
                Some(kept.ok()??.chain().to_der())
            });
            join_all(find).await.into_iter().flatten().collect::<Vec<_>>()
        };
        scope.spawn_background(find, move |router, chains, scope| {
            let answer = router.overlay.core().certificates(chains);
            if let Some(event) = router.send(channel, &answer) {
                router.happen(event, scope);
            }
        });
    }

    /// Writes the mobile devices remembered; changes meanwhile are written after.
    fn store_mobiles(&mut self, scope: &mut Scope<'_, Self>) {
        if self.storing {
            self.store_again = true;
            return;
        }
        self.storing = true;
        let (file, bytes) = (self.config.mobiles_file.clone(), encode_list(&self.overlay.core().mobiles()));
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let write = move || {
            file.parent().map_or(Ok(()), storage::make_folder).and_then(|()| storage::replace(&file, &bytes))
        };
        scope.spawn(async move { pool.run(share, Lane::Quick, write).await }, |router, stored, scope| {
            if let Ok(Err(error)) = stored {
                // They come back by gossip.
                tracing::warn!(%error, "the mobile devices of a conversation were not written");
            }
            router.storing = false;
            if std::mem::take(&mut router.store_again) {
                router.store_mobiles(scope);
            }
        });
    }

    fn load_mobiles(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        let (file, pool, share) =
            (self.config.mobiles_file.clone(), self.config.pool.clone(), self.config.share);
        let read =
            async move { pool.run(share, Lane::Quick, move || storage::read(&file, MAX_STORED)).await };
        scope.spawn(read, |router, bytes, scope| {
            let bytes = bytes.ok().and_then(Result::ok).flatten().unwrap_or_default();
            let seed = scope.environment().random_u64();
            router.overlay = Overlay::new(place(&router.config), seed, decode_list(&bytes));
            router.told(RouterTold::Started, scope);
            scope.release();
        });
    }

    fn routes(&self) -> RoutesView {
        let view = |node: NodeView| RouteView {
            device: node.id,
            account: self.overlay.owner(node.id),
            bucket: node.bucket,
            state: match node {
                NodeView { connected: true, .. } => RouteState::Connected,
                NodeView { connecting: true, .. } => RouteState::Connecting,
                NodeView { known: true, .. } => RouteState::Known,
                NodeView { .. } => RouteState::Sleeping,
            },
            mobile: node.mobile,
        };
        let table = self.overlay.core().table();
        let direct = self.overlay.linked().filter(|(device, _)| !table.is_connected(device));
        RoutesView {
            buckets: table.bucket_count(),
            nodes: table.nodes().map(view).collect(),
            direct: direct.map(|(device, account)| DirectView { device, account }).collect(),
            told: self.outbox.told_count,
            heard: self.outbox.heard_count,
        }
    }
}

const fn place(config: &RouterActorConfig) -> Place {
    Place { conversation: config.id, device: config.device, account: config.account }
}

impl Actor for RouterActor {
    type Message = RouterMessage;
    const KIND: &'static str = "router";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.load_mobiles(scope);
        scope.after(FIRST_SEEK, |router, scope| {
            if !router.overlay.core().table().has_connected() {
                router.seek(scope);
            }
        });
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        self.happen(Event::Deadline, scope);
    }

    fn handle(&mut self, message: RouterMessage, scope: &mut Scope<'_, Self>) {
        match message {
            RouterMessage::Overview { members, linked } => {
                let follows = self.overlay.overview(members, &linked);
                self.follow(follows, scope);
            }
            RouterMessage::Link { device, account, state } => {
                let follows = self.overlay.link(device, account, state);
                self.follow(follows, scope);
            }
            RouterMessage::NetworkChanged => self.happen(Event::ConnectivityChanged, scope),
            RouterMessage::Offer(offer) => self.offered(offer, scope),
            RouterMessage::Head(head) => self.head(head, scope),
            RouterMessage::Heard { device, commit } => self.heard(device, commit),
            RouterMessage::Routes(reply) => reply.send(self.routes()),
            RouterMessage::Received { channel, message, place: _place } => {
                self.happen(Event::Received { channel, message: *message }, scope);
            }
        }
    }
}
