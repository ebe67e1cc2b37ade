//! The name server: takes connections, hands requests to the registry, and answers.
//!
//! One request a connection, all of it within a deadline; a bounded number of connections, of each
//! address fewer. Registrations wait for the disk, look-ups do not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming as IncomingBody};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skep_protocol::names::{self, Incoming, MAX_REGISTRATION, NameRegistry, Reply, Step, network_of};
use skep_protocol::time::Moment;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::store::{NameStore, StoreError};

/// Connections open at one time.
pub const MAX_CONNECTIONS: usize = 1024;

/// Connections of one address open at one time, so that nobody takes the room of others.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;

/// How long a connection may take, from its first byte to its last.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(20);

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Time that connections get to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Pause after the system would not give a connection, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The names of a folder, ready to be served.
#[derive(Debug)]
pub struct NameServer {
    registry: Mutex<NameRegistry>,
    store: Arc<Mutex<NameStore>>,
    started: Instant,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl NameServer {
    /// Opens the names in a folder. It blocks while they are read.
    ///
    /// # Errors
    /// Why they cannot be served.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let (store, registry) = NameStore::open(folder)?;
        Ok(Self {
            registry: Mutex::new(registry),
            store: Arc::new(Mutex::new(store)),
            started: Instant::now(),
            open: Mutex::new(HashMap::new()),
        })
    }

    /// Number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.registry).len()
    }

    /// Whether there are no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.registry).is_empty()
    }

    /// Serves until `stop` says so, and then for a moment what is under way. A registration that is being
    /// written is written.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                let place = Arc::clone(&room).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stopped(&mut stop) => break,
                accepted = accept => accepted,
            };
            // Those that have ended.
            while connections.try_join_next().is_some() {}
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let server = Arc::clone(&self);
            connections.spawn(async move {
                let _place = place;
                let Some(_entry) = server.enter(address.ip()) else { return };
                let converse = Arc::clone(&server).converse(stream, address);
                if tokio::time::timeout(CONNECTION_DEADLINE, converse).await.is_err() {
                    tracing::debug!(%address, "a client of the name server was too slow");
                }
            });
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
            tracing::debug!("connections to the name server are cut off");
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let service = service_fn(|request: hyper::Request<IncomingBody>| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(response(&server.answer(request, address.ip()).await)) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.keep_alive(false).max_buf_size(MAX_HEAD).half_close(true);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%address, %error, "a connection to the name server broke");
        }
    }

    async fn answer(self: Arc<Self>, request: hyper::Request<IncomingBody>, address: IpAddr) -> Reply {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let body = read_body(body).await;
        let incoming = Incoming { method: head.method.as_str(), target, body: &body, address };
        let now = Moment(self.started.elapsed());
        let step = lock(&self.registry).handle(now, incoming);
        let (record, pending) = match step {
            Step::Reply(reply) => return reply,
            Step::Append { record, pending } => (record, pending),
        };
        // In a task of its own: what was begun is brought to an end though the client has gone.
        let server = Arc::clone(&self);
        let store = Arc::clone(&self.store);
        let write = tokio::task::spawn_blocking(move || {
            let written = lock(&store).append(&record);
            let mut registry = lock(&server.registry);
            match written {
                Ok(()) => registry.stored(pending),
                Err(error) => {
                    tracing::error!(%error, "a name could not be stored");
                    registry.not_stored(pending)
                }
            }
        });
        // It fails only when the process ends.
        let lost = |_| Reply { status: 500, body: r#"{"success":false}"#.to_owned(), retry_after: None };
        write.await.unwrap_or_else(lost)
    }

    /// A place for a connection from this address, if it has not too many.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network_of(address);
        let mut open = lock(&self.open);
        let count = open.entry(address).or_default();
        if *count >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place { server: Arc::clone(self), address })
    }
}

/// Waits until the server is to stop, or whoever could say so has gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One of the connections that an address may have.
struct Place {
    server: Arc<NameServer>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = lock(&self.server.open).entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// At most one byte more than the registry reads.
async fn read_body(mut body: IncomingBody) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        let room = MAX_REGISTRATION.saturating_add(1).saturating_sub(bytes.len());
        bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        if bytes.len() > MAX_REGISTRATION {
            break;
        }
    }
    bytes
}

fn response(reply: &Reply) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from(reply.body.clone())));
    *response.status_mut() =
        hyper::StatusCode::from_u16(reply.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(names::CONTENT_TYPE));
    if let Some(seconds) = reply.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Nothing that holds these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
