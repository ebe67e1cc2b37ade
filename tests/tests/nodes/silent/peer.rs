//! A peer that speaks all protocols well up to a certain step, and then says nothing more while it
//! keeps everything open.
//!
//! ```text
//!   device.rs: found on the DHT, TCP, ICE, TLS ──► multiplexed socket (conversation.rs)
//! ```

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use skep_actors::dht::envelope::random_value_id;
use skep_actors::dht::messages::ListenEvent;
use skep_protocol::contact::TrustRequestMessage;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::Value;
use skep_protocol::ids::{AccountId, ConversationId, DhtKey};
use skep_protocol::keys::PublicKey;
use skep_protocol::link::ice_text::{Candidate, CandidateKind, Credentials, IceText};
use skep_protocol::link::request::{PeerRequest, RequestId, RequestKeys, USER_TYPE};
use skep_protocol::msgpack::Value as Object;
use skep_tests::harness::{Golden, PATIENCE};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::conversation::talk;
use crate::device::{Device, Release, device_of, request_content};

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
    pub(crate) device: Device,
    silent: watch::Sender<bool>,
    /// Git channels that it was asked for.
    pub(crate) git_channels: Cell<usize>,
}

impl SilentPeer {
    /// The peer of a recorded account that joins the DHT through a node and is announced there.
    pub(crate) async fn start(golden: Golden, until: Until, place: &Path, bootstrap: &str) -> Self {
        let device = Device::start(golden, Release::Newest, place, bootstrap);
        let (reached, silent) = watch::channel(false);
        let account = device.identity.account_id();
        let peer = Rc::new(Peer { until, device, silent: reached, git_channels: Cell::new(0) });
        let requests = peer.device.listen().await;
        if until != Until::Joined {
            peer.device.announce().await;
        }
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
        let request =
            TrustRequestMessage::request(conversation, b"no vCard", self.peer.device.environment.wall());
        let device = device_of(person);
        let inbox = DhtKey::inbox(device.device_short_id());
        self.peer.device.put_for(&device, inbox, request.to_content()).await;
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
        self.peer.device.put_for(&device, key, request_content(&request)).await;
    }

    /// Puts what makes no sense where a person's device listens.
    pub(crate) async fn scribble(&self, person: Golden) {
        let (device, own) = (device_of(person), self.peer.device.identity.key().public());
        let keys = RequestKeys::of(device.device_id(), device.device_short_id());
        let service = Object::map([("service", "cx.ring.other".into())]).encode();
        let other_service = Content::new(ValueKind::TrustRequest.type_number(), service);
        let garbage = || Content::new(ValueKind::UserData.type_number(), vec![0xc1; 100]);
        for key in [DhtKey::inbox(device.device_short_id()), keys.current, keys.legacy] {
            let random = || random_value_id(&self.peer.device.environment);
            self.peer.device.put(key, Value::plain(random(), garbage())).await;
            self.peer.device.put(key, Value::encrypted(random(), vec![7; 600])).await;
            self.peer.device.put_for(own, key, garbage()).await;
            self.peer.device.put_for(&device, key, garbage()).await;
            self.peer.device.put_for(&device, key, garbage().with_user_type(USER_TYPE)).await;
            self.peer.device.put_for(&device, key, other_service.clone()).await;
        }
        self.peer.is_silent();
    }
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

    async fn take_requests(self: Rc<Self>, mut events: mpsc::Receiver<ListenEvent>) {
        let mut meetings = tokio::task::JoinSet::new();
        while let Some(event) = events.recv().await {
            let ListenEvent::Values(values) = event else { continue };
            for value in values {
                if let Some((request, device)) = self.device.open(&value) {
                    meetings.spawn_local(Rc::clone(&self).meet(request, device));
                }
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

    async fn answer_without_address(&self, request: &PeerRequest, device: &PublicKey) {
        let host = IpAddr::from(Ipv4Addr::LOCALHOST);
        let candidates = vec![Candidate::active(CandidateKind::Host, host, host, 0)];
        let text = IceText::new(Credentials::from_random(&[5; 24]), candidates);
        self.device.answer(request, device, &text).await;
        self.is_silent();
        pending().await
    }

    async fn answer_and_only_accept(&self, request: &PeerRequest, device: &PublicKey) {
        let host = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let candidates = vec![Candidate::passive(CandidateKind::Host, host, host, port, 0)];
        let text = IceText::new(Credentials::from_random(&[6; 24]), candidates);
        self.device.answer(request, device, &text).await;
        let mut sockets = Vec::new();
        loop {
            sockets.push(listener.accept().await.unwrap());
            self.is_silent();
        }
    }

    async fn connect(&self, request: &PeerRequest, device: &PublicKey) {
        let Some(mut stream) = self.device.path(request, device).await else { return };
        let device = device.device_id();
        match self.until {
            Until::Nominated => {
                self.is_silent();
                // Reading answers the checks.
                let _ = stream.read(&mut [0; 1]).await;
                pending().await
            }
            Until::HandshakeBegun => {
                let deaf = Deaf { stream, heard: || self.is_silent() };
                let _ = self.device.secure(deaf, device).await;
            }
            _ => {
                if let Ok(stream) = self.device.secure(stream, device).await {
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
