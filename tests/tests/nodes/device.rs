//! A recorded device on no node: others find it on the DHT and connect to it, and what it says then is
//! up to the test.
//!
//! ```text
//!   DHT: certificate, announcement ──► found by the node
//!        request ──► answer ──► TCP, ICE (path) ──► TLS (secure)
//! ```

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skep_actors::account::identity::{self, AccountFolder};
use skep_actors::dht::envelope::{EnvelopeRandom, random_value_id, seal};
use skep_actors::dht::kad::KadNetwork;
use skep_actors::dht::kad::config::NodeSecret;
use skep_actors::dht::messages::{DhtMessage, ListenEvent, ListenId};
use skep_actors::dht::{DhtActor, DhtMemory};
use skep_actors::peer::transport::{
    GatherOptions, IceAgent, IceRole, IceStream, SecureStream, TlsError, TlsIdentity, secure,
};
use skep_actors::supervision::{Environment, Outlet, RootHandle, start_root};
use skep_protocol::dht::cipher;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::{Body, Value, ValueId};
use skep_protocol::identity::{Chain, DeviceIdentity};
use skep_protocol::ids::{DeviceId, DhtKey, sha256};
use skep_protocol::keys::PublicKey;
use skep_protocol::link::ice_text::IceText;
use skep_protocol::link::request::{PeerRequest, RequestKeys, USER_TYPE};
use skep_protocol::msgpack::Value as Object;
use skep_tests::harness::{Golden, PATIENCE, vector};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Which keys of the DHT a device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Those of long device ids.
    Newest,
    /// Those of short device ids.
    Of2023,
}

/// See the module. It leaves the DHT when it is dropped.
pub(crate) struct Device {
    pub(crate) identity: Arc<DeviceIdentity>,
    pub(crate) environment: Environment,
    release: Release,
    tls: TlsIdentity,
    dht: RootHandle<DhtMessage>,
}

impl Device {
    /// The device of a recorded account, in the DHT of a node and not announced yet. Its files go into
    /// `place`.
    pub(crate) fn start(golden: Golden, release: Release, place: &Path, bootstrap: &str) -> Self {
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
        Self { identity, environment, release, tls, dht }
    }

    pub(crate) async fn put(&self, key: DhtKey, value: Value) {
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

    /// Puts what only `recipient` can read.
    pub(crate) async fn put_for(&self, recipient: &PublicKey, key: DhtKey, content: Content) {
        let random = EnvelopeRandom::draw(&self.environment);
        self.put(key, seal(content, self.identity.key(), recipient, &random).unwrap()).await;
    }

    /// Listens for connection requests.
    pub(crate) async fn listen(&self) -> mpsc::Receiver<ListenEvent> {
        let own = self.identity.key().public();
        let (outlet, requests) = Outlet::channel("requests", 64);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key: self.requests_of(own), outlet };
        self.dht.port().send(listen).await.unwrap();
        requests
    }

    /// Publishes what others need to find it.
    pub(crate) async fn announce(&self) {
        let own = self.identity.key().public();
        let chain = Object::binary(self.identity.chain().chain().to_pem().as_bytes()).encode();
        let certificate = Value::plain(ValueId(1), Content::new(ValueKind::Certificate.type_number(), chain));
        let key = match self.release {
            Release::Newest => DhtKey::certificate(own.device_id()),
            Release::Of2023 => DhtKey::legacy_certificate(own.device_short_id()),
        };
        self.put(key, certificate).await;
        let announcement = self.identity.announcement(random_value_id(&self.environment));
        self.put(self.identity.account_id().dht_key(), announcement).await;
    }

    /// Where connection requests to a device go.
    fn requests_of(&self, device: &PublicKey) -> DhtKey {
        let keys = RequestKeys::of(device.device_id(), device.device_short_id());
        if self.release == Release::Newest { keys.current } else { keys.legacy }
    }

    /// What is a connection request to it, and who asks.
    pub(crate) fn open(&self, value: &Value) -> Option<(PeerRequest, PublicKey)> {
        let Body::Encrypted(cipher) = &value.body else { return None };
        let opened = cipher::open(cipher, self.identity.key()).ok()?;
        let request = PeerRequest::decode(&opened.content().data).ok()?;
        Some((request, opened.owner().clone()))
    }

    /// Says where it can be connected to.
    pub(crate) async fn answer(&self, request: &PeerRequest, device: &PublicKey, text: &IceText) {
        let answer = PeerRequest {
            id: request.id,
            ice_text: text.to_string(),
            is_answer: true,
            connection_type: String::new(),
        };
        self.put_for(device, self.requests_of(device), request_content(&answer)).await;
    }

    /// Agrees on a path with who asks. One of several attempts may come to nothing, as when the node has
    /// given it up.
    pub(crate) async fn path(
        &self,
        request: &PeerRequest,
        device: &PublicKey,
    ) -> Option<IceStream<TcpStream>> {
        let gather = GatherOptions { include_loopback: true };
        let agent = IceAgent::gather(IceRole::Controlling, gather).unwrap();
        let text = agent.local_text().clone();
        self.answer(request, device, &text).await;
        let remote = IceText::parse(&request.ice_text).unwrap();
        Box::pin(agent.connect(&remote, Instant::now() + PATIENCE)).await.ok()
    }

    pub(crate) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        device: DeviceId,
    ) -> Result<SecureStream<S>, TlsError> {
        let now = self.environment.wall();
        Box::pin(secure(stream, IceRole::Controlling, &self.tls, device, now)).await
    }
}

/// The key of a recorded device.
pub(crate) fn device_of(person: Golden) -> PublicKey {
    let chain = fs::read(vector(person.device).join("ring_device.crt")).unwrap();
    Chain::parse(&chain).unwrap().leaf().public_key().clone()
}

pub(crate) fn request_content(request: &PeerRequest) -> Content {
    Content::new(ValueKind::UserData.type_number(), request.encode()).with_user_type(USER_TYPE)
}
