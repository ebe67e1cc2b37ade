//! The byte stream over the nominated TCP connection.
//!
//! ```text
//!   TLS ──bytes──▶ data frames ──┐                    ┌──▶ data frames ──bytes──▶ TLS
//!                                ├──▶ one TCP path ───┤
//!   Binding indication, answers ─┘                    └──▶ Binding requests: answered
//! ```
//!
//! The ICE agent is gone by now: what it would still do, answering checks and keeping the path
//! alive (`spec: connection 4.5, 4.6`), happens here while the stream is polled. There is no task
//! behind a stream.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use skep_protocol::link::framing::{EarlyData, Frame};
use skep_protocol::link::stun::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::binding::BindingResponder;
use super::framed_socket::FramedSocket;
use super::mux::UnusedPaths;

/// Shortest time between two Binding indications (`spec: connection 4.6`).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Longest random time added to [`KEEPALIVE_INTERVAL`], in milliseconds.
const KEEPALIVE_JITTER_MILLIS: u64 = 4_000;

/// Application bytes over one TCP connection, in frames, with ICE's housekeeping in between.
///
/// Reading ends with end-of-file when the peer closes the connection between two frames, and with
/// an error when it is reset or ends inside a frame. Both directions may be polled from different
/// tasks, and nothing is lost when a poll is not repeated.
pub struct IceStream<S = TcpStream> {
    socket: FramedSocket<S>,
    peer: SocketAddr,
    responder: BindingResponder,
    /// What is left of the frame being read, at first of what arrived before the stream existed.
    data: Bytes,
    keepalive: Pin<Box<Sleep>>,
    wakers: Arc<BothWakers>,
    /// Connections of the same attempt, open for as long as this one.
    _unused: UnusedPaths,
}

/// A socket remembers one task for each direction, but here either task may send and receive; so
/// both are woken.
#[derive(Debug, Default)]
struct BothWakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for BothWakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> IceStream<S> {
    pub(super) fn new(
        socket: FramedSocket<S>,
        peer: SocketAddr,
        responder: BindingResponder,
        early: EarlyData,
    ) -> Self {
        Self {
            socket,
            peer,
            responder,
            data: Bytes::from(early.into_bytes()),
            keepalive: Box::pin(tokio::time::sleep_until(next_keepalive())),
            wakers: Arc::default(),
            _unused: Vec::new(),
        }
    }

    /// Keeps these connections open for as long as the stream.
    pub(super) fn beside(self, unused: UnusedPaths) -> Self {
        Self { _unused: unused, ..self }
    }

    /// Address of the peer's end of the TCP connection.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Sends a Binding indication when it is time, and whatever waits to be sent.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.keepalive.as_mut().poll(context).is_ready() {
            self.socket.queue_stun(&Message::binding_indication(rand::random()).encode());
            self.keepalive.as_mut().reset(next_keepalive());
        }
        self.socket.poll_flush(context)
    }

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.data.is_empty() {
            match ready!(self.socket.poll_frame(context))? {
                Some(Frame::Data(data)) => self.data = Bytes::from(data),
                Some(Frame::Stun(message)) => {
                    if let Some(answer) = self.responder.answer(&message, self.peer) {
                        self.socket.queue_stun(&answer);
                        // A failure to send shows in the next read or write.
                        let _ = self.socket.poll_flush(context);
                    }
                }
                None => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn next_keepalive() -> Instant {
    let jitter = Duration::from_millis(rand::random_range(0..=KEEPALIVE_JITTER_MILLIS));
    Instant::now() + KEEPALIVE_INTERVAL + jitter
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for IceStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let this = self.get_mut();
        this.wakers.reader.register(context.waker());
        let waker = Waker::from(Arc::clone(&this.wakers));
        let context = &mut Context::from_waker(&waker);
        // What the peer sent before the connection broke is still delivered.
        let _ = this.poll_send(context);
        ready!(this.poll_data(context))?;
        let piece = this.data.len().min(buffer.remaining());
        buffer.put_slice(&this.data.split_to(piece));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for IceStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(data)])
    }

    /// TLS hands over several records at once: they go out together.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.wakers.writer.register(context.waker());
        let waker = Waker::from(Arc::clone(&this.wakers));
        let context = &mut Context::from_waker(&waker);
        if this.socket.is_congested() {
            ready!(this.poll_send(context))?;
        }
        let mut taken = 0;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            let queued = this.socket.queue_data(piece);
            taken += queued;
            if queued < piece.len() || this.socket.is_congested() {
                break;
            }
        }
        if taken == 0 {
            return Poll::Ready(Ok(0));
        }
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wakers.writer.register(context.waker());
        let waker = Waker::from(Arc::clone(&this.wakers));
        this.poll_send(&mut Context::from_waker(&waker))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wakers.writer.register(context.waker());
        let waker = Waker::from(Arc::clone(&this.wakers));
        this.socket.poll_shutdown(&mut Context::from_waker(&waker))
    }
}

impl<S> fmt::Debug for IceStream<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IceStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
