//! A peer that speaks all protocols well up to a certain step, and then says nothing more while it
//! keeps everything open.
//!
//! ```text
//!   DHT: certificate, announcement ──► found by the node
//!        request ──► answer ──► TCP, ICE ──► TLS ──► multiplexed socket (conversation.rs)
//! ```

use std::cell::Cell;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fs, io};

use skep_actors::account::identity::{self, AccountFolder};
use skep_actors::dht::envelope::{EnvelopeRandom, random_value_id, seal};
use skep_actors::dht::kad::KadNetwork;
use skep_actors::dht::kad::config::NodeSecret;
use skep_actors::dht::messages::{DhtMessage, ListenEvent, ListenId};
use skep_actors::dht::{DhtActor, DhtMemory};
use skep_actors::peer::transport::{GatherOptions, IceAgent, IceRole, TlsIdentity, secure};
use skep_actors::supervision::{Environment, Outlet, RootHandle, start_root};
use skep_protocol::contact::TrustRequestMessage;
use skep_protocol::dht::cipher;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::{Body, Value, ValueId};
use skep_protocol::identity::{Chain, DeviceIdentity};
use skep_protocol::ids::{AccountId, ConversationId, DhtKey, sha256};
use skep_protocol::keys::PublicKey;
use skep_protocol::link::ice_text::{Candidate, CandidateKind, Credentials, IceText};
use skep_protocol::link::request::{PeerRequest, RequestId, RequestKeys, USER_TYPE};
use skep_protocol::msgpack::Value as Object;
use skep_tests::harness::{Golden, PATIENCE, vector};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::conversation::talk;

/// What the peer does last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// It has joined the DHT; neither its certificate nor its announcement is there.
    Joined,
    /// It is announced and takes values from the DHT; it answers no connection request.
    Found,
    /// It answers, with no address that could be dialled, and dials none.
    Answered,
    /// It takes TCP connections.
    Connected,
    /// It agrees on a path, and answers checks of it.
    Nominated,
    /// It begins the TLS handshake.
    HandshakeBegun,
    /// It has a multiplexed socket; it answers no request for a channel.
    Multiplexed,
    /// It opens a message channel and reads from nothing any more.
    MessagesOpened,
    /// It opens a git channel to whoever wants to fetch.
    GitOpened,
    /// It opens a git channel, and announces one commit after the other that nobody has.
    Announcing,
    /// It sends half of a pack.
    HalfAPack,
    /// It sends a whole pack, with the history of other people.
    ForeignPack,
    /// It asks for a whole conversation and reads from nothing any more.
    PackWanted,
    /// It opens every channel and reads what comes; it confirms no contact.
    Unconfirmed,
}

/// See the module. Everything it has open is closed when it is dropped.
pub(crate) struct SilentPeer {
    pub(crate) account: AccountId,
    peer: Rc<Peer>,
    silent: watch::Receiver<bool>,
    task: AbortHandle,
}

/// What all its tasks need.
pub(crate) struct Peer {
    pub(crate) until: Until,
    pub(crate) identity: Arc<DeviceIdentity>,
    tls: TlsIdentity,
    environment: Environment,
    dht: RootHandle<DhtMessage>,
    silent: watch::Sender<bool>,
    /// Git channels that it was asked for.
    pub(crate) git_channels: Cell<usize>,
}

impl SilentPeer {
    /// The peer of a recorded account that joins the DHT through a node and is announced there.
    pub(crate) async fn start(golden: Golden, until: Until, place: &Path, bootstrap: &str) -> Self {
        golden.lay_out(place).unwrap();
        let local = golden.id[..16].parse().unwrap();
        let environment = Environment::threads(Vec::new());
        let folder = AccountFolder::new(&place.join("accounts"), local);
        let identity = Arc::new(identity::load(&folder, environment.wall()).unwrap());
        let tls = TlsIdentity::new(identity.chain().chain(), identity.key()).unwrap();
        let config = KadNetwork {
            secret: NodeSecret(sha256(golden.id.as_bytes())),
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            bootstrap: vec![bootstrap.parse().unwrap()],
            known_peers: None,
        };
        let make = move || DhtActor::new(config.clone(), DhtMemory::default());
        let dht = start_root(environment.clone(), make);
        let (reached, silent) = watch::channel(false);
        let account = identity.account_id();
        let peer = Rc::new(Peer {
            until,
            identity,
            tls,
            environment,
            dht,
            silent: reached,
            git_channels: Cell::new(0),
        });
        let requests = peer.announce().await;
        let task = tokio::task::spawn_local(Rc::clone(&peer).take_requests(requests)).abort_handle();
        Self { account, peer, silent, task }
    }

    /// Waits until it has come to its last step.
    pub(crate) async fn silent(&mut self) {
        let reached = tokio::time::timeout(PATIENCE, self.silent.wait_for(|silent| *silent)).await;
        assert!(reached.is_ok(), "the peer did not get as far as {:?}", self.peer.until);
    }

    /// Git channels that it was asked for.
    pub(crate) fn git_channels(&self) -> usize {
        self.peer.git_channels.get()
    }

    /// Asks a person to become a contact and to fetch a conversation. Its profile is none.
    pub(crate) async fn invite(&self, person: Golden, conversation: ConversationId) {
        let request = TrustRequestMessage::request(conversation, b"no vCard", self.peer.environment.wall());
        let device = device_of(person);
        let inbox = DhtKey::inbox(device.device_short_id());
        self.peer.put_for(&device, inbox, request.to_content()).await;
    }

    /// Asks a person's device for a connection.
    pub(crate) async fn ask_for_connection(&self, person: Golden) {
        let candidates = Vec::new();
        let text = IceText::new(Credentials::from_random(&[4; 24]), candidates);
        let request = PeerRequest {
            id: RequestId(4),
            ice_text: text.to_string(),
            is_answer: false,
            connection_type: String::new(),
        };
        let device = device_of(person);
        let key = RequestKeys::of(device.device_id(), device.device_short_id()).current;
        self.peer.put_for(&device, key, request_content(&request)).await;
    }

    /// Puts what makes no sense where a person's device listens.
    pub(crate) async fn scribble(&self, person: Golden) {
        let (device, own) = (device_of(person), self.peer.identity.key().public());
        let keys = RequestKeys::of(device.device_id(), device.device_short_id());
        let service = Object::map([("service", "cx.ring.other".into())]).encode();
        let other_service = Content::new(ValueKind::TrustRequest.type_number(), service);
        let garbage = || Content::new(ValueKind::UserData.type_number(), vec![0xc1; 100]);
        for key in [DhtKey::inbox(device.device_short_id()), keys.current, keys.legacy] {
            let random = || random_value_id(&self.peer.environment);
            self.peer.put(key, Value::plain(random(), garbage())).await;
            self.peer.put(key, Value::encrypted(random(), vec![7; 600])).await;
            self.peer.put_for(own, key, garbage()).await;
            self.peer.put_for(&device, key, garbage()).await;
            self.peer.put_for(&device, key, garbage().with_user_type(USER_TYPE)).await;
            self.peer.put_for(&device, key, other_service.clone()).await;
        }
        self.peer.is_silent();
    }
}

/// The key of a recorded device.
fn device_of(person: Golden) -> PublicKey {
    let chain = fs::read(vector(person.device).join("ring_device.crt")).unwrap();
    Chain::parse(&chain).unwrap().leaf().public_key().clone()
}

fn request_content(request: &PeerRequest) -> Content {
    Content::new(ValueKind::UserData.type_number(), request.encode()).with_user_type(USER_TYPE)
}

impl Drop for SilentPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// Notes that the last step is done.
    pub(crate) fn is_silent(&self) {
        self.silent.send_replace(true);
    }

    async fn put(&self, key: DhtKey, value: Value) {
        let put = || {
            let value = value.clone();
            self.dht.port().ask(PATIENCE, move |reply| DhtMessage::Put {
                key,
                value,
                permanent: false,
                reply,
            })
        };
        while put().await.unwrap().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn put_for(&self, recipient: &PublicKey, key: DhtKey, content: Content) {
        let random = EnvelopeRandom::draw(&self.environment);
        self.put(key, seal(content, self.identity.key(), recipient, &random).unwrap()).await;
    }

    /// Publishes what others need to find the device, and listens for their requests.
    async fn announce(&self) -> mpsc::Receiver<ListenEvent> {
        let own = self.identity.key().public();
        let keys = RequestKeys::of(own.device_id(), own.device_short_id());
        let (outlet, requests) = Outlet::channel("requests", 64);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key: keys.current, outlet };
        self.dht.port().send(listen).await.unwrap();
        if self.until == Until::Joined {
            return requests;
        }
        let chain = Object::binary(self.identity.chain().chain().to_pem().as_bytes()).encode();
        let certificate = Value::plain(ValueId(1), Content::new(ValueKind::Certificate.type_number(), chain));
        self.put(DhtKey::certificate(own.device_id()), certificate).await;
        let announcement = self.identity.announcement(random_value_id(&self.environment));
        self.put(self.identity.account_id().dht_key(), announcement).await;
        requests
    }

    async fn take_requests(self: Rc<Self>, mut events: mpsc::Receiver<ListenEvent>) {
        let mut meetings = tokio::task::JoinSet::new();
        while let Some(event) = events.recv().await {
            let ListenEvent::Values(values) = event else { continue };
            for value in values {
                let Body::Encrypted(cipher) = &value.body else { continue };
                let Ok(opened) = cipher::open(cipher, self.identity.key()) else { continue };
                let Ok(request) = PeerRequest::decode(&opened.content().data) else { continue };
                meetings.spawn_local(Rc::clone(&self).meet(request, opened.owner().clone()));
            }
        }
    }

    /// Meets a device that asks for a connection, as far as it should go.
    async fn meet(self: Rc<Self>, request: PeerRequest, device: PublicKey) {
        match self.until {
            Until::Joined | Until::Found => {
                self.is_silent();
                pending().await
            }
            Until::Answered => self.answer_without_address(&request, &device).await,
            Until::Connected => self.answer_and_only_accept(&request, &device).await,
            _ => self.connect(&request, &device).await,
        }
    }

    async fn answer(&self, request: &PeerRequest, device: &PublicKey, text: &IceText) {
        let answer = PeerRequest {
            id: request.id,
            ice_text: text.to_string(),
            is_answer: true,
            connection_type: String::new(),
        };
        let key = RequestKeys::of(device.device_id(), device.device_short_id()).current;
        self.put_for(device, key, request_content(&answer)).await;
    }

    async fn answer_without_address(&self, request: &PeerRequest, device: &PublicKey) {
        let host = IpAddr::from(Ipv4Addr::LOCALHOST);
        let candidates = vec![Candidate::active(CandidateKind::Host, host, host, 0)];
        self.answer(request, device, &IceText::new(Credentials::from_random(&[5; 24]), candidates)).await;
        self.is_silent();
        pending().await
    }

    async fn answer_and_only_accept(&self, request: &PeerRequest, device: &PublicKey) {
        let host = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let candidates = vec![Candidate::passive(CandidateKind::Host, host, host, port, 0)];
        self.answer(request, device, &IceText::new(Credentials::from_random(&[6; 24]), candidates)).await;
        let mut sockets = Vec::new();
        loop {
            sockets.push(listener.accept().await.unwrap());
            self.is_silent();
        }
    }

    async fn connect(&self, request: &PeerRequest, device: &PublicKey) {
        let gather = GatherOptions { include_loopback: true };
        let agent = IceAgent::gather(IceRole::Controlling, gather).unwrap();
        let text = agent.local_text().clone();
        self.answer(request, device, &text).await;
        let remote = IceText::parse(&request.ice_text).unwrap();
        // One of several attempts may come to nothing, as when the node has given it up.
        let Ok(mut stream) = Box::pin(agent.connect(&remote, Instant::now() + PATIENCE)).await else {
            return;
        };
        let (device, now) = (device.device_id(), self.environment.wall());
        match self.until {
            Until::Nominated => {
                self.is_silent();
                // Reading answers the checks.
                let _ = stream.read(&mut [0; 1]).await;
                pending().await
            }
            Until::HandshakeBegun => {
                let deaf = Deaf { stream, heard: || self.is_silent() };
                let _ = Box::pin(secure(deaf, IceRole::Controlling, &self.tls, device, now)).await;
            }
            _ => {
                if let Ok(stream) =
                    Box::pin(secure(stream, IceRole::Controlling, &self.tls, device, now)).await
                {
                    talk(self, stream).await;
                }
            }
        }
    }
}

/// A stream that takes what is said to it and understands nothing.
struct Deaf<S, F> {
    stream: S,
    heard: F,
}

impl<S: AsyncRead + Unpin, F: Fn() + Unpin> AsyncRead for Deaf<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut scratch = [0; 1024];
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            (self.heard)();
        }
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Deaf<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
