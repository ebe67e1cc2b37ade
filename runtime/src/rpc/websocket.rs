//! The control interface by WebSocket: a token, no pages of strange origins, bounded connections.
//!
//! The token comes as `Authorization: Bearer TOKEN`, or, as pages in a browser cannot set that, as
//! a subprotocol: `new WebSocket(url, ["skep", "bearer." + token])`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::{SinkExt as _, StreamExt as _};
use skep_protocol::ids::sha256;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::MAX_REQUEST;
use super::connection::{self, CLOSE_DEADLINE, Incoming, stopped};
use super::server::Server;

/// The subprotocol offered to browsers.
const PROTOCOL: &str = "skep";

/// Time for HTTP clients that are connected and say nothing, when the node stops.
const IDLE_DEADLINE: Duration = Duration::from_secs(1);

/// Who may enter.
#[derive(Clone)]
pub(super) struct Gate {
    /// The digest of the token: of one length, and of no use to whoever reads the memory.
    token: [u8; 32],
    origins: Arc<[String]>,
}

impl Gate {
    pub(super) fn new(token: &str, origins: Vec<String>) -> Self {
        Self { token: sha256(token.as_bytes()), origins: origins.into() }
    }

    /// Whether a request may enter; the status if not.
    fn check(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        if let Some(origin) = headers.get(header::ORIGIN) {
            let known = |origin: &str| self.origins.iter().any(|known| known == origin);
            if !origin.to_str().is_ok_and(known) {
                return Err(StatusCode::FORBIDDEN);
            }
        }
        let token = token(headers).ok_or(StatusCode::UNAUTHORIZED)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&sha256(token.as_bytes()), &self.token)
            .map_err(|_| StatusCode::UNAUTHORIZED)
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| {
        let mut protocols = text(header::SEC_WEBSOCKET_PROTOCOL)?.split(',');
        protocols.find_map(|protocol| protocol.trim().strip_prefix("bearer."))
    })
}

struct Entrance {
    gate: Gate,
    server: Arc<Server>,
    stop: watch::Receiver<bool>,
    /// Held by every connection, so that the end of the last one is seen.
    running: mpsc::Sender<()>,
}

/// Serves WebSocket clients until `stop` says so, and then the requests under way.
pub(super) async fn serve(
    listener: TcpListener,
    gate: Gate,
    server: Arc<Server>,
    stop: watch::Receiver<bool>,
    limit: usize,
) {
    let (running, mut ended) = mpsc::channel(1);
    let entrance = Arc::new(Entrance { gate, server, stop: stop.clone(), running });
    let router = Router::new().route("/", get(enter)).with_state(entrance);
    serve_http(listener, router, stop, limit).await;
    // Each connection ends by itself within its deadline.
    let end = async { while ended.recv().await.is_some() {} };
    let _ = tokio::time::timeout(CLOSE_DEADLINE + IDLE_DEADLINE, end).await;
}

/// Serves HTTP with a bound on the connections until `stop` says so.
pub(crate) async fn serve_http(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
    limit: usize,
) {
    let listener = Bounded { listener, room: Arc::new(Semaphore::new(limit)) };
    // It never fails; the router goes with it.
    let mut patience = stop.clone();
    let serve = axum::serve(listener, router).with_graceful_shutdown(async move { stopped(&mut stop).await });
    tokio::select! {
        _ = serve.into_future() => (),
        () = async {
            stopped(&mut patience).await;
            tokio::time::sleep(IDLE_DEADLINE).await;
        } => (),
    }
}

async fn enter(
    State(entrance): State<Arc<Entrance>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if let Err(status) = entrance.gate.check(&headers) {
        entrance.server.counters().refuse();
        tracing::warn!(%status, "a control connection by WebSocket was refused");
        return status.into_response();
    }
    match upgrade {
        Ok(upgrade) => upgrade
            .protocols([PROTOCOL])
            .max_message_size(MAX_REQUEST)
            .max_frame_size(MAX_REQUEST)
            .on_upgrade(move |socket| converse(socket, entrance)),
        Err(rejection) => rejection.into_response(),
    }
}

async fn converse(socket: WebSocket, entrance: Arc<Entrance>) {
    let running = entrance.running.clone();
    let (server, stop) = (Arc::clone(&entrance.server), entrance.stop.clone());
    // Not held while the client stays: the end of the last connection must be seen.
    drop(entrance);
    server.counters().connections.fetch_add(1, Ordering::Relaxed);
    let (outgoing, incoming) = socket.split();
    let incoming = futures::stream::unfold(Some(incoming), |incoming| async move {
        let mut incoming = incoming?;
        loop {
            match incoming.next().await? {
                Ok(Message::Text(text)) => {
                    let text = Incoming::Text(text.as_bytes().to_vec());
                    return Some((text, Some(incoming)));
                }
                Ok(Message::Binary(bytes)) => {
                    return Some((Incoming::Text(bytes.to_vec()), Some(incoming)));
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => (),
                Ok(Message::Close(_)) => return None,
                // Too long, or not of the protocol: what follows cannot be read.
                Err(_) => return Some((Incoming::TooLong, None)),
            }
        }
    });
    let outgoing = outgoing.with(|text: String| async { Ok::<_, axum::Error>(Message::Text(text.into())) });
    connection::serve(incoming, outgoing, Arc::clone(&server), stop).await;
    server.counters().connections.fetch_sub(1, Ordering::Relaxed);
    drop(running);
}

/// A listener that waits while as many connections are open as may be.
struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Admitted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Admitted, SocketAddr) {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&self.room).acquire_owned().await else {
            return std::future::pending().await;
        };
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        (Admitted { stream, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection and its place among the bounded number of them.
struct Admitted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(headers: &[(header::HeaderName, &'static str)]) -> Result<(), StatusCode> {
        let gate = Gate::new("secret", vec!["https://chat.example".to_owned()]);
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        gate.check(&headers)
    }

    #[test]
    fn the_token_must_be_shown() {
        assert_eq!(check(&[]), Err(StatusCode::UNAUTHORIZED));
        for wrong in ["Bearer ", "Bearer secre", "Bearer secrets", "secret", "Basic secret"] {
            assert_eq!(check(&[(header::AUTHORIZATION, wrong)]), Err(StatusCode::UNAUTHORIZED), "{wrong}");
        }
        assert_eq!(check(&[(header::AUTHORIZATION, "Bearer secret")]), Ok(()));
        assert_eq!(check(&[(header::SEC_WEBSOCKET_PROTOCOL, "skep, bearer.secret")]), Ok(()));
    }

    #[test]
    fn pages_of_strange_origins_are_refused_even_with_the_token() {
        let with = |origin| check(&[(header::AUTHORIZATION, "Bearer secret"), (header::ORIGIN, origin)]);
        assert_eq!(with("https://evil.example"), Err(StatusCode::FORBIDDEN));
        assert_eq!(with("null"), Err(StatusCode::FORBIDDEN));
        assert_eq!(with("https://chat.example"), Ok(()));
    }
}
