//! A recorded device that others can find and connect to, played by the test.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;

use skep_actors::dht::messages::ListenEvent;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::ids::DhtKey;
use skep_protocol::keys::PublicKey;
use skep_protocol::link::request::PeerRequest;
use skep_tests::harness::{Golden, PATIENCE};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::socket::Socket;
use crate::device::{Device, Release, device_of};

/// See the module. Everything it has open is closed when it is dropped.
pub(super) struct PlayedPeer {
    device: Rc<Device>,
    sockets: watch::Receiver<Option<Rc<Socket>>>,
    task: AbortHandle,
}

impl PlayedPeer {
    /// One that has joined the DHT through a node and is announced there.
    pub(super) async fn start(golden: Golden, release: Release, place: &Path, bootstrap: &str) -> Self {
        let device = Rc::new(Device::start(golden, release, place, bootstrap));
        let requests = device.listen().await;
        device.announce().await;
        let (connected, sockets) = watch::channel(None);
        let answer = take_requests(Rc::clone(&device), release, requests, connected);
        let task = tokio::task::spawn_local(answer).abort_handle();
        Self { device, sockets, task }
    }

    /// Puts a recorded contact request, or its confirmation, where a person looks for them.
    pub(super) async fn ask(&self, person: Golden, request: &[u8]) {
        let device = device_of(person);
        let content = Content::new(ValueKind::TrustRequest.type_number(), request.to_vec());
        self.device.put_for(&device, DhtKey::inbox(device.device_short_id()), content).await;
    }

    /// Its connection with the node.
    pub(super) async fn socket(&mut self) -> Rc<Socket> {
        let connected = tokio::time::timeout(PATIENCE, self.sockets.wait_for(Option::is_some)).await;
        let Ok(socket) = connected else { panic!("the node does not connect") };
        Rc::clone(socket.unwrap().as_ref().unwrap())
    }
}

impl Drop for PlayedPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects to whoever asks.
async fn take_requests(
    device: Rc<Device>,
    release: Release,
    mut events: mpsc::Receiver<ListenEvent>,
    connected: watch::Sender<Option<Rc<Socket>>>,
) {
    let (mut meetings, mut treated) = (tokio::task::JoinSet::new(), HashSet::new());
    while let Some(event) = events.recv().await {
        let ListenEvent::Values(values) = event else { continue };
        for value in values {
            // Requests are repeated until they are answered.
            let Some((request, peer)) = device.open(&value) else { continue };
            if treated.insert(request.id) {
                meetings.spawn_local(meet(Rc::clone(&device), release, request, peer, connected.clone()));
            }
        }
    }
}

async fn meet(
    device: Rc<Device>,
    release: Release,
    request: PeerRequest,
    peer: PublicKey,
    connected: watch::Sender<Option<Rc<Socket>>>,
) {
    let Some(stream) = device.path(&request, &peer).await else { return };
    let Ok(stream) = device.secure(stream, peer.device_id()).await else { return };
    let socket = Socket::new();
    connected.send_replace(Some(Rc::clone(&socket)));
    // Daemons decline what they do not know; nobody knew packed messages in 2023.
    let declined = |name: &str| release == Release::Of2023 && name.starts_with("msg:");
    socket.run(stream, declined).await;
}
