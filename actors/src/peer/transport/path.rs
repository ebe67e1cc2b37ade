//! One TCP connection while ICE looks for the best one (`spec: connection 4.3`): dialled or
//! accepted, it carries checks to and from the agent until it is taken, to be used or kept, or closed.
//!
//! ```text
//!   agent ──check──▶ outbox ──▶ frames ──▶ peer
//!   agent ◀──check, response── mux ◀── frames ◀── peer      valid requests are answered here
//!                             early data ◀── frames
//! ```

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rustix::net::sockopt::set_socket_keepalive;
use skep_protocol::link::framing::{EarlyData, Frame};
use skep_protocol::link::stun::{BINDING_ERROR, BINDING_SUCCESS, Message, USE_CANDIDATE};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use super::framed_socket::FramedSocket;
use super::mux::PathMux;

/// How long dialling one address may take (`spec: connection 2.5`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long after a failure an address is dialled again (`spec: connection 4.3`).
const REDIAL_PAUSE: Duration = Duration::from_millis(500);
/// Times a relayed address is dialled again: the relay may not know our address yet.
pub(super) const RELAY_REDIALS: u8 = 24;
/// Times any other address is dialled again, for a connection that broke under way.
pub(super) const REDIALS: u8 = 1;
/// How long a stranger may stay connected without a valid check. Peers check at once.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the agent's checks go out on one path. TCP does not lose them; the agent, made for
/// datagrams, repeats them far more often.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes that the system may hold of what it cannot send yet. More would only stand before what is written
/// later, such as a message behind a file; on a slow line it holds seconds of them otherwise.
const UNSENT: u32 = 128 * 1024;
/// Longest STUN message that is a check or a response to one, in bytes.
const MAX_CHECK: usize = 1500;

/// Who opened a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A connection that came in; anybody's, until a valid check arrives on it.
    Accepted,
    /// A connection to a candidate of the peer, tried again as often as this.
    Dialled { redials: u8 },
}

/// What the agent, the mux and the task of a path share.
#[derive(Debug)]
pub(super) struct Path {
    /// The address under which the agent knows the path.
    pub(super) alias: SocketAddr,
    peer: SocketAddr,
    origin: Origin,
    trusted: AtomicBool,
    connected: AtomicBool,
    outbox: Mutex<Outbox>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Outbox {
    /// The newest check that has not gone out; older ones are of no use.
    check: Option<Check>,
    /// When the last check went out, and whether it nominated the path.
    last: Option<(Instant, bool)>,
    taken: Option<Purpose>,
}

/// What a path is taken for.
#[derive(Debug)]
enum Purpose {
    /// To become the stream.
    Use,
    /// To stay open beside it, in this place.
    Keep(OwnedSemaphorePermit),
}

/// A Binding request of the agent.
#[derive(Debug)]
struct Check {
    message: Vec<u8>,
    nominates: bool,
}

impl Outbox {
    /// Whether `check` says nothing that the peer was not asked a moment ago.
    fn repeats(&self, check: &Check) -> bool {
        self.last.is_some_and(|(sent, nominated)| {
            sent.elapsed() < CHECK_INTERVAL && (nominated || !check.nominates)
        })
    }

    /// The check that is to go out now.
    fn take_check(&mut self) -> Option<Vec<u8>> {
        let check = self.check.take()?;
        self.last = Some((Instant::now(), check.nominates));
        Some(check.message)
    }
}

/// A path that was taken, on its way to become the stream.
#[derive(Debug)]
pub(super) struct OpenPath {
    pub(super) socket: FramedSocket<TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) early: EarlyData,
}

/// The connection of a path that was taken.
#[derive(Debug)]
pub(super) enum Taken {
    /// To be used.
    Open(Box<OpenPath>),
    /// Only to be kept open: what it said, and what was to be said to it, is gone.
    #[expect(dead_code, reason = "held until they are dropped")]
    Kept(TcpStream, OwnedSemaphorePermit),
}

impl Path {
    pub(super) fn new(alias: SocketAddr, peer: SocketAddr, origin: Origin) -> Self {
        let trusted = AtomicBool::new(matches!(origin, Origin::Dialled { .. }));
        let connected = AtomicBool::new(origin == Origin::Accepted);
        Self { alias, peer, origin, trusted, connected, outbox: Mutex::default(), wake: Notify::new() }
    }

    /// Whether the other end is the peer, or is where the peer said it listens.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// Whether there is a connection at the moment, and not one being dialled.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a check of the agent, unless one like it went out a moment ago. Responses of the agent
    /// are dropped: requests are answered as they arrive.
    pub(super) fn send_check(&self, message: &[u8]) {
        let Ok(parsed) = Message::decode(message) else { return };
        if matches!(parsed.kind, BINDING_SUCCESS | BINDING_ERROR) {
            return;
        }
        let check = Check { message: message.to_vec(), nominates: parsed.get(USE_CANDIDATE).is_some() };
        let mut outbox = self.outbox();
        if outbox.check.is_some() || !outbox.repeats(&check) {
            outbox.check = Some(check);
            self.wake.notify_one();
        }
    }

    /// Ends the task of the path once the other end is known to be the peer; it then returns the
    /// connection.
    pub(super) fn take(&self) {
        self.take_for(Purpose::Use);
    }

    /// The same, for a connection that nobody will use.
    pub(super) fn keep(&self, place: OwnedSemaphorePermit) {
        self.take_for(Purpose::Keep(place));
    }

    fn take_for(&self, purpose: Purpose) {
        self.outbox().taken = Some(purpose);
        self.wake.notify_one();
    }

    /// The whole life of the path. `None` when it was closed and not taken.
    pub(super) async fn run(
        self: Arc<Self>,
        accepted: Option<TcpStream>,
        mux: Arc<PathMux>,
    ) -> Option<Taken> {
        let _live = mux.count_live();
        let Origin::Dialled { redials } = self.origin else {
            return self.serve(accepted?, &mux).await.ok().flatten();
        };
        for attempt in 0..=redials {
            if attempt > 0 {
                sleep(REDIAL_PAUSE).await;
                if self.outbox().taken.is_some() {
                    return None;
                }
            }
            if let Ok(Ok(socket)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.peer)).await {
                self.connected.store(true, Ordering::Relaxed);
                if let Ok(Some(taken)) = self.serve(socket, &mux).await {
                    return Some(taken);
                }
                self.connected.store(false, Ordering::Relaxed);
            }
        }
        None
    }

    /// Serves one connection until it is taken and trusted, or closed for a reason nobody needs to know.
    async fn serve(&self, socket: TcpStream, mux: &PathMux) -> io::Result<Option<Taken>> {
        socket.set_nodelay(true)?;
        set_socket_keepalive(&socket, true)?;
        // Old kernels and sandboxes do not know it; then messages wait behind files for longer.
        if let Err(error) = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "the system does not bound what it has not sent yet");
        }
        let mut socket = FramedSocket::new(socket);
        let mut early = EarlyData::default();
        let stranger = sleep(STRANGER_TIMEOUT);
        tokio::pin!(stranger);
        loop {
            let (taken, check) = {
                let mut outbox = self.outbox();
                (outbox.taken.take_if(|_| self.is_trusted()), outbox.take_check())
            };
            if let Some(purpose) = taken {
                // The answer to the peer's last check goes out also where nobody uses the connection.
                let _ = poll_fn(|context| Poll::Ready(socket.poll_flush(context))).await;
                return Ok(Some(match purpose {
                    Purpose::Use => Taken::Open(Box::new(OpenPath { socket, peer: self.peer, early })),
                    Purpose::Keep(place) => Taken::Kept(socket.into_inner(), place),
                }));
            }
            if let Some(check) = check {
                socket.queue_stun(&check);
            }
            let next_frame = poll_fn(|context| {
                // Sending goes on in the background; if it fails, so does receiving.
                let _ = socket.poll_flush(context)?;
                socket.poll_frame(context)
            });
            tokio::select! {
                () = self.wake.notified() => {}
                () = &mut stranger, if !self.is_trusted() => return Ok(None),
                frame = next_frame => match frame? {
                    None => return Ok(None),
                    Some(Frame::Stun(message)) => {
                        if !self.receive_stun(&message, &mut socket, mux) {
                            return Ok(None);
                        }
                    }
                    Some(Frame::Data(data)) => {
                        if !self.is_trusted() || early.push(&data).is_err() {
                            return Ok(None);
                        }
                    }
                },
            }
        }
    }

    /// Treats a STUN message; false when a stranger sent something else than a valid check.
    fn receive_stun(&self, message: &[u8], socket: &mut FramedSocket<TcpStream>, mux: &PathMux) -> bool {
        if message.len() > MAX_CHECK {
            return self.is_trusted();
        }
        if let Some(answer) = mux.responder().answer(message, self.peer) {
            self.trusted.store(true, Ordering::Relaxed);
            socket.queue_stun(&answer);
            mux.deliver(self.alias, message);
        } else if self.is_trusted() && is_response(message) {
            mux.deliver(self.alias, message);
        }
        self.is_trusted()
    }
}

fn is_response(message: &[u8]) -> bool {
    Message::decode(message).is_ok_and(|message| message.kind == BINDING_SUCCESS)
}

#[cfg(test)]
mod tests {
    use skep_protocol::link::stun::{Attribute, BINDING_REQUEST};

    use super::*;

    fn check(transaction: u8, nominates: bool) -> Vec<u8> {
        let mut check = Message::new(BINDING_REQUEST, [transaction; 12]);
        if nominates {
            check.push(Attribute::new(USE_CANDIDATE, []));
        }
        check.encode()
    }

    fn path() -> Path {
        let anywhere = SocketAddr::from(([192, 0, 2, 1], 1));
        Path::new(anywhere, anywhere, Origin::Dialled { redials: 0 })
    }

    #[tokio::test(start_paused = true)]
    async fn checks_are_sent_twice_a_second_and_nominations_at_once() {
        let path = path();
        let sent = |message: &[u8]| {
            path.send_check(message);
            path.outbox().take_check().is_some()
        };
        assert!(sent(&check(1, false)));
        assert!(!sent(&check(2, false)));
        assert!(sent(&check(3, true)));
        assert!(!sent(&check(4, true)));
        tokio::time::advance(CHECK_INTERVAL).await;
        assert!(sent(&check(5, true)));
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_check_waits_for_the_connection_a_newer_one_takes_its_place() {
        let path = path();
        path.send_check(&check(1, false));
        path.send_check(&check(2, false));
        assert_eq!(path.outbox().take_check(), Some(check(2, false)));
        assert_eq!(path.outbox().take_check(), None);
    }

    #[test]
    fn responses_of_the_agent_are_not_sent() {
        let path = path();
        for kind in [BINDING_SUCCESS, BINDING_ERROR] {
            path.send_check(&Message::new(kind, [1; 12]).encode());
        }
        path.send_check(b"nonsense");
        assert_eq!(path.outbox().take_check(), None);
    }
}
