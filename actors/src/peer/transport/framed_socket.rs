//! A TCP connection that carries RFC 4571 frames (`spec: connection 4.5`).
//!
//! Everything here polls, so nothing is lost when a caller stops waiting, and an idle connection
//! holds neither a task nor a buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use skep_protocol::link::framing::{self, Frame, FrameReader, MAX_FRAME};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes asked from the socket at a time: four TLS records of full size. With one at a time, the calls are what a
/// file costs.
const READ_SIZE: usize = 64 * 1024;
/// Framed bytes waiting for the socket at which no more application bytes are taken.
const MAX_BACKLOG: usize = 64 * 1024;
/// Framed bytes waiting for the socket at which STUN messages are dropped: a peer that asks and
/// does not read gets no more of our memory.
const MAX_BACKLOG_WITH_STUN: usize = 2 * MAX_BACKLOG + MAX_FRAME;

/// The connection and what is on its way through it.
#[derive(Debug)]
pub(super) struct FramedSocket<S> {
    socket: S,
    reader: FrameReader,
    /// Received, not yet given to the reader.
    received: BytesMut,
    /// Framed bytes; those before `sent` are gone.
    outbound: Vec<u8>,
    sent: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FramedSocket<S> {
    pub(super) fn new(socket: S) -> Self {
        let (reader, received) = (FrameReader::default(), BytesMut::new());
        Self { socket, reader, received, outbound: Vec::new(), sent: 0 }
    }

    /// The connection without what is on its way through it.
    pub(super) fn into_inner(self) -> S {
        self.socket
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Errors
    /// What the socket reports, and `UnexpectedEof` when the connection ends inside a frame.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Frame>>> {
        loop {
            let mut input = &self.received[..];
            let frame = self.reader.next(&mut input);
            self.received.advance(self.received.len() - input.len());
            if frame.is_some() {
                return Poll::Ready(Ok(frame));
            }
            if ready!(self.poll_receive(context))? == 0 {
                let whole = self.reader.is_at_boundary();
                return Poll::Ready(whole.then_some(None).ok_or(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.received.resize(READ_SIZE, 0);
        let mut buffer = ReadBuf::new(&mut self.received);
        let polled = Pin::new(&mut self.socket).poll_read(context, &mut buffer);
        let length = buffer.filled().len();
        if length == 0 {
            self.received = BytesMut::new();
        }
        self.received.truncate(length);
        polled.map_ok(|()| length)
    }

    fn backlog(&self) -> usize {
        self.outbound.len() - self.sent
    }

    /// Whether application bytes are to wait until the socket has taken some.
    pub(super) fn is_congested(&self) -> bool {
        self.backlog() >= MAX_BACKLOG
    }

    /// Appends the beginning of `data` as one frame; says how many bytes that were.
    pub(super) fn queue_data(&mut self, data: &[u8]) -> usize {
        let piece = data.get(..MAX_FRAME).unwrap_or(data);
        framing::write_frames(piece, &mut self.outbound);
        piece.len()
    }

    /// Appends a STUN message, or drops it when the peer does not read what it is sent.
    pub(super) fn queue_stun(&mut self, message: &[u8]) {
        if self.backlog() < MAX_BACKLOG_WITH_STUN {
            framing::write_frames(message, &mut self.outbound);
        }
    }

    /// Hands everything queued to the system.
    ///
    /// # Errors
    /// What the socket reports.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(waiting) = self.outbound.get(self.sent..).filter(|waiting| !waiting.is_empty()) {
            match Pin::new(&mut self.socket).poll_write(context, waiting)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => self.sent += count,
                Poll::Pending => {
                    self.forget_sent();
                    return Poll::Pending;
                }
            }
        }
        (self.outbound, self.sent) = (Vec::new(), 0);
        Pin::new(&mut self.socket).poll_flush(context)
    }

    /// Gives back the room of what was sent, when that is worth moving the rest.
    fn forget_sent(&mut self) {
        if self.sent > self.backlog() {
            self.outbound.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Sends everything queued, then the end of the stream.
    ///
    /// # Errors
    /// What the socket reports.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
