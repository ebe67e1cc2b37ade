//! The task of one secured connection: moves bytes between TLS, the multiplexed socket's core and
//! the channels' users.
//!
//! ```text
//!   TLS ──read──► Multiplex ──► channel queues ──► users (Channel)
//!   TLS ◄─write── Multiplex ◄── two bounded queues ◄── users (ChannelSender)
//!                     ▲  └──► offers, end ──► peer actor
//!                     └─────── commands ◄──── peer actor
//! ```
//!
//! A user that does not read makes this task stop reading for at most [`PATIENCE`]; then its channel
//! is closed, so one slow user cannot hold up the link. A peer that does not read fills the write
//! buffer, and then the users' sends wait.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::link::bulk_window::BulkWindow;
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::link::mux::{
    ChannelNumber, CloseReason, Limits, Multiplex, Output, Patience, Role, ShutdownReason,
};
use skep_protocol::time::Moment;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::channel::{
    Channel, ChannelEnd, ChannelOffer, ChannelReceiver, ChannelSender, FILE_QUEUE, Outbound, RECEIVE_QUEUE,
};
use super::messages::LinkError;
use crate::supervision::Environment;

/// How long a full channel queue may hold up reading; less than the three seconds of a beacon.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that may wait to be written before users' sends wait, in bytes.
const WRITE_BUFFER: usize = 1024 * 1024;

/// Bytes that may wait to be written before files wait: enough to keep the line busy, and little that a
/// message has to wait for.
const BULK_BUFFER: usize = 128 * 1024;

/// Bytes that may wait to be written before we stop reading: beyond what users may queue there are
/// only answers to a peer that asks and does not read.
const ANSWER_BUFFER: usize = 2 * WRITE_BUFFER;

/// Bytes read from TLS at once: a little more than its largest record.
const READ_BUFFER: usize = 32 * 1024;

/// Frames from users that wait for the write buffer.
const OUTBOUND_QUEUE: usize = 32;

/// Frames of files that wait for the write buffer: all but a few stay with those who send them.
const BULK_QUEUE: usize = 4;

/// Commands of the peer actor that wait.
const COMMAND_QUEUE: usize = 64;

/// Time given to the peer to take our last bytes when the connection is closed in order.
const CLOSING: Duration = Duration::from_secs(1);

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote {
    pub(super) device: DeviceId,
    pub(super) account: AccountId,
}

/// What the peer actor tells the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Request a channel; the reply is dropped unanswered only if the connection ends.
    Open { name: String, patience: Patience, reply: oneshot::Sender<Result<Channel, LinkError>> },
    /// Make sure that the peer is there.
    Beacon,
    /// End in order.
    Shutdown,
}

/// The peer actor's hold on the task. The task ends when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) offers: mpsc::Receiver<ChannelOffer>,
}

/// What the task holds of an open channel.
struct Open {
    queue: mpsc::Sender<Bytes>,
    end: Arc<OnceLock<ChannelEnd>>,
}

struct Opening {
    name: String,
    reply: oneshot::Sender<Result<Channel, LinkError>>,
}

type Decision = (ChannelNumber, String, Option<oneshot::Sender<Channel>>);

struct Connection {
    remote: Remote,
    environment: Environment,
    multiplex: Multiplex,
    commands: mpsc::Receiver<Command>,
    offers: mpsc::Sender<ChannelOffer>,
    outbound: mpsc::Receiver<Outbound>,
    outbound_sender: mpsc::Sender<Outbound>,
    bulk: mpsc::Receiver<Outbound>,
    bulk_sender: mpsc::Sender<Outbound>,
    bulk_window: BulkWindow,
    opening: HashMap<ChannelNumber, Opening>,
    open: HashMap<ChannelNumber, Open>,
    decisions: FuturesUnordered<BoxFuture<'static, Decision>>,
    /// A delivery that found its queue full; reading stops until it is done or given up.
    blocked: Option<Blocked>,
    write: BytesMut,
    end: Option<ShutdownReason>,
}

struct Blocked {
    channel: ChannelNumber,
    queue: mpsc::Sender<Bytes>,
    bytes: Bytes,
    until: Instant,
}

/// Makes the connection over a secured stream: the handle, and the future that is the task. It
/// completes with the reason when the connection has ended and all its users know.
pub(super) fn connection<S>(
    stream: S,
    role: Role,
    remote: Remote,
    environment: Environment,
) -> (ConnectionHandle, impl Future<Output = ShutdownReason> + Send)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
    let (offer_queue, offers) = mpsc::channel(Limits::default().offered);
    let (outbound_sender, outbound) = mpsc::channel(OUTBOUND_QUEUE);
    let (bulk_sender, bulk) = mpsc::channel(BULK_QUEUE);
    let bulk_window = BulkWindow::new(environment.now());
    let connection = Connection {
        remote,
        environment,
        multiplex: Multiplex::new(role, Limits::default()),
        commands: command_queue,
        offers: offer_queue,
        outbound,
        outbound_sender,
        bulk,
        bulk_sender,
        bulk_window,
        opening: HashMap::new(),
        open: HashMap::new(),
        decisions: FuturesUnordered::new(),
        blocked: None,
        write: BytesMut::new(),
        end: None,
    };
    (ConnectionHandle { commands, offers }, connection.run(stream))
}

impl Connection {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S) -> ShutdownReason {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = vec![0; READ_BUFFER];
        let mut flush = false;
        loop {
            self.drain();
            if let Some(end) = self.end {
                let _ = tokio::time::timeout(CLOSING, async {
                    writer.write_all(&self.write).await?;
                    writer.shutdown().await
                })
                .await;
                return end;
            }
            let deadlines = [self.multiplex.deadline(), self.bulk_window.deadline()];
            let alarm = deadlines.into_iter().flatten().min().map(|moment| self.instant(moment));
            let bulk_may_go = self.write.len() < BULK_BUFFER && self.bulk_window.may_send();
            let blocked = self.blocked.as_ref().map(|blocked| (blocked.queue.clone(), blocked.until));
            tokio::select! {
                read = reader.read(&mut buffer), if blocked.is_none() && self.write.len() < ANSWER_BUFFER => match read {
                    Ok(0) => self.multiplex.input_end(true),
                    Ok(length) => self.multiplex.input_bytes(buffer.get(..length).unwrap_or_default()),
                    Err(error) => {
                        tracing::debug!(device = %self.remote.device.short(), %error, "a connection broke");
                        self.multiplex.input_end(false);
                    }
                },
                written = write_or_flush(&mut writer, &self.write), if flush || !self.write.is_empty() => {
                    match written {
                        Ok(length) => {
                            flush = length > 0;
                            let _ = self.write.split_to(length);
                        }
                        Err(_) => self.multiplex.input_end(false),
                    }
                },
                room = wait_for_room(blocked.clone()), if blocked.is_some() => self.unblock(room),
                Some(outbound) = self.outbound.recv(), if self.write.len() < WRITE_BUFFER => self.send(outbound),
                Some(outbound) = self.bulk.recv(), if bulk_may_go => self.send_bulk(outbound),
                command = self.commands.recv() => self.command(command),
                Some(decision) = self.decisions.next() => self.decide(decision),
                () = sleep_until(alarm), if alarm.is_some() => {
                    let now = self.environment.now();
                    self.multiplex.handle_timeout(now);
                    self.bulk_window.handle_timeout(now);
                },
            }
        }
    }

    fn instant(&self, moment: Moment) -> Instant {
        Instant::now() + moment.since(self.environment.now())
    }

    /// Carries out what the core wants, as far as the users' queues allow.
    fn drain(&mut self) {
        while self.blocked.is_none()
            && let Some(output) = self.multiplex.poll()
        {
            match output {
                Output::Transmit(bytes) => self.write.extend_from_slice(&bytes),
                Output::ChannelRequested { number, name } => self.offer(number, name),
                Output::Opened(number) => self.opened(number),
                Output::Declined(number) => {
                    if let Some(Opening { name, reply }) = self.opening.remove(&number) {
                        let _ = reply.send(Err(LinkError::Declined { device: self.remote.device, name }));
                    }
                }
                Output::Data { number, bytes } => self.deliver(number, bytes.into()),
                Output::Closed { number, reason } => self.closed(number, reason),
                Output::MarkAnswered => self.bulk_window.answered(self.environment.now()),
                Output::PeerVersion(_) | Output::BeaconAnswered => {}
                Output::Shutdown(reason) => self.end = Some(reason),
            }
        }
    }

    fn offer(&mut self, number: ChannelNumber, name: String) {
        let (accept, accepted) = oneshot::channel();
        let offer = ChannelOffer {
            name: name.clone(),
            device: self.remote.device,
            account: self.remote.account,
            accept,
        };
        if self.offers.try_send(offer).is_err() {
            // Nobody takes offers any more, or far too many wait.
            let _ = self.multiplex.decline(number);
            return;
        }
        self.decisions.push(Box::pin(async move { (number, name, accepted.await.ok()) }));
    }

    fn decide(&mut self, (number, name, accepted): Decision) {
        // The core refuses numbers that the peer has closed meanwhile.
        let Some(user) = accepted else {
            let _ = self.multiplex.decline(number);
            return;
        };
        if self.multiplex.accept(number).is_ok() {
            let channel = self.channel(number, name);
            // A user that has gone away closes the channel by dropping it.
            let _ = user.send(channel);
        }
    }

    fn channel(&mut self, number: ChannelNumber, name: String) -> Channel {
        let room = match name.parse() {
            Ok(ChannelName::DataTransfer { .. }) => FILE_QUEUE,
            _ => RECEIVE_QUEUE,
        };
        let (queue, inbound) = mpsc::channel(room);
        let end = Arc::default();
        let channel = Channel {
            name,
            device: self.remote.device,
            account: self.remote.account,
            sender: ChannelSender {
                number: number.0,
                outbound: self.outbound_sender.clone(),
                bulk: self.bulk_sender.clone(),
                open: queue.downgrade(),
            },
            receiver: ChannelReceiver { inbound, end: Arc::clone(&end) },
        };
        self.open.insert(number, Open { queue, end });
        channel
    }

    fn opened(&mut self, number: ChannelNumber) {
        if let Some(Opening { name, reply }) = self.opening.remove(&number) {
            let channel = self.channel(number, name);
            let _ = reply.send(Ok(channel));
        }
    }

    fn deliver(&mut self, number: ChannelNumber, bytes: Bytes) {
        let Some(Open { queue, .. }) = self.open.get(&number) else { return };
        match queue.try_send(bytes) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(bytes)) => {
                self.blocked = Some(Blocked {
                    channel: number,
                    queue: queue.clone(),
                    bytes,
                    until: Instant::now() + PATIENCE,
                });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                // The user does not want to read any more, but may still send.
            }
        }
    }

    fn unblock(&mut self, room: bool) {
        let Some(blocked) = self.blocked.take() else { return };
        if room {
            // This task alone fills the queue, so the room is still there; or the user is gone.
            let _ = blocked.queue.try_send(blocked.bytes);
        } else {
            tracing::warn!(
                device = %self.remote.device.short(),
                channel = blocked.channel.0,
                "a channel was closed because its user does not read"
            );
            let _ = self.multiplex.close(blocked.channel);
            self.open.remove(&blocked.channel);
        }
    }

    fn closed(&mut self, number: ChannelNumber, reason: CloseReason) {
        if let Some(Opening { name: _, reply }) = self.opening.remove(&number) {
            let device = self.remote.device;
            let _ = reply.send(Err(match reason {
                CloseReason::Unanswered => LinkError::Deadline(device),
                _ => LinkError::Lost(device),
            }));
        }
        if let Some(Open { end, .. }) = self.open.remove(&number) {
            let _ = end.set(if reason.is_end_of_file() { ChannelEnd::Closed } else { ChannelEnd::Lost });
        }
    }

    fn send(&mut self, outbound: Outbound) {
        // The core refuses channels that are closed: their users learn it from their receivers.
        let _ = match outbound {
            Outbound::Data { channel, bytes } => self.multiplex.send(ChannelNumber(channel), &bytes),
            Outbound::Close { channel } => {
                self.open.remove(&ChannelNumber(channel));
                self.multiplex.close(ChannelNumber(channel))
            }
        };
    }

    /// Sends a part of a file, and sees to it that few of them are under way.
    fn send_bulk(&mut self, outbound: Outbound) {
        let length = if let Outbound::Data { bytes, .. } = &outbound { bytes.len() } else { 0 };
        self.send(outbound);
        if self.bulk_window.sent(length) && self.multiplex.mark() {
            self.bulk_window.marked(self.environment.now());
        }
    }

    fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Open { name, patience, reply }) => match self.multiplex.open(&name, patience) {
                Ok(number) => {
                    self.opening.insert(number, Opening { name, reply });
                }
                Err(_) => {
                    let _ = reply.send(Err(LinkError::Busy(self.remote.device)));
                }
            },
            Some(Command::Beacon) => {
                let _ = self.multiplex.beacon(self.environment.now());
            }
            Some(Command::Shutdown) | None => self.multiplex.shutdown(),
        }
    }
}

/// Writes some of what waits, or flushes when nothing does; returns how much was written.
async fn write_or_flush<W: AsyncWrite + Unpin>(writer: &mut W, waiting: &[u8]) -> io::Result<usize> {
    if waiting.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(waiting).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        length => Ok(length),
    }
}

async fn sleep_until(alarm: Option<Instant>) {
    if let Some(alarm) = alarm {
        tokio::time::sleep_until(alarm).await;
    }
}

/// Whether there was room in time; also true when the user is gone.
async fn wait_for_room(blocked: Option<(mpsc::Sender<Bytes>, Instant)>) -> bool {
    match blocked {
        Some((queue, until)) => tokio::time::timeout_at(until, queue.reserve()).await.is_ok(),
        None => true,
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
