//! The channels of the overlay: one task for each, which reads and writes it until it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skep_protocol::drt::message::Message as SwarmMessage;
use skep_protocol::drt::reader::SwarmReader;
use skep_protocol::drt::router::ChannelId;
use tokio::sync::{Semaphore, mpsc};

use super::messages::RouterMessage;
use crate::peer::messages::Channel;
use crate::supervision::Port;

/// Messages of one channel that may wait in the router at once, so that a peer that floods keeps only
/// itself waiting.
const PLACES: usize = 2;

/// Messages that wait for a channel to take them. A peer that reads so slowly is of no use.
const OUTBOX: usize = 16;

/// Longest time a peer may take to read a message.
const STALL: Duration = Duration::from_secs(60);

/// An open channel. Dropping it closes it.
#[derive(Debug)]
pub(super) struct OpenChannel(mpsc::Sender<Bytes>);

impl OpenChannel {
    /// The channel and the bytes to be written into it, for [`run`].
    pub(super) fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (outbox, bytes) = mpsc::channel(OUTBOX);
        (Self(outbox), bytes)
    }

    /// Sends a message; false if the peer does not read.
    pub(super) fn send(&self, message: &SwarmMessage) -> bool {
        self.0.try_send(message.encode().into()).is_ok()
    }
}

/// Runs a channel until either side closes it, or the peer says what is no message.
pub(super) async fn run(
    number: ChannelId,
    channel: Channel,
    mut outbox: mpsc::Receiver<Bytes>,
    router: Port<RouterMessage>,
) {
    let Channel { device, sender, mut receiver, .. } = channel;
    let (mut reader, places) = (SwarmReader::default(), Arc::new(Semaphore::new(PLACES)));
    loop {
        tokio::select! {
            bytes = outbox.recv() => {
                let Some(bytes) = bytes else { return };
                if !matches!(tokio::time::timeout(STALL, sender.send(bytes)).await, Ok(Ok(()))) {
                    return;
                }
            }
            bytes = receiver.receive() => {
                let Ok(bytes) = bytes else { return };
                let mut rest: &[u8] = &bytes;
                loop {
                    let message = match reader.next(&mut rest) {
                        Ok(Some(message)) => Box::new(message),
                        Ok(None) => break,
                        Err(error) => {
                            tracing::debug!(device = %device.short(), %error, "a swarm channel is unreadable");
                            return;
                        }
                    };
                    let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                    if router.send(RouterMessage::Received { channel: number, message, place }).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
