//! The actor of the control interface: owns the listeners' tasks, and stops taking requests first.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use futures::future::{BoxFuture, LocalBoxFuture};
use skep_actors::event::NodeEvent;
use skep_actors::supervision::{Actor, Environment, Message, Policy, Port, Scope};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{serve_lines, stopped};
use super::schema::{EndpointView, ErrorCode, RpcError};
use super::server::{Counters, Server};
use super::websocket::{self, Gate};
use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::metrics;
use crate::node::{Life, Node, NodeMessage, secret_file};

/// What the control interface is made of. The sockets outlive a failed actor, so clients that
/// connect meanwhile wait instead of being refused.
#[derive(Clone)]
pub(crate) struct RpcPlan {
    life: Arc<Life>,
    ring: broadcast::WeakSender<Arc<NodeEvent>>,
    sockets: Arc<Sockets>,
    counters: Arc<Counters>,
}

struct Sockets {
    unix: Option<UnixSocket>,
    websocket: Option<(std::net::TcpListener, Gate)>,
    metrics: Option<std::net::TcpListener>,
}

impl RpcPlan {
    /// Binds what the configuration names; none if it names nothing.
    pub(crate) fn bind(
        life: Arc<Life>,
        ring: broadcast::WeakSender<Arc<NodeEvent>>,
    ) -> Result<Option<Self>, NodeError> {
        let config = &life.config;
        let unix = config.socket().map(UnixSocket::bind).transpose()?;
        let websocket = config
            .rpc
            .websocket
            .map(|address| Ok::<_, NodeError>((bind_tcp(address)?, gate(config)?)))
            .transpose()?;
        let metrics = config.metrics.listen.map(bind_tcp).transpose()?;
        if unix.is_none() && websocket.is_none() && metrics.is_none() {
            return Ok(None);
        }
        let sockets = Arc::new(Sockets { unix, websocket, metrics });
        Ok(Some(Self { life, ring, sockets, counters: Arc::default() }))
    }

    fn endpoints(&self) -> Vec<EndpointView> {
        let tcp = |kind: &str, listener: &std::net::TcpListener| {
            let address = listener.local_addr().map_or_else(|error| error.to_string(), |a| a.to_string());
            EndpointView { kind: kind.to_owned(), address }
        };
        let unix = self.sockets.unix.as_ref().map(|socket| EndpointView {
            kind: "unix".to_owned(),
            address: socket.path.display().to_string(),
        });
        let websocket = self.sockets.websocket.as_ref().map(|(listener, _)| tcp("websocket", listener));
        let metrics = self.sockets.metrics.as_ref().map(|listener| tcp("metrics", listener));
        [unix, websocket, metrics].into_iter().flatten().collect()
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> Result<std::net::TcpListener, NodeError> {
    let failed = |error: std::io::Error| NodeError::Listen {
        address: address.to_string(),
        problem: error.to_string(),
    };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn gate(config: &NodeConfig) -> Result<Gate, NodeError> {
    let path = config.path(&config.rpc.token_file);
    let token = secret_file(&path)?;
    match token.trim() {
        "" => Err(NodeError::file(path, "it is empty; write a token into it, or delete it to get one")),
        token => Ok(Gate::new(token, config.rpc.origins.clone())),
    }
}

/// A unix socket that only its owner and root can use; its file goes when it is dropped.
struct UnixSocket {
    listener: StdUnixListener,
    path: PathBuf,
}

impl UnixSocket {
    fn bind(path: PathBuf) -> Result<Self, NodeError> {
        if StdUnixStream::connect(&path).is_ok() {
            return Err(listen_error(&path, "another process listens there"));
        }
        // Made private under another name, so that it is never open to others, and a socket left by
        // a process that was killed is replaced.
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let temporary = PathBuf::from(name);
        remove_socket(&temporary);
        let failed = |error: std::io::Error| listen_error(&path, &error.to_string());
        let listener = StdUnixListener::bind(&temporary).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        if path.exists() && !is_socket(&path) {
            remove_socket(&temporary);
            return Err(listen_error(&path, "it exists and is not a socket"));
        }
        std::fs::rename(&temporary, &path).map_err(failed)?;
        Ok(Self { listener, path })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        remove_socket(&self.path);
    }
}

fn listen_error(path: &Path, problem: &str) -> NodeError {
    NodeError::Listen { address: path.display().to_string(), problem: problem.to_owned() }
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn remove_socket(path: &Path) {
    if is_socket(path) {
        // If it stays, the next start replaces it.
        let _ = std::fs::remove_file(path);
    }
}

/// The control interface is spoken to through its sockets alone.
pub(crate) enum NoMessage {}

impl Message for NoMessage {
    fn kind(&self) -> &'static str {
        match *self {}
    }

    fn policy(&self) -> Policy {
        match *self {}
    }
}

/// Runs the listeners and their connections.
pub(crate) struct RpcActor {
    plan: RpcPlan,
    server: Arc<Server>,
    stop: watch::Sender<bool>,
    /// Completes when the last listener's task has dropped its end.
    running: Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>,
}

impl RpcActor {
    pub(crate) fn new(plan: RpcPlan, root: Port<NodeMessage>, environment: Environment) -> Self {
        let node = Node::assemble(root, environment, plan.ring.clone(), Arc::clone(&plan.life));
        let server = Arc::new(Server::new(node, Arc::clone(&plan.counters), plan.endpoints()));
        Self { plan, server, stop: watch::Sender::new(false), running: Some(mpsc::channel(1)) }
    }

    fn run(&self, task: std::io::Result<BoxFuture<'static, ()>>, scope: &mut Scope<'_, Self>) {
        let running = self.running.as_ref().map(|(sender, _)| sender.clone());
        match task {
            Ok(task) => scope.spawn_background(
                async move {
                    task.await;
                    drop(running);
                },
                |_, (), _| (),
            ),
            Err(error) => tracing::error!(%error, "a control socket cannot be used any more"),
        }
    }

    fn connections(&self) -> usize {
        self.plan.life.config.limits.rpc_connections.max(1)
    }
}

impl Actor for RpcActor {
    type Message = NoMessage;
    const KIND: &'static str = "rpc";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let sockets = Arc::clone(&self.plan.sockets);
        if let Some(socket) = &sockets.unix {
            let listener = socket.listener.try_clone().and_then(UnixListener::from_std);
            let (server, stop, limit) = (Arc::clone(&self.server), self.stop.subscribe(), self.connections());
            self.run(listener.map(|listener| serve_unix(listener, server, stop, limit).boxed()), scope);
        }
        if let Some((listener, gate)) = &sockets.websocket {
            let listener = listener.try_clone().and_then(TcpListener::from_std);
            let (server, stop, limit) = (Arc::clone(&self.server), self.stop.subscribe(), self.connections());
            let gate = gate.clone();
            self.run(
                listener.map(|listener| websocket::serve(listener, gate, server, stop, limit).boxed()),
                scope,
            );
        }
        if let Some(listener) = &sockets.metrics {
            let listener = listener.try_clone().and_then(TcpListener::from_std);
            let (server, stop, limit) = (Arc::clone(&self.server), self.stop.subscribe(), self.connections());
            self.run(listener.map(|listener| metrics::serve(listener, server, stop, limit).boxed()), scope);
        }
    }

    fn handle(&mut self, message: NoMessage, _: &mut Scope<'_, Self>) {
        match message {}
    }

    fn flush(&mut self, _: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        self.stop.send_replace(true);
        let (sender, mut receiver) = self.running.take()?;
        drop(sender);
        Some(async move { while receiver.recv().await.is_some() {} }.boxed_local())
    }
}

async fn serve_unix(
    listener: UnixListener,
    server: Arc<Server>,
    mut stop: watch::Receiver<bool>,
    limit: usize,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => (),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match admit(&stream, connections.len(), limit) {
                    Ok(()) => {
                        let (server, stop) = (Arc::clone(&server), stop.clone());
                        connections.spawn(async move {
                            let open = &server.counters().connections;
                            open.fetch_add(1, Ordering::Relaxed);
                            let (reader, writer) = stream.into_split();
                            serve_lines(reader, writer, Arc::clone(&server), stop).await;
                            open.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                    Err(error) => {
                        server.counters().refuse();
                        refuse(&stream, &error);
                    }
                },
                Err(error) => {
                    // Out of file descriptors: others must be closed first.
                    tracing::warn!(%error, "a control connection was lost");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Whether a process may control the node, and there is room for it.
fn admit(stream: &UnixStream, open: usize, limit: usize) -> Result<(), RpcError> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if may_control(peer.uid(), own) => (),
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "a control connection of another user was refused");
            return Err(RpcError::new(
                ErrorCode::Refused,
                format!("this node is controlled by user {own} and root only"),
            ));
        }
        Err(error) => return Err(RpcError::new(ErrorCode::Internal, error.to_string())),
    }
    if open >= limit {
        let message = format!("{limit} control connections are open already; close one");
        return Err(RpcError::new(ErrorCode::Busy, message));
    }
    Ok(())
}

/// The file mode keeps others out already; this holds even if somebody changes it.
const fn may_control(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

fn refuse(stream: &UnixStream, error: &RpcError) {
    let reply = serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": error });
    // A new connection has room for one line; if not, closing it says enough.
    let _ = stream.try_write(format!("{reply}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_may_control_a_node() {
        for (peer, own, may) in [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)] {
            assert_eq!(may_control(peer, own), may, "{peer} at {own}");
        }
    }

    #[test]
    fn a_socket_is_private_replaces_a_stale_one_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        let socket = UnixSocket::bind(path.clone()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = UnixSocket::bind(path.clone()).err().unwrap();
        assert!(error.to_string().contains("another process listens"), "{error}");
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(UnixSocket::bind(path.clone()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
