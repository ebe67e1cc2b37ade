//! Two sides with calls, in virtual time, and what stands for links, ways for sound, and devices by hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use skep_protocol::call::{Action, Ends, Leg};
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId, LocalAccountId};
use skep_protocol::link::ice_text::{CandidateKind, Credentials};
use skep_protocol::sdp::{
    self, Candidate, Codec, Component, Description, LocalMedia, LocalStream, MediaKind, Origin, SrtpKey,
};
use skep_protocol::sip::stream::{SipMessage, SipReader};
use skep_protocol::time::{Moment, UnixMillis};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use webrtc_util::Conn;

use crate::account::messages::LinkView;
use crate::blocking::{BlockingPool, Share};
use crate::call::media::{SilentSide, SoundChoice};
use crate::call::messages::{
    CallCommand, CallError, CallId, CallOver, CallStage, CallView, CallsMessage, CallsTold,
};
use crate::call::paths::{GatheredPaths, MediaPath, PathError, PathRole, Paths, RemotePaths};
use crate::call::{CallsActor, CallsConfig};
use crate::directory::messages::DirectoryMessage;
use crate::event::{Event, NodeEvent};
use crate::peer::channel::{Channel, ChannelReceiver, ChannelSender, Outbound};
use crate::peer::dialect::SOMEWHERE;
use crate::peer::line::SipLine;
use crate::peer::messages::LinksMessage;
use crate::supervision::{
    Actor, ChildSpec, Environment, Message, Outlet, Policy, Port, Reply, RootHandle, Scope, start_root,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// The two sides: their accounts, and a device of each. Of two who call each other, the lower gives way.
pub(super) const LOW: (AccountId, DeviceId) = (AccountId([1; 20]), DeviceId([11; 32]));
pub(super) const HIGH: (AccountId, DeviceId) = (AccountId([2; 20]), DeviceId([12; 32]));

/// Runs a test in virtual time.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// The ways for sound, which go nowhere but from one session to the other.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// How many sessions were opened.
    pub(super) opened: AtomicUsize,
    /// How long that takes, in milliseconds.
    pub(super) slow: AtomicU64,
    ends: Mutex<BTreeMap<String, End>>,
    /// Told that all that are there break.
    broken: watch::Sender<u64>,
}

type End = (MemoryConn, MemoryConn);

impl Ways {
    pub(super) fn break_all(&self) {
        self.broken.send_modify(|count| *count += 1);
    }
}

/// Of one side; for [`Paths`].
#[derive(Clone, Debug)]
struct OfSide(Arc<Ways>);

impl Paths for OfSide {
    fn gather(&self, _: PathRole) -> BoxFuture<'static, Result<Box<dyn GatheredPaths>, PathError>> {
        let ways = Arc::clone(&self.0);
        async move {
            let number = ways.opened.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(ways.slow.load(Ordering::Relaxed))).await;
            let session: Box<dyn GatheredPaths> = Box::new(Session { ways, number });
            Ok(session)
        }
        .boxed()
    }
}

#[derive(Debug)]
struct Session {
    ways: Arc<Ways>,
    number: usize,
}

impl GatheredPaths for Session {
    fn credentials(&self) -> Credentials {
        Credentials { ufrag: format!("{:08}", self.number), password: "0123456789012345678901ab".into() }
    }

    fn candidates(&self) -> Vec<(Component, Candidate)> {
        [(Component::Rtp, 1), (Component::Rtcp, 2)]
            .map(|(component, number)| (component, candidate(number)))
            .into()
    }

    fn address(&self) -> std::net::IpAddr {
        SOMEWHERE.ip()
    }

    fn connect(self: Box<Self>, remote: RemotePaths) -> BoxFuture<'static, Result<MediaPath, PathError>> {
        let (own, theirs) = (self.credentials().ufrag, remote.credentials.ufrag);
        let mut ends = self.ways.ends.lock().unwrap();
        // Whoever comes second finds its end under the name of both.
        let (media, reports) = ends.remove(&format!("{own}{theirs}")).unwrap_or_else(|| {
            let (media, far_media) = MemoryConn::pair();
            let (reports, far_reports) = MemoryConn::pair();
            ends.insert(format!("{theirs}{own}"), (far_media, far_reports));
            (media, reports)
        });
        drop(ends);
        let mut told = self.ways.broken.subscribe();
        let broken = async move { _ = told.changed().await }.boxed();
        let path =
            MediaPath { media: Arc::new(media), reports: Arc::new(reports), broken, keep: Box::new(()) };
        futures::future::ready(Ok(path)).boxed()
    }
}

fn candidate(number: u8) -> Candidate {
    let (address, kind) = (SOMEWHERE.ip(), CandidateKind::Host);
    Candidate { foundation: "H1".into(), number, priority: 2_130_706_431, address, port: 4000, kind }
}

#[derive(Debug)]
struct MemoryConn {
    to: mpsc::Sender<Vec<u8>>,
    from: AsyncMutex<mpsc::Receiver<Vec<u8>>>,
}

impl MemoryConn {
    fn pair() -> (Self, Self) {
        let ((to_there, from_here), (to_here, from_there)) = (mpsc::channel(64), mpsc::channel(64));
        let end = |to, from| Self { to, from: AsyncMutex::new(from) };
        (end(to_there, from_there), end(to_here, from_here))
    }
}

#[async_trait]
impl Conn for MemoryConn {
    async fn connect(&self, _: SocketAddr) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        match self.from.lock().await.recv().await {
            Some(packet) => {
                buffer[..packet.len()].copy_from_slice(&packet);
                Ok(packet.len())
            }
            // The other end closed; as over UDP, nobody is told.
            None => std::future::pending().await,
        }
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        Ok((self.recv(buffer).await?, SOMEWHERE))
    }

    async fn send(&self, packet: &[u8]) -> Result<usize, webrtc_util::Error> {
        let _ = self.to.try_send(packet.to_vec());
        Ok(packet.len())
    }

    async fn send_to(&self, packet: &[u8], _: SocketAddr) -> Result<usize, webrtc_util::Error> {
        self.send(packet).await
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        Ok(SOMEWHERE)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// A channel and its other end: what each of the two sides holds.
pub(super) fn channel(one: (AccountId, DeviceId), other: (AccountId, DeviceId)) -> (Channel, Channel) {
    let ((to_one, at_one), (to_other, at_other)) = (mpsc::channel(64), mpsc::channel(64));
    let ((from_one, mut of_one), (from_other, mut of_other)) = (mpsc::channel(64), mpsc::channel(64));
    let make = |of: (AccountId, DeviceId), outbound: mpsc::Sender<Outbound>, open, inbound| Channel {
        name: "sip".to_owned(),
        device: of.1,
        account: of.0,
        sender: ChannelSender { number: 1, bulk: outbound.clone(), outbound, open },
        receiver: ChannelReceiver { inbound, end: Arc::default() },
    };
    let ends = (
        make(other, from_one, to_one.downgrade(), at_one),
        make(one, from_other, to_other.downgrade(), at_other),
    );
    tokio::task::spawn_local(async move {
        loop {
            let (to, outbound) = tokio::select! {
                said = of_one.recv() => (&to_other, said),
                said = of_other.recv() => (&to_one, said),
            };
            match outbound {
                Some(Outbound::Data { bytes, .. }) => {
                    if to.send(bytes).await.is_err() {
                        return;
                    }
                }
                Some(Outbound::Close { .. }) | None => return,
            }
        }
    });
    ends
}

/// What all of a world share.
#[derive(Clone)]
struct Shared {
    ways: Arc<Ways>,
    calls: Arc<Mutex<BTreeMap<AccountId, Port<CallsMessage>>>>,
    /// Where channels that are opened end instead of at the other side, if by hand.
    by_hand: mpsc::Sender<Channel>,
    is_by_hand: Arc<AtomicBool>,
    events: BTreeMap<AccountId, Outlet<NodeEvent>>,
    told: BTreeMap<AccountId, Outlet<CallsTold>>,
}

fn other(side: AccountId) -> (AccountId, DeviceId) {
    if side == LOW.0 { HIGH } else { LOW }
}

fn own(side: AccountId) -> (AccountId, DeviceId) {
    if side == LOW.0 { LOW } else { HIGH }
}

/// Stands for the links of a side.
struct FakeLinks(AccountId, Shared);

impl Actor for FakeLinks {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, message: LinksMessage, _: &mut Scope<'_, Self>) {
        let (account, device) = other(self.0);
        match message {
            LinksMessage::List(reply) => {
                reply.send(vec![LinkView { account, device, state: "up".to_owned(), connections: 1 }]);
            }
            LinksMessage::Open { reply, .. } => {
                let (near, far) = channel(own(self.0), (account, device));
                reply.send(Ok(near));
                if self.1.is_by_hand.load(Ordering::Relaxed) {
                    self.1.by_hand.try_send(far).unwrap();
                } else {
                    let heard = self.1.calls.lock().unwrap()[&account].outlet(CallsMessage::Heard);
                    let (line, reader) = SipLine::open(far);
                    tokio::task::spawn_local(async move {
                        reader.read(heard).await;
                        drop(line);
                    });
                }
            }
            _ => {}
        }
    }
}

struct FakeDirectory;

impl Actor for FakeDirectory {
    type Message = DirectoryMessage;
    const KIND: &'static str = "directory";

    fn handle(&mut self, message: DirectoryMessage, _: &mut Scope<'_, Self>) {
        if let DirectoryMessage::Devices { reply, .. } = message {
            reply.send(Vec::new());
        }
    }
}

struct Root(Shared);

pub(super) enum RootMessage {
    Started(Reply<()>),
}

impl Message for RootMessage {
    fn kind(&self) -> &'static str {
        "started"
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Actor for Root {
    type Message = RootMessage;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let directory = scope.start_child(ChildSpec::new("directory"), || FakeDirectory);
        let pool = BlockingPool::new(2);
        for (account, device) in [LOW, HIGH] {
            let shared = self.0.clone();
            let links =
                scope.start_child(ChildSpec::new("links"), move || FakeLinks(account, shared.clone()));
            let config = CallsConfig {
                local: LocalAccountId([account.0[0]; 8]),
                account,
                device: DeviceShortId([device.0[0]; 20]),
                device_id: device,
                name: "somebody".to_owned(),
                paths: Arc::new(OfSide(Arc::clone(&self.0.ways))),
                media: Arc::new(SilentSide),
                links,
                directory: directory.clone(),
                pool: pool.clone(),
                share: Share(1),
                events: self.0.events[&account].clone(),
                told: self.0.told[&account].clone(),
            };
            let calls = scope.start_child(ChildSpec::new("calls"), move || CallsActor::new(config.clone()));
            self.0.calls.lock().unwrap().insert(account, calls);
        }
    }

    fn handle(&mut self, RootMessage::Started(reply): RootMessage, _: &mut Scope<'_, Self>) {
        reply.send(());
    }
}

/// One who has calls.
pub(super) struct Side {
    pub(super) id: AccountId,
    pub(super) calls: Port<CallsMessage>,
    pub(super) events: mpsc::Receiver<NodeEvent>,
    pub(super) told: mpsc::Receiver<CallsTold>,
}

/// Two of them.
pub(super) struct World {
    pub(super) root: RootHandle<RootMessage>,
    pub(super) low: Side,
    pub(super) high: Side,
    pub(super) ways: Arc<Ways>,
    /// The far ends of channels, once they are to be held by hand.
    pub(super) channels: mpsc::Receiver<Channel>,
    is_by_hand: Arc<AtomicBool>,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with_room(1024).await
    }

    /// So many events find room before they are read.
    pub(super) async fn with_room(events: usize) -> Self {
        let (by_hand, channels) = mpsc::channel(64);
        let (ways, is_by_hand) = (Arc::new(Ways::default()), Arc::new(AtomicBool::default()));
        let (low_events, low_seen) = Outlet::channel("events", events);
        let (high_events, high_seen) = Outlet::channel("events", events);
        let (low_told, low_heard) = Outlet::channel("told", events);
        let (high_told, high_heard) = Outlet::channel("told", events);
        let shared = Shared {
            ways: Arc::clone(&ways),
            calls: Arc::default(),
            by_hand,
            is_by_hand: Arc::clone(&is_by_hand),
            events: BTreeMap::from([(LOW.0, low_events), (HIGH.0, high_events)]),
            told: BTreeMap::from([(LOW.0, low_told), (HIGH.0, high_told)]),
        };
        let calls = Arc::clone(&shared.calls);
        let root = start_root(Environment::single_thread(UnixMillis(1_700_000_000_000), 7), move || {
            Root(shared.clone())
        });
        root.port().ask(PATIENCE, RootMessage::Started).await.unwrap();
        let side = |id, events, told| Side { id, calls: calls.lock().unwrap()[&id].clone(), events, told };
        let (low, high) = (side(LOW.0, low_seen, low_heard), side(HIGH.0, high_seen, high_heard));
        Self { root, low, high, ways, channels, is_by_hand }
    }

    /// Channels that are opened from now on end in the hands of the test.
    pub(super) fn by_hand(&self) {
        self.is_by_hand.store(true, Ordering::Relaxed);
    }

    /// A call of the low side that is answered.
    pub(super) async fn call(&mut self) -> (CallId, CallId) {
        let placed = self.low.place(self.high.id).await;
        let taken = self.high.reaches(CallStage::Incoming).await;
        self.high.act(taken, CallCommand::Answer(SoundChoice::default())).await;
        self.low.reaches(CallStage::Active).await;
        self.high.reaches(CallStage::Active).await;
        (placed, taken)
    }
}

impl Side {
    pub(super) async fn place(&self, peer: AccountId) -> CallId {
        let place = |reply| CallsMessage::Place { peer, sound: SoundChoice::default(), reply };
        self.calls.ask(PATIENCE, place).await.unwrap().unwrap()
    }

    pub(super) async fn try_do(&self, call: CallId, command: CallCommand) -> Result<(), CallError> {
        self.calls.ask(PATIENCE, |reply| CallsMessage::Do { call, command, reply }).await.unwrap()
    }

    pub(super) async fn act(&self, call: CallId, command: CallCommand) {
        self.try_do(call, command).await.unwrap();
    }

    pub(super) async fn listed(&self) -> Vec<CallView> {
        self.calls.ask(PATIENCE, CallsMessage::List).await.unwrap()
    }

    async fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.unwrap().event;
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    pub(super) async fn reaches(&mut self, stage: CallStage) -> CallId {
        self.event(|event| match event {
            Event::CallChanged { call } if call.stage == stage => Some(call.id),
            _ => None,
        })
        .await
    }

    pub(super) async fn over(&mut self, id: CallId) -> CallOver {
        self.event(|event| match event {
            Event::CallEnded { call, over, .. } if *call == id => Some(*over),
            _ => None,
        })
        .await
    }

    /// How many packets came in the next second.
    pub(super) async fn hears(&self) -> u64 {
        let received = |calls: Vec<CallView>| calls.first().map_or(0, |call| call.received);
        let before = received(self.listed().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        received(self.listed().await).saturating_sub(before)
    }
}

/// A device that is played by hand, over one channel.
pub(super) struct ByHand {
    channel: Channel,
    reader: SipReader,
}

impl ByHand {
    pub(super) fn at(channel: Channel) -> Self {
        Self { channel, reader: SipReader::default() }
    }

    /// A channel to a side, which its owner reads as any that others open.
    pub(super) fn to(side: &Side) -> Self {
        let (here, there) = channel(other(side.id), own(side.id));
        let heard = side.calls.outlet(CallsMessage::Heard);
        let (line, reader) = SipLine::open(there);
        tokio::task::spawn_local(async move {
            reader.read(heard).await;
            drop(line);
        });
        Self::at(here)
    }

    pub(super) async fn say(&self, text: impl Into<Bytes>) {
        self.channel.sender.send(text.into()).await.unwrap();
    }

    /// The next message.
    pub(super) async fn hear(&mut self) -> SipMessage {
        let next = async {
            loop {
                let bytes = self.channel.receiver.receive().await.unwrap();
                let mut rest: &[u8] = &bytes;
                if let Some(message) = self.reader.next(&mut rest).unwrap() {
                    return message;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    /// Says what a leg wants said, and hears until it tells what is wanted.
    pub(super) async fn play<T>(
        &mut self,
        leg: &mut Leg,
        mut actions: Vec<Action>,
        mut wanted: impl FnMut(&Action) -> Option<T>,
    ) -> T {
        loop {
            let mut found = None;
            for action in &actions {
                if let Action::Send(bytes) = action {
                    self.say(bytes.clone()).await;
                }
                found = found.or(wanted(action));
            }
            if let Some(found) = found {
                return found;
            }
            let heard = self.hear().await;
            actions = leg.received(NOW, &heard);
        }
    }
}

/// The time of legs that are played by hand; none of theirs runs out.
pub(super) const NOW: Moment = Moment(Duration::ZERO);

/// What the legs of a side say of themselves.
pub(super) fn ends(side: &Side) -> Ends {
    let (account, device) = other(side.id);
    let device = DeviceShortId([device.0[0]; 20]);
    Ends::of_devices("By Hand", account, device, &side.id.to_hex(), SOMEWHERE, SOMEWHERE)
}

/// A description with a new session of ICE.
pub(super) fn description(version: u64) -> Description {
    let stream = LocalStream {
        kind: MediaKind::Audio,
        codecs: Codec::USUAL_AUDIO.to_vec(),
        enabled: true,
        muted: false,
        held: false,
    };
    let key = Some(SrtpKey::new([version.to_le_bytes()[0]; SrtpKey::LENGTH]));
    let candidates = vec![(Component::Rtp, candidate(1)), (Component::Rtcp, candidate(2))];
    let media = LocalMedia { stream, port: 4000, rtcp_port: 4001, key, candidates };
    let ice = Credentials { ufrag: format!("h{version:07}"), password: "0123456789012345678901".into() };
    let (origin, address) = (Origin::at("vm", 0, version, SOMEWHERE.ip()), SOMEWHERE.ip());
    sdp::offer(origin, "Call ID 1", Some(ice), address, &[media])
}
