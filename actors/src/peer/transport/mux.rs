//! All TCP connections of one ICE attempt, shown to the ICE agent as one datagram socket.
//!
//! The agent (webrtc-ice) knows datagrams only. It is given one socket with one local address, and
//! every TCP connection, dialled or accepted, IPv4 or IPv6, is a remote address to it. These
//! addresses are aliases: their port is the number of the connection, and they never leave this
//! module. So the agent sees exactly one pair for each connection that can exist.
//!
//! ```text
//!   agent ──send_to(alias 3)──▶ PathMux ──▶ path 3 ──TCP──▶ 192.168.1.5:41523
//!   agent ◀──recv_from─────────    "    ◀── path 7 ◀──TCP── [2001:db8::7]:50122
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use webrtc_ice::udp_mux::UDPMux;
use webrtc_util::{Conn, Error};

use super::binding::BindingResponder;
use super::path::{OpenPath, Origin, Path, Taken};

/// Most connections kept at once of those that nobody has sent a valid check on; the oldest makes
/// room for the next.
const MAX_STRANGERS: usize = 32;
/// Most connections at once, dialled ones included. A peer has at most 31 candidates, and dials at
/// most ours.
const MAX_PATHS: usize = 128;
/// Most connections kept open beside the one that is used: a peer with an address in either family,
/// and as many of ours, makes no more.
const MAX_UNUSED: usize = 4;
/// Most connections kept open unused by everything that shares [`UnusedPlaces`], usually a process. Each
/// is a file handle that serves only the peace of mind of the peer's library.
const MAX_UNUSED_ALTOGETHER: usize = 128;
/// STUN messages waiting for the agent; they are all from the peer, and more are dropped.
const MAX_WAITING_CHECKS: usize = 256;
/// Pause after the system refused to hand out a connection, for it is most likely out of handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The one local address of the agent.
const LOCAL_ALIAS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// Host of the aliases of connections; an address for documentation.
const ALIAS_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The connections of one attempt.
#[derive(Debug)]
pub(super) struct PathMux {
    responder: BindingResponder,
    paths: Mutex<Paths>,
    checks: tokio::sync::Mutex<mpsc::Receiver<(SocketAddr, Vec<u8>)>>,
    live: watch::Sender<usize>,
}

#[derive(Debug)]
struct Paths {
    /// By the port of their alias, which grows: strangers are in the order they came.
    by_port: BTreeMap<u16, Entry>,
    last_port: u16,
    /// Gone once the attempt is over.
    to_agent: Option<mpsc::Sender<(SocketAddr, Vec<u8>)>>,
}

#[derive(Debug)]
struct Entry {
    path: Arc<Path>,
    task: AbortOnDrop<Option<Taken>>,
}

impl PathMux {
    pub(super) fn new(responder: BindingResponder) -> Self {
        let (to_agent, checks) = mpsc::channel(MAX_WAITING_CHECKS);
        let paths = Paths { by_port: BTreeMap::new(), last_port: 0, to_agent: Some(to_agent) };
        Self { responder, paths: Mutex::new(paths), checks: checks.into(), live: watch::Sender::new(0) }
    }

    pub(super) fn responder(&self) -> &BindingResponder {
        &self.responder
    }

    fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every connection to `listener` a path, for as long as the returned task is kept.
    pub(super) fn accept_from(self: &Arc<Self>, listener: TcpListener) -> AbortOnDrop<()> {
        let mux = Arc::clone(self);
        AbortOnDrop(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((socket, peer)) => mux.accept(socket, peer),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        }))
    }

    fn accept(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        self.paths().make_room_for_a_stranger();
        self.start(peer, Origin::Accepted, Some(socket));
    }

    /// Dials a candidate of the peer. Returns the alias by which the agent is to know the path; `None`
    /// when there are too many paths.
    pub(super) fn dial(self: &Arc<Self>, peer: SocketAddr, redials: u8) -> Option<SocketAddr> {
        self.start(peer, Origin::Dialled { redials }, None)
    }

    fn start(
        self: &Arc<Self>,
        peer: SocketAddr,
        origin: Origin,
        accepted: Option<TcpStream>,
    ) -> Option<SocketAddr> {
        let mut paths = self.paths();
        if paths.by_port.len() >= MAX_PATHS || paths.to_agent.is_none() {
            return None;
        }
        let port = paths.last_port.checked_add(1)?;
        paths.last_port = port;
        let alias = SocketAddr::new(ALIAS_HOST, port);
        let path = Arc::new(Path::new(alias, peer, origin));
        let task = AbortOnDrop(tokio::spawn(Arc::clone(&path).run(accepted, Arc::clone(self))));
        paths.by_port.insert(port, Entry { path, task });
        Some(alias)
    }

    /// Ends a path and returns its connection, if it has one.
    pub(super) async fn take(&self, alias: SocketAddr) -> Option<OpenPath> {
        let mut entry = self.paths().by_port.remove(&alias.port())?;
        entry.path.take();
        match (&mut entry.task.0).await.ok().flatten()? {
            Taken::Open(open) => Some(*open),
            Taken::Kept(..) => None,
        }
    }

    /// Takes whatever is left when one path was agreed on. The peers' libraries do not cope with a
    /// connection that ends before their session does: pjnath then reads the path that is used twice a
    /// second only. So the others stay open, unused, for as long as what is returned is kept: the peer's
    /// first, then those that may yet prove to be. What has ended or is still being dialled is no
    /// connection that the peer could miss.
    pub(super) fn take_unused(&self, places: &UnusedPlaces) -> UnusedPaths {
        let entries = std::mem::take(&mut self.paths().by_port);
        let connected = entries.into_values().filter(|it| it.path.is_connected() && !it.task.0.is_finished());
        let (peers, strangers): (Vec<_>, Vec<_>) = connected.partition(|entry| entry.path.is_trusted());
        let kept = peers.into_iter().chain(strangers).take(MAX_UNUSED).map_while(|entry| {
            let place = Arc::clone(&places.0).try_acquire_owned().ok()?;
            entry.path.keep(place);
            Some(entry.task)
        });
        kept.collect()
    }

    /// Closes everything that was not taken, and tells the agent that its socket is gone.
    pub(super) fn close(&self) {
        let mut paths = self.paths();
        paths.to_agent = None;
        paths.by_port.clear();
    }

    /// Hands a STUN message of the peer to the agent, or drops it when the agent does not keep up.
    pub(super) fn deliver(&self, alias: SocketAddr, message: &[u8]) {
        if let Some(to_agent) = &self.paths().to_agent {
            let _ = to_agent.try_send((alias, message.to_vec()));
        }
    }

    /// The number of paths that are connected or being dialled.
    pub(super) fn live(&self) -> watch::Receiver<usize> {
        self.live.subscribe()
    }

    /// Counts a path as live until the returned guard is dropped.
    pub(super) fn count_live(&self) -> LiveGuard {
        self.live.send_modify(|count| *count += 1);
        LiveGuard(self.live.clone())
    }
}

impl Paths {
    fn make_room_for_a_stranger(&mut self) {
        self.by_port.retain(|_, entry| !entry.task.0.is_finished());
        let strangers = self.by_port.iter().filter(|(_, entry)| !entry.path.is_trusted());
        let ports: Vec<u16> = strangers.map(|(port, _)| *port).collect();
        if ports.len() >= MAX_STRANGERS
            && let Some(oldest) = ports.first()
        {
            self.by_port.remove(oldest);
        }
    }
}

#[async_trait]
impl UDPMux for PathMux {
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn get_conn(self: Arc<Self>, _ufrag: &str) -> Result<Arc<dyn Conn + Send + Sync>, Error> {
        Ok(self)
    }

    async fn remove_conn_by_ufrag(&self, _ufrag: &str) {}
}

#[async_trait]
impl Conn for PathMux {
    async fn connect(&self, _peer: SocketAddr) -> Result<(), Error> {
        Err(Error::ErrAddrNotUdpAddr)
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.recv_from(buffer).await.map(|(length, _)| length)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        loop {
            let message = self.checks.lock().await.recv().await;
            let (alias, message) = message.ok_or(Error::ErrUseClosedNetworkConn)?;
            if let Some(room) = buffer.get_mut(..message.len()) {
                room.copy_from_slice(&message);
                return Ok((message.len(), alias));
            }
        }
    }

    async fn send(&self, _message: &[u8]) -> Result<usize, Error> {
        Err(Error::ErrAddrNotUdpAddr)
    }

    async fn send_to(&self, message: &[u8], alias: SocketAddr) -> Result<usize, Error> {
        if let Some(entry) = self.paths().by_port.get(&alias.port()) {
            entry.path.send_check(message);
        }
        Ok(message.len())
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(LOCAL_ALIAS)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// Counts one live path.
#[derive(Debug)]
pub(super) struct LiveGuard(watch::Sender<usize>);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// How many connections may be kept open unused. Clones share the number.
#[derive(Clone, Debug)]
pub struct UnusedPlaces(Arc<Semaphore>);

impl Default for UnusedPlaces {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_UNUSED_ALTOGETHER)))
    }
}

/// Connections that are only kept open, each inside the task that has carried it, finished or about to.
pub(super) type UnusedPaths = Vec<AbortOnDrop<Option<Taken>>>;

/// A task that ends when nobody holds this any more.
#[derive(Debug)]
pub(super) struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use skep_protocol::link::ice_text::Credentials;
    use tokio::io::AsyncReadExt as _;

    use super::super::ice::IceRole;
    use super::*;

    fn mux() -> Arc<PathMux> {
        let local = Credentials::from_random(&[1; 24]);
        Arc::new(PathMux::new(BindingResponder::new(IceRole::Controlled, local)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_dialled_connection_that_breaks_is_dialled_again_a_bounded_number_of_times() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mux = mux();
        let mut live = mux.live();
        let alias = mux.dial(listener.local_addr().unwrap(), 2).unwrap();
        for _ in 0..3 {
            drop(listener.accept().await.unwrap());
        }
        live.wait_for(|count| *count == 0).await.unwrap();
        assert!(mux.take(alias).await.is_none());
    }

    #[tokio::test]
    async fn the_number_of_connections_is_bounded() {
        let mux = mux();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let dialled = (0..1000).filter_map(|_| mux.dial(nowhere, 0)).count();
        assert_eq!(dialled, MAX_PATHS);
    }

    #[tokio::test]
    async fn the_agent_learns_that_the_attempt_is_over() {
        let mux = mux();
        let alias = SocketAddr::new(ALIAS_HOST, 1);
        mux.deliver(alias, b"check");
        let mut buffer = [0; 16];
        assert_eq!(mux.recv_from(&mut buffer).await.unwrap(), (5, alias));
        mux.close();
        mux.deliver(alias, b"too late");
        assert!(mux.recv_from(&mut buffer).await.is_err());
        assert_eq!(mux.dial(alias, 0), None);
    }

    /// Connections to a mux, accepted by it; nothing is dialled.
    async fn accepted(mux: &Arc<PathMux>, count: usize) -> Vec<TcpStream> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut ends = Vec::new();
        for _ in 0..count {
            ends.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (socket, peer) = listener.accept().await.unwrap();
            mux.accept(socket, peer);
        }
        ends
    }

    #[tokio::test]
    async fn connections_are_kept_unused_before_what_is_dead_or_being_dialled_and_no_more_than_four() {
        let mux = mux();
        // Nobody answers at an address for documentation, and nobody listens at port 1.
        for address in [([192, 0, 2, 7], 9), ([127, 0, 0, 1], 1)] {
            for _ in 0..4 {
                mux.dial(address.into(), 0).unwrap();
            }
        }
        let mut ends = accepted(&mux, MAX_UNUSED + 1).await;
        let unused = mux.take_unused(&UnusedPlaces::default());
        assert_eq!(unused.len(), MAX_UNUSED);
        let reads = ends.iter_mut().map(|end| Box::pin(end.read_u8()));
        let (_, _, others) = futures::future::select_all(reads).await;
        assert!(others.into_iter().all(|read| read.now_or_never().is_none()), "one is closed");
        mux.live().wait_for(|count| *count == MAX_UNUSED).await.unwrap();
    }

    #[tokio::test]
    async fn unused_connections_are_closed_when_others_have_all_places() {
        let places = UnusedPlaces(Arc::new(Semaphore::new(3)));
        let (first, second) = (mux(), mux());
        let _ends = (accepted(&first, 2).await, accepted(&second, 2).await);
        let kept = first.take_unused(&places);
        let last = second.take_unused(&places);
        assert_eq!((kept.len(), last.len(), places.0.available_permits()), (2, 1, 0));
        drop(last);
        drop(kept);
        while places.0.available_permits() < 3 {
            tokio::task::yield_now().await;
        }
    }
}
